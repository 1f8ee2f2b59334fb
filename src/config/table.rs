//! The tables to follow: what is written of them, and how.

use crate::binlog::Operations;
use crate::encode::MetadataColumn;

use super::protection::{Protection, Salt, protection};
use super::raw::{self, EventKind};
use super::table_name::{TypedName, typed_name};
use super::table_pattern::{TablePattern, TablePatterns, excluded, is_pattern, pattern};
use super::{ConfigError, KeyChange, Table, TableBackfill};

/// Turns the typed tables into the meant ones: those that are named, and those that are meant by patterns.
pub(super) fn tables(
    raw: &[raw::Table],
    masking: &raw::Masking,
) -> Result<(Vec<Table>, TablePatterns), ConfigError> {
    let mut salt = Salt::of(masking);
    if raw.is_empty() {
        return Err(ConfigError::at(
            "table",
            "no table to follow",
            "add [[table]] with name = \"schema.table\"",
        ));
    }
    let mut tables: Vec<Table> = Vec::with_capacity(raw.len());
    let mut patterns: Vec<TablePattern> = Vec::new();
    for typed in raw {
        let text = typed.name.as_deref().unwrap_or_default();
        let Some(name) = typed_name(text) else {
            return Err(ConfigError::at(
                "table.name",
                "no schema.table",
                "write it like shop.Sales; a name with a point in backticks, like `my.shop`.Sales",
            ));
        };
        let table = table(typed, &name, &mut salt)?;
        if is_pattern(&name) {
            if typed.backfill {
                return Err(ConfigError::at(
                    "table.backfill",
                    "not for patterns: the rows that their tables have are not read",
                    "give each table whose rows are wanted a [[table]] of its own before the pattern",
                ));
            }
            patterns.push(TablePattern {
                name: pattern("table.name", text)?,
                exclude: excluded(&typed.exclude)?,
                table,
            });
            continue;
        }
        if !typed.exclude.is_empty() {
            return Err(ConfigError::at(
                "table.exclude",
                "has no effect on a table that is named",
                "leave it out, or write a pattern such as name = \"shop.*\"",
            ));
        }
        refuse_second(&table, &tables, &patterns)?;
        tables.push(table);
    }
    salt.refuse_unused()?;
    Ok((tables, TablePatterns::new(patterns)))
}

/// The first entry that means a table decides. An entry that is never used is a mistake.
fn refuse_second(
    table: &Table,
    tables: &[Table],
    patterns: &[TablePattern],
) -> Result<(), ConfigError> {
    // In folders and in the checkpoint tables go by this name.
    let whole = table.full_name();
    if tables.iter().any(|other| other.full_name() == whole) {
        return Err(ConfigError::at(
            "table.name",
            format!("{whole} is listed twice, or names two tables"),
            "leave one out, or let another agent follow it",
        ));
    }
    let mut before = patterns.iter();
    match before.find(|pattern| pattern.means(&table.schema, &table.name, false)) {
        Some(pattern) => Err(ConfigError::at(
            "table.name",
            format!(
                "{whole} is meant by {:?} before, which decides",
                pattern.name
            ),
            "put its [[table]] before that one, or leave it out",
        )),
        None => Ok(()),
    }
}

/// What is written of the tables of one entry.
fn table(typed: &raw::Table, name: &TypedName, salt: &mut Salt<'_>) -> Result<Table, ConfigError> {
    let operations = operations(typed.events.as_deref())?;
    if typed.key_change.is_some() && !(operations.update && operations.delete) {
        return Err(ConfigError::at(
            "table.key_change",
            "has no effect without updates and deletes",
            "leave it out, or add \"update\" and \"delete\" to the table's `events`",
        ));
    }
    if typed.before_image && !operations.update {
        return Err(ConfigError::at(
            "table.before_image",
            "has no effect without updates",
            "leave it out, or add \"update\" to the table's `events`",
        ));
    }
    Ok(Table {
        schema: name.schema.text.clone(),
        name: name.table.text.clone(),
        columns: typed.columns.clone().map(columns).transpose()?,
        protection: Protection {
            may_lack: is_pattern(name),
            ..protection(typed, salt)?
        },
        metadata: metadata(&typed.metadata, operations),
        operations,
        before_image: typed.before_image,
        key_change: match typed.key_change {
            None | Some(KeyChange::Split) if operations.update && operations.delete => {
                KeyChange::Split
            }
            _ => KeyChange::Update,
        },
        on_schema_change: typed.on_schema_change.unwrap_or_default(),
        invalid_text: typed.invalid_text.unwrap_or_default(),
        dialect: typed.dialect.unwrap_or_default(),
        oversize: typed.oversize.unwrap_or_default(),
        backfill: TableBackfill::of(typed.backfill),
        stream: typed.stream.clone(),
    })
}

fn columns(columns: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if columns.is_empty() {
        return Err(ConfigError::at(
            "table.columns",
            "no column",
            "name some, or leave `columns` out to write all",
        ));
    }
    for (index, column) in columns.iter().enumerate() {
        if columns[..index]
            .iter()
            .any(|other| other.eq_ignore_ascii_case(column))
        {
            return Err(ConfigError::at(
                "table.columns",
                format!("{column} is listed twice"),
                "leave one out",
            ));
        }
    }
    Ok(columns)
}

fn operations(events: Option<&[EventKind]>) -> Result<Operations, ConfigError> {
    let Some(events) = events else {
        return Ok(Operations::INSERTS);
    };
    if events.is_empty() {
        return Err(ConfigError::at(
            "table.events",
            "no event",
            "write some of \"insert\", \"update\", \"delete\", or leave it out",
        ));
    }
    Ok(Operations {
        insert: events.contains(&EventKind::Insert),
        update: events.contains(&EventKind::Update),
        delete: events.contains(&EventKind::Delete),
    })
}

/// What is not an insert cannot be told from one without the operation's column.
fn metadata(chosen: &[MetadataColumn], operations: Operations) -> Vec<MetadataColumn> {
    let mut columns = chosen.to_vec();
    if operations != Operations::INSERTS {
        columns.push(MetadataColumn::Operation);
    }
    columns.sort_unstable();
    columns.dedup();
    columns
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;
    use super::MetadataColumn::{Operation, Ordinal};

    #[test]
    fn what_is_not_an_insert_has_its_operation_beside_it() {
        let metadata = |keys: &str| {
            let text = format!(
                "source.url = \"mysql://u@127.0.0.1\"\ntable = [{{ name = \"shop.Sales\", {keys} }}]"
            );
            parse(&text, "x").unwrap().tables[0].metadata.clone()
        };
        assert_eq!(metadata("events = [\"insert\"]"), []);
        assert_eq!(metadata("events = [\"update\"]"), [Operation]);
        assert_eq!(
            metadata("events = [\"delete\", \"insert\"], metadata = [\"ordinal\"]"),
            [Operation, Ordinal]
        );
    }

    #[test]
    fn a_table_is_named_once() {
        let both = "source.url = \"mysql://u@127.0.0.1\"\n\
                    table = [{ name = \"`my.db`.Sales\" }, { name = \"my.`db.Sales`\" }]";
        let error = parse(both, "x").unwrap_err();
        assert!(error.to_string().contains("two tables"), "{error}");
    }
}
