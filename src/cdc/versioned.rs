//! What is known of a table's system versioning: from a MariaDB, which is asked, and from its table maps.
//!
//! What does not live here: what follows from it for rows ([`crate::binlog::VersionedColumns`]).

use tracing::warn;

use crate::binlog::{FilePosition, Flavor, ServerColumn, TableMap, VersionedColumns, Versioning};
use crate::encode::Plan;
use crate::{Exit, Failure};

use super::checked_table::CheckedTable;
use super::server::{Server, cell};

/// What the server says of the table.
///
/// # Errors
/// If its history is kept in a way that its binlog does not tell, or if the server does not answer.
pub(super) async fn versioning(
    server: &mut Server,
    schema: &str,
    table: &str,
) -> Result<Versioning, Failure> {
    if server.flavor != Flavor::MariaDb {
        return Ok(Versioning::Ordinary);
    }
    const KIND: &str = "SELECT TABLE_TYPE FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    const ROW_END: &str = "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND GENERATION_EXPRESSION = 'ROW END'";
    let rows = server.ask(KIND, (schema, table)).await?;
    let kind = rows.first().map(|row| cell::<Vec<u8>>(row, 0, KIND));
    if kind.transpose()?.as_deref() != Some(b"SYSTEM VERSIONED") {
        return Ok(Versioning::Ordinary);
    }
    let rows = server.ask(ROW_END, (schema, table)).await?;
    let row_end = rows.first().map(|row| {
        let (name, kind): (Vec<u8>, Vec<u8>) = (cell(row, 0, ROW_END)?, cell(row, 1, ROW_END)?);
        Ok::<_, Failure>((name, kind))
    });
    match row_end.transpose()? {
        None => Ok(Versioning::Implicit),
        Some((name, kind)) if kind.eq_ignore_ascii_case(b"timestamp") => {
            let row_end = String::from_utf8_lossy(&name).into_owned();
            Ok(Versioning::Explicit { row_end })
        }
        Some(_) => Err(Failure::definite(
            Exit::Config,
            format!(
                "table {schema}.{table}: its system versioning is by transaction id, and MariaDB logs \
                 changes of such a table as statements, without their rows"
            ),
            "declare its ROW START and ROW END as TIMESTAMP(6), or leave the table out",
        )),
    }
}

/// The columns of a table map that have to do with system versioning, with a word on what only their names tell.
/// `listed` is what the server said about the table's columns, `old` the plan of the table map before.
pub(super) fn versioned_columns(
    table: &CheckedTable,
    map: &TableMap,
    listed: &[ServerColumn],
    flavor: Flavor,
    old: Option<&Plan>,
    transaction: &FilePosition,
) -> VersionedColumns {
    let columns = VersionedColumns::of(map, flavor, &table.versioning, listed);
    let is_told = !matches!(table.versioning, Versioning::Unknown | Versioning::Ordinary);
    let was_versioned = old.is_some_and(Plan::may_be_versioned);
    if columns.row_end.is_some() && !is_told && !was_versioned {
        warn!(
            "table {}.{}, transaction at {transaction}: treated as system-versioned, because it ends in the \
             columns row_start and row_end; rows of its history are not written",
            table.schema, table.name
        );
    }
    columns
}
