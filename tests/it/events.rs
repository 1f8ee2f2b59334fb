//! Forms of events that servers write only if they are told to, or when something is unusual.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::agent::Workplace;
use crate::scenes::{config, delivers, drain_to_stdout, shop, stops};
use crate::support::servers::{Kind, Server};

#[test]
fn a_compressed_transaction_stops_the_agent() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    server.sql("SET binlog_transaction_compression = ON; INSERT INTO shop.T VALUES (1, 'a')")?;
    stops(&server, "TRANSACTION_PAYLOAD")
}

/// Rows and statements above and below the size from which they are compressed, large and small
/// ones, in tables that are followed and not, and a statement that is logged as such.
#[test]
fn compressed_events_of_mariadb_are_followed() -> Result<()> {
    let server = shop(
        Kind::Mariadb,
        &["--log-bin-compress=ON", "--log-bin-compress-min-len=100"],
    )?;
    server.sql(
        "USE shop; ALTER TABLE T MODIFY note longtext; CREATE TABLE Other (id int, note text); \
         INSERT INTO Other VALUES (1, REPEAT('b', 500)); \
         INSERT INTO T VALUES (1, 'short'), (2, REPEAT('a', 500)); \
         INSERT INTO T SELECT 2 + seq, REPEAT(CHAR(64 + seq % 26), seq * 7) FROM seq_1_to_900; \
         INSERT INTO T VALUES (1000, REPEAT('z', 70000)), (1001, REPEAT('y', 12 * 1024 * 1024)); \
         UPDATE T SET note = REPEAT('u', 600) WHERE id = 2; DELETE FROM T WHERE id = 2; \
         SAVEPOINT ignored; ALTER TABLE Other COMMENT 'a statement that is longer than the 100 \
         bytes above which statements are compressed, too, because the setting says so'",
    )?;
    let events = server.sql("SHOW BINLOG EVENTS")?;
    for written in ["Write", "Update", "Delete"] {
        let written = format!("{written}_rows_compressed_v1");
        ensure!(events.contains(&written), "no {written}");
    }
    ensure!(events.contains("Query_compressed"));
    let mut lines = format!("1,short\n2,{}\n", "a".repeat(500));
    for row in 1..=900_u32 {
        let letter = char::from_u32(64 + row % 26).unwrap_or('?');
        let note = letter.to_string().repeat(row as usize * 7);
        writeln!(lines, "{},{note}", row + 2)?;
    }
    writeln!(lines, "1000,{}", "z".repeat(70_000))?;
    writeln!(lines, "1001,{}", "y".repeat(12 << 20))?;
    delivers(&server, &lines)?;
    server.sql(
        "USE shop; SET SESSION binlog_format = 'STATEMENT'; \
         INSERT INTO shop.T SELECT 2000 + seq, REPEAT('a', 500) FROM seq_1_to_3 WHERE \
         'this makes the statement longer than one hundred bytes, so that it comes compressed' != ''",
    )?;
    stops(&server, "logged as a statement")
}

fn gtid_executed(server: &Server) -> Result<String> {
    let text = server.sql("SELECT @@GLOBAL.gtid_executed")?;
    Ok(text.trim().replace("\\n", ""))
}

/// Tagged and untagged transactions: read, counted in the checkpoint, printed as positions, and
/// asked for by GTID on another server.
#[test]
fn tagged_gtids_are_followed() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    server.sql(
        "INSERT INTO shop.T VALUES (1, 'a'); \
         SET gtid_next = 'AUTOMATIC:Backfill'; INSERT INTO shop.T VALUES (2, 'b'); \
         INSERT INTO shop.T VALUES (3, 'c'); \
         SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:import:7'; \
         INSERT INTO shop.T VALUES (4, 'd'); SET gtid_next = AUTOMATIC; FLUSH BINARY LOGS",
    )?;
    let after_four = gtid_executed(&server)?;
    ensure!(after_four.contains(":backfill:1-2"), "{after_four}");
    server.sql("SET gtid_next = 'AUTOMATIC:backfill'; INSERT INTO shop.T VALUES (5, 'e')")?;

    let text = config(&server, "type = \"stdout\"").replace(
        "name = \"shop.T\"",
        "name = \"shop.T\"\nmetadata = [\"position\"]",
    );
    let workplace = Workplace::new(&text)?;
    let uuid = server.sql("SELECT @@server_uuid")?.trim().to_owned();
    let lines = workplace.drain()?;
    let expected = format!(
        "1,a,{uuid}:3\n2,b,{uuid}:backfill:1\n3,c,{uuid}:backfill:2\n\
         4,d,3e11fa47-71ca-11e1-9e33-c80aa9429562:import:7\n5,e,{uuid}:backfill:3\n"
    );
    assert_eq!(lines, expected);
    assert_eq!(
        workplace.checkpoint()?["gtids"],
        gtid_executed(&server)?.as_str()
    );

    // A start after a set with tags sends what is not in it.
    let start = config(&server, "type = \"stdout\"").replace("earliest", &after_four);
    assert_eq!(Workplace::new(&start)?.drain()?, "5,e\n");
    Ok(())
}

#[test]
fn a_prepared_xa_transaction_stops_the_agent() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    server.sql(
        "XA START 'x'; INSERT INTO shop.T VALUES (1, 'a'); XA END 'x'; XA PREPARE 'x'; \
         XA ROLLBACK 'x'",
    )?;
    stops(&server, "XA_PREPARE")
}

#[test]
fn rolled_back_rows_are_not_delivered() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb] {
        let server = shop(kind, &[])?;
        server.sql(
            "BEGIN; INSERT INTO shop.T VALUES (1, 'a'); ROLLBACK; \
             BEGIN; INSERT INTO shop.T VALUES (2, 'b'); SAVEPOINT s; \
             INSERT INTO shop.T VALUES (3, 'c'); ROLLBACK TO s; INSERT INTO shop.T VALUES (4, 'd'); \
             COMMIT; \
             XA START 'x'; INSERT INTO shop.T VALUES (5, 'e'); XA END 'x'; XA COMMIT 'x' ONE PHASE",
        )?;
        delivers(&server, "2,b\n4,d\n5,e\n")?;
    }
    Ok(())
}

#[test]
fn a_row_larger_than_a_packet_is_followed() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note longtext); \
         INSERT INTO shop.T VALUES (1, REPEAT('x', 20 * 1024 * 1024)), (2, 'b')",
    )?;
    let output = drain_to_stdout(&server)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<usize> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::len)
        .collect();
    assert_eq!(lines, [2 + (20 << 20), 3, 0]);
    Ok(())
}
