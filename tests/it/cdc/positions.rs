//! Where a run starts and ends, and what the checkpoint then says.

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, eventually};
use crate::setup::servers::{
    end_of_binlog, gtids, pair, replicate, reset_binlog, stop_replicating,
};
use testkit::servers::{Kind, Server};

fn create(server: &Server) -> Result<()> {
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
    Ok(())
}

fn insert(server: &Server, id: u32) -> Result<()> {
    server.sql(&format!("INSERT INTO shop.T VALUES ({id})"))?;
    Ok(())
}

fn config(server: &Server, start: &str) -> String {
    let url = server.url();
    format!(
        "[source]\nurl = \"{url}\"\nstart = \"{start}\"\n[[table]]\nname = \"shop.T\"\n\
         [sink]\ntype = \"stdout\"\n"
    )
}

/// What a fresh agent delivers from `start` up to now.
fn drained_from(server: &Server, start: &str) -> Result<String> {
    Workplace::new(&config(server, start))?.drain()
}

fn starts(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    create(&server)?;
    insert(&server, 1)?;
    let (position, set) = (end_of_binlog(&server)?, gtids(&server)?);
    insert(&server, 2)?;
    server.sql("FLUSH BINARY LOGS")?;
    insert(&server, 3)?;
    assert_eq!(drained_from(&server, "earliest")?, "1\n2\n3\n");
    assert_eq!(drained_from(&server, &position)?, "2\n3\n");
    assert_eq!(drained_from(&server, &set)?, "2\n3\n");
    assert_eq!(drained_from(&server, "latest")?, "");
    let now = gtids(&server)?;
    assert_eq!(
        drained_from(&server, &now)?,
        "",
        "nothing is left after {now}"
    );
    Ok(())
}

#[test]
fn mysql_starts_at_every_kind_of_position() -> Result<()> {
    starts(Kind::Mysql)
}

#[test]
fn mariadb_starts_at_every_kind_of_position() -> Result<()> {
    starts(Kind::Mariadb)
}

#[test]
fn mariadb_11_starts_at_every_kind_of_position() -> Result<()> {
    starts(Kind::Mariadb11)
}

fn ends(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    create(&server)?;
    insert(&server, 1)?;
    let (position, set) = (end_of_binlog(&server)?, gtids(&server)?);
    insert(&server, 2)?;
    for end in [position, set] {
        let workplace = Workplace::new(&config(&server, "earliest"))?;
        let output = workplace.run(&["--until", &end])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(String::from_utf8(output.stdout)?, "1\n", "until {end}");
        // The next run goes on behind it.
        assert_eq!(workplace.drain()?, "2\n");
    }
    Ok(())
}

#[test]
fn mysql_ends_where_it_is_told_to() -> Result<()> {
    ends(Kind::Mysql)
}

#[test]
fn mariadb_ends_where_it_is_told_to() -> Result<()> {
    ends(Kind::Mariadb)
}

#[test]
fn mariadb_11_ends_where_it_is_told_to() -> Result<()> {
    ends(Kind::Mariadb11)
}

fn checkpoint_follows(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    create(&server)?;
    let workplace = Workplace::new(&config(&server, "latest"))?;
    let agent = workplace.start()?;
    eventually("the first checkpoint is there", || {
        Ok(workplace.checkpoint().ok())
    })?;
    insert(&server, 1)?;
    // Traffic in tables that are not followed moves it too, so that it never falls behind.
    server.sql("CREATE TABLE shop.Other (id int); INSERT INTO shop.Other VALUES (1)")?;
    let (end, set) = (end_of_binlog(&server)?, gtids(&server)?);
    eventually("the checkpoint is at the end", || {
        let checkpoint = workplace.checkpoint()?;
        let position = &checkpoint["position"];
        let at = format!(
            "{}:{}",
            position["file"].as_str().unwrap_or_default(),
            position["offset"]
        );
        Ok((at == end && checkpoint["gtids"] == set.as_str()).then_some(()))
    })?;
    let status = agent.terminate()?;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}

#[test]
fn mysql_checkpoint_holds_position_and_gtids() -> Result<()> {
    checkpoint_follows(Kind::Mysql)
}

#[test]
fn mariadb_checkpoint_holds_position_and_gtids() -> Result<()> {
    checkpoint_follows(Kind::Mariadb)
}

#[test]
fn mariadb_11_checkpoint_holds_position_and_gtids() -> Result<()> {
    checkpoint_follows(Kind::Mariadb11)
}

fn failover(kind: Kind) -> Result<()> {
    let (primary, replica) = pair(kind)?;
    // The replica's own file positions are other ones.
    replica.sql("FLUSH BINARY LOGS; FLUSH BINARY LOGS")?;
    create(&primary)?;
    insert(&primary, 1)?;
    let workplace = Workplace::new(&config(&primary, "earliest"))?;
    assert_eq!(workplace.drain()?, "1\n");
    insert(&primary, 2)?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    insert(&replica, 3)?;
    workplace.configure(&config(&replica, "earliest"))?;
    assert_eq!(workplace.drain()?, "2\n3\n");
    Ok(())
}

#[test]
fn mysql_goes_on_by_gtid_after_a_failover() -> Result<()> {
    failover(Kind::Mysql)
}

#[test]
fn mariadb_goes_on_by_gtid_after_a_failover() -> Result<()> {
    failover(Kind::Mariadb)
}

#[test]
fn mariadb_11_goes_on_by_gtid_after_a_failover() -> Result<()> {
    failover(Kind::Mariadb11)
}

/// The new writer lacks what the old one has written last. What both have is not delivered twice.
#[test]
fn the_start_that_a_failover_with_losses_names_loses_and_doubles_nothing() -> Result<()> {
    let (primary, replica) = pair(Kind::Mysql)?;
    create(&primary)?;
    insert(&primary, 1)?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    insert(&primary, 2)?;
    let workplace = Workplace::new(&config(&primary, "earliest"))?;
    assert_eq!(workplace.drain()?, "1\n2\n");
    insert(&replica, 3)?;
    workplace.configure(&config(&replica, "earliest"))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(65), "{log}");
    let (_, rest) = log
        .split_once("set source.start = \"")
        .with_context(|| log.clone())?;
    let (start, _) = rest.split_once('"').with_context(|| log.clone())?;
    std::fs::remove_file(workplace.path("checkpoint.json"))?;
    workplace.configure(&config(&replica, start))?;
    assert_eq!(workplace.drain()?, "3\n");
    Ok(())
}

#[test]
fn a_purged_position_is_told_with_its_remedy() -> Result<()> {
    let server = Server::mysql(&[])?;
    create(&server)?;
    let workplace = Workplace::new(&config(&server, "earliest"))?;
    workplace.drain()?;
    insert(&server, 1)?;
    server.sql("FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000002'")?;
    let output = workplace.run(&["--until", "now"])?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(
        stderr.contains("does not have the binlog file binlog.000001 any more"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn a_server_whose_history_was_reset_is_refused() -> Result<()> {
    let server = Server::mysql(&[])?;
    create(&server)?;
    insert(&server, 1)?;
    let workplace = Workplace::new(&config(&server, "earliest"))?;
    workplace.drain()?;
    reset_binlog(&server)?;
    insert(&server, 2)?;
    let output = workplace.run(&["--until", "now"])?;
    assert_eq!(
        output.status.code(),
        Some(65),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Lines that are passed over after a crash are counted.
#[test]
fn settings_by_which_lines_are_counted_cannot_change_within_a_transaction() -> Result<()> {
    let server = Server::mysql(&[])?;
    create(&server)?;
    let workplace = Workplace::into_directory(&server, &["name = \"shop.T\""], "")?;
    workplace.drain()?;
    let mut checkpoint = workplace.checkpoint()?;
    checkpoint["written"] = serde_json::json!({ "shop.T": {
        "commits": [{ "server": checkpoint["server"], "position": checkpoint["position"] }],
        "begun": [{
            "transaction": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1",
            "lines": 3,
            "counted": { "events": { "insert": true, "update": true, "delete": false }, "before_image": false, "key_change": "split" },
        }],
    }});
    std::fs::write(
        workplace.path("checkpoint.json"),
        serde_json::to_string(&checkpoint)?,
    )?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(78), "{log}");
    ensure!(log.contains("take the change back"), "{log}");
    Ok(())
}
