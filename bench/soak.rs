//! `hydrant metrics` for half an hour against the simulator, beside a bare timer in the same run.
//!
//! What lives here: the cluster's script, the timer to compare with, the memory, and what CloudWatch
//! has got in the end. What does not: the poller, which runs as a process of its own, as users run it.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use hdrhistogram::Histogram;
use hydrant::sim::{Options, Simulator};
use tokio::task::spawn_blocking;

/// Changes four times in each round, at moments that wander through the second.
const CLUSTER: &str = r#"
    [[cluster]]
    name = "ECSEsgaroth"
    loop = 96.7
    steps = [
        { at = 0.0, running = 4, pending = 0, services = 2, instances = 2 },
        { at = 20.3, pending = 6 },
        { at = 23.6, running = 10, pending = 0 },
        { at = 70.1, running = 4 },
    ]
"#;
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

async fn run(length: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("clusters.toml");
    fs::write(&script, CLUSTER)?;
    let config = folder.path().join("metrics.toml");
    fs::write(&config, "metrics.clusters = [\"ECSEsgaroth\"]\n")?;
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
    let child = Command::new(env!("CARGO_BIN_EXE_hydrant"))
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
    let memory = spawn_blocking(move || watch(child)).await??;
    let timer = timer.await??;

    let log = fs::read_to_string(&log_path)?;
    for line in log.lines().rev().take(2).collect::<Vec<_>>().iter().rev() {
        println!(
            "{}",
            line.split_once("INFO ").map_or(*line, |(_, said)| said)
        );
    }
    let ms =
        |quantile| Duration::from_micros(timer.value_at_quantile(quantile)).as_secs_f64() * 1e3;
    println!(
        "bare timer: p50 {:.1}, p99 {:.1}, p99.9 {:.1}, most {:.1} ms",
        ms(0.5),
        ms(0.99),
        ms(0.999),
        ms(1.0)
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
