//! Tables that patterns mean: each is followed from its first row on, whenever and however it is created.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config, eventually, gunzip_all};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

const SHOP: &str = "name = \"shop.*\"\nexclude = [\"shop.tmp_*\"]";

fn shop(kind: Kind, arguments: &[&str]) -> Result<Server> {
    let server = Server::start(kind, arguments)?;
    server.sql("CREATE DATABASE shop; CREATE DATABASE other")?;
    Ok(server)
}

/// The lines of each table's folder.
fn delivered(workplace: &Workplace) -> Result<BTreeMap<String, String>> {
    let mut delivered = BTreeMap::new();
    let Ok(folders) = fs::read_dir(workplace.path("data")) else {
        return Ok(delivered);
    };
    for folder in folders {
        let folder = folder?.path();
        let name = folder
            .file_name()
            .context("no name")?
            .to_string_lossy()
            .into_owned();
        let lines = gunzip_all(&folder)?;
        if !lines.is_empty() {
            delivered.insert(name, lines);
        }
    }
    Ok(delivered)
}

fn expected(tables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, lines): &(&str, &str)| ((*name).to_owned(), (*lines).to_owned());
    tables.iter().map(owned).collect()
}

/// Ways in which tables come and go, with the lines that each leaves.
const COMINGS: &str = "USE shop; CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1); \
    CREATE TABLE tmp_x (id int); INSERT INTO tmp_x VALUES (1); CREATE TABLE other.x (id int); INSERT INTO other.x VALUES (1); \
    CREATE TABLE c LIKE b; INSERT INTO c VALUES (2); \
    CREATE TABLE d AS SELECT id, 'of a query' AS note FROM b; INSERT INTO d VALUES (3, 'x'); \
    CREATE VIEW v AS SELECT * FROM b; \
    CREATE TEMPORARY TABLE t (id int); INSERT INTO t VALUES (1); DROP TEMPORARY TABLE t; \
    CREATE TABLE p (id int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (5), PARTITION p1 VALUES LESS THAN (9)); \
    INSERT INTO p VALUES (4), (7); ALTER TABLE p DROP PARTITION p0; INSERT INTO p VALUES (8); \
    DROP TABLE c; CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (5); \
    RENAME TABLE c TO other.c; INSERT INTO other.c VALUES (6); \
    RENAME TABLE other.x TO shop.x; INSERT INTO x VALUES (7); \
    CREATE TABLE audit_1 (id int PRIMARY KEY, note varchar(9)); INSERT INTO audit_1 VALUES (1, 'a'); \
    UPDATE audit_1 SET note = 'b'; DELETE FROM audit_1; UPDATE b SET id = 9; \
    CREATE TABLE `a.b` (id int); INSERT INTO `a.b` VALUES (3); \
    CREATE TABLE E (`größe` int); INSERT INTO E VALUES (4)";

const AFTER_COMINGS: &[(&str, &str)] = &[
    ("shop.a", "1\n"),
    ("shop.b", "1\n"),
    ("shop.c", "2\n5\n"),
    ("shop.d", "1,of a query\n3,x\n"),
    ("shop.p", "4\n7\n8\n"),
    ("shop.x", "7\n"),
    ("shop.audit_1", "1,a,I\n1,b,U\n1,b,D\n"),
    ("shop.a.b", "3\n"),
    ("shop.E", "4\n"),
];

const FEW_COMINGS: &str = "USE shop; CREATE TABLE b (id int PRIMARY KEY, d double(9,2)); INSERT INTO b VALUES (1, 0.5); \
    CREATE TABLE d AS SELECT id, 'of a query' AS note FROM b; INSERT INTO d VALUES (3, 'x')";

const AFTER_FEW: &[(&str, &str)] = &[
    ("shop.a", "1\n"),
    ("shop.b", "1,0.50\n"),
    ("shop.d", "1,of a query\n3,x\n"),
];

const AUDIT: &str = "name = \"shop.audit_[0-9]\"\nevents = [\"insert\", \"update\", \"delete\"]";

#[test]
fn a_table_is_followed_from_its_first_row_on_however_it_comes() -> Result<()> {
    for kind in Kind::ALL {
        for metadata in ["FULL", "MINIMAL"] {
            let server = shop(kind, &[&format!("--binlog-row-metadata={metadata}")])?;
            server.sql("CREATE TABLE shop.a (id int); INSERT INTO shop.a VALUES (1)")?;
            let workplace =
                Workplace::into_directory(&server, &[AUDIT, SHOP], "flush_interval = \"50ms\"")?;
            workplace.drain()?;
            ensure!(
                delivered(&workplace)? == expected(&AFTER_COMINGS[..1]),
                "{kind:?}"
            );
            // The agent runs, and later reads all of it again.
            let agent = workplace.start()?;
            // Where the binlog does not name columns, a table must be there when its rows are read.
            let (comings, after) = match metadata {
                "FULL" => (COMINGS, AFTER_COMINGS),
                _ => (FEW_COMINGS, AFTER_FEW),
            };
            server.sql(comings)?;
            eventually("all lines are there", || {
                let there = delivered(&workplace)? == expected(after);
                Ok(there.then_some(()))
            })
            .with_context(|| {
                format!(
                    "{kind:?} {metadata}: {:?} {}",
                    delivered(&workplace),
                    agent.log()
                )
            })?;
            let log = agent.log();
            ensure!(agent.terminate()?.success());
            if metadata == "FULL" {
                let told = "has given a table that was not followed the name shop.x";
                ensure!(log.contains(told), "{log}");
                fs::remove_dir_all(workplace.path("data"))?;
                fs::remove_file(workplace.path("checkpoint.json"))?;
                workplace.drain()?;
                ensure!(
                    delivered(&workplace)? == expected(AFTER_COMINGS),
                    "{kind:?}"
                );
                let config = workplace.path("hydrant.toml").display().to_string();
                let out = workplace.path("data").display().to_string();
                for more in [&["--offline"][..], &[]] {
                    fs::remove_dir_all(workplace.path("data"))?;
                    let arguments = [&["--config", &config, "--out", &out], more].concat();
                    replayed(&binlogs(&server)?, &arguments)?;
                    ensure!(
                        delivered(&workplace)? == expected(AFTER_COMINGS),
                        "{kind:?} {more:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn tables_that_are_created_while_the_agent_is_killed_have_each_row_once() -> Result<()> {
    const TABLES: usize = 30;
    for kind in Kind::ALL {
        let server = shop(kind, &["--binlog-row-metadata=FULL"])?;
        let workplace = Workplace::into_directory(&server, &[SHOP], "flush_interval = \"20ms\"")?;
        workplace.drain_with_kills(6, 20..400, |_| {
            for table in 0..TABLES {
                server.sql(&format!(
                    "USE shop; CREATE TABLE t{table} (id int PRIMARY KEY); INSERT INTO t{table} VALUES (1); \
                     BEGIN; INSERT INTO t{table} VALUES (2); INSERT INTO t{} VALUES (1000 + {table}); COMMIT",
                    table / 2
                ))?;
            }
            Ok(())
        })?;
        let delivered = delivered(&workplace)?;
        ensure!(delivered.len() == TABLES, "{kind:?}: {}", delivered.len());
        for table in 0..TABLES {
            let selected = server.sql(&format!("SELECT id FROM shop.t{table} ORDER BY id"))?;
            let lines = &delivered[&format!("shop.t{table}")];
            let mut lines: Vec<&str> = lines.lines().collect();
            lines.sort_by_key(|line| line.parse::<u32>().unwrap_or(0));
            ensure!(
                lines == selected.lines().collect::<Vec<_>>(),
                "{kind:?} t{table}: {lines:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn layouts_of_tables_that_are_quiet_are_kept() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &["--binlog-row-metadata=FULL"])?;
        let table = format!("{SHOP}\non_schema_change = \"version\"");
        let workplace = Workplace::into_directory(&server, &[table], "")?;
        server.sql(
            "USE shop; CREATE TABLE a (id int); INSERT INTO a VALUES (1); CREATE TABLE b (id int); \
             INSERT INTO b VALUES (1); ALTER TABLE a ADD COLUMN n int; INSERT INTO a VALUES (2, 2)",
        )?;
        workplace.drain()?;
        for row in 2..5 {
            // Nothing of the table `a` is read.
            server.sql(&format!("INSERT INTO shop.b VALUES ({row})"))?;
            workplace.drain()?;
        }
        server.sql("INSERT INTO shop.a VALUES (3, 3)")?;
        workplace.drain()?;
        ensure!(
            gunzip_all(&workplace.path("data/shop.a/v=2"))? == "2,2\n3,3\n",
            "{kind:?}"
        );
        // A change stops, and is accepted, as with a table that is named.
        let text = fs::read_to_string(workplace.path("hydrant.toml"))?;
        let stop = text.replace("\"version\"", "\"stop\"");
        fs::write(workplace.path("hydrant.toml"), stop)?;
        server.sql("ALTER TABLE shop.a MODIFY n bigint; INSERT INTO shop.a VALUES (4, 4)")?;
        let output = workplace.run(&["--until", "now"])?;
        ensure!(output.status.code() == Some(65), "{output:?}");
        let option = crate::setup::agent::accept_option(&output.stderr)?;
        ensure!(
            workplace
                .run(&["--until", "now", "--accept-change", &option])?
                .status
                .success()
        );
        ensure!(
            gunzip_all(&workplace.path("data/shop.a"))?.contains("4,4"),
            "{kind:?}"
        );
        let output = workplace.run(&["--until", "now", "--accept-change", "else.a=12345678"])?;
        ensure!(output.status.code() == Some(64), "{output:?}");
    }
    Ok(())
}

#[test]
fn what_a_pattern_means_from_now_on_is_named() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &["--binlog-row-metadata=FULL"])?;
        server.sql("CREATE TABLE shop.a (id int); CREATE TABLE shop.b (id int); CREATE TABLE other.c (id int)")?;
        let workplace = Workplace::into_directory(&server, &["name = \"shop.a\""], "")?;
        workplace.drain()?;
        let log = |table: &str| {
            let path = workplace.path("data");
            workplace.configure(&config(
                &server,
                table,
                &format!("path = \"{}\"", path.display()),
            ))?;
            let output = workplace.run(&["--until", "now"])?;
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "{log}");
            anyhow::Ok(log)
        };
        let told = log("name = \"*.*\"\nexclude = [\"other.*\"]")?;
        ensure!(told.contains("shop.b was not followed before"), "{told}");
        ensure!(
            told.contains("\"*.*\" means") || told.contains("*.* means"),
            "{told}"
        );
        ensure!(told.contains("2 tables now"), "{told}");
        // What was created since is complete.
        server.sql("CREATE TABLE shop.d (id int)")?;
        let told = log("name = \"shop.*\"")?;
        ensure!(!told.contains("not followed before"), "{told}");
        let told = log("name = \"*.*\"")?;
        ensure!(told.contains("other.c was not followed before"), "{told}");
        let told = log("name = \"shop.a\"\n[[table]]\nname = \"nothing.*\"")?;
        ensure!(told.contains("means no table that is there now"), "{told}");
    }
    Ok(())
}

#[test]
fn rows_that_come_into_a_table_without_events_stop_the_agent() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &["--binlog-row-metadata=FULL"])?;
        let workplace = Workplace::into_directory(&server, &["name = \"shop.*\""], "")?;
        server.sql(
            "CREATE TABLE other.x (id int); INSERT INTO other.x VALUES (1); USE shop; \
             CREATE TABLE p (id int) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (5)); \
             ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE other.x",
        )?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(65) && log.contains("shop.p"),
            "{kind:?}: {log}"
        );
    }
    Ok(())
}

#[test]
fn columns_of_a_pattern_are_protected_in_each_table_that_has_them() -> Result<()> {
    for kind in Kind::ALL {
        let server = shop(kind, &["--binlog-row-metadata=FULL"])?;
        server.sql(
            "USE shop; CREATE TABLE a (id int PRIMARY KEY, ssn varchar(20)); CREATE TABLE b (id int PRIMARY KEY); \
             INSERT INTO a VALUES (1, 'secret-1'); INSERT INTO b VALUES (1)",
        )?;
        let table = |ssn: &str| format!("name = \"shop.*\"\nmask = {{ {ssn} = \"redact\" }}");
        let workplace = Workplace::into_directory(&server, &[table("ssn")], "")?;
        workplace.drain()?;
        server.sql(
            "USE shop; CREATE TABLE c (id int, SSN varchar(20)); INSERT INTO c VALUES (1, 'secret-2'); \
             CREATE TABLE d (id int, ssn varchar(20)); ALTER TABLE d CHANGE ssn social varchar(20)",
        )?;
        workplace.drain()?;
        let lines = [
            ("shop.a", "1,***\n"),
            ("shop.b", "1\n"),
            ("shop.c", "1,***\n"),
        ];
        ensure!(delivered(&workplace)? == expected(&lines), "{kind:?}");
        // A table without the column may have had it.
        server.sql("INSERT INTO shop.d VALUES (1, 'secret-3')")?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(65) && log.contains("shop.d"),
            "{kind:?}: {log}"
        );
        let mistyped = Workplace::into_directory(&server, &[table("snn")], "")?;
        let output = mistyped.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(78) && log.contains("snn"),
            "{kind:?}: {log}"
        );
    }
    Ok(())
}

#[test]
fn patterns_have_no_case_where_names_have_none() -> Result<()> {
    let server = shop(
        Kind::Mariadb11,
        &["--lower-case-table-names=1", "--binlog-row-metadata=FULL"],
    )?;
    let workplace = Workplace::into_directory(&server, &["name = \"SHOP.Order_*\""], "")?;
    server.sql("CREATE TABLE Shop.ORDER_1 (id int); INSERT INTO Shop.Order_1 VALUES (1)")?;
    workplace.drain()?;
    ensure!(delivered(&workplace)? == expected(&[("shop.order_1", "1\n")]));
    let server = shop(Kind::Mariadb11, &["--binlog-row-metadata=FULL"])?;
    server.sql("CREATE TABLE shop.ORDER_1 (id int); INSERT INTO shop.ORDER_1 VALUES (1)")?;
    let workplace = Workplace::into_directory(&server, &["name = \"shop.order_*\""], "")?;
    workplace.drain()?;
    ensure!(delivered(&workplace)?.is_empty());
    Ok(())
}
