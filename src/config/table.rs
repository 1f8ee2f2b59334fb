//! The tables to follow: what is written of them, and how.

use crate::binlog::Operations;
use crate::encode::MetadataColumn;

use super::protection::{Salt, protection};
use super::raw::{self, EventKind};
use super::{ConfigError, KeyChange, Table, TableBackfill};

/// Turns the typed tables into the meant ones.
pub(super) fn tables(
    raw: &[raw::Table],
    masking: &raw::Masking,
) -> Result<Vec<Table>, ConfigError> {
    let mut salt = Salt::of(masking);
    if raw.is_empty() {
        return Err(ConfigError::at(
            "table",
            "no table to follow",
            "add [[table]] with name = \"schema.table\"",
        ));
    }
    let mut tables: Vec<Table> = Vec::with_capacity(raw.len());
    for table in raw {
        let name = table.name.as_deref().unwrap_or_default();
        let Some((schema, name)) = schema_and_name(name) else {
            return Err(ConfigError::at(
                "table.name",
                "no schema.table",
                "write it like shop.Sales; a name with a point in backticks, like `my.shop`.Sales",
            ));
        };
        // In folders and in the checkpoint tables go by this name.
        let whole = format!("{schema}.{name}");
        if tables
            .iter()
            .any(|other| format!("{}.{}", other.schema, other.name) == whole)
        {
            return Err(ConfigError::at(
                "table.name",
                format!("{whole} is listed twice, or names two tables"),
                "leave one out, or let another agent follow it",
            ));
        }
        let operations = operations(table.events.as_deref())?;
        if table.key_change.is_some() && !(operations.update && operations.delete) {
            return Err(ConfigError::at(
                "table.key_change",
                "has no effect without updates and deletes",
                "leave it out, or add \"update\" and \"delete\" to the table's `events`",
            ));
        }
        if table.before_image && !operations.update {
            return Err(ConfigError::at(
                "table.before_image",
                "has no effect without updates",
                "leave it out, or add \"update\" to the table's `events`",
            ));
        }
        tables.push(Table {
            schema,
            name,
            columns: table.columns.clone().map(columns).transpose()?,
            protection: protection(table, &mut salt)?,
            metadata: metadata(&table.metadata, operations),
            operations,
            before_image: table.before_image,
            key_change: match table.key_change {
                None | Some(KeyChange::Split) if operations.update && operations.delete => {
                    KeyChange::Split
                }
                _ => KeyChange::Update,
            },
            on_schema_change: table.on_schema_change.unwrap_or_default(),
            invalid_text: table.invalid_text.unwrap_or_default(),
            dialect: table.dialect.unwrap_or_default(),
            oversize: table.oversize.unwrap_or_default(),
            backfill: TableBackfill::of(table.backfill),
        });
    }
    salt.refuse_unused()?;
    Ok(tables)
}

/// The parts of `schema.table`, either of which may be in backticks as in SQL. Without, the first point
/// ends the schema.
fn schema_and_name(text: &str) -> Option<(String, String)> {
    let (schema, rest) = part(text)?;
    let rest = rest.strip_prefix('.')?;
    let name = match part(rest) {
        Some((name, "")) => name,
        // A name with points and without backticks.
        Some(_) if !rest.contains('`') => rest.to_owned(),
        Some(_) | None => return None,
    };
    Some((schema, name))
}

/// The name that a text begins with, and what is behind it.
fn part(text: &str) -> Option<(String, &str)> {
    if text.starts_with('`') {
        return quoted_part(text);
    }
    let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

/// The name in backticks that a text begins with, and what is behind it.
pub(crate) fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('`')?;
    let mut name = String::new();
    loop {
        let (before, behind) = rest.split_once('`')?;
        name.push_str(before);
        match behind.strip_prefix('`') {
            Some(behind) => {
                name.push('`');
                rest = behind;
            }
            None => return (!name.is_empty()).then_some((name, behind)),
        }
    }
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
    fn names_may_be_quoted_as_in_sql() {
        let of = |schema: &str, name: &str| Some((schema.to_owned(), name.to_owned()));
        for (text, parts) in [
            ("shop.Sales", of("shop", "Sales")),
            ("`my.db`.Sales", of("my.db", "Sales")),
            ("`my.db`.`Sales.2026`", of("my.db", "Sales.2026")),
            ("shop.`a``b`", of("shop", "a`b")),
            ("shop.Sales.2026", of("shop", "Sales.2026")),
            ("shop.größe", of("shop", "größe")),
            ("shop", None),
            ("shop.", None),
            (".Sales", None),
            ("", None),
            ("`shop.Sales", None),
            ("`shop`Sales", None),
            ("``.Sales", None),
            ("shop.`Sales`x", None),
        ] {
            assert_eq!(super::schema_and_name(text), parts, "{text}");
        }
        let both = "source.url = \"mysql://u@127.0.0.1\"\n\
                    table = [{ name = \"`my.db`.Sales\" }, { name = \"my.`db.Sales`\" }]";
        let error = parse(both, "x").unwrap_err();
        assert!(error.to_string().contains("two tables"), "{error}");
    }
}
