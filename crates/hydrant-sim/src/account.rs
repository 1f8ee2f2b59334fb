//! PURE. The counters of what was admitted, refused and delivered.
//!
//! What lives here: totals of a stream and its last hour, second by second. What does not: the
//! decision that is counted ([`super::quota`], [`super::faults`]) and where a reader gets the
//! numbers ([`super::Simulator::accounts`], `GET /account`).
//!
//! Rows are line feeds: a client that ends each row with one, and has none within a row, can
//! compare what it sent with `admitted_rows` and what it finds with `delivered.rows`.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::calls::CallCounts;
use super::cloudwatch::MetricAccount;
use super::faults::FaultAccount;
use super::quota::Quota;

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
    /// Calls refused as a whole: over the requests' quota, over the simulator's own bound on
    /// undelivered data, or with a fault's error.
    pub refused_requests: u64,
    /// Records that got a record id.
    pub admitted_records: u64,
    /// Rows in them.
    pub admitted_rows: u64,
    /// Records that did not, in partly or wholly refused calls.
    pub refused_records: u64,
    /// Bytes of data of the admitted records, before base64.
    pub admitted_bytes: u64,
    /// Bytes of data of the refused records, before base64.
    pub refused_bytes: u64,
    /// Bytes that AWS would bill for the admitted records: each rounded up to 5 KiB.
    pub billed_bytes: u64,
}

/// A record as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    /// Bytes of data, before base64.
    pub bytes: u64,
    /// Line feeds.
    pub rows: u64,
}

impl Weight {
    /// Weighs a record.
    #[must_use]
    pub(super) fn of(record: &[u8]) -> Self {
        Self {
            bytes: record.len() as u64,
            rows: count_rows(record),
        }
    }
}

/// How many rows end in these bytes.
#[must_use]
pub(super) fn count_rows(data: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', data).count() as u64
}

impl Counts {
    /// A call that was refused as a whole.
    fn add_refused(&mut self, records: &[Weight]) {
        self.refused_requests += 1;
        self.refused_records += records.len() as u64;
        self.refused_bytes += records.iter().map(|record| record.bytes).sum::<u64>();
    }

    /// A call that was judged record by record.
    fn add_judged(&mut self, records: &[(Weight, bool)]) {
        self.admitted_requests += 1;
        for (record, is_admitted) in records {
            if *is_admitted {
                self.admitted_records += 1;
                self.admitted_rows += record.rows;
                self.admitted_bytes += record.bytes;
                self.billed_bytes += record.bytes.next_multiple_of(BILLING_STEP_BYTES);
            } else {
                self.refused_records += 1;
                self.refused_bytes += record.bytes;
            }
        }
    }
}

/// One second of the clock in which at least one call arrived or an object was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct QuotaSecond {
    /// Seconds since 1970-01-01 UTC.
    pub second: i64,
    /// What was admitted and refused in it.
    #[serde(flatten)]
    pub counts: Counts,
    /// What became objects in it.
    pub delivered: Delivered,
}

/// What has become objects. `records` and `rows` are those admitted and their duplicates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// Objects written.
    pub objects: u64,
    /// Records in them.
    pub records: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of data in them, before compression.
    pub bytes: u64,
    /// Bytes of the objects as files.
    pub object_bytes: u64,
}

impl Delivered {
    fn add(&mut self, other: &Self) {
        self.objects += other.objects;
        self.records += other.records;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.object_bytes += other.object_bytes;
    }
}

/// Admitted records of which something is to be remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Calls that brought them.
    pub calls: u64,
    /// The records.
    pub records: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes, before base64.
    pub bytes: u64,
}

impl Amount {
    /// These records of one call; nothing if there are none.
    #[must_use]
    pub(super) fn of_call(records: impl Iterator<Item = Weight>) -> Self {
        records.fold(Self::default(), |sum, record| Self {
            calls: 1,
            records: sum.records + 1,
            rows: sum.rows + record.rows,
            bytes: sum.bytes + record.bytes,
        })
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.records += other.records;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// The running account of one stream.
#[derive(Debug, Default)]
pub(super) struct Tally {
    total: Counts,
    delivered: Delivered,
    duplicated: Amount,
    unconfirmed: Amount,
    seconds: VecDeque<QuotaSecond>,
}

impl Tally {
    /// Counts a call that arrived at `now` and was refused as a whole.
    pub(super) fn count_refused(&mut self, now: Timestamp, records: &[Weight]) {
        self.total.add_refused(records);
        self.second(now).counts.add_refused(records);
    }

    /// Counts a call that arrived at `now`, each record with whether it was admitted.
    pub(super) fn count_judged(&mut self, now: Timestamp, records: &[(Weight, bool)]) {
        self.total.add_judged(records);
        self.second(now).counts.add_judged(records);
    }

    /// Counts what a fault delivers once more.
    pub(super) fn count_duplicated(&mut self, amount: &Amount) {
        self.duplicated.add(amount);
    }

    /// Counts what was admitted and not confirmed to the client.
    pub(super) fn count_unconfirmed(&mut self, amount: &Amount) {
        self.unconfirmed.add(amount);
    }

    /// Counts what became objects at `now`.
    pub(super) fn count_delivered(&mut self, now: Timestamp, delivered: &Delivered) {
        self.delivered.add(delivered);
        self.second(now).delivered.add(delivered);
    }

    /// The entry of this second. A clock that stepped back is counted in the newest second, which
    /// keeps the order.
    fn second(&mut self, now: Timestamp) -> &mut QuotaSecond {
        let second = now.as_second();
        while self
            .seconds
            .front()
            .is_some_and(|oldest| oldest.second <= second - SECONDS_KEPT)
        {
            self.seconds.pop_front();
        }
        let is_new = self
            .seconds
            .back()
            .is_none_or(|newest| newest.second < second);
        let number = self.seconds.len() - usize::from(!is_new);
        if is_new {
            self.seconds.push_back(QuotaSecond {
                second,
                ..QuotaSecond::default()
            });
        }
        &mut self.seconds[number]
    }

    /// A copy of everything.
    #[must_use]
    pub(super) fn snapshot(&self, quota: Quota, waiting: Waiting) -> StreamAccount {
        StreamAccount {
            quota,
            total: self.total,
            delivered: self.delivered,
            duplicated: self.duplicated,
            unconfirmed: self.unconfirmed,
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
    /// The quota that it is judged by now.
    pub quota: Quota,
    /// Everything since the stream was created.
    pub total: Counts,
    /// What has become objects.
    pub delivered: Delivered,
    /// What faults deliver once more than it was admitted.
    pub duplicated: Amount,
    /// What was admitted by calls whose answer never reached the client, as far as that can be
    /// seen, or was a wrong one. A client that loses nothing sends it again, so that this much is
    /// there twice; only what is beyond it and `duplicated` is the client's mistake.
    pub unconfirmed: Amount,
    /// What has not become objects.
    pub waiting: Waiting,
    /// The seconds with traffic of the last hour, oldest first.
    pub seconds: Vec<QuotaSecond>,
}

/// All accounts at an instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Accounts {
    /// By the stream's name; a deleted stream's account is gone.
    pub streams: BTreeMap<String, StreamAccount>,
    /// Errors that calls were answered with, by their code, since the simulator started.
    pub errors: BTreeMap<&'static str, u64>,
    /// Calls since the simulator started, by IAM's name of the operation, such as
    /// `ecs:DescribeClusters`.
    pub calls: BTreeMap<&'static str, CallCounts>,
    /// CloudWatch's metrics, by namespace, name and dimensions.
    pub metrics: Vec<MetricAccount>,
    /// Data that CloudWatch accepted in calls whose answer never reached the client, as far as
    /// that can be seen, or was a wrong one: as `unconfirmed` of a stream.
    pub unconfirmed_data: u64,
    /// The faults, in the order of their file.
    pub faults: Vec<FaultAccount>,
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

    fn weights<const N: usize>(sizes: [u64; N]) -> [Weight; N] {
        sizes.map(|bytes| Weight { bytes, rows: 2 })
    }

    const ROW: (Weight, bool) = (Weight { bytes: 1, rows: 1 }, true);

    #[test]
    fn a_partial_refusal_is_counted_record_by_record() {
        let mut tally = Tally::default();
        let [a, b, c] = weights([10, 6_000, 30]);
        tally.count_judged(at(7), &[(a, true), (b, true), (c, false)]);
        let expected = Counts {
            admitted_requests: 1,
            admitted_records: 2,
            admitted_rows: 4,
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
        tally.count_refused(at(7), &weights([10, 20]));
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
            tally.count_judged(at(second), &[ROW]);
        }
        let account = tally.snapshot(Quota::UNLIMITED, Waiting::default());
        assert_eq!(account.seconds.len(), 3_600);
        assert_eq!(account.seconds[0].second, 6_400);
        assert_eq!(account.total.admitted_records, 10_000);
    }

    #[test]
    fn what_happens_in_one_second_shares_an_entry_even_if_the_clock_steps_back() {
        let mut tally = Tally::default();
        for second in [5, 5, 4, 6] {
            tally.count_judged(at(second), &[ROW]);
        }
        for second in [6, 5, 8] {
            let object = Delivered {
                objects: 1,
                rows: 3,
                ..Delivered::default()
            };
            tally.count_delivered(at(second), &object);
        }
        let account = tally.snapshot(Quota::UNLIMITED, Waiting::default());
        let seconds: Vec<_> = account
            .seconds
            .iter()
            .map(|s| (s.second, s.counts.admitted_requests, s.delivered.rows))
            .collect();
        assert_eq!(seconds, [(5, 3, 0), (6, 1, 6), (8, 0, 3)]);
        assert_eq!(account.delivered.objects, 3);
    }

    #[test]
    fn an_amount_of_no_records_is_no_call() {
        assert_eq!(Amount::of_call(std::iter::empty()), Amount::default());
        let expected = Amount {
            calls: 1,
            records: 2,
            rows: 4,
            bytes: 12,
        };
        assert_eq!(Amount::of_call(weights([5, 7]).into_iter()), expected);
        assert_eq!(Weight::of(b"a\nb\nc"), Weight { bytes: 5, rows: 2 });
    }
}
