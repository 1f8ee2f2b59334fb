//! What the status server shows of the poller: the sampled values, and the poller's own numbers.
//!
//! What lives here: names and values. What does not: the server, and how Prometheus reads them ([`crate::status`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::cloudwatch::{
    Interval, LAUNCH_TYPE_DIMENSION, PROVIDER_DIMENSION, SERVICE_DIMENSION,
};
use crate::status::families::{Family, Labels};

use super::core::account::{Calls, DropReason, GapReason};
use super::core::metric::MetricKey;
use super::core::schedule::Now;
use super::sampler::Sampler;
use super::shared::Shared;
use super::summary::PollerSummary;
use super::target::Target;
use super::timing::{Durations, Timings};

/// A value that is older than so many intervals, and than [`LEAST_AGE`], is not shown: it is not how things are.
const MOST_INTERVALS: u32 = 3;
const LEAST_AGE: Duration = Duration::from_secs(5);

/// What CloudWatch and Prometheus call a sampled value.
const SAMPLED: [(&str, &str, &str); 9] = [
    ("RunningTask", "running_tasks", "Tasks that run"),
    ("PendingTask", "pending_tasks", "Tasks that are pending"),
    (
        "ActiveServices",
        "active_services",
        "Services that are ACTIVE",
    ),
    (
        "RegisteredContainerInstances",
        "registered_container_instances",
        "Container instances",
    ),
    ("DesiredTask", "desired_tasks", "Tasks that are desired"),
    (
        "DeploymentCount",
        "deployments",
        "Deployments that ECS lists",
    ),
    (
        "RolloutState",
        "rollout_state",
        "Rollout of the PRIMARY deployment, 0 COMPLETED, 1 IN_PROGRESS, 2 FAILED",
    ),
    (
        "FailedTask",
        "failed_tasks",
        "Consecutively failed tasks of the PRIMARY deployment",
    ),
    (
        "MissingTask",
        "missing_tasks",
        "Desired minus running tasks",
    ),
];

/// What values are of, if it is not a whole cluster: the dimension of CloudWatch, what comes into the name and is the label, and
/// what people call it. Names differ, so that the sum over all labels of one makes sense.
const PARTS: [(&str, &str, &str); 3] = [
    (SERVICE_DIMENSION, "service", "each service"),
    (
        PROVIDER_DIMENSION,
        "capacity_provider",
        "each capacity provider",
    ),
    (LAUNCH_TYPE_DIMENSION, "launch_type", "each launch type"),
];

/// Upper bounds of the buckets of durations, in milliseconds.
const BOUNDS_MS: [u32; 13] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000,
];

/// Everything that is shown now.
pub(super) fn families(
    shared: &Shared,
    sampler: &Sampler,
    summary: &PollerSummary,
    now: Now,
) -> Vec<Family> {
    let mut families = sampled(shared, sampler, now.monotonic);
    families.extend(counted(summary));
    families.extend(backlogs(shared, now));
    families.extend(timed(&summary.timings));
    families
}

/// The sampled values that are as things are now: not those of what is gone, or could not be sampled of late.
fn sampled(shared: &Shared, sampler: &Sampler, now: Instant) -> Vec<Family> {
    let mut families = BTreeMap::new();
    for scheduled in sampler.polled() {
        let outlet = &shared.outlets[scheduled.place];
        let role = shared.config.groups[scheduled.place].role.as_ref();
        let own = [
            ("region", outlet.clients.region.as_str()),
            ("role", role.map_or("", |role| role.arn.as_str())),
        ];
        for series in scheduled.targets.iter().flat_map(Target::series) {
            let Some((at, value)) = outlet.backlog.latest(*series) else {
                continue;
            };
            if now.saturating_duration_since(at) <= oldest_shown(scheduled.interval) {
                let key = outlet.backlog.key(*series);
                add(
                    &mut families,
                    key,
                    &shared.config.cluster_dimension,
                    &own,
                    value,
                );
            }
        }
    }
    families.into_values().collect()
}

fn oldest_shown(interval: Interval) -> Duration {
    LEAST_AGE.max(interval.duration() * MOST_INTERVALS)
}

/// Adds a sampled value to the family of its name.
fn add(
    families: &mut BTreeMap<String, Family>,
    key: &MetricKey,
    cluster_dimension: &str,
    own: &Labels<'_>,
    value: f64,
) {
    let Some((_, suffix, help)) = SAMPLED.iter().find(|(name, ..)| *name == key.name()) else {
        return;
    };
    let of = |wanted: &str| {
        let mut dimensions = key.dimensions().iter();
        let found = dimensions.find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let mut labels = own.to_vec();
    labels.push(("cluster", of(cluster_dimension).unwrap_or_default()));
    let mut parts = PARTS.iter();
    let part = parts.find_map(|(dimension, label, what)| Some((label, what, of(dimension)?)));
    let (name, whose) = match part {
        None => (format!("hydrant_ecs_{suffix}"), "each cluster"),
        Some((label, what, value)) => {
            labels.push((label, value));
            (format!("hydrant_ecs_{label}_{suffix}"), *what)
        }
    };
    let help = format!("{help}, of {whose}.");
    let new = || Family::gauge(&name, &help);
    let family = families.entry(name.clone()).or_insert_with(new);
    family.add(&labels, value);
}

/// What was counted since the start.
fn counted(summary: &PollerSummary) -> Vec<Family> {
    let mut ticks = Family::counter(
        "hydrant_ticks_total",
        "Scheduled samples of each cluster, service and capacity provider: sampled, or the reason of the gap.",
    );
    ticks.add_count(&[("result", "sampled")], summary.ticks.sampled());
    for reason in GapReason::ALL {
        let count = summary.ticks.gaps_by(reason);
        ticks.add_count(&[("result", reason.as_str())], count);
    }
    let mut skipped = Family::counter(
        "hydrant_ticks_skipped_total",
        "Samples that the wall clock jumped over when it was set forward.",
    );
    skipped.add_count(&[], summary.ticks.skipped());
    let datums = &summary.datums;
    let mut offered = Family::counter("hydrant_datums_total", "Values that were sampled.");
    offered.add_count(&[], datums.offered);
    let mut published = Family::counter(
        "hydrant_datums_published_total",
        "Values that CloudWatch has accepted.",
    );
    published.add_count(&[], datums.published);
    let mut dropped = Family::counter(
        "hydrant_datums_dropped_total",
        "Values that will not be published.",
    );
    for reason in DropReason::ALL {
        dropped.add_count(&[("reason", reason.as_str())], datums.dropped_by(reason));
    }
    let mut ambiguous = Family::counter(
        "hydrant_datums_unanswered_total",
        "Values in requests without an answer, which CloudWatch may have twice.",
    );
    ambiguous.add_count(&[], datums.ambiguous);
    let mut usd = Family::gauge(
        "hydrant_cost_usd_per_day",
        "Dollars a day at the rate of the requests so far.",
    );
    usd.add(&[], summary.usd_per_day);
    let mut families = vec![ticks, skipped, offered, published, dropped, ambiguous, usd];
    families.extend(called(&summary.calls));
    families
}

fn called(calls: &Calls) -> [Family; 2] {
    let mut api = Family::counter(
        "hydrant_api_calls_total",
        "Requests that were sent to AWS, whatever came of them.",
    );
    for (call, count) in calls.named() {
        api.add_count(&[("call", call)], count);
    }
    let mut throttles = Family::counter(
        "hydrant_api_throttles_total",
        "Requests that AWS has throttled.",
    );
    throttles.add_count(&[("service", "ecs")], calls.throttled_reads);
    throttles.add_count(&[("service", "cloudwatch")], calls.throttled_puts);
    [api, throttles]
}

/// What waits for CloudWatch, by where it goes.
fn backlogs(shared: &Shared, now: Now) -> [Family; 2] {
    let mut waiting = Family::gauge(
        "hydrant_backlog_datums",
        "Values that wait for CloudWatch, without those in requests on their way.",
    );
    let mut age = Family::gauge(
        "hydrant_backlog_oldest_age_seconds",
        "Age of the oldest value that waits; 0 if none does.",
    );
    for (outlet, group) in shared.outlets.iter().zip(&shared.config.groups) {
        let role = group.role.as_ref().map_or("", |role| role.arn.as_str());
        let labels = [("region", outlet.clients.region.as_str()), ("role", role)];
        let count = u64::try_from(outlet.backlog.waiting()).unwrap_or(u64::MAX);
        waiting.add_count(&labels, count);
        let oldest = outlet.backlog.oldest();
        let age_s = oldest.map_or(0, |oldest| now.second().saturating_sub(oldest).max(0));
        age.add_count(&labels, age_s.unsigned_abs());
    }
    [waiting, age]
}

fn timed(timings: &Timings) -> [Family; 4] {
    [
        (
            "hydrant_tick_lateness_seconds",
            "From the second of a tick to the start of its poll.",
            &timings.lateness,
        ),
        (
            "hydrant_poll_duration_seconds",
            "From the start of a poll of ECS to its end.",
            &timings.poll,
        ),
        (
            "hydrant_publish_duration_seconds",
            "From the start of a PutMetricData to its end.",
            &timings.publish,
        ),
        (
            "hydrant_change_latency_seconds",
            "From the second of a changed value to its acceptance by CloudWatch.",
            &timings.change,
        ),
    ]
    .map(|(name, help, durations)| distribution(name, help, durations))
}

fn distribution(name: &str, help: &str, durations: &Durations) -> Family {
    let histogram = durations.histogram();
    let at_most = BOUNDS_MS.map(|ms| {
        let bound = f64::from(ms) / 1e3;
        (bound, histogram.count_between(0, u64::from(ms) * 1_000))
    });
    let mut family = Family::histogram(name, help);
    family.add_distribution(&at_most, histogram.len(), durations.sum_s());
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::families::text;

    #[test]
    fn a_cluster_s_numbers_and_those_of_its_parts_have_names_of_their_own() {
        let mut families = BTreeMap::new();
        let cluster = ("Name", "Web");
        for (metric, dimensions) in [
            ("RunningTask", vec![cluster, ("Stage", "test")]),
            ("RunningTask", vec![cluster, ("ServiceName", "cart")]),
            ("RolloutState", vec![cluster, ("ServiceName", "cart")]),
            ("PendingTask", vec![cluster, ("LaunchType", "EC2")]),
            ("RunningTask", vec![cluster, ("CapacityProvider", "spot")]),
            ("hydrant_ticks_total", vec![("result", "gap")]),
        ] {
            let key = MetricKey::new(metric, &dimensions).unwrap();
            let own = [("region", "us-east-1"), ("role", "")];
            add(&mut families, &key, "Name", &own, 2.0);
        }
        let text = text(families.into_values().collect()).unwrap();
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let web = r#"region="us-east-1",cluster="Web""#;
        let expected = [
            format!(
                r#"hydrant_ecs_capacity_provider_running_tasks{{{web},capacity_provider="spot"}} 2"#
            ),
            format!(r#"hydrant_ecs_launch_type_pending_tasks{{{web},launch_type="EC2"}} 2"#),
            format!(r"hydrant_ecs_running_tasks{{{web}}} 2"),
            format!(r#"hydrant_ecs_service_rollout_state{{{web},service="cart"}} 2"#),
            format!(r#"hydrant_ecs_service_running_tasks{{{web},service="cart"}} 2"#),
        ];
        assert_eq!(values, expected);
        assert!(
            text.contains("# HELP hydrant_ecs_running_tasks Tasks that run, of each cluster.\n")
        );
    }

    #[test]
    fn every_published_metric_has_a_name_for_prometheus() {
        use super::super::poll_query::{
            CLUSTER_METRICS, DEPLOYMENT_METRICS, PROVIDER_METRICS, SERVICE_METRICS,
        };
        let all = [
            &CLUSTER_METRICS[..],
            &SERVICE_METRICS,
            &DEPLOYMENT_METRICS,
            &PROVIDER_METRICS,
        ];
        for metric in all.concat() {
            assert!(SAMPLED.iter().any(|(name, ..)| *name == metric), "{metric}");
        }
    }

    #[test]
    fn a_value_is_shown_for_a_few_intervals() {
        assert_eq!(oldest_shown(Interval::ALL[0]), LEAST_AGE);
        assert_eq!(oldest_shown(Interval::ALL[4]), Duration::from_mins(3));
    }
}
