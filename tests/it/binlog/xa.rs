//! XA transactions: the rows of those in two phases are real when XA COMMIT comes, on any connection and much
//! later.

use std::process::Output;

use anyhow::{Result, ensure};

use crate::setup::agent::{Agent, Workplace, eventually, gunzip_all};
use crate::setup::replay::{replay, replayed};
use crate::setup::servers::{binlogs, end_of_binlog, pair, replicate, stop_replicating};
use crate::setup::shop::{config, delivers, drain_to_stdout, open_shop, shop, stops};
use testkit::servers::{Kind, Server};

const COMPRESSED: &[&str] = &["--binlog-transaction-compression=ON"];

/// Prepares a transaction on a connection of its own.
fn prepare(server: &Server, xid: &str, statements: &str) -> Result<()> {
    let sql = format!("XA START {xid}; {statements}; XA END {xid}; XA PREPARE {xid}");
    server.sql(&sql).map(drop)
}

fn insert(server: &Server, xid: &str, id: u32) -> Result<()> {
    let statement = format!("INSERT INTO shop.T VALUES ({id}, 'xa')");
    prepare(server, xid, &statement)
}

/// Two that are open at once, one that is undone, other transactions between, updates, several tables
/// and savepoints, a new file, and an XID that is used again.
fn histories(kind: Kind, arguments: &[&str]) -> Result<()> {
    let server = shop(kind, arguments)?;
    server.sql("CREATE TABLE shop.Other (id int)")?;
    prepare(
        &server,
        "'one','branch',7",
        "INSERT INTO shop.T VALUES (1, 'one'), (4, 'one'); INSERT INTO shop.Other VALUES (1); \
         SAVEPOINT s; INSERT INTO shop.T VALUES (3, 'never'); ROLLBACK TO s; \
         UPDATE shop.T SET note = 'changed' WHERE id = 1; INSERT INTO shop.T VALUES (2, 'one')",
    )?;
    server.sql("INSERT INTO shop.T VALUES (5, 'plain')")?;
    insert(&server, "'two'", 6)?;
    insert(&server, "'undone'", 7)?;
    prepare(&server, "'other'", "INSERT INTO shop.Other VALUES (1)")?;
    server.sql("FLUSH BINARY LOGS; XA COMMIT 'two'; XA ROLLBACK 'undone'")?;
    server.sql("INSERT INTO shop.T VALUES (8, 'plain')")?;
    server.sql("XA COMMIT 'other'; XA COMMIT 'one','branch',7")?;
    insert(&server, "'two'", 9)?;
    server.sql(
        "XA START 'phase'; INSERT INTO shop.T VALUES (10, 'one phase'); XA END 'phase'; \
         XA COMMIT 'phase' ONE PHASE; XA COMMIT 'two'",
    )?;
    let lines = "5,plain\n6,xa\n8,plain\n1,one\n4,one\n2,one\n10,one phase\n9,xa\n";
    delivers(&server, lines)?;
    let table = ["--table", "shop.T", "--out", "-"];
    assert_eq!(replayed(&binlogs(&server)?, &table)?, lines);
    // What identifies the rows is the transaction that commits them.
    let with_places = config(&server, "type = \"stdout\"").replace(
        "name = \"shop.T\"",
        "name = \"shop.T\"\ncolumns = [\"id\"]\nmetadata = [\"position\", \"ordinal\"]",
    );
    let workplace = Workplace::new(&with_places)?;
    let lines = workplace.drain()?;
    let ordinals: Vec<&str> = lines
        .lines()
        .filter_map(|line| line.rsplit(',').next())
        .collect();
    assert_eq!(
        ordinals,
        ["0", "0", "0", "0", "1", "2", "0", "0"],
        "{lines}"
    );
    let place = |line: usize| {
        lines
            .lines()
            .nth(line)
            .and_then(|line| line.split(',').nth(1))
    };
    ensure!(place(3) == place(5) && place(2) != place(3), "{lines}");
    ensure!(workplace.checkpoint()?.get("xa").is_none());
    Ok(())
}

#[test]
fn xa_transactions_of_mysql_are_delivered_when_they_are_committed() -> Result<()> {
    histories(Kind::Mysql, &[])
}

#[test]
fn compressed_xa_transactions_of_mysql_are_delivered_when_they_are_committed() -> Result<()> {
    histories(Kind::Mysql, COMPRESSED)
}

#[test]
fn xa_transactions_without_gtids_are_delivered_when_they_are_committed() -> Result<()> {
    let without = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    histories(Kind::Mysql, &without)
}

#[test]
fn xa_transactions_of_mariadb_are_delivered_when_they_are_committed() -> Result<()> {
    histories(Kind::Mariadb, &[])
}

#[test]
fn xa_transactions_of_mariadb_11_are_delivered_when_they_are_committed() -> Result<()> {
    histories(Kind::Mariadb11, &[])
}

#[test]
fn compressed_xa_transactions_of_mariadb_are_delivered_when_they_are_committed() -> Result<()> {
    let compressed = ["--log-bin-compress=ON", "--log-bin-compress-min-len=10"];
    histories(Kind::Mariadb, &compressed)
}

#[test]
fn histories_of_mariadb_11_are_followed() -> Result<()> {
    histories(Kind::Mariadb11, &[])
}

/// An agent that writes to a directory, with what tells copies from rows.
fn dir_workplace(server: &Server) -> Result<Workplace> {
    let workplace = Workplace::new("")?;
    let sink = format!(
        "path = \"{}\"\nflush_interval = \"20ms\"",
        workplace.path("data").display()
    );
    workplace.configure(&config(server, &sink))?;
    Ok(workplace)
}

fn delivered(workplace: &Workplace) -> Result<Vec<String>> {
    let folder = workplace.path("data");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut lines: Vec<String> = gunzip_all(&folder)?.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn wait_for(workplace: &Workplace, lines: &[&str]) -> Result<()> {
    eventually(&format!("{lines:?} are delivered"), || {
        Ok((delivered(workplace)? == lines).then_some(()))
    })
}

/// Waits until the checkpoint is behind all that the server has, with what is prepared.
fn wait_for_checkpoint(workplace: &Workplace, server: &Server) -> Result<serde_json::Value> {
    eventually("the checkpoint is at the end", || {
        // MariaDB writes checkpoints of its own behind the rest, when it has the time.
        let end = end_of_binlog(server)?;
        let checkpoint = workplace.checkpoint()?;
        let position = &checkpoint["position"];
        let file = position["file"].as_str().unwrap_or_default();
        let at = format!("{file}:{}", position["offset"]);
        Ok((at == end).then_some(checkpoint))
    })
}

/// The agent is killed and the server is started again between the phases; each row comes once.
fn killed_between_phases(kind: Kind, arguments: &[&str]) -> Result<()> {
    let mut server = shop(kind, arguments)?;
    server.sql("CREATE TABLE shop.Other (id int)")?;
    let workplace = dir_workplace(&server)?;
    let agent = workplace.start()?;
    server.sql("INSERT INTO shop.T VALUES (1, 'before')")?;
    insert(&server, "'early'", 2)?;
    prepare(&server, "'other'", "INSERT INTO shop.Other VALUES (1)")?;
    server.sql("INSERT INTO shop.T VALUES (3, 'between'); FLUSH BINARY LOGS")?;
    insert(&server, "'late'", 4)?;
    insert(&server, "'undone'", 5)?;
    insert(&server, "'ended'", 6)?;
    server.sql("XA COMMIT 'ended'; INSERT INTO shop.T VALUES (7, 'between')")?;
    let before = ["1,before", "3,between", "6,xa", "7,between"];
    wait_for(&workplace, &before)?;
    let checkpoint = wait_for_checkpoint(&workplace, &server)?;
    assert_eq!(
        checkpoint["xa"]["with_rows"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(checkpoint["xa"]["without_rows"][0], "X'6f74686572',X'',1");
    assert_eq!(checkpoint["xa"]["from"]["file"], "binlog.000001");
    agent.kill9()?;
    server.restart(&[])?;
    server.sql("XA COMMIT 'early'; XA ROLLBACK 'undone'; XA COMMIT 'other'")?;
    server.sql("INSERT INTO shop.T VALUES (8, 'after')")?;
    let agent = workplace.start()?;
    let after = [
        "1,before",
        "2,xa",
        "3,between",
        "6,xa",
        "7,between",
        "8,after",
    ];
    wait_for(&workplace, &after)?;
    wait_for_checkpoint(&workplace, &server)?;
    ensure!(
        agent.log().contains("reading from binlog.000001:"),
        "{}",
        agent.log()
    );
    agent.kill9()?;
    // Nothing is read before it is reached that the first file still has.
    server.sql("PURGE BINARY LOGS TO 'binlog.000002'")?;
    server.sql("XA COMMIT 'late'; INSERT INTO shop.T VALUES (9, 'after')")?;
    let agent = workplace.start()?;
    let all = [
        "1,before",
        "2,xa",
        "3,between",
        "4,xa",
        "6,xa",
        "7,between",
        "8,after",
        "9,after",
    ];
    wait_for(&workplace, &all)?;
    let checkpoint = wait_for_checkpoint(&workplace, &server)?;
    assert_eq!(checkpoint["xa"], serde_json::Value::Null);
    ensure!(agent.terminate()?.success());
    assert_eq!(delivered(&workplace)?, all);
    Ok(())
}

#[test]
fn what_mysql_has_prepared_outlives_the_agent_and_the_server() -> Result<()> {
    killed_between_phases(Kind::Mysql, &[])
}

#[test]
fn what_mysql_has_prepared_compressed_outlives_the_agent_and_the_server() -> Result<()> {
    killed_between_phases(Kind::Mysql, COMPRESSED)
}

#[test]
fn what_mariadb_has_prepared_outlives_the_agent_and_the_server() -> Result<()> {
    killed_between_phases(Kind::Mariadb, &[])
}

#[test]
fn what_mariadb_11_has_prepared_outlives_the_agent_and_the_server() -> Result<()> {
    killed_between_phases(Kind::Mariadb11, &[])
}

/// A lost connection leaves in memory what is prepared.
#[test]
fn what_is_prepared_outlives_the_connection() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb] {
        let mut server = shop(kind, &[])?;
        let workplace = dir_workplace(&server)?;
        let agent: Agent = workplace.start()?;
        insert(&server, "'x'", 1)?;
        server.sql("INSERT INTO shop.T VALUES (2, 'plain')")?;
        wait_for(&workplace, &["2,plain"])?;
        server.restart(&[])?;
        server.sql("XA COMMIT 'x'")?;
        wait_for(&workplace, &["1,xa", "2,plain"])?;
        ensure!(agent.log().contains("no binlog: "), "{}", agent.log());
        ensure!(agent.terminate()?.success());
    }
    Ok(())
}

fn explained(output: Output, exit: i32) -> Result<(String, String)> {
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(exit),
        "{}: {log}",
        output.status
    );
    Ok((String::from_utf8(output.stdout)?, log))
}

/// Where something is prepared `latest` looks back for it; another start stops at XA COMMIT.
fn starts_between_phases(kind: Kind) -> Result<()> {
    let server = shop(kind, &[])?;
    server.sql("CREATE TABLE shop.Other (id int)")?;
    insert(&server, "'rows'", 1)?;
    server.sql("INSERT INTO shop.T VALUES (2, 'before'); FLUSH BINARY LOGS")?;
    prepare(&server, "'none'", "INSERT INTO shop.Other VALUES (1)")?;
    insert(&server, "'undone'", 3)?;
    server
        .sql("SET SESSION binlog_format = 'STATEMENT'; INSERT INTO shop.T VALUES (4, 'no row')")?;
    let latest = config(&server, "type = \"stdout\"").replace("earliest", "latest");
    let latest = Workplace::new(&latest)?;
    assert_eq!(latest.drain()?, "");
    let start = end_of_binlog(&server)?;
    let position = config(&server, "type = \"stdout\"").replace("earliest", &start);
    let position = Workplace::new(&position)?;
    assert_eq!(position.drain()?, "");
    server.sql("INSERT INTO shop.T VALUES (5, 'after'); XA ROLLBACK 'undone'; XA COMMIT 'none'")?;
    server.sql("XA COMMIT 'rows'")?;
    assert_eq!(latest.drain()?, "5,after\n1,xa\n");
    let (lines, log) = explained(position.run(&["--until", "now"])?, 65)?;
    assert_eq!(lines, "5,after\n");
    ensure!(log.contains("XA COMMIT of X'6e6f6e65',X'',1"), "{log}");
    ensure!(log.contains("remedy: start before its XA PREPARE"), "{log}");
    Ok(())
}

#[test]
fn mysql_is_followed_from_between_the_phases() -> Result<()> {
    starts_between_phases(Kind::Mysql)
}

#[test]
fn mariadb_is_followed_from_between_the_phases() -> Result<()> {
    starts_between_phases(Kind::Mariadb)
}

/// A primary with a table, and its replica-to-be.
fn shops(kind: Kind) -> Result<(Server, Server)> {
    let (primary, replica) = pair(kind)?;
    open_shop(&primary)?;
    Ok((primary, replica))
}

/// Rows that a running agent has in memory outlive the server that they came from.
fn replaced_while_running(kind: Kind) -> Result<()> {
    let (mut primary, mut replica) = shops(kind)?;
    let workplace = dir_workplace(&primary)?;
    let agent: Agent = workplace.start()?;
    insert(&primary, "'x'", 1)?;
    insert(&primary, "'undone'", 2)?;
    primary.sql("INSERT INTO shop.T VALUES (3, 'before')")?;
    wait_for(&workplace, &["3,before"])?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    replica.take_over(&mut primary)?;
    replica.sql("INSERT INTO shop.T VALUES (4, 'after'); XA ROLLBACK 'undone'; XA COMMIT 'x'")?;
    wait_for(&workplace, &["1,xa", "3,before", "4,after"])?;
    let log = agent.log();
    ensure!(log.contains("the server is now"), "{log}");
    ensure!(agent.terminate()?.success());
    Ok(())
}

#[test]
fn what_a_running_agent_has_of_mysql_outlives_the_server() -> Result<()> {
    replaced_while_running(Kind::Mysql)
}

#[test]
fn what_a_running_agent_has_of_mariadb_outlives_the_server() -> Result<()> {
    replaced_while_running(Kind::Mariadb)
}

/// The new writer sends what was prepared on the old one; MariaDB cannot be asked for it.
fn failover(kind: Kind) -> Result<()> {
    let (primary, replica) = shops(kind)?;
    primary.sql("CREATE TABLE shop.Other (id int)")?;
    insert(&primary, "'x'", 1)?;
    insert(&primary, "'ended'", 2)?;
    prepare(&primary, "'none'", "INSERT INTO shop.Other VALUES (1)")?;
    primary.sql("INSERT INTO shop.T VALUES (3, 'before'); XA COMMIT 'ended'")?;
    insert(&primary, "'y'", 4)?;
    let workplace = Workplace::new(&config(&primary, "type = \"stdout\""))?;
    assert_eq!(workplace.drain()?, "3,before\n2,xa\n");
    primary.sql("INSERT INTO shop.T VALUES (5, 'unread')")?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    replica.sql("FLUSH BINARY LOGS; INSERT INTO shop.T VALUES (6, 'after'); XA COMMIT 'none'")?;
    workplace.configure(&config(&replica, "type = \"stdout\""))?;
    let output = workplace.run(&["--until", "now"])?;
    if kind != Kind::Mysql {
        let (_, log) = explained(output, 65)?;
        ensure!(log.contains("rows are in another server's binlog"), "{log}");
        // On its own server it is still there.
        workplace.configure(&config(&primary, "type = \"stdout\""))?;
        assert_eq!(workplace.drain()?, "5,unread\n");
        return Ok(());
    }
    assert_eq!(explained(output, 0)?.0, "5,unread\n6,after\n");
    // From here on the new one's positions count.
    let checkpoint = workplace.checkpoint()?;
    assert_eq!(checkpoint["xa"]["from"]["file"], "binlog.000001");
    replica.sql("XA COMMIT 'y'; INSERT INTO shop.T VALUES (7, 'after')")?;
    assert_eq!(workplace.drain()?, "4,xa\n7,after\n");
    replica.sql("XA COMMIT 'x'")?;
    assert_eq!(workplace.drain()?, "1,xa\n");
    Ok(())
}

#[test]
fn what_is_prepared_outlives_a_failover_of_mysql() -> Result<()> {
    failover(Kind::Mysql)
}

#[test]
fn what_is_prepared_stops_at_a_failover_of_mariadb() -> Result<()> {
    failover(Kind::Mariadb)
}

#[test]
fn purged_rows_of_what_is_prepared_are_told() -> Result<()> {
    let server = shop(Kind::Mysql, &[])?;
    insert(&server, "'x'", 1)?;
    server.sql("FLUSH BINARY LOGS; INSERT INTO shop.T VALUES (2, 'plain')")?;
    let workplace = Workplace::new(&config(&server, "type = \"stdout\""))?;
    assert_eq!(workplace.drain()?, "2,plain\n");
    server.sql("PURGE BINARY LOGS TO 'binlog.000002'")?;
    let (_, log) = explained(workplace.run(&["--until", "now"])?, 65)?;
    ensure!(
        log.contains("binlog.000001 with the rows of XA transactions"),
        "{log}"
    );
    Ok(())
}

/// More than is kept, in one transaction and in several.
#[test]
fn too_many_prepared_rows_stop_the_agent() -> Result<()> {
    for (kind, count) in [(Kind::Mysql, 1), (Kind::Mysql, 5), (Kind::Mariadb, 5)] {
        let server = shop(kind, &["--max-allowed-packet=64M"])?;
        server
            .sql("ALTER TABLE shop.T MODIFY note longtext; INSERT INTO shop.T VALUES (0, 'a')")?;
        let bytes = 17_000_000 / count;
        for id in 1..=count {
            let row = format!("INSERT INTO shop.T VALUES ({id}, REPEAT('x', {bytes}))");
            prepare(&server, &format!("'{id}'"), &row)?;
        }
        server.sql("XA COMMIT '1'")?;
        stops(&server, "more than the 16 MiB that are kept")?;
        assert_eq!(drain_to_stdout(&server)?.stdout, b"0,a\n");
    }
    Ok(())
}

/// These lines, which are too long to show, and once. Gives what the agent has logged.
fn agent_and_replay_write(server: &Server, expected: &str) -> Result<String> {
    let workplace = Workplace::new(&config(server, "type = \"stdout\""))?;
    let (lines, log) = explained(workplace.run(&["--until", "now"])?, 0)?;
    ensure!(lines == expected, "the agent wrote other lines");
    ensure!(workplace.drain()?.is_empty());
    let table = ["--table", "shop.T", "--out", "-"];
    let lines = replayed(&binlogs(server)?, &table)?;
    ensure!(lines == expected, "the replay wrote other lines");
    Ok(log)
}

/// What is too large to keep until its end tells that its rows are real. Something else is kept meanwhile.
fn large_of_one_phase(kind: Kind, arguments: &[&str]) -> Result<()> {
    let arguments = [&["--max-allowed-packet=64M"], arguments].concat();
    let server = shop(kind, &arguments)?;
    server.sql("ALTER TABLE shop.T MODIFY note longtext; INSERT INTO shop.T VALUES (0, 'a')")?;
    insert(&server, "'kept'", 1)?;
    let long = "x".repeat(9_000_000);
    let rows = |ids: [u32; 3]| {
        let insert = |id| {
            format!(
                "INSERT INTO shop.T VALUES ({id}, REPEAT('x', {}));",
                long.len()
            )
        };
        ids.map(insert).concat()
    };
    for (xid, ids) in [("'x'", [2, 3, 4]), ("'y'", [6, 7, 8])] {
        let rows = rows(ids);
        server.sql(&format!(
            "XA START {xid}; {rows} XA END {xid}; XA COMMIT {xid} ONE PHASE; \
             INSERT INTO shop.T VALUES ({}, 'plain')",
            ids[2] + 1
        ))?;
    }
    server.sql("XA COMMIT 'kept'")?;
    let expected = format!(
        "0,a\n2,{long}\n3,{long}\n4,{long}\n5,plain\n6,{long}\n7,{long}\n8,{long}\n9,plain\n1,xa\n"
    );
    let said = agent_and_replay_write(&server, &expected)?;
    // MariaDB tells at the beginning that it has one phase, but any of its transactions may be undone.
    let told = said.matches("again: only its end says");
    assert_eq!(told.count(), 2, "{said}");
    Ok(())
}

#[test]
fn large_xa_transactions_of_one_phase_of_mysql_are_delivered() -> Result<()> {
    large_of_one_phase(Kind::Mysql, &[])
}

#[test]
fn large_compressed_xa_transactions_of_one_phase_are_delivered() -> Result<()> {
    large_of_one_phase(Kind::Mysql, COMPRESSED)
}

#[test]
fn large_xa_transactions_of_one_phase_of_mariadb_are_delivered() -> Result<()> {
    large_of_one_phase(Kind::Mariadb, &[])
}

/// MariaDB 11.8 makes a file of its own for it.
#[test]
fn what_is_prepared_in_a_file_of_its_own_is_delivered() -> Result<()> {
    let arguments = [
        "--max-allowed-packet=64M",
        "--binlog-large-commit-threshold=10M",
    ];
    let server = shop(Kind::Mariadb11, &arguments)?;
    server.sql("ALTER TABLE shop.T MODIFY note longtext; INSERT INTO shop.T VALUES (0, 'a')")?;
    let long = "x".repeat(12_000_000);
    let row = format!("INSERT INTO shop.T VALUES (1, REPEAT('x', {}))", long.len());
    prepare(&server, "'x'", &row)?;
    server.sql("INSERT INTO shop.T VALUES (2, 'b'); XA COMMIT 'x'")?;
    ensure!(binlogs(&server)?.len() > 1, "no file of its own");
    let expected = format!("0,a\n2,b\n1,{long}\n");
    agent_and_replay_write(&server, &expected).map(drop)
}

/// Larger than `max_in_flight` once it is handed out.
#[test]
fn much_is_handed_out_as_there_is_room() -> Result<()> {
    let server = shop(Kind::Mysql, &["--max-allowed-packet=64M"])?;
    let rows: Vec<String> = (1..=8_000)
        .map(|id| format!("({id}, REPEAT('x', 1500))"))
        .collect();
    prepare(
        &server,
        "'x'",
        &format!("INSERT INTO shop.T VALUES {}", rows.join(",")),
    )?;
    server.sql("XA COMMIT 'x'")?;
    let text = config(&server, "type = \"stdout\"\nmax_in_flight = \"1 MiB\"");
    let lines = Workplace::new(&text)?.drain()?;
    let ids = lines
        .lines()
        .map(|line| line.split(',').next().unwrap_or_default());
    ensure!(ids.eq((1..=8_000).map(|id| id.to_string())), "other rows");
    Ok(())
}

/// Files of which some are missing, and what is prepared at their end.
fn replays(kind: Kind) -> Result<()> {
    let server = shop(kind, &[])?;
    insert(&server, "'x'", 1)?;
    server.sql("INSERT INTO shop.T VALUES (2, 'plain'); FLUSH BINARY LOGS")?;
    server.sql("INSERT INTO shop.T VALUES (3, 'plain'); XA COMMIT 'x'")?;
    insert(&server, "'y'", 4)?;
    server.sql("FLUSH BINARY LOGS")?;
    let files = binlogs(&server)?;
    let table = ["--table", "shop.T", "--out", "-"];
    let (lines, log) = explained(replay(&files, &table)?, 0)?;
    assert_eq!(lines, "2,plain\n3,plain\n1,xa\n");
    ensure!(log.contains("prepared there: X'79',X'',1"), "{log}");
    let (lines, log) = explained(replay(&files[..1], &table)?, 0)?;
    assert_eq!(lines, "2,plain\n");
    ensure!(log.contains("prepared there: X'78',X'',1"), "{log}");
    let (lines, log) = explained(replay(&files[1..], &table)?, 65)?;
    assert_eq!(lines, "3,plain\n");
    ensure!(
        log.contains("binlog.000002") && log.contains("XA COMMIT of X'78'"),
        "{log}"
    );
    ensure!(log.contains("give the files before these, too"), "{log}");
    Ok(())
}

#[test]
fn mysqls_files_are_replayed_with_what_is_prepared_in_them() -> Result<()> {
    replays(Kind::Mysql)
}

#[test]
fn mariadbs_files_are_replayed_with_what_is_prepared_in_them() -> Result<()> {
    replays(Kind::Mariadb)
}
