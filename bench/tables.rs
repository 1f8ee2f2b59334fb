//! How long `hydrant cdc` takes to start, and how much memory it has, with thousands of tables that a pattern means among
//! others that it does not.
//!
//! What lives here: the tables, and the agent, which runs as a process of its own with a directory as its sink. What does
//! not: how fast rows are read (`compare`).

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use testkit::program::program;
use testkit::servers::{Kind, Server};

/// Follows a part of many tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// Tables on the server.
    #[arg(long, default_value_t = 20_000)]
    tables: usize,
    /// Those of them that are followed.
    #[arg(long, default_value_t = 2_000)]
    followed: usize,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Tables that one call of the client creates.
const AT_ONCE: usize = 500;
const COLUMNS: &str = "(id int PRIMARY KEY, a varchar(40), b varchar(40), c decimal(10,2), d datetime, e bigint, f text)";

/// Starts it and gives the time until it follows.
fn start(config: &str) -> Result<(Child, Duration)> {
    let started = Instant::now();
    let mut agent = program(env!("CARGO_BIN_EXE_hydrant"))
        .args(["cdc", "--config", config])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let log = agent.stderr.take().context("no log")?;
    let mut lines = BufReader::new(log).lines();
    for line in &mut lines {
        if line?.contains("following from") {
            // What it says later must not fill the pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((agent, started.elapsed()));
        }
    }
    agent.kill()?;
    anyhow::bail!("it ended: {}", agent.wait()?)
}

/// A line of `/proc`'s status, in MiB.
fn memory_mib(agent: &Child, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
    let kib = lines.next().context("no such line")?;
    let kib: u64 = kib
        .trim_start_matches(':')
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib / 1024)
}

/// Whether each followed table has a folder with an object.
fn has_all(data: &std::path::Path, followed: usize) -> bool {
    fs::read_dir(data).is_ok_and(|folders| {
        let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("shop.t_")).count() == followed
    })
}

fn stop(mut agent: Child) -> Result<()> {
    let id = agent.id().to_string();
    ensure!(program("kill").args(["-TERM", &id]).status()?.success());
    ensure!(agent.wait()?.success());
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one measurement after the other")]
fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let (tables, followed) = (arguments.tables, arguments.followed);
    println!("{tables} tables, {followed} of them followed");
    println!(
        "| server | first start, s | memory, MiB | a row in each, peak MiB | start after that, s | memory, MiB | checkpoint, KiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for kind in Kind::ALL {
        let server = Server::start(kind, &["--binlog-row-metadata=FULL"])?;
        server.sql("CREATE DATABASE shop")?;
        let names: Vec<String> = (0..tables)
            .map(|n| {
                if n < followed {
                    format!("t_{n}")
                } else {
                    format!("other_{n}")
                }
            })
            .collect();
        for names in names.chunks(AT_ONCE) {
            let mut sql = String::from("USE shop; ");
            for name in names {
                write!(sql, "CREATE TABLE {name} {COLUMNS}; ")?;
            }
            server.sql(&sql)?;
        }
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let (config, data, checkpoint) =
            (path("hydrant.toml"), path("data"), path("checkpoint.json"));
        fs::write(
            &config,
            format!(
                "checkpoint.path = \"file:{}\"\n[source]\nurl = \"{}\"\nstart = \"latest\"\n[[table]]\nname = \"shop.t_*\"\n\
                 [sink]\npath = \"{}\"\nflush_interval = \"1s\"\n",
                checkpoint.display(),
                server.url(),
                data.display()
            ),
        )?;
        let config = config.display().to_string();
        let (agent, first) = start(&config)?;
        let idle_mib = memory_mib(&agent, "VmRSS")?;
        for names in names[..followed].chunks(AT_ONCE) {
            let mut sql = String::from("USE shop; ");
            for name in names {
                write!(
                    sql,
                    "INSERT INTO {name} VALUES (1, 'a', 'b', 1, NOW(), 5, 'some text'); "
                )?;
            }
            server.sql(&sql)?;
        }
        let deadline = Instant::now() + Duration::from_mins(5);
        while !has_all(&data, followed) {
            ensure!(Instant::now() < deadline, "not all rows arrive");
            std::thread::sleep(Duration::from_millis(50));
        }
        let peak_mib = memory_mib(&agent, "VmHWM")?;
        stop(agent)?;
        let (agent, again) = start(&config)?;
        let again_mib = memory_mib(&agent, "VmRSS")?;
        stop(agent)?;
        println!(
            "| {} | {:.2} | {idle_mib} | {peak_mib} | {:.2} | {again_mib} | {} |",
            kind.name(),
            first.as_secs_f32(),
            again.as_secs_f32(),
            fs::metadata(&checkpoint)?.len() / 1024
        );
    }
    Ok(())
}
