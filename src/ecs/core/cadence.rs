//! PURE. How calls are laid over time, so that they stay under a share of an account's buckets.
//!
//! What lives here: ECS's buckets with their source, how often each of several calls can be
//! made, and where in its interval. What does not: one call's ticks ([`super::schedule`]), and
//! the limiter that attempts after a failure meet as well (`place`).

use std::time::Duration;

use super::schedule::Interval;

/// What ECS lets an account ask of its clusters, calls a second. Source of the three: API
/// reference, "Request throttling for the Amazon ECS API", sustained rates.
pub const CLUSTER_READS_PER_SECOND: f64 = 20.0;
/// Of its services: ListServices and DescribeServices together.
pub const SERVICE_READS_PER_SECOND: f64 = 20.0;
/// Of what is in its clusters: ListContainerInstances and DescribeContainerInstances among others.
pub const CLUSTER_RESOURCE_READS_PER_SECOND: f64 = 20.0;

/// Calls of one second are spread over so much of it. A changed value waits for those of the
/// same second that come after it, so this is a part of how soon a change is seen.
pub const SPREAD: Duration = Duration::from_millis(200);

/// Calls of one kind, each made again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// How far the ticks of each are apart.
    pub interval: Interval,
    call_count: usize,
}

impl Cadence {
    /// The shortest interval, at least `least`, at which so many calls and what else is asked
    /// stay under `per_second`; `None` if an hour is too short.
    #[must_use]
    pub fn of(
        call_count: usize,
        least: Interval,
        per_second: f64,
        else_per_second: f64,
    ) -> Option<Self> {
        let calls = f64::from(u32::try_from(call_count).unwrap_or(u32::MAX));
        let fits = |interval: &Interval| {
            calls / f64::from(interval.seconds()) + else_per_second <= per_second
        };
        let mut intervals = std::iter::successors(Some(least), |interval| interval.longer());
        Some(Self {
            interval: intervals.find(fits)?,
            call_count,
        })
    }

    /// How long after each tick of its interval a call is made: by whole seconds first, then
    /// within [`SPREAD`]. The whole seconds belong to the second that its datums carry.
    #[must_use]
    pub fn shift(&self, index: usize) -> Duration {
        let seconds = usize::try_from(self.interval.seconds()).unwrap_or(usize::MAX);
        let a_second = u32::try_from(self.call_count.div_ceil(seconds)).unwrap_or(u32::MAX);
        let second = u64::try_from(index % seconds).unwrap_or(0);
        let place = u32::try_from(index / seconds).unwrap_or(u32::MAX);
        Duration::from_secs(second) + SPREAD * place.min(a_second) / a_second.max(1)
    }
}

/// How long a changed value waits for those of the same second, if so many calls are made: not at
/// all if there is only one.
#[must_use]
pub fn change_wait(call_count: usize) -> Duration {
    if call_count > 1 {
        SPREAD
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Interval = Interval::ALL[0];

    #[test]
    fn what_fits_is_asked_every_second_and_what_does_not_less_often() {
        let seconds = |calls| {
            let cadence = Cadence::of(calls, SECOND, 10.0, 0.1);
            cadence.map(|cadence| cadence.interval.seconds())
        };
        assert_eq!(seconds(1), Some(1));
        assert_eq!(seconds(9), Some(1));
        assert_eq!(seconds(10), Some(5));
        assert_eq!(seconds(50), Some(10));
        assert_eq!(seconds(500), Some(60));
        assert_eq!(seconds(700), Some(120));
        assert_eq!(seconds(1_000_000), None);
        let slow = Cadence::of(1, Interval::ALL[3], 10.0, 0.0).unwrap();
        assert_eq!(slow.interval, Interval::ALL[3]);
        assert_eq!((change_wait(1), change_wait(2)), (Duration::ZERO, SPREAD));
    }

    proptest! {
        #[test]
        fn no_second_has_more_calls_than_its_part(calls in 1_usize..3_000, per_second in 1_u32..40) {
            let per_second = f64::from(per_second);
            let Some(cadence) = Cadence::of(calls, SECOND, per_second, 0.0) else {
                panic!("an hour is enough for {calls}");
            };
            let mut by_second = BTreeMap::<u64, Vec<Duration>>::new();
            for index in 0..calls {
                let shift = cadence.shift(index);
                prop_assert!(shift < cadence.interval.duration());
                let within = Duration::from_nanos(shift.subsec_nanos().into());
                prop_assert!(within < SPREAD);
                by_second.entry(shift.as_secs()).or_default().push(within);
            }
            for within in by_second.values() {
                let count = f64::from(u32::try_from(within.len()).unwrap());
                prop_assert!(count <= per_second, "{count}");
                prop_assert!(within.is_sorted() && within.windows(2).all(|two| two[0] < two[1]));
            }
        }
    }
}
