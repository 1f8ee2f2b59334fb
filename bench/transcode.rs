//! The agent's way from a binlog file to sealed batches, without its reader and its sinks.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use hydrant::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use hydrant::binlog::{Decoder, DecoderStart, EventFile, FilePosition, Step, WatchedTable};
use hydrant::config::limits::{
    FIREHOSE_BATCH_RECORDS, FIREHOSE_BILLED_BYTES, FIREHOSE_RECORD_BYTES,
};
use hydrant::encode::{
    ChosenColumn, Dialect, Image, LineFacts, LineNumber, LineOperation, MetadataColumn, Plan,
    RowSuffix,
};

use workloads::capture::FIRST_BINLOG;

/// Those of the sink `firehose` with its quotas lifted.
const LIMITS: BatchLimits = BatchLimits {
    step_bytes: 1,
    row_bytes: FIREHOSE_RECORD_BYTES,
    record_bytes: 12 * FIREHOSE_BILLED_BYTES,
    records: FIREHOSE_BATCH_RECORDS,
    bytes: 68 * 12 * FIREHOSE_BILLED_BYTES,
};

/// Gives `sink` the lines of all inserted rows of `table`, in the schema `shop`. Returns their number.
#[expect(
    clippy::too_many_lines,
    reason = "one loop, whose state all of its arms share"
)]
pub(crate) fn transcode(
    binlog: &[u8],
    table: &str,
    chosen: &[ChosenColumn],
    metadata: &[MetadataColumn],
    mut sink: impl FnMut(SealedBatch),
) -> Result<u64> {
    let mut events = EventFile::open(FIRST_BINLOG, binlog)?;
    let start = FilePosition::new(FIRST_BINLOG, FilePosition::FIRST_OFFSET);
    let table = WatchedTable::inserts("shop", table);
    let mut decoder = Decoder::new(DecoderStart::at(start), &[table])?;
    let mut plan: Option<(u64, Plan)> = None;
    let mut suffix = RowSuffix::default();
    let mut open: Option<Batch> = None;
    let mut ordinal = 0;
    let mut row_count = 0;
    let now = Instant::now();
    while let Some(event) = events.next()? {
        let (table, rows) = match decoder.event(&event)? {
            Step::Nothing | Step::Savepoint { .. } => continue,
            Step::RolledBackTo(_) | Step::RolledBack => anyhow::bail!("rows were undone"),
            Step::Commit => {
                ordinal = 0;
                continue;
            }
            Step::Rows { table, rows } => (table, rows),
        };
        let (Some((map, generation)), Some(transaction)) =
            (decoder.table(table), decoder.transaction())
        else {
            continue;
        };
        let plan = match &mut plan {
            Some((compiled, plan)) if *compiled == generation => plan,
            stale => {
                &mut stale
                    .insert((generation, Plan::compile(map, chosen, Dialect::Csv)?))
                    .1
            }
        };
        if ordinal == 0 && !metadata.is_empty() {
            let position = decoder.transaction_key().map(|key| key.to_string());
            let position = position.unwrap_or_default();
            let facts = LineFacts {
                schema: "",
                table: "",
                operation: LineOperation::of(rows.operation, Image::After),
                commit_time_us: transaction.commit_time_us,
                position: &position,
                schema_version: 1,
                absent: "",
            };
            suffix.set(metadata, &facts);
        }
        let new_batch = |ordinal, expected_len: usize| {
            let first = RowPlace {
                transaction: FilePosition::new(decoder.position().file.as_str(), transaction.start),
                gtid: None,
                ordinal,
                commit_time_us: transaction.commit_time_us,
            };
            let mut batch = Batch::new(0, table, first, now);
            batch
                .buffer()
                .reserve_exact(expected_len + expected_len / 8);
            batch
        };
        plan.begin(&rows);
        let mut at = 0;
        while at < rows.images.len() {
            let batch = open.get_or_insert_with(|| new_batch(ordinal, 0));
            let row_start = batch.len();
            at = plan.find_row(rows.images, at)?;
            let number = LineNumber {
                ordinal,
                sequence: 0,
            };
            plan.write_line(rows.images, Image::After, &suffix, number, batch.buffer())?;
            if let Some(line) = batch.row_written(row_start, &LIMITS)? {
                let next = new_batch(ordinal, batch.len());
                let full = std::mem::replace(batch, next);
                batch.buffer().extend_from_slice(&line);
                batch.row_written(0, &LIMITS)?;
                sink(full.seal());
            }
            ordinal += 1;
            row_count += 1;
        }
    }
    if let Some(batch) = open {
        sink(batch.seal());
    }
    Ok(row_count)
}

/// What costs nothing but the freeing of it.
pub(crate) fn drop_batch(batch: SealedBatch) {
    drop(black_box(batch));
}
