//! The folders that tables have in a sink, and the columns that their names hide from some readers.

use tracing::warn;

use crate::config::{self, SchemaChange};
use crate::partitions::VERSION_PARTITION;
use crate::sink::TableFolder;

use super::checked_table::CheckedTable;

/// The folders of the tables in a sink that has some. Logs which of their columns the folders' names hide.
pub(crate) fn folders(
    sink: &config::Sink,
    partitions: &[String; 2],
    tables: &[CheckedTable],
) -> Vec<TableFolder> {
    let is_written = matches!(sink, config::Sink::Dir { .. } | config::Sink::S3(_));
    let folder = |table: &CheckedTable| {
        let names = table.written_names();
        let hidden = hidden_by_folders(names, partitions, table.on_schema_change);
        if is_written && !hidden.is_empty() {
            warn!(
                "table {}.{}: the objects' folders have the names of its columns {hidden}, so that readers of Hive \
                 partitions see the folders' values: read with hive_partitioning = false, give the folders other names (sink.partitions), or leave these columns out \
                 of the table's `columns`",
                table.schema, table.name
            );
        }
        let partitions = partitions.clone();
        TableFolder::with_partitions(&table.schema, &table.name, table.dialect, partitions)
    };
    tables.iter().map(folder).collect()
}

/// Those of the columns for which readers who take `dt=…` in a path for a column have two values.
fn hidden_by_folders<'a>(
    columns: impl Iterator<Item = &'a str>,
    partitions: &[String; 2],
    on_schema_change: SchemaChange,
) -> String {
    let has_version = on_schema_change == SchemaChange::Version;
    let version = has_version.then_some(VERSION_PARTITION);
    let is_folder = |column: &&str| {
        let mut folders = partitions.iter().map(String::as_str).chain(version);
        folders.any(|folder| folder.eq_ignore_ascii_case(column))
    };
    columns.filter(is_folder).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_folders_hide_are_named() {
        let partitions = crate::partitions::PARTITIONS.map(str::to_owned);
        for (columns, on_schema_change, hidden) in [
            ("id d dts vv", SchemaChange::Version, ""),
            ("id DT v hr", SchemaChange::Stop, "DT, hr"),
            ("v id", SchemaChange::Version, "v"),
            ("v id", SchemaChange::Stop, ""),
        ] {
            let columns = columns.split(' ');
            let found = hidden_by_folders(columns, &partitions, on_schema_change);
            assert_eq!(found, hidden);
        }
    }
}
