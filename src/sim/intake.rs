//! PURE. One stream's judgement of a call: quotas, counters and buffer in one step.
//!
//! What lives here: what happens to valid records that reach an existing stream. What does not:
//! whether they are valid ([`super::validate`]), the answer's looks ([`super::firehose`]) and
//! delivery ([`super::delivery`]). Faults from a file will be asked here, before the quotas.

use jiff::Timestamp;

use super::account::{StreamAccount, Tally};
use super::buffer::{Buffer, Hints};
use super::quota::{Admission, Gate, Quota};

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
    /// Answered record by record.
    Judged {
        /// For each record of the call, in order: its number since the stream's creation if
        /// admitted.
        numbers: Vec<Option<u64>>,
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
    gate: Gate,
    admitted: u64,
    /// What happened so far.
    pub tally: Tally,
    /// What is to be delivered.
    pub buffer: Buffer,
}

impl Intake {
    /// A stream that is created at `now`.
    #[must_use]
    pub(super) fn new(quota: Quota, hints: Hints, now: Timestamp) -> Self {
        Self {
            quota,
            gate: Gate::new(quota, now),
            admitted: 0,
            tally: Tally::default(),
            buffer: Buffer::new(hints),
        }
    }

    /// Judges a valid call that arrived at `now` and buffers what is admitted.
    pub(super) fn put<'a>(
        &mut self,
        now: Timestamp,
        records: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Verdict {
        if self.buffer.is_closed() {
            return Verdict::Closed;
        }
        let sizes: Vec<u64> = records.clone().map(|record| record.len() as u64).collect();
        if self.buffer.waiting().bytes >= BACKLOG_LIMIT_BYTES {
            self.tally.count(now, &sizes, &Admission::Throttled);
            return Verdict::Backlogged;
        }
        let admission = self.gate.admit(now, &sizes);
        self.tally.count(now, &sizes, &admission);
        let Admission::Judged(fits) = admission else {
            return Verdict::Throttled;
        };
        let mut wakes_delivery = false;
        let numbers = records.zip(fits).map(|(record, fits)| {
            fits.then(|| {
                wakes_delivery |= self.buffer.push(now, record);
                self.admitted += 1;
                self.admitted
            })
        });
        let numbers = numbers.collect();
        Verdict::Judged {
            numbers,
            wakes_delivery,
        }
    }

    /// A copy of the stream's account.
    #[must_use]
    pub(super) fn account(&self) -> StreamAccount {
        self.tally.snapshot(self.quota, self.buffer.waiting())
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::Next;
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn put(intake: &mut Intake, records: &[&[u8]]) -> Verdict {
        intake.put(NOW, records.iter().copied())
    }

    #[test]
    fn only_admitted_records_are_numbered_and_buffered() {
        let quota = Quota {
            records: None,
            requests: None,
            bytes: Some(4),
        };
        let mut intake = Intake::new(quota, Hints::default(), NOW);
        let verdict = put(&mut intake, &[b"ab", b"cde", b"fg", b"h"]);
        let numbers = vec![Some(1), None, Some(2), None];
        assert_eq!(
            verdict,
            Verdict::Judged {
                numbers,
                wakes_delivery: true
            }
        );
        intake.buffer.close();
        let Next::Write(batch) = intake.buffer.next(NOW) else {
            panic!("nothing buffered")
        };
        assert_eq!(batch.data, b"abfg");
        assert_eq!(intake.account().total.refused_records, 2);
    }

    #[test]
    fn a_wholly_throttled_call_buffers_nothing() {
        let quota = Quota {
            records: None,
            requests: Some(0),
            bytes: None,
        };
        let mut intake = Intake::new(quota, Hints::default(), NOW);
        assert_eq!(put(&mut intake, &[b"ab"]), Verdict::Throttled);
        assert_eq!(intake.account().waiting.records, 0);
        assert_eq!(intake.account().total.refused_requests, 1);
    }

    #[test]
    fn a_closed_stream_takes_nothing() {
        let mut intake = Intake::new(Quota::UNLIMITED, Hints::default(), NOW);
        intake.buffer.close();
        assert_eq!(put(&mut intake, &[b"ab"]), Verdict::Closed);
        assert_eq!(intake.buffer.next(NOW), Next::Done);
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut intake = Intake::new(Quota::UNLIMITED, Hints::default(), NOW);
        let mebibyte = vec![0; 1 << 20];
        for _ in 0..512 {
            assert_ne!(put(&mut intake, &[&mebibyte]), Verdict::Backlogged);
        }
        assert_eq!(put(&mut intake, &[b"a"]), Verdict::Backlogged);
        intake.buffer.next(NOW);
        intake.buffer.written();
        assert_ne!(put(&mut intake, &[b"a"]), Verdict::Backlogged);
    }
}
