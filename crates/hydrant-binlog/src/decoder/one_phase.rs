//! XA transactions of one phase that are too large to be kept until that is known: they are read twice.
//!
//! On MySQL only the last event of an XA transaction tells whether both phases are one, which makes its rows
//! real.

use std::collections::BTreeSet;

use super::super::{DecodeError, FilePosition};
use super::{Decoder, Step};

/// Those that were read to their end.
#[derive(Debug, Default)]
pub(super) struct OnePhase {
    /// Where they start.
    pub(super) starts: BTreeSet<FilePosition>,
    /// One of them is the open transaction, and its rows are gone.
    must_read_again: bool,
}

impl OnePhase {
    /// The open transaction will be sent again, or is done without.
    pub(super) fn rewind(&mut self) {
        self.must_read_again = false;
    }

    /// Positions are of another server's binlog.
    pub(super) fn forget(&mut self) {
        self.starts.clear();
    }
}

impl Decoder {
    /// Whether the open transaction must be read a second time, because only now it is known that its rows
    /// are real, and they were too many to keep. Until then the decoder takes nothing in.
    #[must_use]
    pub fn must_read_again(&self) -> bool {
        self.xa.one_phase.must_read_again || self.undo.must_read_again()
    }

    /// Instead of reading it again, takes the open transaction as committed. Gives where it starts, for
    /// another decoder of the same files.
    ///
    /// # Errors
    /// As for [`Decoder::event`].
    pub fn do_without(&mut self) -> Result<Option<FilePosition>, DecodeError> {
        self.xa.one_phase.rewind();
        let start = self.start_of_transaction();
        match self.commit() {
            Ok(_) => Ok(start),
            Err(problem) => Err(self.failed(problem)),
        }
    }

    /// Where transactions start that need not be kept, as a decoder of the same files has found out.
    pub fn know_one_phase(&mut self, starts: BTreeSet<FilePosition>) {
        self.xa.one_phase.starts = starts;
    }

    pub(super) fn is_known_one_phase(&self) -> bool {
        let start = self.start_of_transaction();
        start.is_some_and(|start| self.xa.one_phase.starts.contains(&start))
    }

    /// The open transaction, which has ended, has one phase.
    pub(super) fn one_phase_too_large<'e>(&mut self) -> Step<'e> {
        let start = self.start_of_transaction();
        self.xa.one_phase.starts.extend(start);
        self.xa.one_phase.must_read_again = true;
        Step::Nothing
    }

    pub(super) fn one_phase_was_read(&mut self) {
        if let Some(start) = self.start_of_transaction() {
            self.xa.one_phase.starts.remove(&start);
        }
    }

    pub(super) fn start_of_transaction(&self) -> Option<FilePosition> {
        let transaction = self.transaction.as_ref()?;
        Some(FilePosition::new(self.next.file.clone(), transaction.start))
    }
}
