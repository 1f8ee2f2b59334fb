//! `hydrant load metrics`: the poller against a simulator with as many clusters as are asked for.
//!
//! What lives here: the script of those clusters, the run, and what is concluded. What does not:
//! the poller that is measured ([`crate::ecs`]).

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::config::{self, Metrics};
use crate::ecs::account::GapReason;
use crate::ecs::{self, Summary};
use crate::sim::{Accounts, MetricAccount, Options as SimOptions, Simulator};
use crate::{Error, Exit, Failure};

use super::findings::{Findings, figures};
use super::machine::{machine, revision};
use super::options::MetricsLoadOptions;
use super::output;
use super::record::Latency;
use super::report::{Answer, FORMAT, Parameter};
use super::text::{count, ms, percent, usd};

/// Runs `hydrant load metrics`.
///
/// # Errors
/// If the simulator or the poller cannot run, the report cannot be written, or a second arrived
/// twice or was lost. The report is written first.
pub(super) async fn run(options: &MetricsLoadOptions) -> Result<(), Error> {
    let folder = temporary_folder()?;
    let script = folder.path().join("clusters.toml");
    let written = std::fs::write(&script, script_of(options));
    written.map_err(|error| no_room(&error))?;
    let simulator = Simulator::start(SimOptions {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        ecs_script: Some(script),
        ..SimOptions::default()
    })
    .await?;
    let config = poller_config(options, &simulator.endpoint_url())?;
    let started_at = Timestamp::now();
    // The simulator takes any, so that nobody needs an account to try this.
    let made_up = Credentials::new("simulator", "simulator", None, None, "hydrant load");
    let made_up = SharedCredentialsProvider::new(made_up);
    let started = Instant::now();
    // The SDK's futures are large.
    let summary = Box::pin(ecs::run_as(
        config,
        false,
        Some(options.length),
        Some(made_up),
    ))
    .await?;
    let took = started.elapsed();
    let accounts = simulator.shutdown().await?;
    let findings = conclude(options, (started_at, took), &summary, &accounts);
    if let Some(folder) = &options.out {
        output::write_findings(folder, &findings)?;
    }
    print!("{}", findings.summary());
    check(&summary, &accounts)
}

fn temporary_folder() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(|error| no_room(&error))
}

fn no_room(error: &std::io::Error) -> Failure {
    let what = format!("cannot write to a temporary folder: {error}");
    Failure::definite(Exit::Unavailable, what, "free the disk, or set TMPDIR")
}

fn cluster_name(number: u32) -> String {
    format!("load-{number:05}")
}

/// Clusters that change every two seconds, so that there are changes to publish at once.
fn script_of(options: &MetricsLoadOptions) -> String {
    let mut script = String::new();
    for number in 0..options.clusters {
        let (name, services) = (cluster_name(number), options.services);
        // Writing to a string cannot fail.
        let _ = writeln!(
            script,
            "[[cluster]]\nname = \"{name}\"\nloop = 4\nsteps = [\n  \
             {{ at = 0, running = 40, pending = 0, services = {services}, fargate = 1.0 }},\n  \
             {{ at = 2, running = 70, pending = 5 }},\n]"
        );
    }
    script
}

/// The poller's own defaults, for these clusters and this endpoint.
fn poller_config(options: &MetricsLoadOptions, endpoint: &str) -> Result<Metrics, Error> {
    let names: Vec<String> = (0..options.clusters)
        .map(|number| format!("\"{}\"", cluster_name(number)))
        .collect();
    let text = format!(
        "[metrics]\nregion = \"us-east-1\"\nclusters = [{}]\nservices = {}\necs_share = {:?}\n\
         ecs_endpoint = \"{endpoint}\"\ncloudwatch_endpoint = \"{endpoint}\"\n",
        names.join(", "),
        options.services > 0,
        options.ecs_share,
    );
    Ok(config::written_metrics(&text)?)
}

/// Seconds that CloudWatch got more than once.
fn repeated_seconds(accounts: &Accounts) -> u64 {
    let metrics = accounts.metrics.iter();
    metrics.map(MetricAccount::repeated_seconds).sum()
}

/// What the poller says that it published is what arrived, and nothing of it twice.
fn check(summary: &Summary, accounts: &Accounts) -> Result<(), Error> {
    let repeated = repeated_seconds(accounts);
    let arrived: u64 = accounts.metrics.iter().map(|metric| metric.data).sum();
    let published = summary.datums.published;
    if repeated == 0 && arrived == published {
        return Ok(());
    }
    Err(Error::Failure(Failure::definite(
        Exit::Data,
        format!(
            "{published} datums were published and {arrived} arrived; {repeated} seconds arrived more than once"
        ),
        "report this with the result.json of --out; it is a defect of hydrant",
    )))
}

fn conclude(
    options: &MetricsLoadOptions,
    (started_at, took): (Timestamp, Duration),
    summary: &Summary,
    accounts: &Accounts,
) -> Findings {
    let (ticks, datums, calls) = (&summary.ticks, &summary.datums, &summary.calls);
    let seconds = took.as_secs_f64();
    let is_whole = took >= options.length;
    let mut counted = vec![
        ("intended ticks", ticks.settled() as f64),
        ("sampled ticks", ticks.sampled() as f64),
        ("gaps", ticks.gaps() as f64),
        ("published datums", datums.published as f64),
        ("dropped datums", datums.dropped() as f64),
        (
            "seconds that arrived twice",
            repeated_seconds(accounts) as f64,
        ),
        ("metrics", accounts.metrics.len() as f64),
        (
            "calls of ECS",
            (calls.total() - calls.put_metric_data) as f64,
        ),
        ("calls of PutMetricData", calls.put_metric_data as f64),
        ("US dollars a day", summary.usd_per_day),
    ];
    let gaps = GapReason::ALL.map(|reason| (reason, ticks.gaps_by(reason)));
    let gap_names = gaps.map(|(reason, _)| format!("gaps: {}", reason.as_str()));
    for ((_, count), name) in gaps.iter().zip(&gap_names) {
        if *count > 0 {
            counted.push((name, *count as f64));
        }
    }
    let timings = &summary.timings;
    let latencies: Vec<Latency> = timings
        .named()
        .map(|(name, durations)| Latency::of(name, durations.histogram()))
        .to_vec();
    Findings {
        format: FORMAT,
        kind: "metrics".to_owned(),
        target: "a simulated ECS and CloudWatch in this process".to_owned(),
        started_at: format!("{started_at:.0}"),
        ended: if is_whole {
            "as planned"
        } else {
            "stopped by a signal"
        }
        .to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision(),
        machine: machine(),
        parameters: parameters(options),
        answers: answers(options, summary, seconds, &latencies),
        figures: figures(&counted),
        latencies,
    }
}

fn parameters(options: &MetricsLoadOptions) -> Vec<Parameter> {
    let seconds = format!("{} s", options.length.as_secs_f64());
    let all = [
        ("--clusters", options.clusters.to_string()),
        ("--services", options.services.to_string()),
        ("--ecs-share", options.ecs_share.to_string()),
        ("--for", seconds),
    ];
    all.map(|(name, value)| Parameter {
        name: name.to_owned(),
        value,
    })
    .to_vec()
}

fn answers(
    options: &MetricsLoadOptions,
    summary: &Summary,
    seconds: f64,
    latencies: &[Latency],
) -> Vec<Answer> {
    let ticks = &summary.ticks;
    let (intended, sampled) = (ticks.settled() as f64, ticks.sampled() as f64);
    let mut reasons = GapReason::ALL.to_vec();
    reasons.retain(|reason| ticks.gaps_by(*reason) > 0);
    reasons.sort_by_key(|reason| std::cmp::Reverse(ticks.gaps_by(*reason)));
    let worst = reasons.first().map_or(String::new(), |reason| {
        let (count, reason) = (count(ticks.gaps_by(*reason) as f64), reason.as_str());
        format!("; most gaps ({count}) were {reason}")
    });
    let first = latencies.first().and_then(|latency| latency.at(99.0));
    let late = first.map_or_else(|| "unknown".to_owned(), ms);
    let calls = summary.calls.total() as f64;
    let each = [
        (
            "How many ticks were sampled?",
            format!(
                "{} of {} ({}), {} a second{worst}. The 99th percentile of lateness is {late}.",
                count(sampled),
                count(intended),
                percent(sampled / intended.max(1.0)),
                count(sampled / seconds.max(1.0)),
            ),
        ),
        (
            "What does it cost?",
            format!(
                "{} calls in {} s for {} clusters with {} services each: {} a day at this rate.",
                count(calls),
                count(seconds),
                options.clusters,
                options.services,
                usd(summary.usd_per_day)
            ),
        ),
    ];
    each.map(|(question, answer)| Answer {
        question: question.to_owned(),
        answer,
    })
    .to_vec()
}
