//! One followed table on its way: its plan, its open batch, its place in the open transaction.

use std::time::Instant;

use crate::batch::{Batch, BatchLimits, Oversize, RowPlace, SealedBatch};
use crate::binlog::{
    DecodeError, Decoder, FilePosition, Problem, RowOperation, RowsEvent, TableMap, TransactionKey,
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
    /// Bytes and rows of the open batch that are of committed transactions.
    committed: (usize, usize),
    suffix: RowSuffix,
    /// The open transaction, once it has rows of this table; `suffix` is made for it.
    transaction: Option<TransactionKey>,
    /// Rows of the open transaction that were read.
    ordinal: u64,
    /// The transaction in which the connection was lost, and how many of its rows were written
    /// before. Another server may send other transactions first.
    cut: Option<(TransactionKey, u64)>,
    scratch: Vec<u8>,
}

/// The row event that is being written.
struct EventAtHand<'a> {
    images: &'a [u8],
    /// Where its transaction starts.
    place: FilePosition,
    commit_time_us: i64,
    now: Instant,
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
            committed: (0, 0),
            suffix: RowSuffix::default(),
            transaction: None,
            ordinal: 0,
            cut: None,
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
        self.committed = (0, 0);
        self.batch
            .take()
            .filter(|batch| !batch.is_empty())
            .map(Batch::seal)
    }

    /// The transaction is over; the next one counts its rows from zero.
    pub(super) fn commit(&mut self) {
        self.ordinal = 0;
        if let Some(batch) = &self.batch {
            self.committed = (batch.len(), batch.row_count);
        }
        if let Some(transaction) = self.transaction.take() {
            self.cut.take_if(|(cut, _)| *cut == transaction);
        }
    }

    /// The open transaction will be read again from its first row; those rows that were written
    /// already are passed over then.
    pub(super) fn rewind(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            let before = self.written_before(&transaction);
            self.cut = Some((transaction, before.max(self.ordinal)));
        }
        self.ordinal = 0;
    }

    /// Takes the open transaction's rows out of the open batch, because they may not be real, and
    /// counts them. Nothing may be written after that.
    pub(super) fn forget_open_transaction(&mut self) -> u64 {
        let (len, row_count) = self.committed;
        self.batch.as_mut().map_or(0, |batch| {
            let forgotten = batch.row_count - row_count;
            batch.truncate(len, row_count);
            forgotten as u64
        })
    }

    fn written_before(&self, transaction: &TransactionKey) -> u64 {
        match &self.cut {
            Some((cut, rows)) if cut == transaction => *rows,
            Some(_) | None => 0,
        }
    }

    /// Writes the rows of one event of the decoder's open transaction, and counts them.
    ///
    /// # Errors
    /// If a row cannot be written; those before it stay in the open batch.
    pub(super) fn write(
        &mut self,
        rows: &RowsEvent<'_>,
        decoder: &Decoder,
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
            place: FilePosition::new(decoder.position().file.clone(), transaction.start),
            commit_time_us: transaction.commit_time_us,
            now,
        };
        self.prepare_plan(map, generation)?;
        let written_before = self.written_before(&key);
        self.prepare_suffix(rows.operation, key, &event);
        let mut at = 0;
        let mut row_count = 0;
        while at < rows.images.len() {
            at = if self.ordinal < written_before {
                self.pass_over(at, &event)?
            } else {
                row_count += 1;
                self.write_row(at, &event, outlet)?
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
        operation: RowOperation,
        transaction: TransactionKey,
        event: &EventAtHand<'_>,
    ) {
        if self.transaction.as_ref() == Some(&transaction) {
            return;
        }
        let columns = &self.checked.metadata;
        if !columns.is_empty() {
            let position = transaction.to_string();
            self.suffix
                .set(columns, operation, event.commit_time_us, &position);
        }
        self.transaction = Some(transaction);
    }

    fn pass_over(&mut self, at: usize, event: &EventAtHand<'_>) -> Result<usize, Error> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let next = self.encode(at, event, &mut scratch);
        self.scratch = scratch;
        next
    }

    fn write_row(
        &mut self,
        at: usize,
        event: &EventAtHand<'_>,
        outlet: &mut impl Outlet,
    ) -> Result<usize, Error> {
        let mut batch = match self.batch.take() {
            Some(batch) => batch,
            None => self.new_batch(event, outlet),
        };
        let row_start = batch.len();
        let written = self.encode(at, event, batch.buffer()).and_then(|next| {
            let full = batch.row_written(row_start, &self.limits);
            let full = full.map_err(|oversize| self.oversize(event, oversize))?;
            Ok((next, full))
        });
        match written {
            Ok((next, None)) => {
                self.batch = Some(batch);
                Ok(next)
            }
            Ok((next, Some(line))) => {
                outlet.full(batch.seal());
                self.committed = (0, 0);
                let mut batch = self.new_batch(event, outlet);
                batch.buffer().extend_from_slice(&line);
                let alone = batch.row_written(0, &self.limits);
                alone.map_err(|oversize| self.oversize(event, oversize))?;
                self.batch = Some(batch);
                Ok(next)
            }
            Err(error) => {
                batch.buffer().truncate(row_start);
                self.batch = Some(batch);
                Err(error)
            }
        }
    }

    fn new_batch(&self, event: &EventAtHand<'_>, outlet: &mut impl Outlet) -> Batch {
        let first = RowPlace {
            transaction: event.place.clone(),
            ordinal: self.ordinal,
            commit_time_us: event.commit_time_us,
        };
        Batch::new(outlet.open(), self.index, first, event.now)
    }

    fn encode(
        &mut self,
        at: usize,
        event: &EventAtHand<'_>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let Some((_, plan)) = &mut self.plan else {
            return Err(self
                .decode_error(event.place.clone(), Problem::NoColumnNames)
                .into());
        };
        let written = plan.write_row(event.images, at, &self.suffix, self.ordinal, out);
        written.map_err(|error| {
            let problem = Problem::Malformed("a row image");
            let at = self.decode_error(event.place.clone(), problem);
            let what = format!("{at}, row {} of its transaction: {error}", self.ordinal);
            let remedy = "check the binlog with `mysqlbinlog --verify-binlog-checksum`; if it is \
                          whole, report the column's type and the server's version";
            Failure::definite(Exit::Data, what, remedy).into()
        })
    }

    fn oversize(&self, event: &EventAtHand<'_>, oversize: Oversize) -> Error {
        Failure::definite(
            Exit::Data,
            format!(
                "table {}, transaction at {}: {oversize}",
                self.name(),
                event.place
            ),
            "leave the large column out of the table's `columns`, or send the table to a sink \
             without such a limit",
        )
        .into()
    }

    fn decode_error(&self, position: FilePosition, problem: Problem) -> DecodeError {
        DecodeError {
            position,
            table: Some(self.name()),
            problem,
        }
    }
}
