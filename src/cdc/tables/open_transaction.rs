//! PURE. How far the lines of one table have come in the open transaction, also across a lost connection.

use crate::binlog::{FilePosition, TransactionKey};

/// Counts the lines that a table has in the open transaction.
///
/// Contract: [`OpenTransaction::begin`] when lines of a transaction follow, [`OpenTransaction::count`] for each of them,
/// also for those that are not written again; [`OpenTransaction::end`] at its end, or [`OpenTransaction::rewind`] if it
/// will be sent again.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    /// Known once it has lines of this table.
    key: Option<TransactionKey>,
    /// Where that one starts, or one before it; its name's memory is used again and again.
    start: FilePosition,
    /// Lines of it that were read.
    ordinal: u64,
    /// Transactions in which the connection was lost. Another server may send other transactions first.
    cut: Vec<Cut>,
}

/// A transaction of which lines were written before the connection was lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) key: TransactionKey,
    /// Where it starts on the server that is read; `None` if it was begun on another.
    pub(super) start: Option<FilePosition>,
    pub(super) lines: u64,
}

impl Default for OpenTransaction {
    fn default() -> Self {
        Self {
            key: None,
            start: FilePosition::new("", 0),
            ordinal: 0,
            cut: Vec::new(),
        }
    }
}

impl OpenTransaction {
    /// Whether it is the one with this key, and has lines.
    pub(super) fn is(&self, key: &TransactionKey) -> bool {
        self.key.as_ref() == Some(key)
    }

    /// Lines of this transaction follow, which starts there.
    pub(super) fn begin(&mut self, key: &TransactionKey, file: &str, offset: u64) {
        if !self.is(key) {
            self.key = Some(key.clone());
            self.start.file.clear();
            self.start.file.push_str(file);
            self.start.offset = offset;
        }
    }

    /// The number of the next line, from 0 on.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The line is written, or was.
    pub(super) fn count(&mut self) {
        self.ordinal += 1;
    }

    /// Goes back to the line with this number.
    pub(super) fn undo_to(&mut self, ordinal: u64) {
        self.ordinal = ordinal;
    }

    /// Lines of the transaction with this key that were written before the connection was lost.
    pub(super) fn written_before(&self, key: &TransactionKey) -> u64 {
        let cut = self.cut.iter().find(|cut| cut.key == *key);
        cut.map_or(0, |cut| cut.lines)
    }

    /// The transactions of which lines were written and others may follow, with the number of those lines.
    pub(super) fn begun(
        &self,
    ) -> impl Iterator<Item = (&TransactionKey, Option<&FilePosition>, u64)> {
        let open = self.key.as_ref().filter(|_| self.ordinal > 0);
        let open = open.map(|key| (key, Some(&self.start), self.ordinal));
        let cut = self.cut.iter();
        open.into_iter()
            .chain(cut.map(|cut| (&cut.key, cut.start.as_ref(), cut.lines)))
    }

    /// It is over; the next one counts its lines from zero.
    pub(super) fn end(&mut self) {
        self.ordinal = 0;
        if let Some(key) = self.key.take() {
            self.cut.retain(|cut| cut.key != key);
        }
    }

    /// None of its lines is kept, so that all will be written again.
    pub(super) fn forget(&mut self) {
        self.key = None;
        self.ordinal = 0;
    }

    /// It will be sent again from its first line, maybe by another server; those that were written are passed over
    /// then.
    pub(super) fn rewind(&mut self, is_other_server: bool) {
        if let Some(key) = self.key.take() {
            let lines = self.written_before(&key).max(self.ordinal);
            self.cut.retain(|cut| cut.key != key);
            self.cut.push(Cut {
                key,
                start: Some(self.start.clone()),
                lines,
            });
        }
        if is_other_server {
            self.cut.iter_mut().for_each(|cut| cut.start = None);
        }
        self.ordinal = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(offset: u64) -> TransactionKey {
        TransactionKey::Start(FilePosition::new("b.000001", offset))
    }

    /// Reads so many lines of a transaction, and gives the numbers of those that are written.
    fn read(open: &mut OpenTransaction, offset: u64, lines: u64) -> Vec<u64> {
        let key = key(offset);
        let before = open.written_before(&key);
        open.begin(&key, "b.000001", offset);
        let mut written = Vec::new();
        for _ in 0..lines {
            if open.ordinal() >= before {
                written.push(open.ordinal());
            }
            open.count();
        }
        written
    }

    proptest! {
        /// Each line is written once, wherever and however often the connection is lost.
        #[test]
        fn a_transaction_that_is_sent_again_is_gone_on_with(
            cuts in prop::collection::vec(0_u64..20, 0..6),
        ) {
            let mut open = OpenTransaction::default();
            let mut written = Vec::new();
            for cut in cuts {
                written.extend(read(&mut open, 4, cut));
                open.rewind(false);
            }
            written.extend(read(&mut open, 4, 20));
            open.end();
            prop_assert_eq!(written, (0..20).collect::<Vec<_>>());
            // The next one has nothing to pass over.
            prop_assert_eq!(read(&mut open, 9, 2), [0, 1]);
        }
    }

    #[test]
    fn another_server_may_send_other_transactions_first() {
        let mut open = OpenTransaction::default();
        assert_eq!(read(&mut open, 4, 3), [0, 1, 2]);
        open.rewind(true);
        assert_eq!(read(&mut open, 7, 1), [0]);
        // And lose the connection, too.
        open.rewind(true);
        let begun: Vec<_> = open
            .begun()
            .map(|(_, start, lines)| (start, lines))
            .collect();
        assert_eq!(begun, [(None, 3), (None, 1)]);
        assert_eq!(read(&mut open, 7, 2), [1]);
        open.end();
        assert_eq!(read(&mut open, 4, 4), [3]);
        open.end();
        assert_eq!(read(&mut open, 4, 1), [0]);
    }

    #[test]
    fn lines_that_were_taken_back_are_written_again() {
        let mut open = OpenTransaction::default();
        assert_eq!(read(&mut open, 4, 3), [0, 1, 2]);
        open.undo_to(1);
        assert_eq!(read(&mut open, 4, 1), [1]);
        open.forget();
        assert_eq!(read(&mut open, 4, 2), [0, 1]);
    }
}
