//! The transaction that is being read, and what identifies it.

use std::fmt;

use super::super::lineage::Lineage;
use super::super::{FilePosition, Gtid};
use super::Decoder;
use super::kept::Kept;
use super::undone::{Outlook, Savepoints};

/// A transaction that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The identifier, where the server gives one.
    pub gtid: Option<Gtid>,
    /// Offset of its first event in the current file.
    pub start: u64,
    /// Fingerprint of that event.
    pub(super) fingerprint: u32,
    /// Microseconds since 1970 at which it was committed, in whole seconds where the server does
    /// not say more.
    pub commit_time_us: i64,
    /// The same, if its first event tells it.
    pub(super) told_commit_time_us: Option<i64>,
    /// Of the statement whose rows are at hand, or of the transaction before there are any.
    pub(super) statement_time_us: i64,
    /// Its rows are under way: BEGIN was seen, or is implied.
    pub(super) begun: bool,
    /// Rows of it were handed to the reader.
    pub(super) handed_out: bool,
    /// What is kept of it, if it is an XA transaction.
    pub(super) kept: Option<Box<Kept>>,
    /// It is an XA transaction that is known to have one phase, so that nothing of it is kept.
    pub(super) is_one_phase: bool,
    /// What is known of its end.
    pub(super) outlook: Outlook,
    pub(super) savepoints: Savepoints,
}

impl Transaction {
    /// A time that is the same on each server that has the transaction, in microseconds since 1970: of its
    /// commit, if its first event tells it; otherwise of the statement whose rows are at hand, because
    /// replicas of MariaDB 10.11 do not repeat when a transaction of several statements was committed.
    #[must_use]
    pub fn order_time_us(&self) -> i64 {
        self.told_commit_time_us.unwrap_or(self.statement_time_us)
    }

    /// Whether rows of it were handed out or kept.
    pub(super) fn has_rows(&self) -> bool {
        self.handed_out || self.kept.as_ref().is_some_and(|kept| kept.has_rows)
    }
}

impl Decoder {
    /// What tells the history before [`Decoder::committed`] from others.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        self.history.lineage()
    }

    /// Whether the description of the file at hand was read, which tells one file of a name from another.
    #[must_use]
    pub fn is_file_known(&self) -> bool {
        self.history.is_file_known()
    }
}

/// What identifies a transaction. Prints as the position that readers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionKey {
    /// Its GTID.
    Gtid(Gtid),
    /// Where it starts, on a server that gives no GTIDs.
    Start(FilePosition),
}

impl fmt::Display for TransactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gtid(gtid) => gtid.fmt(f),
            Self::Start(position) => position.fmt(f),
        }
    }
}
