//! How long things took: histograms, and the line that is made of them.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest duration that is told apart, in microseconds: a minute.
const LONGEST_US: u64 = 60_000_000;
/// Two digits are enough to read, and little to keep.
const DIGITS: u8 = 2;

/// Durations of one kind.
#[derive(Debug, Clone)]
pub struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        let bounded = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Self(bounded.expect("the bounds are constants that fit"))
    }
}

impl Durations {
    pub(super) fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us);
    }

    /// In microseconds.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Of all of them in seconds, to a percent.
    pub(super) fn sum_s(&self) -> f64 {
        let values = self.0.iter_recorded();
        let sums = values.map(|it| {
            let duration = Duration::from_micros(it.value_iterated_to());
            duration.as_secs_f64() * count(it.count_since_last_iteration())
        });
        sums.sum()
    }

    /// The 99th percentile in milliseconds; none of nothing.
    pub(super) fn p99_ms(&self) -> Option<f64> {
        let p99 = Duration::from_micros(self.0.value_at_quantile(0.99));
        (!self.0.is_empty()).then_some(p99.as_secs_f64() * 1e3)
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 are not reached")]
fn count(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Durations {
    /// In milliseconds: `p50 0.4, p99 1.2, p99.9 9.1, most 12.0 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let ms = |quantile| {
            Duration::from_micros(self.0.value_at_quantile(quantile)).as_secs_f64() * 1e3
        };
        write!(
            f,
            "p50 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} ms",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            ms(1.0)
        )
    }
}

/// What is timed.
#[derive(Debug, Clone, Default)]
pub struct Timings {
    /// From a tick's second to the start of its poll.
    pub(super) lateness: Durations,
    /// From the start of a poll to its end.
    pub(super) poll: Durations,
    /// From the start of a PutMetricData to its end.
    pub(super) publish: Durations,
    /// From the second of a changed value to its acceptance by CloudWatch.
    pub(super) change: Durations,
}

impl Timings {
    /// Each kind, by what it is from and to.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Durations); 4] {
        [
            ("from a tick's second to its poll", &self.lateness),
            ("from the start of a poll to its end", &self.poll),
            (
                "from the start of a PutMetricData to its end",
                &self.publish,
            ),
            (
                "from the second of a change to CloudWatch's acceptance",
                &self.change,
            ),
        ]
    }
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "lateness {}; poll {}; publish {}; change to accepted {}",
            self.lateness, self.poll, self.publish, self.change
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_in_milliseconds_and_never_overflow() {
        let mut durations = Durations::default();
        assert_eq!(durations.to_string(), "none");
        durations.add(Duration::from_micros(1_500));
        assert_eq!(
            durations.to_string(),
            "p50 1.5, p99 1.5, p99.9 1.5, max 1.5 ms"
        );
        durations.add(Duration::ZERO);
        durations.add(Duration::from_hours(24 * 365));
        assert!(durations.to_string().contains("max 60"), "{durations}");
    }
}
