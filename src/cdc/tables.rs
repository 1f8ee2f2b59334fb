//! One followed table on its way: its plan, its open batch, its place in the open transaction.

mod changes;
mod plan;

use std::collections::BTreeSet;
use std::time::Instant;

use crate::batch::{Batch, BatchLimits, Oversize, RowPlace, SealedBatch};
use crate::binlog::{
    DecodeError, Decoder, FilePosition, Gtid, Problem, RowOperation, RowsEvent, ServerColumn,
    TransactionKey, VersionedColumns,
};
use crate::config::SchemaChange;
use crate::encode::{Image, LineFacts, LineNumber, Plan, RowError, RowSuffix};
use crate::error::Error;
use crate::{Exit, Failure};

use super::checked_table::CheckedTable;
use super::invalid_text::ReplacedText;
use super::layouts::{DefinitionCode, TableLayouts};
use super::open_lines::{LinesMark, OpenLines};
use super::remedies;
use super::sequence::Sequence;

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
    checked: CheckedTable,
    limits: BatchLimits,
    plan: Option<(u64, Plan)>,
    layouts: TableLayouts,
    /// What the server tells of its columns, true for the rows that come next.
    columns: Vec<ServerColumn>,
    /// Whether the table map of this generation leaves something for the server to tell.
    is_open: Option<(u64, bool)>,
    /// Those of the newest table map that have to do with system versioning.
    versioned: VersionedColumns,
    /// Columns that are not written, of which the log has told.
    left_out: BTreeSet<String>,
    lines: OpenLines,
    /// Of lines that show the image before and the one after.
    suffixes: [RowSuffix; 2],
    /// The written columns that are in neither, with commas between their names.
    absent: [String; 2],
    /// The open transaction, once it has rows of this table; `suffixes` are made for it and for the
    /// newest operation.
    transaction: Option<TransactionKey>,
    operation: RowOperation,
    /// `suffixes` are of other columns than those of the images at hand.
    is_suffix_stale: bool,
    /// It was told that no key is known.
    is_told_of_no_key: bool,
    /// Lines of the open transaction that were read.
    ordinal: u64,
    /// The transaction in which the connection was lost, and how many of its lines were written
    /// before. Another server may send other transactions first.
    cut: Option<(TransactionKey, u64)>,
    replaced_text: ReplacedText,
}

/// The row event that is being written.
struct EventAtHand<'a> {
    images: &'a [u8],
    /// Where its transaction starts: the file and the offset.
    file: &'a str,
    start: u64,
    gtid: Option<Gtid>,
    commit_time_us: i64,
    order_time_us: i64,
    now: Instant,
}

impl EventAtHand<'_> {
    /// Where its transaction starts.
    fn place(&self) -> FilePosition {
        FilePosition::new(self.file, self.start)
    }
}

/// What a batch needs from outside when it is opened and when it is full.
pub(super) trait Outlet {
    /// Numbers a new batch.
    fn open(&mut self) -> u64;
    /// Takes a full batch.
    fn full(&mut self, batch: SealedBatch);
    /// A batch of this number will not come.
    fn close(&mut self, id: u64);
}

/// A place in the open transaction, to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableMark {
    lines: LinesMark,
    ordinal: u64,
}

impl TableWriter {
    /// `layouts` are those that its lines had in runs before.
    pub(super) fn new(
        index: usize,
        checked: CheckedTable,
        mut layouts: TableLayouts,
        limits: BatchLimits,
    ) -> Self {
        layouts.choose(checked.chosen_names().as_deref());
        layouts.accept(&checked.accepted);
        Self {
            index,
            suffixes: [(); 2].map(|()| RowSuffix::new(checked.dialect)),
            absent: [String::new(), String::new()],
            columns: checked.definition.clone(),
            checked,
            limits,
            plan: None,
            layouts,
            is_open: None,
            versioned: VersionedColumns::default(),
            left_out: BTreeSet::new(),
            lines: OpenLines::default(),
            transaction: None,
            operation: RowOperation::Insert,
            is_suffix_stale: false,
            is_told_of_no_key: false,
            ordinal: 0,
            cut: None,
            replaced_text: ReplacedText::default(),
        }
    }

    /// `schema.table`.
    pub(super) fn name(&self) -> String {
        self.checked.full_name()
    }

    /// The layouts that its lines have had.
    pub(super) fn layouts(&self) -> &TableLayouts {
        &self.layouts
    }

    /// The codes of definitions that somebody has accepted.
    pub(super) fn accepted(&self) -> &[DefinitionCode] {
        self.layouts.accepted()
    }

    /// Cells whose text was not valid and was written with something replaced.
    pub(super) fn replaced_cells(&self) -> u64 {
        self.replaced_text.cells
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

    /// Closes the open batch, unless something of it may be undone.
    pub(super) fn seal(&mut self) -> Option<SealedBatch> {
        self.lines.seal()
    }

    /// The transaction is over; the next one counts its rows from zero.
    pub(super) fn commit(&mut self, outlet: &mut impl Outlet) {
        self.ordinal = 0;
        self.lines.commit(outlet);
        if let Some(transaction) = self.transaction.take() {
            self.cut.take_if(|(cut, _)| *cut == transaction);
        }
    }

    /// The open transaction will be read again from its first row; those rows that were written
    /// already are passed over then, or taken back if they may be undone. Gives the number of those.
    pub(super) fn rewind(&mut self, outlet: &mut impl Outlet) -> u64 {
        if self.lines.is_doubtful() {
            let undone = self.undo(outlet);
            self.transaction = None;
            self.lines.commit(outlet);
            return undone;
        }
        if let Some(transaction) = self.transaction.take() {
            let before = self.written_before(&transaction);
            self.cut = Some((transaction, before.max(self.ordinal)));
        }
        self.ordinal = 0;
        0
    }

    /// Where the open transaction's next row is written.
    pub(super) fn mark(&self) -> TableMark {
        TableMark {
            lines: self.lines.mark(),
            ordinal: self.ordinal,
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
        self.ordinal = mark.ordinal;
        self.lines
            .undo_to(mark.lines, self.limits.step_bytes, outlet)
    }

    /// Takes them back if they may be undone.
    pub(super) fn undo_doubtful(&mut self, outlet: &mut impl Outlet) -> u64 {
        if self.lines.is_doubtful() {
            self.undo(outlet)
        } else {
            0
        }
    }

    fn written_before(&self, transaction: &TransactionKey) -> u64 {
        let cut = self.cut.as_ref().filter(|(cut, _)| cut == transaction);
        cut.map_or(0, |(_, rows)| *rows)
    }

    /// Writes the rows of one event of the decoder's open transaction, and counts them.
    ///
    /// # Errors
    /// If a row cannot be written; those before it stay in the open batch.
    pub(super) fn write(
        &mut self,
        rows: &RowsEvent<'_>,
        decoder: &Decoder,
        sequence: &mut Sequence,
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Result<u64, Error> {
        let (Some((map, generation)), Some(transaction), Some(key)) = (
            decoder.table(self.index),
            decoder.transaction(),
            decoder.transaction_key(),
        ) else {
            let position = decoder.position().clone();
            return Err(self
                .decode_error(position, Problem::RowsOutsideTransaction)
                .into());
        };
        let event = EventAtHand {
            images: rows.images,
            file: &decoder.position().file,
            start: transaction.start,
            gtid: transaction.gtid,
            commit_time_us: transaction.commit_time_us,
            order_time_us: transaction.order_time_us(),
            now,
        };
        self.lines.doubt(decoder.may_be_undone());
        self.prepare_plan(map, generation, decoder, &event, outlet)?;
        let Some((_, plan)) = &mut self.plan else {
            let problem = Problem::NoColumnNames;
            return Err(self.decode_error(event.place(), problem).into());
        };
        if !plan.may_be_versioned() && !self.checked.operations.has(rows.operation) {
            return Ok(0);
        }
        if plan.begin(rows) {
            self.absent = [Image::Before, Image::After].map(|image| plan.absent(image));
            self.is_suffix_stale = true;
        }
        let written_before = self.written_before(&key);
        let mut at = 0;
        let mut line_count = 0;
        let mut at_hand = None;
        let mut images = &[][..];
        while at < rows.images.len() {
            let found = self.find_row(rows, at);
            let (next, operation) = found.map_err(|error| self.row_error(&event, &error))?;
            at = next;
            let Some(operation) = operation.filter(|seen| self.checked.operations.has(*seen))
            else {
                continue;
            };
            for (operation, is_moved) in self.operations_written(operation, rows.images) {
                if at_hand != Some((operation, is_moved)) {
                    images = self.begin_rows(operation, is_moved, &key, &event)?;
                    sequence.begin(&key, event.order_time_us);
                    at_hand = Some((operation, is_moved));
                }
                for image in images {
                    let number = LineNumber {
                        ordinal: self.ordinal,
                        sequence: sequence.next_number(),
                    };
                    if self.ordinal >= written_before {
                        line_count += 1;
                        self.write_line(*image, number, &event, outlet)?;
                    }
                    self.ordinal += 1;
                }
            }
        }
        Ok(line_count)
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

    fn prepare_suffixes(
        &mut self,
        operation: RowOperation,
        transaction: TransactionKey,
        event: &EventAtHand<'_>,
    ) {
        let columns = &self.checked.metadata;
        if !columns.is_empty() {
            let position = transaction.to_string();
            for image in [Image::Before, Image::After] {
                let facts = LineFacts {
                    operation,
                    image,
                    commit_time_us: event.commit_time_us,
                    position: &position,
                    schema_version: self.layouts.version(),
                    absent: &self.absent[index_of(image)],
                };
                self.suffixes[index_of(image)].set(columns, &facts);
            }
        }
        self.operation = operation;
        self.transaction = Some(transaction);
    }

    /// Writes the row that the plan has found.
    fn write_line(
        &mut self,
        image: Image,
        number: LineNumber,
        event: &EventAtHand<'_>,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let mut batch = match self.lines.take() {
            Some(batch) => batch,
            None => self.new_batch(event, outlet),
        };
        let row_start = batch.len();
        let written = self
            .encode(image, number, event, batch.buffer())
            .and_then(|()| {
                let full = batch.row_written(row_start, &self.limits);
                full.map_err(|oversize| self.oversize(event, oversize))
            });
        match written {
            Ok(None) => {
                self.lines.put(batch);
                Ok(())
            }
            Ok(Some(line)) => {
                self.lines.put_full(batch, outlet);
                let mut batch = self.new_batch(event, outlet);
                batch.buffer().extend_from_slice(&line);
                let alone = batch.row_written(0, &self.limits);
                alone.map_err(|oversize| self.oversize(event, oversize))?;
                self.lines.put(batch);
                Ok(())
            }
            Err(error) => {
                batch.buffer().truncate(row_start);
                self.lines.put(batch);
                Err(error)
            }
        }
    }

    fn new_batch(&self, event: &EventAtHand<'_>, outlet: &mut impl Outlet) -> Box<Batch> {
        let first = RowPlace {
            transaction: event.place(),
            gtid: event.gtid,
            ordinal: self.ordinal,
            commit_time_us: event.commit_time_us,
        };
        let mut batch = Box::new(Batch::new(outlet.open(), self.index, first, event.now));
        let room = self.lines.expected_len();
        let room = room + room / ROOM_PART;
        batch.buffer().reserve_exact(room);
        if self.checked.on_schema_change == SchemaChange::Version {
            batch.schema_version = Some(self.layouts.version());
        }
        batch
    }

    fn encode(
        &mut self,
        image: Image,
        number: LineNumber,
        event: &EventAtHand<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let Some((_, plan)) = &self.plan else {
            return Ok(());
        };
        let suffix = &self.suffixes[index_of(image)];
        let replaced = plan
            .write_line(event.images, image, suffix, number, out)
            .map_err(|error| self.row_error(event, &error))?;
        if !replaced.is_empty() {
            let name = self.name();
            for output in replaced {
                let column = plan.output_name(output);
                self.replaced_text
                    .note(&name, column, &event.place(), self.ordinal);
            }
        }
        Ok(())
    }

    fn row_error(&self, event: &EventAtHand<'_>, error: &RowError) -> Error {
        let place = format!(
            "table {}, transaction at {}, row {} of it: {error}",
            self.name(),
            event.place(),
            self.ordinal
        );
        let remedy = remedies::of_cell(error.problem);
        Failure::definite(Exit::Data, place, remedy).into()
    }

    fn oversize(&self, event: &EventAtHand<'_>, oversize: Oversize) -> Error {
        let what = format!(
            "table {}, transaction at {}: {oversize}",
            self.name(),
            event.place()
        );
        Failure::definite(Exit::Data, what, remedies::OVERSIZE).into()
    }

    fn decode_error(&self, position: FilePosition, problem: Problem) -> DecodeError {
        DecodeError {
            position,
            table: Some(self.name()),
            problem,
        }
    }
}

fn index_of(image: Image) -> usize {
    match image {
        Image::Before => 0,
        Image::After => 1,
    }
}
