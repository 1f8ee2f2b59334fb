//! PURE. What is known of one metric: which of its seconds were taken, its newest value, what
//! became of its datums.
//!
//! What does not live here: the datums that wait ([`super::backlog`]).

use std::time::Instant;

use super::account::DatumCounts;
use super::metric::MetricKey;

/// How far seconds may be apart to belong to one run of [`SeenSeconds`]: as many as it has bits for. Polls that overlap
/// are one tick apart.
const SEEN_SECONDS: i64 = 128;

/// Runs of seconds that are remembered, besides the newest. The clock must be set more often than this before the
/// shortest time between two of them counts as taken, too.
const MOST_RUNS: usize = 64;

/// Names one metric of a [`super::backlog::Backlog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub(super) u32);

/// One value of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Datum {
    /// Which metric.
    pub series: SeriesId,
    /// The second that it was scheduled for, since 1970 UTC.
    pub second: i64,
    /// The value.
    pub value: f64,
}

/// The seconds that were offered, however often the wall clock was set.
#[derive(Debug, Default)]
struct SeenSeconds {
    /// First and last of the run that goes on.
    run: Option<(i64, i64)>,
    /// Bit n: whether the second n before the run's last was offered.
    bits: u128,
    /// Runs before, first and last, in order and apart. Whatever is inside one counts as offered: also what the clock
    /// jumped over, if that was less than [`SEEN_SECONDS`].
    before: Vec<(i64, i64)>,
}

impl SeenSeconds {
    /// Notes that a second was offered; whether it had not been before.
    fn see(&mut self, second: i64) -> bool {
        let is_inside = |&(first, last): &(i64, i64)| (first..=last).contains(&second);
        if self.before.iter().any(is_inside) {
            return false;
        }
        if let Some((first, last)) = &mut self.run {
            let ahead = second.saturating_sub(*last);
            if ahead > 0 && ahead < SEEN_SECONDS {
                self.bits = (self.bits << ahead.unsigned_abs()) | 1;
                *last = second;
                return true;
            }
            if ahead <= 0 && ahead > -SEEN_SECONDS {
                let bit = 1_u128 << ahead.unsigned_abs();
                let is_new = self.bits & bit == 0;
                self.bits |= bit;
                *first = (*first).min(second);
                return is_new;
            }
            if (*first..=*last).contains(&second) {
                return false;
            }
        }
        self.end_run();
        self.run = Some((second, second));
        self.bits = 1;
        true
    }

    fn end_run(&mut self) {
        self.before.extend(self.run.take());
        self.before.sort_unstable();
        let mut runs: Vec<(i64, i64)> = Vec::with_capacity(self.before.len());
        for (first, last) in self.before.drain(..) {
            match runs.last_mut() {
                Some((_, until)) if first <= *until + 1 => *until = last.max(*until),
                _ => runs.push((first, last)),
            }
        }
        if runs.len() > MOST_RUNS {
            let apart = |&index: &usize| runs[index + 1].0 - runs[index].1;
            if let Some(index) = (0..runs.len() - 1).min_by_key(apart) {
                runs[index].1 = runs[index + 1].1;
                runs.remove(index + 1);
            }
        }
        self.before = runs;
    }
}

/// What is known of one metric.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) key: MetricKey,
    pub(super) datum_bytes: usize,
    seen: SeenSeconds,
    /// The newest value that was noted, and its second.
    newest: Option<(i64, f64)>,
    /// The value that was offered last, whatever its second, and when.
    pub(super) latest: Option<(Instant, f64)>,
    pub(super) counts: DatumCounts,
    /// Whether a changed value waits with the others anyway.
    pub(super) is_quiet: bool,
}

impl Series {
    pub(super) fn new(key: &MetricKey) -> Self {
        Self {
            datum_bytes: key.datum_bytes(),
            key: key.clone(),
            seen: SeenSeconds::default(),
            newest: None,
            latest: None,
            counts: DatumCounts::default(),
            is_quiet: false,
        }
    }

    /// Notes that a second was offered; whether it had not been before.
    pub(super) fn see(&mut self, second: i64) -> bool {
        self.seen.see(second)
    }

    /// Keeps the newest value; whether this one differs from it.
    pub(super) fn note_value(&mut self, datum: Datum) -> bool {
        let Some((second, value)) = self.newest else {
            self.newest = Some((datum.second, datum.value));
            return true;
        };
        // A second far behind is of a clock that was set back.
        if datum.second > second || datum.second <= second - SEEN_SECONDS {
            self.newest = Some((datum.second, datum.value));
        }
        value.to_bits() != datum.value.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However far the clock is set, forward or back, by up to 30 days; and a run's seconds come in any order.
        #[test]
        fn a_second_is_new_exactly_once(
            moves in prop::collection::vec((any::<bool>(), -2_592_000_i64..2_592_000, 1_i64..100, 0_i64..5), 1..60),
        ) {
            let mut series = Series::new(&MetricKey::new("RunningTask", &[]).unwrap());
            let mut known = BTreeSet::new();
            let mut second = 1_790_000_000;
            for (far, by, seconds, late) in moves {
                second += if far { by } else { by % 200 };
                for _ in 0..seconds {
                    second += 1;
                    for offered in [second, second - late] {
                        let is_new = series.see(offered);
                        prop_assert!(!is_new || known.insert(offered), "{offered} twice");
                        // What was never offered may count as offered only between two seconds of one run.
                        let near = known.range(offered - SEEN_SECONDS..offered).next_back().is_some()
                            && known.range(offered + 1..offered + SEEN_SECONDS).next().is_some();
                        prop_assert!(is_new || known.contains(&offered) || near, "{offered} is lost");
                    }
                }
            }
        }
    }

    #[test]
    fn a_clock_that_was_ahead_is_corrected_and_seconds_go_on_at_the_new_time() {
        let mut series = Series::new(&MetricKey::new("RunningTask", &[]).unwrap());
        assert!((3_600..3_700).all(|second| series.see(second)));
        assert!((100..3_600).all(|second| series.see(second)));
        assert!((3_600..3_700).all(|second| !series.see(second)));
        assert!((3_700..4_000).all(|second| series.see(second)));
    }

    #[test]
    fn more_runs_than_are_remembered_are_joined_and_no_second_is_taken_twice() {
        let mut series = Series::new(&MetricKey::new("RunningTask", &[]).unwrap());
        let runs: Vec<i64> = (0..200).map(|run| (run * 7 % 200) * 1_000).collect();
        assert!(runs.iter().filter(|second| series.see(**second)).count() > MOST_RUNS);
        assert!(runs.iter().all(|second| !series.see(*second)));
        assert!(series.seen.before.len() <= MOST_RUNS);
    }

    #[test]
    fn the_newest_value_is_that_of_the_clock_as_it_is_now() {
        let mut series = Series::new(&MetricKey::new("RunningTask", &[]).unwrap());
        let id = SeriesId(0);
        let mut note = |second, value| {
            series.note_value(Datum {
                series: id,
                second,
                value,
            })
        };
        assert!(note(3_600, 1.0));
        assert!(!note(3_601, 1.0));
        // Late, of the second before.
        assert!(note(3_600, 2.0));
        assert!(!note(3_602, 1.0));
        assert!(note(10, 3.0));
        assert!(!note(11, 3.0));
    }
}
