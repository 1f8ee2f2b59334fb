//! Transactions that take back rows which are in the binlog: by ROLLBACK or ROLLBACK TO SAVEPOINT, as MariaDB
//! writes them beside temporary tables and tables without transactions.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::setup::agent::{Workplace, eventually, gunzip_all};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

const MARIADBS: [Kind; 2] = [Kind::Mariadb, Kind::Mariadb11];

/// A configuration that follows three tables of different engines.
fn config(server: &Server, more: &str) -> String {
    let url = server.url();
    let tables = ["T", "M", "A"]
        .map(|name| format!("[[table]]\nname = \"shop.{name}\"\ncolumns = [\"id\"]\n"));
    format!(
        "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n{}[sink]\ntype = \"stdout\"\n{more}\n",
        tables.concat()
    )
}

fn shop(kind: Kind, arguments: &[&str]) -> Result<Server> {
    let server = Server::start(kind, arguments)?;
    let columns = "(id int PRIMARY KEY, note text)";
    let third = if kind == Kind::Mysql {
        "MEMORY"
    } else {
        "Aria TRANSACTIONAL=0"
    };
    let columns_of_third = if kind == Kind::Mysql {
        "(id int PRIMARY KEY)"
    } else {
        columns
    };
    server.sql(&format!(
        "CREATE DATABASE shop; USE shop; CREATE TABLE T {columns} ENGINE=InnoDB; \
         CREATE TABLE M {columns} ENGINE=MyISAM; CREATE TABLE A {columns_of_third} ENGINE={third}",
    ))?;
    Ok(server)
}

/// The ids that the tables have, in order.
fn ids(server: &Server) -> Result<Vec<u32>> {
    let text = server.sql(
        "SELECT id FROM shop.T UNION ALL SELECT id FROM shop.M UNION ALL SELECT id FROM shop.A ORDER BY id",
    )?;
    sorted(&text)
}

fn sorted(lines: &str) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for line in lines.lines() {
        ids.push(line.parse()?);
    }
    ids.sort_unstable();
    Ok(ids)
}

/// What an agent delivers, and a replay writes, is what the tables have.
fn is_delivered(server: &Server, more: &str) -> Result<String> {
    let left = ids(server)?;
    let workplace = Workplace::new(&config(server, more))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{log}");
    assert_eq!(sorted(&String::from_utf8(output.stdout)?)?, left, "{log}");
    let mut replayed_ids = Vec::new();
    for table in ["T", "M", "A"] {
        let name = format!("shop.{table}");
        let arguments = ["--table", &name, "--columns", "id", "--out", "-"];
        replayed_ids.extend(sorted(&replayed(&binlogs(server)?, &arguments)?)?);
    }
    replayed_ids.sort_unstable();
    assert_eq!(replayed_ids, left);
    Ok(log)
}

#[test]
fn rows_that_were_taken_back_are_not_delivered() -> Result<()> {
    for kind in MARIADBS {
        let server = shop(kind, &["--log-bin-trust-function-creators=ON"])?;
        server.sql(
            "USE shop; BEGIN; INSERT INTO T VALUES (1, ''); CREATE TEMPORARY TABLE x (a int); ROLLBACK; \
             BEGIN; INSERT INTO T VALUES (2, ''); SAVEPOINT a; INSERT INTO T VALUES (3, ''); \
             DROP TEMPORARY TABLE x; ROLLBACK TO A; INSERT INTO T VALUES (4, ''); COMMIT; \
             BEGIN; INSERT INTO T VALUES (5, ''); INSERT INTO M VALUES (6, ''); INSERT INTO A VALUES (7, ''); \
             CREATE TEMPORARY TABLE y (a int); INSERT INTO T VALUES (8, ''); ROLLBACK; \
             BEGIN; SAVEPOINT b; INSERT INTO T VALUES (9, ''); SAVEPOINT `c d`; INSERT INTO M VALUES (10, ''); \
             INSERT INTO T VALUES (11, ''); ROLLBACK TO `c d`; INSERT INTO T VALUES (12, ''); ROLLBACK TO b; \
             INSERT INTO T VALUES (13, ''); COMMIT",
        )?;
        // A function that changes both kinds of tables and goes back.
        server.sql(
            "USE shop; CREATE FUNCTION f(x int) RETURNS int MODIFIES SQL DATA RETURN x; DROP FUNCTION f; \
             CREATE TRIGGER g AFTER INSERT ON T FOR EACH ROW INSERT INTO M VALUES (NEW.id + 1000, ''); \
             BEGIN; INSERT INTO T VALUES (20, ''); SAVEPOINT q; INSERT INTO T VALUES (21, ''); ROLLBACK TO q; \
             COMMIT; BEGIN; INSERT INTO T VALUES (22, ''); ROLLBACK; DROP TRIGGER g; \
             INSERT INTO T VALUES (30, '')",
        )?;
        let left = ids(&server)?;
        let expected = [2, 4, 6, 7, 10, 13, 20, 30, 1020, 1021, 1022];
        assert_eq!(left, expected);
        is_delivered(&server, "")?;
        is_delivered(&server, "max_in_flight = \"1 MiB\"")?;
    }
    Ok(())
}

/// Transactions larger than what may be in memory, each of which ends in another way.
#[test]
fn updates_and_deletes_that_were_taken_back_are_not_written() -> Result<()> {
    for kind in MARIADBS {
        let server = shop(kind, &[])?;
        server.sql(
            "USE shop; INSERT INTO T VALUES (1, 'a'), (2, 'b'); \
             BEGIN; UPDATE T SET note = 'x' WHERE id = 1; CREATE TEMPORARY TABLE x (id int); ROLLBACK; \
             BEGIN; DELETE FROM T WHERE id = 2; DROP TEMPORARY TABLE x; ROLLBACK; \
             BEGIN; INSERT INTO T VALUES (3, 'c'); SAVEPOINT s; UPDATE T SET note = 'y' WHERE id = 3; \
             CREATE TEMPORARY TABLE y (id int); ROLLBACK TO s; COMMIT",
        )?;
        let undone = server.sql("SELECT CONCAT(id, ',', note, ',I') FROM shop.T ORDER BY id")?;
        let changes = "columns = [\"id\", \"note\"]\nevents = [\"insert\", \"update\", \"delete\"]\n\
                       metadata = [\"operation\"]";
        let config = config(&server, "").replace("columns = [\"id\"]", changes);
        let workplace = Workplace::new(&config)?;
        assert_eq!(workplace.drain()?, undone, "{kind:?}");
        let path = workplace.path("hydrant.toml").display().to_string();
        let arguments = ["--config", &path, "--out", "-"];
        assert_eq!(
            replayed(&binlogs(&server)?, &arguments)?,
            undone,
            "{kind:?}"
        );
    }
    Ok(())
}

#[test]
fn large_transactions_that_take_rows_back_are_read_twice() -> Result<()> {
    for kind in MARIADBS {
        let server = shop(kind, &[])?;
        let rows = |from: u32| {
            format!("INSERT INTO T SELECT seq + {from}, repeat('x', 1000) FROM seq_1_to_3000;")
        };
        let [undone, first, between, last, alone] = [0, 10_000, 20_000, 30_000, 40_000].map(rows);
        server.sql(&format!(
            "USE shop; BEGIN; {undone} CREATE TEMPORARY TABLE x (a int); ROLLBACK; \
             BEGIN; {first} SAVEPOINT s; {between} CREATE TEMPORARY TABLE y (a int); ROLLBACK TO s; {last} COMMIT; {alone} \
             INSERT INTO M SELECT id + 50000, note FROM T"
        ))?;
        for columns in ["id", "note\", \"id"] {
            let table = format!("name = \"shop.T\"\ncolumns = [\"{columns}\"]");
            let url = server.url();
            let workplace = Workplace::new(&format!(
                "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\n{table}\n[sink]\n\
                 type = \"stdout\"\nmax_in_flight = \"1 MiB\"\n"
            ))?;
            let output = workplace.run(&["--until", "now"])?;
            let log = String::from_utf8(output.stderr)?;
            ensure!(output.status.success(), "{log}");
            let delivered = String::from_utf8(output.stdout)?;
            let delivered = delivered.lines().filter_map(|line| line.rsplit(',').next());
            let delivered = sorted(&delivered.collect::<Vec<_>>().join("\n"))?;
            let left = sorted(&server.sql("SELECT id FROM shop.T ORDER BY id")?)?;
            assert_eq!(delivered, left);
            // Of the first there is nothing to read again; short lines fit into memory.
            let again = log.matches("again: only its end says").count();
            assert_eq!(again, if columns == "id" { 0 } else { 2 }, "{log}");
        }
        is_delivered(&server, "")?;
    }
    Ok(())
}

/// Connections break in the middle of transactions whose rows are held back, or are read for the second time.
#[test]
fn connections_that_break_double_nothing_and_bring_nothing_back() -> Result<()> {
    for kind in MARIADBS {
        let server = shop(kind, &[])?;
        let mut sql = "USE shop; ".to_owned();
        for number in 0..24 {
            let from = number * 10_000;
            let rows = |from: u32| {
                format!("INSERT INTO T SELECT seq + {from}, repeat('x', 1000) FROM seq_1_to_700; ")
            };
            let (first, second) = (rows(from), rows(from + 1_000));
            let end = ["COMMIT", "ROLLBACK", "ROLLBACK TO s; COMMIT"][number as usize % 3];
            let _ = write!(
                sql,
                "BEGIN; {first} CREATE TEMPORARY TABLE x{number} (a int); SAVEPOINT s; {second} {end}; "
            );
        }
        server.sql(&sql)?;
        let left = sorted(&server.sql("SELECT id FROM shop.T")?)?;
        for max_in_flight in ["1 MiB", "24 MiB"] {
            let workplace = Workplace::new("")?;
            let data = workplace.path("data");
            let url = server.url();
            workplace.configure(&format!(
                "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\nname = \"shop.T\"\n[sink]\n\
                 path = \"{}\"\nflush_interval = \"20ms\"\nmax_in_flight = \"{max_in_flight}\"\n",
                data.display()
            ))?;
            let agent = workplace.start()?;
            let mut kills = 0;
            let delivered = || -> Result<Vec<u32>> {
                let lines = if data.exists() {
                    gunzip_all(&data)?
                } else {
                    String::new()
                };
                let ids = lines.lines().filter_map(|line| line.split(',').next());
                sorted(&ids.collect::<Vec<_>>().join("\n"))
            };
            eventually("all rows are delivered", || {
                kills += 1;
                if kills > 20 {
                    return Ok((delivered()?.len() >= left.len()).then_some(()));
                }
                let dumps = server.sql(
                    "SELECT CONCAT('KILL ', id, ';') FROM information_schema.PROCESSLIST WHERE COMMAND = 'Binlog Dump'",
                )?;
                // It may have ended meanwhile.
                let _ = server.sql(&dumps);
                Ok(None)
            })?;
            let log = agent.log();
            ensure!(agent.terminate()?.success(), "{log}");
            assert_eq!(delivered()?, left, "{log}");
            ensure!(log.contains("connected again"), "{log}");
        }
    }
    Ok(())
}

/// The statements of a random session. Ids grow, so that each row is told from each other one.
fn session(rng: &mut StdRng, transactions: usize, kind: Kind) -> String {
    let mut sql = "USE shop; ".to_owned();
    let mut id = 0;
    let mut temporary: BTreeSet<u32> = BTreeSet::new();
    for _ in 0..transactions {
        sql.push_str("BEGIN; ");
        let mut savepoints: Vec<u32> = Vec::new();
        for _ in 0..rng.random_range(1..9) {
            match rng.random_range(0..12) {
                0..5 => {
                    let count = rng.random_range(1..4);
                    let values: Vec<String> =
                        (0..count).map(|row| format!("({})", id + row)).collect();
                    let table = if rng.random_ratio(1, 4) { "M" } else { "T" };
                    let _ = write!(
                        sql,
                        "INSERT INTO {table} (id) VALUES {}; ",
                        values.join(",")
                    );
                    id += count;
                }
                5 => {
                    let _ = write!(sql, "INSERT INTO A (id) VALUES ({id}); ");
                    id += 1;
                }
                6 | 7 => {
                    let name = rng.random_range(0..3);
                    savepoints.retain(|other| *other != name);
                    savepoints.push(name);
                    let _ = write!(sql, "SAVEPOINT s{name}; ");
                }
                8 | 9 if !savepoints.is_empty() => {
                    let index = rng.random_range(0..savepoints.len());
                    savepoints.truncate(index + 1);
                    let _ = write!(sql, "ROLLBACK TO S{}; ", savepoints[index]);
                }
                10 if !savepoints.is_empty() => {
                    let index = rng.random_range(0..savepoints.len());
                    let _ = write!(sql, "RELEASE SAVEPOINT s{}; ", savepoints[index]);
                    savepoints.truncate(index);
                }
                _ if kind == Kind::Mysql => {}
                _ => {
                    let name = rng.random_range(0..4);
                    if temporary.remove(&name) {
                        let _ = write!(sql, "DROP TEMPORARY TABLE x{name}; ");
                    } else {
                        temporary.insert(name);
                        let _ = write!(sql, "CREATE TEMPORARY TABLE x{name} (a int); ");
                    }
                }
            }
        }
        sql.push_str(if rng.random_bool(0.5) {
            "COMMIT; "
        } else {
            "ROLLBACK; "
        });
    }
    sql
}

fn random_sessions(kind: Kind, arguments: &[&str], metadata: &str) -> Result<()> {
    let metadata = format!("--binlog-row-metadata={metadata}");
    let server = shop(kind, &[&[metadata.as_str()], arguments].concat())?;
    let mut rng = StdRng::seed_from_u64(12);
    server.sql(&session(&mut rng, 400, kind))?;
    ensure!(ids(&server)?.len() > 300);
    if metadata.ends_with("FULL") {
        is_delivered(&server, "")?;
    } else {
        let workplace = Workplace::new(&config(&server, "flush_interval = \"0s\""))?;
        assert_eq!(sorted(&workplace.drain()?)?, ids(&server)?);
    }
    Ok(())
}

#[test]
fn random_transactions_of_mariadb_leave_what_select_shows() -> Result<()> {
    random_sessions(Kind::Mariadb, &[], "FULL")?;
    random_sessions(
        Kind::Mariadb,
        &["--log-bin-compress=ON", "--log-bin-compress-min-len=10"],
        "FULL",
    )
}

#[test]
fn random_transactions_of_mariadb_11_leave_what_select_shows() -> Result<()> {
    random_sessions(Kind::Mariadb11, &[], "FULL")?;
    random_sessions(Kind::Mariadb11, &[], "NO_LOG")
}

/// MySQL refuses such transactions where it keeps GTIDs.
#[test]
fn random_transactions_of_mysql_leave_what_select_shows() -> Result<()> {
    let without = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    random_sessions(Kind::Mysql, &without, "FULL")
}
