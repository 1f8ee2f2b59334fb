//! PURE. One stream's judgement of a call: faults, quotas, counters and buffer in one step.
//!
//! What lives here: what happens to valid records that reach an existing stream. What does not:
//! whether they are valid ([`super::validate`]), which faults there are ([`crate::faults`]), the
//! answer's looks ([`super`]) and delivery ([`super::delivery`]).

use jiff::Timestamp;

use super::buffer::{Buffer, Hints};
use crate::account::{Amount, StreamAccount, Tally, Weight};
use crate::faults::{CallFaults, QuotaPlan, Start};
use crate::faults_error::{CallError, RecordError};
use crate::quota::{Admission, Gate, Quota};

/// Most bytes that a stream keeps undelivered before it refuses more, so that a full disk or a
/// client faster than gzip does not take all memory. The simulator's bound: AWS keeps 24 hours.
pub(super) const BACKLOG_LIMIT_BYTES: u64 = 512 << 20;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Refused as a whole: the requests' quota is used up.
    Throttled,
    /// Refused as a whole: [`BACKLOG_LIMIT_BYTES`] are undelivered.
    Backlogged,
    /// The stream is being deleted or the simulator stops; the records were not looked at.
    Closed,
    /// Refused as a whole by a fault.
    Failed(CallError),
    /// Answered record by record.
    Judged {
        /// For each record of the call, in order: its number since the stream's creation if
        /// admitted.
        numbers: Vec<Result<u64, RecordError>>,
        /// What was admitted.
        admitted: Amount,
        /// Whether delivery has something new to do.
        wakes_delivery: bool,
    },
}

/// The mutable state of one stream.
///
/// Feed it calls with [`Intake::put`]; drain [`Intake::buffer`] as its contract says.
#[derive(Debug)]
pub(super) struct Intake {
    quota: Quota,
    quota_plan: QuotaPlan,
    gate: Gate,
    admitted: u64,
    /// What happened so far.
    pub tally: Tally,
    /// What is to be delivered.
    pub buffer: Buffer,
}

impl Intake {
    /// A stream that is created at `now`, and the changes of its quota.
    #[must_use]
    pub(super) fn new(quota: Quota, quota_plan: QuotaPlan, hints: Hints, now: Timestamp) -> Self {
        Self {
            quota,
            quota_plan,
            gate: Gate::new(quota, now),
            admitted: 0,
            tally: Tally::default(),
            buffer: Buffer::new(hints),
        }
    }

    /// Judges a valid call that arrived at `now`, with what faults have in store for it, and
    /// buffers what is admitted.
    pub(super) fn put(&mut self, now: Timestamp, records: &[&[u8]], plan: &CallFaults) -> Verdict {
        if self.buffer.is_closed() {
            return Verdict::Closed;
        }
        let weights: Vec<Weight> = records.iter().map(|record| Weight::of(record)).collect();
        if let Start::Refuse(error) = plan.start {
            self.tally.count_refused(now, &weights);
            return Verdict::Failed(error);
        }
        if self.buffer.waiting().bytes >= BACKLOG_LIMIT_BYTES {
            self.tally.count_refused(now, &weights);
            return Verdict::Backlogged;
        }
        // What a fault refuses never meets the quotas of records and bytes.
        let refused = plan.refused(weights.len());
        let sizes: Vec<u64> = weights
            .iter()
            .zip(&refused)
            .filter(|(_, refused)| refused.is_none())
            .map(|(weight, _)| weight.bytes)
            .collect();
        self.change_quota(now);
        let Admission::Judged(fits) = self.gate.admit(now, &sizes) else {
            self.tally.count_refused(now, &weights);
            return Verdict::Throttled;
        };
        let mut fits = fits.into_iter();
        let judged = refused.into_iter().map(|refused| match refused {
            Some(error) => Some(error),
            None if fits.next() == Some(true) => None,
            None => Some(RecordError::ServiceUnavailable),
        });
        let judged: Vec<Option<RecordError>> = judged.collect();
        self.take(now, records, &weights, &judged, plan.is_duplicated)
    }

    /// Counts a call's records, each with why it is refused, and buffers the others.
    fn take(
        &mut self,
        now: Timestamp,
        records: &[&[u8]],
        weights: &[Weight],
        judged: &[Option<RecordError>],
        is_duplicated: bool,
    ) -> Verdict {
        let counted = weights.iter().zip(judged);
        let counted: Vec<_> = counted.map(|(it, error)| (*it, error.is_none())).collect();
        self.tally.count_judged(now, &counted);
        let admitted = Amount::of_call(counted.iter().filter(|it| it.1).map(|it| it.0));
        let mut wakes_delivery = false;
        let mut push_all = |buffer: &mut Buffer| {
            let admitted = records.iter().zip(judged).filter(|(_, it)| it.is_none());
            for (record, _) in admitted {
                wakes_delivery |= buffer.push(now, record);
            }
        };
        push_all(&mut self.buffer);
        if is_duplicated {
            push_all(&mut self.buffer);
            self.tally.count_duplicated(&admitted);
        }
        let number = |error: &Option<RecordError>| match error {
            Some(error) => Err(*error),
            None => {
                self.admitted += 1;
                Ok(self.admitted)
            }
        };
        Verdict::Judged {
            numbers: judged.iter().map(number).collect(),
            admitted,
            wakes_delivery,
        }
    }

    /// Judges by the quota of `now`.
    fn change_quota(&mut self, now: Timestamp) {
        while let Some((at, quota)) = self.quota_plan.next_change(now) {
            self.gate.change(quota, at);
            self.quota = quota;
        }
    }

    /// A copy of the stream's account as it is at `now`.
    #[must_use]
    pub(super) fn account(&mut self, now: Timestamp) -> StreamAccount {
        self.change_quota(now);
        self.tally.snapshot(self.quota, self.buffer.waiting())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::buffer::Next;
    use super::*;
    use crate::faults::Faults;
    use crate::faults_file::parse;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn intake(quota: Quota) -> Intake {
        Intake::new(quota, QuotaPlan::default(), Hints::default(), NOW)
    }

    fn put(intake: &mut Intake, records: &[&[u8]]) -> Verdict {
        intake.put(NOW, records, &CallFaults::default())
    }

    /// The plan for a first batch under this fault.
    fn plan(fault: &str) -> CallFaults {
        let script = parse(&format!("[[fault]]\n{fault}")).unwrap();
        let elapsed = jiff::SignedDuration::ZERO;
        Faults::new(script).plan("firehose:PutRecordBatch", || None, elapsed)
    }

    fn buffered(intake: &mut Intake) -> Vec<u8> {
        intake.buffer.close();
        match intake.buffer.next(NOW) {
            Next::Write(batch) => batch.data.clone(),
            Next::Wait(_) | Next::Done => Vec::new(),
        }
    }

    #[test]
    fn only_admitted_records_are_numbered_and_buffered() {
        let quota = Quota {
            records: None,
            requests: None,
            bytes: Some(4),
        };
        let mut intake = intake(quota);
        let verdict = put(&mut intake, &[b"ab", b"cde", b"f\n", b"h"]);
        let refused = Err(RecordError::ServiceUnavailable);
        let numbers = vec![Ok(1), refused, Ok(2), refused];
        let admitted = Amount {
            calls: 1,
            records: 2,
            rows: 1,
            bytes: 4,
        };
        assert_eq!(
            verdict,
            Verdict::Judged {
                numbers,
                admitted,
                wakes_delivery: true
            }
        );
        assert_eq!(buffered(&mut intake), b"abf\n");
        assert_eq!(intake.account(NOW).total.refused_records, 2);
    }

    #[test]
    fn what_a_fault_refuses_takes_nothing_of_the_quota() {
        let mut intake = intake(Quota {
            records: Some(2),
            requests: Some(1),
            bytes: None,
        });
        let plan = plan("refuse_records = { every = 2, error = \"InternalFailure\" }");
        let records: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        let verdict = intake.put(NOW, &records, &plan);
        let Verdict::Judged { numbers, .. } = verdict else {
            panic!("{verdict:?}")
        };
        let failed = Err(RecordError::InternalFailure);
        let throttled = Err(RecordError::ServiceUnavailable);
        assert_eq!(numbers, [Ok(1), failed, Ok(2), failed, throttled]);
        assert_eq!(put(&mut intake, &[b"f"]), Verdict::Throttled);
        assert_eq!(buffered(&mut intake), b"ac");
    }

    #[test]
    fn duplicates_are_delivered_and_counted_apart() {
        let mut intake = intake(Quota::UNLIMITED);
        let records: [&[u8]; 2] = [b"a\n", b"b\n"];
        intake.put(NOW, &records, &plan("duplicate = true"));
        let account = intake.account(NOW);
        assert_eq!(
            (account.total.admitted_rows, account.duplicated.rows),
            (2, 2)
        );
        assert_eq!(account.waiting.records, 4);
        assert_eq!(buffered(&mut intake), b"a\nb\na\nb\n");
    }

    #[test]
    fn a_call_that_fails_is_counted_as_refused() {
        let mut intake = intake(Quota::UNLIMITED);
        let plan = plan("error = \"ExpiredTokenException\"");
        let verdict = intake.put(NOW, &[b"a"], &plan);
        assert_eq!(verdict, Verdict::Failed(CallError::ExpiredToken));
        let total = intake.account(NOW).total;
        assert_eq!((total.refused_requests, total.refused_records), (1, 1));
        assert!(buffered(&mut intake).is_empty());
    }

    #[test]
    fn a_quota_changes_when_its_time_has_come() {
        let halved = Quota {
            bytes: Some(2),
            ..Quota::UNLIMITED
        };
        let at = |ms| NOW + jiff::SignedDuration::from_millis(ms);
        let changes = vec![
            (jiff::SignedDuration::from_secs(1), halved),
            (jiff::SignedDuration::from_secs(2), Quota::UNLIMITED),
        ];
        let plan = QuotaPlan::new(changes, NOW);
        let mut intake = Intake::new(Quota::UNLIMITED, plan, Hints::default(), NOW);
        let mut admitted = |ms| {
            let records: [&[u8]; 4] = [b"a"; 4];
            match intake.put(at(ms), &records, &CallFaults::default()) {
                Verdict::Judged { admitted, .. } => admitted.records,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([admitted(999), admitted(1_000), admitted(2_000)], [4, 2, 4]);
        assert_eq!(intake.account(at(2_000)).quota, Quota::UNLIMITED);
    }

    #[test]
    fn a_wholly_throttled_call_buffers_nothing() {
        let quota = Quota {
            records: None,
            requests: Some(0),
            bytes: None,
        };
        let mut intake = intake(quota);
        assert_eq!(put(&mut intake, &[b"ab"]), Verdict::Throttled);
        assert_eq!(intake.account(NOW).waiting.records, 0);
        assert_eq!(intake.account(NOW).total.refused_requests, 1);
    }

    #[test]
    fn a_closed_stream_takes_nothing() {
        let mut intake = intake(Quota::UNLIMITED);
        intake.buffer.close();
        assert_eq!(put(&mut intake, &[b"ab"]), Verdict::Closed);
        assert_eq!(intake.buffer.next(NOW), Next::Done);
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut intake = intake(Quota::UNLIMITED);
        let mebibyte = vec![0; 1 << 20];
        for _ in 0..512 {
            assert_ne!(put(&mut intake, &[&mebibyte]), Verdict::Backlogged);
        }
        assert_eq!(put(&mut intake, &[b"a"]), Verdict::Backlogged);
        intake.buffer.next(NOW);
        intake.buffer.written();
        assert_ne!(put(&mut intake, &[b"a"]), Verdict::Backlogged);
    }

    proptest! {
        /// Whatever quotas and faults do: each record is admitted or refused, what is buffered is
        /// what was admitted and its duplicates, and the seconds add up to the whole.
        #[test]
        fn every_row_is_in_the_books(
            records in 0_u64..30, bytes in 0_u64..200,
            calls in prop::collection::vec((0_i64..900, 0_usize..6, 1_usize..12), 1..40),
        ) {
            let faults = [
                "delay = 0",
                "refuse_records = { share = 0.4 }",
                "refuse_records = { every = 2, error = \"InternalFailure\" }",
                "error = \"ThrottlingException\"",
                "duplicate = true",
                "wrong_length = \"long\"",
            ];
            let quota = Quota { records: Some(records), requests: Some(5), bytes: Some(bytes) };
            let mut intake = intake(quota);
            let (mut now_ms, mut offered) = (0, 0);
            for (pause_ms, fault, count) in calls {
                now_ms += pause_ms;
                let now = NOW + jiff::SignedDuration::from_millis(now_ms);
                offered += count as u64;
                let verdict = intake.put(now, &vec![b"a row\n".as_slice(); count], &plan(faults[fault]));
                if let Verdict::Judged { numbers, admitted, .. } = verdict {
                    let taken = numbers.iter().filter(|number| number.is_ok()).count() as u64;
                    prop_assert_eq!((numbers.len(), taken), (count, admitted.records));
                }
            }
            let account = intake.account(NOW);
            let (total, twice) = (account.total, account.duplicated);
            prop_assert_eq!(total.admitted_records + total.refused_records, offered);
            prop_assert_eq!(total.admitted_rows, total.admitted_records);
            let rows = buffered(&mut intake).len() as u64 / 6;
            prop_assert_eq!(rows, total.admitted_rows + twice.rows);
            let admitted: u64 = account.seconds.iter().map(|it| it.counts.admitted_rows).sum();
            prop_assert_eq!(admitted, total.admitted_rows);
        }
    }
}
