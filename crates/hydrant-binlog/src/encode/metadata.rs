//! The columns about the change.

use std::fmt;

use serde::Deserialize;

use crate::RowOperation;

use super::image::Image;

/// Columns about the change, written after the table's own, always in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataColumn {
    /// The table's schema.
    Schema,
    /// The table.
    Table,
    /// `I` for an insert, `U` for an update, `D` for a delete; `B` for a row as it was before the
    /// update that follows it; `R` for a row that was there before the binlog was followed.
    Operation,
    /// When the transaction was committed: `YYYY-MM-DD HH:MM:SS.ffffff`, UTC.
    CommitTime,
    /// The transaction: its GTID, else the `file:offset` at which it starts.
    Position,
    /// The line's number within its transaction and table, from 0.
    Ordinal,
    /// The number of the shape of the lines, from 1 on.
    SchemaVersion,
    /// The columns that the row image does not hold, with commas between their names; NULL if it
    /// holds all that are written.
    Absent,
    /// The line's number in the order of the binlog over all tables, which grows and is unique.
    Sequence,
}

/// What a line is, as [`MetadataColumn::Operation`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineOperation {
    /// A new row.
    Insert,
    /// A row as an update has made it.
    Update,
    /// A row as it was before an update.
    Before,
    /// A row that was deleted.
    Delete,
    /// A row that was there, read from its table.
    Backfill,
}

impl LineOperation {
    /// The line of a change that shows this image.
    #[must_use]
    pub fn of(operation: RowOperation, image: Image) -> Self {
        match (operation, image) {
            (RowOperation::Insert, _) => Self::Insert,
            (RowOperation::Update, Image::After) => Self::Update,
            (RowOperation::Update, Image::Before) => Self::Before,
            (RowOperation::Delete, _) => Self::Delete,
        }
    }

    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Insert => b'I',
            Self::Update => b'U',
            Self::Before => b'B',
            Self::Delete => b'D',
            Self::Backfill => b'R',
        }
    }
}

impl MetadataColumn {
    /// The name that the configuration has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Operation => "operation",
            Self::CommitTime => "commit_time",
            Self::Position => "position",
            Self::Ordinal => "ordinal",
            Self::SchemaVersion => "schema_version",
            Self::Absent => "absent",
            Self::Sequence => "sequence",
        }
    }
}

impl fmt::Display for MetadataColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
