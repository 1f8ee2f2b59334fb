//! A run's clock, books and view, which all parts of the run share.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::{Timestamp, Unit};

use super::live::Live;
use super::machine::ProcessGauge;
use super::measure::record::{Gauges, Judged, Recorder, Second, Wire};

/// One run.
#[derive(Debug)]
pub(super) struct Session {
    started: Instant,
    /// The whole second at which it began.
    pub(super) started_at: Timestamp,
    pub(super) recorder: Recorder,
    /// The latencies of each second.
    pub(super) intervals: Vec<Histogram<u64>>,
    gauge: ProcessGauge,
    pub(super) live: Live,
    keeps_intervals: bool,
}

impl Session {
    /// Begins at the next whole second of the clock, so that the seconds of a run are those that
    /// the simulator counts by. With `keeps_intervals` there will be a log of latencies.
    pub(super) async fn begin(keeps_intervals: bool) -> Self {
        let to_next_ns =
            1_000_000_000 - u64::try_from(Timestamp::now().subsec_nanosecond()).unwrap_or(0);
        tokio::time::sleep(Duration::from_nanos(to_next_ns)).await;
        let (now, clock) = (Instant::now(), Timestamp::now());
        let started_at = clock.round(Unit::Second).unwrap_or(clock);
        // A timer may ring late, or by another clock.
        let started = match Duration::try_from(clock.duration_since(started_at)) {
            Ok(late) => now.checked_sub(late).unwrap_or(now),
            Err(_) => now + started_at.duration_since(clock).unsigned_abs(),
        };
        Self {
            started,
            started_at,
            recorder: Recorder::default(),
            intervals: Vec::new(),
            gauge: ProcessGauge::new(),
            live: Live::new(),
            keeps_intervals,
        }
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The instant that lies this long after the start.
    pub(super) fn instant(&self, elapsed: Duration) -> Instant {
        self.started + elapsed
    }

    /// When the open second ends.
    pub(super) fn second_ends(&self) -> Duration {
        Duration::from_secs(u64::from(self.recorder.second()) + 1)
    }

    /// Closes the open second.
    pub(super) fn close_second(
        &mut self,
        intended_rows: u64,
        wire: Wire,
        (backlog_rows, backlog_bytes): (u64, u64),
    ) -> Second {
        let (cpu_cores, rss_bytes) = self.gauge.read();
        let gauges = Gauges {
            backlog_rows,
            backlog_bytes,
            cpu_cores,
            rss_bytes,
        };
        let (second, interval) = self.recorder.close_second(intended_rows, wire, gauges);
        if self.keeps_intervals {
            self.intervals.push(interval);
        }
        second
    }

    /// The ages of rows that are given up are of the last second, in the log of latencies.
    pub(super) fn given_up(&mut self, ages: &Histogram<u64>) {
        if let Some(last) = self.intervals.last_mut() {
            // Both have the same bounds, so that adding cannot fail.
            let _ = last.add(ages);
        }
    }

    /// Lays the simulator's books of a second of the clock beside this run's. The last second is closed a little
    /// after its end, so that it has what came in between.
    pub(super) fn judge(&mut self, clock_second: i64, judged: Judged) {
        let seconds = &mut self.recorder.seconds;
        let index = usize::try_from(clock_second - self.started_at.as_second()).unwrap_or(0);
        let last = seconds.len().saturating_sub(1);
        if let Some(second) = seconds.get_mut(index.min(last)) {
            second.judged.get_or_insert_default().add(&judged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_simulator_counts_behind_the_last_second_is_in_it() {
        let mut session = Session::begin(false).await;
        for _ in 0..2 {
            session.close_second(0, Wire::default(), (0, 0));
        }
        let begun = session.started_at.as_second();
        for (second, refused_records) in [(0, 1), (1, 20), (2, 300)] {
            let judged = Judged {
                refused_records,
                ..Judged::default()
            };
            session.judge(begun + second, judged);
        }
        let seconds = session.recorder.seconds.iter();
        let refused = seconds.map(|second| second.judged.map(|judged| judged.refused_records));
        assert_eq!(refused.collect::<Vec<_>>(), [Some(1), Some(320)]);
    }
}
