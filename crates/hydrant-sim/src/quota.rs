//! PURE. The three quotas of a stream, as token buckets that are told the time.
//!
//! What lives here: how much a stream lets through, and which records of a call. What does not:
//! clocks, counters ([`super::account`]) and how a refusal looks on the wire
//! ([`super::firehose`]). Nothing is shared with the client's pacing: a judge that borrowed the
//! defendant's arithmetic would share its mistakes.
//!
//! A bucket holds at most one second of its quota and refills continuously, so the burst is
//! defined: in any span of `d` seconds at most `quota * (1 + d)` gets through. A client that
//! was idle may therefore send one second's quota at once, and no more than the quota a second
//! from then on. AWS publishes the quotas, not the bucket's shape; see the "not verified on AWS"
//! list.

use jiff::Timestamp;
use serde::Serialize;

/// What a stream lets through in a second; `None` is no limit.
///
/// The three are published per stream and per region, for `PutRecord` and `PutRecordBatch`
/// together, in the Amazon Data Firehose Developer Guide, "Amazon Data Firehose Quota".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Records a second.
    pub records: Option<u64>,
    /// Calls a second.
    pub requests: Option<u64>,
    /// Bytes of data a second, before base64.
    pub bytes: Option<u64>,
}

impl Quota {
    /// The default quota in us-east-1, us-west-2 and eu-west-1.
    pub const LARGE_REGION: Self = Self {
        records: Some(500_000),
        requests: Some(2_000),
        bytes: Some(5 << 20),
    };
    /// The default quota in every other region.
    pub const OTHER_REGION: Self = Self {
        records: Some(100_000),
        requests: Some(1_000),
        bytes: Some(1 << 20),
    };
    /// No quota: only the limits of a single request are enforced.
    pub const UNLIMITED: Self = Self {
        records: None,
        requests: None,
        bytes: None,
    };
}

/// A bucket of tokens: full at first, never above its burst, which is one second's quota unless
/// said otherwise.
///
/// Call [`Bucket::refill`] with the time before asking or taking. Tokens are counted in
/// billionths, so that refilling by nanoseconds is exact and loses nothing to rounding.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Tokens a second; `None` is bottomless.
    rate: Option<u64>,
    /// Most tokens.
    burst: u64,
    /// Billionths of a token that are there.
    filled: u128,
    /// When `filled` was right.
    at: Timestamp,
}

const BILLIONTHS: u128 = 1_000_000_000;

impl Bucket {
    fn new(rate: Option<u64>, now: Timestamp) -> Self {
        Self::with_burst(rate, rate.unwrap_or(0), now)
    }

    /// A bucket of `burst` tokens, full at `now`.
    #[must_use]
    pub(super) fn with_burst(rate: Option<u64>, burst: u64, now: Timestamp) -> Self {
        Self {
            rate,
            burst,
            filled: u128::from(burst) * BILLIONTHS,
            at: now,
        }
    }

    /// Gives another rate from `at` on, with its second's burst. What is there stays, as far as
    /// the new burst holds it; a bucket that was bottomless is full.
    fn change(&mut self, rate: Option<u64>, at: Timestamp) {
        if self.rate == rate {
            return;
        }
        let before = self.rate;
        self.refill(at);
        *self = Self {
            filled: self.filled,
            ..Self::new(rate, at)
        };
        let capacity = u128::from(self.burst) * BILLIONTHS;
        self.filled = before.map_or(capacity, |_| self.filled.min(capacity));
    }

    /// Takes one token at `now`, and says whether there was one.
    pub(super) fn admit_one(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        let is_admitted = self.has(1);
        if is_admitted {
            self.take(1);
        }
        is_admitted
    }

    /// Adds what the time since the last refill brings. Time that stands still or steps back
    /// brings nothing.
    fn refill(&mut self, now: Timestamp) {
        let Some(rate) = self.rate else { return };
        let elapsed_ns = now.as_nanosecond() - self.at.as_nanosecond();
        let Ok(elapsed_ns) = u128::try_from(elapsed_ns) else {
            return;
        };
        let capacity = u128::from(self.burst) * BILLIONTHS;
        let gain = u128::from(rate).saturating_mul(elapsed_ns);
        self.filled = self.filled.saturating_add(gain).min(capacity);
        self.at = now;
    }

    fn has(&self, tokens: u64) -> bool {
        self.rate.is_none() || self.filled >= u128::from(tokens) * BILLIONTHS
    }

    fn take(&mut self, tokens: u64) {
        if self.rate.is_some() {
            self.filled = self.filled.saturating_sub(u128::from(tokens) * BILLIONTHS);
        }
    }
}

/// What the quotas say to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// The requests' quota is used up: nothing of the call is looked at.
    Throttled,
    /// One answer for each record, in the call's order: whether it got through.
    Judged(Vec<bool>),
}

/// The three buckets of one stream.
///
/// Feed it calls with [`Gate::admit`] and new quotas with [`Gate::change`], in the order of time;
/// it has nothing to drain.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    records: Bucket,
    requests: Bucket,
    bytes: Bucket,
}

impl Gate {
    /// Buckets that are full at `now`.
    #[must_use]
    pub(super) fn new(quota: Quota, now: Timestamp) -> Self {
        Self {
            records: Bucket::new(quota.records, now),
            requests: Bucket::new(quota.requests, now),
            bytes: Bucket::new(quota.bytes, now),
        }
    }

    /// Judges by another quota from `at` on.
    pub(super) fn change(&mut self, quota: Quota, at: Timestamp) {
        self.records.change(quota.records, at);
        self.requests.change(quota.requests, at);
        self.bytes.change(quota.bytes, at);
    }

    /// Judges a call whose records have these sizes in bytes, before base64.
    ///
    /// A record gets through when there is a token for it and a token for each of its bytes.
    /// One that does not fit stops none behind it: "a single record failure does not stop the
    /// processing of subsequent records" (API reference, `PutRecordBatch`). A record larger than
    /// a second's bytes never gets through; there is no exemption for the first. A call of which
    /// nothing gets through is still judged record by record, as seen in
    /// awslabs/amazon-kinesis-agent#29 ("Sent: 0, Failed: 500").
    pub(super) fn admit(&mut self, now: Timestamp, sizes: &[u64]) -> Admission {
        for bucket in [&mut self.records, &mut self.requests, &mut self.bytes] {
            bucket.refill(now);
        }
        if !self.requests.has(1) {
            return Admission::Throttled;
        }
        self.requests.take(1);
        let judged = sizes.iter().map(|&size| {
            let fits = self.records.has(1) && self.bytes.has(size);
            if fits {
                self.records.take(1);
                self.bytes.take(size);
            }
            fits
        });
        Admission::Judged(judged.collect())
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn at_ms(ms: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms)
    }

    fn quota(records: u64, requests: u64, bytes: u64) -> Quota {
        Quota {
            records: Some(records),
            requests: Some(requests),
            bytes: Some(bytes),
        }
    }

    #[test]
    fn a_burst_may_differ_from_the_rate() {
        let mut bucket = Bucket::with_burst(Some(2), 5, at_ms(0));
        let mut admitted = |ms| (0..9).filter(|_| bucket.admit_one(at_ms(ms))).count();
        assert_eq!([admitted(0), admitted(1_000), admitted(60_000)], [5, 2, 5]);
        let mut bottomless = Bucket::with_burst(None, 0, at_ms(0));
        assert!((0..999).all(|_| bottomless.admit_one(at_ms(0))));
    }

    #[test]
    fn a_full_bucket_holds_exactly_one_second() {
        let mut gate = Gate::new(quota(3, 10, 1_000), at_ms(0));
        let verdict = gate.admit(at_ms(0), &[1, 1, 1, 1]);
        assert_eq!(verdict, Admission::Judged(vec![true, true, true, false]));
    }

    #[test]
    fn idling_does_not_save_up_more_than_one_second() {
        let mut gate = Gate::new(quota(3, 10, 1_000), at_ms(0));
        let verdict = gate.admit(at_ms(3_600_000), &[1, 1, 1, 1]);
        assert_eq!(verdict, Admission::Judged(vec![true, true, true, false]));
    }

    #[test]
    fn tokens_come_back_continuously_and_to_the_nanosecond() {
        let mut gate = Gate::new(quota(3, 1_000, 1_000), at_ms(0));
        gate.admit(at_ms(0), &[1, 1, 1]);
        // A third of a second brings one token of three, and not a nanosecond earlier.
        let just_before = at_ms(0) + SignedDuration::from_nanos(333_333_333);
        let just_after = at_ms(0) + SignedDuration::from_nanos(333_333_334);
        assert_eq!(
            gate.admit(just_before, &[1]),
            Admission::Judged(vec![false])
        );
        assert_eq!(
            gate.admit(just_after, &[1, 1]),
            Admission::Judged(vec![true, false])
        );
    }

    #[test]
    fn a_record_that_does_not_fit_stops_none_behind_it() {
        let mut gate = Gate::new(quota(10, 10, 100), at_ms(0));
        let verdict = gate.admit(at_ms(0), &[60, 60, 40, 1, 0]);
        assert_eq!(
            verdict,
            Admission::Judged(vec![true, false, true, false, true])
        );
    }

    #[test]
    fn a_record_over_a_seconds_bytes_never_gets_through() {
        let mut gate = Gate::new(quota(10, 10, 100), at_ms(0));
        assert_eq!(gate.admit(at_ms(0), &[101]), Admission::Judged(vec![false]));
        assert_eq!(
            gate.admit(at_ms(9_000), &[101, 100]),
            Admission::Judged(vec![false, true])
        );
    }

    #[test]
    fn an_empty_requests_bucket_refuses_the_call_and_takes_no_records() {
        let mut gate = Gate::new(quota(10, 1, 100), at_ms(0));
        assert_eq!(
            gate.admit(at_ms(0), &[1; 9]),
            Admission::Judged(vec![true; 9])
        );
        assert_eq!(gate.admit(at_ms(0), &[1]), Admission::Throttled);
        assert_eq!(gate.admit(at_ms(999), &[1]), Admission::Throttled);
        assert_eq!(
            gate.admit(at_ms(1_000), &[1; 10]),
            Admission::Judged(vec![true; 10])
        );
    }

    #[test]
    fn no_quota_refuses_nothing_and_a_quota_of_zero_everything() {
        let mut open = Gate::new(Quota::UNLIMITED, at_ms(0));
        assert_eq!(
            open.admit(at_ms(0), &[u64::MAX; 9]),
            Admission::Judged(vec![true; 9])
        );
        let mut shut = Gate::new(quota(0, 10, 10), at_ms(0));
        assert_eq!(
            shut.admit(at_ms(9_000), &[1]),
            Admission::Judged(vec![false])
        );
    }

    #[test]
    fn a_changed_quota_holds_from_its_very_instant() {
        let mut gate = Gate::new(quota(100, 1_000, 1_000), at_ms(0));
        gate.admit(at_ms(0), &[1; 100]);
        // Half a second at 100 brings more than the new burst of 10 holds.
        gate.change(quota(10, 1_000, 1_000), at_ms(500));
        let admitted = |verdict| match verdict {
            Admission::Judged(fits) => fits.into_iter().filter(|fits| *fits).count(),
            Admission::Throttled => panic!("throttled"),
        };
        assert_eq!(admitted(gate.admit(at_ms(1_000), &[1; 100])), 10);
        assert_eq!(admitted(gate.admit(at_ms(2_000), &[1; 100])), 10);
        gate.change(quota(100, 1_000, 1_000), at_ms(2_500));
        assert_eq!(admitted(gate.admit(at_ms(3_000), &[1; 100])), 5 + 50);
    }

    #[test]
    fn a_quota_that_appears_starts_full_and_one_that_goes_away_refuses_nothing() {
        let mut gate = Gate::new(Quota::UNLIMITED, at_ms(0));
        gate.change(quota(2, 10, 100), at_ms(10));
        let verdict = gate.admit(at_ms(10), &[1; 3]);
        assert_eq!(verdict, Admission::Judged(vec![true, true, false]));
        gate.change(Quota::UNLIMITED, at_ms(20));
        let verdict = gate.admit(at_ms(20), &[1; 3]);
        assert_eq!(verdict, Admission::Judged(vec![true; 3]));
    }

    #[test]
    fn a_clock_that_steps_back_brings_nothing_and_breaks_nothing() {
        let mut gate = Gate::new(quota(1, 10, 10), at_ms(10_000));
        assert_eq!(
            gate.admit(at_ms(10_000), &[1]),
            Admission::Judged(vec![true])
        );
        assert_eq!(
            gate.admit(at_ms(5_000), &[1]),
            Admission::Judged(vec![false])
        );
        assert_eq!(
            gate.admit(at_ms(10_500), &[1]),
            Admission::Judged(vec![false])
        );
        assert_eq!(
            gate.admit(at_ms(11_000), &[1]),
            Admission::Judged(vec![true])
        );
    }

    /// One admitted call: when, in milliseconds, and the records and bytes it got through.
    type Passed = (i64, u64, u64);

    fn drive(gate: &mut Gate, calls: &[(u16, Vec<u64>)]) -> Vec<Passed> {
        let mut now_ms = 0;
        let mut passed = Vec::new();
        for (pause_ms, sizes) in calls {
            now_ms += i64::from(*pause_ms);
            if let Admission::Judged(verdicts) = gate.admit(at_ms(now_ms), sizes) {
                let admitted = sizes.iter().zip(&verdicts).filter(|(_, fits)| **fits);
                let bytes = admitted.clone().map(|(size, _)| size).sum();
                passed.push((now_ms, admitted.count() as u64, bytes));
            }
        }
        passed
    }

    proptest! {
        /// The burst's definition: over every span, at most the quota times one second more.
        #[test]
        fn no_span_exceeds_its_quota_plus_one_second(
            records in 1_u64..50, requests in 1_u64..20, bytes in 1_u64..5_000,
            calls in prop::collection::vec((0_u16..700, prop::collection::vec(0_u64..400, 1..12)), 1..60),
        ) {
            let mut gate = Gate::new(quota(records, requests, bytes), at_ms(0));
            let passed = drive(&mut gate, &calls);
            for (first, &(from_ms, ..)) in passed.iter().enumerate() {
                let mut sum = (0, 0, 0);
                for &(to_ms, call_records, call_bytes) in &passed[first..] {
                    sum = (sum.0 + call_records, sum.1 + 1, sum.2 + call_bytes);
                    let span_ms = u64::try_from(to_ms - from_ms).unwrap() + 1_000;
                    prop_assert!(sum.0 * 1_000 <= records * span_ms);
                    prop_assert!(sum.1 * 1_000 <= requests * span_ms);
                    prop_assert!(sum.2 * 1_000 <= bytes * span_ms);
                }
            }
        }

        /// A client that stays within the quota is never refused: the judge is fair.
        #[test]
        fn a_client_within_its_quota_is_never_refused(
            steps in prop::collection::vec(1_u16..2_000, 1..80),
        ) {
            let mut gate = Gate::new(quota(1_000, 1_000, 1_000), at_ms(0));
            let mut now_ms = 0;
            gate.admit(at_ms(0), &vec![1; 1_000]);
            for pause_ms in steps {
                now_ms += i64::from(pause_ms);
                let sizes = vec![1; usize::from(pause_ms.min(1_000))];
                let verdict = gate.admit(at_ms(now_ms), &sizes);
                prop_assert_eq!(verdict, Admission::Judged(vec![true; sizes.len()]));
            }
        }
    }
}
