//! A followed table as a server, or a configuration alone, describes it.

use std::fmt;

use crate::binlog::{
    Column, FilePosition, Operations, Problem, ServerColumn, TableMap, VersionedColumns, Versioning,
};
use crate::config::{self, SchemaChange};
use crate::encode::{Chosen, Dialect, InvalidText, MetadataColumn};
use crate::{Exit, Failure};

use super::checkpoint::FollowedTable;

/// A followed table, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTable {
    /// The schema, as the server spells it.
    pub schema: String,
    /// The table, as the server spells it.
    pub name: String,
    /// The columns that are written; `None` is those of the first table map.
    pub columns: Option<Vec<Chosen>>,
    /// All columns that the server told of, for table maps that do not name them; empty if nobody
    /// was asked.
    pub definition: Vec<ServerColumn>,
    /// What the server told of its system versioning.
    pub versioning: Versioning,
    /// Where the binlog ended before it was asked; `None` if nobody looked.
    pub described_at: Option<FilePosition>,
    /// Whether `columns`, if there are any, name those of table maps that have no names.
    pub columns_are_names: bool,
    /// Columns about the change.
    pub metadata: Vec<MetadataColumn>,
    /// The changes that are followed.
    pub operations: Operations,
    /// Whether an update is also written as the row was before.
    pub before_image: bool,
    /// What happens when the lines would be others.
    pub on_schema_change: SchemaChange,
    /// Whether nobody has chosen columns.
    pub all_columns: bool,
    /// How its lines are written.
    pub dialect: Dialect,
    /// What happens to text that is not valid in its character set.
    pub invalid_text: InvalidText,
}

impl CheckedTable {
    /// Its name with each operation that is followed.
    pub(crate) fn followed(&self) -> Vec<String> {
        let Operations {
            insert,
            update,
            delete,
        } = self.operations;
        let operations = [(insert, "insert"), (update, "update"), (delete, "delete")];
        let followed = operations
            .into_iter()
            .filter(|(is_followed, _)| *is_followed);
        followed
            .map(|(_, operation)| format!("{}.{} {operation}", self.schema, self.name))
            .collect()
    }

    /// A table map without names, with those of the command line.
    ///
    /// # Errors
    /// If there are none, or they do not fit.
    pub(super) fn named(&self, map: &TableMap) -> Result<TableMap, Problem> {
        match &self.columns {
            Some(columns) if self.columns_are_names => map
                .with_names(columns.iter().map(|chosen| chosen.name.as_str()))
                .map_err(|misnamed| Problem::Misnamed(Box::new(misnamed))),
            Some(_) | None => Err(Problem::NoColumnNames),
        }
    }

    /// What a checkpoint says of it.
    pub(super) fn to_followed(&self) -> FollowedTable {
        FollowedTable {
            schema: self.schema.clone(),
            name: self.name.clone(),
            events: self.operations,
        }
    }

    /// The table that the configuration wants, under the names and with the columns it has.
    pub(crate) fn new(
        wanted: &config::Table,
        schema: String,
        name: String,
        columns: Option<Vec<Chosen>>,
    ) -> Self {
        Self {
            schema,
            name,
            columns,
            definition: Vec::new(),
            versioning: Versioning::Unknown,
            described_at: None,
            columns_are_names: false,
            metadata: wanted.metadata.clone(),
            operations: wanted.operations,
            before_image: wanted.before_image,
            on_schema_change: wanted.on_schema_change,
            all_columns: wanted.columns.is_none(),
            dialect: wanted.dialect,
            invalid_text: wanted.invalid_text,
        }
    }

    /// Two values of one name in an object are one too many for its readers, whatever the case.
    ///
    /// # Errors
    /// If a dialect with keys would write two of a name.
    pub(crate) fn refuse_double_keys(&self) -> Result<(), Failure> {
        let columns = self.columns.as_deref().unwrap_or_default();
        let double = self.metadata.iter().find(|added| {
            let is_same = |column: &Chosen| column.name.eq_ignore_ascii_case(added.name());
            columns.iter().any(is_same)
        });
        match double {
            Some(added) if self.dialect.has_keys() => Err(Failure::definite(
                Exit::Config,
                format!(
                    "table {}.{}: a column has the name of the metadata column {added}",
                    self.schema, self.name
                ),
                "leave one of them out of the table's `columns` or `metadata`, or write another dialect",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl fmt::Display for CheckedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writing {}.{}:", self.schema, self.name)?;
        match &self.columns {
            Some(columns) => {
                for column in columns {
                    write!(f, " {}", column.name)?;
                }
            }
            None => f.write_str(" all columns")?,
        }
        for column in &self.metadata {
            write!(f, " +{column}")?;
        }
        Ok(())
    }
}

/// All columns that `SELECT *` may show, with what is known of them from the server.
pub(super) fn all_of(
    map: &TableMap,
    known: &[Chosen],
    versioned: &VersionedColumns,
) -> Vec<Chosen> {
    let chosen = |column: &Column| {
        let is_same = |known: &&Chosen| known.name.eq_ignore_ascii_case(&column.name);
        let unknown = || Chosen {
            name: column.name.clone(),
            scale: None,
            disguise: None,
        };
        known.iter().find(is_same).cloned().unwrap_or_else(unknown)
    };
    let unlisted_from = versioned.unlisted_from.unwrap_or(map.columns.len());
    map.columns[..unlisted_from].iter().map(chosen).collect()
}
