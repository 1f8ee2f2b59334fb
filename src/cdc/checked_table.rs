//! A followed table as a server, or a configuration alone, describes it.

use std::fmt;

use crate::binlog::{
    Flavor, Operations, Problem, ServerColumn, TableMap, Versioning, WatchedTable,
};
use crate::config::{self, KeyChange, OversizeRows, Protection, SchemaChange, TableBackfill};
use crate::encode::{ChosenColumn, Dialect, InvalidText, MetadataColumn};
use crate::{Exit, Failure};

use super::checkpoint::FollowedTable;
use super::definition_code::DefinitionCode;
use super::prefix::{Counted, Prefix};
use super::server_columns::{chosen, is_same, open_columns};

/// A followed table, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTable {
    /// The schema, as the server spells it.
    pub schema: String,
    /// The table, as the server spells it.
    pub name: String,
    /// The columns that were chosen, in the order in which they are written; `None` is all.
    pub columns: Option<Vec<ChosenColumn>>,
    /// Columns that are written masked, or not at all.
    pub protection: Protection,
    /// What the server said about its columns, if they are not asked for while the binlog is read.
    pub definition: Vec<ServerColumn>,
    /// The definitions of the table from which on its lines are written as it is then.
    pub accepted: Vec<DefinitionCode>,
    /// The server's answer about its system versioning.
    pub versioning: Versioning,
    /// Whether `columns`, if there are any, name those of table maps that have no names.
    pub columns_are_names: bool,
    /// Columns about the change.
    pub metadata: Vec<MetadataColumn>,
    /// The changes that are followed.
    pub operations: Operations,
    /// Whether an update is also written as the row was before.
    pub before_image: bool,
    /// What an update that changes the key is written as.
    pub key_change: KeyChange,
    /// What happens when the lines would be others.
    pub on_schema_change: SchemaChange,
    /// How its lines are written.
    pub dialect: Dialect,
    /// What happens to text that is not valid in its character set.
    pub invalid_text: InvalidText,
    /// What happens to rows that are too large for the sink.
    pub oversize: OversizeRows,
    /// Whether the rows that it has are read.
    pub backfill: TableBackfill,
    /// Whether all its changes are handed out, because its rows are being read.
    pub is_read: bool,
    /// The delivery stream of its rows, if the sink has such.
    pub stream: Option<String>,
}

impl CheckedTable {
    /// What its lines are counted by.
    pub(crate) fn counted(&self) -> Counted {
        Counted {
            events: self.operations,
            before_image: self.before_image,
            key_change: self.key_change,
        }
    }

    /// Lines that are passed over are counted, so that they must be counted as they were.
    ///
    /// # Errors
    /// If settings were changed on which that depends; `written` are lines in objects.
    pub(super) fn refuse_other_count(&self, written: Option<&Prefix>) -> Result<(), Failure> {
        if !written.is_some_and(|written| written.is_counted_otherwise(self.counted())) {
            return Ok(());
        }
        Err(Failure::definite(
            Exit::Config,
            format!(
                "table {}: events, before_image or key_change is another than before, and the agent was killed in the \
                 middle of a transaction, of which an object has the first rows",
                self.full_name()
            ),
            "take the change back, start once with --until now, which ends the transaction, and change it then",
        ))
    }

    /// What of it is followed.
    pub(crate) fn followed(&self) -> WatchedTable {
        WatchedTable {
            schema: self.schema.clone(),
            name: self.name.clone(),
            operations: if self.is_read {
                Operations::ALL
            } else {
                self.operations
            },
        }
    }

    /// The written columns of a named table map that only the server can tell whole.
    pub(crate) fn open(&self, map: &TableMap, flavor: Flavor) -> Vec<String> {
        if !map.is_named() {
            return Vec::new();
        }
        let columns = open_columns(map, flavor).map(|column| &column.name);
        columns
            .filter(|name| self.is_chosen(name))
            .cloned()
            .collect()
    }

    fn is_chosen(&self, name: &str) -> bool {
        let chosen = self.columns.as_ref();
        chosen.is_none_or(|chosen| chosen.iter().any(|column| is_same(&column.name, name)))
            && !self.protection.excludes(name)
    }

    /// Those of the table's columns that are written, in the table's order.
    pub(crate) fn written_columns<'c>(
        &'c self,
        columns: &'c [ServerColumn],
    ) -> impl Iterator<Item = &'c ServerColumn> {
        columns.iter().filter(|column| self.is_chosen(&column.name))
    }

    /// A column as it is written, of a table that the server has described.
    pub(super) fn as_written(&self, name: &str, told: &[ServerColumn]) -> ChosenColumn {
        let mut declared = self.columns.iter().flatten();
        let declared = declared.find(|column| is_same(&column.name, name));
        let told = chosen(name, told);
        ChosenColumn {
            scale: declared.and_then(|column| column.scale).or(told.scale),
            hidden_type: declared
                .and_then(|column| column.hidden_type)
                .or(told.hidden_type),
            mask: self.protection.mask(name).cloned(),
            ..told
        }
    }

    /// Whether lines tell rows apart that differ in this column.
    pub(super) fn tells(&self, column: &str) -> bool {
        self.is_chosen(column) && !self.protection.merges(column)
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
        columns: Option<Vec<ChosenColumn>>,
    ) -> Self {
        Self {
            schema,
            name,
            columns,
            protection: wanted.protection.clone(),
            definition: Vec::new(),
            accepted: Vec::new(),
            versioning: Versioning::Unknown,
            columns_are_names: false,
            metadata: wanted.metadata.clone(),
            operations: wanted.operations,
            before_image: wanted.before_image,
            key_change: wanted.key_change,
            on_schema_change: wanted.on_schema_change,
            dialect: wanted.dialect,
            invalid_text: wanted.invalid_text,
            oversize: wanted.oversize,
            backfill: wanted.backfill,
            is_read: false,
            stream: wanted.stream.clone(),
        }
    }

    /// The table that the configuration wants, as it names it.
    pub(super) fn unchecked(wanted: &config::Table) -> Self {
        let named = |name: &String| ChosenColumn::named(name);
        let columns = wanted.columns.as_ref();
        let columns = columns.map(|columns| columns.iter().map(named).collect());
        Self::new(wanted, wanted.schema.clone(), wanted.name.clone(), columns)
    }

    /// Whether a mask makes this column of the primary key the same for several rows whose changes are followed.
    pub(super) fn merges_key(&self, column: &str) -> bool {
        self.operations != Operations::INSERTS && self.protection.merges(column)
    }

    /// `schema.table`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The names of the columns that were chosen.
    pub(crate) fn chosen_names(&self) -> Option<Vec<String>> {
        let columns = self.columns.as_ref()?;
        Some(columns.iter().map(|column| column.name.clone()).collect())
    }

    /// The names of the columns that are written, as far as they are known before the binlog is read.
    pub(crate) fn written_names(&self) -> impl Iterator<Item = &str> + Clone {
        let chosen = self.columns.iter().flatten();
        let all = self.definition.iter().filter(|_| self.columns.is_none());
        let names = chosen.map(|column| column.name.as_str());
        let names = names.chain(all.map(|column| column.name.as_str()));
        names.filter(|name| !self.protection.excludes(name))
    }

    /// Two values of one name in an object are one too many for its readers, whatever the case.
    ///
    /// # Errors
    /// If a dialect with keys would write two of a name.
    pub(crate) fn refuse_double_keys<'n>(
        &self,
        names: &(impl Iterator<Item = &'n str> + Clone),
    ) -> Result<(), Failure> {
        let double = self.metadata.iter().find(|added| {
            let mut names = names.clone();
            names.any(|name| name.eq_ignore_ascii_case(added.name()))
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

/// What is wrong with a masked key.
pub(super) fn merged_key(column: &str) -> String {
    format!(
        "the column {column} of the primary key is masked so that several rows have the same value: their updates and \
         deletes could not be told apart"
    )
}

/// What to do about it.
pub(super) const MERGED_KEY_REMEDY: &str =
    "mask it by \"sha256\", under which a key stays a key, or leave the mask out";

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
        for name in &self.protection.excluded {
            write!(f, " -{name}")?;
        }
        for (name, mask) in &self.protection.masks {
            write!(f, " {name}:{}", mask.kind())?;
        }
        for column in &self.metadata {
            write!(f, " +{column}")?;
        }
        Ok(())
    }
}
