//! What a decoder is told when it is made: where it begins, and what it hands out.

use std::fmt;
use std::sync::Arc;

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

/// Which changes of a table are followed, by its schema and name.
type Choose = dyn Fn(&str, &str) -> Option<Operations> + Send + Sync;

/// Says which tables are followed beside those that are named.
#[derive(Clone)]
pub struct TableChooser {
    choose: Arc<Choose>,
    /// The server's names have no case: its table maps have small letters, whatever statements have.
    pub(super) folds: bool,
    /// What tells this choice from others, as [`super::PreparedXa::followed`] has it.
    words: Vec<String>,
}

impl TableChooser {
    /// Follows the tables for which `choose` gives operations. Of two choices with the same `words` it gives the same.
    #[must_use]
    pub fn new(
        choose: impl Fn(&str, &str) -> Option<Operations> + Send + Sync + 'static,
        folds: bool,
        words: Vec<String>,
    ) -> Self {
        Self {
            choose: Arc::new(choose),
            folds,
            words,
        }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = String> {
        self.words.iter().cloned()
    }

    pub(super) fn chosen(&self, schema: &str, name: &str) -> Option<WatchedTable> {
        let operations = (self.choose)(schema, name)?;
        Some(WatchedTable {
            schema: schema.to_owned(),
            name: name.to_owned(),
            operations,
        })
    }
}

impl fmt::Debug for TableChooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words.fmt(f)
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
    /// Which tables are followed beside those that are named.
    pub chooser: Option<TableChooser>,
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
