//! From one event to open batches, and from those to the sink: what the agent and a replay share.

mod joining;
mod parts;
mod sealing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use crate::binlog::{DecodeError, Decoder, DecoderStart, Inflater, Input, Problem, Step};
use crate::error::Error;
use crate::sink::{Delivery, Sink};

use super::backfill::Seam;
use super::checked_table::CheckedTable;
use super::column_source::{ColumnSource, forget};
use super::flow::{Flow, FlowOutlet};
use super::layouts::KnownLayouts;
use super::new_tables::NewTables;
use super::prefix::Prefix;
use super::progress::Progress;
use super::sequence::Sequence;
use super::server::{Identity, Mark};
use super::server_columns::{Answer, ConfirmedId, Question, renew, tells_of};
use super::tables::{RowContext, TableMark, TableWriter};

use joining::Joining;

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
    joining: Joining,
    columns: ColumnSource,
    sequence: Sequence,
    /// Bytes of encoded rows that may be in memory.
    max_in_flight: usize,
    /// Bytes that may be added to those at least before they are counted again.
    room: usize,
    /// Tables of which the open transaction has rows.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    savepoints: Vec<Savepoint>,
    /// Tables whose rows are being read, if there are any.
    pub(super) seam: Option<Box<Seam>>,
    pub(crate) rows_written: u64,
    /// When the transaction of the newest row was committed.
    pub(crate) newest_commit_us: i64,
}

/// A savepoint of the open transaction: its number, and what to go back to.
struct Savepoint {
    id: u64,
    tables: Vec<TableMark>,
    sequence: i64,
    /// What was noted for tables that are read.
    noted: Vec<usize>,
}

impl<S: Sink> Pipeline<S> {
    /// An empty pipeline that starts at `start`, with the layouts that lines had before, and the lines behind `start`
    /// that are in committed objects. It asks the server what table maps leave out (see [`Pipeline::question`]).
    ///
    /// # Errors
    /// If `start` makes no sense.
    pub(crate) fn following(
        start: &Mark,
        tables: (Vec<CheckedTable>, NewTables),
        known: (KnownLayouts, BTreeMap<String, Prefix>),
        sink: S,
        max_in_flight: usize,
    ) -> Result<Self, Error> {
        let columns = ColumnSource::Server {
            confirmed: vec![None; tables.0.len()],
            question: None,
        };
        let mut pipeline = Self::new(start, tables, known, sink, max_in_flight, columns)?;
        pipeline
            .tables
            .iter_mut()
            .for_each(|table| table.know(Vec::new()));
        pipeline.know_all();
        Ok(pipeline)
    }

    /// The same for tables whose columns were asked for before.
    ///
    /// # Errors
    /// If `start` makes no sense.
    pub(crate) fn replaying(
        start: &Mark,
        tables: (Vec<CheckedTable>, NewTables),
        sink: S,
        max_in_flight: usize,
    ) -> Result<Self, Error> {
        let columns = ColumnSource::Given {
            used: vec![false; tables.0.len()],
        };
        Self::new(
            start,
            tables,
            (KnownLayouts::new(), BTreeMap::new()),
            sink,
            max_in_flight,
            columns,
        )
    }

    /// An empty pipeline that starts at `start`, with the layouts that lines had before.
    ///
    /// # Errors
    /// If `start` makes no sense.
    fn new(
        start: &Mark,
        (tables, new_tables): (Vec<CheckedTable>, NewTables),
        (mut layouts, mut written): (KnownLayouts, BTreeMap<String, Prefix>),
        sink: S,
        max_in_flight: usize,
        columns: ColumnSource,
    ) -> Result<Self, Error> {
        let followed: Vec<_> = tables.iter().map(CheckedTable::followed).collect();
        let decoder = Decoder::new(
            DecoderStart {
                position: start.position.clone(),
                gtids: start.gtids.clone(),
                xa: start.xa.clone(),
                chooser: new_tables.chooser(),
                lineage: start.lineage.clone(),
            },
            &followed,
        )?;
        let limits = sink.profile().limits;
        let delivery = Delivery::new(sink, tables.len());
        let is_touched = vec![false; tables.len()];
        let tables = tables
            .into_iter()
            .enumerate()
            .map(|(index, table)| {
                let name = table.full_name();
                let known = layouts.remove(&name).unwrap_or_default();
                TableWriter::new(index, table, known, written.remove(&name), limits)
            })
            .collect();
        Ok(Self {
            decoder,
            joining: Joining::new(new_tables, layouts, written),
            inflater: Inflater::default(),
            flow: Flow::new(start, delivery),
            tables,
            columns,
            sequence: Sequence::after(start.sequence),
            max_in_flight,
            room: 0,
            touched: Vec::new(),
            is_touched,
            savepoints: Vec::new(),
            seam: None,
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
        if self.decoder.has_something_to_tell() {
            // A statement may have changed a table, or emptied it, in a way that its rows do not show.
            self.seam.iter_mut().for_each(|seam| seam.discard());
            let Self {
                decoder,
                flow,
                columns,
                tables,
                ..
            } = self;
            self.joining.follow(decoder, flow, columns, tables)?;
            self.is_touched.resize(tables.len(), false);
            heed(decoder, flow, columns, tables)?;
        }
        match step {
            Step::Nothing => self.note_question(),
            Step::Rows { table, rows } => {
                let mut outlet = FlowOutlet {
                    flow: &mut self.flow,
                    decoder: &self.decoder,
                };
                if let Some(transaction) = self.decoder.transaction() {
                    self.newest_commit_us = transaction.commit_time_us;
                }
                if !std::mem::replace(&mut self.is_touched[table], true) {
                    self.touched.push(table);
                }
                let writer = &mut self.tables[table];
                let used_before = outlet.flow.sealed_bytes + writer.open_bytes();
                let context = RowContext::of(&self.decoder, table, now);
                let context = context.ok_or_else(|| DecodeError {
                    position: self.decoder.position().clone(),
                    table: Some(writer.definition.name()),
                    problem: Problem::RowsOutsideTransaction,
                })?;
                self.rows_written +=
                    writer.write(&rows, &context, &mut self.sequence, &mut outlet)?;
                if let Some(seam) = &mut self.seam
                    && let Some(reading) = seam.open(table)
                {
                    writer.touch(&rows, &context, reading, &mut outlet)?;
                }
                let used = outlet.flow.sealed_bytes + writer.open_bytes();
                self.room = self.room.saturating_sub(used.saturating_sub(used_before));
                if self.decoder.may_be_undone() {
                    self.bound_doubt();
                }
            }
            Step::Savepoint { id, gone } => self.set_savepoint(id, gone),
            Step::RolledBackTo(savepoint) => self.roll_back_to(savepoint),
            Step::RolledBack => {
                self.undo_open_transaction();
                self.sequence.undo_to(self.sequence.committed());
                self.end_transaction();
            }
            Step::Commit => self.end_transaction(),
        }
        Ok(())
    }

    fn set_savepoint(&mut self, id: u64, gone: Option<u64>) {
        self.savepoints.retain(|other| Some(other.id) != gone);
        let marks = self.tables.iter().map(TableWriter::mark);
        let seam = self.seam.as_mut();
        self.savepoints.push(Savepoint {
            id,
            tables: marks.collect(),
            sequence: self.sequence.newest(),
            noted: seam.map_or_else(Vec::new, |seam| seam.savepoint()),
        });
    }

    fn roll_back_to(&mut self, savepoint: u64) {
        let mut known = self.savepoints.iter();
        let index = known.position(|other| other.id == savepoint);
        self.savepoints.truncate(index.map_or(0, |index| index + 1));
        let Some(savepoint) = self.savepoints.last() else {
            return;
        };
        self.sequence.undo_to(savepoint.sequence);
        if let Some(seam) = &mut self.seam {
            seam.undo_to(Some(&savepoint.noted));
        }
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for (table, mark) in self.tables.iter_mut().zip(&savepoint.tables) {
            let undone = table.undo_to(*mark, &mut outlet);
            self.rows_written = self.rows_written.saturating_sub(undone);
        }
        // What has joined since has nothing from before.
        for table in self.tables.iter_mut().skip(savepoint.tables.len()) {
            let undone = table.undo(&mut outlet);
            self.rows_written = self.rows_written.saturating_sub(undone);
        }
    }

    fn end_transaction(&mut self) {
        self.sequence.commit();
        self.flow.moved(self.sequence.committed());
        self.note_commit();
        self.savepoints.clear();
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for table in self.touched.drain(..) {
            self.is_touched[table] = false;
            self.tables[table].commit(&mut outlet);
        }
    }

    /// Rows that are held back because they may be undone must leave room for others. If they are too many, they
    /// are dropped, and read again once the end of their transaction is known.
    fn bound_doubt(&mut self) {
        let most = (self.max_in_flight / DOUBTFUL_PART).min(MOST_DOUBTFUL);
        let doubtful = |table: &usize| self.tables[*table].doubtful_bytes();
        let bytes: usize = self.touched.iter().map(doubtful).sum();
        if bytes > most {
            self.give_up_open_transaction();
        }
    }

    fn give_up_open_transaction(&mut self) {
        self.undo_open_transaction();
        // None of these numbers is a line's.
        self.sequence.undo_to(self.sequence.committed());
        self.decoder.give_up_open_transaction();
    }

    /// Takes all rows of the open transaction back that are not on their way.
    fn undo_open_transaction(&mut self) {
        self.savepoints.clear();
        self.seam.iter_mut().for_each(|seam| seam.undo_to(None));
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        // Lines of an event that could not be written to its end were not counted.
        for table in &mut self.tables {
            self.rows_written = self.rows_written.saturating_sub(table.undo(&mut outlet));
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
            // The transaction has not ended, so that what is written of it is counted where an object ends.
            let undone = table.rewind(false, &mut outlet);
            self.rows_written = self.rows_written.saturating_sub(undone);
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

    /// After a table map: whether its rows need something that the server must be asked first.
    fn note_question(&mut self) {
        let Some(mapped) = self.decoder.mapped() else {
            return;
        };
        let (index, table_id) = (mapped.index, mapped.table_id);
        let table = &mut self.tables[index];
        let flavor = self.decoder.flavor();
        if !table
            .definition
            .needs_server(mapped.map, mapped.generation, flavor)
        {
            return;
        }
        match &mut self.columns {
            ColumnSource::Given { used } => {
                if !std::mem::replace(&mut used[index], true) && table.definition.knows_columns() {
                    warn!(
                        "{}: what the binlog does not say about its columns is taken from the server's present \
                         table: if it was changed after these files, its rows are decoded wrongly",
                        table.definition.name()
                    );
                }
            }
            ColumnSource::Server {
                confirmed: known,
                question,
            } => {
                if known[index] == Some(table_id) && table.definition.knows_columns() {
                    return;
                }
                let confirmed = self.flow.confirmed_ids.get(&table.definition.name());
                if confirmed.is_some_and(|it| it.id == table_id) && table.definition.knows_columns()
                {
                    known[index] = Some(table_id);
                    return;
                }
                let open = table.definition.open(mapped.map, flavor);
                let known = self.flow.columns.get(&table.definition.name());
                // Of a column that was added nothing was told.
                let known = known.filter(|known| tells_of(known, &open));
                *question = Some(Box::new(Question {
                    table: index,
                    schema: mapped.map.schema.clone(),
                    name: mapped.map.table.clone(),
                    table_id,
                    map: mapped.map.clone(),
                    definition: self.decoder.definition(index).to_vec(),
                    open,
                    known: known.cloned(),
                    is_renewed_unseen: confirmed.is_some_and(|it| !it.may_be_renewed),
                    at: self.decoder.position().clone(),
                }));
            }
        }
    }

    /// What the server must be asked before anything more is taken in. [`Pipeline::answer`] takes what it
    /// says.
    pub(super) fn question(&self) -> Option<&Question> {
        match &self.columns {
            ColumnSource::Server { question, .. } => question.as_deref(),
            ColumnSource::Given { .. } => None,
        }
    }

    /// Takes what the server says to [`Pipeline::question`].
    ///
    /// # Errors
    /// If it does not tell how the rows are to be read.
    pub(super) fn answer(&mut self, answer: Answer) -> Result<(), Error> {
        let ColumnSource::Server { question, .. } = &mut self.columns else {
            return Ok(());
        };
        let Some(question) = question.take() else {
            return Ok(());
        };
        let table = &mut self.tables[question.table];
        let columns = question.settle(answer, table.definition.accepted())?;
        let confirmed = ConfirmedId {
            id: question.table_id,
            may_be_renewed: false,
        };
        Arc::make_mut(&mut self.flow.confirmed_ids).insert(table.definition.name(), confirmed);
        if question.known.as_ref() != Some(&columns) {
            Arc::make_mut(&mut self.flow.columns).insert(table.definition.name(), columns.clone());
        }
        self.flow.renew();
        table.know(columns);
        Ok(())
    }

    /// Gives the tables what is known of their columns at the place where reading continues. Whether it is so
    /// still is asked when it is needed.
    fn know_all(&mut self) {
        if let ColumnSource::Server {
            confirmed,
            question,
        } = &mut self.columns
        {
            confirmed.fill(None);
            *question = None;
            for table in &mut self.tables {
                let columns = self.flow.columns.get(&table.definition.name());
                table.know(columns.cloned().unwrap_or_default());
            }
        }
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
        let is_other_server = mark.server != self.flow.server;
        self.leave_windows(is_other_server)?;
        self.flow.server = mark.server;
        self.flow.columns = mark.columns;
        self.flow.confirmed_ids = mark.confirmed_ids;
        self.know_all();
        let open = self.decoder.transaction_key();
        self.sequence.rewind(mark.sequence, open);
        self.decoder.rewind(mark.position, mark.xa, mark.lineage)?;
        self.inflater.rewind();
        self.flow.moved(mark.sequence);
        self.savepoints.clear();
        let mut outlet = FlowOutlet {
            flow: &mut self.flow,
            decoder: &self.decoder,
        };
        for table in &mut self.tables {
            self.rows_written = self
                .rows_written
                .saturating_sub(table.rewind(is_other_server, &mut outlet));
        }
        Ok(())
    }

    /// The newest commit that was read.
    pub(crate) fn newest_commit(&mut self) -> Arc<Mark> {
        self.flow.newest_commit(&self.decoder)
    }

    /// The commit up to which everything is acknowledged.
    pub(crate) fn safe_commit(&mut self) -> Arc<Mark> {
        self.flow.safe_commit(&self.decoder)
    }

    /// The layouts that the lines of each table have had.
    pub(crate) fn layouts(&self) -> KnownLayouts {
        let layouts =
            |table: &TableWriter| (table.definition.name(), table.definition.layouts().clone());
        let mut all = self.joining.layouts.clone();
        all.extend(self.tables.iter().map(layouts));
        all
    }

    /// The names of the tables, by their indices.
    pub(super) fn table_name(&self, index: usize) -> String {
        self.tables[index].definition.name()
    }

    /// The numbers of the run, of now.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            rows_written: self.rows_written,
            rows_delivered: self.flow.rows_delivered,
            bytes_delivered: self.flow.bytes_delivered,
            rows_dead_lettered: self.flow.rows_dead_lettered,
            bytes_in_flight: self.flow.sealed_bytes as u64,
            delivery: self.flow.delivery.stats(),
            newest_commit_us: self.newest_commit_us,
            cells_replaced: self.tables.iter().map(TableWriter::replaced_cells).sum(),
            unknown_events: self.decoder.unknown_events(),
        }
    }

    /// The server whose binlog is read.
    pub(crate) fn server(&self) -> &Identity {
        &self.flow.server
    }
}

/// Does what the newest statement means beside rows.
#[cold]
fn heed<S>(
    decoder: &mut Decoder,
    flow: &mut Flow<S>,
    columns: &mut ColumnSource,
    tables: &mut [TableWriter],
) -> Result<(), Error> {
    for note in decoder.take_notes() {
        warn!("{note}");
    }
    if let Some(reload) = decoder.take_reload() {
        renew(&mut flow.confirmed_ids, reload);
        if let ColumnSource::Server { confirmed, .. } = columns {
            confirmed.fill(None);
        }
    }
    let (known, ids) = (&mut flow.columns, &mut flow.confirmed_ids);
    for change in &decoder.take_changed() {
        tables[change.table].definition.note(change);
        forget(change, decoder, columns, tables, known, ids)
            .map_err(|problem| decoder.ahead(problem))?;
    }
    Ok(())
}

/// Schema and name of each table.
pub(crate) fn table_names(tables: &[CheckedTable]) -> Vec<(String, String)> {
    tables
        .iter()
        .map(|table| (table.schema.clone(), table.name.clone()))
        .collect()
}

#[cfg(all(test, feature = "load"))]
#[path = "pipeline_tests.rs"]
mod tests;

#[cfg(all(test, feature = "load"))]
#[path = "dead_letter_tests.rs"]
mod dead_letter_tests;

#[cfg(all(test, feature = "load"))]
#[path = "exactly_once_tests.rs"]
mod exactly_once_tests;
