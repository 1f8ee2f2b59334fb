//! The poller's own numbers as metrics, if they are configured.
//!
//! What lives here: their names and values. What does not: when they are taken
//! ([`super::poller`]).

use crate::config::Metrics;
use crate::{Exit, Failure};

use super::core::backlog::Backlog;
use super::core::metric::MetricKey;
use super::core::schedule::Now;
use super::core::series::{Datum, SeriesId};
use super::summary::PollerSummary;
use super::timing::Timings;

/// Names, the value of the dimension `result` if there is one, and whether the unit is
/// milliseconds. Those named `_total` count since the start; those in milliseconds are the 99th
/// percentile since the last time.
const OWN_METRICS: [(&str, Option<&str>, bool); 9] = [
    ("hydrant_ticks_total", Some("sampled"), false),
    ("hydrant_ticks_total", Some("gap"), false),
    ("hydrant_lateness", None, true),
    ("hydrant_poll_duration", None, true),
    ("hydrant_publish_duration", None, true),
    ("hydrant_buffered_datums", None, false),
    ("hydrant_dropped_datums_total", None, false),
    ("hydrant_api_calls_total", None, false),
    ("hydrant_usd_per_day", None, false),
];

/// How many there are.
pub(super) const OWN_METRIC_COUNT: u32 = 9;
const _: () = assert!(OWN_METRICS.len() == OWN_METRIC_COUNT as usize);

/// The poller's own metrics, in one backlog.
#[derive(Debug)]
pub(super) struct OwnMetrics([SeriesId; OWN_METRICS.len()]);

impl OwnMetrics {
    /// Gives them their places. A change of theirs is no reason to publish at once.
    pub(super) fn open(config: &Metrics, backlog: &mut Backlog) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::error::Error| {
            let remedy = "change metrics.dimensions, or set metrics.publish_own = false";
            Failure::definite(Exit::Config, error.to_string(), remedy)
        };
        let mut ids = Vec::with_capacity(OWN_METRICS.len());
        for (name, result, in_milliseconds) in OWN_METRICS {
            let fixed = config.dimensions.iter();
            let fixed = fixed.map(|(name, value)| (name.as_str(), value.as_str()));
            let dimensions: Vec<_> = fixed.chain(result.map(|it| ("result", it))).collect();
            let key = MetricKey::new(name, &dimensions).map_err(|error| wrong(&error))?;
            let key = if in_milliseconds {
                key.in_milliseconds()
            } else {
                key
            };
            let id = backlog.series(&key).map_err(|error| wrong(&error))?;
            backlog.keep_quiet(id);
            ids.push(id);
        }
        let ids = ids.try_into();
        Ok(Self(ids.expect("there are as many as names")))
    }

    /// Offers what they are now.
    pub(super) fn offer(
        &self,
        backlog: &mut Backlog,
        now: Now,
        summary: &PollerSummary,
        recent: &Timings,
    ) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "2^53 of anything are not reached"
        )]
        let count = |count: u64| count as f64;
        let calls = &summary.calls;
        let values = [
            Some(count(summary.ticks.sampled())),
            Some(count(summary.ticks.gaps())),
            recent.lateness.p99_ms(),
            recent.poll.p99_ms(),
            recent.publish.p99_ms(),
            Some(count(summary.datums.pending())),
            Some(count(summary.datums.dropped())),
            Some(count(calls.total())),
            Some(summary.usd_per_day),
        ];
        for (series, value) in self.0.into_iter().zip(values) {
            // Without a poll there is no duration of one.
            if let Some(value) = value {
                let second = now.second();
                backlog.offer(
                    Datum {
                        series,
                        second,
                        value,
                    },
                    now,
                );
            }
        }
    }
}
