//! Changes of a table that the binlog does not hold (`sql_log_bin = 0`), in front of others that it does: what the
//! server tells of now cannot say which of them made the difference.

use anyhow::{Context as _, Result, ensure};

use super::unnamed::{SILENT, into_directory, lines_in, server, shop};
use crate::setup::agent::{Workplace, accept_option};
use crate::setup::servers::reset_binlog;
use testkit::servers::{Kind, Server};

const HIDDEN_SWAP: &str = "SET SESSION sql_log_bin = 0; ALTER TABLE T MODIFY COLUMN a varchar(9) AFTER b; \
     SET SESSION sql_log_bin = 1;";

fn stops(workplace: &Workplace) -> Result<Vec<u8>> {
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(65), "{log}");
    ensure!(log.contains("without a statement in the binlog"), "{log}");
    Ok(output.stderr)
}

/// Whether the agent was away or only late makes no difference: it goes on from the commit before the row.
fn hidden_then(server: &Server, logged: &str) -> Result<Vec<String>> {
    let (workplace, data) = into_directory(server, "")?;
    server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b')")?;
    workplace.drain()?;
    server.sql(&format!(
        "USE shop; {HIDDEN_SWAP} INSERT INTO T VALUES (2, 'b', 'a'); {logged}"
    ))?;
    let log = stops(&workplace).with_context(|| logged.to_owned())?;
    ensure!(lines_in(&data)? == ["1,a,b"], "{:?}", lines_in(&data)?);
    let accept = accept_option(&log)?;
    let output = workplace.run(&["--until", "now", "--accept-change", &accept])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    lines_in(&data)
}

#[test]
fn a_change_outside_the_binlog_before_one_inside_stops_the_agent() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = shop(kind, metadata)?;
        for logged in [
            "ALTER TABLE T ADD COLUMN c int",
            "ALTER TABLE T DROP COLUMN a",
            "ALTER TABLE T MODIFY COLUMN b varchar(9) AFTER a",
            "ALTER TABLE T MODIFY COLUMN b varchar(8) AFTER id",
            "RENAME TABLE T TO Old; CREATE TABLE T (id int PRIMARY KEY, b varchar(9), a varchar(9), d int)",
        ] {
            let lines = hidden_then(&server, logged)?;
            // The operator has said that the rows are as before.
            ensure!(lines == ["1,a,b", "2,b,a"], "{kind:?} {metadata} {logged}");
            server.sql(
                "DROP DATABASE shop; CREATE DATABASE shop; \
                 CREATE TABLE shop.T (id int PRIMARY KEY, a varchar(9), b varchar(9))",
            )?;
            reset_binlog(&server)?;
        }
    }
    Ok(())
}

/// A named table map leaves out only what DOUBLE(M,D) has more than DOUBLE.
#[test]
fn a_hidden_change_of_digits_before_a_logged_one_stops_the_agent() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let server = server(kind, "FULL")?;
        server.sql(
            "CREATE DATABASE shop; USE shop; CREATE TABLE T (id int PRIMARY KEY, a double(10,2))",
        )?;
        let (workplace, data) = into_directory(&server, "")?;
        server.sql("INSERT INTO shop.T VALUES (1, 1.25)")?;
        workplace.drain()?;
        server.sql(
            "USE shop; SET SESSION sql_log_bin = 0; ALTER TABLE T MODIFY a double; SET SESSION sql_log_bin = 1; \
             INSERT INTO T VALUES (2, 1.23456789); ALTER TABLE T MODIFY a double(12,3)",
        )?;
        stops(&workplace)?;
        ensure!(lines_in(&data)? == ["1,1.25"]);
    }
    Ok(())
}

/// What gives a table another number without a change of it is no reason to stop.
#[test]
fn tables_that_were_only_loaded_anew_before_a_change_stop_nobody() -> Result<()> {
    for (kind, metadata) in SILENT {
        let mut server = shop(kind, metadata)?;
        let (workplace, data) = into_directory(&server, "")?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b')")?;
        workplace.drain()?;
        let mut wanted = vec!["1,a,b".to_owned()];
        let reloads = [
            "FLUSH TABLES",
            "CREATE TRIGGER G BEFORE INSERT ON T FOR EACH ROW SET NEW.a = NEW.a",
            "DROP TRIGGER G",
            "ANALYZE TABLE T",
            "ALTER TABLE T COMMENT = 'followed'",
        ];
        let others = ["ALTER TABLE T RENAME Old", "ALTER TABLE Old RENAME T"];
        for (id, reload) in (2..).zip(reloads) {
            server.sql(&format!(
                "USE shop; {reload}; INSERT INTO T VALUES ({id}, 'a', 'b'); {}; {}; \
                 ALTER TABLE T MODIFY COLUMN a varchar(9) AFTER b",
                others[0], others[1]
            ))?;
            wanted.push(format!("{id},a,b"));
            wanted.sort_unstable();
            workplace.drain()?;
            ensure!(
                lines_in(&data)? == wanted,
                "{reload}: {:?}",
                lines_in(&data)?
            );
            server.sql("USE shop; ALTER TABLE T MODIFY COLUMN b varchar(9) AFTER a; INSERT INTO T VALUES (99, 'a', 'b'); DELETE FROM T WHERE id = 99")?;
            workplace.drain()?;
            wanted.push("99,a,b".to_owned());
        }
        server.restart(&[])?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (9, 'a', 'b'); ALTER TABLE T MODIFY COLUMN a varchar(9) AFTER b",
        )?;
        wanted.push("9,a,b".to_owned());
        wanted.sort_unstable();
        workplace.drain()?;
        ensure!(lines_in(&data)? == wanted, "{:?}", lines_in(&data)?);
    }
    Ok(())
}

/// Statements that say which columns they concern prove that the others were as they are, whatever gave the table its
/// other number.
#[test]
fn an_added_column_behind_an_unlogged_flush_stops_nobody() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = shop(kind, metadata)?;
        let (workplace, data) = into_directory(&server, "")?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b')")?;
        workplace.drain()?;
        server.sql(
            "USE shop; FLUSH NO_WRITE_TO_BINLOG TABLES; INSERT INTO T VALUES (2, 'a', 'b'); \
             ALTER TABLE T ADD COLUMN c int",
        )?;
        workplace.drain()?;
        ensure!(lines_in(&data)? == ["1,a,b", "2,a,b"]);
    }
    Ok(())
}
