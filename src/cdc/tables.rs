//! One followed table on its way: its definition, its open batch, its place in the open transaction.

mod changes;
mod definition;
mod once;
mod open_transaction;
mod row_context;
mod selected;

use std::time::Instant;

use crate::batch::{Batch, BatchLimits, Oversize, RowPlace, SealedBatch};
use crate::binlog::{Problem, RowOperation, RowsEvent, ServerColumn};
use crate::config::{OversizeRows, SchemaChange};
use crate::encode::{Image, LineFacts, LineNumber, LineOperation, Plan, RowError, RowSuffix};
use crate::error::Error;
use crate::{Exit, Failure};

use super::backfill::broken;
use super::checked_table::CheckedTable;
use super::invalid_text::ReplacedText;
use super::layouts::TableLayouts;
use super::open_lines::{LinesMark, OpenLines, Outlet};
use super::prefix::{AtHand, Prefix};
use super::remedies;
use super::sequence::Sequence;

use definition::TableDefinition;
use open_transaction::OpenTransaction;
pub(super) use row_context::RowContext;
pub(super) use selected::Boundary;
use selected::{RowSource, SelectedRows};

/// The part of a batch's expected bytes that it has room for beyond them.
const ROOM_PART: usize = 8;

/// Writes the rows of one table into batches.
///
/// Contract: [`TableWriter::write`] for each row event, [`TableWriter::commit`] at the end of each transaction,
/// after [`TableWriter::undo`] if that is no commit; [`TableWriter::rewind`] when the open transaction will be
/// sent again.
#[derive(Debug)]
pub(super) struct TableWriter {
    index: usize,
    pub(super) definition: TableDefinition,
    limits: BatchLimits,
    plan: Option<(u64, Plan)>,
    lines: OpenLines,
    transaction: OpenTransaction,
    /// What committed objects had when the run began, until reading has passed all of it.
    written: Option<Box<Prefix>>,
    /// Of lines that show the image before and the one after; made for the open transaction and the newest
    /// operation.
    suffixes: [RowSuffix; 2],
    /// The written columns that are in neither, with commas between their names.
    absent: [String; 2],
    operation: RowOperation,
    /// `suffixes` are of other columns than those of the images at hand.
    is_suffix_stale: bool,
    replaced_text: ReplacedText,
    /// How rows are written that were read from the table, while they are.
    selected: Option<Box<SelectedRows>>,
    /// Of their lines.
    read_suffix: RowSuffix,
    /// A plan for the key alone, for table maps of this generation.
    keys: Option<(u64, Plan)>,
    /// What is written may not be the end of an object, because a part of the table is under way.
    is_within_part: bool,
    /// Its changes are counted and not written.
    passes_over: bool,
}

/// A place in the open transaction, to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableMark {
    lines: LinesMark,
    ordinal: u64,
}

impl TableWriter {
    /// `layouts` are those that its lines had in runs before, `written` are lines that will not be written again.
    pub(super) fn new(
        index: usize,
        checked: CheckedTable,
        layouts: TableLayouts,
        written: Option<Prefix>,
        limits: BatchLimits,
    ) -> Self {
        Self {
            index,
            suffixes: [(); 2].map(|()| RowSuffix::new(checked.dialect)),
            read_suffix: RowSuffix::new(checked.dialect),
            absent: [String::new(), String::new()],
            definition: TableDefinition::new(checked, layouts),
            limits,
            plan: None,
            lines: OpenLines::default(),
            transaction: OpenTransaction::default(),
            written: written.map(Box::new),
            operation: RowOperation::Insert,
            is_suffix_stale: false,
            replaced_text: ReplacedText::default(),
            selected: None,
            keys: None,
            is_within_part: false,
            passes_over: false,
        }
    }

    /// Takes what the server says about the columns of the rows that come next; nothing if it must be asked
    /// again.
    pub(super) fn know(&mut self, columns: Vec<ServerColumn>) {
        if self.definition.know(columns) {
            self.plan = None;
        }
    }

    /// Cells whose text was not valid and was written with something replaced.
    pub(super) fn replaced_cells(&self) -> u64 {
        self.replaced_text.cells
    }

    /// Its place among the tables.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Bytes that are not on their way to the sink.
    pub(super) fn open_bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// Bytes of those that may be undone.
    pub(super) fn doubtful_bytes(&self) -> usize {
        self.lines.doubtful_bytes()
    }

    /// When the first row of the open batch was written, if it can be sealed.
    pub(super) fn opened_at(&self) -> Option<Instant> {
        self.lines.opened_at()
    }

    /// Sends the open batch on its way, unless something of it may be undone. Whether it was sent.
    pub(super) fn seal(&mut self, ends_object: bool, outlet: &mut impl Outlet) -> bool {
        let Some(mut batch) = self.lines.seal() else {
            return false;
        };
        batch.ends_object = ends_object;
        batch.may_end_object = !self.is_within_part;
        let prefix = self.prefix(outlet);
        outlet.full(batch, prefix);
        true
    }

    /// Whether its object must not end, because what it has of the table is not all.
    pub(super) fn holds_object(&self) -> bool {
        self.is_within_part
    }

    /// Says so.
    pub(super) fn hold_object(&mut self, is_held: bool) {
        self.is_within_part = is_held;
    }

    /// Whether its changes are counted and not written from here on.
    pub(super) fn pass_over(&mut self, passes_over: bool) {
        self.passes_over = passes_over;
    }

    /// Ends the object of batches that were sent on their way before.
    pub(super) fn end_object(&self, outlet: &mut impl Outlet) {
        let end = SealedBatch::end_of_object(outlet.open(), self.index, Instant::now());
        outlet.full(end, None);
    }

    /// The lines up to here, if the sink stages objects.
    fn prefix(&self, outlet: &mut impl Outlet) -> Option<Prefix> {
        if !outlet.is_staging() {
            return None;
        }
        let mark = outlet.newest_commit();
        let mut prefix = Prefix::before(&mark, &self.definition.name());
        for (key, start, lines) in self.transaction.begun() {
            let at = start.map(|start| (mark.server.clone(), start.clone()));
            prefix.begin(key, at, (lines, self.definition.checked.counted()));
        }
        if let Some(written) = &self.written {
            prefix.join(written);
        }
        Some(prefix)
    }

    /// The transaction is over; the next one counts its rows from zero.
    pub(super) fn commit(&mut self, outlet: &mut impl Outlet) {
        self.lines.commit(outlet);
        self.transaction.end();
        if let Some(written) = &self.written
            && written.is_behind(&outlet.newest_commit(), &self.definition.name())
        {
            self.written = None;
        }
    }

    /// The open transaction will be read again from its first row; those rows that were written
    /// already are passed over then, or taken back if they may be undone. Gives the number of those.
    pub(super) fn rewind(&mut self, is_other_server: bool, outlet: &mut impl Outlet) -> u64 {
        if self.lines.is_doubtful() {
            let undone = self.undo(outlet);
            self.transaction.forget();
            self.lines.commit(outlet);
            return undone;
        }
        self.transaction.rewind(is_other_server);
        0
    }

    /// Where the open transaction's next row is written.
    pub(super) fn mark(&self) -> TableMark {
        TableMark {
            lines: self.lines.mark(),
            ordinal: self.transaction.ordinal(),
        }
    }

    /// Takes the open transaction's rows back, as far as they are not on their way, and counts them.
    pub(super) fn undo(&mut self, outlet: &mut impl Outlet) -> u64 {
        self.undo_to(
            TableMark {
                lines: self.lines.begin(),
                ordinal: 0,
            },
            outlet,
        )
    }

    /// Takes those back that were written behind a place, and counts them.
    pub(super) fn undo_to(&mut self, mark: TableMark, outlet: &mut impl Outlet) -> u64 {
        self.transaction.undo_to(mark.ordinal);
        self.lines
            .undo_to(mark.lines, self.limits.step_bytes, outlet)
    }

    /// Writes the rows of one event, and counts them.
    ///
    /// # Errors
    /// If a row cannot be written; those before it stay in the open batch.
    pub(super) fn write(
        &mut self,
        rows: &RowsEvent<'_>,
        context: &RowContext<'_>,
        sequence: &mut Sequence,
        outlet: &mut impl Outlet,
    ) -> Result<u64, Error> {
        self.lines.doubt(context.may_be_undone);
        self.prepare_plan(context, outlet)?;
        let Some((_, plan)) = &mut self.plan else {
            let error = self
                .definition
                .decode_error(context, Problem::NoColumnNames);
            return Err(error.into());
        };
        let operations = self.definition.checked.operations;
        if !plan.may_be_versioned() && !operations.has(rows.operation) {
            return Ok(0);
        }
        if plan.begin(rows) {
            self.absent = [Image::Before, Image::After].map(|image| plan.absent(image));
            self.is_suffix_stale = true;
        }
        let written_before = self.written_before(context, outlet);
        let mut at = 0;
        let mut line_count = 0;
        let mut at_hand = None;
        let mut images = &[][..];
        while at < rows.images.len() {
            let found = self.find_row(rows, at);
            let (next, operation) = found.map_err(|error| self.row_error(context, &error))?;
            at = next;
            let Some(operation) = operation.filter(|seen| operations.has(*seen)) else {
                continue;
            };
            for (operation, is_moved) in self.operations_written(operation, rows.images) {
                if at_hand != Some((operation, is_moved)) {
                    images = self.begin_rows(operation, is_moved, context)?;
                    sequence.begin(&context.key, context.order_time_us);
                    at_hand = Some((operation, is_moved));
                }
                for image in images {
                    let number = LineNumber {
                        ordinal: self.transaction.ordinal(),
                        sequence: sequence.next_number(),
                    };
                    if number.ordinal >= written_before {
                        line_count += 1;
                        let source = RowSource::Image(rows.images, *image);
                        self.write_line(source, number, context, outlet)?;
                    }
                    self.transaction.count();
                }
            }
        }
        Ok(line_count)
    }

    /// How many of the first lines of the transaction at hand were written before.
    fn written_before(&self, context: &RowContext<'_>, outlet: &mut impl Outlet) -> u64 {
        if self.passes_over {
            return u64::MAX;
        }
        let in_this_run = self.transaction.written_before(&context.key);
        let Some(written) = &self.written else {
            return in_this_run;
        };
        let in_objects = written.lines_of(&AtHand {
            server: &outlet.newest_commit().server,
            key: &context.key,
            gtid: context.gtid.as_ref(),
            start: &context.place(),
        });
        in_this_run.max(in_objects)
    }

    /// Compiles the plan again if the table map is another one. Lines of another layout end the open batch.
    fn prepare_plan(
        &mut self,
        context: &RowContext<'_>,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let before = self.plan.as_ref();
        if before.is_some_and(|(compiled, _)| *compiled == context.generation) {
            return Ok(());
        }
        let before = before.map(|(_, plan)| plan);
        let before = before.or(self.selected.as_ref().map(|read| &read.plan));
        let is_first = before.is_none();
        let (plan, begins_layout) = self.definition.plan(context, before)?;
        if begins_layout {
            self.begin_layout(is_first, outlet)?;
        }
        self.plan = Some((context.generation, plan));
        Ok(())
    }

    /// No line that follows may be beside one that is there. `is_first` says that none is known to be there.
    ///
    /// # Errors
    /// If those are of a table of which not all is written.
    fn begin_layout(&mut self, is_first: bool, outlet: &mut impl Outlet) -> Result<(), Failure> {
        if self.is_within_part && is_first {
            return Ok(());
        }
        if self.is_within_part && outlet.is_staging() {
            let why = "its lines have other columns now";
            return Err(broken(&self.definition.name(), why));
        }
        match self.lines.take() {
            Some(mut batch) => {
                batch.ends_object = true;
                let prefix = self.prefix(outlet);
                self.lines.put_full(batch, prefix, outlet);
            }
            None if outlet.is_staging() => self.end_object(outlet),
            None => {}
        }
        Ok(())
    }

    /// Finds the row that starts at `at`. Gives where the next one starts, and what has happened to it as the
    /// application sees it, if anything.
    #[inline]
    fn find_row(
        &mut self,
        rows: &RowsEvent<'_>,
        at: usize,
    ) -> Result<(usize, Option<RowOperation>), RowError> {
        let Some((_, plan)) = &mut self.plan else {
            return Ok((rows.images.len(), None));
        };
        let next = plan.find_row(rows.images, at)?;
        Ok((next, plan.operation_seen(rows.operation, rows.images)?))
    }

    fn prepare_suffixes(&mut self, operation: RowOperation, context: &RowContext<'_>) {
        let columns = &self.definition.checked.metadata;
        if !columns.is_empty() {
            let position = context.key.to_string();
            for image in [Image::Before, Image::After] {
                let facts = LineFacts {
                    schema: &self.definition.checked.schema,
                    table: &self.definition.checked.name,
                    operation: LineOperation::of(operation, image),
                    commit_time_us: context.commit_time_us,
                    position: &position,
                    schema_version: self.definition.layouts().version(),
                    absent: &self.absent[index_of(image)],
                };
                self.suffixes[index_of(image)].set(columns, &facts);
            }
        }
        self.operation = operation;
        self.transaction
            .begin(&context.key, context.file, context.start);
    }

    /// Writes one row.
    fn write_line(
        &mut self,
        source: RowSource<'_>,
        number: LineNumber,
        context: &RowContext<'_>,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let mut batch = match self.lines.take() {
            Some(batch) => batch,
            None => self.new_batch(number.ordinal, context, outlet),
        };
        let row_start = batch.len();
        if let Err(error) = self.encode(source, number, context, batch.buffer()) {
            batch.buffer().truncate(row_start);
            self.lines.put(batch);
            return Err(error);
        }
        match batch.row_written(row_start, &self.limits) {
            Ok(None) => self.lines.put(batch),
            Ok(Some(line)) => {
                let prefix = self.prefix(outlet);
                batch.may_end_object = !self.is_within_part;
                self.lines.put_full(batch, prefix, outlet);
                let mut batch = self.new_batch(number.ordinal, context, outlet);
                batch.buffer().extend_from_slice(&line);
                let alone = batch.row_written(0, &self.limits);
                alone.map_err(|oversize| self.oversize(context, oversize))?;
                self.lines.put(batch);
            }
            Err(oversize) => {
                let line = batch.buffer().split_off(row_start);
                if batch.is_empty() {
                    outlet.close(batch.id);
                } else {
                    // The line may have been larger than any batch.
                    batch.buffer().shrink_to(self.room());
                    self.lines.put(batch);
                }
                self.keep_dead_letter(line, (number.ordinal, oversize), context, outlet)?;
            }
        }
        Ok(())
    }

    /// Keeps a line that the sink does not take, if that was chosen.
    ///
    /// # Errors
    /// If it was not.
    #[cold]
    fn keep_dead_letter(
        &mut self,
        line: Vec<u8>,
        (ordinal, oversize): (u64, Oversize),
        context: &RowContext<'_>,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let is_wanted = self.definition.checked.oversize == OversizeRows::DeadLetter;
        if !is_wanted || !outlet.keeps_dead_letters() {
            return Err(self.oversize(context, oversize));
        }
        let (id, place) = (outlet.open(), place(ordinal, context));
        let mut letter = SealedBatch::of_line(id, self.index, place, context.now, line);
        letter.schema_version = Some(self.definition.layouts().version());
        self.lines.put_letter(letter, outlet);
        Ok(())
    }

    /// Bytes that a new batch has room for.
    fn room(&self) -> usize {
        let expected = self.lines.expected_len();
        expected + expected / ROOM_PART
    }

    fn new_batch(
        &self,
        ordinal: u64,
        context: &RowContext<'_>,
        outlet: &mut impl Outlet,
    ) -> Box<Batch> {
        let first = place(ordinal, context);
        let mut batch = Box::new(Batch::new(outlet.open(), self.index, first, context.now));
        batch.reserve(self.room());
        if self.definition.checked.on_schema_change == SchemaChange::Version {
            batch.schema_version = Some(self.definition.layouts().version());
        }
        batch
    }

    fn encode(
        &mut self,
        source: RowSource<'_>,
        number: LineNumber,
        context: &RowContext<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let (plan, written) = match (source, &self.plan, &self.selected) {
            (RowSource::Image(images, image), Some((_, plan)), _) => {
                let suffix = &self.suffixes[index_of(image)];
                (plan, plan.write_line(images, image, suffix, number, out))
            }
            (RowSource::Selected(row, cells), _, Some(selected)) => {
                let (plan, suffix) = (&selected.plan, &self.read_suffix);
                (plan, plan.write_selected(row, cells, suffix, number, out))
            }
            (RowSource::Line(line), ..) => {
                out.extend_from_slice(line);
                self.read_suffix.finish(number, out);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let replaced = written.map_err(|error| self.row_error(context, &error))?;
        if !replaced.is_empty() {
            let name = self.definition.name();
            for output in replaced {
                let column = plan.output_name(output);
                self.replaced_text
                    .note(&name, column, &context.place(), number.ordinal);
            }
        }
        Ok(())
    }

    fn row_error(&self, context: &RowContext<'_>, error: &RowError) -> Error {
        let place = format!(
            "table {}, transaction at {}, row {} of it: {error}",
            self.definition.name(),
            context.place(),
            self.transaction.ordinal()
        );
        let remedy = remedies::of_cell(error.problem);
        Failure::definite(Exit::Data, place, remedy).into()
    }

    fn oversize(&self, context: &RowContext<'_>, oversize: Oversize) -> Error {
        let what = format!(
            "table {}, transaction at {}: {oversize}",
            self.definition.name(),
            context.place()
        );
        Failure::definite(Exit::Data, what, remedies::OVERSIZE).into()
    }
}

/// Where a line of this number stands.
fn place(ordinal: u64, context: &RowContext<'_>) -> RowPlace {
    RowPlace {
        transaction: context.place(),
        gtid: context.gtid,
        ordinal,
        commit_time_us: context.commit_time_us,
    }
}

fn index_of(image: Image) -> usize {
    match image {
        Image::Before => 0,
        Image::After => 1,
    }
}
