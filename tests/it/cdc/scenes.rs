//! What happens to an agent in the middle of its work: lost connections, restarted servers, and
//! events that it must not pass over in silence.

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, eventually, gunzip_all};
use crate::setup::shop::{config, delivers, drain_to_stdout, shop, stops};
use testkit::servers::{Kind, Server};

#[test]
fn a_change_logged_as_a_statement_stops_the_agent() -> Result<()> {
    for (kind, arguments) in [
        (Kind::Mysql, &[][..]),
        (Kind::Mysql, &["--binlog-transaction-compression=ON"]),
        (Kind::Mariadb, &[]),
    ] {
        let server = shop(kind, arguments)?;
        server.sql(
            "INSERT INTO shop.T VALUES (1, 'a'); SET SESSION binlog_format = 'STATEMENT'; \
             INSERT INTO shop.T VALUES (2, 'b')",
        )?;
        stops(&server, "logged as a statement")?;
        assert_eq!(drain_to_stdout(&server)?.stdout, b"1,a\n");
    }
    Ok(())
}

#[test]
fn a_partial_row_image_stops_the_agent() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    server.sql("SET SESSION binlog_row_image = 'MINIMAL'; INSERT INTO shop.T (id) VALUES (1)")?;
    stops(&server, "does not hold the columns note")
}

#[test]
fn updates_deletes_and_ddl_pass_by() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &[])?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'), (2, 'b'); UPDATE T SET note = 'x'; \
             DELETE FROM T WHERE id = 1; REPLACE INTO T VALUES (2, 'c'); \
             INSERT INTO T VALUES (2, 'd') ON DUPLICATE KEY UPDATE note = 'e'; \
             CREATE TABLE Copy SELECT * FROM T; TRUNCATE TABLE Copy; \
             CREATE TEMPORARY TABLE Tmp (id int); INSERT INTO Tmp VALUES (9); DROP TABLE Copy; \
             ANALYZE TABLE T; INSERT INTO T SELECT 3, 'f'",
        )?;
        // REPLACE of a whole row may be logged as an update; the row is then no insert.
        let output = drain_to_stdout(&server)?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = String::from_utf8(output.stdout)?;
        ensure!(
            lines == "1,a\n2,b\n3,f\n" || lines == "1,a\n2,b\n2,c\n3,f\n",
            "{lines}"
        );
    }
    Ok(())
}

#[test]
fn columns_may_be_added_but_not_changed() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    server.sql(
        "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD COLUMN first int FIRST; \
         INSERT INTO T VALUES (7, 2, 'b'); ALTER TABLE T DROP COLUMN first; \
         ALTER TABLE T MODIFY COLUMN note text CHARACTER SET latin1; \
         INSERT INTO T VALUES (3, 'c')",
    )?;
    delivers(&server, "1,a\n2,b\n3,c\n")?;
    server.sql("USE shop; ALTER TABLE T MODIFY COLUMN id bigint; INSERT INTO T VALUES (4, 'd')")?;
    let output = drain_to_stdout(&server)?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(
        stderr.contains("a written column has changed: id was INT and is BIGINT"),
        "{stderr}"
    );
    // What came before is delivered, and the checkpoint is there.
    assert_eq!(String::from_utf8(output.stdout)?, "1,a\n2,b\n3,c\n");
    Ok(())
}

fn following(server: &Server) -> Result<(Workplace, crate::setup::agent::Agent)> {
    let workplace = Workplace::new("")?;
    let sink = format!(
        "path = \"{}\"\nflush_interval = \"20ms\"",
        workplace.path("data").display()
    );
    let metadata = "name = \"shop.T\"\nmetadata = [\"position\", \"ordinal\"]";
    let text = config(server, &sink).replace("name = \"shop.T\"", metadata);
    workplace.configure(&text)?;
    let agent = workplace.start()?;
    Ok((workplace, agent))
}

fn delivered_ids(workplace: &Workplace) -> Result<Vec<u32>> {
    let folder = workplace.path("data");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let text = gunzip_all(&folder)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let ids: Result<Vec<u32>> = reader
        .records()
        .map(|record| Ok(record?[0].parse()?))
        .collect();
    ids
}

fn wait_for_ids(workplace: &Workplace, wanted: &[u32]) -> Result<()> {
    eventually("all rows are delivered", || {
        let mut ids = delivered_ids(workplace)?;
        ids.sort_unstable();
        Ok((ids == wanted).then_some(()))
    })
}

#[test]
fn a_killed_dump_thread_loses_and_doubles_nothing() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &[])?;
        let (workplace, agent) = following(&server)?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
        wait_for_ids(&workplace, &[1])?;
        let dump = eventually("the server shows the dump thread", || {
            let list = server.sql(
                "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'",
            )?;
            Ok(list.lines().next().map(str::to_owned))
        })?;
        server.sql(&format!("KILL {dump}"))?;
        server.sql("INSERT INTO shop.T VALUES (2, 'b')")?;
        wait_for_ids(&workplace, &[1, 2])?;
        ensure!(agent.log().contains("no binlog: "), "{}", agent.log());
        ensure!(agent.terminate()?.success());
    }
    Ok(())
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_followed_on() -> Result<()> {
    for kind in Kind::ALL {
        let mut server = shop(
            kind,
            &["--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"],
        )?;
        let (workplace, agent) = following(&server)?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
        wait_for_ids(&workplace, &[1])?;
        server.kill9()?;
        server.restart(&[])?;
        server.sql("INSERT INTO shop.T VALUES (2, 'b')")?;
        wait_for_ids(&workplace, &[1, 2])?;
        ensure!(agent.terminate()?.success(), "the agent did not end well");
    }
    Ok(())
}

/// A transaction much larger than `max_in_flight`, whose connection is cut in the middle: its
/// rows that were delivered before are not delivered again.
fn cut_inside_a_transaction(arguments: &[&str]) -> Result<()> {
    let server = shop(Kind::Mysql, arguments)?;
    let workplace = Workplace::new("")?;
    let sink = format!(
        "path = \"{}\"\nflush_interval = \"20ms\"\nmax_in_flight = \"1 MiB\"",
        workplace.path("data").display()
    );
    workplace.configure(&config(&server, &sink))?;
    let rows = 20_000_u32;
    server.sql(&format!(
        "SET cte_max_recursion_depth = {rows}; INSERT INTO shop.T WITH RECURSIVE n (i) AS \
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, HEX(RANDOM_BYTES(1000)) FROM n"
    ))?;
    let agent = workplace.start()?;
    let mut cuts = 0;
    eventually(
        "all rows are delivered, with the connection cut now and then",
        || {
            let ids = delivered_ids(&workplace)?;
            if ids.len() >= rows as usize {
                return Ok(Some(()));
            }
            let list = server.sql(
                "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'",
            )?;
            if let Some(dump) = list.lines().next().filter(|_| cuts < 3 && !ids.is_empty()) {
                // The thread may be gone by now.
                if server.sql(&format!("KILL {dump}")).is_ok() {
                    cuts += 1;
                }
            }
            Ok(None)
        },
    )?;
    let log = agent.log();
    ensure!(agent.terminate()?.success());
    let mut ids = delivered_ids(&workplace)?;
    ids.sort_unstable();
    ensure!(
        ids.iter().copied().eq(1..=rows),
        "{} rows delivered",
        ids.len()
    );
    ensure!(
        cuts > 0 && log.contains("no binlog: "),
        "never cut in time: {log}"
    );
    Ok(())
}

#[test]
fn a_connection_lost_inside_a_transaction_doubles_nothing() -> Result<()> {
    cut_inside_a_transaction(&[])
}

#[test]
fn a_connection_lost_inside_a_compressed_transaction_doubles_nothing() -> Result<()> {
    cut_inside_a_transaction(&["--binlog-transaction-compression=ON"])
}

#[test]
fn a_silent_server_is_noticed() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    let (workplace, agent) = following(&server)?;
    server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
    wait_for_ids(&workplace, &[1])?;
    let pid = server.process_id().context("no process")?.to_string();
    let signal = |name: &str| {
        std::process::Command::new("sh")
            .args(["-c", &format!("kill -s {name} \"$0\""), &pid])
            .status()
    };
    signal("STOP")?;
    let noticed = eventually("the silence is noticed", || {
        Ok(agent.log().contains("nothing heard for").then_some(()))
    });
    signal("CONT")?;
    noticed?;
    server.sql("INSERT INTO shop.T VALUES (2, 'b')")?;
    wait_for_ids(&workplace, &[1, 2])?;
    ensure!(agent.terminate()?.success());
    Ok(())
}

#[test]
fn a_binlog_without_checksums_is_followed() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &["--binlog-checksum=NONE"])?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a'); FLUSH BINARY LOGS")?;
        server.sql("SET GLOBAL binlog_checksum = 'CRC32'; INSERT INTO shop.T VALUES (2, 'b')")?;
        delivers(&server, "1,a\n2,b\n")?;
    }
    Ok(())
}
