//! PURE. What publishing costs a day, before and after, and how to stay inside a budget.
//!
//! What lives here: CloudWatch's prices, the estimate from the settings, the bill from counted
//! calls, the budget. What does not: the counting ([`super::account`]). ECS's calls are free.
//!
//! Source of the prices: "Amazon CloudWatch pricing", us-east-1, November 2026, first tier; more
//! than 10,000 metrics cost less each.

use std::fmt;
use std::time::{Duration, Instant};

use crate::config::cloudwatch::LONGEST_PUBLISH_EVERY;

use super::metric::REQUEST_DATUMS;
use super::schedule::Interval;

/// Dollars for one PutMetricData: $0.01 for 1,000.
pub const PUT_METRIC_DATA_USD: f64 = 0.01 / 1_000.0;
/// Dollars for one metric in one month.
pub const METRIC_MONTH_USD: f64 = 0.30;
/// Hours in the month that prices are for. A metric is paid for by the hours in which it was
/// sent.
pub const MONTH_HOURS: f64 = 730.0;

const DAY_S: f64 = 86_400.0;

/// The part of a budget's requests that planned publishes may need; the rest is for changes, and for what an outage
/// has left.
const PLANNED_SHARE: f64 = 0.9;
/// The part of a budget's requests that may be saved up: those of an hour. The rest is the rate, so that both together
/// are the budget of any day.
const SAVED_SHARE: f64 = 1.0 / 24.0;

/// Dollars a day for having this many metrics.
#[must_use]
pub fn metrics_usd_per_day(metric_count: u32) -> f64 {
    f64::from(metric_count) * METRIC_MONTH_USD * 24.0 / MONTH_HOURS
}

/// Dollars a day at the rate of `requests` PutMetricData in `elapsed`, which is not zero.
#[must_use]
pub fn counted_usd_per_day(requests: u64, elapsed: Duration, metric_count: u32) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "2^53 requests are not reached")]
    let requests_per_day = requests as f64 * DAY_S / elapsed.as_secs_f64();
    requests_per_day * PUT_METRIC_DATA_USD + metrics_usd_per_day(metric_count)
}

/// What decides the price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PriceInputs {
    /// How far samples are apart.
    pub interval: Interval,
    /// How long datums wait for others.
    pub publish_every: Duration,
    /// Metrics, each with its dimensions.
    pub metric_count: u32,
    /// Datums of all metrics together.
    pub datums_per_second: f64,
    /// Polls in which something has changed that are expected a day, if those are published at
    /// once; otherwise 0.
    pub changes_per_day: f64,
}

/// A budget that publishing cannot be kept inside of.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "a budget of ${budget_usd:.3} a day is too small: this many metrics cost at least ${least_usd:.3}"
)]
pub struct BudgetTooSmall {
    /// The budget, in dollars a day.
    pub budget_usd: f64,
    /// What is needed, in dollars a day.
    pub least_usd: f64,
}

impl PriceInputs {
    /// PutMetricData a day. A change takes what is waiting with it and the wait starts again, so
    /// it costs less than one request more.
    #[must_use]
    pub fn requests_per_day(&self) -> f64 {
        let wait_s = self
            .publish_every
            .max(self.interval.duration())
            .as_secs_f64();
        let changes_per_wait = self.changes_per_day * wait_s / DAY_S;
        // The mean wait, if changes come at random, is cut off by the first of them.
        let mean_wait_s = if changes_per_wait > 1e-9 {
            wait_s * -(-changes_per_wait).exp_m1() / changes_per_wait
        } else {
            wait_s
        };
        // There is no change between two samples.
        let mean_wait_s = mean_wait_s.max(self.interval.duration().as_secs_f64());
        self.requests_per_flush(mean_wait_s) * DAY_S / mean_wait_s
    }

    /// Dollars a day.
    #[must_use]
    pub fn usd_per_day(&self) -> f64 {
        self.requests_per_day() * PUT_METRIC_DATA_USD + metrics_usd_per_day(self.metric_count)
    }

    /// The budget's requests, and `publish_every` stretched as far as they need; sampling stays as
    /// it is. Changes are published at once while the budget has something left for them.
    ///
    /// # Errors
    /// If no wait of up to [`LONGEST_PUBLISH_EVERY`] is long enough.
    pub fn stretch(mut self, budget_usd: f64) -> Result<(Self, Budget), BudgetTooSmall> {
        let metrics_usd = metrics_usd_per_day(self.metric_count);
        let requests_per_day = (budget_usd - metrics_usd).max(0.0) / PUT_METRIC_DATA_USD;
        let planned_per_day = requests_per_day * PLANNED_SHARE;
        let quiet = |publish_every| Self {
            publish_every,
            changes_per_day: 0.0,
            ..self
        };
        let mut least_requests = f64::INFINITY;
        let mut wait = self.publish_every;
        loop {
            let needed = quiet(wait).requests_per_day();
            least_requests = least_requests.min(needed);
            if needed <= planned_per_day {
                self.publish_every = wait;
                return Ok((self, Budget::new(requests_per_day)));
            }
            wait = Duration::from_secs(wait.as_secs() + 1);
            if wait > LONGEST_PUBLISH_EVERY {
                let requests_usd = least_requests / PLANNED_SHARE * PUT_METRIC_DATA_USD;
                return Err(BudgetTooSmall {
                    budget_usd,
                    least_usd: metrics_usd + requests_usd,
                });
            }
        }
    }

    fn requests_per_flush(&self, wait_s: f64) -> f64 {
        let datums = self.datums_per_second * wait_s;
        let most = u32::try_from(REQUEST_DATUMS).unwrap_or(u32::MAX);
        (datums / f64::from(most)).ceil().max(1.0)
    }
}

impl fmt::Display for PriceInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} PutMetricData a day, {} metrics: ${:.3} a day",
            self.requests_per_day(),
            self.metric_count,
            self.usd_per_day()
        )
    }
}

/// The requests that a day's budget still has. At the start that is one, so that a poller that starts over and over
/// stays inside of it, too.
///
/// Contract: send when [`Budget::ready_at`] has come, and say so with [`Budget::spend`].
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    per_day: f64,
    /// What may be saved up.
    most: f64,
    /// What is left, as of the last request.
    left: f64,
    spent_at: Option<Instant>,
}

impl Budget {
    fn new(requests_per_day: f64) -> Self {
        Self {
            per_day: requests_per_day * (1.0 - SAVED_SHARE),
            most: (requests_per_day * SAVED_SHARE).max(1.0),
            left: 1.0,
            spent_at: None,
        }
    }

    /// Requests a day, besides those that were saved up.
    #[must_use]
    pub fn per_day(&self) -> f64 {
        self.per_day
    }

    /// When the next request may be sent; `None` is at once.
    #[must_use]
    pub fn ready_at(&self) -> Option<Instant> {
        let wait_s = (1.0 - self.left) * DAY_S / self.per_day;
        let spent_at = self.spent_at.filter(|_| wait_s > 0.0)?;
        Some(spent_at + Duration::from_secs_f64(wait_s))
    }

    /// A request was sent.
    pub fn spend(&mut self, now: Instant) {
        self.left = self.left_at(now) - 1.0;
        self.spent_at = Some(now);
    }

    /// This one, with as many requests as `before` has left: a new plan is no new allowance.
    #[must_use]
    pub fn after(mut self, before: &Self, now: Instant) -> Self {
        self.left = before.left_at(now).min(self.most);
        self.spent_at = before.spent_at.map(|_| now);
        self
    }

    fn left_at(&self, now: Instant) -> f64 {
        let since = self.spent_at.map(|at| now.saturating_duration_since(at));
        let saved = since.unwrap_or_default().as_secs_f64() * self.per_day / DAY_S;
        (self.left + saved).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(publish_every_s: u64) -> PriceInputs {
        PriceInputs {
            interval: Interval::ALL[0],
            publish_every: Duration::from_secs(publish_every_s),
            metric_count: 4,
            datums_per_second: 4.0,
            changes_per_day: 0.0,
        }
    }

    #[test]
    fn one_cluster_costs_what_the_price_list_says() {
        for (publish_every_s, usd) in [(1, 0.9035), (10, 0.1259), (60, 0.0539)] {
            let estimate = plan(publish_every_s).usd_per_day();
            assert!((estimate - usd).abs() < 0.0001, "{estimate}");
        }
        let line = "8640 PutMetricData a day, 4 metrics: $0.126 a day";
        assert_eq!(plan(10).to_string(), line);
        let counted = counted_usd_per_day(60, Duration::from_hours(1), 4);
        assert!((counted - plan(60).usd_per_day()).abs() < 1e-9);
    }

    #[test]
    fn changes_cost_between_nothing_and_one_request_each() {
        let quiet = plan(60).requests_per_day();
        let mut before = quiet;
        for changes_per_day in [1.0, 100.0, 1_000.0, 10_000.0] {
            let changing = PriceInputs {
                changes_per_day,
                ..plan(60)
            };
            let requests = changing.requests_per_day();
            assert!(requests > before && requests < quiet + changes_per_day);
            before = requests;
        }
        let always = PriceInputs {
            changes_per_day: 1e9,
            ..plan(60)
        };
        assert!((always.requests_per_day() - DAY_S).abs() < 1.0);
    }

    #[test]
    fn a_flush_of_many_metrics_is_several_requests() {
        let many = PriceInputs {
            metric_count: 400,
            datums_per_second: 400.0,
            ..plan(10)
        };
        assert!((many.requests_per_day() - 4.0 * 8_640.0).abs() < 1e-6);
    }

    #[test]
    fn a_budget_stretches_the_wait_and_no_day_is_over_it() {
        let (stretched, mut budget) = plan(10).stretch(0.06).unwrap();
        assert!(stretched.publish_every > plan(10).publish_every);
        assert!(stretched.usd_per_day() <= 0.06);
        let day = Duration::from_hours(24);
        let start = Instant::now();
        let mut requests = 0_u64;
        let mut now = start;
        while now < start + day {
            budget.spend(now);
            requests += 1;
            now = now.max(budget.ready_at().unwrap_or(now));
        }
        let usd = counted_usd_per_day(requests, day, 4);
        assert!(usd < 0.0601 && usd > 0.057, "{usd}");
    }

    #[test]
    fn a_budget_that_is_large_enough_changes_nothing() {
        let (stretched, budget) = plan(10).stretch(1.0).unwrap();
        assert_eq!(stretched, plan(10));
        assert_eq!(budget.ready_at(), None);
    }

    #[test]
    fn a_new_plan_is_no_new_allowance() {
        let now = Instant::now();
        let (_, mut before) = plan(10).stretch(0.1).unwrap();
        before.spend(now);
        let (_, richer) = plan(10).stretch(0.2).unwrap();
        let richer = richer.after(&before, now);
        assert!(richer.ready_at() > Some(now) && richer.ready_at() < before.ready_at());
        // What was saved up is kept as far as the new plan may save.
        let later = now + Duration::from_hours(24);
        let mut saved = plan(10).stretch(0.1).unwrap().1.after(&richer, later);
        let most = (0.1 - metrics_usd_per_day(4)) / PUT_METRIC_DATA_USD / 24.0;
        let mut count = 0.0;
        while saved.ready_at().is_none_or(|at| at <= later) {
            saved.spend(later);
            count += 1.0;
        }
        assert!(most - 1.0 < count && count <= most, "{count} of {most}");
    }

    #[test]
    fn a_budget_below_the_price_of_the_metrics_is_refused_with_what_is_needed() {
        let error = plan(10).stretch(0.03).unwrap_err();
        assert!(plan(10).stretch(error.least_usd + 1e-6).is_ok());
        assert!(error.to_string().starts_with("a budget of $0.030 a day"));
    }
}
