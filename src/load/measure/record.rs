//! PURE. What a run did, second by second, and how long rows took.
//!
//! What lives here: counters of each second, histograms, and their percentiles. What does not:
//! clocks, and what is concluded from the numbers (`verdict`, `knee`).

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart, in microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;
/// Three digits: a latency is known to a thousandth of itself.
const DIGITS: u8 = 3;
/// The percentiles of a curve: as many again for each further nine.
const CURVE: [f64; 21] = [
    0.0, 10.0, 25.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9,
    99.95, 99.975, 99.99, 99.995, 99.999, 100.0,
];

/// A histogram of latencies in microseconds.
///
/// # Panics
/// Never: the bounds are constants that fit each other.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("the bounds are constants that fit")
}

/// Counts a latency `rows` times.
pub fn add_latency(histogram: &mut Histogram<u64>, latency: Duration, rows: u64) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(us, rows);
}

/// A percentile in milliseconds; none of nothing.
#[must_use]
pub fn percentile_ms(histogram: &Histogram<u64>, percentile: f64) -> Option<f64> {
    let us = histogram.value_at_percentile(percentile);
    (!histogram.is_empty()).then_some(us as f64 / 1e3)
}

/// What the client sent, counted where it leaves the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Requests.
    pub requests: u64,
    /// Records in them, again for each time that one was sent.
    pub records: u64,
    /// Their bytes before base64.
    pub bytes: u64,
    /// Records that were refused in an answer to others.
    pub refused_records: u64,
    /// Requests that failed as a whole.
    pub failed_requests: u64,
    /// Records of those: it is unknown whether they arrived.
    pub failed_records: u64,
    /// Records that arrived.
    pub accepted_records: u64,
    /// Their bytes before base64.
    pub accepted_bytes: u64,
    /// Bytes that are billed for those.
    pub billed_bytes: u64,
}

impl Wire {
    /// What has come since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            records: self.records - before.records,
            bytes: self.bytes - before.bytes,
            refused_records: self.refused_records - before.refused_records,
            failed_requests: self.failed_requests - before.failed_requests,
            failed_records: self.failed_records - before.failed_records,
            accepted_records: self.accepted_records - before.accepted_records,
            accepted_bytes: self.accepted_bytes - before.accepted_bytes,
            billed_bytes: self.billed_bytes - before.billed_bytes,
        }
    }

    /// Records that were answered for, but not with a yes. What is still under way is in none of
    /// these counts.
    #[must_use]
    pub fn not_accepted(&self) -> u64 {
        self.refused_records + self.failed_records
    }
}

/// What the simulator's own books say of a second of the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Requests that its quota let in.
    pub requests: u64,
    /// Records that got an id.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that did not.
    pub refused_records: u64,
    /// Requests that were refused as a whole.
    pub refused_requests: u64,
}

impl Judged {
    /// Counts what another second has, too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.bytes += other.bytes;
        self.refused_records += other.refused_records;
        self.refused_requests += other.refused_requests;
    }
}

/// The state of things at the end of a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauges {
    /// Rows that were offered and are not acknowledged.
    pub backlog_rows: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Processor time of this process, in cores.
    pub cpu_cores: f64,
    /// Memory of this process.
    pub rss_bytes: u64,
}

/// One second of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Since the start.
    pub second: u32,
    /// Rows that the plan has for it.
    pub intended_rows: u64,
    /// Rows that were made and given to the client in it.
    pub offered_rows: u64,
    /// Rows that were left out because the backlog was full.
    pub left_out_rows: u64,
    /// Rows that were acknowledged in it, for whatever second they were meant.
    pub acknowledged_rows: u64,
    /// Their bytes.
    pub acknowledged_bytes: u64,
    /// The median latency of those, from their intended time, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub longest_ms: Option<f64>,
    /// The most by which rows were made later than they were meant, in milliseconds.
    pub late_ms: f64,
    /// Whether rows waited with the client all through it, and the target accepted nothing.
    pub is_silent: bool,
    /// What was sent.
    pub wire: Wire,
    /// How things stood at its end.
    pub gauges: Gauges,
    /// What the simulator counted, if it is in this process.
    pub judged: Option<Judged>,
}

/// Percentiles of one kind of latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// From what to what.
    pub name: String,
    /// How many were measured.
    pub count: u64,
    /// The mean, in milliseconds.
    pub mean_ms: f64,
    /// Percentiles and their milliseconds, from the shortest to the longest.
    pub percentiles: Vec<(f64, f64)>,
}

impl Latency {
    /// What a histogram says.
    #[must_use]
    pub fn of(name: &str, histogram: &Histogram<u64>) -> Self {
        let at = |percentile| Some((percentile, percentile_ms(histogram, percentile)?));
        Self {
            name: name.to_owned(),
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e3,
            percentiles: CURVE.iter().copied().filter_map(at).collect(),
        }
    }

    /// A percentile of the curve; none if there is nothing.
    #[must_use]
    pub fn at(&self, percentile: f64) -> Option<f64> {
        let found = self.percentiles.iter().find(|(at, _)| *at >= percentile);
        found.map(|(_, ms)| *ms)
    }
}

/// The books of a run.
///
/// Contract: count what happens as it happens, and call [`Recorder::close_second`] once for each
/// second, in order, whether anything happened in it or not.
#[derive(Debug)]
pub struct Recorder {
    open: Second,
    interval: Histogram<u64>,
    wire: Wire,
    /// The closed seconds.
    pub seconds: Vec<Second>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            open: Second::default(),
            interval: latency_histogram(),
            wire: Wire::default(),
            seconds: Vec::new(),
        }
    }
}

impl Recorder {
    /// Rows were made, so much later than they were meant.
    pub fn offered(&mut self, rows: u64, late: Duration) {
        self.open.offered_rows += rows;
        self.open.late_ms = self.open.late_ms.max(late.as_secs_f64() * 1e3);
    }

    /// Rows were left out because the backlog was full.
    pub fn left_out(&mut self, rows: u64) {
        self.open.left_out_rows += rows;
    }

    /// Rows were acknowledged, this long after they were meant to be sent. Each row counts once, so
    /// that a large batch weighs what its rows weigh.
    pub fn acknowledged(&mut self, rows: u64, latency: Duration) {
        self.open.acknowledged_rows += rows;
        add_latency(&mut self.interval, latency, rows);
    }

    /// Rows were acknowledged whose intended times are unknown.
    pub fn accepted(&mut self, rows: u64) {
        self.open.acknowledged_rows += rows;
    }

    /// Batches have waited since before the open second began. It is silent if nothing is accepted in it.
    pub fn waited(&mut self) {
        self.open.is_silent = true;
    }

    /// Bytes of acknowledged rows.
    pub fn acknowledged_bytes(&mut self, bytes: u64) {
        self.open.acknowledged_bytes += bytes;
    }

    /// The second that is open.
    #[must_use]
    pub fn second(&self) -> u32 {
        self.open.second
    }

    /// Closes the open second, which the plan had `intended_rows` for, and gives it with its
    /// histogram. `wire` is what was sent since the start.
    pub fn close_second(
        &mut self,
        intended_rows: u64,
        wire: Wire,
        gauges: Gauges,
    ) -> (Second, Histogram<u64>) {
        let mut second = self.open;
        second.intended_rows = intended_rows;
        second.wire = wire.since(&self.wire);
        second.is_silent &= second.acknowledged_rows == 0 && second.wire.accepted_records == 0;
        second.gauges = gauges;
        second.p50_ms = percentile_ms(&self.interval, 50.0);
        second.p99_ms = percentile_ms(&self.interval, 99.0);
        second.longest_ms = percentile_ms(&self.interval, 100.0);
        self.wire = wire;
        self.seconds.push(second);
        self.open = Second {
            second: second.second + 1,
            ..Second::default()
        };
        let interval = std::mem::replace(&mut self.interval, latency_histogram());
        (second, interval)
    }
}

/// Sums over seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// How many seconds.
    pub seconds: u32,
    /// Rows that the plan had.
    pub intended_rows: u64,
    /// Rows that were made and given to the client.
    pub offered_rows: u64,
    /// Rows that were left out because the backlog was full.
    pub left_out_rows: u64,
    /// Rows that were acknowledged.
    pub acknowledged_rows: u64,
    /// Their bytes.
    pub acknowledged_bytes: u64,
    /// What was sent.
    pub wire: Wire,
    /// The largest backlog at the end of a second, in bytes.
    pub most_backlog_bytes: u64,
    /// The latest that a row was made, in milliseconds.
    pub most_late_ms: f64,
    /// Processor time, in cores, on average.
    pub cpu_cores: f64,
    /// The most memory at the end of a second.
    pub most_rss_bytes: u64,
}

impl Totals {
    /// The sums of these seconds.
    #[must_use]
    pub fn of(seconds: &[Second]) -> Self {
        let mut totals = Self::default();
        for second in seconds {
            totals.seconds += 1;
            totals.intended_rows += second.intended_rows;
            totals.offered_rows += second.offered_rows;
            totals.left_out_rows += second.left_out_rows;
            totals.acknowledged_rows += second.acknowledged_rows;
            totals.acknowledged_bytes += second.acknowledged_bytes;
            totals.wire.requests += second.wire.requests;
            totals.wire.records += second.wire.records;
            totals.wire.bytes += second.wire.bytes;
            totals.wire.refused_records += second.wire.refused_records;
            totals.wire.failed_requests += second.wire.failed_requests;
            totals.wire.failed_records += second.wire.failed_records;
            totals.wire.accepted_records += second.wire.accepted_records;
            totals.wire.accepted_bytes += second.wire.accepted_bytes;
            totals.wire.billed_bytes += second.wire.billed_bytes;
            let gauges = &second.gauges;
            totals.most_backlog_bytes = totals.most_backlog_bytes.max(gauges.backlog_bytes);
            totals.most_late_ms = totals.most_late_ms.max(second.late_ms);
            totals.cpu_cores += gauges.cpu_cores;
            totals.most_rss_bytes = totals.most_rss_bytes.max(gauges.rss_bytes);
        }
        totals.cpu_cores /= f64::from(totals.seconds.max(1));
        totals
    }

    /// Acknowledged rows a second.
    #[must_use]
    pub fn rows_per_second(&self) -> f64 {
        self.acknowledged_rows as f64 / f64::from(self.seconds.max(1))
    }

    /// Bytes of an acknowledged row, on average; none if there is none.
    #[must_use]
    pub fn row_bytes(&self) -> Option<f64> {
        let rows = self.acknowledged_rows;
        (rows > 0).then(|| self.acknowledged_bytes as f64 / rows as f64)
    }

    /// The share of records that were refused or of failed requests, from 0 to 1.
    #[must_use]
    pub fn throttled_share(&self) -> f64 {
        let not_accepted = self.wire.not_accepted();
        let answered = self.wire.accepted_records + not_accepted;
        not_accepted as f64 / (answered as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rows_weigh_in_percentiles_not_batches() {
        let mut recorder = Recorder::default();
        recorder.acknowledged(98, MS * 10);
        recorder.acknowledged(2, MS * 2_000);
        let (second, interval) = recorder.close_second(100, Wire::default(), Gauges::default());
        assert_eq!(interval.len(), 100);
        assert!((second.p50_ms.unwrap() - 10.0).abs() < 0.1);
        assert!((second.p99_ms.unwrap() - 2_000.0).abs() < 5.0);
        // The next second knows nothing of it.
        let (next, _) = recorder.close_second(0, Wire::default(), Gauges::default());
        assert_eq!(
            (next.second, next.p50_ms, next.acknowledged_rows),
            (1, None, 0)
        );
        let latency = Latency::of("all", &interval);
        assert_eq!(latency.count, 100);
        assert!((latency.at(99.0).unwrap() - 2_000.0).abs() < 5.0);
        assert!(Latency::of("none", &latency_histogram()).at(99.0).is_none());
    }

    #[test]
    fn a_request_that_is_answered_in_another_second_is_not_taken_for_refused() {
        let mut recorder = Recorder::default();
        let sent = Wire {
            records: 4,
            ..Wire::default()
        };
        let answered = Wire {
            accepted_records: 4,
            ..sent
        };
        for wire in [sent, answered] {
            let (second, _) = recorder.close_second(0, wire, Gauges::default());
            assert_eq!(second.wire.not_accepted(), 0);
            assert!(Totals::of(&[second]).throttled_share().abs() < 1e-9);
        }
    }

    #[test]
    fn a_second_is_silent_if_batches_wait_in_it_and_nothing_is_accepted() {
        let mut recorder = Recorder::default();
        let mut wire = Wire::default();
        let mut close = |waits: bool, acknowledged: u64, accepted: u64| {
            if waits {
                recorder.waited();
            }
            recorder.accepted(acknowledged);
            wire.accepted_records += accepted;
            let (second, _) = recorder.close_second(0, wire, Gauges::default());
            second.is_silent
        };
        assert_eq!(
            [
                close(false, 0, 0),
                close(true, 0, 0),
                close(true, 1, 1),
                // A part of a large batch.
                close(true, 0, 1),
                close(false, 0, 0),
            ],
            [false, true, false, false, false]
        );
    }

    #[test]
    fn sums_are_those_of_the_seconds() {
        let mut recorder = Recorder::default();
        let mut wire = Wire::default();
        for second in 1..=3 {
            recorder.offered(10, MS * second);
            recorder.left_out(1);
            recorder.acknowledged(5, MS);
            recorder.acknowledged_bytes(500);
            wire.records += 4;
            wire.accepted_records += 3;
            wire.refused_records += 1;
            let gauges = Gauges {
                backlog_rows: 5,
                backlog_bytes: u64::from(second),
                cpu_cores: 0.5,
                rss_bytes: 7,
            };
            recorder.close_second(11, wire, gauges);
        }
        let totals = Totals::of(&recorder.seconds);
        assert_eq!((totals.intended_rows, totals.offered_rows), (33, 30));
        assert_eq!((totals.left_out_rows, totals.acknowledged_rows), (3, 15));
        assert_eq!((totals.wire.records, totals.most_backlog_bytes), (12, 3));
        assert!((totals.throttled_share() - 0.25).abs() < 1e-9);
        assert!((totals.rows_per_second() - 5.0).abs() < 1e-9);
        assert!((totals.cpu_cores - 0.5).abs() < 1e-9 && (totals.most_late_ms - 3.0).abs() < 1e-9);
        assert!((totals.row_bytes().unwrap() - 100.0).abs() < 1e-9);
    }
}
