//! What publishing will cost, now and when patterns match more clusters, and how it is kept inside a budget.
//!
//! What does not live here: the prices ([`super::core::price`]).

use std::time::Instant;

use tracing::info;

use crate::{Exit, Failure};

use super::core::price::{Budget, BudgetTooSmall, PriceInputs};
use super::poll_query::{CLUSTER_METRICS, LAUNCH_TYPE_METRICS};
use super::shared::Shared;

const DAY_S: f64 = 86_400.0;

/// What is sampled, as far as that decides the price.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampled {
    /// All clusters.
    pub(super) clusters: usize,
    /// Those of them that patterns match.
    pub(super) found: usize,
    /// Whether there are patterns whose clusters were never listed.
    pub(super) is_unlisted: bool,
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
    /// For people.
    pub(super) line: String,
}

/// Estimates the price, and stretches `publish_every` where the budget asks for it.
///
/// # Errors
/// If the budget is too small however long datums wait.
pub(super) fn plan(shared: &mut Shared, sampled: &Sampled) -> Result<Estimate, Failure> {
    let mut plans = inputs(shared, sampled);
    let mut for_changes = 0.0;
    if let Some(budget) = shared.config.budget_usd_per_day {
        let stretched = stretch(&plans, budget).map_err(|(place, error)| {
            let label = &shared.outlets[place].clients.label;
            Failure::definite(
                Exit::Config,
                format!("metrics.budget_usd_per_day, {label}: {error}"),
                "raise it, sample fewer clusters, or leave it out",
            )
        })?;
        for (place, stretched) in stretched.into_iter().enumerate() {
            let Some((stretched, limit)) = stretched else {
                continue;
            };
            let outlet = &mut shared.outlets[place];
            if stretched.publish_every > plans[place].publish_every {
                info!(
                    "publishing every {:?} instead of {:?} in {}, to stay inside ${budget} a day; sampling stays at {} s",
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
    // A sum of nothing is -0.
    let usd = total_usd(&plans) + 0.0;
    let requests = paid(&plans)
        .map(|(_, plan)| plan.requests_per_day())
        .sum::<f64>()
        + 0.0;
    let calls = sampled.calls_per_second * DAY_S + 0.0;
    let price = if sampled.is_unlisted {
        "price unknown until ECS lists the clusters that patterns match".to_owned()
    } else {
        format!("${usd:.3} a day")
    };
    let line = format!(
        "clusters: {}, metrics: {}, every {} s: {calls:.0} calls of ECS (free) and {requests:.0} PutMetricData, {price}{}{}",
        sampled.clusters,
        shared.metric_count(),
        shared.config.interval.seconds(),
        at_most(shared, sampled, plans),
        match shared.config.budget_usd_per_day {
            _ if !shared.config.flush_changes => String::new(),
            None => "; values that change are sent at once, at most $0.01 for 1,000".to_owned(),
            Some(_) => format!(
                "; values that change are sent at once while the budget has requests for them, {for_changes:.0} a day, and wait for the next publish when it has none"
            ),
        },
    );
    Ok(Estimate {
        usd_per_day: (!sampled.is_unlisted).then_some(usd),
        line,
    })
}

/// How many more clusters like those that are sampled a place may have inside the budget, up to `most`.
pub(super) fn room(shared: &Shared, sampled: &Sampled, place: usize, most: usize) -> usize {
    let Some(budget) = shared.config.budget_usd_per_day else {
        return most;
    };
    let plans = inputs(shared, sampled);
    let fits = |more: &usize| {
        let mut plans = plans.clone();
        add_clusters(&mut plans[place], *more, shared, sampled);
        stretch(&plans, budget).is_ok()
    };
    // More clusters never cost less.
    let all: Vec<_> = (1..=most).collect();
    all.partition_point(fits)
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
    let like = if sampled.clusters > 0 {
        " like these"
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
    let places = shared.outlets.iter().zip(&sampled.datums_per_second);
    let inputs = places.map(|(outlet, datums_per_second)| PriceInputs {
        interval: config.interval,
        publish_every: config.publish_every,
        metric_count: u32::try_from(outlet.backlog.series_count()).unwrap_or(u32::MAX),
        datums_per_second: *datums_per_second,
        changes_per_day: 0.0,
    });
    inputs.collect()
}

/// Those that cost anything.
fn paid(plans: &[PriceInputs]) -> impl Iterator<Item = (usize, &PriceInputs)> {
    let plans = plans.iter().enumerate();
    plans.filter(|(_, plan)| plan.metric_count > 0)
}

fn total_usd(plans: &[PriceInputs]) -> f64 {
    paid(plans).map(|(_, plan)| plan.usd_per_day()).sum()
}

/// Shares the budget by metrics; the place with too small a share is the error.
#[expect(
    clippy::type_complexity,
    reason = "one for each place, none where nothing is published"
)]
fn stretch(
    plans: &[PriceInputs],
    budget: f64,
) -> Result<Vec<Option<(PriceInputs, Budget)>>, (usize, BudgetTooSmall)> {
    let metrics: f64 = plans.iter().map(|plan| f64::from(plan.metric_count)).sum();
    let mut stretched = vec![None; plans.len()];
    for (place, plan) in paid(plans) {
        let share = budget * f64::from(plan.metric_count) / metrics;
        let plan = plan.stretch(share).map_err(|error| (place, error))?;
        stretched[place] = Some(plan);
    }
    Ok(stretched)
}

/// Adds clusters with as many metrics as the others have, with all that is in them.
fn add_clusters(plan: &mut PriceInputs, more: usize, shared: &Shared, sampled: &Sampled) {
    let split = shared.config.launch_types.then_some(LAUNCH_TYPE_METRICS);
    let split = split.into_iter().flatten().map(|(metric, _, _)| metric);
    let own = CLUSTER_METRICS.into_iter().chain(split);
    let own = own.filter(|metric| shared.config.filter.takes_metric(metric));
    let all = usize::try_from(shared.metric_count()).unwrap_or(usize::MAX);
    let like_others = all.div_ceil(sampled.clusters.max(1));
    let metrics = more * like_others.max(own.count());
    let metrics = u32::try_from(metrics).unwrap_or(u32::MAX);
    plan.metric_count = plan.metric_count.saturating_add(metrics);
    plan.datums_per_second += f64::from(metrics) / plan.interval.duration().as_secs_f64();
}
