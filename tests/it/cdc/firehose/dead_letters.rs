//! Rows that are too large for Firehose: each becomes one dead letter, whatever dies, and can be delivered elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::program::program;
use testkit::servers::{Kind, Server};

use super::{Endpoint, RECORD_LIMIT, T, config, lines_of, shop};
use crate::setup::agent::{Workplace, eventually, files_below, gunzip_all};
use crate::setup::bucket::{BUCKET, Bucket};
use crate::setup::servers::{gtids, pair, replicate};

/// A text that makes a row too large.
const LARGE: &str = "REPEAT('x', 1024001)";

const MARIADBS: [Kind; 2] = [Kind::Mariadb, Kind::Mariadb11];

fn shop_of(kind: Kind) -> Result<Server> {
    let server = Server::start(kind, &[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note longtext)")?;
    Ok(server)
}

/// A configuration that keeps dead letters in a place.
fn keeping(server: &Server, endpoint: &Endpoint, letters: &str, sink: &str) -> String {
    let config = config(server, T, endpoint, sink);
    let config = config.replace("stream =", "oversize = \"dead-letter\"\nstream =");
    format!("{config}[dead_letters]\n{letters}\n")
}

fn in_directory(path: &Path) -> String {
    format!("path = \"{}\"", path.display())
}

/// A letter as whoever finds it reads it.
struct Found {
    head: Value,
    line: String,
}

impl Found {
    fn of(bytes: &[u8]) -> Result<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (head, line) = bytes.split_at(end.context("no first line")? + 1);
        Ok(Self {
            head: serde_json::from_slice(head)?,
            line: String::from_utf8(line.to_vec())?,
        })
    }

    fn id(&self) -> &str {
        self.line.split(',').next().unwrap_or_default()
    }

    fn offset(&self) -> Result<u64> {
        self.head["position"]["offset"]
            .as_u64()
            .context("no offset")
    }
}

fn letters_in(folder: &Path) -> Result<Vec<Found>> {
    let mut letters = Vec::new();
    for path in files_below(folder, ".letter")? {
        letters.push(Found::of(&fs::read(path)?)?);
    }
    letters.sort_by_key(|letter| letter.id().to_owned());
    Ok(letters)
}

fn ids(letters: &[Found]) -> Vec<&str> {
    letters.iter().map(Found::id).collect()
}

/// Each file below a folder, with its bytes.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for path in files_below(folder, "")? {
        files.insert(path.display().to_string(), fs::read(path)?);
    }
    Ok(files)
}

/// Runs `hydrant replay --dead-letter`, with the variables that lead to an emulator.
fn replay(place: &str, out: &str, endpoint: Option<&str>) -> Result<Output> {
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command
        .args(["replay", "--dead-letter", place, "--out", out])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env_remove("AWS_PROFILE");
    if let Some(endpoint) = endpoint {
        command.env("AWS_ENDPOINT_URL", endpoint);
    }
    Ok(command.output()?)
}

/// The same to a good end, of which it says this.
fn replayed(place: &str, out: &str, endpoint: Option<&str>, told: &str) -> Result<Output> {
    let output = replay(place, out, endpoint)?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {log}", output.status);
    ensure!(log.contains(told), "{told:?} is not in: {log}");
    Ok(output)
}

/// Deletes the checkpoint, so that all rows are read again.
fn read_all_again(workplace: &Workplace) -> Result<()> {
    fs::remove_file(workplace.path("checkpoint.json"))?;
    workplace.drain().map(drop)
}

/// They have all that is known of their rows, which have these numbers.
fn letters_are_whole(server: &Server, letters: &[Found], ordinals: [u64; 2]) -> Result<()> {
    for (letter, ordinal) in letters.iter().zip(ordinals) {
        let Found { head, line } = letter;
        ensure!(*line == format!("{},{}\n", letter.id(), "x".repeat(RECORD_LIMIT + 1)));
        for (key, value) in [
            ("dead_letter", Value::from(1)),
            ("hydrant", env!("CARGO_PKG_VERSION").into()),
            ("schema", "shop".into()),
            ("table", "T".into()),
            ("stream", "T".into()),
            ("dialect", "csv".into()),
            ("layout", 1.into()),
            ("ordinal", ordinal.into()),
            ("line_bytes", line.len().into()),
            (
                "line_crc32",
                format!("{:08x}", crc32fast::hash(line.as_bytes())).into(),
            ),
        ] {
            ensure!(head[key] == value, "{key}: {head}");
        }
        let reason = serde_json::json!({ "code": "oversize", "row_bytes": line.len(), "limit_bytes": RECORD_LIMIT });
        ensure!(head["reason"] == reason, "{head}");
        ensure!(head["position"]["file"] == "binlog.000001", "{head}");
        ensure!(
            head["gtid"].is_string() != gtids(server)?.is_empty(),
            "{head}"
        );
        let time = head["commit_time"].as_str().context("no time")?;
        let age = jiff::Timestamp::now().as_second() - time.parse::<jiff::Timestamp>()?.as_second();
        ensure!((-1..600).contains(&age), "{head}");
    }
    Ok(())
}

fn oversize_rows_are_kept_beside_the_others(kind: Kind) -> Result<()> {
    let server = shop_of(kind)?;
    server.sql(&format!(
        "USE shop; INSERT INTO T VALUES (1, 'before'); \
         BEGIN; INSERT INTO T VALUES (2, 'with'); INSERT INTO T VALUES (3, {LARGE}); INSERT INTO T VALUES (4, 'with'); COMMIT; \
         INSERT INTO T VALUES (5, {LARGE}), (6, 'after')"
    ))?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    workplace.configure(&keeping(&server, &endpoint, &in_directory(&folder), ""))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{log}");
    for part in [
        "WARN",
        "kept as a dead letter, shop.T/",
        "a row of 1024004 bytes is over the sink's limit of 1024000 bytes",
        "2 kept as dead letters",
    ] {
        ensure!(log.contains(part), "{part:?} is not in: {log}");
    }
    ensure!(!log.contains("xxx"), "a cell's value is told");

    let letters = letters_in(&folder)?;
    assert_eq!(ids(&letters), ["3", "5"]);
    letters_are_whole(&server, &letters, [1, 0])?;

    // A row that is read again is the letter that is there.
    let before = files(&folder)?;
    read_all_again(&workplace)?;
    ensure!(files(&folder)? == before, "letters have changed");

    let large: String = letters.iter().map(|letter| letter.line.as_str()).collect();
    let place = folder.display().to_string();
    let printed = replayed(&place, "-", None, "2 dead letters (2.0 MiB)")?;
    ensure!(printed.stdout.len() == large.len());
    let out = workplace.path("replayed");
    let out_text = out.display().to_string();
    replayed(&place, &out_text, None, "2 dead letters (2.0 MiB)")?;
    let mut delivered: Vec<String> = gunzip_all(&out.join("shop.T"))?
        .split_inclusive('\n')
        .map(str::to_owned)
        .collect();
    delivered.sort();
    ensure!(delivered.concat() == large, "other bytes");
    // Whoever takes them away does not get them again, and the agent finds them where they were.
    fs::remove_dir_all(&out)?;
    replayed(&place, &out_text, None, "0 dead letters (0 B)")?;
    ensure!(!out.exists() || files_below(&out, ".gz")?.is_empty());
    let marked = files(&folder)?;
    ensure!(marked.len() == before.len() + 2);
    read_all_again(&workplace)?;
    ensure!(files(&folder)? == marked, "letters have changed");

    endpoint.stop()?;
    let lines: Vec<String> = endpoint.lines("T")?.into_keys().collect();
    assert_eq!(lines, ["1,before", "2,with", "4,with", "6,after"]);
    Ok(())
}

#[test]
fn oversize_rows_of_mysql_are_kept_beside_the_others() -> Result<()> {
    oversize_rows_are_kept_beside_the_others(Kind::Mysql)
}

#[test]
fn oversize_rows_of_mariadb_are_kept_beside_the_others() -> Result<()> {
    oversize_rows_are_kept_beside_the_others(Kind::Mariadb)
}

#[test]
fn oversize_rows_of_mariadb_11_are_kept_beside_the_others() -> Result<()> {
    oversize_rows_are_kept_beside_the_others(Kind::Mariadb11)
}

fn a_row_has_one_letter_on_every_server(kind: Kind) -> Result<()> {
    let (primary, replica) = pair(kind)?;
    // Positions on the two differ.
    primary.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note longtext); FLUSH BINARY LOGS; \
         INSERT INTO shop.T VALUES (1, 'small'), (2, {LARGE})"
    ))?;
    replicate(&primary, &replica)?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    workplace.configure(&keeping(&primary, &endpoint, &in_directory(&folder), ""))?;
    workplace.drain()?;
    let before = files(&folder)?;
    ensure!(ids(&letters_in(&folder)?) == ["2"]);
    workplace.configure(&keeping(&replica, &endpoint, &in_directory(&folder), ""))?;
    read_all_again(&workplace)?;
    ensure!(files(&folder)? == before, "{:?}", files(&folder)?.keys());
    endpoint.stop()?;
    assert_eq!(endpoint.text("T")?, "1,small\n1,small\n");
    Ok(())
}

#[test]
fn a_row_has_one_letter_on_every_mysql() -> Result<()> {
    a_row_has_one_letter_on_every_server(Kind::Mysql)
}

#[test]
fn a_row_has_one_letter_on_every_mariadb() -> Result<()> {
    MARIADBS
        .into_iter()
        .try_for_each(a_row_has_one_letter_on_every_server)
}

#[test]
fn rows_that_were_taken_back_are_no_letters() -> Result<()> {
    for kind in MARIADBS {
        let server = shop_of(kind)?;
        server.sql(&format!(
            "USE shop; BEGIN; INSERT INTO T VALUES (1, ''); INSERT INTO T VALUES (2, {LARGE}); \
             CREATE TEMPORARY TABLE x (a int); ROLLBACK; \
             BEGIN; INSERT INTO T VALUES (3, {LARGE}); SAVEPOINT a; INSERT INTO T VALUES (4, ''); \
             INSERT INTO T VALUES (5, {LARGE}); DROP TEMPORARY TABLE x; ROLLBACK TO a; \
             INSERT INTO T VALUES (6, {LARGE}); INSERT INTO T VALUES (7, ''); COMMIT"
        ))?;
        // The second holds less than a row back, so that the transactions are read twice.
        for sink in ["", "max_in_flight = \"1 MiB\""] {
            let mut endpoint = Endpoint::start(&["T"], |_| {})?;
            let workplace = Workplace::new("")?;
            let folder = workplace.path("letters");
            workplace.configure(&keeping(&server, &endpoint, &in_directory(&folder), sink))?;
            workplace.drain()?;
            endpoint.stop()?;
            assert_eq!(ids(&letters_in(&folder)?), ["3", "6"], "{kind:?} {sink}");
            assert_eq!(endpoint.text("T")?, "7,\"\"\n", "{kind:?} {sink}");
        }
    }
    Ok(())
}

fn a_letter_that_the_checkpoint_has_not_passed_is_written_once(kind: Kind) -> Result<()> {
    let server = shop_of(kind)?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    workplace.configure(&keeping(&server, &endpoint, &in_directory(&folder), ""))?;
    let agent = workplace.start()?;
    eventually("the agent follows", || {
        Ok(agent.log().contains("following from").then_some(()))
    })?;
    endpoint.stop()?;
    // The first row has nowhere to go, so that the checkpoint stays before both.
    server.sql(&format!(
        "INSERT INTO shop.T VALUES (1, 'small'); INSERT INTO shop.T VALUES (2, {LARGE})"
    ))?;
    let letter = eventually("there is a letter", || Ok(letters_in(&folder)?.pop()))?;
    let stored = workplace.checkpoint()?["position"]["offset"].as_u64();
    ensure!(stored.context("no offset")? < letter.offset()?);
    agent.kill9()?;
    let before = files(&folder)?;
    endpoint.start_again()?;
    workplace.drain()?;
    ensure!(files(&folder)? == before, "letters have changed");
    endpoint.stop()?;
    assert_eq!(
        endpoint.lines("T")?.into_keys().collect::<Vec<_>>(),
        ["1,small"]
    );
    Ok(())
}

#[test]
fn a_letter_of_mysql_that_the_checkpoint_has_not_passed_is_written_once() -> Result<()> {
    a_letter_that_the_checkpoint_has_not_passed_is_written_once(Kind::Mysql)
}

#[test]
fn a_letter_of_mariadb_that_the_checkpoint_has_not_passed_is_written_once() -> Result<()> {
    a_letter_that_the_checkpoint_has_not_passed_is_written_once(Kind::Mariadb)
}

#[test]
fn a_letter_of_mariadb_11_that_the_checkpoint_has_not_passed_is_written_once() -> Result<()> {
    a_letter_that_the_checkpoint_has_not_passed_is_written_once(Kind::Mariadb11)
}

#[test]
fn no_row_is_lost_and_no_letter_is_there_twice_after_kills() -> Result<()> {
    const KILLS: usize = 10;
    const ROWS: u32 = 60;
    let server = shop()?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    let sink = "flush_interval = \"20ms\"";
    workplace.configure(&keeping(&server, &endpoint, &in_directory(&folder), sink))?;
    workplace.drain_with_kills(KILLS, 20..500, |_| {
        for id in (0..ROWS).step_by(3) {
            let (second, third) = (id + 1, id + 2);
            server.sql(&format!(
                "INSERT INTO shop.T VALUES ({id}, 'a'), ({second}, {LARGE}), ({third}, 'b')"
            ))?;
        }
        Ok(())
    })?;
    endpoint.stop()?;
    let letters = letters_in(&folder)?;
    let rows: BTreeSet<String> = lines_of(&server)?.into_keys().collect();
    let mut found: BTreeSet<String> = endpoint.lines("T")?.into_keys().collect();
    ensure!(
        found.len() + letters.len() == rows.len(),
        "{} letters",
        letters.len()
    );
    found.extend(
        letters
            .iter()
            .map(|letter| letter.line.trim_end().to_owned()),
    );
    ensure!(found == rows, "rows are missing");
    ensure!(files_below(&folder.join(".unfinished"), "")?.is_empty());
    Ok(())
}

#[test]
fn the_checkpoint_waits_for_a_place_that_takes_no_letter() -> Result<()> {
    let server = shop()?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    let config = keeping(&server, &endpoint, &in_directory(&folder), "");
    workplace.configure(&format!("shutdown_grace = \"100ms\"\n{config}"))?;
    let agent = workplace.start()?;
    eventually("the agent follows", || {
        Ok(agent.log().contains("following from").then_some(()))
    })?;
    // A file is where the table's folder would be.
    let in_the_way = folder.join("shop.T");
    fs::write(&in_the_way, "")?;
    server.sql(&format!(
        "INSERT INTO shop.T VALUES (1, {LARGE}); INSERT INTO shop.T VALUES (2, 'small')"
    ))?;
    eventually("the letter is not taken", || {
        let log = agent.log();
        Ok((log.contains("cannot write shop.T/") && log.contains("trying again")).then_some(()))
    })?;
    eventually("the other row is delivered", || {
        Ok((endpoint.total("T")?.admitted_records == 1).then_some(()))
    })?;
    ensure!(agent.terminate()?.success());
    let stored = workplace.checkpoint()?["position"]["offset"].as_u64();
    // What could not work from the start is told there.
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(78), "{log}");
    ensure!(log.contains("something else than a directory"), "{log}");
    fs::remove_file(&in_the_way)?;
    workplace.drain()?;
    let letters = letters_in(&folder)?;
    assert_eq!(ids(&letters), ["1"]);
    ensure!(stored.context("no offset")? <= letters[0].offset()?);
    endpoint.stop()?;
    assert_eq!(
        endpoint.lines("T")?.into_keys().collect::<Vec<_>>(),
        ["2,small"]
    );
    Ok(())
}

#[test]
fn the_checkpoint_waits_for_a_disk_that_takes_a_part_of_a_letter() -> Result<()> {
    let server = shop()?;
    server.sql(&format!(
        "INSERT INTO shop.T VALUES (1, {LARGE}); INSERT INTO shop.T VALUES (2, 'small')"
    ))?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    let config = keeping(&server, &endpoint, &in_directory(&folder), "");
    workplace.configure(&format!("shutdown_grace = \"100ms\"\n{config}"))?;
    let agent = workplace.start_with_small_files()?;
    eventually("the letter is not taken", || {
        let log = agent.log();
        Ok((log.contains("File too large") && log.contains("trying again")).then_some(()))
    })?;
    eventually("the other row is delivered", || {
        Ok((endpoint.total("T")?.admitted_records == 1).then_some(()))
    })?;
    ensure!(agent.terminate()?.success());
    ensure!(letters_in(&folder)?.is_empty(), "a part of a letter");
    let stored = workplace.checkpoint()?["position"]["offset"].as_u64();
    workplace.drain()?;
    let letters = letters_in(&folder)?;
    assert_eq!(ids(&letters), ["1"]);
    ensure!(stored.context("no offset")? <= letters[0].offset()?);
    ensure!(files_below(&folder.join(".unfinished"), "")?.is_empty());
    endpoint.stop()?;
    assert_eq!(
        endpoint.lines("T")?.into_keys().collect::<Vec<_>>(),
        ["2,small"]
    );
    Ok(())
}

#[test]
fn dead_letters_are_masked() -> Result<()> {
    let endpoint = Endpoint::start(&["T"], |_| ())?;
    for kind in Kind::ALL {
        let server = shop_of(kind)?;
        server.sql(&format!(
            "ALTER TABLE shop.T ADD COLUMN ssn varchar(20); \
             INSERT INTO shop.T VALUES (1, {LARGE}, 'secret-1'), (2, 'small', 'secret-2')"
        ))?;
        let workplace = Workplace::new("")?;
        let folder = workplace.path("letters");
        let config = keeping(&server, &endpoint, &in_directory(&folder), "");
        let masked = "mask = { ssn = \"redact\" }\noversize =";
        workplace.configure(&config.replace("oversize =", masked))?;
        let output = workplace.run(&["--until", "now"])?;
        ensure!(output.status.success(), "{output:?}");
        let letters = letters_in(&folder)?;
        ensure!(
            ids(&letters) == ["1"] && letters[0].line.ends_with("x,***\n"),
            "{kind:?}"
        );
        let written = [
            files(&folder)?.into_values().collect::<Vec<_>>().concat(),
            output.stderr,
        ];
        for bytes in written {
            ensure!(
                !String::from_utf8_lossy(&bytes).contains("secret"),
                "{kind:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn letters_may_be_in_a_bucket() -> Result<()> {
    let server = shop()?;
    server.sql(&format!(
        "INSERT INTO shop.T VALUES (1, 'small'), (2, {LARGE})"
    ))?;
    let (mut endpoint, bucket) = (Endpoint::start(&["T"], |_| {})?, Bucket::start()?);
    let place = format!("s3://{BUCKET}/dead");
    let s3 = bucket.endpoint_url();
    let letters = format!("path = \"{place}\"\nendpoint = \"{s3}\"");
    let workplace = Workplace::new("")?;
    let config = keeping(&server, &endpoint, &letters, "");
    // A place that is not there is told at the start.
    workplace.configure(&config.replace(&place, "s3://nowhere"))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(78) && log.contains("create the bucket"),
        "{log}"
    );

    workplace.configure(&config)?;
    workplace.drain()?;
    let keys = bucket.keys()?;
    let [key] = keys.as_slice() else {
        anyhow::bail!("{keys:?}");
    };
    let is_named = key.starts_with("dead/shop.T/") && key.contains("-000000001.");
    ensure!(is_named && key.ends_with(".letter"), "{key}");
    let bytes = bucket.get(key)?.1;
    let letter = Found::of(&bytes)?;
    ensure!(letter.line == format!("2,{}\n", "x".repeat(RECORD_LIMIT + 1)));
    read_all_again(&workplace)?;
    ensure!(bucket.keys()? == keys && bucket.get(key)?.1 == bytes);

    // The same row with other settings is another line, and nothing is overwritten.
    workplace.configure(&config.replace("stream =", "metadata = [\"ordinal\"]\nstream ="))?;
    fs::remove_file(workplace.path("checkpoint.json"))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(65), "{log}");
    ensure!(
        log.contains("nothing is ever overwritten") && !log.contains("xxx"),
        "{log}"
    );
    ensure!(bucket.get(key)?.1 == bytes);

    let out = workplace.path("replayed");
    let out_text = out.display().to_string();
    replayed(&place, &out_text, Some(&s3), "1 dead letters")?;
    ensure!(gunzip_all(&out)? == letter.line, "other bytes");
    replayed(&place, &out_text, Some(&s3), "0 dead letters (0 B)")?;
    assert_eq!(bucket.keys()?, [key.clone(), format!("{key}.delivered")]);
    endpoint.stop()?;
    Ok(())
}

#[test]
fn a_replay_refuses_what_is_no_letter_and_a_directory_that_has_some() -> Result<()> {
    let server = shop()?;
    server.sql(&format!("INSERT INTO shop.T VALUES (1, {LARGE})"))?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("letters");
    workplace.configure(&keeping(&server, &endpoint, &in_directory(&folder), ""))?;
    workplace.drain()?;
    endpoint.stop()?;
    let place = folder.display().to_string();
    let refused = |out: &Path, code: i32, told: &str| {
        let output = replay(&place, &out.display().to_string(), None)?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{log}");
        ensure!(log.contains(told) && log.contains("remedy: "), "{log}");
        ensure!(!log.contains("xxx"), "a cell's value is told");
        Ok(())
    };
    refused(&folder, 64, "in one directory")?;
    refused(&folder.join("below"), 64, "in one directory")?;
    refused(&workplace.path(""), 64, "in one directory")?;
    let paths = files_below(&folder, ".letter")?;
    let path = paths.first().context("no letter")?;
    let whole = fs::read(path)?;
    let out = workplace.path("replayed");
    for (bytes, told) in [
        (&whole[..whole.len() - 1], "it is damaged"),
        (&whole[..10], "it is no dead letter"),
    ] {
        fs::write(path, bytes)?;
        refused(&out, 65, told)?;
    }
    fs::write(path, &whole)?;
    replayed(&place, &out.display().to_string(), None, "1 dead letters")?;
    ensure!(gunzip_all(&out)?.len() == RECORD_LIMIT + 4);
    Ok(())
}
