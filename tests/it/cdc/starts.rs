//! Servers, tables and starts that would deliver nothing, or less than somebody thinks: refused or told before
//! anything is stored.

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config, eventually};
use crate::setup::sales::SALES;
use crate::setup::servers::end_of_binlog;
use crate::setup::snapshot::Reports;
use testkit::cache::project;
use testkit::servers::{Kind, Server};

const KINDS: [Kind; 3] = [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11];
const DATA: i32 = 65;
const PERMISSION: i32 = 77;
const CONFIG: i32 = 78;
const STDOUT: &str = "type = \"stdout\"";
const TABLE: &str = "name = \"shop.Sales\"";

/// Runs to the end and gives exit code and log.
fn run(workplace: &Workplace, config: &str) -> Result<(Option<i32>, String)> {
    workplace.configure(config)?;
    let output = workplace.run(&["--until", "now"])?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

/// A start that is refused, with nothing stored. What it says is added to the reports.
fn refused(
    reports: &mut Reports,
    workplace: &Workplace,
    config: &str,
    exit: i32,
    said: &[&str],
) -> Result<()> {
    workplace.configure(config)?;
    let output = workplace.run(&["--until", "now"])?;
    reports.add(&said.join(", "), &output);
    let (code, log) = (output.status.code(), String::from_utf8(output.stderr)?);
    ensure!(code == Some(exit), "{code:?}: {log}");
    for part in said.iter().chain(&["\n  remedy: "]) {
        ensure!(log.contains(part), "{part:?} is not in: {log}");
    }
    ensure!(!workplace.path("checkpoint.json").exists(), "stored: {log}");
    Ok(())
}

/// A run that is good, and the warnings of its log.
fn warnings(workplace: &Workplace, config: &str) -> Result<Vec<String>> {
    let (code, log) = run(workplace, config)?;
    ensure!(code == Some(0), "{code:?}: {log}");
    let warnings = log.lines().filter(|line| line.contains("WARN"));
    Ok(warnings.map(str::to_owned).collect())
}

/// Whether one of them has all of these words.
fn one_says(warnings: &[String], words: &[&str]) -> bool {
    warnings
        .iter()
        .any(|warning| words.iter().all(|word| warning.contains(word)))
}

fn with_start(config: &str, start: &str) -> String {
    let line = if start.is_empty() {
        String::new()
    } else {
        format!("start = \"{start}\"\n")
    };
    config.replace("start = \"earliest\"\n", &line)
}

#[test]
fn a_schema_that_the_binlog_leaves_out_is_refused() -> Result<()> {
    let mut reports = Reports::default();
    for kind in KINDS {
        for (option, said) in [
            ("--binlog-ignore-db=shop", "binlog_ignore_db = shop"),
            ("--binlog-do-db=other", "binlog_do_db = other"),
        ] {
            let server = Server::start(kind, &[option])?;
            server.sql(SALES)?;
            let workplace = Workplace::new("")?;
            let config = config(&server, TABLE, STDOUT);
            refused(
                &mut reports,
                &workplace,
                &config,
                CONFIG,
                &[said, "the schema shop"],
            )?;
        }
        for (option, said) in [
            ("--binlog-do-db=shop", "by the session's schema"),
            ("--binlog-do-db=other,shop", "taken as one name"),
            ("--binlog-ignore-db=other", "by the session's schema"),
        ] {
            let server = Server::start(kind, &[option])?;
            server.sql(SALES)?;
            let config = config(&server, TABLE, STDOUT);
            let warnings = warnings(&Workplace::new("")?, &config)?;
            ensure!(one_says(&warnings, &[said]), "{option}: {warnings:?}");
        }
    }
    reports.assert("starts-a-schema-that-the-binlog-leaves-out-is-refused");
    Ok(())
}

#[test]
fn all_that_is_wrong_is_told_at_once() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(
            kind,
            &[
                "--binlog-format=MIXED",
                "--binlog-expire-logs-seconds=60",
                "--binlog-ignore-db=other",
            ],
        )?;
        server.sql(SALES)?;
        server.sql("CREATE DATABASE other; CREATE TABLE other.T (id INT PRIMARY KEY)")?;
        let tables = "name = \"shop.Sales\"\ncolumns = [\"ItemId\", \"Categry\", \"Prize\"]\n\
                      [[table]]\nname = \"shop.Sale\"\n[[table]]\nname = \"other.T\"";
        let workplace = Workplace::new("")?;
        let (code, log) = run(&workplace, &config(&server, tables, STDOUT))?;
        ensure!(code == Some(CONFIG), "{code:?}: {log}");
        let (_, report) = log.split_once("\nhydrant: ").with_context(|| log.clone())?;
        let expected = [
            ["the server has binlog_format = MIXED", "then reconnect"],
            ["keeps its binlogs for 60 s only", "604800"],
            ["no column Categry", "did you mean Category?"],
            ["no column Prize", "did you mean Price?"],
            ["no table shop.Sale,", "did you mean shop.Sales?"],
            ["the schema other", "binlog_ignore_db"],
        ];
        let told: Vec<&str> = report.split("\nhydrant: ").collect();
        ensure!(told.len() == expected.len(), "{log}");
        for (told, [what, remedy]) in told.iter().zip(expected) {
            let (said, todo) = told
                .split_once("\n  remedy: ")
                .with_context(|| log.clone())?;
            ensure!(said.contains(what) && todo.contains(remedy), "{told}");
        }
        // A warning is told as well.
        ensure!(log.contains("by the session's schema"), "{log}");
        ensure!(!workplace.path("checkpoint.json").exists(), "stored: {log}");
    }
    Ok(())
}

/// As a replica of a server that need not be there.
fn replicate(server: &Server) -> Result<()> {
    server.sql(match server.kind() {
        Kind::Mysql => {
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'root'"
        }
        Kind::Mariadb | Kind::Mariadb11 => {
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1, MASTER_USER = 'root'"
        }
    })?;
    Ok(())
}

#[test]
fn a_replica_that_logs_nothing_of_what_it_receives_is_refused() -> Result<()> {
    let mut reports = Reports::default();
    for kind in KINDS {
        let (off, on, name) = match kind {
            Kind::Mysql => (
                "--log-replica-updates=OFF",
                "--log-replica-updates=ON",
                "log_replica_updates",
            ),
            _ => (
                "--log-slave-updates=OFF",
                "--log-slave-updates=ON",
                "log_slave_updates",
            ),
        };
        let mut server = Server::start(kind, &[off])?;
        server.sql(SALES)?;
        let workplace = Workplace::new("")?;
        let config = config(&server, TABLE, STDOUT);
        // It is no replica.
        ensure!(!one_says(&warnings(&workplace, &config)?, &["replica"]));
        std::fs::remove_file(workplace.path("checkpoint.json"))?;
        replicate(&server)?;
        let said = &["a replica of 127.0.0.1", name, "RESET REPLICA ALL"];
        refused(&mut reports, &workplace, &config, CONFIG, said)?;
        if kind != Kind::Mysql {
            server.sql(
                "CREATE USER half@'127.0.0.1'; GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO \
                 half@'127.0.0.1'; GRANT SELECT ON shop.Sales TO half@'127.0.0.1'",
            )?;
            let half = config.replace("root@", "half@");
            let warnings = warnings(&workplace, &half)?;
            ensure!(
                one_says(&warnings, &["not allowed to see", "REPLICA MONITOR"]),
                "{warnings:?}"
            );
            std::fs::remove_file(workplace.path("checkpoint.json"))?;
        }
        server.restart(&[on, "--replicate-ignore-db=other"])?;
        let warnings = warnings(&workplace, &config)?;
        ensure!(
            one_says(&warnings, &["Replicate_Ignore_DB = other"]),
            "{warnings:?}"
        );
    }
    reports.assert("starts-a-replica-that-logs-nothing-of-what-it-receives-is-refused");
    Ok(())
}

/// What can be found at an address changes while an agent runs.
#[test]
fn a_running_agent_refuses_what_it_would_not_start_with() -> Result<()> {
    let mut server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let workplace = Workplace::new(&config(&server, TABLE, STDOUT))?;
    let mut agent = workplace.start()?;
    // Its start is over when the server sends from there, which is when the place is stored.
    eventually("the agent follows", || {
        Ok(workplace.path("checkpoint.json").exists().then_some(()))
    })?;
    server.restart(&["--binlog-ignore-db=shop"])?;
    let status = agent.wait()?;
    ensure!(status.code() == Some(CONFIG), "{status}: {}", agent.log());
    ensure!(
        agent.log().contains("binlog_ignore_db = shop"),
        "{}",
        agent.log()
    );
    Ok(())
}

#[test]
fn what_has_no_rows_in_the_binlog_is_refused() -> Result<()> {
    let mut reports = Reports::default();
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        server.sql(
            "CREATE VIEW shop.V AS SELECT * FROM shop.Sales; \
             CREATE TABLE shop.A (id INT PRIMARY KEY) ENGINE = MyISAM; \
             CREATE TABLE shop.M (id INT PRIMARY KEY) ENGINE = MRG_MYISAM UNION = (shop.A); \
             CREATE TEMPORARY TABLE shop.Temporary (id INT)",
        )?;
        let mut cases = vec![
            ("shop.V", "it is not a table (its type is VIEW)"),
            ("shop.M", "its engine is MRG_M"),
            ("information_schema.TABLES", "its own schemas"),
            ("mysql.user", "its own schemas"),
            ("MYSQL.user", ""),
            ("shop.Temporary", "there is no table shop.Temporary"),
        ];
        if kind == Kind::Mysql {
            cases.push(("performance_schema.threads", "its own schemas"));
            cases.push(("sys.version", "its own schemas"));
        } else {
            server.sql("CREATE SEQUENCE shop.S")?;
            cases.push(("shop.S", "it is not a table (its type is SEQUENCE)"));
        }
        for (table, said) in cases {
            let config = config(&server, &format!("name = \"{table}\""), STDOUT);
            refused(
                &mut reports,
                &Workplace::new("")?,
                &config,
                CONFIG,
                &[said, table],
            )
            .with_context(|| kind.name())?;
        }
        // These write rows into the binlog.
        let engines = match kind {
            Kind::Mysql => &["MyISAM", "MEMORY", "CSV", "ARCHIVE", "BLACKHOLE"][..],
            _ => &["MyISAM", "MEMORY", "CSV", "Aria"],
        };
        for engine in engines {
            server.sql(&format!(
                "CREATE TABLE shop.E{engine} (id INT NOT NULL) ENGINE = {engine}; \
                 INSERT INTO shop.E{engine} VALUES (1), (2)"
            ))?;
            let table = format!("name = \"shop.E{engine}\"");
            let rows = Workplace::new(&config(&server, &table, STDOUT))?.drain()?;
            assert_eq!(rows, "1\n2\n", "{engine}");
        }
    }
    reports.assert("starts-what-has-no-rows-in-the-binlog-is-refused");
    Ok(())
}

#[test]
fn a_grant_on_columns_is_refused() -> Result<()> {
    let mut reports = Reports::default();
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id INT PRIMARY KEY, a INT, b INT INVISIBLE); \
             INSERT INTO shop.T (id, a, b) VALUES (1, 2, 3)",
        )?;
        let workplace = Workplace::new("")?;
        for (number, grants, is_enough) in [
            (0, "SELECT (id) ON shop.T", false),
            // All that SELECT * has.
            (1, "SELECT (id, a) ON shop.T", false),
            (2, "SELECT ON shop.T", true),
            (3, "SELECT ON shop.*", true),
        ] {
            let user = format!("user{number}");
            server.sql(&format!(
                "CREATE USER {user}@'127.0.0.1'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO \
                 {user}@'127.0.0.1'; GRANT {grants} TO {user}@'127.0.0.1'"
            ))?;
            let config = config(&server, "name = \"shop.T\"", STDOUT);
            let config = config.replace("root@", &format!("{user}@"));
            if is_enough {
                workplace.configure(&config)?;
                assert_eq!(workplace.drain()?, "1,2,3\n", "{grants}");
                std::fs::remove_file(workplace.path("checkpoint.json"))?;
            } else {
                let said = &["GRANT SELECT ON `shop`.`T`", "not on the table"];
                refused(&mut reports, &workplace, &config, PERMISSION, said)?;
            }
        }
    }
    reports.assert("starts-a-grant-on-columns-is-refused");
    Ok(())
}

#[test]
fn a_first_start_says_which_rows_it_does_not_deliver() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        server.sql("INSERT INTO shop.Sales (ItemID, Quantity) VALUES (1, 1)")?;
        let workplace = Workplace::new("")?;
        let folder = workplace.path("objects");
        let earliest = config(&server, TABLE, &format!("path = \"{}\"", folder.display()));
        let default = with_start(&earliest, "");
        let latest = with_start(&earliest, "latest");
        let checkpoint = workplace.path("checkpoint.json");
        let lost = &["A lost checkpoint", "shop.Sales", "checkpoint.json"];
        let passed_over = &[
            "rows committed before now are not delivered",
            "\"earliest\"",
            "\"latest\"",
        ];

        let first = warnings(&workplace, &default)?;
        ensure!(
            one_says(&first, passed_over) && !one_says(&first, lost),
            "{first:?}"
        );
        let again = warnings(&workplace, &default)?;
        ensure!(again.is_empty(), "{again:?}");
        std::fs::remove_file(&checkpoint)?;
        let chosen = warnings(&workplace, &latest)?;
        ensure!(chosen.is_empty(), "{chosen:?}");

        // Rows are delivered, and then the checkpoint is gone.
        std::fs::remove_file(&checkpoint)?;
        let all = warnings(&workplace, &earliest)?;
        ensure!(all.is_empty(), "{all:?}");
        std::fs::remove_file(&checkpoint)?;
        let without = warnings(&workplace, &default)?;
        ensure!(
            one_says(&without, lost) && one_says(&without, passed_over),
            "{without:?}"
        );
    }
    let page = std::fs::read_to_string(project().join("docs/delivery.md"))?;
    ensure!(page.contains("A lost checkpoint"));
    Ok(())
}

/// Until the server begins another file, nothing tells which GTIDs were before a position within one.
#[test]
fn a_first_start_within_a_file_says_that_no_other_server_can_be_followed() -> Result<()> {
    for kind in KINDS {
        let gtids: &[&str] = match kind {
            Kind::Mysql => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
            Kind::Mariadb | Kind::Mariadb11 => &[],
        };
        let server = Server::start(kind, gtids)?;
        server.sql(SALES)?;
        let workplace = Workplace::new("")?;
        let earliest = config(&server, TABLE, "type = \"stdout\"");
        let within = with_start(&earliest, &end_of_binlog(&server)?);
        server.sql("INSERT INTO shop.Sales (ItemID, Quantity) VALUES (1, 1)")?;
        let told = &["failover", "FLUSH BINARY LOGS"];
        let first = warnings(&workplace, &within)?;
        ensure!(one_says(&first, told), "{first:?}");
        let again = warnings(&workplace, &within)?;
        ensure!(!one_says(&again, told), "{again:?}");
        std::fs::remove_file(workplace.path("checkpoint.json"))?;
        for start in [&with_start(&earliest, "latest"), &earliest] {
            let others = warnings(&workplace, start)?;
            ensure!(others.is_empty(), "{others:?}");
            std::fs::remove_file(workplace.path("checkpoint.json"))?;
        }
    }
    Ok(())
}

#[test]
fn a_table_that_is_added_later_is_told() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    server.sql(
        "CREATE TABLE shop.New (id INT PRIMARY KEY); INSERT INTO shop.New VALUES (1); \
         CREATE DATABASE `shop.New`; CREATE TABLE `shop.New`.x (id INT PRIMARY KEY)",
    )?;
    let workplace = Workplace::new("")?;
    let new = &["shop.New was not followed before", "read from it"];
    let updates = &["updates of shop.Sales were not followed before"];
    let one = config(&server, TABLE, STDOUT);
    let two = one.replace(TABLE, &format!("{TABLE}\n[[table]]\nname = \"shop.New\""));
    let more = two.replace(
        TABLE,
        &format!("{TABLE}\nevents = [\"insert\", \"update\"]"),
    );
    ensure!(warnings(&workplace, &one)?.is_empty());
    let added = warnings(&workplace, &two)?;
    ensure!(one_says(&added, new) && added.len() == 1, "{added:?}");
    ensure!(warnings(&workplace, &two)?.is_empty());
    let added = warnings(&workplace, &more)?;
    ensure!(one_says(&added, updates) && added.len() == 1, "{added:?}");
    ensure!(warnings(&workplace, &one)?.is_empty());
    // What was left out for a while has a gap, too.
    ensure!(one_says(&warnings(&workplace, &two)?, new));
    Ok(())
}

#[test]
fn a_start_that_has_no_part_is_told() -> Result<()> {
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        let workplace = Workplace::new("")?;
        let earliest = config(&server, TABLE, STDOUT);
        ensure!(warnings(&workplace, &earliest)?.is_empty());
        ensure!(warnings(&workplace, &earliest)?.is_empty());
        let gtids = match kind {
            Kind::Mysql => "00000000-0000-0000-0000-000000000001:1",
            _ => "0-1-1",
        };
        for start in ["binlog.000001:4", gtids] {
            let told = warnings(&workplace, &with_start(&earliest, start))?;
            let said = &[
                "source.start is not used",
                "checkpoint.json",
                "delete the checkpoint",
            ];
            ensure!(one_says(&told, said), "{start}: {told:?}");
        }
        let checkpoint = workplace.checkpoint()?;
        let (file, offset) = (
            &checkpoint["position"]["file"],
            &checkpoint["position"]["offset"],
        );
        let here = format!("{}:{offset}", file.as_str().context("no file")?);
        ensure!(warnings(&workplace, &with_start(&earliest, &here))?.is_empty());
    }
    Ok(())
}

/// Whatever is wrong with `source.start` can be corrected in the configuration alone.
#[test]
fn a_wrong_start_is_refused_before_it_is_stored() -> Result<()> {
    let mut reports = Reports::default();
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        server.sql("INSERT INTO shop.Sales (ItemID, Quantity) VALUES (1, 1)")?;
        let columns = "name = \"shop.Sales\"\ncolumns = [\"ItemID\"]";
        let earliest = config(&server, columns, STDOUT);
        let workplace = Workplace::new("")?;
        let events = server.sql("SHOW BINLOG EVENTS IN 'binlog.000001'")?;
        let offset = |kind: &str| -> Result<u64> {
            let event = events
                .lines()
                .rfind(|event| event.split('\t').nth(2) == Some(kind));
            let offset = event.and_then(|event| event.split('\t').nth(1));
            Ok(offset.with_context(|| events.clone())?.parse()?)
        };
        let (map, gtid) = (offset("Table_map")?, offset("Gtid")?);
        let end = std::fs::metadata(server.binlog_dir().join("binlog.000001"))?.len();
        let unknown = match kind {
            Kind::Mysql => "00000000-0000-0000-0000-000000000001:1",
            _ => "0-1-99999",
        };
        for (start, said) in [
            (
                "binlog.000099:4".to_owned(),
                "no binlog file binlog.000099; it has binlog.000001",
            ),
            (unknown.to_owned(), "has not executed"),
        ] {
            let config = with_start(&earliest, &start);
            refused(
                &mut reports,
                &workplace,
                &config,
                DATA,
                &[said, "source.start"],
            )
            .with_context(|| format!("{} {start}", kind.name()))?;
        }
        let past_the_end = format!("it is past the end of the file, {end}");
        for (offset, said) in [
            // MySQL takes these for the file's next event.
            (5, "no event begins there"),
            (offset("Format_desc")? + 130, "no event begins there"),
            (map + 5, "no event begins there"),
            (end - 1, "no event begins there"),
            (end + 1, past_the_end.as_str()),
            (99_999_999, past_the_end.as_str()),
            (map, "a transaction is under way there"),
        ] {
            let config = with_start(&earliest, &format!("binlog.000001:{offset}"));
            let said = &[
                said,
                "SHOW BINLOG EVENTS IN 'binlog.000001'",
                "source.start",
            ];
            refused(&mut reports, &workplace, &config, DATA, said)
                .with_context(|| format!("{} {offset}", kind.name()))?;
        }
        workplace.configure(&with_start(&earliest, &format!("binlog.000001:{gtid}")))?;
        assert_eq!(workplace.drain()?, "1\n");
        assert_eq!(workplace.drain()?, "");
    }
    reports.assert("starts-a-wrong-start-is-refused-before-it-is-stored");
    Ok(())
}

/// Only the server knows which of its transactions are gone.
#[test]
fn a_start_that_the_server_refuses_is_not_stored() -> Result<()> {
    let mut reports = Reports::default();
    for kind in KINDS {
        // MariaDB 11.8 keeps what no replica has read, even if it is told to purge it.
        let purges = match kind {
            Kind::Mariadb11 => &["--slave-connections-needed-for-purge=0"][..],
            _ => &[],
        };
        let server = Server::start(kind, purges)?;
        server.sql(SALES)?;
        let executed = match kind {
            Kind::Mysql => "SELECT @@GLOBAL.gtid_executed",
            _ => "SELECT @@GLOBAL.gtid_binlog_pos",
        };
        let early = server.sql(executed)?.trim().to_owned();
        server.sql("INSERT INTO shop.Sales (ItemID, Quantity) VALUES (1, 1); FLUSH BINARY LOGS")?;
        let late = server.sql(executed)?.trim().to_owned();
        server.sql("INSERT INTO shop.Sales (ItemID, Quantity) VALUES (2, 2); FLUSH BINARY LOGS")?;
        // MariaDB keeps a file for a moment longer, until the engines are done with it.
        eventually("the file is purged", || {
            server.sql("PURGE BINARY LOGS TO 'binlog.000002'")?;
            let files = server.sql("SHOW BINARY LOGS")?;
            Ok((!files.contains("binlog.000001")).then_some(()))
        })?;
        let columns = "name = \"shop.Sales\"\ncolumns = [\"ItemID\"]";
        let earliest = config(&server, columns, STDOUT);
        let workplace = Workplace::new("")?;
        refused(
            &mut reports,
            &workplace,
            &with_start(&earliest, &early),
            DATA,
            &[],
        )
        .with_context(|| kind.name())?;
        workplace.configure(&with_start(&earliest, &late))?;
        assert_eq!(workplace.drain()?, "2\n");
    }
    reports.assert("starts-a-start-that-the-server-refuses-is-not-stored");
    Ok(())
}

#[test]
fn an_unknown_user_is_a_matter_of_permission() -> Result<()> {
    // Which plugin MySQL asks an unknown user for is another one in each run, so these have no snapshot.
    let mut reports = Reports::default();
    for kind in KINDS {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        let config = config(&server, TABLE, STDOUT);
        for name in ["nobody", "no-one", "a", "hydrant", "reader2"] {
            for password in ["", ":hunter2"] {
                let other = config.replace("root@", &format!("{name}{password}@"));
                let said = &["source.url", "source.password", "127.0.0.1"];
                refused(&mut reports, &Workplace::new("")?, &other, PERMISSION, said)
                    .with_context(|| format!("{} {name}{password}", kind.name()))?;
            }
        }
    }
    Ok(())
}
