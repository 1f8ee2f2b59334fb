//! Columns that are masked or excluded: their values are nowhere in what is written, whatever becomes of the table.

mod nowhere;

use std::fs;
use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{
    Workplace, accept_option, config, eventually, files_below, gunzip, gunzip_all,
};
use crate::setup::replay::replayed;
use crate::setup::servers::{binlogs, reset_binlog};
use testkit::servers::{Kind, Server};

const SALT: &str = "[mask]\nsalt = \"4f1d2f8a55c1d0b7a9e3\"\n";
const ALL_EVENTS: &str = "events = [\"insert\", \"update\", \"delete\"]";
const VERSION: &str = "on_schema_change = \"version\"";

/// Everything below a folder as text: objects unpacked.
fn everything(folder: &Path) -> Result<String> {
    let mut all = String::new();
    for path in files_below(folder, "")? {
        if path.extension().is_some_and(|extension| extension == "gz") {
            all.push_str(&gunzip(&path)?);
        }
        let bytes = fs::read(&path)?;
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    Ok(all)
}

fn shop(kind: Kind) -> Result<Server> {
    let server = Server::start(kind, &["--binlog-row-metadata=FULL"])?;
    server.sql("CREATE DATABASE shop")?;
    Ok(server)
}

const TABLE: &str = "CREATE TABLE T (id int PRIMARY KEY, ssn varchar(20), name varchar(20))";

/// A new table with a row.
fn begin(server: &Server, keys: &str) -> Result<Workplace> {
    server.sql("USE shop; DROP TABLE IF EXISTS T, N, O")?;
    reset_binlog(server)?;
    server.sql(&format!(
        "USE shop; {TABLE}; INSERT INTO T VALUES (1, 'secret-1', 'a')"
    ))?;
    let table = format!("name = \"shop.T\"\n{keys}");
    let workplace = Workplace::into_directory(server, &[table], "")?;
    workplace.drain()?;
    Ok(workplace)
}

fn lines(workplace: &Workplace) -> Result<String> {
    gunzip_all(&workplace.path("data"))
}

/// It stops as often as it is started, and has written nothing of the row that came then.
fn stops(workplace: &Workplace, said: &str) -> Result<Output> {
    let mut last = None;
    for _ in 0..2 {
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(65),
            "{:?}: {log}",
            output.status
        );
        ensure!(
            log.contains(said) && log.contains("--accept-change shop.T="),
            "{said}: {log}"
        );
        let all = everything(&workplace.path(""))? + &log;
        ensure!(!all.contains("secret"), "{said}: {all}");
        last = Some(output);
    }
    last.context("it was not started")
}

/// Changes under which a protected column would be written under another name.
const RENAMES: &[(&str, &str)] = &[
    ("ALTER TABLE T RENAME COLUMN ssn TO social", "no column ssn"),
    (
        "ALTER TABLE T CHANGE ssn social varchar(20)",
        "no column ssn",
    ),
    (
        "ALTER TABLE T CHANGE COLUMN ssn name varchar(20), CHANGE name ssn varchar(20)",
        "another name",
    ),
    (
        "ALTER TABLE T DROP COLUMN name; ALTER TABLE T CHANGE ssn name varchar(20)",
        "no column ssn",
    ),
    (
        "ALTER TABLE T CHANGE ssn social varchar(20); ALTER TABLE T ADD COLUMN ssn varchar(20)",
        "another name",
    ),
    (
        "DROP TABLE T; CREATE TABLE T (id int PRIMARY KEY, social varchar(20), name varchar(20))",
        "no column ssn",
    ),
    (
        "CREATE TABLE N (id int PRIMARY KEY, social varchar(20), name varchar(20)); \
         RENAME TABLE T TO O, N TO T",
        "no column ssn",
    ),
];

#[test]
fn a_protected_column_under_another_name_stops_the_agent_until_somebody_decides() -> Result<()> {
    const INSERT: &str = "REPLACE INTO T (id, {}) VALUES (2, 'secret-2')";
    for kind in Kind::ALL {
        let server = shop(kind)?;
        for (index, (statement, said)) in RENAMES.iter().enumerate() {
            let protection =
                ["exclude_columns = [\"ssn\"]", "mask = { ssn = \"redact\" }"][index % 2];
            let mode = [VERSION, "dialect = \"jsonl\"", ""][index % 3];
            let workplace = begin(&server, &format!("{protection}\n{mode}"))?;
            let name = if statement.contains("social") {
                "social"
            } else {
                "name"
            };
            let insert = INSERT.replace("{}", name);
            server.sql(&format!("USE shop; {statement}; {insert}"))?;
            let output = stops(&workplace, said)?;
            // It is all that keeps the value from being written.
            let option = accept_option(&output.stderr)?;
            let accepted = workplace.run(&["--until", "now", "--accept-change", &option])?;
            ensure!(accepted.status.success(), "{statement}: {accepted:?}");
            let written = lines(&workplace)?;
            ensure!(
                written.contains("secret-2"),
                "{kind:?} {statement}: {written}"
            );
            // It stays decided, also without the option.
            server.sql(&format!("USE shop; {}", insert.replace('2', "3")))?;
            workplace.drain()?;
            ensure!(
                lines(&workplace)?.contains("secret-3"),
                "{kind:?} {statement}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_new_name_of_a_protected_column_is_another_way_to_go_on() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = begin(&server, "mask = { ssn = \"truncate:3\" }")?;
        server.sql(
            "USE shop; ALTER TABLE T CHANGE ssn social varchar(20); INSERT INTO T VALUES (2, 'secret-2', 'b')",
        )?;
        stops(&workplace, "no column ssn")?;
        let text = fs::read_to_string(workplace.path("hydrant.toml"))?;
        fs::write(
            workplace.path("hydrant.toml"),
            text.replace("ssn =", "social ="),
        )?;
        workplace.drain()?;
        ensure!(lines(&workplace)? == "1,sec,a\n2,sec,b\n", "{kind:?}");
        // A name that the table never had is a mistake.
        fs::write(
            workplace.path("hydrant.toml"),
            text.replace("ssn =", "socail ="),
        )?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(78), "{log}");
        ensure!(log.contains("did you mean social?"), "{log}");
    }
    Ok(())
}

#[test]
fn changes_that_rename_no_protected_column_stop_nothing() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = begin(&server, &format!("exclude_columns = [\"ssn\"]\n{VERSION}"))?;
        server.sql(
            "USE shop; ALTER TABLE T ADD COLUMN note int AFTER ssn; INSERT INTO T VALUES (2, 'secret-2', 7, 'b'); \
             ALTER TABLE T MODIFY ssn varchar(300) FIRST; INSERT INTO T VALUES ('secret-3', 3, 7, 'c'); \
             ALTER TABLE T CHANGE note remark int; ALTER TABLE T ADD INDEX (ssn); INSERT INTO T VALUES ('secret-4', 4, 7, 'd')",
        )?;
        workplace.drain()?;
        ensure!(
            lines(&workplace)? == "1,a\n2,7,b\n3,7,c\n4,7,d\n",
            "{kind:?}: {}",
            lines(&workplace)?
        );
    }
    Ok(())
}

/// The default of servers, under which they are asked for names.
#[test]
fn a_running_agent_stops_at_a_rename_that_the_binlog_does_not_show() -> Result<()> {
    for kind in Kind::ALL {
        let server = Server::start(kind, &[])?;
        server.sql("CREATE DATABASE shop")?;
        let workplace = begin(&server, &format!("exclude_columns = [\"ssn\"]\n{VERSION}"))?;
        let text = fs::read_to_string(workplace.path("hydrant.toml"))?;
        fs::write(
            workplace.path("hydrant.toml"),
            format!("{text}flush_interval = \"50ms\"\n"),
        )?;
        let mut agent = workplace.start()?;
        server.sql("INSERT INTO shop.T VALUES (2, 'secret-2', 'b')")?;
        eventually("the row is there", || {
            Ok(lines(&workplace)?.contains("2,b").then_some(()))
        })?;
        server.sql(
            "USE shop; ALTER TABLE T CHANGE ssn name varchar(20), CHANGE name ssn varchar(20); \
             INSERT INTO T VALUES (3, 'secret-3', 'c')",
        )?;
        ensure!(agent.wait()?.code() == Some(65), "{}", agent.log());
        ensure!(agent.log().contains("another name"), "{}", agent.log());
        stops(&workplace, "another name")?;
    }
    Ok(())
}

#[test]
fn another_mask_begins_a_version_and_the_same_one_does_not() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let workplace = begin(&server, VERSION)?;
        let plain = fs::read_to_string(workplace.path("hydrant.toml"))?;
        let other_salt = SALT.replace("4f1d", "4f1e");
        let mut row = 1;
        let mut hashes = Vec::new();
        for (protection, salt, version) in [
            ("", "", 1),
            ("mask = { ssn = \"sha256\" }", SALT, 2),
            ("mask = { SSN = \"sha256\" }", SALT, 2),
            ("mask = { ssn = \"sha256\" }", other_salt.as_str(), 3),
            ("mask = { ssn = \"redact\" }", "", 4),
            ("exclude_columns = [\"ssn\"]", "", 5),
            ("mask = { ssn = \"sha256\" }", SALT, 2),
        ] {
            row += 1;
            let text = plain.replace(VERSION, &format!("{VERSION}\n{protection}"));
            fs::write(workplace.path("hydrant.toml"), format!("{text}{salt}"))?;
            server.sql(&format!("INSERT INTO shop.T VALUES ({row}, 'same', 'x')"))?;
            workplace.drain()?;
            let written = gunzip_all(&workplace.path(&format!("data/shop.T/v={version}")))?;
            let line = written
                .lines()
                .find(|line| line.starts_with(&format!("{row},")));
            let line = line.with_context(|| format!("{kind:?} {protection}: {written}"))?;
            hashes.push(line.split_once(',').context("one column")?.1.to_owned());
        }
        ensure!(
            hashes[1] == hashes[2] && hashes[1] == hashes[6] && hashes[1] != hashes[3],
            "{hashes:?}"
        );
        ensure!(
            hashes[0] == "same,x" && hashes[4] == "***,x" && hashes[5] == "x",
            "{hashes:?}"
        );
    }
    Ok(())
}

#[test]
fn a_hashed_key_stays_a_key_and_a_cut_one_is_refused() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let sql = "USE shop; CREATE TABLE K (email varchar(40) PRIMARY KEY, n int); \
                   INSERT INTO K VALUES ('a@x.org', 1); UPDATE K SET n = 2; UPDATE K SET email = 'b@x.org'; \
                   DELETE FROM K";
        server.sql(sql)?;
        let table = |mask: &str, events: &str| {
            format!("name = \"shop.K\"\nmask = {{ email = \"{mask}\" }}\n{events}")
        };
        let sink = format!("type = \"stdout\"\n{SALT}");
        let workplace = Workplace::new(&config(&server, &table("sha256", ALL_EVENTS), &sink))?;
        let lines = workplace.drain()?;
        let fields: Vec<Vec<&str>> = lines
            .lines()
            .map(|line| line.split(',').collect())
            .collect();
        let changes: Vec<[&str; 2]> = fields.iter().map(|it| [it[1], it[2]]).collect();
        ensure!(
            changes == [["1", "I"], ["2", "U"], ["2", "D"], ["2", "I"], ["2", "D"]],
            "{lines}"
        );
        let keys: Vec<&str> = fields.iter().map(|it| it[0]).collect();
        ensure!(
            keys[0] == keys[1] && keys[1] == keys[2] && keys[3] == keys[4],
            "{lines}"
        );
        ensure!(
            keys[2] != keys[3] && keys.iter().all(|key| key.len() == 64),
            "{lines}"
        );
        for mask in ["redact", "truncate:3"] {
            let workplace = Workplace::new(&config(
                &server,
                &table(mask, ALL_EVENTS),
                "type = \"stdout\"",
            ))?;
            let output = workplace.run(&["--until", "now"])?;
            let log = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.code() == Some(78) && log.contains("primary key"),
                "{log}"
            );
            // Of inserts alone it is allowed.
            let workplace =
                Workplace::new(&config(&server, &table(mask, ""), "type = \"stdout\""))?;
            let lines = workplace.drain()?;
            ensure!(
                lines.lines().count() == 1 && !lines.contains("x.org"),
                "{lines}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_key_that_comes_to_lie_on_a_cut_column_stops_the_agent() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let keys = format!("mask = {{ ssn = \"truncate:3\" }}\n{ALL_EVENTS}");
        let workplace = begin(&server, &keys)?;
        let mut agent = workplace.start()?;
        eventually("it follows", || {
            Ok(agent.log().contains("following from").then_some(()))
        })?;
        server.sql(
            "USE shop; ALTER TABLE T DROP PRIMARY KEY, ADD PRIMARY KEY (ssn); \
             INSERT INTO T VALUES (2, 'secret-2', 'b')",
        )?;
        ensure!(agent.wait()?.code() == Some(65), "{}", agent.log());
        ensure!(agent.log().contains("primary key"), "{}", agent.log());
        // A later start sees it in the table.
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(78) && log.contains("primary key"),
            "{log}"
        );
    }
    Ok(())
}

#[test]
fn partial_updates_of_a_masked_document_are_masked() -> Result<()> {
    let server = Server::mysql(&[
        "--binlog-row-metadata=FULL",
        "--binlog-row-value-options=PARTIAL_JSON",
    ])?;
    let long = "y".repeat(300);
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; CREATE TABLE J (id int PRIMARY KEY, doc json); \
         INSERT INTO J VALUES (1, '{{\"who\": \"secret-1\", \"long\": \"{long}\"}}'); \
         UPDATE J SET doc = JSON_SET(doc, '$.who', 'secret-2')"
    ))?;
    let lines = |mask: &str| {
        let table = format!("name = \"shop.J\"\n{ALL_EVENTS}\n{mask}");
        let sink = format!(
            "type = \"stdout\"\n{}",
            if mask.contains("sha256") { SALT } else { "" }
        );
        Workplace::new(&config(&server, &table, &sink))?.drain()
    };
    let whole = lines("mask = { doc = \"truncate:10000\" }")?;
    ensure!(whole == lines("")? && whole.contains("secret-2"), "{whole}");
    let cut = lines("mask = { doc = \"truncate:8\" }")?;
    ensure!(!cut.contains("secret") && cut.lines().count() == 2, "{cut}");
    let written = lines("mask = { doc = \"sha256\" }")?;
    let hashes: Vec<&str> = written
        .split([',', '\n'])
        .filter(|field| field.len() == 64)
        .collect();
    ensure!(hashes.len() == 2 && hashes[0] != hashes[1], "{written}");
    Ok(())
}

#[test]
fn invalid_text_is_masked_as_it_would_be_written() -> Result<()> {
    let server = Server::start(Kind::Mariadb11, &["--binlog-row-metadata=FULL"])?;
    server.sql(
        "SET NAMES utf8mb4; CREATE DATABASE shop; USE shop; CREATE TABLE I (id int PRIMARY KEY, t varchar(30) CHARACTER SET ucs2); \
         INSERT INTO I VALUES (1, CONCAT('secret', CONVERT(0xD83D USING ucs2), 'x'))",
    )?;
    for (mask, expected) in [("truncate:7", "1,secret\u{fffd}\n"), ("redact", "1,***\n")] {
        let table = format!("name = \"shop.I\"\nmask = {{ t = \"{mask}\" }}");
        let lines = Workplace::new(&config(&server, &table, "type = \"stdout\""))?.drain()?;
        ensure!(lines == expected, "{lines:?}");
    }
    let table = "name = \"shop.I\"\nmask = { t = \"redact\" }\ninvalid_text = \"stop\"";
    let output =
        Workplace::new(&config(&server, table, "type = \"stdout\""))?.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(65) && !log.contains("secret"),
        "{log}"
    );
    Ok(())
}

#[test]
fn a_replay_masks_as_the_agent_does() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind)?;
        let keys = "mask = { ssn = \"truncate:3\", name = \"redact\" }";
        let workplace = begin(&server, keys)?;
        server.sql("FLUSH BINARY LOGS")?;
        let config = workplace.path("hydrant.toml").display().to_string();
        for more in [&[][..], &["--offline"]] {
            let arguments = [&["--config", &config, "--out", "-"], more].concat();
            let lines = replayed(&binlogs(&server)?, &arguments)?;
            ensure!(lines == "1,sec,***\n", "{kind:?}: {lines}");
        }
    }
    Ok(())
}
