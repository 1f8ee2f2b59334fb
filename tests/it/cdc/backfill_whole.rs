//! Tables that no key divides are read whole, as of one place: each row once, whatever is killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::setup::agent::{Agent, Workplace, eventually, files_below, gunzip_all};
use crate::setup::backfill::{self, SOON, delivered, ensure_once, says};
use crate::setup::servers::end_of_binlog;
use testkit::servers::{Kind, Server};

const KINDS: [Kind; 3] = [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11];
/// Rows that are there before; their numbers are smaller than those of later ones.
const BEFORE: u64 = 4_000;

/// Each table has rows with numbers of their own, which nothing changes.
const TABLES: [&str; 2] = [
    "birth BIGINT NOT NULL, n INT, v VARCHAR(20) DEFAULT 'a, \"b\"'",
    // It has a key, but only the server knows its order.
    "birth VARCHAR(20) COLLATE utf8mb4_unicode_ci PRIMARY KEY, n INT",
];

fn create(server: &Server, columns: &str) -> Result<()> {
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T ({columns})"
    ))?;
    fill(server)
}

fn fill(server: &Server) -> Result<()> {
    for from in (0..BEFORE).step_by(1_000) {
        let rows: Vec<String> = (from..from + 1_000)
            .map(|it| format!("({it}, 0)"))
            .collect();
        server.sql(&format!(
            "INSERT INTO shop.T (birth, n) VALUES {}",
            rows.join(",")
        ))?;
    }
    Ok(())
}

/// An agent's folder that reads the table into `data`.
fn workplace(server: &Server, table: &str, settings: &str) -> Result<Workplace> {
    let table = format!("name = \"shop.T\"\nbackfill = true\nmetadata = [\"operation\"]\n{table}");
    backfill::workplace(server, &table, SOON, settings)
}

/// With these settings from now on.
fn reconfigure(workplace: &Workplace, settings: &str) -> Result<()> {
    let text = std::fs::read_to_string(workplace.path("hydrant.toml"))?;
    let (_, text) = text.split_once('\n').context("no line")?;
    let (text, _) = text.split_once("[backfill]").context("no section")?;
    workplace.configure(&format!("{text}[backfill]\n{settings}\n"))
}

fn write(server: &Server, writer: u64, stop: &AtomicBool) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(writer);
    let mut next = (writer + 1) * 1_000_000;
    while !stop.load(Ordering::Relaxed) {
        let changes = (0..3).map(|_| {
            next += 1;
            let one = rng.random_range(0..BEFORE);
            let insert = format!("INSERT INTO shop.T (birth, n) VALUES ({next}, 1);");
            let delete = format!("DELETE FROM shop.T WHERE birth = '{one}';");
            match rng.random_range(0..6) {
                0 => format!("UPDATE shop.T SET n = n + 1 WHERE birth = '{one}';"),
                1 => delete,
                2 => format!("BEGIN; {insert} ROLLBACK;"),
                3 => format!("BEGIN; {insert} {delete} COMMIT;"),
                _ => insert,
            }
        });
        let script: String = changes.collect();
        if let Err(error) = server.sql(&script) {
            ensure!(error.to_string().contains("eadlock"), "{error:#}");
        }
    }
    Ok(())
}

fn each_row_comes_once(kind: Kind) -> Result<()> {
    for columns in TABLES {
        let server = Server::start(kind, &[])?;
        create(&server, columns)?;
        let workplace = workplace(&server, "", "rows_per_second = 20000")?;
        workplace.drain_with_kills(6, 100..900, |stop| {
            scope(|scope| {
                let writers = [0, 1].map(|writer| {
                    let server = &server;
                    scope.spawn(move || write(server, writer, stop))
                });
                for writer in writers {
                    writer.join().ok().context("a writer panicked")??;
                }
                Ok(())
            })
        })?;
        let delivered = ensure_once(&server, &workplace, "birth")?;
        let read = delivered.values().filter(|it| *it == "R").count() as u64;
        ensure!(read > BEFORE / 4, "{read} rows were read");
    }
    Ok(())
}

#[test]
fn each_row_comes_once_on_mysql() -> Result<()> {
    each_row_comes_once(Kind::Mysql)
}

#[test]
fn each_row_comes_once_on_mariadb() -> Result<()> {
    each_row_comes_once(Kind::Mariadb)
}

#[test]
fn each_row_comes_once_on_mariadb_11() -> Result<()> {
    each_row_comes_once(Kind::Mariadb11)
}

/// A transaction that the binlog has and no SELECT can see yet is neither lost nor doubled: a snapshot is opened when all that was
/// processed is visible, and is of no use if another one is on its way.
#[test]
fn what_is_in_the_binlog_before_it_is_visible_comes_once() -> Result<()> {
    let server = Server::mysql(&["--binlog-group-commit-sync-delay=1000000"])?;
    create(&server, TABLES[0])?;
    let workplace = workplace(&server, "", "")?;
    let before = end_of_binlog(&server)?;
    // Each takes a second, in all of which it is in the binlog, and there is always one.
    let log = scope(|scope| {
        let writers = [0, 1, 2].map(|writer| {
            let server = &server;
            scope.spawn(move || {
                (0..4).try_for_each(|number| {
                    let birth = BEFORE + 4 * writer + number;
                    let insert = format!("INSERT INTO shop.T (birth, n) VALUES ({birth}, 1)");
                    server.sql(&insert).map(drop)
                })
            })
        });
        eventually("they write", || {
            Ok((end_of_binlog(&server)? != before).then_some(()))
        })?;
        let output = workplace.run(&["--until", "now"])?;
        for writer in writers {
            writer.join().ok().context("a writer panicked")??;
        }
        anyhow::Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    })?;
    ensure!(log.contains("backfill of shop.T is done"), "{log}");
    workplace.drain()?;
    ensure_once(&server, &workplace, "birth")?;
    Ok(())
}

/// Nothing of a table is visible before all of it is written, so that a second reading adds nothing to the first.
#[test]
fn a_table_that_is_half_read_has_no_visible_row() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        // More than connections have room for.
        create(&server, "birth BIGINT NOT NULL, n INT, v VARCHAR(6000)")?;
        server.sql("UPDATE shop.T SET v = REPEAT('x', 6000)")?;
        let workplace = workplace(&server, "", "rows_per_second = 800")?;
        for signal in ["KILL", "TERM", ""] {
            // What runs before have said.
            let said = std::fs::read(workplace.path("agent.log")).map_or(0, |log| log.len());
            let agent = workplace.start()?;
            let log = |agent: &Agent| agent.log()[said..].to_owned();
            eventually("it is read", || {
                Ok(log(&agent).contains("reading it as of").then_some(()))
            })?;
            server.sql("INSERT INTO shop.T (birth, n) SELECT MAX(birth) + 1, 5 FROM shop.T")?;
            eventually("some rows are written", || {
                agent.signal("USR1")?;
                let log = log(&agent);
                let line = log
                    .lines()
                    .rev()
                    .find(|line| line.contains("following row"));
                let is_there = line.is_some_and(|line| !line.contains("rows_waiting=0 "));
                Ok(is_there.then_some(()))
            })?;
            match signal {
                "KILL" => agent.kill9()?,
                "TERM" => ensure!(agent.terminate()?.success(), "a stop"),
                // The SELECT itself.
                _ => {
                    let running = "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT%FROM `shop`.`T`'";
                    let id = server.sql(running)?;
                    ensure!(id.lines().count() == 1, "{id:?}");
                    server.sql(&format!("KILL {id}"))?;
                    let mut agent = agent;
                    let status = agent.wait()?;
                    ensure!(status.code() == Some(75), "{status}: {}", agent.log());
                    says(&agent, "it is read anew from its first row")?;
                }
            }
            let visible = files_below(&workplace.path("data"), ".gz")?;
            let lines = gunzip_all(&workplace.path("data"))?;
            ensure!(lines.is_empty(), "{visible:?}: {}", lines.lines().count());
            // Nobody waits for what is gone.
            server
                .sql("SET SESSION lock_wait_timeout = 30; ALTER TABLE shop.T COMMENT = 'later'")?;
        }
        reconfigure(&workplace, "")?;
        workplace.drain()?;
        let delivered = ensure_once(&server, &workplace, "birth")?;
        ensure!(
            delivered.len() as u64 == BEFORE + 3,
            "{} rows",
            delivered.len()
        );
        // It is followed from there.
        server.sql("INSERT INTO shop.T (birth, n) VALUES (1000000, 1); UPDATE shop.T SET n = 7")?;
        workplace.drain()?;
        let delivered = ensure_once(&server, &workplace, "birth")?;
        ensure!(delivered.get(&1_000_000).is_some_and(|it| it == "I"));
    }
    Ok(())
}

/// Changes that are followed come behind the rows as of whose place they are.
#[test]
fn updates_and_deletes_follow_from_the_place_at_which_it_is_read() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        create(&server, TABLES[0])?;
        let events = "events = [\"insert\", \"update\", \"delete\"]";
        let workplace = workplace(&server, events, "rows_per_second = 4000")?;
        let agent = workplace.start()?;
        says(&agent, "reading it as of")?;
        server
            .sql("UPDATE shop.T SET n = 9 WHERE birth = 3; DELETE FROM shop.T WHERE birth = 4")?;
        says(&agent, "backfill of shop.T is done: 4000 rows")?;
        ensure!(agent.terminate()?.success());
        let delivered = delivered(&workplace)?;
        let of = |birth: u64| {
            let mut operations: Vec<char> = delivered[&birth].chars().collect();
            operations.sort_unstable();
            operations.into_iter().collect::<String>()
        };
        ensure!(
            (of(3), of(4), of(5)) == ("RU".into(), "DR".into(), "R".into()),
            "{:?}",
            (of(3), of(4), of(5))
        );
    }
    Ok(())
}

/// A table of an engine without snapshots is refused, before anything is stored.
#[test]
fn a_table_without_snapshots_is_refused() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server
            .sql("CREATE DATABASE shop; CREATE TABLE shop.T (birth INT, n INT) ENGINE = MyISAM")?;
        let workplace = workplace(&server, "", "")?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(78) && log.contains("MyISAM, has none"),
            "{log}"
        );
        ensure!(!workplace.path("checkpoint.json").exists());
    }
    Ok(())
}
