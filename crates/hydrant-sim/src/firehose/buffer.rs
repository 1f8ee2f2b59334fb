//! PURE. What a stream has acknowledged and not yet delivered.
//!
//! What lives here: when a buffer is full or old enough to become an object. What does not:
//! objects and clocks ([`super::delivery`]).
//!
//! Calling contract of [`Buffer`]: feed it records with [`Buffer::push`]; drain it with
//! [`Buffer::next`], which says what to do or when to ask again, and [`Buffer::written`], once
//! for each batch that [`Buffer::next`] handed out and that is safe on disk. A batch stays in
//! the buffer until then, so a failed write loses nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::account::Waiting;

/// When a buffer becomes an object: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// Bytes before compression.
    pub bytes: u64,
    /// Age of the oldest record, in seconds.
    pub interval_s: u32,
}

impl Hints {
    /// Least bytes. Source for all of these: API reference, `BufferingHints`.
    pub const MIN_BYTES: u64 = 1 << 20;
    /// Most bytes.
    pub const MAX_BYTES: u64 = 128 << 20;
    /// Longest interval, in seconds; the shortest is 0.
    pub const MAX_INTERVAL_S: u32 = 900;
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            bytes: 5 << 20,
            interval_s: 300,
        }
    }
}

/// Records that become one object, concatenated without a delimiter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The records' data in the order of arrival.
    pub data: Vec<u8>,
    /// How many.
    pub records: u64,
    /// When the first of them arrived.
    pub oldest: Timestamp,
}

/// What is to be done about a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write this as an object, then call [`Buffer::written`].
    Write(Arc<Batch>),
    /// Nothing before this time, or before [`Buffer::push`] or [`Buffer::close`] says so.
    Wait(Option<Timestamp>),
    /// Closed and empty: there will never be anything again.
    Done,
}

/// The undelivered records of one stream.
#[derive(Debug)]
pub(super) struct Buffer {
    hints: Hints,
    open: Option<Batch>,
    sealed: VecDeque<Arc<Batch>>,
    waiting: Waiting,
    closed: bool,
}

impl Buffer {
    /// An empty one.
    #[must_use]
    pub(super) fn new(hints: Hints) -> Self {
        Self {
            hints,
            open: None,
            sealed: VecDeque::new(),
            waiting: Waiting::default(),
            closed: false,
        }
    }

    /// Appends one record that arrived at `now`, and says whether [`Buffer::next`] would now
    /// answer differently than before.
    ///
    /// The record that reaches the limit is still part of the object, so that objects are
    /// somewhat over rather than under it: "record boundaries might be such that the size is a
    /// little over or under the configured buffering size" (API reference).
    pub(super) fn push(&mut self, now: Timestamp, record: &[u8]) -> bool {
        let is_first = self.open.is_none();
        let open = self.open.get_or_insert_with(|| Batch {
            data: Vec::new(),
            records: 0,
            oldest: now,
        });
        open.data.extend_from_slice(record);
        open.records += 1;
        self.waiting.records += 1;
        self.waiting.bytes += record.len() as u64;
        let is_full = open.data.len() as u64 >= self.hints.bytes;
        if is_full {
            self.seal();
        }
        is_first || is_full
    }

    /// What to do at `now`.
    pub(super) fn next(&mut self, now: Timestamp) -> Next {
        if self.closed || self.deadline().is_some_and(|deadline| deadline <= now) {
            self.seal();
        }
        match self.sealed.front() {
            Some(batch) => Next::Write(Arc::clone(batch)),
            None if self.closed => Next::Done,
            None => Next::Wait(self.deadline()),
        }
    }

    /// Forgets the batch that [`Buffer::next`] handed out, because it is an object now.
    pub(super) fn written(&mut self) {
        if let Some(batch) = self.sealed.pop_front() {
            self.waiting.records -= batch.records;
            self.waiting.bytes -= batch.data.len() as u64;
        }
    }

    /// Lets [`Buffer::next`] drain everything at once and then say [`Next::Done`]. Nothing may
    /// be pushed from then on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether [`Buffer::close`] was called.
    #[must_use]
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// What is acknowledged and not yet an object.
    #[must_use]
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting
    }

    fn deadline(&self) -> Option<Timestamp> {
        let interval = SignedDuration::from_secs(self.hints.interval_s.into());
        self.open
            .as_ref()
            .and_then(|open| open.oldest.checked_add(interval).ok())
    }

    fn seal(&mut self) {
        self.sealed.extend(self.open.take().map(Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_ms(ms: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms)
    }

    fn buffer(bytes: u64, interval_s: u32) -> Buffer {
        Buffer::new(Hints { bytes, interval_s })
    }

    fn data(next: Next) -> Vec<u8> {
        match next {
            Next::Write(batch) => batch.data.clone(),
            other => panic!("nothing to write but {other:?}"),
        }
    }

    #[test]
    fn the_byte_that_reaches_the_limit_seals_and_one_less_does_not() {
        let mut buffer = buffer(10, 300);
        assert!(
            buffer.push(at_ms(0), b"12345"),
            "the first record starts the interval"
        );
        assert!(!buffer.push(at_ms(1), b"6789"));
        assert_eq!(buffer.next(at_ms(1)), Next::Wait(Some(at_ms(300_000))));
        assert!(buffer.push(at_ms(2), b"0"));
        assert_eq!(data(buffer.next(at_ms(2))), b"1234567890");
    }

    #[test]
    fn the_oldest_record_starts_the_interval() {
        let mut buffer = buffer(10, 2);
        buffer.push(at_ms(500), b"a");
        buffer.push(at_ms(2_400), b"b");
        assert_eq!(buffer.next(at_ms(2_499)), Next::Wait(Some(at_ms(2_500))));
        assert_eq!(data(buffer.next(at_ms(2_500))), b"ab");
    }

    #[test]
    fn an_interval_of_zero_delivers_at_once() {
        let mut buffer = buffer(10, 0);
        buffer.push(at_ms(5), b"a");
        assert_eq!(data(buffer.next(at_ms(5))), b"a");
    }

    #[test]
    fn a_batch_is_handed_out_again_until_it_is_written() {
        let mut buffer = buffer(1, 300);
        buffer.push(at_ms(0), b"a");
        buffer.push(at_ms(0), b"b");
        assert_eq!(data(buffer.next(at_ms(0))), b"a");
        assert_eq!(data(buffer.next(at_ms(0))), b"a");
        assert_eq!(
            buffer.waiting(),
            Waiting {
                records: 2,
                bytes: 2
            }
        );
        buffer.written();
        assert_eq!(data(buffer.next(at_ms(0))), b"b");
        assert_eq!(
            buffer.waiting(),
            Waiting {
                records: 1,
                bytes: 1
            }
        );
    }

    #[test]
    fn closing_drains_and_ends() {
        let mut buffer = buffer(10, 300);
        buffer.push(at_ms(0), b"a");
        buffer.close();
        assert_eq!(data(buffer.next(at_ms(0))), b"a");
        buffer.written();
        assert_eq!(buffer.next(at_ms(0)), Next::Done);
        assert_eq!(buffer.waiting(), Waiting::default());
    }

    proptest! {
        /// Whatever arrives comes out once, in order, with the age of its oldest record.
        #[test]
        fn nothing_is_lost_and_nothing_is_reordered(
            limit in 1_u64..40, interval_s in 0_u32..3,
            steps in prop::collection::vec((0_i64..900, prop::collection::vec(any::<u8>(), 0..20), any::<bool>()), 0..80),
        ) {
            let mut buffer = buffer(limit, interval_s);
            let (mut now_ms, mut pushed, mut drained) = (0, Vec::new(), Vec::new());
            let drain = |buffer: &mut Buffer, now, drained: &mut Vec<u8>| {
                while let Next::Write(batch) = buffer.next(now) {
                    drained.extend_from_slice(&batch.data);
                    buffer.written();
                }
            };
            for (pause_ms, record, drains) in steps {
                now_ms += pause_ms;
                buffer.push(at_ms(now_ms), &record);
                pushed.extend_from_slice(&record);
                if drains {
                    drain(&mut buffer, at_ms(now_ms), &mut drained);
                }
            }
            buffer.close();
            drain(&mut buffer, at_ms(now_ms), &mut drained);
            prop_assert_eq!(drained, pushed);
            prop_assert_eq!(buffer.waiting(), Waiting::default());
            prop_assert_eq!(buffer.next(at_ms(now_ms)), Next::Done);
        }
    }
}
