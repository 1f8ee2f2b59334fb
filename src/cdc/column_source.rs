//! Where what table maps leave out comes from, and what a statement makes of it.

use std::sync::Arc;

use crate::binlog::{Decoder, Problem, TableChange};

use super::server_columns::{ConfirmedIds, KnownColumns, Question};
use super::tables::TableWriter;

/// Where what table maps leave out comes from.
pub(super) enum ColumnSource {
    /// The server is asked while its binlog is read.
    Server {
        /// By table, the number for which that is confirmed, as it was looked up last.
        confirmed: Vec<Option<u64>>,
        question: Option<Box<Question>>,
    },
    /// It was told before the start, of the tables after all that is read; by table, whether rows were
    /// read with it.
    Given { used: Vec<bool> },
}

/// A statement may have changed a table: what is known about it is outdated, or, if the statement leaves alone all
/// columns that the server was asked for, what is known about others.
pub(super) fn forget(
    change: &TableChange,
    decoder: &Decoder,
    source: &mut ColumnSource,
    tables: &mut [TableWriter],
    known: &mut Arc<KnownColumns>,
    ids: &mut Arc<ConfirmedIds>,
) -> Result<(), Problem> {
    let table = &mut tables[change.table];
    if let Some((map, _)) = decoder.table(change.table)
        && map.is_named()
        && (table.definition.open(map, decoder.flavor()).iter()).all(|column| change.spares(column))
    {
        // Others may need to be told of from here on.
        if let Some(columns) = Arc::make_mut(known).get_mut(&table.definition.name()) {
            columns.retain(|column| change.spares(&column.name));
        }
        return Ok(());
    }
    match source {
        ColumnSource::Server { confirmed, .. } => {
            confirmed[change.table] = None;
            table.know(Vec::new());
            if known.contains_key(&table.definition.name()) {
                Arc::make_mut(known).remove(&table.definition.name());
            }
            if ids.contains_key(&table.definition.name()) {
                Arc::make_mut(ids).remove(&table.definition.name());
            }
            Ok(())
        }
        ColumnSource::Given { used } if used[change.table] => {
            Err(Problem::ReadWithLaterColumns(table.definition.name()))
        }
        ColumnSource::Given { .. } => Ok(()),
    }
}
