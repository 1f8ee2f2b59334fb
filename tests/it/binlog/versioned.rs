//! System-versioned tables of MariaDB: changes come as the application makes them, and the history does not.

use anyhow::{Result, ensure};

use crate::setup::agent::{Workplace, config};
use crate::setup::replay::{replay, replayed};
use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

const MARIADBS: [Kind; 2] = [Kind::Mariadb, Kind::Mariadb11];
const IMPLICIT: &str =
    "CREATE TABLE T (id int PRIMARY KEY, note varchar(20)) WITH SYSTEM VERSIONING";
const WITHOUT_KEY: &str = "CREATE TABLE T (id int, note varchar(20)) WITH SYSTEM VERSIONING";
/// ROW END stands in the middle, under another name.
const EXPLICIT: &str = "CREATE TABLE T (id int PRIMARY KEY, valid_to timestamp(6) GENERATED ALWAYS AS ROW END INVISIBLE, \
                        note varchar(20), valid_from timestamp(6) GENERATED ALWAYS AS ROW START INVISIBLE, \
                        PERIOD FOR SYSTEM_TIME (valid_from, valid_to)) WITH SYSTEM VERSIONING";
/// MariaDB keeps the unique key in a column behind row_end.
const WITH_HASH: &str =
    "CREATE TABLE T (id int PRIMARY KEY, note text, UNIQUE (note, id)) WITH SYSTEM VERSIONING";
const PARTITIONED: &str = "CREATE TABLE T (id int PRIMARY KEY, note varchar(20)) WITH SYSTEM VERSIONING \
                           PARTITION BY SYSTEM_TIME LIMIT 2 PARTITIONS 4";
const NOT_VERSIONED: &str = "CREATE TABLE T (id int PRIMARY KEY, note varchar(20))";

/// What an application does to a table.
const CHANGES: &str = "INSERT INTO T (id, note) VALUES (1, 'a'), (2, 'b'), (3, 'c'); UPDATE T SET note = 'd' WHERE id <= 2; \
                       DELETE FROM T WHERE id = 2; UPDATE T SET id = 4 WHERE id = 3; \
                       INSERT INTO T (id, note) VALUES (2, 'again'); \
                       BEGIN; INSERT INTO T (id, note) VALUES (9, 'x'); UPDATE T SET note = 'y' WHERE id = 9; \
                       DELETE FROM T WHERE id = 9; COMMIT; UPDATE T SET note = 'last' WHERE id = 1";
const ALL_EVENTS: &str = "events = [\"insert\", \"update\", \"delete\"]";
const CHOSEN: &str = "columns = [\"id\", \"note\"]";
const ASKING_NOBODY: &[&str] = &["--offline"];

fn server(kind: Kind, arguments: &[&str], table: &str) -> Result<Server> {
    let server = Server::start(kind, arguments)?;
    let key = if table.contains("PRIMARY KEY") {
        "PRIMARY KEY"
    } else {
        ""
    };
    let ordinary = format!("CREATE TABLE P (id int {key}, note varchar(20))");
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; {table}; {ordinary}"
    ))?;
    Ok(server)
}

fn change(server: &Server) -> Result<()> {
    let of_ordinary = CHANGES.replace(" T ", " P ");
    server.sql(&format!("USE shop; {CHANGES}; {of_ordinary}"))?;
    Ok(())
}

fn workplace(server: &Server, table: &str, keys: &str) -> Result<Workplace> {
    let table = format!("name = \"shop.{table}\"\n{keys}");
    Workplace::new(&config(server, &table, "type = \"stdout\""))
}

/// The lines of the table are those of an ordinary one with the same changes.
fn is_as_ordinary(server: &Server, keys: &str) -> Result<()> {
    let expected = workplace(server, "P", keys)?.drain()?;
    let lines = workplace(server, "T", keys)?.drain()?;
    ensure!(!expected.is_empty());
    assert_eq!(lines, expected, "{keys}");
    Ok(())
}

fn in_each_way(kind: Kind, arguments: &[&str], table: &str) -> Result<()> {
    let server = server(kind, arguments, table)?;
    change(&server)?;
    server.sql("DELETE HISTORY FROM shop.T")?;
    let chosen = "columns = [\"note\", \"id\"]";
    for keys in [
        chosen.to_owned(),
        format!("{chosen}\nevents = [\"delete\"]"),
        format!("{chosen}\nevents = [\"update\"]"),
        format!("{chosen}\n{ALL_EVENTS}\nbefore_image = true\nmetadata = [\"ordinal\"]"),
        format!("{chosen}\n{ALL_EVENTS}\ndialect = \"jsonl\""),
    ] {
        is_as_ordinary(&server, &keys)?;
    }
    if table != EXPLICIT {
        is_as_ordinary(&server, ALL_EVENTS)?;
        is_as_ordinary(&server, "on_schema_change = \"version\"")?;
    }
    Ok(())
}

#[test]
fn changes_of_system_versioned_tables_are_those_of_the_application() -> Result<()> {
    for kind in MARIADBS {
        for table in [IMPLICIT, EXPLICIT, WITHOUT_KEY, PARTITIONED, WITH_HASH] {
            in_each_way(kind, &[], table)?;
        }
    }
    Ok(())
}

#[test]
fn system_versioned_tables_without_names_in_the_binlog_are_followed() -> Result<()> {
    for (kind, metadata) in [(Kind::Mariadb, "NO_LOG"), (Kind::Mariadb11, "MINIMAL")] {
        let metadata = format!("--binlog-row-metadata={metadata}");
        for table in [IMPLICIT, EXPLICIT, WITH_HASH] {
            in_each_way(kind, &[&metadata], table)?;
        }
    }
    Ok(())
}

#[test]
fn smaller_images_of_system_versioned_tables_are_read() -> Result<()> {
    for kind in MARIADBS {
        for table in [IMPLICIT, EXPLICIT, WITHOUT_KEY] {
            let server = server(kind, &["--binlog-row-image=NOBLOB"], table)?;
            change(&server)?;
            is_as_ordinary(
                &server,
                &format!("columns = [\"note\", \"id\"]\n{ALL_EVENTS}"),
            )?;
        }
        for table in [IMPLICIT, EXPLICIT] {
            let server = server(kind, &["--binlog-row-image=MINIMAL"], table)?;
            change(&server)?;
            let keys = format!("columns = [\"id\"]\n{ALL_EVENTS}");
            is_as_ordinary(&server, &keys)?;
            is_as_ordinary(&server, &format!("{keys}\nmetadata = [\"absent\"]"))?;
        }
    }
    Ok(())
}

/// What has no equal in an ordinary table, or is logged otherwise.
#[test]
fn history_is_not_written() -> Result<()> {
    for kind in MARIADBS {
        let server = server(kind, &[], IMPLICIT)?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); REPLACE INTO T VALUES (1, 'b'); \
             INSERT INTO T VALUES (1, 'c') ON DUPLICATE KEY UPDATE note = 'd'; \
             SET @@system_versioning_insert_history = 1; \
             INSERT INTO T (id, note, row_start, row_end) VALUES (7, 'old', '2001-01-01', '2002-01-01'); \
             SET @@system_versioning_insert_history = 0; DELETE HISTORY FROM T; \
             SET @@system_versioning_alter_history = KEEP; \
             ALTER TABLE T ADD other int WITHOUT SYSTEM VERSIONING; UPDATE T SET other = 1",
        )?;
        let keys = format!("{CHOSEN}\n{ALL_EVENTS}");
        // MariaDB makes an update of REPLACE, or a delete and an insert.
        let lines = workplace(&server, "T", &keys)?.drain()?;
        let lines = lines.replace("1,a,D\n1,b,I\n", "1,b,U\n");
        assert_eq!(lines, "1,a,I\n1,b,U\n1,d,U\n1,d,U\n");
        // A period of the application's splits rows, which are inserted.
        server.sql(
            "USE shop; CREATE TABLE Q (id int, a date, b date, PERIOD FOR p(a, b)) WITH SYSTEM VERSIONING; \
             INSERT INTO Q VALUES (1, '2020-01-01', '2021-01-01'); \
             DELETE FROM Q FOR PORTION OF p FROM '2020-03-01' TO '2020-04-01'",
        )?;
        let lines = workplace(&server, "Q", ALL_EVENTS)?.drain()?;
        let expected = "1,2020-01-01,2021-01-01,I\n1,2020-01-01,2021-01-01,D\n\
                        1,2020-01-01,2020-03-01,I\n1,2020-04-01,2021-01-01,I\n";
        assert_eq!(lines, expected);
    }
    Ok(())
}

#[test]
fn versioning_that_comes_and_goes_is_followed() -> Result<()> {
    for kind in MARIADBS {
        let server = server(kind, &[], NOT_VERSIONED)?;
        let keys = format!("{CHOSEN}\n{ALL_EVENTS}");
        let lines = "1,a,I\n1,b,U\n1,c,U\n1,d,U\n1,d,D\n";
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD SYSTEM VERSIONING; UPDATE T SET note = 'b'; \
             UPDATE T SET note = 'c'; ALTER TABLE T DROP SYSTEM VERSIONING; UPDATE T SET note = 'd'; DELETE FROM T",
        )?;
        assert_eq!(workplace(&server, "T", &keys)?.drain()?, lines);
        let replayed = replay_with(&server, &keys, ASKING_NOBODY)?;
        assert_eq!(replayed, lines);
    }
    Ok(())
}

/// A replay of `shop.T`.
fn replay_with(server: &Server, keys: &str, options: &[&str]) -> Result<String> {
    let place = workplace(server, "T", keys)?;
    let config = place.path("hydrant.toml").display().to_string();
    let arguments = ["--config", &config, "--out", "-"];
    replayed(&binlogs(server)?, &[&arguments[..], options].concat())
}

#[test]
fn a_replay_tells_history_by_the_servers_names() -> Result<()> {
    for kind in MARIADBS {
        let implicit = server(kind, &[], IMPLICIT)?;
        change(&implicit)?;
        let expected = workplace(&implicit, "P", ALL_EVENTS)?.drain()?;
        assert_eq!(replay_with(&implicit, ALL_EVENTS, ASKING_NOBODY)?, expected);
        // Under other names nobody knows what they are.
        let explicit = server(kind, &[], EXPLICIT)?;
        change(&explicit)?;
        let output = replay(&binlogs(&explicit)?, &["--table", "shop.T", "--out", "-"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{log}");
        ensure!(
            log.contains("column valid_to") && log.contains("[source]"),
            "{log}"
        );
        ensure!(output.stdout.is_empty());
        let lines = replay_with(&explicit, CHOSEN, &[])?;
        assert_eq!(lines, workplace(&explicit, "P", CHOSEN)?.drain()?);
    }
    Ok(())
}

/// Columns that only look so are the application's.
#[test]
fn ordinary_tables_with_such_columns_are_written_whole() -> Result<()> {
    for kind in MARIADBS {
        let table = "CREATE TABLE T (id int PRIMARY KEY, row_start timestamp(6) NOT NULL DEFAULT '2001-01-01', \
                     row_end timestamp(6) NOT NULL DEFAULT '2038-01-19 03:14:07.999999')";
        let server = server(kind, &["--default-time-zone=+00:00"], table)?;
        server.sql("INSERT INTO shop.T (id) VALUES (1); INSERT INTO shop.T VALUES (2, '2001-01-01', '2002-01-01')")?;
        let lines = workplace(&server, "T", "columns = [\"id\"]")?.drain()?;
        assert_eq!(lines, "1\n2\n");
    }
    Ok(())
}

#[test]
fn versioning_by_transaction_is_refused() -> Result<()> {
    for kind in MARIADBS {
        let by_transaction = "CREATE TABLE T (id int PRIMARY KEY, note varchar(20), a bigint unsigned GENERATED ALWAYS AS ROW START \
                              INVISIBLE, b bigint unsigned GENERATED ALWAYS AS ROW END INVISIBLE, \
                              PERIOD FOR SYSTEM_TIME (a, b)) WITH SYSTEM VERSIONING";
        let server = server(kind, &[], by_transaction)?;
        let place = workplace(&server, "T", "")?;
        let output = place.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{log}");
        ensure!(
            log.contains("by transaction id") && log.contains("remedy: "),
            "{log}"
        );
        ensure!(!place.path("checkpoint.json").exists());
    }
    Ok(())
}

/// Where versioning with declared columns is added to a table that is followed, its changes cannot be told apart
/// until the server is asked again.
#[test]
fn declared_versioning_that_is_added_stops_the_running_agent() -> Result<()> {
    for kind in MARIADBS {
        let server = server(kind, &[], NOT_VERSIONED)?;
        let keys = format!("{CHOSEN}\n{ALL_EVENTS}");
        let place = workplace(&server, "T", &keys)?;
        place.drain()?;
        let mut agent = place.start()?;
        crate::setup::agent::eventually("the agent follows", || {
            Ok(agent.log().contains("following from").then_some(()))
        })?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD COLUMN s timestamp(6) GENERATED ALWAYS AS ROW START, \
             ADD COLUMN e timestamp(6) GENERATED ALWAYS AS ROW END, ADD PERIOD FOR SYSTEM_TIME (s, e), \
             ADD SYSTEM VERSIONING; UPDATE T SET note = 'b'; DELETE FROM T",
        )?;
        let status = agent.wait()?;
        let log = agent.log();
        assert_eq!(status.code(), Some(65), "{log}");
        ensure!(
            log.contains("column e") && log.contains("start hydrant again"),
            "{log}"
        );
        // The next start asks.
        assert_eq!(place.drain()?, "1,b,U\n1,b,D\n");
    }
    Ok(())
}
