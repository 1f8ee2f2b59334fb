//! A checkpoint in a bucket: no disk is needed, and of two agents one loses and stops before it can do harm.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

use super::crash::{TABLE, check_delivered, write_sales};
use crate::setup::agent::{Workplace, config, eventually};
use crate::setup::bucket::Bucket;
use crate::setup::sales::SALES;
use testkit::servers::{Kind, Server};

/// A place to run an agent, which keeps nothing there.
fn workplace(server: &Server, bucket: &Bucket) -> Result<Workplace> {
    let workplace = Workplace::new("")?;
    let text = format!(
        "[checkpoint]\npath = \"s3://lake/state/checkpoint.json\"\nendpoint = \"{}\"\n{}",
        bucket.endpoint_url(),
        config(server, TABLE, &bucket.sink("flush_interval = \"30ms\"")),
    );
    fs::write(workplace.path("hydrant.toml"), text)?;
    Ok(workplace)
}

/// The objects with rows.
fn load(bucket: &Bucket) -> Result<String> {
    let mut lines = String::new();
    for key in bucket.keys()?.iter().filter(|key| key.starts_with("raw/")) {
        lines.push_str(&bucket.object(key)?.text);
        bucket.delete(key)?;
    }
    Ok(lines)
}

#[test]
fn kills_lose_and_double_nothing_without_a_disk() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb11] {
        let server = Server::start(kind, &[])?;
        server.sql(SALES)?;
        let bucket = Bucket::start()?;
        let workplace = workplace(&server, &bucket)?;
        let is_done = AtomicBool::new(false);
        let mut lines = std::thread::scope(|scope| {
            let loader = scope.spawn(|| {
                let mut lines = String::new();
                while !is_done.load(Ordering::Relaxed) {
                    lines.push_str(&load(&bucket)?);
                }
                Ok::<_, anyhow::Error>(lines)
            });
            let drained =
                workplace.drain_with_kills(15, 20..900, |stop| write_sales(&server, stop));
            is_done.store(true, Ordering::Relaxed);
            let lines = loader.join().ok().context("the loader panicked")??;
            drained.map(|()| lines)
        })?;
        lines.push_str(&load(&bucket)?);
        let doubled = check_delivered(&server, &lines)?;
        ensure!(doubled == 0, "{doubled} rows twice");
        ensure!(!workplace.path("checkpoint.json").exists());
    }
    Ok(())
}

/// An agent stands still, another takes over and goes on, and the first one wakes up.
#[test]
fn who_was_suspended_stops_when_another_has_taken_over() -> Result<()> {
    const ROUNDS: usize = 6;
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let bucket = Bucket::start()?;
    let places = [workplace(&server, &bucket)?, workplace(&server, &bucket)?];
    let stop = AtomicBool::new(false);
    let mut lines = String::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_sales(&server, &stop));
        let swapped = (|| {
            let follows = |place: &Workplace| -> Result<_> {
                fs::remove_file(place.path("agent.log")).ok();
                let agent = place.start()?;
                eventually("it follows", || {
                    Ok(agent.log().contains("following from").then_some(()))
                })?;
                Ok(agent)
            };
            let mut running = follows(&places[0])?;
            for round in 1..=ROUNDS {
                std::thread::sleep(std::time::Duration::from_millis(rand::random_range(0..300)));
                running.signal("STOP")?;
                let next = follows(&places[round % 2])?;
                lines.push_str(&load(&bucket)?);
                running.signal("CONT")?;
                let status = running.wait()?;
                let log = running.log();
                ensure!(status.code() == Some(75), "{status}: {log}");
                ensure!(log.contains("has taken over the checkpoint"), "{log}");
                running = next;
            }
            ensure!(running.terminate()?.success());
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        writer.join().ok().context("the writer panicked")??;
        swapped
    })?;
    places[0].drain()?;
    lines.push_str(&load(&bucket)?);
    let doubled = check_delivered(&server, &lines)?;
    ensure!(doubled == 0, "{doubled} rows twice");
    Ok(())
}
