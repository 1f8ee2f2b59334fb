//! What is logged about invalid text that was written with U+FFFD.
//!
//! What does not live here: what is replaced, and how ([`crate::encode::InvalidText`]).

use std::collections::BTreeSet;

use tracing::warn;

use crate::binlog::FilePosition;

/// The replaced cells of one table in this run.
#[derive(Debug, Default)]
pub(super) struct ReplacedText {
    /// Cells that were written with something replaced.
    pub(super) cells: u64,
    /// The columns that a warning has named.
    warned: BTreeSet<String>,
}

impl ReplacedText {
    /// Counts a cell, and warns of the first one of each column. Its value is not told.
    #[cold]
    pub(super) fn note(
        &mut self,
        table: &str,
        column: &str,
        transaction: &FilePosition,
        ordinal: u64,
    ) {
        self.cells += 1;
        if self.warned.insert(column.to_owned()) {
            warn!(
                "table {table}, column {column}, transaction at {transaction}, row {ordinal} of it: the text is \
                 not valid in its character set; each invalid sequence is written as U+FFFD, here and in later \
                 rows of the column; set invalid_text = \"stop\" for the table to stop instead"
            );
        }
    }
}
