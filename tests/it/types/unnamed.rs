//! Table maps that do not name their columns (`binlog_row_metadata` MINIMAL and NO_LOG): the server
//! tells what they leave out, and what does not fit stops the agent.

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::columns::Column;
use super::oracle::Session;
use super::{columns, interleaved, lines, seed, short, table};
use crate::setup::agent::{Workplace, accept_option, config, eventually};
use crate::setup::replay::{replay, replayed};
use crate::setup::servers::binlogs;
use testkit::program::program;
use testkit::servers::{Kind, Server};

const ROWS: usize = 500;

pub(super) const SILENT: [(Kind, &str); 4] = [
    (Kind::Mysql, "MINIMAL"),
    (Kind::Mariadb, "MINIMAL"),
    (Kind::Mariadb, "NO_LOG"),
    (Kind::Mariadb11, "NO_LOG"),
];

pub(super) fn server(kind: Kind, metadata: &str) -> Result<Server> {
    let metadata = format!("--binlog-row-metadata={metadata}");
    Server::start(kind, &["--sql-mode=", &metadata])
}

fn types_without_names(kind: Kind, metadata: &str) -> Result<()> {
    let server = server(kind, metadata)?;
    let mut session = Session::open(&server)?;
    let (all, written) = interleaved(kind, columns::supported(kind));
    let definitions: Vec<String> = all.iter().map(Column::definition).collect();
    session.run("CREATE DATABASE shop")?;
    session.run(&format!(
        "CREATE TABLE shop.Types (id bigint unsigned NOT NULL, {}, \
         odd enum('it''s', 'a,b', 'back\\\\slash', 'Größe', '(x)') character set latin1, \
         many set({}), shout varchar(30) AS (CONCAT(id, '!')) VIRTUAL, secret int DEFAULT 7 INVISIBLE)",
        definitions.join(", "),
        (0..33).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
    ))?;
    let mut rng = StdRng::seed_from_u64(seed()?);
    let bounds: Vec<Vec<String>> = all.iter().map(Column::bounds).collect();
    for number in 0..ROWS {
        let mut values = vec![number.to_string()];
        for (column, bounds) in all.iter().zip(&bounds) {
            let bound = bounds.get(number).cloned();
            values.push(bound.unwrap_or_else(|| column.random(&short(bounds), &mut rng)));
        }
        let odd = [
            "'it''s'",
            "'a,b'",
            "'back\\\\slash'",
            "'Größe'",
            "'(x)'",
            "NULL",
        ];
        let values = values.join(", ");
        session.run(&format!(
            "INSERT INTO shop.Types VALUES ({values}, {}, '7,32', DEFAULT)",
            odd[number % odd.len()]
        ))?;
    }
    let mut written = written;
    written.extend(["odd", "many", "shout", "secret"].map(str::to_owned));
    let lines = lines(&server, &table("shop.Types", &written))?;
    let row_count = session.compare("shop", "Types", Some(&written), lines.as_bytes())?;
    ensure!(row_count == ROWS);
    Ok(())
}

#[test]
fn types_of_mysql_are_known_without_names() -> Result<()> {
    types_without_names(Kind::Mysql, "MINIMAL")
}

#[test]
fn types_of_mariadb_are_known_without_names() -> Result<()> {
    types_without_names(Kind::Mariadb, "MINIMAL")
}

#[test]
fn types_of_mariadb_11_are_known_without_names() -> Result<()> {
    types_without_names(Kind::Mariadb11, "MINIMAL")
}

#[test]
fn types_of_mariadb_are_known_without_anything() -> Result<()> {
    types_without_names(Kind::Mariadb, "NO_LOG")
}

#[test]
fn types_of_mariadb_11_are_known_without_anything() -> Result<()> {
    types_without_names(Kind::Mariadb11, "NO_LOG")
}

pub(super) fn shop(kind: Kind, metadata: &str) -> Result<Server> {
    let server = server(kind, metadata)?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, a varchar(9), b varchar(9))")?;
    Ok(server)
}

fn following(server: &Server) -> Result<Workplace> {
    Workplace::new(&config(server, "name = \"shop.T\"", "type = \"stdout\""))
}

fn stops(workplace: &Workplace, said: &[&str]) -> Result<String> {
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(65),
        "{:?}: {log}",
        output.status
    );
    for word in said.iter().chain(&["binlog.0", "remedy: "]) {
        ensure!(log.contains(word), "{word}: {log}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The server only knows the table of now.
#[test]
fn rows_from_before_a_change_that_was_missed_stop_the_agent() -> Result<()> {
    for (kind, metadata) in SILENT {
        for (change, remedy) in [
            ("ADD COLUMN c int", "remove shop.T from the configuration"),
            (
                "MODIFY COLUMN a varchar(9) AFTER b",
                "--accept-change shop.T=",
            ),
        ] {
            let server = shop(kind, metadata)?;
            server.sql(&format!(
                "USE shop; INSERT INTO T VALUES (1, 'a', 'b'); ALTER TABLE T {change}"
            ))?;
            let said = ["shop.T", "only knows the table as it is after", remedy];
            let lines = stops(&following(&server)?, &said)?;
            ensure!(lines.is_empty(), "{lines}");
        }
    }
    Ok(())
}

/// An agent that has read no row yet knows the tables that it has found at its first start.
#[test]
fn rows_from_before_a_change_are_known_since_the_first_start() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = shop(kind, metadata)?;
        let keys = "on_schema_change = \"version\"";
        let (workplace, data) = into_directory(&server, keys)?;
        let path = workplace.path("hydrant.toml");
        let text = std::fs::read_to_string(&path)?.replace("\"earliest\"", "\"latest\"");
        std::fs::write(&path, text)?;
        workplace.drain()?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a', 'b'); ALTER TABLE T DROP COLUMN a; \
             INSERT INTO T VALUES (2, 'b')",
        )?;
        workplace.drain()?;
        assert_eq!(lines_in(&data)?, ["1,a,b", "2,b"]);
    }
    Ok(())
}

/// A change with sql_log_bin = 0 is in no binlog; what the table map does tell is held against the server.
#[test]
fn a_change_outside_the_binlog_is_detected_by_what_a_table_map_tells() -> Result<()> {
    for (kind, metadata) in SILENT {
        for change in [
            "ADD COLUMN c int",
            "MODIFY COLUMN id bigint",
            "MODIFY COLUMN b varchar(9) NOT NULL",
            "MODIFY COLUMN b varchar(300)",
        ] {
            let server = shop(kind, metadata)?;
            server.sql(&format!(
                "USE shop; INSERT INTO T VALUES (1, 'a', 'b'); \
                 SET SESSION sql_log_bin = 0; ALTER TABLE T {change}"
            ))?;
            let lines = stops(
                &following(&server)?,
                &["shop.T", "no statement in the binlog"],
            )?;
            ensure!(lines.is_empty(), "{lines}");
        }
    }
    Ok(())
}

pub(super) fn lines_in(data: &std::path::Path) -> Result<Vec<String>> {
    if !data.exists() {
        return Ok(Vec::new());
    }
    let lines = crate::setup::agent::gunzip_all(data)?;
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    Ok(lines)
}

/// Follows `shop.T` into a directory.
pub(super) fn into_directory(
    server: &Server,
    keys: &str,
) -> Result<(Workplace, std::path::PathBuf)> {
    let table = format!("name = \"shop.T\"\n{keys}");
    let workplace = Workplace::into_directory(server, &[table], "flush_interval = \"20ms\"")?;
    let data = workplace.path("data");
    Ok((workplace, data))
}

fn wait_for(data: &std::path::Path, wanted: &[&str]) -> Result<()> {
    eventually("the rows are delivered", || {
        Ok((lines_in(data)? == wanted).then_some(()))
    })
}

/// No table map tells that two columns have changed places. The agent asks again and goes on.
#[test]
fn a_running_agent_asks_again_after_a_change() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = shop(kind, metadata)?;
        let (workplace, data) = into_directory(&server, "")?;
        let agent = workplace.start()?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b')")?;
        wait_for(&data, &["1,a,b"])?;
        server.sql(
            "USE shop; ALTER TABLE T MODIFY COLUMN a varchar(9) AFTER b; INSERT INTO T VALUES (2, 'b', 'a')",
        )?;
        wait_for(&data, &["1,a,b", "2,a,b"])?;
        ensure!(agent.terminate()?.success());
        // Rows of before a change are read with what was known of them, however late.
        server.sql(
            "USE shop; INSERT INTO T VALUES (3, 'b', 'a'); ALTER TABLE T MODIFY COLUMN b varchar(9) AFTER a; \
             INSERT INTO T VALUES (4, 'a', 'b')",
        )?;
        workplace.drain()?;
        assert_eq!(lines_in(&data)?, ["1,a,b", "2,a,b", "3,a,b", "4,a,b"]);
    }
    Ok(())
}

/// Servers give a table another number when they load its definition anew, for whatever reason.
#[test]
fn a_reordering_outside_the_binlog_stops_the_agent_until_somebody_accepts_it() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = shop(kind, metadata)?;
        let (workplace, data) = into_directory(&server, "")?;
        let mut agent = workplace.start()?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b')")?;
        wait_for(&data, &["1,a,b"])?;
        server.sql("USE shop; FLUSH TABLES; INSERT INTO T VALUES (2, 'a', 'b')")?;
        wait_for(&data, &["1,a,b", "2,a,b"])?;
        server.sql(
            "USE shop; SET SESSION sql_log_bin = 0; ALTER TABLE T MODIFY COLUMN a varchar(9) AFTER b; \
             SET SESSION sql_log_bin = 1; INSERT INTO T VALUES (3, 'b', 'a')",
        )?;
        let status = agent.wait()?;
        let log = agent.log();
        ensure!(status.code() == Some(65), "{status}: {log}");
        let output = workplace.run(&["--until", "now"])?;
        ensure!(output.status.code() == Some(65), "{:?}", output.status);
        let accept = accept_option(&output.stderr)?;
        let output = workplace.run(&["--until", "now", "--accept-change", &accept])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(lines_in(&data)?, ["1,a,b", "2,a,b", "3,a,b"]);
    }
    Ok(())
}

/// Nightly maintenance must not stop an agent.
#[test]
fn what_leaves_the_columns_alone_stops_nobody() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = server(kind, metadata)?;
        server.sql(
            "CREATE DATABASE shop; USE shop; CREATE TABLE T (id int PRIMARY KEY, a varchar(9), b varchar(9)) \
             PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20), \
             PARTITION p2 VALUES LESS THAN MAXVALUE)",
        )?;
        let (workplace, data) = into_directory(&server, "")?;
        server.sql("INSERT INTO shop.T VALUES (11, 'a', 'b')")?;
        workplace.drain()?;
        let statements = [
            "ALTER TABLE T DROP PARTITION p0",
            "ALTER TABLE T TRUNCATE PARTITION p1",
            "ALTER TABLE T COMMENT = 'followed'",
            "CREATE INDEX i ON T (a)",
            "CREATE VIEW V AS SELECT * FROM T",
            "CREATE TRIGGER G BEFORE INSERT ON T FOR EACH ROW SET NEW.a = NEW.a",
            "CREATE TABLE Other LIKE T",
            "CREATE USER 'T'@'localhost'",
            "/*!40000 ALTER TABLE `T` DISABLE KEYS */",
        ];
        // While the agent is away, with rows between all of them.
        let mut wanted = vec!["11,a,b".to_owned()];
        for (statement, id) in statements.iter().zip(20..) {
            server.sql(&format!(
                "USE shop; {statement}; INSERT INTO T VALUES ({id}, 'a', 'b')"
            ))?;
            wanted.push(format!("{id},a,b"));
        }
        workplace.drain()?;
        assert_eq!(lines_in(&data)?, wanted);
        let agent = workplace.start()?;
        for (statement, id) in ["ALTER TABLE T COMMENT = 'again'", "DROP VIEW V"]
            .iter()
            .zip(40..)
        {
            server.sql(&format!(
                "USE shop; {statement}; INSERT INTO T VALUES ({id}, 'a', 'b')"
            ))?;
            wanted.push(format!("{id},a,b"));
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            wait_for(&data, &wanted)?;
        }
        ensure!(agent.terminate()?.success());
    }
    Ok(())
}

#[test]
fn replay_without_a_database_needs_names() -> Result<()> {
    let server = shop(Kind::Mysql, "MINIMAL")?;
    server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b'); FLUSH BINARY LOGS")?;
    let output = program(env!("CARGO_BIN_EXE_hydrant"))
        .args(["replay", "--table", "shop.T", "--out", "-", "--binlog"])
        .arg(server.binlog_dir().join("binlog.000001"))
        .output()
        .context("cannot run hydrant")?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(65) && log.contains("no column names"),
        "{log}"
    );
    ensure!(
        log.contains("--config") && log.contains("[source]") && log.contains("--columns"),
        "{log}"
    );
    Ok(())
}

/// Without a database the names can be given; what else the binlog does not tell is refused.
#[test]
fn columns_name_those_of_a_binlog_without_names() -> Result<()> {
    for (kind, metadata, is_enough) in [
        (Kind::Mysql, "MINIMAL", true),
        (Kind::Mariadb, "MINIMAL", true),
        (Kind::Mariadb11, "MINIMAL", true),
        (Kind::Mariadb, "NO_LOG", false),
        (Kind::Mariadb11, "NO_LOG", false),
    ] {
        let server = server(kind, metadata)?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id INT UNSIGNED, `a,b` VARCHAR(9), c DOUBLE(8,2), \
             d VARBINARY(9)); INSERT INTO shop.T VALUES (4294967295, 'größe', 1.5, x'00ff'); \
             CREATE TABLE shop.E (id INT, e ENUM('x')); INSERT INTO shop.E VALUES (1, 'x'); \
             FLUSH BINARY LOGS",
        )?;
        let run = |table: &str, columns: &str| -> Result<(Option<i32>, String, String)> {
            let output = program(env!("CARGO_BIN_EXE_hydrant"))
                .args([
                    "replay",
                    "--table",
                    table,
                    "--out",
                    "-",
                    "--columns",
                    columns,
                    "--binlog",
                ])
                .arg(server.binlog_dir().join("binlog.000001"))
                .output()?;
            let text = |bytes| String::from_utf8(bytes);
            Ok((
                output.status.code(),
                text(output.stdout)?,
                text(output.stderr)?,
            ))
        };
        let (code, rows, log) = run("shop.T", "id, `a,b`, c DOUBLE(8,2), d")?;
        if !is_enough {
            ensure!(
                code == Some(65) && log.contains("with or without a sign"),
                "{log}"
            );
            ensure!(log.contains("--config") && log.contains("FULL"), "{log}");
            continue;
        }
        ensure!(code == Some(0), "{log}");
        assert_eq!(rows, "4294967295,größe,1.50,00FF\n", "{}", kind.name());
        let (code, rows, log) = run("shop.T", "id, d")?;
        ensure!(
            code == Some(65) && log.contains("it has 4 columns, and 2 are named"),
            "{log}"
        );
        ensure!(rows.is_empty() && log.contains("in its order"), "{log}");
        let (code, _, log) = run("shop.E", "id, e")?;
        ensure!(
            code == Some(65) && log.contains("column 2, e, is an ENUM"),
            "{log}"
        );
    }
    Ok(())
}

/// What a database tells is of now: of the rows before a change in the files, nothing is written with it.
fn a_replay_looks_for_changes_first(
    kind: Kind,
    metadata: &str,
    (harmless, change): (&str, &str),
) -> Result<()> {
    let server = server(kind, metadata)?;
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; CREATE TABLE T (a double(8,2), b double(8,3)); \
         CREATE TABLE O (id int); INSERT INTO O VALUES (9); INSERT INTO T VALUES (1, 2); FLUSH BINARY LOGS; \
         ALTER TABLE T {harmless}; INSERT INTO T (a, b) VALUES (3, 4); ALTER TABLE T {change}; \
         INSERT INTO T (a, b) VALUES (5, 6); FLUSH BINARY LOGS; INSERT INTO O VALUES (10)"
    ))?;
    let workplace = Workplace::new(&config(
        &server,
        "name = \"shop.O\"\n\n[[table]]\nname = \"shop.T\"\ncolumns = [\"a\", \"b\"]",
        "type = \"stdout\"",
    ))?;
    let file = workplace.path("hydrant.toml").display().to_string();
    let files = binlogs(&server)?;
    let asking = ["--out", "-", "--config", &file];
    let mut positions = None;
    for until in [&[][..], &["--until", "binlog.000002:4"]] {
        let output = replay(&files, &[&asking[..], until].concat())?;
        let log = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(65),
            "{kind:?} {metadata}: {log}"
        );
        assert_eq!(String::from_utf8(output.stdout)?, "", "{log}");
        ensure!(log.contains("the statement before binlog.000002:"), "{log}");
        let word = |option: &str| {
            let (_, rest) = log.split_once(option)?;
            Some(rest.trim_start().split([' ', ',']).next()?.to_owned())
        };
        positions = word("--start").zip(word("--until"));
    }
    let (start, until) = positions.context("no positions in the remedy")?;
    let behind = replayed(&files, &[&asking[..], &["--start", &start]].concat())?;
    assert_eq!(behind, "5.0000,6.000\n10\n", "{kind:?} {metadata}");
    if metadata != "NO_LOG" {
        let columns = "a DOUBLE(8,2), b DOUBLE(8,3)";
        let table = ["--table", "shop.T", "--out", "-", "--columns", columns];
        let before = replayed(&files, &[&table[..], &["--until", &until]].concat())?;
        assert_eq!(before, "1.00,2.000\n3.00,4.000\n", "{kind:?} {metadata}");
    }
    // Nobody was asked about the other table.
    workplace.configure(&config(&server, "name = \"shop.O\"", "type = \"stdout\""))?;
    if metadata == "FULL" {
        assert_eq!(replayed(&files, &asking)?, "9\n10\n");
    }
    Ok(())
}

#[test]
fn a_replay_without_names_looks_for_changes_first() -> Result<()> {
    let changes = ("ADD INDEX (a)", "MODIFY a double(10,4), ADD c int");
    for (kind, metadata) in SILENT {
        a_replay_looks_for_changes_first(kind, metadata, changes)?;
    }
    Ok(())
}

#[test]
fn a_replay_with_names_looks_for_changes_first() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let changes = ("ADD COLUMN c int FIRST", "MODIFY a double(10,4)");
        a_replay_looks_for_changes_first(kind, "FULL", changes)?;
    }
    Ok(())
}
