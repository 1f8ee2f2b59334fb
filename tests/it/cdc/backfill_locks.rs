//! Servers that cannot tell what a SELECT sees: each part is read behind a short lock, if that is allowed by name.

use std::thread::scope;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, eventually};
use crate::setup::backfill::{self, SOON, ensure_once};
use crate::setup::servers::end_of_binlog;
use testkit::servers::Server;

const ROWS: u64 = 4_000;
const WITHOUT_GTIDS: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
const ALLOWED: &str = "lock_tables = true";
/// With a key by which it is read in parts, and without.
const KEYS: [&str; 2] = [", PRIMARY KEY (id)", ""];

fn create(server: &Server, key: &str) -> Result<()> {
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 0)")).collect();
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id INT NOT NULL, n INT{key}); INSERT INTO shop.T VALUES {}",
        rows.join(",")
    ))?;
    Ok(())
}

fn workplace(server: &Server, user: &str, settings: &str) -> Result<Workplace> {
    let table = "name = \"shop.T\"\nbackfill = true\nmetadata = [\"operation\"]";
    let workplace = backfill::workplace(server, table, SOON, settings)?;
    let text = std::fs::read_to_string(workplace.path("hydrant.toml"))?;
    let text = text.replace("root@", &format!("{user}@"));
    std::fs::write(workplace.path("hydrant.toml"), text)?;
    Ok(workplace)
}

fn refusal(workplace: &Workplace) -> Result<String> {
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(78), "{log}");
    ensure!(!workplace.path("checkpoint.json").exists(), "{log}");
    Ok(log)
}

#[test]
fn a_server_without_gtids_is_refused_unless_its_tables_may_be_locked() -> Result<()> {
    let server = Server::mysql(&WITHOUT_GTIDS)?;
    create(&server, KEYS[0])?;
    server.sql(
        "CREATE USER poor@'127.0.0.1'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO poor@'127.0.0.1'; \
         GRANT SELECT ON shop.* TO poor@'127.0.0.1'",
    )?;
    let log = refusal(&workplace(&server, "poor", "")?)?;
    ensure!(log.contains("backfill.lock_tables = true"), "{log}");
    let allowed = workplace(&server, "poor", ALLOWED)?;
    let log = refusal(&allowed)?;
    ensure!(log.contains("GRANT LOCK TABLES"), "{log}");
    server.sql("GRANT LOCK TABLES ON shop.* TO poor@'127.0.0.1'")?;
    allowed.drain()?;
    ensure!(ensure_once(&server, &allowed, "id")?.len() as u64 == ROWS);
    Ok(())
}

/// A transaction that the binlog has and no SELECT can see yet is waited for, whoever is killed.
#[test]
fn behind_a_lock_each_row_comes_once() -> Result<()> {
    for key in KEYS {
        let delay = ["--binlog-group-commit-sync-delay=300000"];
        let server = Server::mysql(&[&WITHOUT_GTIDS[..], &delay].concat())?;
        create(&server, key)?;
        let workplace = workplace(
            &server,
            "root",
            &format!("{ALLOWED}\nrows_per_second = 3000"),
        )?;
        workplace.drain_with_kills(4, 300..1_200, |stop| {
            // Each takes almost a third of a second, in all of which it is in the binlog.
            let mut next = ROWS;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                server.sql(&format!("INSERT INTO shop.T VALUES ({next}, 1)"))?;
                next += 1;
            }
            Ok(())
        })?;
        let delivered = ensure_once(&server, &workplace, "id")?;
        ensure!(delivered.len() as u64 > ROWS);
        ensure!(delivered.get(&0).is_some_and(|it| it == "R"));
    }
    Ok(())
}

/// A transaction before the start that no SELECT can see yet is one of the rows that are there.
#[test]
fn what_is_committed_while_the_agent_starts_comes_once() -> Result<()> {
    const DELAY: &str = "--binlog-group-commit-sync-delay=1000000";
    let servers: [(&[&str], &str); 2] = [
        (&[DELAY], ""),
        (&[WITHOUT_GTIDS[0], WITHOUT_GTIDS[1], DELAY], ALLOWED),
    ];
    for (options, settings) in servers {
        for key in KEYS {
            let server = Server::mysql(options)?;
            create(&server, key)?;
            let workplace = workplace(&server, "root", settings)?;
            let before = end_of_binlog(&server)?;
            scope(|scope| {
                let writer = scope.spawn(|| {
                    let insert = format!("INSERT INTO shop.T VALUES ({ROWS}, 1)");
                    server.sql(&insert).map(drop)
                });
                eventually("it is in the binlog", || {
                    Ok((end_of_binlog(&server)? != before).then_some(()))
                })?;
                workplace.drain()?;
                writer.join().ok().context("the writer panicked")?
            })?;
            workplace.drain()?;
            let delivered = ensure_once(&server, &workplace, "id")?;
            ensure!(delivered.len() as u64 == ROWS + 1, "{options:?} {key}");
        }
    }
    Ok(())
}

/// Whoever changes the table for long keeps it from being read, and nobody else from writing.
#[test]
fn a_lock_is_not_waited_for_long() -> Result<()> {
    let server = Server::mysql(&WITHOUT_GTIDS)?;
    create(&server, KEYS[0])?;
    let workplace = workplace(&server, "root", ALLOWED)?;
    scope(|scope| {
        scope.spawn(|| {
            let open = "BEGIN; INSERT INTO shop.T VALUES (-7, 1); DO SLEEP(600)";
            server.sql(open).map(drop)
        });
        let waited = (|| -> Result<_> {
            let running =
                "SELECT id FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'";
            let id = eventually("it is open", || {
                Ok(Some(server.sql(running)?).filter(|id| !id.is_empty()))
            })?;
            let agent = workplace.start()?;
            let tried = eventually("it tries again", || {
                Ok(agent.log().contains("Lock wait timeout").then_some(()))
            });
            tried.with_context(|| agent.log())?;
            server
                .sql("SET SESSION lock_wait_timeout = 30; INSERT INTO shop.T VALUES (100000, 1)")?;
            Ok((agent, id))
        })();
        let kill = server.sql(
            "SELECT CONCAT('KILL ', id, ';') FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'",
        )?;
        server.sql(&kill)?;
        let (agent, _) = waited?;
        let done = eventually("it is read", || {
            Ok(agent
                .log()
                .contains("backfill of shop.T is done")
                .then_some(()))
        });
        done.with_context(|| agent.log())?;
        ensure!(agent.terminate()?.success());
        ensure!(ensure_once(&server, &workplace, "id")?.len() as u64 == ROWS + 1);
        Ok(())
    })
}

/// A lock ends with the process that has it.
#[test]
fn nobody_waits_for_an_agent_that_was_killed() -> Result<()> {
    for key in KEYS {
        let server = Server::mysql(&WITHOUT_GTIDS)?;
        create(&server, key)?;
        let workplace = workplace(
            &server,
            "root",
            &format!("{ALLOWED}\nrows_per_second = 500"),
        )?;
        for _ in 0..4 {
            workplace.start_and_kill(200..600)?;
            server.sql(
                "SET SESSION lock_wait_timeout = 30; UPDATE shop.T SET n = n + 1 WHERE id = 3",
            )?;
        }
    }
    Ok(())
}
