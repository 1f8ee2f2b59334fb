//! PURE. The numbers of the metadata column `sequence`, which order the lines of all tables.
//!
//! Each line has `max(previous + 1, commit time in ns)`, or the statement's time where replicas do not repeat
//! that of the commit ([`crate::binlog::Transaction::order_time_us`]). So a number follows from the one before and the
//! lines since, whoever reads them and how often: the newest number at a commit belongs to what is known of
//! that place ([`super::Mark::sequence`]), and a run that continues from there continues to count from it.

use crate::binlog::TransactionKey;

/// 2200-01-01. A later time is a broken clock's: it would leave no room to count behind it.
const LATEST_NS: i64 = 7_258_118_400_000_000_000;

/// Numbers lines.
///
/// Contract: [`Sequence::begin`] with the transaction of each row event, then [`Sequence::next_number`] for each of
/// its lines, also for those that are not written again; [`Sequence::commit`] at each commit;
/// [`Sequence::rewind`] when the open transaction will be read again.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// The newest number.
    last: i64,
    /// The newest number at the newest commit.
    committed: i64,
    /// The transaction in which the connection was lost, and the highest number that its lines had.
    cut: Option<(TransactionKey, i64)>,
}

impl Sequence {
    /// Continues after a commit with this number; 0 is the first one.
    pub(super) fn after(committed: i64) -> Self {
        Self {
            last: committed,
            committed,
            cut: None,
        }
    }

    /// Lines of this transaction follow.
    pub(super) fn begin(&mut self, transaction: &TransactionKey, time_us: i64) {
        // Another server may send other transactions first, whose lines must not have the numbers of those
        // that were written.
        if let Some((_, highest)) = self.cut.take_if(|(cut, _)| cut != transaction) {
            self.last = self.last.max(highest);
        }
        let first = time_us.checked_mul(1000);
        let first = first.filter(|ns| (1..=LATEST_NS).contains(ns));
        self.last = self.last.max(first.map_or(0, |ns| ns - 1));
    }

    /// The number of the next line.
    pub(super) fn next_number(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// The newest number, to go back to.
    pub(super) fn newest(&self) -> i64 {
        self.last
    }

    /// Lines of the open transaction are taken back: they will not be there when it is read again.
    pub(super) fn undo_to(&mut self, newest: i64) {
        self.last = newest;
    }

    /// The transaction is over.
    pub(super) fn commit(&mut self) {
        if self.last > self.committed {
            self.committed = self.last;
            self.cut = None;
        }
    }

    /// The newest number at the newest commit.
    pub(super) fn committed(&self) -> i64 {
        self.committed
    }

    /// Goes back to a commit with this number; `open` is the transaction that will be read again.
    pub(super) fn rewind(&mut self, committed: i64, open: Option<TransactionKey>) {
        if self.last > self.committed
            && let Some(open) = open
        {
            let before = self.cut.take().map_or(0, |(_, highest)| highest);
            self.cut = Some((open, self.last.max(before)));
        }
        self.last = committed;
        self.committed = committed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::FilePosition;

    fn key(offset: u64) -> TransactionKey {
        TransactionKey::Start(FilePosition::new("b.000001", offset))
    }

    fn lines(sequence: &mut Sequence, transaction: u64, time_us: i64, count: usize) -> Vec<i64> {
        sequence.begin(&key(transaction), time_us);
        (0..count).map(|_| sequence.next_number()).collect()
    }

    #[test]
    fn a_line_has_the_commit_time_or_the_next_number() {
        let mut sequence = Sequence::default();
        assert_eq!(lines(&mut sequence, 1, 5, 2), [5000, 5001]);
        // A second event of the same transaction.
        assert_eq!(lines(&mut sequence, 1, 5, 1), [5002]);
        sequence.commit();
        assert_eq!(lines(&mut sequence, 2, 6, 1), [6000]);
        sequence.commit();
        // A clock that goes back.
        assert_eq!(lines(&mut sequence, 3, 4, 2), [6001, 6002]);
        assert_eq!(sequence.committed(), 6000);
        sequence.commit();
        assert_eq!(sequence.committed(), 6002);
        sequence.commit();
        assert_eq!(sequence.committed(), 6002);
    }

    #[test]
    fn times_that_leave_no_room_are_none() {
        for time in [i64::MAX, i64::MIN, -1, 0, LATEST_NS / 1000 + 1] {
            let mut sequence = Sequence::after(7);
            assert_eq!(lines(&mut sequence, 1, time, 1), [8], "{time}");
        }
        let mut sequence = Sequence::after(7);
        assert_eq!(lines(&mut sequence, 1, LATEST_NS / 1000, 1), [LATEST_NS]);
    }

    #[test]
    fn what_is_read_again_has_the_numbers_that_it_had() {
        let mut sequence = Sequence::after(3000);
        let first = lines(&mut sequence, 1, 5, 3);
        sequence.rewind(3000, Some(key(1)));
        // The connection is lost once more before any line, and again after fewer lines.
        sequence.rewind(3000, None);
        assert_eq!(lines(&mut sequence, 1, 5, 1), first[..1]);
        sequence.rewind(3000, Some(key(1)));
        assert_eq!(lines(&mut sequence, 1, 5, 3), first);
        sequence.commit();
        assert_eq!(lines(&mut sequence, 2, 5, 1), [5003]);
        // Whoever starts from the mark has them, too.
        let mut other = Sequence::after(sequence.committed());
        assert_eq!(lines(&mut other, 2, 5, 1), [5003]);
    }

    #[test]
    fn lines_that_are_taken_back_have_no_numbers() {
        let mut sequence = Sequence::after(3000);
        assert_eq!(lines(&mut sequence, 1, 5, 2), [5000, 5001]);
        let savepoint = sequence.newest();
        assert_eq!(lines(&mut sequence, 1, 5, 2), [5002, 5003]);
        sequence.undo_to(savepoint);
        assert_eq!(lines(&mut sequence, 1, 5, 1), [5002]);
        sequence.undo_to(sequence.committed());
        sequence.commit();
        assert_eq!(sequence.committed(), 3000);
    }

    #[test]
    fn another_transaction_that_comes_first_has_higher_numbers() {
        let mut sequence = Sequence::after(3000);
        assert_eq!(lines(&mut sequence, 1, 5, 3).last(), Some(&5002));
        sequence.rewind(3000, Some(key(1)));
        assert_eq!(lines(&mut sequence, 1, 5, 1), [5000]);
        sequence.rewind(3000, Some(key(1)));
        // One without lines is no matter.
        sequence.commit();
        assert_eq!(lines(&mut sequence, 2, 4, 1), [5003]);
        sequence.commit();
        assert_eq!(lines(&mut sequence, 1, 5, 1), [5004]);
    }
}
