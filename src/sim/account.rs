//! PURE. The counters of what was admitted, refused and delivered.
//!
//! What lives here: totals of a stream and its last hour, second by second. What does not: the
//! decision that is counted ([`super::quota`]) and where a reader gets the numbers
//! ([`super::Simulator::accounts`], `GET /account`).

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::calls::CallCounts;
use super::cloudwatch::MetricAccount;
use super::quota::{Admission, Quota};

/// How many seconds with traffic a stream remembers. The totals have no such bound.
pub(super) const SECONDS_KEPT: i64 = 3_600;

/// A record is billed as the next multiple of this many bytes. Source: Amazon Data Firehose
/// pricing, "Direct PUT", as of November 2026.
const BILLING_STEP_BYTES: u64 = 5 * 1_024;

/// What the quotas let through and what they did not.
///
/// A request counts as admitted when the requests' quota let it in, even if every one of its
/// records was then refused; the records of a refused request count as refused. Requests that
/// fail validation never meet the quotas and are in none of these (see [`Accounts::errors`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Calls that the requests' quota let in.
    pub admitted_requests: u64,
    /// Calls refused as a whole: over the requests' quota, or over the simulator's own bound on
    /// undelivered data.
    pub refused_requests: u64,
    /// Records that got a record id.
    pub admitted_records: u64,
    /// Records that did not, in partly or wholly refused calls.
    pub refused_records: u64,
    /// Bytes of data of the admitted records, before base64.
    pub admitted_bytes: u64,
    /// Bytes of data of the refused records, before base64.
    pub refused_bytes: u64,
    /// Bytes that AWS would bill for the admitted records: each rounded up to 5 KiB.
    pub billed_bytes: u64,
}

impl Counts {
    fn add(&mut self, sizes: &[u64], admission: &Admission) {
        match admission {
            Admission::Throttled => {
                self.refused_requests += 1;
                self.refused_records += sizes.len() as u64;
                self.refused_bytes += sizes.iter().sum::<u64>();
            }
            Admission::Judged(verdicts) => {
                self.admitted_requests += 1;
                for (&size, &fits) in sizes.iter().zip(verdicts) {
                    if fits {
                        self.admitted_records += 1;
                        self.admitted_bytes += size;
                        self.billed_bytes += size.next_multiple_of(BILLING_STEP_BYTES);
                    } else {
                        self.refused_records += 1;
                        self.refused_bytes += size;
                    }
                }
            }
        }
    }
}

/// One second of the clock in which at least one call arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QuotaSecond {
    /// Seconds since 1970-01-01 UTC.
    pub second: i64,
    /// What happened in it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What has become objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// Objects written.
    pub objects: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of data in them, before compression.
    pub bytes: u64,
    /// Bytes of the objects as files.
    pub object_bytes: u64,
}

/// The running account of one stream.
#[derive(Debug, Default)]
pub(super) struct Tally {
    total: Counts,
    delivered: Delivered,
    seconds: VecDeque<QuotaSecond>,
}

impl Tally {
    /// Counts a call that arrived at `now` with records of these sizes.
    pub(super) fn count(&mut self, now: Timestamp, sizes: &[u64], admission: &Admission) {
        self.total.add(sizes, admission);
        let second = now.as_second();
        while self
            .seconds
            .front()
            .is_some_and(|oldest| oldest.second <= second - SECONDS_KEPT)
        {
            self.seconds.pop_front();
        }
        match self.seconds.back_mut() {
            // A clock that stepped back is counted in the newest second, which keeps the order.
            Some(newest) if newest.second >= second => newest.counts.add(sizes, admission),
            _ => {
                let mut counts = Counts::default();
                counts.add(sizes, admission);
                self.seconds.push_back(QuotaSecond { second, counts });
            }
        }
    }

    /// Counts one object of `object_bytes` that holds `records` records of `bytes` together.
    pub(super) fn count_object(&mut self, records: u64, bytes: u64, object_bytes: u64) {
        self.delivered.objects += 1;
        self.delivered.records += records;
        self.delivered.bytes += bytes;
        self.delivered.object_bytes += object_bytes;
    }

    /// A copy of everything.
    #[must_use]
    pub(super) fn snapshot(&self, quota: Quota, waiting: Waiting) -> StreamAccount {
        StreamAccount {
            quota,
            total: self.total,
            delivered: self.delivered,
            waiting,
            seconds: self.seconds.iter().copied().collect(),
        }
    }
}

/// What is acknowledged and not yet an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Records.
    pub records: u64,
    /// Their bytes, before compression.
    pub bytes: u64,
}

/// One stream's account at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamAccount {
    /// The quota that it is judged by.
    pub quota: Quota,
    /// Everything since the stream was created.
    pub total: Counts,
    /// What has become objects.
    pub delivered: Delivered,
    /// What has not.
    pub waiting: Waiting,
    /// The seconds with traffic of the last hour, oldest first.
    pub seconds: Vec<QuotaSecond>,
}

/// All accounts at an instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// By the stream's name; a deleted stream's account is gone.
    pub streams: BTreeMap<String, StreamAccount>,
    /// Requests answered with an error, by its code, since the simulator started.
    pub errors: BTreeMap<&'static str, u64>,
    /// Calls since the simulator started, by IAM's name of the operation, such as
    /// `ecs:DescribeClusters`.
    pub calls: BTreeMap<&'static str, CallCounts>,
    /// CloudWatch's metrics, by namespace, name and dimensions.
    pub metrics: Vec<MetricAccount>,
}

impl Accounts {
    /// The calls of this operation; none if there were none.
    #[must_use]
    pub fn calls_of(&self, action: &str) -> CallCounts {
        self.calls.get(action).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    #[test]
    fn a_partial_refusal_is_counted_record_by_record() {
        let mut tally = Tally::default();
        tally.count(
            at(7),
            &[10, 6_000, 30],
            &Admission::Judged(vec![true, true, false]),
        );
        let expected = Counts {
            admitted_requests: 1,
            admitted_records: 2,
            admitted_bytes: 6_010,
            refused_records: 1,
            refused_bytes: 30,
            billed_bytes: 5_120 + 10_240,
            ..Counts::default()
        };
        assert_eq!(tally.total, expected);
    }

    #[test]
    fn a_refused_call_refuses_all_its_records() {
        let mut tally = Tally::default();
        tally.count(at(7), &[10, 20], &Admission::Throttled);
        let expected = Counts {
            refused_requests: 1,
            refused_records: 2,
            refused_bytes: 30,
            ..Counts::default()
        };
        assert_eq!(tally.total, expected);
    }

    #[test]
    fn the_last_hour_is_kept_and_not_a_second_more() {
        let mut tally = Tally::default();
        for second in 0..10_000 {
            tally.count(at(second), &[1], &Admission::Judged(vec![true]));
        }
        let account = tally.snapshot(Quota::UNLIMITED, Waiting::default());
        assert_eq!(account.seconds.len(), 3_600);
        assert_eq!(account.seconds[0].second, 6_400);
        assert_eq!(account.total.admitted_records, 10_000);
    }

    #[test]
    fn calls_of_one_second_share_an_entry_even_if_the_clock_steps_back() {
        let mut tally = Tally::default();
        for second in [5, 5, 4, 6] {
            tally.count(at(second), &[1], &Admission::Judged(vec![true]));
        }
        let account = tally.snapshot(Quota::UNLIMITED, Waiting::default());
        let seconds: Vec<_> = account
            .seconds
            .iter()
            .map(|s| (s.second, s.counts.admitted_requests))
            .collect();
        assert_eq!(seconds, [(5, 3), (6, 1)]);
    }
}
