//! Tables are read while the server has little else to do, and by the index of their key alone.

use std::collections::BTreeSet;
use std::thread::{Scope, scope};

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Agent, Workplace, eventually, gunzip_all};
use crate::setup::backfill::{self, says};
use crate::setup::servers::{binlogs, end_of_binlog, pair, replicate};
use testkit::servers::{Kind, Server};

const KINDS: [Kind; 3] = [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11];
const ROWS: usize = 3_000;
/// Of them one part takes a fifth.
const RATE: &str = "rows_per_second = 1000";

/// A table `shop.T` with rows.
fn create(server: &Server) -> Result<()> {
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, {id})")).collect();
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id INT PRIMARY KEY, n INT, KEY (n)); INSERT INTO shop.T VALUES {}",
        rows.join(",")
    ))?;
    Ok(())
}

/// An agent's folder that reads the table into `data`, with these settings.
fn workplace(server: &Server, flush: &str, settings: &str) -> Result<Workplace> {
    let table = "name = \"shop.T\"\nbackfill = true\nevents = [\"insert\", \"update\"]";
    backfill::workplace(server, table, flush, settings)
}

/// Has statements run that do not end by themselves.
fn keep_running<'s>(scope: &'s Scope<'s, '_>, server: &'s Server, count: usize) {
    for _ in 0..count {
        // It ends when it is killed, and says so.
        scope.spawn(|| server.sql("DO SLEEP(600)").map(drop));
    }
}

fn running(server: &Server) -> Result<Vec<String>> {
    let found =
        server.sql("SELECT id FROM information_schema.processlist WHERE info LIKE 'DO SLEEP%'")?;
    Ok(found.lines().map(str::to_owned).collect())
}

fn kill_all(server: &Server) -> Result<()> {
    for id in running(server)? {
        server.sql(&format!("KILL {id}"))?;
    }
    Ok(())
}

/// So many rows are there.
fn ensure_rows(workplace: &Workplace, count: usize) -> Result<()> {
    let text = gunzip_all(&workplace.path("data"))?;
    let ids: Result<BTreeSet<i64>, _> = text
        .lines()
        .map(|line| line.split(',').next().unwrap_or_default().parse())
        .collect();
    let found = ids?.len();
    ensure!(
        found == count,
        "{found} rows in {} lines",
        text.lines().count()
    );
    Ok(())
}

#[test]
fn reading_pauses_while_many_threads_are_running() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        create(&server)?;
        let settings = format!("{RATE}\nmax_threads_running = 6");
        let workplace = workplace(&server, "50ms", &settings)?;
        let log = scope(|scope| {
            keep_running(scope, &server, 8);
            let paused: Result<Agent> = (|| {
                eventually("they run", || {
                    Ok((running(&server)?.len() == 8).then_some(()))
                })?;
                let agent = workplace.start()?;
                says(&agent, "more than backfill.max_threads_running = 6")?;
                // Changes go on.
                server.sql("INSERT INTO shop.T VALUES (-1, 1)")?;
                let data = workplace.path("data");
                let text = eventually("the change", || {
                    Ok(Some(gunzip_all(&data)?).filter(|text| !text.is_empty()))
                })?;
                ensure!(text.lines().all(|line| line.starts_with("-1,")), "{text}");
                Ok(agent)
            })();
            kill_all(&server)?;
            let agent = paused?;
            says(&agent, "backfill goes on after")?;
            says(&agent, "backfill of shop.T is done")?;
            let log = agent.log();
            ensure!(agent.terminate()?.success(), "{log}");
            Ok(log)
        })?;
        ensure!(log.matches("backfill pauses").count() == 1, "{log}");
        ensure_rows(&workplace, ROWS + 1)?;
    }
    Ok(())
}

#[test]
fn reading_pauses_while_a_replica_is_behind() -> Result<()> {
    for kind in KINDS {
        let (primary, replica) = pair(kind)?;
        create(&primary)?;
        primary.sql(
            "CREATE TABLE shop.Other (id INT PRIMARY KEY); INSERT INTO shop.Other VALUES (1)",
        )?;
        replicate(&primary, &replica)?;
        let settings = format!("{RATE}\nmax_replica_lag = \"1s\"");
        let workplace = workplace(&replica, "50ms", &settings)?;
        scope(|scope| {
            // What keeps the replica from applying the change.
            scope.spawn(|| {
                let lock = "BEGIN; SELECT * FROM shop.Other FOR UPDATE; DO SLEEP(600)";
                replica.sql(lock).map(drop)
            });
            let paused: Result<Agent> = (|| {
                eventually("it is locked", || {
                    Ok((!running(&replica)?.is_empty()).then_some(()))
                })?;
                primary.sql("DELETE FROM shop.Other")?;
                let agent = workplace.start()?;
                says(
                    &agent,
                    "behind its source, more than backfill.max_replica_lag = 1s",
                )?;
                Ok(agent)
            })();
            kill_all(&replica)?;
            let agent = paused?;
            says(&agent, "backfill goes on after")?;
            says(&agent, "backfill of shop.T is done")?;
            ensure!(agent.terminate()?.success());
            Ok(())
        })?;
        ensure_rows(&workplace, ROWS)?;
    }
    Ok(())
}

/// What a delivery waits for may soon be purged: nothing more is read then that is to be delivered, too.
#[test]
fn the_binlog_goes_first_when_it_is_near_its_purge() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        create(&server)?;
        server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")?;
        // Nothing is delivered before it stops.
        let workplace = workplace(&server, "1h", "rows_per_second = 100")?;
        let agent = workplace.start()?;
        says(&agent, "backfill of shop.T: about")?;
        server.sql("INSERT INTO shop.T VALUES (-1, 1)")?;
        let end = end_of_binlog(&server)?;
        eventually("a row waits that was read there", || {
            agent.signal("USR1")?;
            let log = agent.log();
            let mut told = log.lines().filter(|line| line.contains("following"));
            let is_there = |line: &str| {
                line.contains(&format!("position={end}")) && !line.contains("rows_waiting=0 ")
            };
            Ok(told.any(is_there).then_some(()))
        })?;
        let newest = binlogs(&server)?.pop().context("no binlog")?;
        server.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS; FLUSH BINARY LOGS")?;
        let newest = newest
            .file_name()
            .context("no name")?
            .to_string_lossy()
            .into_owned();
        eventually("the server has purged what it need not keep", || {
            server.sql(&format!("PURGE BINARY LOGS TO '{newest}'"))?;
            Ok((binlogs(&server)?.len() == 4).then_some(()))
        })?;
        says(&agent, "backfill pauses: the binlog goes first")?;
        let log = agent.log();
        ensure!(
            log.contains("WARN") && log.contains("only 0 of its 4 binlog files are older"),
            "{log}"
        );
        ensure!(!log.contains("is done"), "{log}");
        ensure!(agent.terminate()?.success(), "{log}");
        // What waited is delivered, and the checkpoint far from what is purged.
        let text = std::fs::read_to_string(workplace.path("hydrant.toml"))?;
        let (_, text) = text.split_once('\n').context("no line")?;
        workplace.configure(&text.replace("rows_per_second = 100\n", ""))?;
        workplace.drain()?;
        ensure_rows(&workplace, ROWS + 1)?;
    }
    Ok(())
}

/// What a user may not ask is said once, and keeps nothing from being read.
#[test]
fn what_may_not_be_asked_is_said() -> Result<()> {
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        let server = Server::start(kind, &[])?;
        create(&server)?;
        server.sql(
            "CREATE USER poor@'127.0.0.1'; GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO poor@'127.0.0.1'; \
             GRANT SELECT ON shop.* TO poor@'127.0.0.1'",
        )?;
        let workplace = workplace(&server, "50ms", "")?;
        let text = std::fs::read_to_string(workplace.path("hydrant.toml"))?;
        let text = text.replace("root@", "poor@");
        let (_, text) = text.split_once('\n').context("no line")?;
        workplace.configure(text)?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{log}");
        ensure!(
            log.matches("backfill.max_replica_lag has no effect")
                .count()
                == 1,
            "{log}"
        );
        ensure_rows(&workplace, ROWS)?;
    }
    Ok(())
}

/// Each part is read by the key's index, in its order.
#[test]
fn no_part_is_sorted_or_read_by_another_index() -> Result<()> {
    const KEYS: [&str; 4] = [
        "id INT NOT NULL, n INT NOT NULL, PRIMARY KEY (id), KEY (n)",
        "id INT NOT NULL, n INT NOT NULL, PRIMARY KEY (n, id), KEY (id)",
        "id INT NOT NULL, n VARCHAR(20) COLLATE utf8mb4_unicode_ci NOT NULL, UNIQUE KEY k (n, id), KEY (id)",
        "id INT, n VARCHAR(20) CHARACTER SET latin1 NOT NULL, UNIQUE KEY k (n), KEY (id)",
    ];
    for kind in KINDS {
        for columns in KEYS {
            let server = Server::start(kind, &["--log-output=TABLE"])?;
            let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, {id})")).collect();
            server.sql(&format!(
                "CREATE DATABASE shop; CREATE TABLE shop.T ({columns}, w INT DEFAULT 1); INSERT INTO shop.T (id, n) VALUES {}; \
                 ANALYZE TABLE shop.T; SET GLOBAL general_log = ON",
                rows.join(",")
            ))?;
            let workplace = workplace(&server, "50ms", "")?;
            workplace.drain()?;
            server.sql("SET GLOBAL general_log = OFF")?;
            let statements = server.sql(
                "SELECT HEX(argument) FROM mysql.general_log WHERE argument LIKE 'SELECT%FROM `shop`.`T` FORCE INDEX%ORDER BY%'",
            )?;
            ensure!(statements.lines().count() >= 2, "{statements}");
            for statement in statements.lines() {
                let bytes: Vec<u8> = (0..statement.len() / 2)
                    .map(|at| u8::from_str_radix(&statement[2 * at..2 * at + 2], 16))
                    .collect::<Result<_, _>>()?;
                let statement = String::from_utf8(bytes)?;
                let plan = match kind {
                    Kind::Mysql => format!("EXPLAIN FORMAT=TRADITIONAL {statement}"),
                    Kind::Mariadb | Kind::Mariadb11 => format!("EXPLAIN {statement}"),
                };
                let plan = server.sql(&plan)?;
                let index = if columns.contains("PRIMARY") {
                    "PRIMARY"
                } else {
                    "k"
                };
                // MySQL has a column more before it.
                let at = if kind == Kind::Mysql { 6 } else { 5 };
                ensure!(
                    plan.split('\t').nth(at) == Some(index)
                        && !plan.contains("filesort")
                        && !plan.contains("temporary"),
                    "{}: {statement}: {plan}",
                    kind.name()
                );
            }
        }
    }
    Ok(())
}
