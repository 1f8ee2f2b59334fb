//! The scene of `hydrant metrics`: a cluster scales out and in, the poller follows, and what it
//! published is read back beside a 60-second metric of the same.
//!
//! What lives here: the scene. The cluster's script is `demo/clusters.toml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy};
use tokio::time::sleep;

use crate::hydrant::Hydrant;
use crate::process::Guard;
use crate::short;

const CLUSTER: &str = "ECSEsgaroth";
/// As long as the script has something to show.
const SHOW: Duration = Duration::from_secs(20);
/// How long a process may take to stop in good order.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often CloudWatch is asked for what is new.
const LOOK: Duration = Duration::from_millis(200);
const METRICS: [&str; 2] = ["RunningTask", "PendingTask"];

/// Plays the scene.
pub(crate) async fn show(project: &Path, data: &Path) -> Result<()> {
    let hydrant = Hydrant::new(data)?;
    let guard = Guard::new(data)?;
    let script = project.join("demo/clusters.toml");
    let script = script.to_str().context("the project's path is not UTF-8")?;
    let (simulator, endpoint) = hydrant
        .start_simulator(&guard, "clusters", &["--ecs-script", script])
        .await?;
    fs::write(
        hydrant.metrics_config(),
        format!("# Written by `make demo`.\n[metrics]\nclusters = [\"{CLUSTER}\"]\n"),
    )?;
    let mut poller = hydrant.start_poller(&guard, &endpoint)?;
    let cloudwatch = client(&endpoint);

    let started = Instant::now();
    let mut known: BTreeMap<i64, [f64; METRICS.len()]> = BTreeMap::new();
    while started.elapsed() < SHOW {
        poller.ensure_running()?;
        sleep(LOOK).await;
        let before = known.last_key_value().map(|(_, values)| *values);
        let last = known.last_key_value().map_or(0, |(second, _)| *second);
        known.extend(read(&cloudwatch, 1, "Maximum").await?);
        tell_changes(before, known.range(last + 1..));
    }
    poller.terminate(STOP_LIMIT).await?;
    known.extend(read(&cloudwatch, 1, "Maximum").await?);
    let minutes = read(&cloudwatch, 60, "Average").await?;
    simulator.terminate(STOP_LIMIT).await?;

    let first = known.keys().next().context("nothing was published")?;
    let last = known.keys().last().context("nothing was published")?;
    let seconds = last.abs_diff(*first) + 1;
    match seconds - known.len() as u64 {
        0 => println!("   all {seconds} seconds are in CloudWatch, each with its own value"),
        gaps => println!(
            "   {gaps} of {seconds} seconds are gaps, because this machine was busy: see {}",
            short(&hydrant.poller_log())
        ),
    }
    let running = known.values().map(|values| values[0]);
    let (lowest, highest) = running.fold((f64::MAX, 0.0_f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let averages: Vec<_> = minutes
        .values()
        .map(|values| format!("{:.1}", values[0]))
        .collect();
    println!(
        "   RunningTask went from {lowest:.0} to {highest:.0} and back; a 60-second metric shows {}",
        averages.join(", then ")
    );
    Ok(())
}

/// Says what has changed since the values before.
fn tell_changes<'v>(
    mut before: Option<[f64; METRICS.len()]>,
    seconds: impl Iterator<Item = (&'v i64, &'v [f64; METRICS.len()])>,
) {
    for (second, values) in seconds {
        if before != Some(*values) {
            let [running, pending] = values;
            println!(
                "   {}  RunningTask {running:2}  PendingTask {pending:2}  {}",
                clock(*second),
                "█".repeat(bar(*running)) + &"░".repeat(bar(*pending))
            );
        }
        before = Some(*values);
    }
}

fn bar(count: f64) -> usize {
    // A demo's counts are small.
    format!("{count:.0}").parse().unwrap_or(0)
}

/// The time of day, in UTC.
fn clock(second: i64) -> String {
    let day = second.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", day / 3_600, day / 60 % 60, day % 60)
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("demo", "demo", None, None, "demo"))
        .endpoint_url(endpoint);
    Client::from_conf(config.build())
}

/// What CloudWatch has of both metrics, by the start of each period.
async fn read(
    cloudwatch: &Client,
    period_s: i32,
    stat: &str,
) -> Result<BTreeMap<i64, [f64; METRICS.len()]>> {
    let now = std::time::SystemTime::now();
    let hour = Duration::from_hours(1);
    let mut request = cloudwatch
        .get_metric_data()
        .start_time(DateTime::from(now - hour))
        .end_time(DateTime::from(now + hour))
        .scan_by(ScanBy::TimestampAscending);
    for (index, name) in METRICS.iter().enumerate() {
        let cluster = Dimension::builder().name("ClusterName").value(CLUSTER);
        let metric = Metric::builder()
            .namespace("ECS")
            .metric_name(*name)
            .dimensions(cluster.build());
        let stat = MetricStat::builder()
            .metric(metric.build())
            .period(period_s)
            .stat(stat);
        let query = MetricDataQuery::builder()
            .id(format!("m{index}"))
            .metric_stat(stat.build());
        request = request.metric_data_queries(query.build());
    }
    let answer = request.send().await?;
    let mut read: BTreeMap<i64, [f64; METRICS.len()]> = BTreeMap::new();
    for (index, result) in answer.metric_data_results().iter().enumerate() {
        for (at, value) in result.timestamps().iter().zip(result.values()) {
            read.entry(at.secs()).or_default()[index] = *value;
        }
    }
    Ok(read)
}
