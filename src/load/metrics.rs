//! `hydrant load metrics`: the poller against a simulator with as many clusters as are asked for.
//!
//! What lives here: the script of those clusters, the run, and what is concluded. What does not:
//! the poller that is measured ([`crate::ecs`]).

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use tempfile::TempDir;

use crate::config::cloudwatch::Interval;
use crate::config::{self, Metrics};
use crate::ecs::core::account::GapReason;
use crate::ecs::core::cadence::{CLUSTER_READS_PER_SECOND, Cadence, SERVICE_READS_PER_SECOND};
use crate::ecs::{self, CLUSTERS_A_CALL, PollerSummary, SERVICES_A_CALL, list_spacing};
use crate::signals::Signals;
use crate::sim::{Accounts, MetricAccount, Options as SimOptions, Simulator};
use crate::{Error, Exit, Failure, aws};

use super::machine::{cores, report_of};
use super::measure::record::{Latency, Totals, Wire};
use super::measure::verdict::{Limit, MissedRows};
use super::options::MetricsLoadOptions;
use super::report::text::{count, ms, percent, usd};
use super::report::{Answer, Figure, Headline, Parameter, Report};
use super::session::Session;

/// What the poller publishes of each cluster by default, and of each service.
const CLUSTER_METRICS: u64 = 4;
const SERVICE_METRICS: u64 = 3;

/// Runs `hydrant load metrics`.
///
/// # Errors
/// If the simulator or the poller cannot run, the report cannot be written, or a second arrived
/// twice or was lost. The report is written first.
pub(super) async fn run(options: &MetricsLoadOptions) -> Result<(), Error> {
    options.out.prepare()?;
    let folder = temporary_folder()?;
    let script = folder.path().join("clusters.toml");
    let written = std::fs::write(&script, script_of(options));
    written.map_err(|error| no_room(&error))?;
    let mut signals = Signals::new()?;
    let starting = Simulator::start(SimOptions {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        ecs_script: Some(script),
        ..SimOptions::default()
    });
    let Some(simulator) = signals.unless_stopped(starting).await else {
        return Ok(());
    };
    let simulator = simulator?;
    let config = poller_config(options, &simulator.endpoint_url())?;
    let made_up = aws::simulated_credentials();
    let mut session = Session::begin(options.out.out.is_some()).await;
    session.live.begin("load metrics", options.length);
    let polling = ecs::run_as(config, signals, Some(options.length), Some(made_up));
    let summary = watched(polling, &mut session, &simulator, options).await?;
    session.live.end();
    let took = session.elapsed();
    let accounts = simulator.shutdown().await?;
    let report = conclude(options, &session, took, &summary, &accounts);
    let lateness = summary.timings.named()[0].1.histogram();
    options
        .out
        .finish(&report, std::slice::from_ref(lateness))?;
    check(&summary, &accounts)
}

/// Waits for the poller, and books by the second what CloudWatch got meanwhile.
async fn watched(
    polling: impl Future<Output = Result<PollerSummary, Error>>,
    session: &mut Session,
    simulator: &Simulator,
    options: &MetricsLoadOptions,
) -> Result<PollerSummary, Error> {
    // The SDK's futures are large.
    let mut polling = Box::pin(polling);
    let per_second = planned_datums(options);
    let mut booked = 0;
    let mut close = |session: &mut Session| {
        let stored = simulator.stored_data();
        let second = session.recorder.second();
        let is_planned = f64::from(second) < options.length.as_secs_f64();
        session.recorder.accepted(stored - booked);
        booked = stored;
        let until = |second: u32| (f64::from(second) * per_second).floor() as u64;
        let intended = if is_planned {
            until(second + 1) - until(second)
        } else {
            0
        };
        let closed = session.close_second(intended, Wire::default(), (0, 0));
        session.live.second_of_datums(&closed, second + 1);
    };
    let summary = loop {
        let second_ends = session.instant(session.second_ends());
        tokio::select! {
            summary = &mut polling => break summary?,
            () = tokio::time::sleep_until(second_ends.into()) => close(session),
        }
    };
    // The last publishing is in a second that has only begun.
    close(session);
    Ok(summary)
}

/// Datums that the poller plans a second, on average: under ECS's quotas it samples many clusters and services less often
/// than every second.
fn planned_datums(options: &MetricsLoadOptions) -> f64 {
    let clusters = options.clusters as usize;
    let services = options.services as usize;
    let per_second = |calls: usize, quota: f64, lists: f64| {
        let cadence = Cadence::of(calls, Interval::ALL[0], options.ecs_share * quota, lists);
        // Without a cadence the poller refuses to start.
        cadence.map_or(0.0, |cadence| 1.0 / f64::from(cadence.interval.seconds()))
    };
    let lists = list_spacing(clusters, options.ecs_share * SERVICE_READS_PER_SECOND);
    let lists = clusters as f64 / lists.as_secs_f64();
    let of_clusters = per_second(
        clusters.div_ceil(CLUSTERS_A_CALL),
        CLUSTER_READS_PER_SECOND,
        0.0,
    );
    let of_services = match services {
        0 => 0.0,
        _ => per_second(
            clusters * services.div_ceil(SERVICES_A_CALL),
            SERVICE_READS_PER_SECOND,
            lists,
        ),
    };
    let datums = |count: usize, metrics: u64| (count as u64 * metrics) as f64;
    datums(clusters, CLUSTER_METRICS) * of_clusters
        + datums(clusters * services, SERVICE_METRICS) * of_services
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
fn check(summary: &PollerSummary, accounts: &Accounts) -> Result<(), Error> {
    if summary.ticks.sampled() == 0 && !summary.was_stopped {
        return Err(Error::Failure(ecs::no_sample(summary)));
    }
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
    session: &Session,
    took: Duration,
    summary: &PollerSummary,
    accounts: &Accounts,
) -> Report {
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
    let recorded = session.recorder.seconds.clone();
    let planned_seconds = recorded.len().min(options.length.as_secs() as usize);
    let totals = Totals::of(&recorded[..planned_seconds]);
    let ended = if is_whole {
        "as planned"
    } else {
        "stopped by a signal"
    };
    Report {
        headline: headline(summary, &latencies),
        answers: answers(options, summary, seconds, &latencies),
        figures: counted
            .iter()
            .map(|(name, value)| Figure::new(name, *value))
            .collect(),
        limit: Limit::of(
            &recorded,
            planned_seconds,
            cores() as f64,
            MissedRows::default(),
        ),
        planned_seconds: totals.seconds,
        totals,
        latencies,
        seconds: recorded,
        ..report_of(
            "metrics",
            "a simulated ECS and CloudWatch in this process",
            session.started_at,
            ended,
            parameters(options),
        )
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

fn headline(summary: &PollerSummary, latencies: &[Latency]) -> Headline {
    let ticks = &summary.ticks;
    let (intended, gaps) = (ticks.settled() as f64, ticks.gaps() as f64);
    let late = latencies.first().and_then(|latency| latency.at(99.0));
    Headline {
        value: ticks.sampled() as f64,
        unit: "sampled ticks".to_owned(),
        note: format!(
            "of {} intended, {} gaps, p99 of lateness {}",
            count(intended),
            count(gaps),
            late.map_or_else(|| "unknown".to_owned(), ms)
        ),
    }
}

fn answers(
    options: &MetricsLoadOptions,
    summary: &PollerSummary,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::options::OutOptions;

    #[test]
    fn what_is_planned_is_what_the_quotas_of_ecs_allow() {
        let planned = |clusters, services| {
            planned_datums(&MetricsLoadOptions {
                clusters,
                services,
                ecs_share: 0.5,
                length: Duration::from_mins(1),
                out: OutOptions {
                    out: None,
                    force: false,
                },
            })
        };
        let is = |planned: f64, datums: f64| assert!((planned - datums).abs() < 1e-9, "{planned}");
        is(planned(3, 0), 12.0);
        is(planned(3, 4), 12.0 + 36.0);
        // 40 calls for the services of 20 clusters, of which less than 10 a second may be made.
        is(planned(20, 20), 80.0 + 20.0 * 20.0 * 3.0 / 5.0);
    }
}
