//! What makes the answers of a server about a table out of date: statements that may have changed it, and
//! table maps with another number, which servers give a table whenever they load its definition anew.
//!
//! What does not live here: what the server answers, and whether it still holds.

use super::super::query::{Change, LoggedStatement, may_mention};
use super::super::{FilePosition, TableMap};
use super::Decoder;

/// The table map of a followed table.
#[derive(Debug, Clone, Copy)]
pub struct MappedTable<'d> {
    /// Index of the table.
    pub index: usize,
    /// The number that the server has for the table since it loaded its definition.
    pub table_id: u64,
    /// The table map.
    pub map: &'d TableMap,
    /// A number that grows whenever that is another one.
    pub generation: u64,
}

/// Why a server may have loaded the definitions of tables anew, so that they have other numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reload {
    /// A statement was logged that is not one of a transaction.
    Statement,
    /// The server was started. Its numbers start anew, too.
    ServerStarted,
}

/// A statement that may change a followed table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableChange {
    /// Index of the table.
    pub table: usize,
    /// Behind the statement.
    pub at: FilePosition,
    pub(in super::super) change: Change,
    /// The words of a statement that gives columns other names.
    pub(in super::super) renaming: Vec<Vec<u8>>,
}

impl TableChange {
    /// Whether it leaves the type of a column of the table as it is.
    #[must_use]
    pub fn spares(&self, column: &str) -> bool {
        !self.change.may_concern(column)
    }

    /// Whether it may give a column of this name another one, or another column this name.
    #[must_use]
    pub fn may_rename(&self, column: &str) -> bool {
        may_mention(&self.renaming, column)
    }
}

impl Decoder {
    /// The followed table whose rows come next, if the newest input was its table map.
    #[must_use]
    pub fn mapped(&self) -> Option<MappedTable<'_>> {
        let index = self.mapped?;
        let followed = self.followed.get(index)?;
        Some(MappedTable {
            index,
            table_id: followed.table_id?,
            map: followed.map.as_ref()?,
            generation: followed.generation,
        })
    }

    /// The newest table map of a followed table as bytes, without the names of schema and table.
    #[must_use]
    pub fn definition(&self, index: usize) -> &[u8] {
        let followed = self.followed.get(index);
        followed.map_or(&[], |followed| followed.definition.as_slice())
    }

    /// Another server's binlog is read from here on, to which no earlier position applies.
    pub fn server_changed(&mut self) {
        self.xa.server_changed();
        self.undo.forget();
    }

    /// Whether [`Decoder::take_notes`], [`Decoder::take_reload`], [`Decoder::take_changed`] or
    /// [`Decoder::take_new_tables`] has something to tell.
    #[must_use]
    #[inline]
    pub fn has_something_to_tell(&self) -> bool {
        !self.notes.is_empty()
            || self.reload.is_some()
            || !self.changed.is_empty()
            || self.chosen.has_new()
    }

    /// What statements may have changed of followed tables since this was called last.
    pub fn take_changed(&mut self) -> Vec<TableChange> {
        std::mem::take(&mut self.changed)
    }

    /// What may have given tables other numbers since this was called last.
    pub fn take_reload(&mut self) -> Option<Reload> {
        self.reload.take()
    }

    /// A statement may have made the server load tables anew.
    pub(super) fn note_reload(&mut self) {
        self.reload = self.reload.max(Some(Reload::Statement));
    }

    /// What is before the start has changed nothing since.
    pub(super) fn note_changes(&mut self, logged: &LoggedStatement<'_>) {
        if self.is_passed_over() {
            return;
        }
        for (table, followed) in self.followed.iter().enumerate() {
            let (schema, name) = (&followed.table.schema, &followed.table.name);
            let change = logged.change(schema, name);
            if change.is_possible() {
                self.changed.push(TableChange {
                    table,
                    at: self.next.clone(),
                    change,
                    renaming: logged.renaming(schema, name),
                });
            }
        }
    }

    /// Rows that are kept, or not wanted, are not written now.
    pub(super) fn note_map(&mut self, index: usize) {
        let transaction = self.transaction.as_ref();
        let is_kept = transaction.is_some_and(|transaction| transaction.kept.is_some());
        if !is_kept && !self.is_passed_over() {
            self.mapped = Some(index);
        }
    }
}
