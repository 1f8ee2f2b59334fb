//! What every sink must do, whatever it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hydrant::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use hydrant::binlog::FilePosition;
use hydrant::sink::{Attempted, Delivery, Sink, SinkProfile};

/// Tables of the suite; a sink under test must know as many.
pub(super) const TABLES: usize = 2;
/// Small batches of each table, more than any sink takes at once.
const SMALL_BATCHES: usize = 100;
/// Bytes of the longest row for a sink without a limit.
const LONG_ROW: usize = 3 << 20;

/// Makes batches as the agent does, of lines that are all different.
pub(super) struct Maker {
    limits: BatchLimits,
    batches: u64,
    lines: u64,
}

impl Maker {
    pub(super) fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            batches: 0,
            lines: 0,
        }
    }

    /// A batch of lines of these lengths. They must fit.
    pub(super) fn batch(&mut self, table: usize, line_lens: &[usize]) -> Result<SealedBatch> {
        self.batches += 1;
        let first = RowPlace {
            transaction: FilePosition::new("binlog.000001", self.batches * 100),
            gtid: None,
            ordinal: 0,
            commit_time_us: 1_457_049_600_000_000,
        };
        let mut batch = Batch::new(self.batches, table, first, Instant::now());
        for len in line_lens {
            let start = batch.len();
            self.write_line(table, *len, batch.buffer());
            let over = batch.row_written(start, &self.limits)?;
            ensure!(over.is_none(), "the batch is full after {start} bytes");
        }
        Ok(batch.seal())
    }

    /// Every byte but a line feed is in there sooner or later.
    fn write_line(&mut self, table: usize, len: usize, out: &mut Vec<u8>) {
        self.lines += 1;
        let start = out.len();
        out.extend_from_slice(format!("{table},{},", self.lines).as_bytes());
        let mut state = self.lines.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        while out.len() + 1 < start + len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [byte, ..] = state.to_le_bytes();
            out.push(if byte == b'\n' { b' ' } else { byte });
        }
        out.truncate(start + len - 1);
        out.push(b'\n');
    }
}

/// Tells how many attempts were under way at once.
struct Watched<S> {
    sink: Arc<S>,
    under_way: AtomicUsize,
    most: Arc<AtomicUsize>,
}

impl<S: Sink> Sink for Watched<S> {
    fn profile(&self) -> SinkProfile {
        self.sink.profile()
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        // Lets the others begin, too.
        tokio::task::yield_now().await;
        let result = self.sink.attempt(batch, records).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// Puts a sink of [`TABLES`] tables through everything. `read_back` gives what arrived of each
/// table, or of all together if the sink does not keep them apart.
pub(super) async fn conforms<S: Sink>(
    sink: S,
    read_back: impl AsyncFnOnce() -> Result<Vec<Vec<u8>>>,
) -> Result<()> {
    let sink = Arc::new(sink);
    let limits = sink.profile().limits;
    limits_are_consistent(&limits)?;
    ensure!(sink.profile().concurrency >= 1);
    let mut maker = Maker::new(limits);
    let mut sent = some_records_are_sent_alone(&*sink, &mut maker).await?;
    let batches = batches_at_the_limits(&mut maker)?;
    sent.extend(
        batches
            .iter()
            .flat_map(|batch| records(batch, 0..batch.record_count())),
    );

    let most = Arc::new(AtomicUsize::new(0));
    let watched = Watched {
        sink: Arc::clone(&sink),
        under_way: AtomicUsize::new(0),
        most: Arc::clone(&most),
    };
    let mut delivery = Delivery::new(watched, TABLES);
    let mut expected: HashMap<u64, (usize, usize)> = HashMap::new();
    for batch in batches {
        expected.insert(batch.id, (batch.bytes().len(), batch.row_count));
        delivery.push(batch);
    }
    while !expected.is_empty() {
        let delivered = delivery.next().await?;
        let known = expected
            .remove(&delivered.id)
            .context("a batch arrived twice")?;
        ensure!(
            known == (delivered.bytes, delivered.row_count),
            "{delivered:?}, not {known:?}"
        );
    }
    let stats = delivery.stats();
    ensure!(
        (stats.records_refused, stats.attempts_failed) == (0, 0),
        "{stats:?}"
    );
    let most = most.load(Ordering::SeqCst);
    ensure!(
        most <= sink.profile().concurrency,
        "{most} attempts at once"
    );
    // The suite has work enough for all of them.
    ensure!(
        most == sink.profile().concurrency,
        "only {most} attempts at once"
    );

    let in_order = sink.profile().concurrency == 1;
    drop(delivery);
    drop(sink);
    arrived_whole(&sent, &read_back().await?, in_order)
}

fn limits_are_consistent(limits: &BatchLimits) -> Result<()> {
    ensure!(
        limits.records >= 1 && limits.bytes >= 1 && limits.record_bytes >= 1,
        "{limits:?}"
    );
    ensure!(limits.record_bytes <= limits.row_bytes, "{limits:?}");
    // A batch of whole records is what a sink is filled with.
    let record_bytes = limits.record_bytes.min(limits.bytes);
    ensure!(limits.bytes.is_multiple_of(record_bytes), "{limits:?}");
    ensure!(limits.bytes / record_bytes <= limits.records, "{limits:?}");
    Ok(())
}

/// An attempt for some of a batch's records sends those and no others.
async fn some_records_are_sent_alone(
    sink: &impl Sink,
    maker: &mut Maker,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let limits = maker.limits;
    let batch = if limits.records == 1 {
        maker.batch(0, &[100])?
    } else {
        let half = limits.record_bytes / 2 + 1;
        maker.batch(0, &[half; 4])?
    };
    let some: &[usize] = if limits.records == 1 { &[0] } else { &[1, 3] };
    ensure!(batch.record_count() == if limits.records == 1 { 1 } else { 4 });
    let refused = sink.attempt(&batch, some).await.result?;
    ensure!(refused.is_empty(), "{refused:?} refused");
    Ok(records(&batch, some.iter().copied()))
}

fn records(batch: &SealedBatch, indexes: impl IntoIterator<Item = usize>) -> Vec<(usize, Vec<u8>)> {
    indexes
        .into_iter()
        .map(|index| (batch.table, batch.record(index).to_vec()))
        .collect()
}

fn batches_at_the_limits(maker: &mut Maker) -> Result<Vec<SealedBatch>> {
    let limits = maker.limits;
    let long_row = limits.row_bytes.min(LONG_ROW.max(limits.bytes + 1));
    let mut batches = Vec::new();
    for table in 0..TABLES {
        // Exactly full, by lines of many lengths, none so wide that a record had better end early.
        let mut line_lens = Vec::new();
        let mut left = limits.bytes;
        let record_bytes = limits.record_bytes.min(limits.bytes);
        while left > 0 {
            let in_record = left - (left - 1) / record_bytes * record_bytes;
            let len = (100 + left % 2_000).min(in_record);
            // What is left must be a line, too.
            let len = if in_record - len < 40 { in_record } else { len };
            line_lens.push(len);
            left -= len;
        }
        let full = maker.batch(table, &line_lens)?;
        ensure!(full.bytes().len() == limits.bytes);
        batches.push(full);
        batches.push(maker.batch(table, &[long_row])?);
    }
    for number in 0..SMALL_BATCHES {
        for table in 0..TABLES {
            batches.push(maker.batch(table, &[50 + number, 2_000, 40])?);
        }
    }
    Ok(batches)
}

/// Each record's lines are there once, next to each other, with the right table's, and nothing else;
/// and in order within each table, for a sink that does one thing after the other.
fn arrived_whole(sent: &[(usize, Vec<u8>)], arrived: &[Vec<u8>], in_order: bool) -> Result<()> {
    let mut left: usize = arrived.iter().map(Vec::len).sum();
    let mut line_starts: Vec<HashMap<&[u8], usize>> = Vec::new();
    for all in arrived {
        ensure!(
            all.is_empty() || all.ends_with(b"\n"),
            "the last line is cut"
        );
        let mut starts = HashMap::new();
        let mut at = 0;
        for line in all.split_inclusive(|byte| *byte == b'\n') {
            ensure!(
                starts.insert(line, at).is_none(),
                "a line was delivered twice"
            );
            at += line.len();
        }
        line_starts.push(starts);
    }
    let mut last = [0; TABLES];
    for (number, (table, record)) in sent.iter().enumerate() {
        let place = if arrived.len() == 1 { 0 } else { *table };
        let first_line = record
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .context("an empty record")?;
        let start = line_starts[place]
            .get(first_line)
            .with_context(|| format!("record {number} is not there"))?;
        let there = arrived[place].get(*start..start + record.len());
        ensure!(
            there == Some(record.as_slice()),
            "record {number} is not whole"
        );
        ensure!(
            !in_order || *start >= last[*table],
            "record {number} is out of order"
        );
        last[*table] = *start;
        left -= record.len();
    }
    ensure!(left == 0, "{left} bytes that were not sent");
    Ok(())
}
