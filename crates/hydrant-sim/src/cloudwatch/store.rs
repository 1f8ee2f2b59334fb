//! PURE. The stored data of every metric, second by second.
//!
//! What lives here: what is kept, for how long, and the exact account of it. What does not:
//! which data are valid ([`super::validate`]) and the operations ([`super`]).
//!
//! Calling contract of [`Store`]: feed it a valid request with [`Store::put`]; read it with
//! [`Store::series`], [`Store::metrics`] and [`Store::accounts`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::CloudWatchError;

/// Most seconds that a metric keeps: the 3 hours for which AWS keeps data of less than a minute,
/// and the 2 hours that data may lie ahead. The oldest ones go first, and are counted.
pub(super) const SECONDS_KEPT: usize = 5 * 3_600;

/// Most metrics. The simulator's bound: AWS has none.
pub(super) const MAX_METRICS: usize = 10_000;

/// Most seconds of all metrics together, about 400 MiB. The simulator's bound.
const MAX_SECONDS: usize = 4_000_000;

/// What makes a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetricId {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Sorted pairs of name and value.
    pub(super) dimensions: Vec<(String, String)>,
}

/// The numbers of one or more data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Aggregate {
    pub(super) samples: f64,
    pub(super) sum: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
}

impl Aggregate {
    /// One value.
    pub(super) fn of(value: f64) -> Self {
        Self {
            samples: 1.0,
            sum: value,
            minimum: value,
            maximum: value,
        }
    }

    /// Adds what the other has.
    pub(super) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.sum += other.sum;
        self.minimum = self.minimum.min(other.minimum);
        self.maximum = self.maximum.max(other.maximum);
    }
}

/// One valid datum.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) metric: MetricId,
    /// Seconds since 1970-01-01 UTC; a multiple of the resolution.
    pub(super) second: i64,
    pub(super) unit: &'static str,
    /// 1 or 60.
    pub(super) resolution_s: i64,
    pub(super) aggregate: Aggregate,
}

/// What a metric has for one second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) data: u64,
    pub(super) resolution_s: i64,
    pub(super) aggregate: Aggregate,
}

/// The kept seconds of one metric, by second and unit, because AWS keeps units apart.
pub(super) type Seconds = BTreeMap<(i64, &'static str), Stored>;

#[derive(Debug, Default)]
struct Series {
    seconds: Seconds,
    data: u64,
    forgotten_seconds: u64,
}

/// A run of seconds, each of which got the same number of data. Runs of high-resolution data
/// have no gap in them; a gap is where one ends and the next does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SecondRun {
    /// Seconds since 1970-01-01 UTC.
    pub first: i64,
    /// The last second, itself part of the run.
    pub last: i64,
    /// Data that each of them got.
    pub data: u64,
}

/// The exact account of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MetricAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its dimensions, by name.
    pub dimensions: BTreeMap<String, String>,
    /// Every datum that was accepted, also for seconds that are no longer kept.
    pub data: u64,
    /// Seconds that were kept and are not any more. Zero means that `runs` is everything.
    pub forgotten_seconds: u64,
    /// The kept seconds, in order. A datum of resolution 60 counts for its minute's first.
    pub runs: Vec<SecondRun>,
}

impl MetricAccount {
    /// How many kept seconds got data.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        let length = |run: &SecondRun| run.last.abs_diff(run.first) + 1;
        self.runs.iter().map(length).sum()
    }

    /// How many kept seconds got data more than once.
    #[must_use]
    pub fn repeated_seconds(&self) -> u64 {
        let length = |run: &SecondRun| run.last.abs_diff(run.first) + 1;
        let repeated = self.runs.iter().filter(|run| run.data > 1);
        repeated.map(length).sum()
    }

    /// How many data this second got, as far as it is kept.
    #[must_use]
    pub fn data_at(&self, second: i64) -> u64 {
        let run = self
            .runs
            .iter()
            .find(|run| (run.first..=run.last).contains(&second));
        run.map_or(0, |run| run.data)
    }
}

/// All metrics.
#[derive(Debug, Default)]
pub(super) struct Store {
    metrics: BTreeMap<MetricId, Series>,
    seconds: usize,
}

impl Store {
    /// Stores a whole request, or nothing of it.
    ///
    /// # Errors
    /// [`CloudWatchError::Full`] if it has more metrics or seconds than fit.
    pub(super) fn put(&mut self, points: Vec<Point>) -> Result<(), CloudWatchError> {
        let new = points
            .iter()
            .map(|point| &point.metric)
            .filter(|metric| !self.metrics.contains_key(metric));
        let new = new.collect::<std::collections::BTreeSet<_>>().len();
        if self.metrics.len() + new > MAX_METRICS || self.seconds + points.len() > MAX_SECONDS {
            return Err(CloudWatchError::Full);
        }
        for point in points {
            let series = self.metrics.entry(point.metric).or_default();
            let before = series.seconds.len();
            series.data += 1;
            series
                .seconds
                .entry((point.second, point.unit))
                .and_modify(|stored| {
                    stored.data += 1;
                    stored.resolution_s = stored.resolution_s.min(point.resolution_s);
                    stored.aggregate.add(&point.aggregate);
                })
                .or_insert(Stored {
                    data: 1,
                    resolution_s: point.resolution_s,
                    aggregate: point.aggregate,
                });
            if series.seconds.len() > SECONDS_KEPT {
                series.seconds.pop_first();
                series.forgotten_seconds += 1;
            }
            self.seconds = self.seconds + series.seconds.len() - before;
        }
        Ok(())
    }

    /// What is kept of a metric.
    pub(super) fn series(&self, metric: &MetricId) -> Option<&Seconds> {
        self.metrics.get(metric).map(|series| &series.seconds)
    }

    /// All metrics, in order.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &MetricId> {
        self.metrics.keys()
    }

    /// Every datum that was accepted.
    #[must_use]
    pub(super) fn data(&self) -> u64 {
        self.metrics.values().map(|series| series.data).sum()
    }

    /// The account of every metric, in the order of [`Store::metrics`].
    pub(super) fn accounts(&self) -> Vec<MetricAccount> {
        self.metrics
            .iter()
            .map(|(metric, series)| MetricAccount {
                namespace: metric.namespace.clone(),
                name: metric.name.clone(),
                dimensions: metric.dimensions.iter().cloned().collect(),
                data: series.data,
                forgotten_seconds: series.forgotten_seconds,
                runs: runs(&series.seconds),
            })
            .collect()
    }
}

fn runs(seconds: &Seconds) -> Vec<SecondRun> {
    // One entry for each second, whatever its units.
    let mut counted: Vec<(i64, u64)> = Vec::new();
    for ((second, _), stored) in seconds {
        match counted.last_mut() {
            Some((last, data)) if last == second => *data += stored.data,
            _ => counted.push((*second, stored.data)),
        }
    }
    let mut runs: Vec<SecondRun> = Vec::new();
    for (second, data) in counted {
        match runs.last_mut() {
            Some(run) if run.last + 1 == second && run.data == data => run.last = second,
            _ => runs.push(SecondRun {
                first: second,
                last: second,
                data,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(name: &str, second: i64, value: f64) -> Point {
        Point {
            metric: MetricId {
                namespace: "ECS".into(),
                name: name.into(),
                dimensions: Vec::new(),
            },
            second,
            unit: "Count",
            resolution_s: 1,
            aggregate: Aggregate::of(value),
        }
    }

    fn run(first: i64, last: i64, data: u64) -> SecondRun {
        SecondRun { first, last, data }
    }

    #[test]
    fn an_account_tells_gaps_and_repeats_apart() {
        let mut store = Store::default();
        let seconds = [10, 11, 12, 14, 15, 15, 16];
        let points = seconds.map(|second| point("a", second, 1.0)).to_vec();
        store.put(points).unwrap();
        let account = &store.accounts()[0];
        let expected = [
            run(10, 12, 1),
            run(14, 14, 1),
            run(15, 15, 2),
            run(16, 16, 1),
        ];
        assert_eq!(account.runs, expected);
        assert_eq!(
            (account.seconds(), account.repeated_seconds(), account.data),
            (6, 1, 7)
        );
        assert_eq!([13, 15].map(|second| account.data_at(second)), [0, 2]);
    }

    #[test]
    fn units_are_kept_apart_and_counted_together() {
        let mut store = Store::default();
        let other = Point {
            unit: "None",
            ..point("a", 10, 1.0)
        };
        store.put(vec![point("a", 10, 1.0), other]).unwrap();
        assert_eq!(store.accounts()[0].runs, [run(10, 10, 2)]);
    }

    #[test]
    fn a_metric_forgets_its_oldest_seconds_and_counts_them() {
        let mut store = Store::default();
        let kept = i64::try_from(SECONDS_KEPT).unwrap();
        let points = (0..kept + 2)
            .map(|second| point("a", second, 1.0))
            .collect();
        store.put(points).unwrap();
        let account = &store.accounts()[0];
        assert_eq!(account.runs, [run(2, kept + 1, 1)]);
        assert_eq!(
            (account.forgotten_seconds, account.data),
            (2, SECONDS_KEPT as u64 + 2)
        );
    }

    #[test]
    fn one_metric_too_many_stores_nothing_of_the_request() {
        let mut store = Store::default();
        let metric = |number: usize| point(&number.to_string(), 0, 1.0);
        store
            .put((0..MAX_METRICS - 1).map(metric).collect())
            .unwrap();
        let two = vec![metric(MAX_METRICS), metric(MAX_METRICS + 1)];
        assert_eq!(store.put(two), Err(CloudWatchError::Full));
        assert_eq!(store.metrics().count(), MAX_METRICS - 1);
        store.put(vec![metric(0), metric(MAX_METRICS)]).unwrap();
    }

    proptest! {
        /// Whatever arrives in whatever order: the account has each second with its number of data.
        #[test]
        fn the_account_is_exact(seconds in prop::collection::vec(0_i64..60, 0..200)) {
            let mut store = Store::default();
            for &second in &seconds {
                store.put(vec![point("a", second, 1.0)]).unwrap();
            }
            let accounts = store.accounts();
            for second in -1..61 {
                let expected = seconds.iter().filter(|&&it| it == second).count() as u64;
                let got = accounts.first().map_or(0, |account| account.data_at(second));
                prop_assert_eq!(got, expected);
            }
        }
    }
}
