//! Which tables of a server patterns mean at a start, and whether their rows will be in its binlog.
//!
//! All of them are listed by one statement. What it does not tell is found out when the binlog shows a table.

use std::collections::BTreeMap;

use mysql_async::Row;

use crate::binlog::Operations;
use crate::config::{self, Table};
use crate::{Exit, Failure};

use super::checked_table::{MERGED_KEY_REMEDY, merged_key};
use super::findings::Findings;
use super::new_tables::NewTables;
use super::refusals::{has_rows, logs_rows};
use super::server::{Server, cell};
use super::versioned::versioning;

/// Names that a message lists.
const MOST_NAMED: usize = 20;

/// The tables that patterns mean and that are not named.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// As they are written.
    pub tables: Vec<Table>,
}

impl Listed {
    /// Schema and name of each table.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let names = self.tables.iter();
        names
            .map(|table| (table.schema.clone(), table.name.clone()))
            .collect()
    }
}

/// A table as the server lists it.
struct Entry {
    schema: String,
    name: String,
    kind: String,
    engine: Option<String>,
}

/// Lists the tables that `new_tables` means, without those that are `named` in the configuration, and finds what is wrong with them.
///
/// # Errors
/// If the connection breaks.
pub(super) async fn list(
    server: &mut Server,
    named: &[Table],
    new_tables: &mut NewTables,
    findings: &mut Findings,
) -> Result<Listed, Failure> {
    if new_tables.patterns.is_empty() {
        return Ok(Listed::default());
    }
    for table in named {
        new_tables.take_stream(table)?;
    }
    let mut tables = Vec::new();
    let (mut without_rows, mut failures) = (Vec::new(), Vec::new());
    for entry in entries(server).await? {
        let Entry { schema, name, .. } = &entry;
        let is_it = |table: &Table| table.schema == *schema && table.name == *name;
        let Some(table) = new_tables.patterns.table(schema, name) else {
            continue;
        };
        // Views have no rows of their own.
        if !has_rows(&entry.kind) || named.iter().any(is_it) {
            continue;
        }
        if entry
            .engine
            .as_deref()
            .is_some_and(|engine| !logs_rows(engine))
        {
            without_rows.push(table.full_name());
            continue;
        }
        if entry.kind == "SYSTEM VERSIONED" {
            let versioning = versioning(server, schema, name).await;
            if let Some(versioning) = findings.take(versioning)? {
                new_tables.versioning.insert(table.full_name(), versioning);
            }
        }
        failures.extend(new_tables.take_stream(&table).err());
        tables.push(table);
    }
    for failure in failures {
        findings.refuse(failure);
    }
    if !without_rows.is_empty() {
        findings.warn(
            format!(
                "tables whose storage engine does not write their rows into the binlog are not delivered: {}",
                some_of(&without_rows)
            ),
            "add them to the pattern's `exclude`",
        );
    }
    for pattern in new_tables.patterns.iter() {
        let is_meant = |table: &&Table| {
            let meant = new_tables.patterns.of(&table.schema, &table.name);
            meant.is_some_and(|meant| meant.name == pattern.name)
        };
        let meant: Vec<&Table> = tables.iter().filter(is_meant).collect();
        if meant.is_empty() {
            let what = format!("{:?} means no table that is there now", pattern.name);
            findings.warn(what, "those that are created later are followed");
        } else if !pattern.table.protection.is_empty() {
            check_protected(server, &meant, &pattern.table, findings).await?;
        }
    }
    Ok(Listed { tables })
}

/// Names for a message.
pub(super) fn some_of(names: &[String]) -> String {
    let shown = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

async fn entries(server: &mut Server) -> Result<Vec<Entry>, Failure> {
    const TABLES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA NOT IN ('information_schema', 'mysql', 'ndbinfo', 'performance_schema', 'sys')";
    let rows = server.ask(TABLES, ()).await?;
    let entry = |row: &Row| {
        Ok(Entry {
            schema: cell(row, 0, TABLES)?,
            name: cell(row, 1, TABLES)?,
            kind: cell(row, 2, TABLES)?,
            engine: cell(row, 3, TABLES)?,
        })
    };
    rows.iter().map(entry).collect()
}

/// A protected name that no table has is mistyped, and protects nothing.
async fn check_protected(
    server: &mut Server,
    tables: &[&Table],
    pattern: &config::Table,
    findings: &mut Findings,
) -> Result<(), Failure> {
    const COLUMNS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_KEY FROM information_schema.COLUMNS \
         WHERE COLUMN_NAME = ? AND TABLE_SCHEMA NOT IN \
         ('information_schema', 'mysql', 'ndbinfo', 'performance_schema', 'sys')";
    let by_name: BTreeMap<(&str, &str), &Table> = tables
        .iter()
        .map(|table| ((table.schema.as_str(), table.name.as_str()), *table))
        .collect();
    for (column, how) in pattern.protection.columns() {
        let rows = server.ask(COLUMNS, (column,)).await?;
        let mut is_there = false;
        for row in &rows {
            let (schema, name): (String, String) = (cell(row, 0, COLUMNS)?, cell(row, 1, COLUMNS)?);
            let Some(table) = by_name.get(&(schema.as_str(), name.as_str())) else {
                continue;
            };
            is_there = true;
            let key: String = cell(row, 2, COLUMNS)?;
            let merges = key == "PRI" && pattern.protection.merges(column);
            if merges && pattern.operations != Operations::INSERTS {
                let what = format!("table {}: {}", table.full_name(), merged_key(column));
                findings.refuse(Failure::definite(Exit::Config, what, MERGED_KEY_REMEDY));
            }
        }
        if !is_there {
            findings.refuse(Failure::definite(
                Exit::Config,
                format!(
                    "no table that {} means has the column {column}, which is {how}",
                    pattern.full_name()
                ),
                "correct the name, or leave it out",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..22).map(|n| format!("t{n}")).collect();
        assert_eq!(some_of(&names[..2]), "t0, t1");
        assert!(some_of(&names).ends_with("t19 and 2 more"));
    }
}
