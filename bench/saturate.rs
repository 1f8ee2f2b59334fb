//! The Firehose client offered three times a stream's quota by a judge in the same process: in three
//! regimes, and with the quota halved in flight and given back.
//!
//! What lives here: the load, which is always more than the stream takes, and what the judge's
//! account and the process's memory say of it. What does not: the client, which is the agent's own.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use hydrant::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use hydrant::binlog::FilePosition;
use hydrant::config::limits::FirehoseQuota;
use hydrant::config::{Firehose, QuotaChoice, QuotaShare};
use hydrant::sim::{Counts, Options, QuotaSecond, Simulator};
use hydrant::sink::{Delivery, DeliveryStats, FirehoseSink, Sink as _};
use tokio::time::{MissedTickBehavior, interval, timeout};

const STREAM: &str = "Saturated";
const REGION: &str = "us-east-1";
/// What is offered, in quotas.
const OFFERED: f64 = 3.0;
/// Bytes that wait for the stream. What is offered beyond is held back, as the binlog is.
const MOST_WAITING: usize = 8 << 20;
/// Batches that wait, however small.
const MOST_BATCHES: usize = 4_000;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// Memory may still grow in the first part of a run.
const WARM_UP: Duration = Duration::from_secs(10);
/// A quota counts as used again above this.
const BACK: f64 = 0.95;

/// Saturates a stream with tiny records, with requests, with bytes, and while its quota changes.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each run is.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only runs whose name has this in it: records, requests, bytes, halved.
    #[arg(long)]
    only: Option<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    /// Bytes of a row.
    row_bytes: usize,
    /// Whether each row is a record.
    is_row_a_record: bool,
    /// Records in a request, at most.
    records: usize,
}

const RECORDS: Traffic = Traffic {
    row_bytes: 8,
    is_row_a_record: true,
    records: 500,
};
const REQUESTS: Traffic = Traffic {
    row_bytes: 200,
    is_row_a_record: true,
    records: 1,
};
const BYTES: Traffic = Traffic {
    row_bytes: 100,
    is_row_a_record: false,
    records: 500,
};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        return again_with_credentials();
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let third = arguments.seconds / 3;
    let runs = [
        ("many tiny records", RECORDS, None),
        ("many requests", REQUESTS, None),
        ("many bytes", BYTES, None),
        ("many bytes, quota halved", BYTES, Some((third, 2 * third))),
    ];
    for (name, traffic, halved) in runs {
        if arguments
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only))
        {
            runtime.block_on(Box::pin(saturate(name, traffic, arguments.seconds, halved)))?;
        }
    }
    Ok(())
}

/// The SDK wants credentials, and the environment of a running process cannot be changed safely.
fn again_with_credentials() -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env("AWS_ACCESS_KEY_ID", "bench")
        .env("AWS_SECRET_ACCESS_KEY", "bench")
        .status()?;
    ensure!(status.success(), "the bench: {status}");
    Ok(())
}

async fn saturate(
    name: &str,
    traffic: Traffic,
    seconds: u64,
    halved: Option<(u64, u64)>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let quota = FirehoseQuota::of_region(REGION);
    let faults = folder.path().join("faults.toml");
    if let Some((from, until)) = halved {
        let (requests, records, bytes) = (quota.requests / 2, quota.records / 2, quota.bytes / 2);
        let fault = format!(
            "[[fault]]\nfrom = {from}\nuntil = {until}\nquota = {{ bytes = \"{bytes} B\", \
             requests = {requests}, records = {records} }}\n"
        );
        fs::write(&faults, fault)?;
    }
    let simulator = Simulator::start(Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        streams: vec![STREAM.parse().map_err(anyhow::Error::msg)?],
        faults: halved.map(|_| faults),
        ..Options::default()
    })
    .await?;
    // As the simulator counts it, the fault's clock begins here, give or take some milliseconds.
    let started_s = jiff::Timestamp::now().as_second();
    let sink = FirehoseSink::connect(&Firehose {
        streams: vec![STREAM.to_owned()],
        expected: Vec::new(),
        region: Some(REGION.to_owned()),
        endpoint: Some(simulator.endpoint_url()),
        quota: QuotaChoice::Region {
            requests_per_second: None,
            records_per_second: None,
            bytes_per_second: None,
        },
        quota_share: QuotaShare::WHOLE,
        patience: Duration::ZERO,
    })
    .await?;
    let (stats, memory) = offer(sink, traffic, seconds, &quota).await?;
    let accounts = simulator.shutdown().await?;
    let account = accounts.streams.get(STREAM).context("no account")?;
    println!("{name}, {seconds} s:");
    told(&account.seconds, &account.total, &quota, started_s, halved);
    println!(
        "  billed {:.4} bytes for each byte; {} attempts, {} failed, {} asked for a slower pace",
        stats.billed_ratio(),
        stats.attempts,
        stats.attempts_failed,
        stats.slow_downs
    );
    let warm = memory.iter().filter(|(at, _)| *at >= WARM_UP);
    let warm: Vec<u64> = warm.map(|(_, kib)| *kib).collect();
    let most = memory.iter().map(|(_, kib)| *kib).max().unwrap_or(0);
    print!("  RSS with the simulator: at most {most} KiB");
    if let (Some(low), Some(high)) = (warm.iter().min(), warm.iter().max()) {
        print!("; after 10 s {low} to {high} KiB");
    }
    println!();
    Ok(())
}

/// Keeps the stream's line full, at three times the quota.
async fn offer(
    sink: FirehoseSink,
    traffic: Traffic,
    seconds: u64,
    quota: &FirehoseQuota,
) -> Result<(DeliveryStats, Vec<(Duration, u64)>)> {
    let mut limits = sink.profile().limits;
    limits.records = traffic.records;
    if traffic.is_row_a_record {
        limits.record_bytes = traffic.row_bytes;
        limits.bytes = traffic.row_bytes * traffic.records;
        limits.step_bytes = 1;
    }
    let mut delivery = Delivery::new(sink, 1);
    let length = Duration::from_secs(seconds);
    let started = Instant::now();
    let mut id = 0;
    let (mut waiting, mut waiting_bytes) = (0_usize, 0_usize);
    // In seconds of the binding quota.
    let mut offered = 0.0;
    let mut memory = Vec::new();
    let mut sample = interval(SAMPLE_INTERVAL);
    sample.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while started.elapsed() < length {
        while waiting_bytes < MOST_WAITING
            && waiting < MOST_BATCHES
            && offered < OFFERED * started.elapsed().as_secs_f64()
        {
            id += 1;
            let batch = batch(id, traffic, &limits)?;
            offered += part_of(&batch, quota);
            waiting += 1;
            waiting_bytes += batch.bytes().len();
            delivery.push(batch);
        }
        tokio::select! {
            delivered = delivery.next(), if waiting > 0 => {
                waiting -= 1;
                waiting_bytes -= delivered?.bytes;
            }
            _ = sample.tick() => memory.push((started.elapsed(), rss_kib()?)),
        }
    }
    // What is on its way may arrive.
    let _ = timeout(Duration::from_secs(1), async {
        while delivery.next().await.is_ok() {}
    })
    .await;
    Ok((delivery.stats(), memory))
}

/// A full batch.
fn batch(id: u64, traffic: Traffic, limits: &BatchLimits) -> Result<SealedBatch> {
    let first = RowPlace {
        transaction: FilePosition::new("binlog.000001", 4),
        gtid: None,
        ordinal: id,
        commit_time_us: 0,
    };
    let mut batch = Batch::new(id, 0, first, Instant::now());
    loop {
        let start = batch.len();
        if start + traffic.row_bytes > limits.bytes {
            return Ok(batch.seal());
        }
        let text_len = traffic.row_bytes - 1;
        batch.buffer().resize(start + text_len, b'x');
        batch.buffer().push(b'\n');
        ensure!(batch.row_written(start, limits)?.is_none(), "does not fit");
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn part_of(batch: &SealedBatch, quota: &FirehoseQuota) -> f64 {
    let bytes = batch.bytes().len() as f64 / quota.bytes as f64;
    let records = batch.record_count() as f64 / f64::from(quota.records);
    bytes.max(records).max(1.0 / f64::from(quota.requests))
}

/// How much of the quota that is used most a second has used.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn used(counts: &Counts, quota: &FirehoseQuota) -> f64 {
    let parts = [
        counts.admitted_bytes as f64 / quota.bytes as f64,
        counts.admitted_records as f64 / f64::from(quota.records),
        counts.admitted_requests as f64 / f64::from(quota.requests),
    ];
    parts.into_iter().fold(0.0, f64::max)
}

/// Prints what the judge counted.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn told(
    seconds: &[QuotaSecond],
    total: &Counts,
    quota: &FirehoseQuota,
    started_s: i64,
    halved: Option<(u64, u64)>,
) {
    // The first second and the last two are not whole.
    let whole = &seconds[1..seconds.len().saturating_sub(2).max(1)];
    let uses: Vec<(i64, f64)> = whole
        .iter()
        .map(|second| (second.second - started_s, used(&second.counts, quota)))
        .collect();
    let mean = |from: i64, to: i64| {
        let within = uses.iter().filter(|(at, _)| (from..to).contains(at));
        let (count, sum) = within.fold((0, 0.0), |(count, sum), (_, used)| (count + 1, sum + used));
        100.0 * sum / f64::from(count.max(1))
    };
    let most = uses.iter().map(|(_, used)| *used).fold(0.0, f64::max);
    let over = uses.iter().filter(|(_, used)| *used > 1.0).count();
    let records = total.refused_records + total.admitted_records;
    let throttled = 100.0 * total.refused_records as f64 / records.max(1) as f64;
    println!(
        "  {} records throttled of {records}, {throttled:.4} %",
        total.refused_records
    );
    let Some((from, until)) = halved.map(|(from, until)| (from.cast_signed(), until.cast_signed()))
    else {
        println!(
            "  {:.2} % of the binding quota used; {over} of {} seconds over it, at most {:.2} %",
            mean(0, i64::MAX),
            uses.len(),
            100.0 * most
        );
        return;
    };
    let refused = |from: i64, to: i64| -> Vec<i64> {
        let within = seconds
            .iter()
            .filter(|second| second.counts.refused_records > 0);
        let within = within.map(|second| second.second - started_s);
        within.filter(|at| (from..to).contains(at)).collect()
    };
    println!(
        "  used {:.2} % before, {:.2} % of the half from 5 s on",
        mean(0, from),
        2.0 * mean(from + 5, until)
    );
    println!(
        "  halved at {from} s, returned at {until} s; seconds with refusals: {:?}, after the return \
         {:?}",
        refused(0, until),
        refused(until, i64::MAX)
    );
    let back = uses.iter().find(|(at, used)| *at > until && *used >= BACK);
    match back {
        Some((at, _)) => println!(
            "  above {:.0} % again {} s after the return",
            100.0 * BACK,
            at - until
        ),
        None => println!("  not above {:.0} % again", 100.0 * BACK),
    }
    let over = uses.iter().filter(|(at, used)| {
        let is_halved = (from + 2..until).contains(at);
        *used > if is_halved { 0.5 } else { 1.0 }
    });
    println!(
        "  {} seconds over the quota of the time, from 2 s after the halving on",
        over.count()
    );
}

/// This process's memory.
fn rss_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no VmRSS")?.parse()?)
}
