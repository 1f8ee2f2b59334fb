//! Tables that are followed from the moment on at which the binlog names them, because a pattern means them.
//!
//! What lives here: what is written of such a table, without asking a server. What does not: when one appears
//! ([`crate::binlog::TableChooser`]), and which ones there are at a start (`listed`).

use std::collections::{BTreeMap, HashMap};

use crate::binlog::{TableChooser, Versioning};
use crate::config::{self, SchemaChange, TablePatterns, may_share, problem_of_stream};
use crate::sink::{SinkTable, TableFolder};
use crate::{Exit, Failure};

use super::checked_table::CheckedTable;
use super::layouts::AcceptedChange;

/// What is needed to follow a table that no start knew.
#[derive(Debug, Default)]
pub(crate) struct NewTables {
    pub(crate) patterns: TablePatterns,
    /// What the folders of an object's day and hour are called.
    pub(crate) partitions: [String; 2],
    /// What a server said of its system-versioned tables, by `schema.table`.
    pub(crate) versioning: BTreeMap<String, Versioning>,
    /// Changes of such tables that the operator accepts.
    pub(crate) accepted: Vec<AcceptedChange>,
    /// A table of each stream that is written to.
    streams: HashMap<String, config::Table>,
}

/// A table that is followed now.
pub(super) struct NewTable {
    pub(super) checked: CheckedTable,
    pub(super) sink: SinkTable,
    pub(super) folder: TableFolder,
}

impl NewTables {
    /// Those that these patterns mean; `partitions` as in [`TableFolder::with_partitions`].
    pub(crate) fn of(patterns: TablePatterns, partitions: [String; 2]) -> Self {
        Self {
            patterns,
            partitions,
            ..Self::default()
        }
    }

    /// Tells a decoder which tables these are; nothing if there are no patterns.
    pub(super) fn chooser(&self) -> Option<TableChooser> {
        if self.patterns.is_empty() {
            return None;
        }
        let patterns = self.patterns.clone();
        let words = patterns.stored().into_iter();
        let words = words.map(|stored| format!("{stored:?}")).collect();
        let folds = patterns.folds();
        let choose = move |schema: &str, name: &str| patterns.operations(schema, name);
        Some(TableChooser::new(choose, folds, words))
    }

    /// Whether a pattern means the table with this name, `schema.table`.
    pub(super) fn means(&self, full_name: &str) -> bool {
        let points = full_name.match_indices('.');
        let mut splits = points.map(|(at, _)| (&full_name[..at], &full_name[at + 1..]));
        splits.any(|(schema, name)| self.patterns.of(schema, name).is_some())
    }

    /// Takes a table whose stream is written to.
    ///
    /// # Errors
    /// If its stream has no name that streams have, or its lines cannot be told from those of another.
    pub(super) fn take_stream(&mut self, table: &config::Table) -> Result<(), Failure> {
        let Some(stream) = &table.stream else {
            return Ok(());
        };
        let name = table.full_name();
        if let Some(what) = problem_of_stream(stream) {
            return Err(Failure::definite(
                Exit::Config,
                format!("table {name}: its stream would be {stream:?}, which is {what}"),
                "give the table a [[table]] of its own with another `stream` before the pattern, or add it to the \
                 pattern's `exclude`",
            ));
        }
        match self.streams.get(stream) {
            Some(other) if !may_share(other, table) && other.full_name() != name => {
                Err(Failure::definite(
                    Exit::Config,
                    format!(
                        "{} and {name} would share the stream {stream}, and their lines cannot be told apart",
                        other.full_name()
                    ),
                    "write a template that makes another name of each, such as stream = \"cdc-{schema}-{table}\", or set \
                     dialect = \"jsonl\" and metadata = [\"schema\", \"table\"]",
                ))
            }
            Some(_) => Ok(()),
            None => {
                self.streams.insert(stream.clone(), table.clone());
                Ok(())
            }
        }
    }

    /// What is written of a table that is followed from now on.
    ///
    /// # Errors
    /// As for [`Self::take_stream`], or if no pattern means it.
    pub(super) fn follow(&mut self, schema: &str, name: &str) -> Result<NewTable, Failure> {
        let wanted = self.patterns.table(schema, name).ok_or_else(|| {
            Failure::definite(
                Exit::Data,
                format!("no pattern means the table {schema}.{name}"),
                "report this; it is a defect of hydrant",
            )
        })?;
        self.take_stream(&wanted)?;
        let mut checked = CheckedTable::unchecked(&wanted);
        let full_name = checked.full_name();
        if let Some(versioning) = self.versioning.get(&full_name) {
            checked.versioning = versioning.clone();
        }
        let accepted = self.accepted.iter();
        let accepted = accepted.filter(|it| it.table.eq_ignore_ascii_case(&full_name));
        checked.accepted = accepted.map(|it| it.code).collect();
        let partitions = self.partitions.clone();
        let folder = TableFolder::with_partitions(schema, name, checked.dialect, partitions);
        Ok(NewTable {
            sink: checked.to_sink_table(),
            checked,
            folder,
        })
    }
}

impl CheckedTable {
    /// As sinks know it.
    pub(super) fn to_sink_table(&self) -> SinkTable {
        SinkTable {
            schema: self.schema.clone(),
            name: self.name.clone(),
            dialect: self.dialect,
            has_version_folders: self.on_schema_change == SchemaChange::Version,
            stream: self.stream.clone(),
        }
    }
}
