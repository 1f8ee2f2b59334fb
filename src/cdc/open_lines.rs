//! The lines of a table that are not on their way to the sink: those of the open batch, and of full ones and dead
//! letters whose rows may still be taken back.

use std::sync::Arc;
use std::time::Instant;

use crate::batch::{Batch, SealedBatch};

use super::prefix::Prefix;
use super::server::Mark;

/// What a batch needs from outside when it is opened and when it is full.
pub(super) trait Outlet {
    /// Numbers a new batch.
    fn open(&mut self) -> u64;
    /// Takes a full batch, and the lines of its table up to its end, if the sink stages objects.
    fn full(&mut self, batch: SealedBatch, prefix: Option<Prefix>);
    /// A batch of this number will not come.
    fn close(&mut self, id: u64);
    /// The newest commit before the lines at hand.
    fn newest_commit(&mut self) -> Arc<Mark>;
    /// Whether the sink stages objects, so that it must be known which lines they have.
    fn is_staging(&self) -> bool;
    /// Whether there is a place for lines that the sink does not take.
    fn keeps_dead_letters(&self) -> bool;
    /// Takes such a line.
    fn dead_letter(&mut self, letter: SealedBatch);
}

/// Contract: [`OpenLines::doubt`] before rows of a transaction are written, [`OpenLines::commit`] or
/// [`OpenLines::undo_to`] at its end. Each line goes into the batch between [`OpenLines::take`] and
/// [`OpenLines::put`] or [`OpenLines::put_full`]; a dead letter goes through [`OpenLines::put_letter`].
#[derive(Debug, Default)]
pub(super) struct OpenLines {
    /// In a box, because it is taken out for each line.
    batch: Option<Box<Batch>>,
    /// Full batches with rows of the open transaction, the oldest first.
    held: Vec<(Batch, Option<Prefix>)>,
    /// Dead letters of the open transaction.
    held_letters: Vec<SealedBatch>,
    /// Bytes of both.
    held_bytes: usize,
    /// Bytes and lines of committed transactions in the oldest batch.
    committed: (usize, usize),
    /// Rows of the open transaction may be taken back, so that no batch goes out with them.
    is_doubtful: bool,
    /// Bytes of the newest full or sealed batch. The next one gets room for as many and some more at once,
    /// because to grow step by step is to copy all lines again and again.
    expected_len: usize,
}

/// A place among the lines, to go back to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LinesMark {
    held: usize,
    letters: usize,
    /// The open batch, and what it had.
    batch: Option<u64>,
    len: usize,
    row_count: usize,
}

impl OpenLines {
    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.held_bytes + self.batch.as_ref().map_or(0, |batch| batch.len())
    }

    /// Bytes of those that may be taken back.
    pub(super) fn doubtful_bytes(&self) -> usize {
        if self.is_doubtful {
            self.bytes() - self.committed.0
        } else {
            0
        }
    }

    /// Whether rows of the open transaction may be taken back.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Tells whether the rows that follow may be taken back.
    pub(super) fn doubt(&mut self, is_doubtful: bool) {
        self.is_doubtful = is_doubtful;
    }

    /// Bytes that the next batch may have.
    pub(super) fn expected_len(&self) -> usize {
        self.expected_len
    }

    fn is_held(&self, batch: &Batch) -> bool {
        self.is_doubtful && (!self.held.is_empty() || batch.row_count > self.committed.1)
    }

    /// When the first row of the open batch was written, if it can be sealed.
    pub(super) fn opened_at(&self) -> Option<Instant> {
        let batch = self.batch.as_ref().filter(|batch| !self.is_held(batch));
        batch.map(|batch| batch.opened_at)
    }

    /// Takes the open batch out.
    pub(super) fn take(&mut self) -> Option<Box<Batch>> {
        self.batch.take()
    }

    /// Makes this the open batch.
    pub(super) fn put(&mut self, batch: Box<Batch>) {
        self.batch = Some(batch);
    }

    /// Sends a full batch on its way, or holds it back.
    pub(super) fn put_full(
        &mut self,
        batch: Box<Batch>,
        prefix: Option<Prefix>,
        outlet: &mut impl Outlet,
    ) {
        self.expected_len = batch.len();
        if self.is_held(&batch) {
            self.held_bytes += batch.len();
            self.held.push((*batch, prefix));
        } else {
            self.committed = (0, 0);
            outlet.full(batch.seal(), prefix);
        }
    }

    /// Sends a dead letter on its way, or holds it back.
    pub(super) fn put_letter(&mut self, letter: SealedBatch, outlet: &mut impl Outlet) {
        if self.is_doubtful {
            self.held_bytes += letter.bytes().len();
            self.held_letters.push(letter);
        } else {
            outlet.dead_letter(letter);
        }
    }

    /// Closes the open batch, unless something of it may be taken back.
    pub(super) fn seal(&mut self) -> Option<SealedBatch> {
        let batch = self.batch.take()?;
        if self.is_held(&batch) {
            self.batch = Some(batch);
            return None;
        }
        self.committed = (0, 0);
        if batch.is_empty() {
            return None;
        }
        self.expected_len = batch.len();
        Some(batch.seal())
    }

    /// All rows that were written are real.
    pub(super) fn commit(&mut self, outlet: &mut impl Outlet) {
        if self.is_doubtful || !self.held.is_empty() || !self.held_letters.is_empty() {
            for (batch, prefix) in self.held.drain(..) {
                outlet.full(batch.seal(), prefix);
            }
            for letter in self.held_letters.drain(..) {
                outlet.dead_letter(letter);
            }
            self.held_bytes = 0;
            self.is_doubtful = false;
        }
        if let Some(batch) = &self.batch {
            self.committed = (batch.len(), batch.row_count);
        } else {
            self.committed = (0, 0);
        }
    }

    /// Where the next line is written.
    pub(super) fn mark(&self) -> LinesMark {
        let batch = self.batch.as_ref();
        LinesMark {
            held: self.held.len(),
            letters: self.held_letters.len(),
            batch: batch.map(|batch| batch.id),
            len: batch.map_or(0, |batch| batch.len()),
            row_count: batch.map_or(0, |batch| batch.row_count),
        }
    }

    /// Where the first line of the open transaction was written.
    pub(super) fn begin(&self) -> LinesMark {
        let (len, row_count) = self.committed;
        let held = self.held.first().map(|(batch, _)| batch);
        let oldest = held.or(self.batch.as_deref());
        LinesMark {
            held: 0,
            letters: 0,
            batch: oldest.filter(|_| row_count > 0).map(|batch| batch.id),
            len,
            row_count,
        }
    }

    /// Drops all lines behind a place of the open transaction, and counts them. A batch that was open there and
    /// went out since has none of them.
    pub(super) fn undo_to(
        &mut self,
        mark: LinesMark,
        step_bytes: usize,
        outlet: &mut impl Outlet,
    ) -> u64 {
        let from = mark.held.min(self.held.len());
        let open = self.batch.take().map(|batch| *batch);
        let mut undone = 0;
        let held = self.held.split_off(from).into_iter();
        for mut batch in held.map(|(batch, _)| batch).chain(open) {
            if Some(batch.id) == mark.batch && mark.row_count > 0 {
                undone += batch.row_count - mark.row_count;
                batch.truncate(mark.len, mark.row_count, step_bytes);
                self.batch = Some(Box::new(batch));
            } else {
                undone += batch.row_count;
                outlet.close(batch.id);
            }
        }
        let letters = mark.letters.min(self.held_letters.len());
        for letter in self.held_letters.split_off(letters) {
            undone += letter.row_count;
            outlet.close(letter.id);
        }
        let letters = self.held_letters.iter().map(|letter| letter.bytes().len());
        let held = self.held.iter().map(|(batch, _)| batch.len());
        self.held_bytes = held.chain(letters).sum();
        undone as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::batch::{BatchLimits, RowPlace};
    use crate::binlog::FilePosition;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        row_bytes: 100,
        record_bytes: 20,
        records: 4,
        bytes: 60,
        step_bytes: 10,
    };

    #[derive(Default)]
    struct Sent {
        next_id: u64,
        open: Vec<u64>,
        lines: Vec<u8>,
        letters: Vec<u8>,
    }

    impl Outlet for Sent {
        fn open(&mut self) -> u64 {
            self.next_id += 1;
            self.open.push(self.next_id);
            self.next_id
        }

        fn full(&mut self, batch: SealedBatch, _: Option<Prefix>) {
            self.close(batch.id);
            assert!(batch.row_count > 0);
            let records: Vec<&[u8]> = (0..batch.record_count())
                .map(|index| batch.record(index))
                .collect();
            assert_eq!(records.concat(), batch.bytes());
            assert!(
                records
                    .iter()
                    .all(|record| record.len() <= LIMITS.record_bytes)
            );
            self.lines.extend_from_slice(batch.bytes());
        }

        fn close(&mut self, id: u64) {
            self.open.retain(|open| *open != id);
        }

        fn newest_commit(&mut self) -> Arc<Mark> {
            unreachable!()
        }

        fn is_staging(&self) -> bool {
            false
        }

        fn keeps_dead_letters(&self) -> bool {
            true
        }

        fn dead_letter(&mut self, letter: SealedBatch) {
            self.close(letter.id);
            assert_eq!((letter.row_count, letter.record_count()), (1, 1));
            self.letters.extend_from_slice(letter.bytes());
        }
    }

    fn first() -> RowPlace {
        RowPlace {
            transaction: FilePosition::new("b.000001", 4),
            gtid: None,
            ordinal: 0,
            commit_time_us: 0,
        }
    }

    fn write(lines: &mut OpenLines, line: u8, len: usize, sent: &mut Sent) {
        let new = |sent: &mut Sent| Box::new(Batch::new(sent.open(), 0, first(), Instant::now()));
        let mut batch = lines.take().unwrap_or_else(|| new(sent));
        let start = batch.len();
        batch.buffer().resize(start + len, line);
        match batch.row_written(start, &LIMITS).unwrap() {
            None => lines.put(batch),
            Some(line) => {
                lines.put_full(batch, None, sent);
                let mut batch = new(sent);
                batch.buffer().extend_from_slice(&line);
                assert_eq!(batch.row_written(0, &LIMITS), Ok(None));
                lines.put(batch);
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Write(usize),
        /// Of a line of so many bytes.
        Letter(usize),
        Mark,
        UndoTo(prop::sample::Index),
        Seal,
        Commit,
        RollBack,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (1_usize..20).prop_map(Act::Write),
            2 => (101_usize..105).prop_map(Act::Letter),
            2 => Just(Act::Mark),
            2 => any::<prop::sample::Index>().prop_map(Act::UndoTo),
            1 => Just(Act::Seal),
            1 => Just(Act::Commit),
            1 => Just(Act::RollBack),
        ]
    }

    /// What was written: lines, dead letters, and the number of both.
    #[derive(Debug, Clone, Default)]
    struct Written {
        lines: Vec<u8>,
        letters: Vec<u8>,
        rows: u64,
    }

    impl Written {
        fn bytes(&self) -> usize {
            self.lines.len() + self.letters.len()
        }
    }

    proptest! {
        /// What goes out is what was committed, whatever was taken back in between.
        #[test]
        fn lines_that_are_taken_back_are_never_sent(acts in prop::collection::vec(act(), 0..80)) {
            let mut lines = OpenLines::default();
            let mut sent = Sent::default();
            let mut committed = Written::default();
            let mut open = Written::default();
            let mut marks: Vec<(LinesMark, Written)> = Vec::new();
            for (line, act) in (0..=u8::MAX).cycle().zip(acts) {
                match act {
                    Act::Write(len) => {
                        lines.doubt(true);
                        write(&mut lines, line, len, &mut sent);
                        open.lines.resize(open.lines.len() + len, line);
                        open.rows += 1;
                    }
                    Act::Letter(len) => {
                        lines.doubt(true);
                        let bytes = vec![line; len];
                        let letter = SealedBatch::of_line(sent.open(), 0, first(), Instant::now(), bytes);
                        lines.put_letter(letter, &mut sent);
                        open.letters.resize(open.letters.len() + len, line);
                        open.rows += 1;
                    }
                    Act::Mark => marks.push((lines.mark(), open.clone())),
                    Act::UndoTo(index) => {
                        if marks.is_empty() {
                            continue;
                        }
                        let index = index.index(marks.len());
                        marks.truncate(index + 1);
                        let (mark, before) = marks[index].clone();
                        let undone = lines.undo_to(mark, LIMITS.step_bytes, &mut sent);
                        prop_assert_eq!(undone, open.rows - before.rows);
                        open = before;
                    }
                    Act::Seal => {
                        if let Some(batch) = lines.seal() {
                            sent.full(batch, None);
                        }
                    }
                    Act::Commit | Act::RollBack => {
                        if matches!(act, Act::RollBack) {
                            let undone = lines.undo_to(lines.begin(), LIMITS.step_bytes, &mut sent);
                            prop_assert_eq!(undone, open.rows);
                            open = Written::default();
                        }
                        committed.lines.append(&mut open.lines);
                        committed.letters.append(&mut open.letters);
                        open.rows = 0;
                        lines.commit(&mut sent);
                        marks.clear();
                    }
                }
                prop_assert!(committed.lines.starts_with(&sent.lines));
                prop_assert_eq!(&committed.letters, &sent.letters);
                let gone = sent.lines.len() + sent.letters.len();
                prop_assert_eq!(lines.bytes(), committed.bytes() + open.bytes() - gone);
            }
            lines.undo_to(lines.begin(), LIMITS.step_bytes, &mut sent);
            lines.commit(&mut sent);
            if let Some(batch) = lines.seal() {
                sent.full(batch, None);
            }
            prop_assert_eq!(&sent.lines, &committed.lines);
            prop_assert_eq!(&sent.letters, &committed.letters);
            prop_assert!(sent.open.is_empty());
        }
    }
}
