//! What a decoder is told when it is made: where it begins, and what it hands out.

use super::super::{FilePosition, GtidSet, Lineage, Operations};
use super::kept::PreparedXa;

/// A table, and the changes of it that are handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedTable {
    /// The schema's name, as the server spells it.
    pub schema: String,
    /// The table's name, as the server spells it.
    pub name: String,
    /// What is handed out.
    pub operations: Operations,
}

impl WatchedTable {
    /// A table of which inserts are handed out.
    #[must_use]
    pub fn inserts(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
            operations: Operations::INSERTS,
        }
    }

    /// A word for each operation, as [`PreparedXa::followed`] has them.
    pub(super) fn words(&self) -> impl Iterator<Item = String> {
        let Operations {
            insert,
            update,
            delete,
        } = self.operations;
        [(insert, "insert"), (update, "update"), (delete, "delete")]
            .into_iter()
            .filter(|(is_followed, _)| *is_followed)
            .map(|(_, operation)| format!("{}.{} {operation}", self.schema, self.name))
    }
}

/// Where a decoder begins.
#[derive(Debug, Clone, Default)]
pub struct DecoderStart {
    /// The position that the server was asked for; `None` if it was asked by GTID, and where it is unknown.
    pub position: Option<FilePosition>,
    /// The transactions before it; `None` if this is unknown, until a file begins that tells.
    pub gtids: Option<GtidSet>,
    /// What was prepared before it and not ended, as [`prepared_xa`](crate::Decoder::prepared_xa) has returned it. If
    /// it has rows, the server must be asked for events from [`PreparedXa::from`] on, or by GTID for
    /// [`PreparedXa::gtids`] too. Events before the position return no rows.
    pub xa: PreparedXa,
    /// The history before it, as [`lineage`](crate::Decoder::lineage) has returned it.
    pub lineage: Lineage,
}

impl DecoderStart {
    /// Nothing is known but the position.
    #[must_use]
    pub fn at(position: FilePosition) -> Self {
        Self {
            position: Some(position),
            ..Self::default()
        }
    }
}
