//! From one event to open batches, and from those to the sink: what the agent and a replay share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::binlog::{Decoder, Inflater, Input, Problem, Step};
use crate::config::SchemaChange;
use crate::error::Error;
use crate::sink::{Delivery, FOLDERS, Sink, TableFolder, VERSION_FOLDER};

use super::checked_table::CheckedTable;
use super::flow::{Flow, FlowOutlet};
use super::sequence::Sequence;
use super::server::{Identity, Mark};
use super::shapes::KnownShapes;
use super::tables::{TableMark, TableWriter};

/// Bytes of rows that are held back at most while they may be undone, and the part of what may be in memory that
/// they may take.
const MOST_DOUBTFUL: usize = 16 << 20;
const DOUBTFUL_PART: usize = 2;

/// The decoder, the tables' open batches, and the batches under way.
///
/// Contract: [`Pipeline::take_in`] for each event in the order of the binlog, as long as
/// [`Pipeline::has_room`]; [`Flow::arrived`] for what the sink has acknowledged.
pub(crate) struct Pipeline<S> {
    pub(crate) decoder: Decoder,
    inflater: Inflater,
    pub(crate) flow: Flow<S>,
    tables: Vec<TableWriter>,
    sequence: Sequence,
    /// Bytes of encoded rows that may be in memory.
    max_in_flight: usize,
    savepoints: Vec<Savepoint>,
    pub(crate) rows_written: u64,
    /// When the transaction of the newest row was committed.
    pub(crate) newest_commit_us: i64,
}

/// A savepoint of the open transaction: its number, and what to go back to.
struct Savepoint {
    id: u64,
    tables: Vec<TableMark>,
    sequence: i64,
}

impl<S: Sink> Pipeline<S> {
    /// An empty pipeline that starts at `start`, with the shapes that lines had before.
    ///
    /// # Errors
    /// If `start` makes no sense.
    pub(crate) fn new(
        start: &Mark,
        tables: Vec<CheckedTable>,
        mut shapes: KnownShapes,
        sink: S,
        max_in_flight: usize,
    ) -> Result<Self, Error> {
        let mut decoder = Decoder::new(
            start.position.clone(),
            start.gtids.clone(),
            &table_names(&tables),
        );
        decoder.followed(tables.iter().flat_map(CheckedTable::followed).collect());
        decoder.prepared_at_start(start.xa.clone())?;
        decoder.lineage_at_start(start.lineage.clone());
        for (index, table) in tables.iter().enumerate() {
            decoder.follow(index, table.operations);
            decoder.described_at(index, table.described_at.clone());
        }
        let limits = sink.limits();
        let delivery = Delivery::new(sink, tables.len());
        let tables = tables
            .into_iter()
            .enumerate()
            .map(|(index, table)| {
                let known = shapes.remove(&format!("{}.{}", table.schema, table.name));
                TableWriter::new(index, table, known.unwrap_or_default(), limits)
            })
            .collect();
        Ok(Self {
            decoder,
            inflater: Inflater::default(),
            flow: Flow::new(start.server.clone(), start.sequence, delivery),
            tables,
            sequence: Sequence::after(start.sequence),
            max_in_flight,
            savepoints: Vec::new(),
            rows_written: 0,
            newest_commit_us: 0,
        })
    }

    /// Takes in what the binlog says next.
    ///
    /// # Errors
    /// If it cannot be decoded or its rows cannot be written.
    pub(crate) fn take_in(&mut self, input: Input<'_>, now: Instant) -> Result<(), Error> {
        let input = self.inflater.plain(input, &self.decoder)?;
        let step = self.decoder.take(&input)?;
        for note in self.decoder.take_notes() {
            warn!("{note}");
        }
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        match step {
            Step::Nothing => {}
            Step::Rows { table, rows } => {
                if let Some(transaction) = self.decoder.transaction() {
                    self.newest_commit_us = transaction.commit_time_us;
                }
                let writer = &mut self.tables[table];
                self.rows_written +=
                    writer.write(&rows, &self.decoder, &mut self.sequence, now, &mut outlet)?;
                if self.decoder.may_be_undone() {
                    self.bound_doubt();
                }
            }
            Step::Savepoint { id, gone } => {
                self.savepoints.retain(|other| Some(other.id) != gone);
                let marks = self.tables.iter().map(TableWriter::mark);
                self.savepoints.push(Savepoint {
                    id,
                    tables: marks.collect(),
                    sequence: self.sequence.newest(),
                });
            }
            Step::RolledBackTo(savepoint) => {
                let index = self
                    .savepoints
                    .iter()
                    .position(|other| other.id == savepoint);
                self.savepoints.truncate(index.map_or(0, |index| index + 1));
                if let Some(savepoint) = self.savepoints.last() {
                    self.sequence.undo_to(savepoint.sequence);
                    for (table, mark) in self.tables.iter_mut().zip(&savepoint.tables) {
                        self.rows_written -= table.undo_to(*mark, &mut outlet);
                    }
                }
            }
            Step::RolledBack => {
                self.undo_open_transaction();
                self.sequence.undo_to(self.sequence.committed());
                self.end_transaction();
            }
            Step::Commit => self.end_transaction(),
        }
        Ok(())
    }

    fn end_transaction(&mut self) {
        self.sequence.commit();
        self.flow.moved(self.sequence.committed());
        self.savepoints.clear();
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for table in &mut self.tables {
            table.commit(&mut outlet);
        }
    }

    /// Rows that are held back because they may be undone must leave room for others. If they are too many, they
    /// are dropped, and read again once the end of their transaction is known.
    fn bound_doubt(&mut self) {
        let most = (self.max_in_flight / DOUBTFUL_PART).min(MOST_DOUBTFUL);
        let bytes: usize = self.tables.iter().map(TableWriter::doubtful_bytes).sum();
        if bytes > most {
            self.give_up_open_transaction();
        }
    }

    fn give_up_open_transaction(&mut self) {
        self.undo_open_transaction();
        self.decoder.give_up_open_transaction();
    }

    /// Takes all rows of the open transaction back that are not on their way.
    fn undo_open_transaction(&mut self) {
        self.savepoints.clear();
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for table in &mut self.tables {
            self.rows_written -= table.undo(&mut outlet);
        }
    }

    /// Takes rows of the open transaction back if it may be undone, because its end will not be read. Nothing
    /// may be taken in after that.
    pub(crate) fn forget_unfinished(&mut self) {
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for table in &mut self.tables {
            self.rows_written -= table.undo_doubtful(&mut outlet);
            table.commit(&mut outlet);
        }
    }

    /// Takes in the next event of the XA transaction that is being committed; says whether there was one.
    /// Call it before anything else is taken in.
    ///
    /// # Errors
    /// As for [`Pipeline::take_in`].
    pub(crate) fn take_in_prepared(&mut self, now: Instant) -> Result<bool, Error> {
        let Some(kept) = self.decoder.next_prepared() else {
            return Ok(false);
        };
        self.take_in(Input::Prepared(kept.event()), now)?;
        Ok(true)
    }

    /// Takes rows of the open transaction back, as far as they are in open batches, if after this
    /// problem they may not be real. Nothing may be taken in after that.
    pub(crate) fn forget_doubtful_rows(&mut self, problem: &Problem) {
        // A compressed transaction's checksum may not have been verified.
        if problem.is_doubt_of_open_rows() || self.decoder.is_in_payload() {
            self.undo_open_transaction();
        }
    }

    /// Goes back to the mark from which the binlog is sent again.
    ///
    /// # Errors
    /// If it makes no sense.
    pub(crate) fn rewind(&mut self, mark: Mark) -> Result<(), Error> {
        if mark.server != self.flow.server {
            self.decoder.server_changed();
        }
        self.flow.server = mark.server;
        let open = self.decoder.transaction_key();
        self.sequence.rewind(mark.sequence, open);
        self.decoder.rewind(mark.position);
        self.inflater.rewind();
        self.decoder.lineage_at_start(mark.lineage);
        if !mark.xa.is_empty() {
            self.decoder.prepared_at_start(mark.xa)?;
        }
        self.flow.moved(mark.sequence);
        self.savepoints.clear();
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for table in &mut self.tables {
            self.rows_written -= table.rewind(&mut outlet);
        }
        Ok(())
    }

    /// Whether more may be read. If not, everything that was read is on its way.
    pub(crate) fn has_room(&mut self) -> bool {
        let open_bytes: usize = self.tables.iter().map(TableWriter::open_bytes).sum();
        if self.flow.sealed_bytes + open_bytes < self.max_in_flight {
            return true;
        }
        self.seal_all();
        if self.flow.batches_under_way == 0 {
            // What is held back takes all the room, together with what it shares a batch with.
            self.give_up_open_transaction();
            self.seal_all();
        }
        false
    }

    /// Sends everything that is open on its way.
    pub(crate) fn seal_all(&mut self) {
        self.seal_if(|_| true);
    }

    /// Sends on its way what was opened `age` ago or earlier.
    pub(crate) fn seal_older(&mut self, age: Duration, now: Instant) {
        self.seal_if(|opened_at| opened_at + age <= now);
    }

    fn seal_if(&mut self, due: impl Fn(Instant) -> bool) {
        for table in &mut self.tables {
            if table.opened_at().is_some_and(&due)
                && let Some(batch) = table.seal()
            {
                self.flow.push(batch);
            }
        }
    }

    /// When the oldest open batch was opened.
    pub(crate) fn oldest_open(&self) -> Option<Instant> {
        self.tables.iter().filter_map(TableWriter::opened_at).min()
    }

    /// The newest commit that was read.
    pub(crate) fn newest_commit(&mut self) -> Arc<Mark> {
        self.flow.newest_commit(&self.decoder)
    }

    /// The commit up to which everything is acknowledged.
    pub(crate) fn safe_commit(&mut self) -> Arc<Mark> {
        self.flow.safe_commit(&self.decoder)
    }

    /// The shapes that the lines of each table have had.
    pub(crate) fn shapes(&self) -> KnownShapes {
        let shapes = |table: &TableWriter| (table.name(), table.known_shapes().to_vec());
        let tables = self.tables.iter().map(shapes);
        tables.filter(|(_, shapes)| !shapes.is_empty()).collect()
    }

    /// Cells whose text was not valid and was written with something replaced.
    pub(crate) fn replaced_cells(&self) -> u64 {
        self.tables.iter().map(TableWriter::replaced_cells).sum()
    }

    /// The server whose binlog is read.
    pub(crate) fn server(&self) -> &Identity {
        &self.flow.server
    }
}

/// The folders of a directory that the tables are written to. Logs which of their columns the folders' names hide.
pub(crate) fn folders(tables: &[CheckedTable]) -> Vec<TableFolder> {
    let folder = |table: &CheckedTable| {
        let columns = table.columns.iter().flatten();
        let names = columns.map(|column| column.name.as_str());
        let hidden = hidden_by_folders(names, table.on_schema_change);
        if !hidden.is_empty() {
            warn!(
                "table {}.{}: the objects' folders have the names of its columns {hidden}, so that readers of Hive \
                 partitions see the folders' values: read with hive_partitioning = false, or leave these columns out of the \
                 table's `columns`",
                table.schema, table.name
            );
        }
        TableFolder::new(&table.schema, &table.name, table.dialect)
    };
    tables.iter().map(folder).collect()
}

/// Those of the columns for which readers who take `dt=…` in a path for a column have two values.
fn hidden_by_folders<'a>(
    columns: impl Iterator<Item = &'a str>,
    on_schema_change: SchemaChange,
) -> String {
    let has_version = on_schema_change == SchemaChange::Version;
    let version = has_version.then_some(VERSION_FOLDER);
    let is_folder = |column: &&str| {
        let mut folders = FOLDERS.into_iter().chain(version);
        folders.any(|folder| folder.eq_ignore_ascii_case(column))
    };
    columns.filter(is_folder).collect::<Vec<_>>().join(", ")
}

/// Schema and name of each table.
pub(crate) fn table_names(tables: &[CheckedTable]) -> Vec<(String, String)> {
    tables
        .iter()
        .map(|table| (table.schema.clone(), table.name.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_folders_hide_are_named() {
        for (columns, on_schema_change, hidden) in [
            ("id d dts vv", SchemaChange::Version, ""),
            ("id DT v hr", SchemaChange::Stop, "DT, hr"),
            ("v id", SchemaChange::Version, "v"),
            ("v id", SchemaChange::Stop, ""),
        ] {
            let columns = columns.split(' ');
            assert_eq!(hidden_by_folders(columns, on_schema_change), hidden);
        }
    }
}
