//! `hydrant verify`: no false alarm while all goes on, and each row that is not as it should be found by its key.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::setup::agent::{Workplace, accept_option, config, eventually, files_below, gunzip};
use crate::setup::bucket::{BUCKET, Bucket};
use testkit::servers::{Kind, Server};

use super::backfill::{CHANGED, SHAPES, workplace, write, write_beside};

const KINDS: [Kind; 3] = [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11];

/// Comparisons beside writers.
const RUNS: usize = 3;

/// Which exit code it has, and what it says on both outputs.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    (output.status.code(), text.concat())
}

/// Compares, and gives what it says if it ends with this code.
fn verify(workplace: &Workplace, code: i32, arguments: &[&str]) -> Result<String> {
    let (found, text) = said(&workplace.verify(arguments)?);
    ensure!(found == Some(code), "{found:?} instead of {code}: {text}");
    Ok(text)
}

/// The report of the only table.
fn report(workplace: &Workplace, code: i32, arguments: &[&str]) -> Result<Value> {
    let output = workplace.verify(&[&["--format", "json"], arguments].concat())?;
    let (found, text) = said(&output);
    ensure!(found == Some(code), "{found:?} instead of {code}: {text}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    Ok(report["tables"][0].clone())
}

fn equal_while_all_goes_on(kind: Kind) -> Result<()> {
    for (number, shape) in SHAPES.iter().enumerate() {
        let server = Server::start(kind, &[])?;
        server.sql("CREATE DATABASE shop")?;
        shape.create(&server)?;
        let workplace = workplace(&server, CHANGED, 0)?;
        let agent = workplace.start()?;
        eventually("its rows are read", || {
            let read = workplace.checkpoint().unwrap_or_default();
            let left = read["backfill"]["shop.T"]["ranges"].as_array();
            Ok(left.is_some_and(Vec::is_empty).then_some(()))
        })?;
        let stop = AtomicBool::new(false);
        let touched = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                write_beside(|writer| write(&server, shape, number as u64 * 100 + writer, &stop))
            });
            let compared = (0..RUNS).map(|_| report(&workplace, 0, &["--wait", "60s"]));
            let compared: Result<Vec<Value>> = compared.collect();
            stop.store(true, Ordering::Relaxed);
            writing.join().ok().context("a writer panicked")??;
            let touched = compared?.into_iter().map(|report| {
                ensure!(
                    report["rows"].as_u64() > Some(5_000) && report["rows"] == report["equal"],
                    "{report}"
                );
                report["equal_touched"].as_u64().context("no count")
            });
            touched.sum::<Result<u64>>()
        })?;
        ensure!(touched > 0, "nothing was changed meanwhile");
        ensure!(agent.terminate()?.success());
        verify(&workplace, 0, &[])?;
    }
    Ok(())
}

#[test]
fn it_is_equal_while_all_goes_on_on_mysql() -> Result<()> {
    equal_while_all_goes_on(Kind::Mysql)
}

#[test]
fn it_is_equal_while_all_goes_on_on_mariadb() -> Result<()> {
    equal_while_all_goes_on(Kind::Mariadb)
}

#[test]
fn it_is_equal_while_all_goes_on_on_mariadb_11() -> Result<()> {
    equal_while_all_goes_on(Kind::Mariadb11)
}

/// 40 rows, in two objects.
fn delivered(server: &Server, key: &str, section: &str) -> Result<Workplace> {
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id INT NOT NULL, name VARCHAR(20) NOT NULL, note TEXT, price DOUBLE(10,2), \
         day DATETIME(3), PRIMARY KEY ({key}))"
    ))?;
    let section = format!("name = \"shop.T\"\n{section}");
    let workplace = Workplace::into_directory(server, &[section.as_str()], "")?;
    for first in [1, 21] {
        let rows: Vec<String> = (first..first + 20)
            .map(|id| format!("({id}, 'a,\"{id}', 'cell{id}.', {id}.5, '2016-03-04 05:06:07.89')"))
            .collect();
        server.sql(&format!("INSERT INTO shop.T VALUES {}", rows.join(",")))?;
        workplace.drain()?;
    }
    Ok(workplace)
}

const CHANGES: &str = "events = [\"insert\", \"update\", \"delete\"]\nmetadata = [\"sequence\"]";

/// Rewrites the objects of a directory line by line.
fn rewrite(folder: &Path, change: impl Fn(&str) -> String) -> Result<()> {
    for path in files_below(folder, ".gz")? {
        let text: String = gunzip(&path)?.split_inclusive('\n').map(&change).collect();
        fs::remove_file(&path)?;
        let mut file = GzEncoder::new(File::create(&path)?, Compression::fast());
        file.write_all(text.as_bytes())?;
        file.finish()?;
    }
    Ok(())
}

/// One changed cell, one missing and one doubled row.
fn spoil(line: &str) -> String {
    if line.contains("cell17.") {
        line.replace("cell17.", "sell17.")
    } else if line.contains("cell23.") {
        String::new()
    } else if line.contains("cell31.") {
        line.repeat(2)
    } else {
        line.to_owned()
    }
}

#[test]
fn what_is_not_as_it_should_be_is_found_by_key() -> Result<()> {
    for kind in KINDS {
        for (dialect, key) in [
            ("csv", "id"),
            ("hive", "name, id"),
            ("opencsv", "name"),
            ("jsonl", "id, name"),
        ] {
            let server = Server::start(kind, &[])?;
            let workplace =
                delivered(&server, key, &format!("{CHANGES}\ndialect = \"{dialect}\""))?;
            server.sql("UPDATE shop.T SET note = 'cell5. and more' WHERE id = 5; DELETE FROM shop.T WHERE id = 6")?;
            workplace.drain()?;
            let equal = verify(&workplace, 0, &[])?;
            ensure!(
                equal.contains("shop.T: equal: 39 of 39 rows, 42 lines"),
                "{equal}"
            );
            rewrite(&workplace.path("data"), spoil)?;
            let text = verify(&workplace, 65, &[])?;
            ensure!(
                text.contains("1 missing, 1 differing, 1 doubled; 37 of 39 rows are equal"),
                "{text}"
            );
            ensure!(
                !text.contains("cell") && !text.contains("sell"),
                "values are shown: {text}"
            );
            let found = report(&workplace, 65, &["--show-values"])?["found"].clone();
            for (number, (fault, id)) in [("missing", "23"), ("differing", "17"), ("doubled", "31")]
                .iter()
                .enumerate()
            {
                let found = &found[number];
                let key = found["key"].as_str().unwrap_or_default();
                ensure!(found["fault"] == *fault && key.contains(id), "{found}");
                let is_missing = *fault == "missing";
                ensure!(
                    is_missing
                        || found["line"]["object"]
                            .as_str()
                            .is_some_and(|it| it.starts_with("shop.T/")),
                    "{found}"
                );
                ensure!(
                    *fault != "differing" || found["columns"] == serde_json::json!(["note"]),
                    "{found}"
                );
                ensure!(found.to_string().contains(&format!("ell{id}.")), "{found}");
            }
        }
    }
    Ok(())
}

#[test]
fn of_inserts_alone_what_is_missing_or_doubled_is_a_fault() -> Result<()> {
    for (kind, metadata) in KINDS.into_iter().zip([
        "",
        "metadata = [\"sequence\"]",
        "metadata = [\"position\", \"ordinal\"]",
    ]) {
        let server = Server::start(kind, &[])?;
        let workplace = delivered(&server, "id", metadata)?;
        verify(&workplace, 0, &[])?;
        let is_numbered = metadata.contains("sequence");
        if is_numbered {
            verify(&workplace, 0, &["--append-only"])?;
        } else {
            let text = verify(&workplace, 78, &["--append-only"])?;
            ensure!(text.contains("sequence"), "{text}");
        }
        // What lines cannot tell.
        server.sql(
            "UPDATE shop.T SET note = 'other' WHERE id = 5; DELETE FROM shop.T WHERE id IN (6, 7)",
        )?;
        workplace.drain()?;
        let told = report(&workplace, 0, &[])?;
        ensure!(
            told["changed_since"] == 1 && told["gone_since"] == 2 && told["equal"] == 37,
            "{told}"
        );
        if is_numbered {
            let told = report(&workplace, 65, &["--append-only"])?;
            ensure!(
                told["faults"]["differing"] == 1 && told["faults"]["extra"] == 2,
                "{told}"
            );
        }
        rewrite(&workplace.path("data"), spoil)?;
        let told = report(&workplace, 65, &[])?;
        let faults = serde_json::json!({"missing": 1, "extra": 0, "differing": 0, "doubled": 1});
        ensure!(
            told["faults"] == faults && told["changed_since"] == 2,
            "{told}"
        );
        let keys: Vec<&str> = told["found"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| it["key"].as_str())
            .collect();
        ensure!(keys == ["id=23", "id=31"], "{told}");
    }
    Ok(())
}

#[test]
fn lines_of_older_layouts_are_compared_in_what_they_share() -> Result<()> {
    for kind in KINDS {
        for (dialect, on_change) in [
            ("csv", "version"),
            ("jsonl", "version"),
            ("hive", "stop"),
            ("jsonl", "stop"),
        ] {
            let server = Server::start(kind, &[])?;
            let section =
                format!("{CHANGES}\ndialect = \"{dialect}\"\non_schema_change = \"{on_change}\"");
            let workplace = delivered(&server, "id", &section)?;
            server.sql(
                "ALTER TABLE shop.T ADD COLUMN more INT NOT NULL DEFAULT 7, MODIFY price DECIMAL(12,3); \
                 INSERT INTO shop.T VALUES (101, 'x', 'cell101.', 1.5, NULL, 8); UPDATE shop.T SET note = 'new' WHERE id = 2",
            )?;
            let drained = workplace.run(&["--until", "now"])?;
            if !drained.status.success() {
                let option = accept_option(&drained.stderr)?;
                ensure!(on_change == "stop", "{}", said(&drained).1);
                let drained = workplace.run(&["--until", "now", "--accept-change", &option])?;
                ensure!(drained.status.success(), "{}", said(&drained).1);
            }
            let told = report(&workplace, 0, &[])?;
            ensure!(
                told["equal"] == 41 && told["equal_partly"] == 39,
                "{dialect} {on_change}: {told}"
            );
            rewrite(&workplace.path("data"), spoil)?;
            let told = report(&workplace, 65, &[])?;
            let faults =
                serde_json::json!({"missing": 1, "extra": 0, "differing": 1, "doubled": 1});
            ensure!(told["faults"] == faults, "{told}");
        }
    }
    Ok(())
}

#[test]
fn rows_from_before_the_start_are_missing_unless_they_are_left_out() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id INT PRIMARY KEY, n INT); INSERT INTO shop.T VALUES (1, 1), (2, 2)")?;
        let workplace = Workplace::into_directory(
            &server,
            &[format!("name = \"shop.T\"\n{CHANGES}").as_str()],
            "",
        )?;
        let text = fs::read_to_string(workplace.path("hydrant.toml"))?;
        fs::write(
            workplace.path("hydrant.toml"),
            text.replace("earliest", "latest"),
        )?;
        let text = verify(&workplace, 78, &[])?;
        ensure!(text.contains("there is no checkpoint"), "{text}");
        workplace.drain()?;
        server.sql("INSERT INTO shop.T VALUES (3, 3); UPDATE shop.T SET n = 4 WHERE id = 2")?;
        workplace.drain()?;
        let text = verify(&workplace, 65, &[])?;
        ensure!(
            text.contains("missing id=1") && text.contains("was not backfilled"),
            "{text}"
        );
        let text = verify(&workplace, 0, &["--only-delivered"])?;
        ensure!(text.contains("1 rows were NOT compared"), "{text}");
        let drained = workplace.run(&["--until", "now", "--backfill", "shop.T"])?;
        ensure!(drained.status.success(), "{}", said(&drained).1);
        verify(&workplace, 0, &[])?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_compared_is_said_and_never_equal() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.keyless (n INT); CREATE TABLE shop.unnumbered (id INT PRIMARY KEY, n INT); \
             CREATE TABLE shop.fine (id INT PRIMARY KEY, n INT); INSERT INTO shop.fine VALUES (1, 1); INSERT INTO shop.keyless VALUES (1)",
        )?;
        let changes = format!("name = \"shop.keyless\"\n{CHANGES}");
        let tables = [
            changes.as_str(),
            "name = \"shop.unnumbered\"\nevents = [\"insert\", \"update\"]",
            "name = \"shop.fine\"",
        ];
        let workplace = Workplace::into_directory(&server, &tables, "")?;
        workplace.drain()?;
        let text = verify(&workplace, 78, &[])?;
        ensure!(
            text.contains("shop.keyless: not compared")
                && text.contains("shop.fine: equal: 1 of 1"),
            "{text}"
        );
        let text = verify(&workplace, 78, &["--table", "shop.unnumbered"])?;
        ensure!(text.contains("`sequence`"), "{text}");
        verify(&workplace, 0, &["--table", "shop.fine"])?;
        verify(&workplace, 64, &["--table", "shop.other"])?;
        // An agent that is not there does not catch up.
        server.sql("INSERT INTO shop.fine VALUES (2, 2)")?;
        let text = verify(&workplace, 75, &["--table", "shop.fine", "--wait", "1s"])?;
        ensure!(text.contains("start the agent"), "{text}");
        workplace.drain()?;
        // Half of an object, and one that is none.
        let objects = files_below(&workplace.path("data/shop.fine"), ".gz")?;
        let bytes = fs::read(&objects[0])?;
        for damaged in [&bytes[..bytes.len() / 2], b"1,2,3,4\n", b"\"1\"x"] {
            fs::write(&objects[0], damaged)?;
            let text = verify(&workplace, 65, &["--table", "shop.fine"])?;
            ensure!(text.contains("shop.fine/"), "{text}");
        }
    }
    Ok(())
}

#[test]
fn objects_in_a_bucket_are_compared_and_a_checkpoint_there_is_only_read() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id INT PRIMARY KEY, note TEXT)")?;
    for bucket in [Bucket::start, Bucket::start_in_moto] {
        let bucket = bucket()?;
        let workplace = Workplace::new("")?;
        let sink = bucket.sink("");
        let text = config(&server, &format!("name = \"shop.T\"\n{CHANGES}"), &sink);
        let checkpoint = format!(
            "path = \"s3://{BUCKET}/checkpoint.json\"\nendpoint = \"{}\"\n",
            bucket.endpoint_url()
        );
        fs::write(
            workplace.path("hydrant.toml"),
            format!("{text}\n[checkpoint]\n{checkpoint}"),
        )?;
        server.sql("DELETE FROM shop.T; INSERT INTO shop.T VALUES (1, 'one'), (2, 'two'), (3, 'three'); UPDATE shop.T SET note = 'x' WHERE id = 2")?;
        workplace.drain()?;
        let before = bucket.get("checkpoint.json")?;
        verify(&workplace, 0, &[])?;
        ensure!(bucket.get("checkpoint.json")? == before);
        let keys = bucket.keys()?;
        let key = keys
            .iter()
            .find(|key| key.contains("shop.T"))
            .context("no object")?;
        bucket.delete(key)?;
        let told = report(&workplace, 65, &[])?;
        ensure!(told["faults"]["missing"] == 3, "{told}");
    }
    Ok(())
}

#[test]
fn copies_of_firehose_are_no_faults() -> Result<()> {
    let server = Server::mysql(&[])?;
    let workplace = delivered(&server, "id", CHANGES)?;
    // As if a stream had written them, plain, one of them twice, in one folder.
    let folder = workplace.path("firehose");
    fs::create_dir(&folder)?;
    for (number, path) in files_below(&workplace.path("data"), ".gz")?
        .iter()
        .enumerate()
    {
        let text = gunzip(path)?;
        fs::write(folder.join(format!("stream-{number}")), &text)?;
        fs::write(
            folder.join(format!("again-{number}")),
            zstd::encode_all(text.as_bytes(), 1)?,
        )?;
    }
    let place = folder.display().to_string();
    // Of a directory's own objects a second line is one too many.
    let told = report(&workplace, 65, &["--objects", &place])?;
    ensure!(told["faults"]["doubled"] == 40, "{told}");
    let text = fs::read_to_string(workplace.path("hydrant.toml"))?;
    let (head, _) = text.split_once("[sink]").context("no sink")?;
    fs::write(
        workplace.path("hydrant.toml"),
        format!("{head}[sink]\nstream = \"s\"\nregion = \"us-east-1\"\n"),
    )?;
    let told = report(
        &workplace,
        0,
        &["--objects", &place, "--buffer-interval", "0s"],
    )?;
    ensure!(told["copies"] == 40 && told["equal"] == 40, "{told}");
    let text = verify(&workplace, 64, &[])?;
    ensure!(text.contains("--objects"), "{text}");
    Ok(())
}

#[test]
fn rows_without_a_key_are_compared_as_a_whole() -> Result<()> {
    for kind in KINDS {
        for section in [
            "",
            "before_image = true\nevents = [\"insert\", \"update\", \"delete\"]\nmetadata = [\"sequence\"]",
        ] {
            let server = Server::start(kind, &[])?;
            server.sql("CREATE DATABASE shop; CREATE TABLE shop.K (n INT, s TEXT)")?;
            let section = format!("name = \"shop.K\"\n{section}");
            let workplace = Workplace::into_directory(&server, &[section.as_str()], "")?;
            server.sql(
                "INSERT INTO shop.K VALUES (1, 'a'), (1, 'a'), (1, 'a'), (2, 'cell17.'), (3, 'cell23.'), (4, 'cell31.'), (NULL, NULL)",
            )?;
            let is_followed = section.contains("update");
            if is_followed {
                server.sql("UPDATE shop.K SET n = 9 WHERE n = 1 LIMIT 1; DELETE FROM shop.K WHERE n = 1 LIMIT 1")?;
            }
            workplace.drain()?;
            let told = report(&workplace, 0, &[])?;
            ensure!(
                told["rows"] == if is_followed { 6 } else { 7 } && told["rows"] == told["equal"],
                "{told}"
            );
            rewrite(&workplace.path("data"), spoil)?;
            let text = verify(&workplace, 65, &[])?;
            ensure!(!text.contains("cell"), "{text}");
            let faults = &report(&workplace, 65, &[])?["faults"];
            // Without numbers a line more may be of a row that was deleted, and a changed one of one that was updated.
            let expected = if is_followed {
                serde_json::json!({"missing": 2, "extra": 1, "differing": 0, "doubled": 1})
            } else {
                serde_json::json!({"missing": 2, "extra": 0, "differing": 0, "doubled": 0})
            };
            ensure!(*faults == expected, "{faults}");
        }
    }
    Ok(())
}

#[test]
fn without_gtids_commits_are_given_time() -> Result<()> {
    let server = Server::mysql(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"])?;
    let workplace = delivered(&server, "id", CHANGES)?;
    server.sql("UPDATE shop.T SET note = 'new' WHERE id = 3; FLUSH BINARY LOGS")?;
    workplace.drain()?;
    let text = verify(&workplace, 0, &[])?;
    ensure!(text.contains("without GTIDs"), "{text}");
    rewrite(&workplace.path("data"), spoil)?;
    verify(&workplace, 65, &[]).map(drop)
}

#[test]
fn a_sample_is_about_as_large_as_was_asked_for() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id INT PRIMARY KEY AUTO_INCREMENT, n INT); INSERT INTO shop.T (n) VALUES (1), (2); \
         INSERT INTO shop.T (n) SELECT a.n FROM shop.T a, shop.T b, shop.T c, shop.T d, shop.T e, shop.T f, shop.T g, shop.T h, shop.T i, \
         shop.T j, shop.T k, shop.T l",
    )?;
    let section = format!("name = \"shop.T\"\n{CHANGES}");
    let workplace = Workplace::into_directory(&server, &[section.as_str()], "")?;
    workplace.drain()?;
    let told = report(&workplace, 0, &["--sample", "25"])?;
    let rows = told["rows"].as_u64().context("no rows")?;
    // Of 4,098 rows; a tenth of them to either side is 15 standard deviations.
    ensure!(
        (600..1_450).contains(&rows) && told["equal"] == rows,
        "{told}"
    );
    verify(&workplace, 64, &["--sample", "0"]).map(drop)
}

#[test]
fn a_table_that_is_altered_meanwhile_is_compared_anew() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb] {
        let shape = &SHAPES[0];
        let server = Server::start(kind, &[])?;
        server.sql("CREATE DATABASE shop")?;
        shape.create(&server)?;
        let table = format!("{CHANGED}\non_schema_change = \"version\"");
        let workplace = workplace(&server, &table, 0)?;
        workplace.drain()?;
        let agent = workplace.start()?;
        let text = std::thread::scope(|scope| {
            let comparing = scope
                .spawn(|| Ok::<_, anyhow::Error>(said(&workplace.verify(&["--wait", "60s"])?)));
            for number in 0..3 {
                server.sql(&format!(
                    "ALTER TABLE shop.T ADD COLUMN c{number} INT; UPDATE shop.T SET c{number} = 1 WHERE n < 100"
                ))?;
            }
            comparing.join().ok().context("it panicked")?
        })?;
        let (code, text) = text;
        ensure!(code == Some(0) || code == Some(75), "{text}");
        ensure!(agent.terminate()?.success());
        verify(&workplace, 0, &[])?;
    }
    Ok(())
}

#[test]
fn tables_of_a_pattern_are_compared_also_where_their_lines_are_together() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.a (id INT PRIMARY KEY, n INT); CREATE TABLE shop.b LIKE shop.a")?;
    let section = "name = \"shop.*\"\ndialect = \"jsonl\"\nevents = [\"insert\", \"update\", \"delete\"]\n\
                   metadata = [\"schema\", \"table\", \"sequence\"]";
    let workplace = Workplace::into_directory(&server, &[section], "")?;
    server.sql("INSERT INTO shop.a VALUES (1, 1), (2, 2); INSERT INTO shop.b VALUES (1, 7); UPDATE shop.b SET n = 8")?;
    workplace.drain()?;
    let text = verify(&workplace, 0, &[])?;
    ensure!(
        text.contains("shop.a: equal: 2 of 2") && text.contains("shop.b: equal: 1 of 1"),
        "{text}"
    );
    let place = workplace.path("data").display().to_string();
    let text = verify(&workplace, 0, &["--objects", &place])?;
    ensure!(
        text.contains("shop.b: equal: 1 of 1 rows, 2 lines"),
        "{text}"
    );
    server.sql("DELETE FROM shop.b")?;
    workplace.drain()?;
    rewrite(&workplace.path("data"), |line| {
        if line.contains("\"D\"") {
            String::new()
        } else {
            line.to_owned()
        }
    })?;
    let text = verify(&workplace, 65, &["--objects", &place])?;
    ensure!(
        text.contains("shop.a: equal") && text.contains("extra id=1"),
        "{text}"
    );
    Ok(())
}
