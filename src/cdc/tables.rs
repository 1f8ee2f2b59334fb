//! One followed table on its way: its plan, its open batch, its place in the open transaction.

use std::time::Instant;

use crate::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use crate::binlog::{
    DecodeError, Decoder, FilePosition, Problem, RowsEvent, TableMap, Transaction,
};
use crate::encode::{Plan, RowSuffix};
use crate::error::Error;
use crate::{Exit, Failure};

use super::preflight::CheckedTable;

/// Writes the rows of one table into batches.
///
/// Contract: [`TableWriter::write`] for each row event, [`TableWriter::commit`] at each commit,
/// [`TableWriter::rewind`] when the open transaction will be sent again.
#[derive(Debug)]
pub(super) struct TableWriter {
    index: usize,
    checked: CheckedTable,
    limits: BatchLimits,
    plan: Option<(u64, Plan)>,
    batch: Option<Batch>,
    suffix: RowSuffix,
    /// The transaction that `suffix` was made for, by where it starts.
    suffix_of: Option<FilePosition>,
    /// Rows of the open transaction that were read.
    ordinal: u64,
    /// Rows of the open transaction that were written before the connection was lost.
    written_before: u64,
    scratch: Vec<u8>,
}

/// What a batch needs from outside when it is opened and when it is full.
pub(super) trait Outlet {
    /// Numbers a new batch.
    fn open(&mut self) -> u64;
    /// Takes a full batch.
    fn full(&mut self, batch: SealedBatch);
}

impl TableWriter {
    pub(super) fn new(index: usize, checked: CheckedTable, limits: BatchLimits) -> Self {
        Self {
            index,
            checked,
            limits,
            plan: None,
            batch: None,
            suffix: RowSuffix::default(),
            suffix_of: None,
            ordinal: 0,
            written_before: 0,
            scratch: Vec::new(),
        }
    }

    /// `schema.table`.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.checked.schema, self.checked.name)
    }

    /// Bytes of the open batch.
    pub(super) fn open_bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, Batch::len)
    }

    /// When the first row of the open batch was written.
    pub(super) fn opened_at(&self) -> Option<Instant> {
        self.batch.as_ref().map(|batch| batch.opened_at)
    }

    /// Closes the open batch.
    pub(super) fn seal(&mut self) -> Option<SealedBatch> {
        self.batch.take().map(Batch::seal)
    }

    /// The transaction is over; the next one counts its rows from zero.
    pub(super) fn commit(&mut self) {
        self.ordinal = 0;
        self.written_before = 0;
        self.suffix_of = None;
    }

    /// The open transaction will be read again from its first row; those rows that were written
    /// already are passed over then.
    pub(super) fn rewind(&mut self) {
        self.written_before = self.written_before.max(self.ordinal);
        self.ordinal = 0;
        self.suffix_of = None;
    }

    /// Writes the rows of one event of the decoder's open transaction.
    pub(super) fn write(
        &mut self,
        rows: &RowsEvent<'_>,
        decoder: &Decoder,
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Result<u64, Error> {
        let (Some((map, generation)), Some(transaction)) =
            (decoder.table(self.index), decoder.transaction())
        else {
            return Err(self
                .decode_error(decoder, Problem::RowsOutsideTransaction)
                .into());
        };
        self.prepare_plan(map, generation)?;
        let start = FilePosition::new(decoder.file(), transaction.start);
        self.prepare_suffix(rows, decoder, transaction, &start);
        let mut at = 0;
        let mut row_count = 0;
        while at < rows.images.len() {
            at = if self.ordinal < self.written_before {
                self.pass_over(rows, at, decoder)?
            } else {
                row_count += 1;
                self.write_row(rows, at, decoder, transaction, &start, now, outlet)?
            };
            self.ordinal += 1;
        }
        Ok(row_count)
    }

    /// Compiles the plan again if the table map is another one, as long as the lines stay alike.
    fn prepare_plan(&mut self, map: &TableMap, generation: u64) -> Result<(), Failure> {
        if self
            .plan
            .as_ref()
            .is_some_and(|(compiled, _)| *compiled == generation)
        {
            return Ok(());
        }
        let remedy = "choose the columns to write in the table's `columns`; to go on with \
                      another shape, deliver what came before it, then delete the checkpoint and \
                      choose source.start";
        let plan = Plan::compile(map, &self.checked.columns)
            .map_err(|error| Failure::definite(Exit::Data, error.to_string(), remedy))?;
        if self
            .plan
            .as_ref()
            .is_some_and(|(_, old)| !old.writes_like(&plan))
        {
            return Err(Failure::definite(
                Exit::Data,
                format!(
                    "table {}: the type of a written column has changed",
                    self.name()
                ),
                remedy,
            ));
        }
        self.plan = Some((generation, plan));
        Ok(())
    }

    fn prepare_suffix(
        &mut self,
        rows: &RowsEvent<'_>,
        decoder: &Decoder,
        transaction: &Transaction,
        start: &FilePosition,
    ) {
        if self.checked.metadata.is_empty() || self.suffix_of.as_ref() == Some(start) {
            return;
        }
        let mut position = String::new();
        decoder.write_transaction_position(&mut position);
        self.suffix.set(
            &self.checked.metadata,
            rows.operation,
            transaction.commit_time_us,
            &position,
        );
        self.suffix_of = Some(start.clone());
    }

    fn pass_over(
        &mut self,
        rows: &RowsEvent<'_>,
        at: usize,
        decoder: &Decoder,
    ) -> Result<usize, Error> {
        self.scratch.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        let next = self.encode(rows, at, decoder, &mut scratch);
        self.scratch = scratch;
        next
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one row's context; a struct would be built per row"
    )]
    fn write_row(
        &mut self,
        rows: &RowsEvent<'_>,
        at: usize,
        decoder: &Decoder,
        transaction: &Transaction,
        start: &FilePosition,
        now: Instant,
        outlet: &mut impl Outlet,
    ) -> Result<usize, Error> {
        let place = |ordinal| RowPlace {
            transaction: start.clone(),
            ordinal,
            commit_time_us: transaction.commit_time_us,
        };
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => Batch::new(outlet.open(), self.index, place(self.ordinal), now),
        };
        let row_start = batch.len();
        let next = self.encode(rows, at, decoder, batch.buffer())?;
        let oversize = |error: crate::batch::Oversize| {
            Failure::definite(
                Exit::Data,
                format!("table {}, transaction at {start}: {error}", self.name()),
                "leave the large column out of the table's `columns`, or send the table to a \
                 sink without such a limit",
            )
        };
        if let Some(line) = batch
            .row_written(row_start, &self.limits)
            .map_err(oversize)?
        {
            outlet.full(batch.seal());
            batch = Batch::new(outlet.open(), self.index, place(self.ordinal), now);
            batch.buffer().extend_from_slice(&line);
            batch.row_written(0, &self.limits).map_err(oversize)?;
        }
        self.batch = Some(batch);
        Ok(next)
    }

    fn encode(
        &mut self,
        rows: &RowsEvent<'_>,
        at: usize,
        decoder: &Decoder,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let Some((_, plan)) = &mut self.plan else {
            return Err(self.decode_error(decoder, Problem::NoColumnNames).into());
        };
        plan.write_row(rows.images, at, &self.suffix, self.ordinal, out).map_err(|error| {
            let what = format!(
                "{}, row {} of its transaction: {error}",
                self.decode_error(decoder, Problem::Malformed("a row image")),
                self.ordinal
            );
            let remedy = "check the binlog with `mysqlbinlog --verify-binlog-checksum`; if it is \
                          whole, report the column's type and the server's version";
            Failure::definite(Exit::Data, what, remedy).into()
        })
    }

    fn decode_error(&self, decoder: &Decoder, problem: Problem) -> DecodeError {
        let start = decoder
            .transaction()
            .map_or(0, |transaction| transaction.start);
        DecodeError {
            position: FilePosition::new(decoder.file(), start),
            table: Some(self.name()),
            problem,
        }
    }
}
