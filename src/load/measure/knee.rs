//! PURE. The search for the knee: the highest rate at which an objective holds.
//!
//! What lives here: which rate to try next, and whether a trial held. What does not: the trials
//! (`firehose`).

use serde::{Deserialize, Serialize};

use super::record::{Latency, Second, Totals};
use super::verdict::{LATE_MS, Quotas, Resource, USED_UP, lag_growth, median};

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The share of sent records that may be refused, from 0 to 1.
    pub max_throttled: f64,
    /// The 99th percentile of latency, in milliseconds.
    pub max_p99_ms: f64,
}

/// What did not hold in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broke {
    /// The harness did not keep the rate, so that nothing is known about the target.
    Harness,
    /// Rows had no answer when their trial ended.
    Unacknowledged,
    /// Too many records were refused.
    Throttled,
    /// Rows were left out, because the backlog was full.
    Backlog,
    /// Rows waited longer with every second.
    LagGrowth,
    /// The 99th percentile was too long.
    P99,
}

impl Broke {
    /// As a person reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Harness => "the harness was the limit",
            Self::Unacknowledged => "rows were not acknowledged",
            Self::Throttled => "too many records refused",
            Self::Backlog => "the backlog was full",
            Self::LagGrowth => "rows waited longer and longer",
            Self::P99 => "p99 too long",
        }
    }
}

/// One rate, held for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Rows a second that were planned.
    pub rate: f64,
    /// Rows a second that were acknowledged.
    pub achieved: f64,
    /// The share of sent records that were refused, from 0 to 1.
    pub throttled_share: f64,
    /// Percentiles of the rows that were meant for the judged seconds; those without an answer count with
    /// their age at the end.
    pub latency: Latency,
    /// Rows of the trial that had no answer at its end.
    pub unacknowledged_rows: u64,
    /// The shares of quotas that were used, largest first.
    pub used: Vec<(Resource, f64)>,
    /// Processor time, in cores.
    pub cpu_cores: f64,
    /// What did not hold, most telling first; nothing if the rate held.
    pub broke: Vec<Broke>,
}

impl Trial {
    /// Judges a trial by its seconds and the latencies of their rows, without those in which it warmed up.
    #[must_use]
    pub fn judge(
        rate: f64,
        seconds: &[Second],
        (latency, unacknowledged_rows): (Latency, u64),
        objective: &Objective,
        quotas: &Quotas,
        cores: f64,
    ) -> Self {
        let totals = Totals::of(seconds);
        let is_slow = latency
            .at(99.0)
            .is_none_or(|p99_ms| p99_ms > objective.max_p99_ms);
        let late: Vec<f64> = seconds.iter().map(|second| second.late_ms).collect();
        let cpu_is_used_up = totals.cpu_cores >= 0.95 * cores;
        let is_lagging = lag_growth(seconds).is_some_and(|growth| growth.is_steady());
        let is_held_up = totals.left_out_rows > 0 || is_lagging || is_slow;
        let found = [
            (
                Broke::Harness,
                median(&late) > LATE_MS || (cpu_is_used_up && is_held_up),
            ),
            (Broke::Unacknowledged, unacknowledged_rows > 0),
            (
                Broke::Throttled,
                totals.throttled_share() > objective.max_throttled,
            ),
            (Broke::Backlog, totals.left_out_rows > 0),
            (Broke::LagGrowth, is_lagging),
            (Broke::P99, is_slow),
        ];
        let broke = found.into_iter().filter(|(_, is)| *is);
        Self {
            rate,
            achieved: totals.rows_per_second(),
            throttled_share: totals.throttled_share(),
            latency,
            unacknowledged_rows,
            used: quotas.used(&totals),
            cpu_cores: totals.cpu_cores,
            broke: broke.map(|(broke, _)| broke).collect(),
        }
    }

    /// Whether everything held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.broke.is_empty()
    }
}

/// What the search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The highest rate that held, in rows a second; none if none did.
    pub held: Option<f64>,
    /// The lowest rate that did not; none if all did.
    pub broke: Option<f64>,
    /// The quota that was used most when it broke, if that was most of it.
    pub resource: Option<Resource>,
    /// What did not hold there.
    pub why: Vec<Broke>,
}

/// The most trials of a search.
const MOST_TRIALS: usize = 24;

/// Twice the rate until it breaks, half of it until it holds, then between the two.
///
/// Contract: ask [`Search::next_rate`], try it, tell [`Search::tried`], until there is no rate.
#[derive(Debug)]
pub struct Search {
    start: f64,
    most: f64,
    /// How close the two ends have to come, as a share.
    precision: f64,
    trials: Vec<Trial>,
}

impl Search {
    /// A search that begins at `start` and never goes over `most` rows a second.
    #[must_use]
    pub fn new(start: f64, most: f64, precision: f64) -> Self {
        Self {
            start: start.min(most),
            most,
            precision,
            trials: Vec::new(),
        }
    }

    fn held(&self) -> Option<f64> {
        let held = self.trials.iter().filter(|trial| trial.held());
        // Of a target that changes its mind the worse answer counts.
        let broke = self.broke().unwrap_or(f64::INFINITY);
        held.map(|trial| trial.rate)
            .filter(|rate| *rate < broke)
            .max_by(f64::total_cmp)
    }

    fn broke(&self) -> Option<f64> {
        let broke = self.trials.iter().filter(|trial| !trial.held());
        broke.map(|trial| trial.rate).min_by(f64::total_cmp)
    }

    /// The rate to try next; none when the search is over.
    #[must_use]
    pub fn next_rate(&self) -> Option<f64> {
        // A target that takes nothing at all takes nothing of less, either.
        let is_dead = self.trials.last().is_some_and(|last| last.achieved <= 0.0);
        if is_dead || self.trials.len() >= MOST_TRIALS {
            return None;
        }
        match (self.held(), self.broke()) {
            (None, None) => Some(self.start),
            (Some(held), None) => (held < self.most).then(|| (held * 2.0).min(self.most)),
            (None, Some(broke)) => (broke >= 2.0).then_some(broke / 2.0),
            // The middle of factors, as the steps are factors too.
            (Some(held), Some(broke)) => {
                (broke / held > 1.0 + self.precision).then(|| (held * broke).sqrt())
            }
        }
    }

    /// Takes a trial into account.
    pub fn tried(&mut self, trial: Trial) {
        self.trials.push(trial);
    }

    /// The trials, in the order in which they were made.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The trials at the two ends: of the highest rate that held, and of the lowest that did not.
    pub fn ends(&self) -> impl Iterator<Item = &Trial> {
        let at = |rate: Option<f64>, held: bool| {
            let mut trials = self.trials.iter();
            trials.find(move |trial| trial.held() == held && Some(trial.rate) == rate)
        };
        [at(self.held(), true), at(self.broke(), false)]
            .into_iter()
            .flatten()
    }

    /// What was found.
    #[must_use]
    pub fn knee(&self) -> Knee {
        let broke = self.broke();
        let trial = self.ends().find(|trial| !trial.held());
        let most_used = trial.and_then(|trial| trial.used.first());
        Knee {
            held: self.held(),
            broke,
            resource: most_used
                .filter(|(_, share)| *share >= USED_UP)
                .map(|(name, _)| *name),
            why: trial.map(|trial| trial.broke.clone()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::time::Duration;

    use super::super::record::{Gauges, add_latency, latency_histogram};
    use super::*;

    const OBJECTIVE: Objective = Objective {
        max_throttled: 0.001,
        max_p99_ms: 2_000.0,
    };

    fn latency(ms: u64) -> Latency {
        let mut histogram = latency_histogram();
        add_latency(&mut histogram, Duration::from_millis(ms), 1_000);
        Latency::of("rows", &histogram)
    }

    fn trial(rate: f64, broke: &[Broke]) -> Trial {
        Trial {
            rate,
            achieved: rate,
            throttled_share: 0.0,
            latency: latency(1),
            unacknowledged_rows: 0,
            used: vec![(Resource::Bytes, 0.94)],
            cpu_cores: 0.1,
            broke: broke.to_vec(),
        }
    }

    proptest! {
        /// Wherever the knee is, it is found between a rate that held and one that did not, as
        /// close as was asked for.
        #[test]
        fn the_knee_is_between_the_two_ends(
            knee in 3.0_f64..1e6, start in 1.0_f64..1e6,
        ) {
            let mut search = Search::new(start, 1e9, 0.05);
            while let Some(rate) = search.next_rate() {
                let broke: &[Broke] = if rate > knee { &[Broke::Throttled] } else { &[] };
                search.tried(trial(rate, broke));
            }
            let found = search.knee();
            if search.trials().len() < MOST_TRIALS {
                let (held, broke) = (found.held.unwrap(), found.broke.unwrap());
                prop_assert!(held <= knee && knee < broke, "{held} {knee} {broke}");
                prop_assert!(broke / held <= 1.05 + 1e-9);
                prop_assert_eq!(found.resource, Some(Resource::Bytes));
                prop_assert_eq!(found.why, vec![Broke::Throttled]);
            } else {
                prop_assert!(knee / start > 1e4 || start / knee > 1e4, "{knee} {start}");
            }
        }
    }

    #[test]
    fn a_target_without_a_knee_ends_the_search_too() {
        let mut search = Search::new(1_000.0, 5_000.0, 0.05);
        let mut rates = Vec::new();
        while let Some(rate) = search.next_rate() {
            rates.push(rate.round());
            search.tried(trial(rate, &[]));
        }
        assert_eq!(rates, [1_000.0, 2_000.0, 4_000.0, 5_000.0]);
        let none = Knee {
            held: Some(5_000.0),
            broke: None,
            resource: None,
            why: Vec::new(),
        };
        assert_eq!(search.knee(), none);
        let mut hopeless = Search::new(3.0, 5_000.0, 0.05);
        while let Some(rate) = hopeless.next_rate() {
            hopeless.tried(trial(rate, &[Broke::P99]));
        }
        assert_eq!(hopeless.knee().held, None);
    }

    #[test]
    fn the_worse_of_two_answers_counts() {
        let mut search = Search::new(100.0, 1e6, 0.05);
        search.tried(trial(100.0, &[]));
        search.tried(trial(200.0, &[]));
        search.tried(trial(150.0, &[Broke::P99]));
        assert_eq!(
            (search.knee().held, search.knee().broke),
            (Some(100.0), Some(150.0))
        );
    }

    fn seconds(adjust: impl Fn(u32, &mut Second)) -> Vec<Second> {
        let second = |index| {
            let mut second = Second {
                offered_rows: 100,
                acknowledged_rows: 100,
                p50_ms: Some(500.0),
                p99_ms: Some(1_000.0),
                gauges: Gauges {
                    cpu_cores: 0.2,
                    ..Gauges::default()
                },
                ..Second::default()
            };
            second.wire.records = 1_000;
            second.wire.accepted_records = 1_000;
            adjust(index, &mut second);
            second
        };
        (0..9).map(second).collect()
    }

    #[test]
    fn each_part_of_the_objective_can_break() {
        let judge_with = |ms: u64, missed: u64, adjust: &dyn Fn(u32, &mut Second)| {
            let (quotas, seconds) = (Quotas::default(), seconds(adjust));
            let rows = (latency(ms), missed);
            Trial::judge(100.0, &seconds, rows, &OBJECTIVE, &quotas, 2.0).broke
        };
        let judge = |adjust: &dyn Fn(u32, &mut Second)| judge_with(1_000, 0, adjust);
        assert_eq!(judge(&|_, _| {}), []);
        assert_eq!(
            judge(&|_, second| second.wire.refused_records = 2),
            [Broke::Throttled]
        );
        assert_eq!(judge_with(2_010, 0, &|_, _| {}), [Broke::P99]);
        assert_eq!(judge_with(1_000, 1, &|_, _| {}), [Broke::Unacknowledged]);
        assert_eq!(
            judge(&|_, second| second.left_out_rows = 1),
            [Broke::Backlog]
        );
        let lagging = judge(&|index, second| second.p50_ms = Some(50.0 * f64::from(index)));
        assert_eq!(lagging, [Broke::LagGrowth]);
        assert_eq!(judge(&|_, second| second.late_ms = 400.0), [Broke::Harness]);
        let busy = judge_with(9_000, 0, &|_, second| second.gauges.cpu_cores = 1.99);
        assert_eq!(busy, [Broke::Harness, Broke::P99]);
    }

    /// A trial in which nothing was acknowledged has no number that stands for infinity, names no quota
    /// that was not used, and ends the search.
    #[test]
    fn a_target_that_takes_nothing_ends_the_search_and_has_no_percentile() {
        let quotas = Quotas {
            bytes: Some(1_000.0),
            ..Quotas::default()
        };
        let refused = seconds(|_, second| {
            second.acknowledged_rows = 0;
            (second.p50_ms, second.p99_ms) = (None, None);
            second.wire.bytes = 1_000_000;
            second.wire.accepted_records = 0;
            second.wire.refused_records = 1_000;
        });
        let none = Latency::of("rows", &latency_histogram());
        let trial = Trial::judge(100.0, &refused, (none, 900), &OBJECTIVE, &quotas, 2.0);
        assert_eq!(
            trial.broke,
            [Broke::Unacknowledged, Broke::Throttled, Broke::P99]
        );
        assert_eq!(trial.latency.at(99.0), None);
        let mut search = Search::new(100.0, 1e6, 0.05);
        search.tried(trial);
        assert_eq!(search.next_rate(), None);
        let knee = search.knee();
        assert_eq!((knee.held, knee.broke), (None, Some(100.0)));
        assert_eq!(knee.resource, None);
    }
}
