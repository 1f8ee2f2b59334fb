//! Whether a logged statement may have changed the columns of a table.

use super::LoggedStatement;
use super::alter_table::{Columns, Rows};
use super::statement::Statement;
use super::table_name::TableName;

/// What a statement may have changed of a table's columns: names, types, signs, nullability, labels, character
/// sets, or which there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Change {
    /// Nothing.
    None,
    /// Columns whose names are among these words, and new ones.
    Mentioned(Vec<Vec<u8>>),
    /// Anything.
    Any,
}

impl Change {
    /// Whether anything may be changed.
    pub(in super::super) fn is_possible(&self) -> bool {
        *self != Self::None
    }

    /// Whether the column with this name may be changed, or may have got or lost the name.
    pub(in super::super) fn may_concern(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Mentioned(words) => may_mention(words, column),
        }
    }
}

/// Whether one of the words may be the name of this column.
pub(in super::super) fn may_mention(words: &[Vec<u8>], column: &str) -> bool {
    let may_be = |word: &Vec<u8>| {
        word.eq_ignore_ascii_case(column.as_bytes()) || !word.is_ascii() || !column.is_ascii()
    };
    words.iter().any(may_be)
}

/// As [`LoggedStatement::change`].
pub(super) fn of(logged: &LoggedStatement<'_>, schema: &str, table: &str) -> Change {
    let unclear = || {
        if logged.mentions(table) {
            Columns::Any
        } else {
            Columns::None
        }
    };
    if logged.kind == super::Kind::Unknown && unclear() == Columns::Any {
        return Change::Any;
    }
    let mut mentioned: Option<Vec<Vec<u8>>> = None;
    for reading in &logged.readings {
        let columns = columns(&reading.statement, logged, schema, table);
        match columns.unwrap_or_else(unclear) {
            Columns::None => {}
            Columns::Mentioned => {
                let known = mentioned.get_or_insert_default();
                known.extend_from_slice(&reading.words);
            }
            Columns::Any => return Change::Any,
        }
    }
    mentioned.map_or(Change::None, Change::Mentioned)
}

/// `None` if this is unknown.
fn columns(
    statement: &Statement,
    logged: &LoggedStatement<'_>,
    schema: &str,
    table: &str,
) -> Option<Columns> {
    let is_it = |name: &TableName| logged.query.may_be(name, schema, table);
    let is_other = |other: &Option<TableName>| other.as_ref().is_some_and(is_it);
    let is_changed = match statement {
        Statement::Empty
        | Statement::Begin
        | Statement::Commit
        | Statement::Rollback
        | Statement::RollbackToSavepoint
        | Statement::XaStart
        | Statement::XaEnd
        | Statement::XaCommit
        | Statement::XaRollback
        | Statement::Harmless
        | Statement::Truncate(_)
        | Statement::Dml(Some(_)) => false,
        Statement::AlterTable(alter) => {
            if is_other(&alter.renamed_to) || alter.rows == Rows::SplitOff && is_other(&alter.other)
            {
                true
            } else if is_it(&alter.table) {
                return Some(alter.columns);
            } else if alter.is_unknown {
                return None;
            } else {
                false
            }
        }
        Statement::CreateTable {
            table,
            is_temporary,
            ..
        } => !is_temporary && is_it(table),
        Statement::DropTables(tables) => tables.iter().any(is_it),
        Statement::DropSchema(name) => logged.query.may_be_name(name, schema),
        Statement::RenameSchema => true,
        Statement::RenameTables(pairs) => pairs.iter().any(|(from, to)| is_it(from) || is_it(to)),
        Statement::Dml(None) | Statement::Unknown => return None,
    };
    Some(if is_changed {
        Columns::Any
    } else {
        Columns::None
    })
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
