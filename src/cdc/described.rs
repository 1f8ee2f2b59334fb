//! A table as `information_schema` describes it.

use mysql_async::Row;

use crate::binlog::{Flavor, HASH_PREFIX, ServerColumn};
use crate::encode;
use crate::{Exit, Failure};

use super::server::{Server, cell};
use super::versioned::versioning;

/// The columns of a table, in its order, with those that MariaDB does not list; none if there is no such table, or none that the user may see.
///
/// # Errors
/// If the server cannot be asked, or a column is of a format that the binlog does not tell whole.
pub(super) async fn described(
    server: &mut Server,
    schema: &str,
    name: &str,
) -> Result<Vec<ServerColumn>, Failure> {
    let Some(mut table) = spelled(server, schema, name).await? else {
        return Ok(Vec::new());
    };
    let versioning = versioning(server, &table.schema, &table.name).await?;
    table.columns.extend(versioning.unlisted());
    let hashes = hashes(server, &table.schema, &table.name).await?;
    table.columns.extend(hashes);
    Ok(table.columns)
}

/// The hidden columns behind all others that MariaDB has for unique keys of TEXT, BLOB or long VARCHAR, one each.
///
/// # Errors
/// If the server cannot be asked.
pub(super) async fn hashes(
    server: &mut Server,
    schema: &str,
    table: &str,
) -> Result<Vec<ServerColumn>, Failure> {
    const KEYS: &str = "SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS \
         JOIN information_schema.TABLES USING (TABLE_SCHEMA, TABLE_NAME) \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 AND INDEX_TYPE = 'HASH' \
         AND ENGINE <> 'MEMORY'";
    if server.flavor != Flavor::MariaDb {
        return Ok(Vec::new());
    }
    let rows = server.ask(KEYS, (schema, table)).await?;
    let count: u64 = rows.first().map_or(Ok(0), |row| cell(row, 0, KEYS))?;
    let column = |number| ServerColumn {
        name: format!("{HASH_PREFIX}{number}"),
        data_type: "bigint".to_owned(),
        column_type: "bigint(20) unsigned".to_owned(),
        is_hash: true,
        ..ServerColumn::default()
    };
    Ok((1..=count).map(column).collect())
}

/// A table under the names that the server has for it.
pub(super) struct SpelledTable {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: Vec<ServerColumn>,
}

/// The table of this name, under the names that the server has for it.
///
/// # Errors
/// As for [`described`].
pub(super) async fn spelled(
    server: &mut Server,
    schema: &str,
    name: &str,
) -> Result<Option<SpelledTable>, Failure> {
    let rows = server.ask(COLUMNS_OF_TABLE, (schema, name)).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let schema: String = cell(first, 0, COLUMNS_OF_TABLE)?;
    let name: String = cell(first, 1, COLUMNS_OF_TABLE)?;
    let columns: Vec<ServerColumn> = rows.iter().map(server_column).collect::<Result<_, _>>()?;
    refuse_unknown_widths(&format!("{schema}.{name}"), &columns)?;
    Ok(Some(SpelledTable {
        schema,
        name,
        columns,
    }))
}

const COLUMNS_OF_TABLE: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, \
            CHARACTER_SET_NAME, CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, \
            DATETIME_PRECISION, IS_NULLABLE, COLUMN_KEY \
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? \
     ORDER BY ORDINAL_POSITION";

/// One row of that answer; servers differ in the types of its numbers.
fn server_column(row: &Row) -> Result<ServerColumn, Failure> {
    // Labels of MariaDB may hold surrogates.
    let text = |index| cell(row, index, COLUMNS_OF_TABLE).map(encode::valid_utf8);
    let number = |index| cell::<Option<u64>>(row, index, COLUMNS_OF_TABLE);
    Ok(ServerColumn {
        name: text(2)?,
        data_type: text(3)?,
        column_type: text(4)?,
        charset: cell(row, 5, COLUMNS_OF_TABLE)?,
        octets: number(6)?,
        precision: number(7)?,
        scale: number(8)?,
        fraction: number(9)?,
        nullable: text(10)? == "YES",
        is_key: text(11)? == "PRI",
        is_hash: false,
    })
}

/// The binlog does not say how many bytes these take, so that not even columns behind them can be read.
fn refuse_unknown_widths(table: &str, columns: &[ServerColumn]) -> Result<(), Failure> {
    // MariaDB marks this format in a comment of the type and nowhere else.
    let is_old = |column: &&ServerColumn| {
        column.column_type.contains("mariadb-5.3") && column.fraction.is_some_and(|it| it > 0)
    };
    let old: Vec<&str> = columns
        .iter()
        .filter(is_old)
        .map(|column| column.name.as_str())
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    Err(Failure::definite(
        Exit::Config,
        format!(
            "table {table}: columns with fractional seconds in the format used before MariaDB 10.1: {}",
            old.join(", ")
        ),
        "SET GLOBAL mysql56_temporal_format = ON, then ALTER TABLE ... FORCE; start behind that",
    ))
}
