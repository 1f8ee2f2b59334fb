//! The columns about the change.

use std::fmt;

use serde::Deserialize;

/// Columns about the change, written after the table's own, always in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataColumn {
    /// The table's schema.
    Schema,
    /// The table.
    Table,
    /// `I` for an insert, `U` for an update, `D` for a delete; `B` for a row as it was before the
    /// update that follows it.
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
