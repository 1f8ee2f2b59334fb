//! What publishing will cost, now and when patterns match more clusters, and how it is kept inside a budget.
//!
//! What does not live here: the prices ([`super::core::price`]).

use std::time::Instant;

use tracing::info;

use crate::{Exit, Failure};

use super::caller::CallBucket;
use super::core::price::{Budget, BudgetTooSmall, PriceInputs};
use super::own::OWN_METRIC_COUNT;
use super::poll_query::{
    CLUSTER_METRICS, DEPLOYMENT_METRICS, LAUNCH_TYPE_METRICS, PROVIDER_METRICS, SERVICE_METRICS,
};
use super::shared::Shared;

const DAY_S: f64 = 86_400.0;
/// A little more than the least that is possible, for which datums would wait up to an hour.
const LEAST_SHARE: f64 = 1.01;

/// What is sampled, as far as that decides the price.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampled {
    /// All clusters.
    pub(super) clusters: usize,
    /// Those of them that patterns match.
    pub(super) found: usize,
    /// Whether there are patterns whose clusters were never listed.
    pub(super) is_unlisted: bool,
    /// Of each place, without the poller's own.
    pub(super) metrics: Vec<usize>,
    /// Of each place: those that are expected in clusters whose first list is still to come.
    pub(super) expected_metrics: Vec<usize>,
    /// Of each place.
    pub(super) datums_per_second: Vec<f64>,
    /// Of ECS, without lists and what is asked again.
    pub(super) calls_per_second: f64,
}

/// What it costs.
#[derive(Debug)]
pub(super) struct Estimate {
    /// None as long as nobody knows.
    pub(super) usd_per_day: Option<f64>,
    pub(super) metrics: u32,
    /// Why it is not inside the budget, though it is about as cheap as it can be.
    pub(super) over_budget: Option<Failure>,
    /// For people.
    pub(super) line: String,
}

/// Estimates the price, and stretches `publish_every` where the budget asks for it.
pub(super) fn plan(shared: &mut Shared, sampled: &Sampled) -> Estimate {
    let mut plans = inputs(shared, sampled);
    let (for_changes, over_budget) = keep_budget(shared, &mut plans);
    // A sum of nothing is -0.
    let usd = total_usd(&plans) + 0.0;
    let requests = paid(&plans)
        .map(|(_, plan)| plan.requests_per_day())
        .sum::<f64>()
        + 0.0;
    let calls = sampled.calls_per_second * DAY_S + 0.0;
    let metrics = plans.iter().map(|plan| plan.metric_count).sum::<u32>();
    let price = if sampled.is_unlisted {
        "price unknown until ECS lists the clusters that patterns match".to_owned()
    } else {
        format!("${usd:.3} a day")
    };
    let line = format!(
        "clusters: {}, metrics: {metrics}, every {} s: {calls:.0} calls of ECS (free) and {requests:.0} PutMetricData, {price}{}{}",
        sampled.clusters,
        shared.config.interval.seconds(),
        if over_budget.is_some() {
            "; this is more than metrics.budget_usd_per_day, which has no room for more clusters"
                .to_owned()
        } else {
            at_most(shared, sampled, plans)
        },
        match shared.config.budget_usd_per_day {
            _ if !shared.config.flush_changes => String::new(),
            None => "; values that change are sent at once, at most $0.01 for 1,000".to_owned(),
            Some(_) => format!(
                "; values that change are sent at once while the budget has requests for them, {for_changes:.0} a day, and wait for the next publish when it has none"
            ),
        },
    );
    Estimate {
        usd_per_day: (!sampled.is_unlisted).then_some(usd),
        metrics,
        over_budget,
        line,
    }
}

/// Stretches `publish_every` as far as the budget asks for it: requests a day that are left for changes, and what is wrong if that is not enough.
fn keep_budget(shared: &mut Shared, plans: &mut [PriceInputs]) -> (f64, Option<Failure>) {
    let mut for_changes = 0.0;
    let mut over_budget = None;
    if let Some(budget) = shared.config.budget_usd_per_day {
        let (stretched, error) = stretch(plans, budget);
        over_budget = error.map(|(place, error)| {
            let label = &shared.outlets[place].clients.label;
            Failure::definite(
                Exit::Config,
                format!("metrics.budget_usd_per_day, {label}: {error}"),
                "raise it, sample fewer clusters, or leave it out",
            )
        });
        let aim = if over_budget.is_some() {
            "which is as near as can be to"
        } else {
            "to stay inside"
        };
        for (place, stretched) in stretched.into_iter().enumerate() {
            let Some((stretched, limit)) = stretched else {
                continue;
            };
            let outlet = &mut shared.outlets[place];
            if stretched.publish_every > plans[place].publish_every {
                info!(
                    "publishing every {:?} instead of {:?} in {}, {aim} ${budget} a day; sampling stays at {} s",
                    stretched.publish_every,
                    plans[place].publish_every,
                    outlet.clients.label,
                    stretched.interval.seconds()
                );
            }
            for_changes += limit.per_day() - stretched.requests_per_day();
            outlet
                .backlog
                .pace(stretched.publish_every, limit, Instant::now());
            plans[place] = stretched;
        }
    }
    (for_changes, over_budget)
}

/// What a cluster has that a list has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) services: usize,
    pub(super) providers: usize,
}

impl Contents {
    /// The metrics of what it has in one bucket. Services that filters choose are as many as in other clusters, but not more than it has.
    pub(super) fn metrics(self, bucket: CallBucket, shared: &Shared, sampled: &Sampled) -> usize {
        let config = &shared.config;
        let taken = |metrics: &[&str]| {
            let taken = metrics.iter().filter(|it| config.filter.takes_metric(it));
            taken.count()
        };
        match bucket {
            CallBucket::Clusters => own_metrics(shared),
            CallBucket::Services if !config.services => 0,
            CallBucket::Services => {
                let mut of_each = taken(&SERVICE_METRICS);
                if config.deployments {
                    of_each += taken(&DEPLOYMENT_METRICS);
                }
                let all = self.services * of_each;
                if config.filter.chooses_services() && sampled.clusters > 0 {
                    all.min(like_others(shared, sampled) - own_metrics(shared))
                } else {
                    all
                }
            }
            CallBucket::Instances if !config.capacity_providers => 0,
            CallBucket::Instances => self.providers * taken(&PROVIDER_METRICS),
        }
    }
}

/// How many of these new clusters, from the first on, a place may have inside the budget with all that is in them.
pub(super) fn room(shared: &Shared, sampled: &Sampled, place: usize, new: &[Contents]) -> usize {
    let Some(budget) = shared.config.budget_usd_per_day else {
        return new.len();
    };
    let mut plans = inputs(shared, sampled);
    for (plan, expected) in plans.iter_mut().zip(&sampled.expected_metrics) {
        add_metrics(plan, *expected);
    }
    let fits = |contents: &&Contents| {
        for bucket in CallBucket::ALL {
            add_metrics(&mut plans[place], contents.metrics(bucket, shared, sampled));
        }
        stretch(&plans, budget).1.is_none()
    };
    new.iter().take_while(fits).count()
}

/// What patterns may cost, if they may match more.
fn at_most(shared: &Shared, sampled: &Sampled, mut plans: Vec<PriceInputs>) -> String {
    let most = shared.config.discovery.max_clusters;
    let mut groups = shared.config.groups.iter();
    let Some(place) = groups.position(|group| !group.patterns.is_empty()) else {
        return String::new();
    };
    let more = most.saturating_sub(sampled.found);
    if more == 0 {
        return format!("; metrics.max_clusters = {most} is reached");
    }
    add_clusters(&mut plans[place], more, shared, sampled);
    let usd = total_usd(&plans);
    let budget = shared.config.budget_usd_per_day.unwrap_or(f64::INFINITY);
    let now = if sampled.is_unlisted {
        "unknown".to_owned()
    } else {
        sampled.found.to_string()
    };
    let has_contents = shared.config.services || shared.config.capacity_providers;
    let like = if sampled.clusters > 0 {
        " like these"
    } else if has_contents && usd < budget {
        " with nothing in them"
    } else {
        ""
    };
    format!(
        "; up to ${:.3} a day if patterns match {most} clusters{like} (metrics.max_clusters; now {now})",
        usd.min(budget)
    )
}

/// One for each place.
fn inputs(shared: &Shared, sampled: &Sampled) -> Vec<PriceInputs> {
    let config = &shared.config;
    let places = sampled.metrics.iter().zip(&sampled.datums_per_second);
    let inputs = places.map(|(metrics, datums_per_second)| PriceInputs {
        interval: config.interval,
        publish_every: config.publish_every,
        metric_count: u32::try_from(*metrics).unwrap_or(u32::MAX),
        datums_per_second: *datums_per_second,
        changes_per_day: 0.0,
    });
    let mut inputs: Vec<_> = inputs.collect();
    if config.publish_own
        && let Some(first) = inputs.first_mut()
    {
        first.metric_count += OWN_METRIC_COUNT;
    }
    inputs
}

/// Those that cost anything.
fn paid(plans: &[PriceInputs]) -> impl Iterator<Item = (usize, &PriceInputs)> {
    let plans = plans.iter().enumerate();
    plans.filter(|(_, plan)| plan.metric_count > 0)
}

fn total_usd(plans: &[PriceInputs]) -> f64 {
    paid(plans).map(|(_, plan)| plan.usd_per_day()).sum()
}

/// Shares the budget by metrics. A place with too small a share gets the least that it can do with, and is the error.
#[expect(
    clippy::type_complexity,
    reason = "one for each place, none where nothing is published"
)]
fn stretch(
    plans: &[PriceInputs],
    budget: f64,
) -> (
    Vec<Option<(PriceInputs, Budget)>>,
    Option<(usize, BudgetTooSmall)>,
) {
    let mut too_small = None;
    let metrics: f64 = plans.iter().map(|plan| f64::from(plan.metric_count)).sum();
    let mut stretched = vec![None; plans.len()];
    for (place, plan) in paid(plans) {
        let share = budget * f64::from(plan.metric_count) / metrics;
        let plan = plan.stretch(share).or_else(|error| {
            too_small = Some((place, error));
            plan.stretch(error.least_usd * LEAST_SHARE)
        });
        stretched[place] = plan.ok();
    }
    (stretched, too_small)
}

/// Adds clusters with as many metrics as the others have, with all that is in them.
fn add_clusters(plan: &mut PriceInputs, more: usize, shared: &Shared, sampled: &Sampled) {
    add_metrics(plan, more * like_others(shared, sampled));
}

/// Metrics of a cluster with all that is in it, if it is like the others.
fn like_others(shared: &Shared, sampled: &Sampled) -> usize {
    let all: usize = sampled.metrics.iter().sum();
    all.div_ceil(sampled.clusters.max(1))
        .max(own_metrics(shared))
}

/// Metrics of a cluster without what is in it.
fn own_metrics(shared: &Shared) -> usize {
    let split = shared.config.launch_types.then_some(LAUNCH_TYPE_METRICS);
    let split = split.into_iter().flatten().map(|(metric, _, _)| metric);
    let own = CLUSTER_METRICS.into_iter().chain(split);
    let own = own.filter(|metric| shared.config.filter.takes_metric(metric));
    own.count()
}

fn add_metrics(plan: &mut PriceInputs, more: usize) {
    let more = u32::try_from(more).unwrap_or(u32::MAX);
    plan.metric_count = plan.metric_count.saturating_add(more);
    plan.datums_per_second += f64::from(more) / plan.interval.duration().as_secs_f64();
}
