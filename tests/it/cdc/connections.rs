//! Connections that are cut off, frozen, refused or set up strangely: the agent comes out of it in time
//! and delivers everything, or ends when it is told to.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Agent, Workplace, eventually, gunzip_all};
use crate::setup::proxy::{Fault, Proxy};
use crate::setup::servers::{pair, replicate, stop_replicating};
use testkit::servers::{Kind, Server};

/// Deadlines short enough for hundreds of trials.
const IMPATIENT: &str = "connect_timeout = \"500ms\"\nheartbeat_interval = \"200ms\"";

fn server_with_table(kind: Kind) -> Result<Server> {
    let server = Server::start(kind, &[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
    Ok(server)
}

fn config(url: &str, source: &str, sink: &str) -> String {
    format!(
        "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n{source}\n\
         [[table]]\nname = \"shop.T\"\n[sink]\n{sink}\n"
    )
}

fn with_folder(url: &str, source: &str) -> Result<Workplace> {
    let workplace = Workplace::new("")?;
    let folder = workplace.path("data");
    let sink = format!("path = \"{}\"\nflush_interval = \"0s\"", folder.display());
    workplace.configure(&config(url, source, &sink))?;
    std::fs::create_dir(folder)?;
    Ok(workplace)
}

fn insert(server: &Server, id: u32) -> Result<()> {
    server
        .sql(&format!("INSERT INTO shop.T VALUES ({id})"))
        .map(drop)
}

fn delivered(workplace: &Workplace, id: u32) -> Result<()> {
    let line = format!("{id}\n");
    eventually(&format!("row {id} is delivered"), || {
        let lines = gunzip_all(&workplace.path("data"))?;
        Ok(lines
            .split_inclusive('\n')
            .any(|it| it == line)
            .then_some(()))
    })
}

/// At each turn of a reconnection the connection is cut off before the answer, or frozen within it.
fn reconnects(kind: Kind) -> Result<()> {
    let server = server_with_table(kind)?;
    let proxy = Proxy::to(server.port())?;
    let workplace = with_folder(&proxy.url("root"), IMPATIENT)?;
    let agent = workplace.start()?;
    let mut id = 1;
    insert(&server, id)?;
    delivered(&workplace, id)?;
    for (fault, after) in [(Fault::Cut, 0), (Fault::Freeze, 5)] {
        // What has no answer, or a short one, cannot be cut off or frozen there.
        let (mut happened, mut in_vain) = (0, 0);
        for turn in 1.. {
            proxy.arm(fault, turn, after);
            proxy.cut_all();
            id += 1;
            insert(&server, id)?;
            delivered(&workplace, id).with_context(|| {
                format!("{fault:?} in turn {turn} after {after}\n{}", agent.log())
            })?;
            if proxy.is_armed() {
                in_vain += 1;
            } else {
                (happened, in_vain) = (happened + 1, 0);
            }
            if in_vain == 4 {
                break;
            }
        }
        ensure!(
            happened > 20,
            "{fault:?} after {after}: {happened} times only"
        );
    }
    proxy.disarm();
    ensure!(agent.terminate()?.code() == Some(0));
    let lines = gunzip_all(&workplace.path("data"))?;
    for id in 1..=id {
        let line = id.to_string();
        ensure!(lines.lines().any(|it| it == line), "row {id} is missing");
    }
    Ok(())
}

#[test]
fn mysql_reconnections_that_are_cut_or_frozen_anywhere_lose_nothing() -> Result<()> {
    reconnects(Kind::Mysql)
}

#[test]
fn mariadb_reconnections_that_are_cut_or_frozen_anywhere_lose_nothing() -> Result<()> {
    reconnects(Kind::Mariadb)
}

#[test]
fn mariadb_11_reconnections_that_are_cut_or_frozen_anywhere_lose_nothing() -> Result<()> {
    reconnects(Kind::Mariadb11)
}

/// The same at the start, which gives up with 69 and leaves everything to the next one.
fn starts(kind: Kind) -> Result<()> {
    let server = server_with_table(kind)?;
    let proxy = Proxy::to(server.port())?;
    let workplace = Workplace::new(&config(&proxy.url("root"), IMPATIENT, "type = \"stdout\""))?;
    let mut expected = String::new();
    let mut got = String::new();
    let mut id = 0;
    for fault in [Fault::Cut, Fault::Freeze] {
        let (mut happened, mut in_vain) = (0, 0);
        for turn in 1.. {
            id += 1;
            insert(&server, id)?;
            writeln!(expected, "{id}")?;
            proxy.arm(fault, turn, 0);
            let begun = Instant::now();
            let output = workplace.run(&["--until", "now"])?;
            let log = String::from_utf8_lossy(&output.stderr);
            ensure!(
                matches!(output.status.code(), Some(0 | 69)),
                "{fault:?} in turn {turn}: {}: {log}",
                output.status
            );
            ensure!(
                begun.elapsed() < Duration::from_secs(30),
                "{fault:?} in turn {turn} took {:?}",
                begun.elapsed()
            );
            got.push_str(&String::from_utf8(output.stdout)?);
            if proxy.is_armed() {
                in_vain += 1;
            } else {
                (happened, in_vain) = (happened + 1, 0);
            }
            if in_vain == 4 {
                break;
            }
        }
        ensure!(happened > 20, "{fault:?}: {happened} times only");
    }
    proxy.disarm();
    got.push_str(&workplace.drain()?);
    // A connection that breaks behind a row that was printed brings it again.
    let mut lines: Vec<&str> = got.lines().collect();
    lines.dedup();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(lines, expected);
    Ok(())
}

#[test]
fn mysql_starts_that_are_cut_or_frozen_anywhere_end_in_time() -> Result<()> {
    starts(Kind::Mysql)
}

#[test]
fn mariadb_11_starts_that_are_cut_or_frozen_anywhere_end_in_time() -> Result<()> {
    starts(Kind::Mariadb11)
}

#[test]
fn a_stream_that_breaks_at_once_is_asked_for_ever_more_rarely() -> Result<()> {
    let server = server_with_table(Kind::Mysql)?;
    let proxy = Proxy::to(server.port())?;
    let workplace = with_folder(&proxy.url("root"), "")?;
    let agent = workplace.start()?;
    insert(&server, 1)?;
    delivered(&workplace, 1)?;
    let before = proxy.connections();
    proxy.cut_dumps(true);
    proxy.cut_all();
    std::thread::sleep(Duration::from_secs(5));
    let attempts = (proxy.connections() - before) / 2;
    let lines = agent.log().lines().count();
    ensure!(
        (2..=12).contains(&attempts),
        "{attempts} attempts: {}",
        agent.log()
    );
    ensure!(lines < 60, "{lines} lines: {}", agent.log());
    proxy.cut_dumps(false);
    insert(&server, 2)?;
    delivered(&workplace, 2)?;
    ensure!(agent.terminate()?.code() == Some(0));
    Ok(())
}

/// A start that hangs for as long as nobody looks.
fn frozen_start(proxy: &Proxy, arguments: &[&str]) -> Result<(Workplace, Agent)> {
    let workplace = with_folder(&proxy.url("root"), "connect_timeout = \"1h\"")?;
    proxy.arm(Fault::Freeze, 4, 0);
    let agent = workplace.start_with(arguments)?;
    eventually("the start is frozen", || {
        Ok((!proxy.is_armed()).then_some(()))
    })?;
    Ok((workplace, agent))
}

#[test]
fn signals_are_heard_while_the_start_hangs() -> Result<()> {
    let server = server_with_table(Kind::Mysql)?;
    let proxy = Proxy::to(server.port())?;
    for signal in ["TERM", "INT", "HUP"] {
        let (_workplace, mut agent) = frozen_start(&proxy, &[])?;
        agent.tells_that_it_starts()?;
        agent.signal(signal)?;
        ensure!(agent.wait()?.code() == Some(0), "{signal}: {}", agent.log());
    }
    // Whoever asked for rows up to a place has not got them.
    let (_workplace, mut agent) = frozen_start(&proxy, &["--until", "now"])?;
    agent.tells_that_it_starts()?;
    agent.signal("TERM")?;
    ensure!(agent.wait()?.code() == Some(75), "{}", agent.log());
    Ok(())
}

/// A disk that hangs, as a file that nobody writes to.
#[test]
fn signals_are_heard_while_the_checkpoint_is_read() -> Result<()> {
    let server = server_with_table(Kind::Mysql)?;
    let workplace = with_folder(&server.url(), "")?;
    let path = workplace.path("checkpoint.json");
    ensure!(Command::new("mkfifo").arg(&path).status()?.success());
    let mut agent = workplace.start()?;
    // Before that a signal ends any process.
    eventually("the agent listens", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.process_id()))?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.context("no mask")?.trim(), 16)?;
        const USR1: u64 = 1 << 9;
        Ok((caught & USR1 != 0).then_some(()))
    })?;
    agent.tells_that_it_starts()?;
    agent.signal("TERM")?;
    ensure!(agent.wait()?.code() == Some(0), "{}", agent.log());
    Ok(())
}

#[test]
fn sighup_delivers_what_was_read() -> Result<()> {
    let server = server_with_table(Kind::Mysql)?;
    let workplace = with_folder(&server.url(), "")?;
    let mut agent = workplace.start()?;
    insert(&server, 1)?;
    delivered(&workplace, 1)?;
    agent.signal("HUP")?;
    ensure!(agent.wait()?.code() == Some(0), "{}", agent.log());
    Ok(())
}

/// The settings of the server, and of its users, that made names and labels come out wrong.
fn odd_sessions(kind: Kind, options: &[&str]) -> Result<()> {
    let mut options = options.to_vec();
    options.extend([
        "--init-connect=SET NAMES latin1; SET autocommit = 0, sql_select_limit = 1",
        "--character-set-server=latin1",
        "--binlog-row-metadata=MINIMAL",
        "--wait-timeout=1",
    ]);
    let server = Server::start(kind, &options)?;
    server.sql(
        "SET NAMES utf8mb4; CREATE DATABASE shop; CREATE TABLE shop.`größe` (`länge` int, \
         e ENUM('日','本') CHARACTER SET utf8mb4, t varchar(9) CHARACTER SET utf8mb4); \
         CREATE USER hydrant@'%'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO hydrant@'%'; \
         GRANT SELECT ON shop.* TO hydrant@'%'; INSERT INTO shop.`größe` VALUES (1, '日', 'ä'), (2, '本', '日')",
    )?;
    let url = server.url().replace("root", "hydrant");
    let workplace = Workplace::new(&format!(
        "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\nname = \"shop.größe\"\n\
         columns = [\"länge\", \"e\", \"t\"]\n[sink]\ntype = \"stdout\"\n"
    ))?;
    assert_eq!(workplace.drain()?, "1,日,ä\n2,本,日\n");
    Ok(())
}

#[test]
fn mysql_sessions_that_are_set_up_strangely_change_no_name() -> Result<()> {
    odd_sessions(Kind::Mysql, &[])
}

#[test]
fn mariadb_sessions_that_are_set_up_strangely_change_no_name() -> Result<()> {
    odd_sessions(Kind::Mariadb, &["--skip-character-set-client-handshake"])
}

#[test]
fn mariadb_11_sessions_that_are_set_up_strangely_change_no_name() -> Result<()> {
    odd_sessions(Kind::Mariadb11, &["--skip-character-set-client-handshake"])
}

/// Refusals that somebody mends, one after the other, while the agent runs.
fn refusals(kind: Kind, statements: &[(&str, &str, &str)]) -> Result<()> {
    let server = server_with_table(kind)?;
    server.sql(
        "CREATE USER hydrant@'%'; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO hydrant@'%'; \
         GRANT SELECT ON shop.* TO hydrant@'%'; SET GLOBAL max_connect_errors = 100000",
    )?;
    let proxy = Proxy::to(server.port())?;
    let workplace = with_folder(&proxy.url("hydrant"), "")?;
    let agent = workplace.start()?;
    insert(&server, 1)?;
    delivered(&workplace, 1)?;
    for ((refuse, allow, said), id) in statements.iter().zip(2..) {
        server.sql(refuse)?;
        proxy.cut_all();
        eventually(&format!("the agent is told {said}"), || {
            Ok(agent.log().contains(said).then_some(()))
        })
        .with_context(|| agent.log())?;
        server.sql(allow)?;
        insert(&server, id)?;
        delivered(&workplace, id).with_context(|| agent.log())?;
    }
    ensure!(agent.terminate()?.code() == Some(0));
    Ok(())
}

/// After a failover the address is that of a replica that has not all of what was delivered yet.
fn waits_for_a_replica(kind: Kind) -> Result<()> {
    let (primary, replica) = pair(kind)?;
    primary.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
    let proxy = Proxy::to(primary.port())?;
    let workplace = with_folder(&proxy.url("root"), "")?;
    let agent = workplace.start()?;
    insert(&primary, 1)?;
    delivered(&workplace, 1)?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    insert(&primary, 2)?;
    delivered(&workplace, 2)?;
    proxy.lead_to(replica.port());
    eventually("the agent is told what is missing", || {
        let log = agent.log();
        let waits = log.lines().any(|line| {
            line.contains("does not have these of its transactions")
                && line.contains("trying again")
        });
        Ok(waits.then_some(()))
    })
    .with_context(|| agent.log())?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    insert(&replica, 3)?;
    delivered(&workplace, 3).with_context(|| agent.log())?;
    ensure!(agent.terminate()?.code() == Some(0));
    let lines = gunzip_all(&workplace.path("data"))?;
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2", "3"]);
    Ok(())
}

#[test]
fn mysql_replicas_that_are_behind_are_waited_for() -> Result<()> {
    waits_for_a_replica(Kind::Mysql)
}

#[test]
fn mariadb_replicas_that_are_behind_are_waited_for() -> Result<()> {
    waits_for_a_replica(Kind::Mariadb)
}

#[test]
fn mariadb_11_replicas_that_are_behind_are_waited_for() -> Result<()> {
    waits_for_a_replica(Kind::Mariadb11)
}

const LOCKED: (&str, &str, &str) = (
    "ALTER USER hydrant@'%' ACCOUNT LOCK",
    "ALTER USER hydrant@'%' ACCOUNT UNLOCK",
    "locked",
);
const ROTATED: (&str, &str, &str) = (
    "ALTER USER hydrant@'%' IDENTIFIED BY 'x'",
    "ALTER USER hydrant@'%' IDENTIFIED BY ''",
    "(error 1045)",
);
const LIMITED: (&str, &str, &str) = (
    "ALTER USER hydrant@'%' WITH MAX_CONNECTIONS_PER_HOUR 1",
    "ALTER USER hydrant@'%' WITH MAX_CONNECTIONS_PER_HOUR 0",
    "(error 1226)",
);

#[test]
fn mysql_refusals_that_pass_end_no_agent() -> Result<()> {
    let offline = (
        "SET GLOBAL offline_mode = ON",
        "SET GLOBAL offline_mode = OFF",
        "offline mode",
    );
    refusals(Kind::Mysql, &[offline, LOCKED, ROTATED, LIMITED])
}

#[test]
fn mariadb_refusals_that_pass_end_no_agent() -> Result<()> {
    refusals(Kind::Mariadb, &[LOCKED, ROTATED, LIMITED])
}

#[test]
fn mariadb_11_refusals_that_pass_end_no_agent() -> Result<()> {
    refusals(Kind::Mariadb11, &[LOCKED, ROTATED, LIMITED])
}

/// MariaDB ends the older of two readers with one number.
#[test]
fn a_server_id_that_is_used_twice_is_told_with_its_remedy() -> Result<()> {
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        let server = server_with_table(kind)?;
        let (first, second) = (
            with_folder(&server.url(), "server_id = 77")?,
            with_folder(&server.url(), "server_id = 77")?,
        );
        let mut older = first.start()?;
        insert(&server, 1)?;
        delivered(&first, 1)?;
        let newer = second.start()?;
        delivered(&second, 1)?;
        ensure!(older.wait()?.code() == Some(78), "{}", older.log());
        ensure!(older.log().contains("source.server_id"), "{}", older.log());
        ensure!(newer.terminate()?.code() == Some(0));
    }
    Ok(())
}

/// `/proc/net/tcp` shows which timer a connection has: 2 is keepalive.
#[test]
fn the_system_watches_over_the_stream() -> Result<()> {
    let server = server_with_table(Kind::Mysql)?;
    let workplace = with_folder(&server.url(), "heartbeat_interval = \"1h\"")?;
    let agent = workplace.start()?;
    insert(&server, 1)?;
    delivered(&workplace, 1)?;
    let port = format!("0100007F:{:04X}", server.port());
    eventually("the stream has a keepalive timer", || {
        let table = std::fs::read_to_string("/proc/net/tcp")?;
        let is_watched = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(2) == Some(&port.as_str())
                && fields.get(5).is_some_and(|timer| timer.starts_with("02:"))
        };
        Ok(table.lines().any(is_watched).then_some(()))
    })?;
    ensure!(agent.terminate()?.code() == Some(0));
    Ok(())
}
