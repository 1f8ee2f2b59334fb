//! `hydrant metrics` for half an hour against the simulator, beside a bare timer in the same run.
//!
//! What lives here: the cluster's script, the timer to compare with, the memory, how long each
//! change in the cluster takes until CloudWatch has it, and what CloudWatch has got in the end. What does not: the poller, which runs as a process of its own, as users run it.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use hydrant::sim::{Options, Simulator};
use testkit::program::program;
use tokio::task::spawn_blocking;

/// RunningTask changes twice in each round, at moments that wander through the second.
const CLUSTER: &str = r#"
    [[cluster]]
    name = "ECSEsgaroth"
    loop = 13.37
    steps = [
        { at = 0.0, running = 4, pending = 0, services = 2, instances = 2 },
        { at = 2.3, pending = 6 },
        { at = 6.61, running = 10, pending = 0 },
    ]
"#;
/// When RunningTask changes, in seconds since the script's start: the loop, and the places in it.
const LOOP_S: f64 = 13.37;
const CHANGES_S: [f64; 2] = [0.0, 6.61];
/// How often CloudWatch's account is looked at for a change.
const LOOK: Duration = Duration::from_millis(2);
const RSS_INTERVAL: Duration = Duration::from_secs(10);
/// Memory may still grow in the first part of a run.
const WARM_UP: Duration = Duration::from_mins(1);

/// Runs the poller and a bare timer side by side.
#[derive(Debug, Parser)]
struct Bench {
    /// How long.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let bench = Bench::parse();
    let length = Duration::from_secs_f64(bench.minutes * 60.0);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(length))
}

#[expect(
    clippy::too_many_lines,
    reason = "one run, from its set-up to its report"
)]
async fn run(length: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("clusters.toml");
    fs::write(&script, CLUSTER)?;
    let config = folder.path().join("metrics.toml");
    fs::write(&config, "metrics.clusters = [\"ECSEsgaroth\"]\n")?;
    let script_started = (Instant::now(), SystemTime::now());
    let simulator = Simulator::start(Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        ecs_script: Some(script),
        ..Options::default()
    })
    .await?;
    println!(
        "{:.1} minutes, the poller and a bare timer",
        length.as_secs_f64() / 60.0
    );
    let log_path = folder.path().join("log");
    let child = program(env!("CARGO_BIN_EXE_hydrant"))
        .args(["metrics", "--for", &format!("{}ms", length.as_millis())])
        .arg("--config")
        .arg(&config)
        .env("AWS_ENDPOINT_URL", simulator.endpoint_url())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "bench")
        .env("AWS_SECRET_ACCESS_KEY", "bench")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log_path)?)
        .spawn()?;
    let timer = spawn_blocking(move || bare_timer(length));
    let memory = spawn_blocking(move || watch(child));
    let changes = follow_changes(&simulator, script_started, length).await?;
    let (memory, timer) = (memory.await??, timer.await??);

    let log = fs::read_to_string(&log_path)?;
    for line in log.lines().rev().take(2).collect::<Vec<_>>().iter().rev() {
        println!(
            "{}",
            line.split_once("INFO ").map_or(*line, |(_, said)| said)
        );
    }
    println!("bare timer: {}", percentiles(&timer));
    println!(
        "change in the cluster to accepted datum, {} changes: {}",
        changes.len(),
        percentiles(&changes)
    );
    let warm = memory
        .iter()
        .filter(|(at, _)| *at >= WARM_UP)
        .map(|(_, kib)| *kib);
    let (least, most) = warm.fold((u64::MAX, 0), |(low, high), kib| {
        (low.min(kib), high.max(kib))
    });
    let highest = memory.iter().map(|(_, kib)| *kib).max();
    print!("RSS: at most {} KiB", highest.unwrap_or(0));
    if most > 0 {
        print!("; after the first minute {least} to {most} KiB");
    }
    println!();
    let accounts = simulator.shutdown().await?;
    for metric in &accounts.metrics {
        let (seconds, repeated) = (metric.seconds(), metric.repeated_seconds());
        println!(
            "{}: {seconds} seconds, {repeated} of them twice",
            metric.name
        );
    }
    Ok(())
}

/// In milliseconds.
fn percentiles(durations: &Histogram<u64>) -> String {
    let ms =
        |quantile| Duration::from_micros(durations.value_at_quantile(quantile)).as_secs_f64() * 1e3;
    format!(
        "p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms",
        ms(0.5),
        ms(0.99),
        ms(0.999),
        ms(1.0)
    )
}

/// From each change in the cluster to the moment at which CloudWatch has a second that came after
/// it. The start of the script is taken a little early, so that no change looks quicker than it was.
async fn follow_changes(
    simulator: &Simulator,
    (started, started_at): (Instant, SystemTime),
    length: Duration,
) -> Result<Histogram<u64>> {
    let mut durations = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let rounds = (0_u32..).map(|round| f64::from(round) * LOOP_S);
    let changes =
        rounds.flat_map(|round_s| CHANGES_S.map(|at_s| Duration::from_secs_f64(round_s + at_s)));
    // The poller has to be there before the first, and after the last.
    let early = Duration::from_secs(5);
    for change in changes.skip_while(|change| *change < early) {
        if change + early > length {
            break;
        }
        tokio::time::sleep_until((started + change).into()).await;
        let changed_at = (started_at + change).duration_since(UNIX_EPOCH)?;
        let second = i64::try_from(changed_at.as_secs())? + 1;
        let is_there = || {
            let accounts = simulator.accounts();
            let running = accounts.metrics.iter().find(|it| it.name == "RunningTask");
            let newest = running.and_then(|metric| metric.runs.last());
            newest.is_some_and(|run| run.last >= second)
        };
        while !is_there() {
            ensure!(started.elapsed() < length + early, "a change never arrived");
            tokio::time::sleep(LOOK).await;
        }
        let took = started.elapsed().saturating_sub(change);
        durations.saturating_record(u64::try_from(took.as_micros())?);
    }
    Ok(durations)
}

/// Sleeps to each whole second, as the poller does, and does nothing else.
fn bare_timer(length: Duration) -> Result<Histogram<u64>> {
    let mut lateness = Histogram::new_with_bounds(1, 60_000_000, 2)?;
    let started = Instant::now();
    while started.elapsed() < length {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let second = Duration::from_secs(since.as_secs() + 1);
        std::thread::sleep(second.saturating_sub(since));
        let woken = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let late = woken.saturating_sub(second);
        lateness.saturating_record(u64::try_from(late.as_micros())?);
    }
    Ok(lateness)
}

/// The process's memory in KiB, until it ends well.
fn watch(mut child: Child) -> Result<Vec<(Duration, u64)>> {
    let started = Instant::now();
    let path = format!("/proc/{}/status", child.id());
    let mut memory = Vec::new();
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the poller: {status}");
            return Ok(memory);
        }
        let status = fs::read_to_string(&path)?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        if let Some(line) = line {
            let kib = line.split_whitespace().nth(1).context("no number")?;
            memory.push((started.elapsed(), kib.parse()?));
        }
        std::thread::sleep(RSS_INTERVAL);
    }
}
