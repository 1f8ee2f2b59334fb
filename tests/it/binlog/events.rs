//! Forms of events that servers write only if they are told to, or when something is unusual.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::setup::agent::{Workplace, place_to_pass_over};
use crate::setup::replay::replayed;
use crate::setup::servers::{binlogs, compression};
use crate::setup::shop::{config, delivers, drain_to_stdout, shop, stops};
use testkit::servers::{Kind, Server};

/// What a drain writes, with the columns that show transactions and their order.
fn drained_with_places(server: &Server) -> Result<String> {
    let text = config(server, "type = \"stdout\"").replace(
        "name = \"shop.T\"",
        "name = \"shop.T\"\nmetadata = [\"position\", \"ordinal\"]",
    );
    let workplace = Workplace::new(&text)?;
    let lines = workplace.drain()?;
    // What commits a transaction is where its event ends, so that a drain ends where the binlog does.
    let checkpoint = workplace.checkpoint()?;
    assert_eq!(checkpoint["gtids"], gtid_executed(server)?.as_str());
    let status = server.sql("SHOW BINARY LOG STATUS")?;
    let end = checkpoint["position"]["offset"].to_string();
    ensure!(status.contains(&end), "{end} in {status}");
    Ok(lines)
}

/// The same statements with and without compression, at its usual and its highest level.
#[test]
fn compressed_transactions_are_followed() -> Result<()> {
    let mut expected: Option<String> = None;
    for level in [0, 3, 22] {
        let server = shop(Kind::Mysql, &[])?;
        if level > 0 {
            server.sql(&format!(
                "SET PERSIST binlog_transaction_compression = ON; \
                 SET PERSIST binlog_transaction_compression_level_zstd = {level}"
            ))?;
        }
        server.sql(
            "USE shop; CREATE TABLE Other (id int); INSERT INTO T VALUES (1, 'a'); \
             BEGIN; INSERT INTO T VALUES (2, 'b'), (3, NULL); INSERT INTO Other VALUES (1); \
             SAVEPOINT s; INSERT INTO T VALUES (4, 'never'); ROLLBACK TO s; \
             INSERT INTO T VALUES (5, REPEAT('long', 5000)); UPDATE T SET note = 'u' WHERE id = 1; COMMIT; \
             BEGIN; INSERT INTO T VALUES (6, 'never'); ROLLBACK; INSERT INTO Other VALUES (2); \
             CREATE TABLE Copy SELECT * FROM T; SET SESSION binlog_rows_query_log_events = ON; \
             SET SESSION cte_max_recursion_depth = 30000; \
             INSERT INTO T WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n \
             WHERE i < 20000) SELECT i, HEX(i * 7919) FROM n; \
             XA START 'x'; INSERT INTO T VALUES (7, 'g'); XA END 'x'; XA COMMIT 'x' ONE PHASE; \
             FLUSH BINARY LOGS; INSERT INTO T VALUES (8, 'h')",
        )?;
        let events = server.sql("SHOW BINLOG EVENTS")?;
        assert_eq!(events.contains("Transaction_payload"), level > 0);
        let lines = drained_with_places(&server)?;
        // Each server has a UUID of its own, and the settings take no transaction.
        let uuid = server.sql("SELECT @@server_uuid")?;
        let lines = lines.replace(uuid.trim(), "uuid");
        assert_eq!(lines.lines().count(), 4 + 19_991 + 2);
        match &expected {
            None => expected = Some(lines),
            Some(expected) => ensure!(lines == *expected, "other lines at level {level}"),
        }
    }
    Ok(())
}

/// A compressed transaction that is larger than a packet comes in pieces, and is left in the middle of
/// one when `max_in_flight` is full.
#[test]
fn a_compressed_transaction_larger_than_a_packet_is_followed() -> Result<()> {
    let server = shop(
        Kind::Mysql,
        &[
            "--binlog-transaction-compression=ON",
            "--max-allowed-packet=128M",
        ],
    )?;
    // Hexadecimal digits of random bytes compress to half.
    server.sql(
        "SET cte_max_recursion_depth = 100000; \
         INSERT INTO shop.T WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE \
         i < 30000) SELECT i, HEX(RANDOM_BYTES(800)) FROM n; INSERT INTO shop.T VALUES (0, 'after')",
    )?;
    let events = server.sql("SHOW BINLOG EVENTS")?;
    let payload = events
        .lines()
        .find(|line| line.contains("Transaction_payload"));
    ensure!(
        payload.is_some_and(|line| {
            let mut fields = line
                .split('\t')
                .filter_map(|field| field.parse::<u64>().ok());
            let (start, end) = (fields.next(), fields.nth(1));
            end.zip(start)
                .is_some_and(|(end, start)| end - start > 20 << 20)
        }),
        "{events}"
    );
    let text = config(&server, "type = \"stdout\"\nmax_in_flight = \"1 MiB\"");
    let lines = Workplace::new(&text)?.drain()?;
    let selected = server.sql("SELECT id, note FROM shop.T WHERE id > 0 ORDER BY id")?;
    let selected = selected.replace('\t', ",") + "0,after\n";
    ensure!(lines == selected, "the rows are other ones");
    Ok(())
}

/// Rows of a table that cannot be rolled back, and that do not fit into the cache of the binlog: the server
/// keeps them, does not log them, and says so.
#[test]
fn rows_that_a_server_could_not_log_stop_the_agent() -> Result<()> {
    for kind in Kind::ALL {
        let small = "--max-binlog-stmt-cache-size=4096";
        let server = shop(kind, &[small, "--binlog-stmt-cache-size=4096"])?;
        server.sql(
            "INSERT INTO shop.T VALUES (1, 'a'); \
             CREATE TABLE shop.Loose (id int, note text) ENGINE = MyISAM",
        )?;
        let note = "REPEAT('x', 3000)";
        let refused = server.sql(&format!(
            "INSERT INTO shop.Loose VALUES (1, {note}), (2, {note}), (3, {note}), (4, {note})"
        ));
        ensure!(refused.is_err());
        ensure!(server.sql("SHOW BINLOG EVENTS")?.contains("Incident"));
        server.sql("INSERT INTO shop.T VALUES (2, 'b')")?;
        stops(&server, "reports an incident")?;
        let output = drain_to_stdout(&server)?;
        assert_eq!(String::from_utf8(output.stdout)?, "1,a\n");
        let place = place_to_pass_over(&String::from_utf8(output.stderr)?)?;
        let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
        let output = workplace.run(&["--until", "now", "--pass-over", &place])?;
        ensure!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout)?, "1,a\n2,b\n");
        // What the incident's transaction was is behind the reader, too.
        if kind == Kind::Mysql {
            assert_eq!(
                workplace.checkpoint()?["gtids"],
                gtid_executed(&server)?.as_str()
            );
        }
    }
    Ok(())
}

/// Rows and statements above and below the size from which they are compressed, large and small
/// ones, in tables that are followed and not, and a statement that is logged as such.
fn compressed_events(kind: Kind) -> Result<()> {
    let server = shop(
        kind,
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

#[test]
fn compressed_events_of_mariadb_are_followed() -> Result<()> {
    compressed_events(Kind::Mariadb)
}

#[test]
fn compressed_events_of_mariadb_11_are_followed() -> Result<()> {
    compressed_events(Kind::Mariadb11)
}

/// A transaction whose rows MariaDB has on disk already becomes a binlog file as it is, with the room
/// before it filled by a longer GTID event.
#[test]
fn a_transaction_that_becomes_a_file_of_mariadb_11_is_followed() -> Result<()> {
    for compression in [&[][..], compression(Kind::Mariadb11)] {
        let threshold = ["--binlog-large-commit-threshold=10M"];
        let server = shop(Kind::Mariadb11, &[&threshold, compression].concat())?;
        server.sql(
            "USE shop; INSERT INTO shop.T VALUES (1, 'a'); \
             INSERT INTO shop.T SELECT 1 + seq, HEX(RANDOM_BYTES(1000)) FROM seq_1_to_12000; \
             INSERT INTO shop.T VALUES (12002, 'b')",
        )?;
        let files = binlogs(&server)?;
        ensure!(files.len() > 1, "{files:?}");
        let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
        let lines = workplace.drain()?;
        let selected = server.sql("SELECT id, note FROM shop.T ORDER BY id")?;
        ensure!(
            lines == selected.replace('\t', ","),
            "the rows are other ones"
        );
        let config = workplace.path("hydrant.toml").display().to_string();
        let replayed = replayed(&files, &["--config", &config, "--out", "-"])?;
        ensure!(replayed == lines, "a replay writes other lines");
        // Where it stopped is where it goes on.
        server.sql("INSERT INTO shop.T VALUES (12003, 'c')")?;
        assert_eq!(workplace.drain()?, "12003,c\n");
    }
    Ok(())
}

/// ALTER TABLE that is logged where it begins and where it ends.
#[test]
fn a_change_of_a_table_in_two_phases_is_followed() -> Result<()> {
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        let server = shop(kind, &["--binlog-alter-two-phase=ON"])?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'); ALTER TABLE T ADD COLUMN n int; \
             INSERT INTO T VALUES (2, 'b', 3)",
        )?;
        ensure!(server.sql("SHOW BINLOG EVENTS")?.contains("START ALTER"));
        let text = config(&server, "type = \"stdout\"");
        let text = text.replace("shop.T\"", "shop.T\"\ncolumns = [\"id\", \"note\"]");
        assert_eq!(Workplace::new(&text)?.drain()?, "1,a\n2,b\n");
    }
    Ok(())
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

/// A server without GTIDs: its transactions begin with an event that says so.
#[test]
fn anonymous_transactions_are_followed() -> Result<()> {
    for compression in ["OFF", "ON"] {
        let server = shop(
            Kind::Mysql,
            &[
                "--gtid-mode=OFF",
                "--enforce-gtid-consistency=OFF",
                &format!("--binlog-transaction-compression={compression}"),
            ],
        )?;
        server.sql(
            "SET SESSION binlog_rows_query_log_events = ON; \
             INSERT INTO shop.T VALUES (1, 'a'), (2, 'b'); FLUSH BINARY LOGS; \
             INSERT INTO shop.T VALUES (3, 'c')",
        )?;
        ensure!(server.sql("SHOW BINLOG EVENTS")?.contains("Anonymous_Gtid"));
        delivers(&server, "1,a\n2,b\n3,c\n")?;
    }
    Ok(())
}

/// A row of several packets, as each server writes it.
#[test]
fn a_row_larger_than_a_packet_is_followed() -> Result<()> {
    const LARGE: &str = "--max-allowed-packet=64M";
    for (kind, arguments) in [
        (Kind::Mysql, &[LARGE][..]),
        (Kind::Mysql, &[LARGE, "--binlog-transaction-compression=ON"]),
        (Kind::Mariadb, &[LARGE]),
        (Kind::Mariadb, &[LARGE, "--log-bin-compress=ON"]),
    ] {
        let server = shop(kind, arguments)?;
        server.sql(
            "ALTER TABLE shop.T MODIFY note longtext; \
             INSERT INTO shop.T VALUES (1, REPEAT('x', 20 * 1024 * 1024)), (2, 'b'); \
             INSERT INTO shop.T VALUES (3, REPEAT('y', 16 * 1024 * 1024 - 1))",
        )?;
        let output = drain_to_stdout(&server)?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let lens: Vec<usize> = lines.map(<[u8]>::len).collect();
        assert_eq!(lens, [2 + (20 << 20), 3, 2 + (16 << 20) - 1, 0]);
    }
    Ok(())
}

/// Past 4 GiB of a file MySQL is asked by GTID, because the request has 32 bits for an offset.
#[test]
fn a_checkpoint_past_four_gibibytes_is_resumed_by_gtid() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    server.sql("INSERT INTO shop.T VALUES (1, 'a')")?;
    let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
    assert_eq!(workplace.drain()?, "1,a\n");
    let mut checkpoint = workplace.checkpoint()?;
    checkpoint["position"]["offset"] = (5_u64 << 30).into();
    std::fs::write(workplace.path("checkpoint.json"), checkpoint.to_string())?;
    server.sql("INSERT INTO shop.T VALUES (2, 'b')")?;
    assert_eq!(workplace.drain()?, "2,b\n");
    Ok(())
}

/// What docs/updates-and-deletes.md says of cascades.
#[test]
fn cascades_are_delivered_where_the_server_logs_them() -> Result<()> {
    for (kind, arguments, is_logged) in [
        (Kind::Mysql, &[][..], true),
        (Kind::Mysql, &["--innodb-native-foreign-keys=ON"], false),
        (Kind::Mariadb, &[], false),
        (Kind::Mariadb11, &[], false),
    ] {
        let server = Server::start(kind, arguments)?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.p (id INT PRIMARY KEY); \
             CREATE TABLE shop.c (id INT PRIMARY KEY, p INT, \
             FOREIGN KEY (p) REFERENCES shop.p (id) ON DELETE CASCADE); \
             INSERT INTO shop.p VALUES (1); INSERT INTO shop.c VALUES (5, 1); DELETE FROM shop.p",
        )?;
        let table = "name = \"shop.c\"\nevents = [\"insert\", \"delete\"]";
        let rows = Workplace::new(&crate::setup::agent::config(
            &server,
            table,
            "type = \"stdout\"",
        ))?
        .drain()?;
        let expected = if is_logged {
            "5,1,I\n5,1,D\n"
        } else {
            "5,1,I\n"
        };
        assert_eq!(rows, expected, "{} {arguments:?}", kind.name());
    }
    Ok(())
}
