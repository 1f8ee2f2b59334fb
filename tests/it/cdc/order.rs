//! The metadata column `sequence`: one order of all lines, the same whoever reads them and how often.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup::agent::{self, Workplace};
use crate::setup::replay::replayed;
use crate::setup::servers::{binlogs, pair, replicate, stop_replicating};
use testkit::servers::{Kind, Server};

const TABLES: [&str; 2] = ["a", "b"];

/// Lines of two tables: id, table, commit time, sequence.
fn tables() -> [String; 2] {
    TABLES.map(|table| {
        format!(
            "name = \"shop.{table}\"\nevents = [\"insert\", \"update\", \"delete\"]\n\
             metadata = [\"commit_time\", \"sequence\"]"
        )
    })
}

/// Both to standard output.
fn config(server: &Server) -> String {
    agent::config(server, &tables().join("\n[[table]]\n"), "type = \"stdout\"")
}

fn create(server: &Server) -> Result<()> {
    server.sql("CREATE DATABASE shop")?;
    for table in TABLES {
        server.sql(&format!(
            "CREATE TABLE shop.{table} (id int PRIMARY KEY, origin char(1) DEFAULT '{table}')"
        ))?;
    }
    Ok(())
}

/// Each line's sequence, by the rest of the line but the commit time.
fn sequences(lines: &str) -> Result<BTreeMap<i64, String>> {
    let mut sequences = BTreeMap::new();
    for line in lines.lines() {
        let (line, sequence) = line.rsplit_once(',').context("no fields")?;
        let (line, _) = line.rsplit_once(',').context("no fields")?;
        let before = sequences.insert(sequence.parse()?, line.to_owned());
        ensure!(before.is_none(), "{sequence} twice: {line} and {before:?}");
    }
    Ok(sequences)
}

fn same(found: &BTreeMap<i64, String>, expected: &BTreeMap<i64, String>) -> Result<()> {
    let differs = found
        .iter()
        .zip(expected)
        .find(|(found, expected)| found != expected);
    if let Some((found, expected)) = differs {
        bail!("{found:?} instead of {expected:?}");
    }
    ensure!(found.len() == expected.len());
    Ok(())
}

fn failover(kind: Kind) -> Result<()> {
    let (primary, replica) = pair(kind)?;
    replica.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")?;
    create(&primary)?;
    let transaction = |first: u32| {
        format!(
            "BEGIN; INSERT INTO shop.a (id) VALUES ({first}), ({first} + 1); \
             INSERT INTO shop.b (id) VALUES ({first}); UPDATE shop.a SET origin = 'x' WHERE id = {first}; \
             DELETE FROM shop.b; COMMIT;"
        )
    };
    primary.sql(&(0..20).map(|n| transaction(n * 10)).collect::<String>())?;
    let workplace = Workplace::new(&config(&primary))?;
    let mut lines = workplace.drain()?;
    primary.sql(&(20..40).map(|n| transaction(n * 10)).collect::<String>())?;
    // A transaction that takes longer than a second, in which MariaDB counts.
    primary.sql(
        "BEGIN; INSERT INTO shop.a (id) VALUES (1000); DO SLEEP(1.1); INSERT INTO shop.b (id) VALUES (1000); \
         DO SLEEP(1.1); COMMIT; INSERT INTO shop.a (id) VALUES (1001)",
    )?;
    let uninterrupted = Workplace::new(&config(&primary))?.drain()?;
    // The replica commits later, in another second.
    primary.sql("DO SLEEP(2)")?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    workplace.configure(&config(&replica))?;
    lines.push_str(&workplace.drain()?);
    let sequences = sequences(&lines)?;
    ensure!(sequences.len() == 40 * 5 + 3);
    same(&sequences, &self::sequences(&uninterrupted)?)?;
    if kind == Kind::Mysql {
        // It tells on each server when a transaction was committed on the first one.
        let sorted = |lines: &str| lines.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        ensure!(sorted(&lines) == sorted(&uninterrupted));
    }
    Ok(())
}

#[test]
fn a_failover_keeps_the_order_on_mysql() -> Result<()> {
    failover(Kind::Mysql)
}

#[test]
fn a_failover_keeps_the_order_on_mariadb() -> Result<()> {
    failover(Kind::Mariadb)
}

#[test]
fn a_failover_keeps_the_order_on_mariadb_11() -> Result<()> {
    failover(Kind::Mariadb11)
}

/// Numbers do not tell whether rows that were taken back were too many to hold.
#[test]
fn rows_that_were_dropped_and_taken_back_leave_no_gap() -> Result<()> {
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        let server = Server::start(kind, &[])?;
        create(&server)?;
        server.sql(
            "USE shop; SET timestamp = 1700000000; INSERT INTO shop.a VALUES (1, 'a'); BEGIN; SAVEPOINT s; \
             INSERT INTO shop.a SELECT seq, 'a' FROM seq_10_to_20000; CREATE TEMPORARY TABLE shop.x (i int); \
             ROLLBACK TO s; COMMIT; INSERT INTO shop.a VALUES (2, 'a')",
        )?;
        let text = config(&server);
        let small = Workplace::new(&format!("{text}max_in_flight = \"1 MiB\"\n"))?;
        let found = sequences(&small.drain()?)?;
        same(&found, &sequences(&Workplace::new(&text)?.drain()?)?)?;
        ensure!(found.len() == 2, "{found:?}");
    }
    Ok(())
}

/// A replay of all files, or of those from a time on that is past all numbers before.
fn replayed_again(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    create(&server)?;
    let text = |first: u32| {
        format!(
            "BEGIN; INSERT INTO shop.a (id) VALUES ({first}), ({first} + 1); INSERT INTO shop.b (id) VALUES ({first}); \
             COMMIT; UPDATE shop.a SET id = id + 500 WHERE id = {first}; DELETE FROM shop.b; \
             XA START 'x'; INSERT INTO shop.a (id) VALUES ({first} + 2); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x';"
        )
    };
    let script: String = (0..20).map(|n| text(n * 10)).collect();
    server.sql(&format!("{script} DO SLEEP(1.1); FLUSH BINARY LOGS"))?;
    server.sql(&(20..40).map(|n| text(n * 10)).collect::<String>())?;
    let workplace = Workplace::new(&config(&server))?;
    let delivered = workplace.drain()?;
    ensure!(sequences(&delivered)?.len() == 40 * 7);
    let config = workplace.path("hydrant.toml").display().to_string();
    let arguments = ["--config", &config, "--out", "-"];
    let files = binlogs(&server)?;
    let of_all = replayed(&files, &arguments)?;
    same(&sequences(&of_all)?, &sequences(&delivered)?)?;
    let of_last = replayed(&files[1..], &arguments)?;
    let last = sequences(&delivered)?.into_iter().skip(20 * 7).collect();
    same(&sequences(&of_last)?, &last)
}

#[test]
fn a_replay_has_the_agents_numbers() -> Result<()> {
    Kind::ALL.into_iter().try_for_each(replayed_again)
}

/// A key that changes is the end of one row and the beginning of another: the newest line of each key is then
/// the table.
fn keys_change(kind: Kind, settings: &[&str]) -> Result<()> {
    let server = Server::start(kind, settings)?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.kv (k int, g int, v char(1), PRIMARY KEY (g, k)); \
         INSERT INTO shop.kv VALUES (1, 0, 'a'), (2, 0, 'b'), (3, 0, 'c'); \
         UPDATE shop.kv SET k = 10 WHERE k = 1; UPDATE shop.kv SET v = 'x' WHERE k = 2; \
         UPDATE shop.kv SET k = k + 1 WHERE k < 10 ORDER BY k DESC; DELETE FROM shop.kv WHERE k = 3; \
         UPDATE shop.kv SET g = 1, v = 'y' WHERE k = 10",
    )?;
    let lines = |more: &str| {
        let text = config(&server);
        let (head, _) = text.split_once("[[table]]").context("no table")?;
        let table = format!(
            "[[table]]\nname = \"shop.kv\"\nevents = [\"insert\", \"update\", \"delete\"]\n{more}\n"
        );
        Workplace::new(&format!("{head}{table}[sink]\ntype = \"stdout\"\n"))?.drain()
    };
    assert_eq!(
        lines("columns = [\"k\", \"v\"]\nbefore_image = true")?,
        "1,a,I\n2,b,I\n3,c,I\n1,a,D\n10,a,I\n2,b,B\n2,x,U\n3,c,D\n4,c,I\n2,x,D\n3,x,I\n3,x,D\n10,a,D\n10,y,I\n"
    );
    assert_eq!(
        lines("columns = [\"k\", \"v\"]\nkey_change = \"update\"")?,
        "1,a,I\n2,b,I\n3,c,I\n10,a,U\n2,x,U\n4,c,U\n3,x,U\n3,x,D\n10,y,U\n"
    );
    Ok(())
}

#[test]
fn a_changed_key_is_a_delete_and_an_insert() -> Result<()> {
    for kind in Kind::ALL {
        keys_change(kind, &[])?;
        keys_change(kind, &["--binlog-row-metadata=MINIMAL"])?;
    }
    Ok(())
}
