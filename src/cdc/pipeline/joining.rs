//! Tables that are followed while the binlog is read.

use std::collections::BTreeMap;

use tracing::info;

use crate::binlog::Decoder;
use crate::error::Error;
use crate::sink::Sink;

use super::super::new_tables::{NewTable, NewTables};
use super::{ColumnSource, Flow, KnownLayouts, Prefix, TableWriter};

/// Which tables join those that are followed, and what is known from before of tables that have not joined.
pub(super) struct Joining {
    new_tables: NewTables,
    pub(super) layouts: KnownLayouts,
    written: BTreeMap<String, Prefix>,
}

impl Joining {
    pub(super) fn new(
        new_tables: NewTables,
        mut layouts: KnownLayouts,
        written: BTreeMap<String, Prefix>,
    ) -> Self {
        layouts.retain(|name, _| new_tables.means(name));
        Self {
            new_tables,
            layouts,
            written,
        }
    }

    /// Follows what the newest event has named for the first time, before rows of it come.
    ///
    /// # Errors
    /// If its rows cannot be written.
    pub(super) fn follow<S: Sink>(
        &mut self,
        decoder: &mut Decoder,
        flow: &mut Flow<S>,
        columns: &mut ColumnSource,
        tables: &mut Vec<TableWriter>,
    ) -> Result<(), Error> {
        for (index, table) in decoder.take_new_tables() {
            let followed = self.new_tables.follow(&table.schema, &table.name)?;
            let NewTable {
                checked,
                sink,
                folder,
            } = followed;
            let name = checked.full_name();
            let layouts = self.layouts.remove(&name).unwrap_or_default();
            let written = self.written.remove(&name);
            checked.refuse_other_count(written.as_ref())?;
            flow.follow(sink, folder)?;
            info!("{checked}, from {} on", decoder.position());
            let limits = flow.delivery.sink().profile().limits;
            let mut writer = TableWriter::new(index, checked, layouts, written, limits);
            match columns {
                ColumnSource::Server { confirmed, .. } => {
                    confirmed.push(None);
                    let known = flow.columns.get(&name);
                    writer.know(known.cloned().unwrap_or_default());
                }
                ColumnSource::Given { used } => used.push(false),
            }
            tables.push(writer);
        }
        Ok(())
    }
}
