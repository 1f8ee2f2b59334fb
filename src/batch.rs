//! PURE. Lines grouped into records, and records into batches, within a sink's limits.
//!
//! A batch is what a sink takes in one go: a request to Firehose, an object in a directory. It
//! holds lines of one table. The encoder appends to the open batch; nothing is copied but the
//! one line that does not fit any more.
//!
//! Where records are billed in steps, they end just under a multiple of the step: by their limit,
//! which is one, or earlier, where wide lines happen to end better.

use std::time::{Duration, Instant};

use crate::binlog::{FilePosition, Gtid};
use crate::spare::Buffer;

/// Lines over this part of a record are wide: what such a record wastes at its end is worth a look.
const WIDE_ROW_PART: usize = 100;

/// What a sink takes at once. Only a line that is alone may be over `record_bytes` and `bytes`,
/// never over `row_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of one line; a longer one cannot be sent.
    pub row_bytes: usize,
    /// Bytes that a record of several lines may have.
    pub record_bytes: usize,
    /// Records in one batch.
    pub records: usize,
    /// Bytes that a batch of several lines may have.
    pub bytes: usize,
    /// A record is billed as the next multiple of so many bytes; 1 if records are not billed. The limits of
    /// records and batches are multiples of it.
    pub step_bytes: usize,
}

impl BatchLimits {
    /// Those of a sink that takes lines in any number, as one record of so many bytes.
    #[must_use]
    pub fn one_record(bytes: usize) -> Self {
        Self {
            row_bytes: usize::MAX,
            record_bytes: usize::MAX,
            records: 1,
            bytes,
            step_bytes: 1,
        }
    }
}

/// Where a row stands: unique within its table, as long as the server has one history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlace {
    /// Where its transaction starts.
    pub transaction: FilePosition,
    /// The transaction's identifier, where the server gives one.
    pub gtid: Option<Gtid>,
    /// Its number within its transaction and table, from 0.
    pub ordinal: u64,
    /// Microseconds since 1970 at which its transaction was committed.
    pub commit_time_us: i64,
}

/// A line that is longer than the sink can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of {row_bytes} bytes is over the sink's limit of {limit_bytes} bytes")]
pub struct Oversize {
    /// Bytes of the line.
    pub row_bytes: usize,
    /// The limit.
    pub limit_bytes: usize,
}

/// Lines of one table on their way to a sink.
///
/// Contract: append a whole line to [`Batch::buffer`], then call [`Batch::row_written`] with the
/// buffer's length before it. If that gives the line back, this batch is full: seal it, and
/// append the line to a new one.
#[derive(Debug)]
pub struct Batch {
    /// The number under which the ledger knows it.
    pub id: u64,
    /// Index of the table.
    pub table: usize,
    /// The first row.
    pub first: RowPlace,
    /// The number of the shape of its lines, for tables that keep those apart.
    pub schema_version: Option<usize>,
    /// When the first row was written.
    pub opened_at: Instant,
    /// Rows.
    pub row_count: usize,
    /// Whether no line after these may be in the same object.
    pub ends_object: bool,
    /// Whether an object may end behind these lines.
    pub may_end_object: bool,
    bytes: Buffer,
    record_ends: Vec<usize>,
    record_start: usize,
    /// Bytes that the closed records are billed for.
    billed_bytes: usize,
}

impl Batch {
    /// An empty batch that `first` will be written to.
    #[must_use]
    pub fn new(id: u64, table: usize, first: RowPlace, opened_at: Instant) -> Self {
        Self {
            id,
            table,
            first,
            schema_version: None,
            opened_at,
            row_count: 0,
            ends_object: false,
            may_end_object: true,
            bytes: Buffer::default(),
            record_ends: Vec::new(),
            record_start: 0,
            billed_bytes: 0,
        }
    }

    /// Makes room for so many bytes of lines.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.make_room(bytes);
    }

    /// Where lines are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes of all lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// When the batch is old enough to be sent.
    #[must_use]
    pub fn due_at(&self, flush_interval: Duration) -> Instant {
        self.opened_at + flush_interval
    }

    /// Counts the line that starts at `row_start` and closes records as they fill. If the line
    /// does not fit into the batch any more it is removed and returned: it belongs into the next
    /// batch, and this one is ready to be sent.
    ///
    /// # Errors
    /// If the line is longer than [`BatchLimits::row_bytes`].
    pub fn row_written(
        &mut self,
        row_start: usize,
        limits: &BatchLimits,
    ) -> Result<Option<Vec<u8>>, Oversize> {
        let row_bytes = self.bytes.len() - row_start;
        if row_bytes > limits.row_bytes {
            return Err(Oversize {
                row_bytes,
                limit_bytes: limits.row_bytes,
            });
        }
        let record_bytes = self.bytes.len() - self.record_start;
        let record_full = row_start > self.record_start
            && (record_bytes > limits.record_bytes || self.ends_well(row_start, limits));
        let too_many = record_full && self.record_ends.len() + 2 > limits.records;
        // What a closed record wastes is taken from the room of the batch, so that its last
        // record ends under a multiple, too.
        let closed_bytes = self.billed_bytes
            + if record_full {
                (row_start - self.record_start).next_multiple_of(limits.step_bytes)
            } else {
                0
            };
        let open_bytes = if record_full { row_bytes } else { record_bytes };
        let too_small =
            record_full && closed_bytes.saturating_add(limits.record_bytes / 2) > limits.bytes;
        if self.row_count > 0 && (closed_bytes + open_bytes > limits.bytes || too_many || too_small)
        {
            return Ok(Some(self.bytes.split_off(row_start)));
        }
        if record_full {
            self.record_ends.push(row_start);
            self.record_start = row_start;
            self.billed_bytes = closed_bytes;
        }
        self.row_count += 1;
        self.bytes.make_room(row_bytes);
        Ok(None)
    }

    /// Whether the open record is better closed before the line that starts at `row_start`: if it
    /// is half full, the line would start another step, and a smaller part is wasted here than can
    /// be expected at the limit. There a record of wide lines wastes half a line, on average.
    fn ends_well(&self, row_start: usize, limits: &BatchLimits) -> bool {
        let record_bytes = row_start - self.record_start;
        // Divisions take time, and most lines are far from the end of their record.
        if record_bytes < limits.record_bytes / 2 {
            return false;
        }
        let waste = record_bytes.next_multiple_of(limits.step_bytes) - record_bytes;
        let typical_row = (row_start / self.row_count.max(1)).min(limits.step_bytes);
        self.bytes.len() - row_start > waste
            && typical_row > limits.record_bytes / WIDE_ROW_PART
            && waste.saturating_mul(2).saturating_mul(limits.record_bytes)
                < typical_row.saturating_mul(record_bytes)
    }

    /// Forgets all lines but the first `row_count`, which have `len` bytes; `step_bytes` is that of
    /// [`BatchLimits`].
    pub fn truncate(&mut self, len: usize, row_count: usize, step_bytes: usize) {
        self.bytes.truncate(len);
        self.row_count = row_count;
        self.record_ends.retain(|end| *end <= len);
        self.record_start = self.record_ends.last().copied().unwrap_or(0);
        let starts = std::iter::once(&0).chain(&self.record_ends);
        let records = starts.zip(&self.record_ends);
        self.billed_bytes = records
            .map(|(start, end)| (end - start).next_multiple_of(step_bytes))
            .sum();
    }

    /// Closes the last record; no line may be appended any more.
    #[must_use]
    pub fn seal(mut self) -> SealedBatch {
        if self.record_start < self.bytes.len() {
            self.record_ends.push(self.bytes.len());
        }
        SealedBatch {
            id: self.id,
            table: self.table,
            first: self.first,
            schema_version: self.schema_version,
            row_count: self.row_count,
            ends_object: self.ends_object,
            may_end_object: self.may_end_object,
            opened_at: self.opened_at,
            bytes: self.bytes,
            record_ends: self.record_ends,
        }
    }
}

/// A batch that does not change any more.
#[derive(Debug)]
pub struct SealedBatch {
    /// The number under which the ledger knows it.
    pub id: u64,
    /// Index of the table.
    pub table: usize,
    /// The first row.
    pub first: RowPlace,
    /// The number of the shape of its lines, for tables that keep those apart.
    pub schema_version: Option<usize>,
    /// Rows.
    pub row_count: usize,
    /// Whether no line after these may be in the same object.
    pub ends_object: bool,
    /// Whether an object may end behind these lines.
    pub may_end_object: bool,
    /// When the first row was written.
    pub opened_at: Instant,
    bytes: Buffer,
    record_ends: Vec<usize>,
}

impl SealedBatch {
    /// One line alone, whatever its length.
    #[must_use]
    pub fn of_line(id: u64, table: usize, first: RowPlace, now: Instant, line: Vec<u8>) -> Self {
        let mut batch = Batch::new(id, table, first, now);
        batch.bytes = line.into();
        batch.row_count = 1;
        batch.seal()
    }

    /// Nothing but the end of the object that batches before it went into.
    #[must_use]
    pub fn end_of_object(id: u64, table: usize, now: Instant) -> Self {
        let nowhere = RowPlace {
            transaction: FilePosition::new("", 0),
            gtid: None,
            ordinal: 0,
            commit_time_us: 0,
        };
        let mut batch = Batch::new(id, table, nowhere, now);
        batch.ends_object = true;
        batch.seal()
    }

    /// All lines.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many records the lines are packed into.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.record_ends.len()
    }

    /// The lines of one record, whole, each with its line feed; empty past the last record.
    #[must_use]
    pub fn record(&self, index: usize) -> &[u8] {
        let start = match index {
            0 => 0,
            index => self
                .record_ends
                .get(index - 1)
                .copied()
                .unwrap_or(self.bytes.len()),
        };
        let end = self
            .record_ends
            .get(index)
            .copied()
            .unwrap_or(self.bytes.len());
        &self.bytes[start..end]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    #[test]
    fn lines_can_be_forgotten_up_to_any_row() {
        let limits = BatchLimits {
            row_bytes: 100,
            record_bytes: 30,
            records: 100,
            bytes: 10_000,
            step_bytes: 1,
        };
        for kept in 0..=20 {
            let mut batch = batch();
            let mut kept_len = 0;
            for row in 0..20 {
                if row == kept {
                    kept_len = batch.len();
                }
                let start = batch.len();
                batch.buffer().extend_from_slice(b"0123456789\n");
                assert_eq!(batch.row_written(start, &limits), Ok(None));
            }
            if kept == 20 {
                kept_len = batch.len();
            }
            batch.truncate(kept_len, kept, limits.step_bytes);
            let sealed = batch.seal();
            assert_eq!(sealed.row_count, kept);
            assert_eq!(sealed.bytes().len(), kept * 11);
            let records: Vec<&[u8]> = (0..sealed.record_count())
                .map(|index| sealed.record(index))
                .collect();
            assert_eq!(records.concat(), sealed.bytes());
            assert!(records.iter().all(|record| !record.is_empty()));
        }
    }

    fn batch() -> Batch {
        let transaction = FilePosition::new("b.000001", 4);
        let first = RowPlace {
            transaction,
            gtid: None,
            ordinal: 0,
            commit_time_us: 0,
        };
        Batch::new(1, 0, first, Instant::now())
    }

    proptest! {
        #[test]
        fn rows_are_packed_whole_in_order_and_within_limits(
            row_lens in prop::collection::vec(1_usize..60, 1..200),
            record_bytes in 40_usize..100,
            records in 1_usize..6,
            bytes in 40_usize..400,
            step_bytes in 1_usize..20,
        ) {
            let limits = BatchLimits { row_bytes: 60, record_bytes, records, bytes, step_bytes };
            let mut sealed = Vec::new();
            let mut open = batch();
            let mut written = Vec::new();
            for (index, len) in row_lens.iter().enumerate() {
                let mut line = vec![b'a' + u8::try_from(index % 26).unwrap(); len - 1];
                line.push(b'\n');
                written.extend_from_slice(&line);
                let start = open.len();
                open.buffer().extend_from_slice(&line);
                if let Some(rest) = open.row_written(start, &limits).unwrap() {
                    sealed.push(std::mem::replace(&mut open, batch()).seal());
                    open.buffer().extend_from_slice(&rest);
                    prop_assert_eq!(open.row_written(0, &limits).unwrap(), None);
                }
            }
            sealed.push(open.seal());
            let mut sent = Vec::new();
            let mut rows = 0;
            for batch in &sealed {
                prop_assert!(batch.record_count() <= records);
                prop_assert!(batch.bytes().len() <= bytes || batch.row_count == 1);
                for index in 0..batch.record_count() {
                    let record = batch.record(index);
                    let one_line = record.iter().position(|byte| *byte == b'\n')
                        == Some(record.len() - 1);
                    prop_assert!(record.len() <= record_bytes || one_line);
                    prop_assert!(record.ends_with(b"\n"));
                    sent.extend_from_slice(record);
                }
                rows += batch.row_count;
            }
            prop_assert_eq!(sent, written);
            prop_assert_eq!(rows, row_lens.len());
        }
    }

    #[test]
    fn a_row_over_the_limit_is_refused_and_one_at_it_is_not() {
        let limits = BatchLimits {
            row_bytes: 10,
            record_bytes: 10,
            records: 5,
            bytes: 100,
            step_bytes: 1,
        };
        let mut open = batch();
        open.buffer().extend_from_slice(&[b'x'; 10]);
        assert_eq!(open.row_written(0, &limits), Ok(None));
        open.buffer().extend_from_slice(&[b'x'; 11]);
        let error = Oversize {
            row_bytes: 11,
            limit_bytes: 10,
        };
        assert_eq!(open.row_written(10, &limits), Err(error));
    }

    /// Packs lines of these lengths as fast as can be, and gives billed by actual bytes.
    fn billed_ratio(limits: &BatchLimits, row_lens: impl Iterator<Item = usize>) -> f64 {
        let mut open = batch();
        let (mut billed, mut actual) = (0, 0);
        let mut count = |batch: SealedBatch| {
            let records = (0..batch.record_count()).map(|index| batch.record(index).len());
            billed += records
                .map(|len| len.next_multiple_of(5_120))
                .sum::<usize>();
            actual += batch.bytes().len();
        };
        for len in row_lens {
            let start = open.len();
            open.buffer().resize(start + len, b'x');
            if let Some(rest) = open.row_written(start, limits).unwrap() {
                count(std::mem::replace(&mut open, batch()).seal());
                open.buffer().extend_from_slice(&rest);
                assert_eq!(open.row_written(0, limits), Ok(None));
            }
        }
        count(open.seal());
        let as_f64 = |bytes: usize| f64::from(u32::try_from(bytes).unwrap());
        as_f64(billed) / as_f64(actual)
    }

    #[test]
    fn records_end_just_under_what_is_billed() {
        let limits = |record_bytes, records_per_batch| BatchLimits {
            row_bytes: 1_024_000,
            record_bytes,
            records: 500,
            bytes: record_bytes * records_per_batch,
            step_bytes: 5_120,
        };
        for (limits, rows, most) in [
            (limits(40_960, 1), 50..80, 1.002),
            (limits(40_960, 1), 300..1_500, 1.01),
            (limits(40_960, 1), 2_000..4_000, 1.025),
            (limits(1_024_000, 4), 50..80, 1.001),
            (limits(1_024_000, 4), 2_000..4_000, 1.002),
            (limits(15_360, 1), 50..80, 1.006),
            (limits(15_360, 1), 500..1_500, 1.035),
        ] {
            let mut random = StdRng::seed_from_u64(7);
            let lens = (0..100_000).map(|_| random.random_range(rows.clone()));
            let ratio = billed_ratio(&limits, lens);
            assert!(ratio <= most, "{ratio} for rows of {rows:?} in {limits:?}");
        }
    }
}
