//! The tables to follow: what is written of them, and how.

use crate::binlog::Operations;
use crate::encode::{Dialect, InvalidText, MetadataColumn};

use super::raw::{self, EventKind, Metadata};
use super::{ConfigError, SchemaChange, Table};

/// Turns the typed tables into the meant ones.
pub(super) fn tables(raw: &[raw::Table]) -> Result<Vec<Table>, ConfigError> {
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
        let Some((schema, name)) = name
            .split_once('.')
            .filter(|(schema, name)| !schema.is_empty() && !name.is_empty())
        else {
            return Err(ConfigError::at(
                "table.name",
                "no schema.table",
                "write it like shop.Sales",
            ));
        };
        if tables
            .iter()
            .any(|other| other.schema == schema && other.name == name)
        {
            return Err(ConfigError::at(
                "table.name",
                format!("{schema}.{name} is there twice"),
                "leave one out",
            ));
        }
        let operations = operations(table.events.as_deref())?;
        if table.before_image && !operations.update {
            return Err(ConfigError::at(
                "table.before_image",
                "means nothing without updates",
                "leave it out, or add \"update\" to the table's `events`",
            ));
        }
        tables.push(Table {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: table.columns.clone().map(columns).transpose()?,
            metadata: metadata(&table.metadata, operations),
            operations,
            before_image: table.before_image,
            on_schema_change: match table.on_schema_change {
                None | Some(raw::SchemaChange::Stop) => SchemaChange::Stop,
                Some(raw::SchemaChange::Version) => SchemaChange::Version,
            },
            invalid_text: match table.invalid_text {
                None | Some(raw::InvalidText::Replace) => InvalidText::Replace,
                Some(raw::InvalidText::Stop) => InvalidText::Stop,
            },
            dialect: table
                .dialect
                .map_or(Dialect::default(), |dialect| match dialect {
                    raw::Dialect::Csv => Dialect::Csv,
                    raw::Dialect::Hive => Dialect::Hive,
                    raw::Dialect::OpenCsv => Dialect::OpenCsv,
                    raw::Dialect::Jsonl => Dialect::Jsonl,
                }),
        });
    }
    Ok(tables)
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
                format!("{column} is there twice"),
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
fn metadata(raw: &[Metadata], operations: Operations) -> Vec<MetadataColumn> {
    let mut columns: Vec<MetadataColumn> = raw
        .iter()
        .map(|column| match column {
            Metadata::Operation => MetadataColumn::Operation,
            Metadata::CommitTime => MetadataColumn::CommitTime,
            Metadata::Position => MetadataColumn::Position,
            Metadata::Ordinal => MetadataColumn::Ordinal,
            Metadata::SchemaVersion => MetadataColumn::SchemaVersion,
            Metadata::Absent => MetadataColumn::Absent,
        })
        .collect();
    if operations != Operations::INSERTS {
        columns.push(MetadataColumn::Operation);
    }
    columns.sort_unstable();
    columns.dedup();
    columns
}

#[cfg(test)]
mod tests {
    use super::super::raw::parse;
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
}
