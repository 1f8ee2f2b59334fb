//! A second agent that waits, and takes over when the first one is gone: with the checkpoint in a bucket, and in a file.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Agent, Workplace, config, eventually, gunzip_all};
use crate::setup::bucket::Bucket;
use crate::setup::sales::SALES;
use testkit::servers::{Kind, Server};

const TABLE: &str = "name = \"shop.Sales\"\ncolumns = [\"InvoiceID\"]";

/// Inserts until it is told to stop.
fn write_sales(server: &Server, stop: &AtomicBool) -> Result<()> {
    let row = "(1, 'Garden', 2, 3, '2016-03-04', 'WA', 'Free', 'Other')";
    let insert = |rows: usize| {
        format!(
            "INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState, ShippingType, \
             Referral) VALUES {};",
            vec![row; rows].join(",")
        )
    };
    let script = format!("{}{}", insert(1).repeat(50), insert(200));
    while !stop.load(Ordering::Relaxed) {
        server.sql(&script)?;
    }
    Ok(())
}

/// That each row was delivered once.
fn ensure_delivered(server: &Server, lines: &str) -> Result<()> {
    let mut delivered: Vec<u64> = lines.lines().map(str::parse).collect::<Result<_, _>>()?;
    delivered.sort_unstable();
    let rows = server.sql("SELECT InvoiceID FROM shop.Sales ORDER BY InvoiceID")?;
    let rows: Vec<u64> = rows.lines().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(rows.len() > 1_000, "hardly a row");
    ensure!(
        delivered == rows,
        "{} rows, {} delivered",
        rows.len(),
        delivered.len()
    );
    Ok(())
}

const LEASE: &str = "[ha]\nlease = \"5s\"\n";

/// A place to run an agent with its checkpoint under this key of the bucket.
fn workplace(server: &Server, bucket: &Bucket, key: &str, sink: &str) -> Result<Workplace> {
    let workplace = Workplace::new("")?;
    let text = format!(
        "[checkpoint]\npath = \"s3://lake/{key}\"\nendpoint = \"{}\"\n{LEASE}{}",
        bucket.endpoint_url(),
        config(server, TABLE, sink),
    );
    fs::write(workplace.path("hydrant.toml"), text)?;
    Ok(workplace)
}

/// Two of them, for an agent and its standby.
fn workplaces(server: &Server, bucket: &Bucket, key: &str, sink: &str) -> Result<[Workplace; 2]> {
    let place = || workplace(server, bucket, key, sink);
    Ok([place()?, place()?])
}

/// Starts an agent with an empty log, and waits until it says so.
fn start_until(place: &Workplace, says: &str) -> Result<Agent> {
    fs::remove_file(place.path("agent.log")).ok();
    let agent = place.start()?;
    wait_for(&agent, says)?;
    Ok(agent)
}

fn wait_for(agent: &Agent, says: &str) -> Result<()> {
    eventually(says, || Ok(agent.log().contains(says).then_some(()))).with_context(|| agent.log())
}

const WORKS: &str = "following from";
const WAITS: &str = "standing by";

/// Ends agents one after the other, each with its standby, and says what was delivered.
fn take_turns(
    server: &Server,
    places: &[Workplace; 2],
    ends: &[fn(Agent, &Agent) -> Result<()>],
) -> Result<()> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_sales(server, &stop));
        let swapped = (|| {
            let mut working = start_until(&places[0], WORKS)?;
            for (round, end) in ends.iter().enumerate() {
                let waiting = start_until(&places[(round + 1) % 2], WAITS)?;
                ensure!(
                    !waiting.log().contains(WORKS),
                    "{}\n\n{}",
                    working.log(),
                    waiting.log()
                );
                end(working, &waiting)?;
                wait_for(&waiting, WORKS)?;
                working = waiting;
            }
            ensure!(working.terminate()?.success());
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        writer.join().ok().context("the writer panicked")??;
        swapped
    })?;
    places[0].drain().map(drop)
}

fn kill(working: Agent, _: &Agent) -> Result<()> {
    working.kill9()
}

/// It gives its lease up, so that nobody has to wait.
fn stop(working: Agent, waiting: &Agent) -> Result<()> {
    ensure!(working.terminate()?.success());
    wait_for(waiting, WORKS)?;
    let log = waiting.log();
    ensure!(!log.contains("has not changed"), "{log}");
    Ok(())
}

/// It wakes up after it was given up.
fn suspend(mut working: Agent, waiting: &Agent) -> Result<()> {
    working.signal("STOP")?;
    wait_for(waiting, WORKS)?;
    working.signal("CONT")?;
    let status = working.wait()?;
    let log = working.log();
    ensure!(status.code() == Some(75), "{status}: {log}");
    ensure!(log.contains("has taken over the checkpoint"), "{log}");
    Ok(())
}

#[test]
fn a_standby_takes_over_whatever_ends_the_first_and_no_row_is_lost_or_doubled() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb11] {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        let bucket = Bucket::start()?;
        let sink = bucket.sink("flush_interval = \"30ms\"");
        let places = workplaces(&server, &bucket, "state/checkpoint.json", &sink)?;
        take_turns(&server, &places, &[kill, stop, suspend])?;
        let mut lines = String::new();
        for key in bucket.keys()?.iter().filter(|key| key.starts_with("raw/")) {
            lines.push_str(&bucket.object(key)?.text);
        }
        ensure_delivered(&server, &lines)?;
    }
    Ok(())
}

#[test]
fn a_standby_waits_for_the_lock_of_a_file() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let first = Workplace::into_directory(&server, &[TABLE], "flush_interval = \"30ms\"")?;
    let text = fs::read_to_string(first.path("hydrant.toml"))?;
    fs::write(first.path("hydrant.toml"), format!("{text}{LEASE}"))?;
    let second = Workplace::new("")?;
    fs::copy(first.path("hydrant.toml"), second.path("hydrant.toml"))?;
    let data = first.path("data");
    let places = [first, second];
    take_turns(&server, &places, &[kill, stop, kill])?;
    ensure_delivered(&server, &gunzip_all(&data)?)
}

#[test]
fn of_two_that_start_together_one_works_and_one_waits() -> Result<()> {
    const ROUNDS: usize = 8;
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let bucket = Bucket::start()?;
    for round in 0..ROUNDS {
        // Each checkpoint is not there in one round, and there in the next.
        let key = format!("state/{}.json", round / 2);
        let places = workplaces(&server, &bucket, &key, "type = \"stdout\"")?;
        let agents = [places[0].start()?, places[1].start()?];
        let says = |what: &str| agents.iter().filter(|it| it.log().contains(what)).count();
        eventually("one works and one waits", || {
            let is_so = says(WORKS) == 1 && says(WAITS) == 1;
            Ok(is_so.then_some(()))
        })
        .with_context(|| format!("{}\n\n{}", agents[0].log(), agents[1].log()))?;
        for agent in agents {
            ensure!(agent.terminate()?.success());
        }
    }
    Ok(())
}

/// Neither of the two begins anew by itself, which would leave a gap.
#[test]
fn a_checkpoint_that_is_removed_stops_both() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let bucket = Bucket::start()?;
    let key = "state/checkpoint.json";
    let places = workplaces(&server, &bucket, key, "type = \"stdout\"")?;
    let agents = [
        start_until(&places[0], WORKS)?,
        start_until(&places[1], WAITS)?,
    ];
    bucket.delete(key)?;
    for mut agent in agents {
        let status = agent.wait()?;
        let log = agent.log();
        ensure!(status.code() == Some(65), "{status}: {log}");
        ensure!(log.contains("somebody has removed the checkpoint"), "{log}");
    }
    ensure!(bucket.keys()?.is_empty());
    Ok(())
}

#[test]
fn an_idle_agent_keeps_its_lease() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let bucket = Bucket::start()?;
    let key = "state/checkpoint.json";
    let places = workplaces(&server, &bucket, key, "type = \"stdout\"")?;
    let working = start_until(&places[0], WORKS)?;
    let waiting = start_until(&places[1], WAITS)?;
    let claim = || -> Result<serde_json::Value> {
        let stored: serde_json::Value = serde_json::from_slice(&bucket.get(key)?.1)?;
        Ok(stored["claim"].clone())
    };
    let before = claim()?;
    let serial = |claim: &serde_json::Value| claim["serial"].as_u64().context("no serial");
    // A third of the lease between two, so that the lease would be over twice.
    let wanted = serial(&before)? + 7;
    let after = eventually("it is renewed", || {
        let claim = claim()?;
        Ok((serial(&claim)? >= wanted).then_some(claim))
    })?;
    assert_eq!(after["writer"], before["writer"]);
    ensure!(!waiting.log().contains(WORKS), "{}", waiting.log());
    ensure!(waiting.terminate()?.success());
    ensure!(working.terminate()?.success());
    let given_up = claim()?;
    ensure!(given_up["lease_ms"].is_null(), "{given_up}");
    Ok(())
}
