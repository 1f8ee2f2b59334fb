//! The table's side: each row as a line, from parts that are read over several connections.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::warn;

use crate::cdc::{Chunk, Mark, PartEnd, ScanRange, ScanReader, ScannedPart, TableScan};
use crate::config::{self, Config};
use crate::encode::{Dialect, LineNumber, Plan, RowSuffix, find_cells};
use crate::error::Fault;
use crate::{Exit, Failure};

use super::fields::{Fields, Found};
use super::shape::{Line, Shapes};
use super::spill::RunWriter;
use super::{Job, Tally};

/// Bytes that a part aims at.
const PART_BYTES: usize = 4 << 20;
/// How often a part is tried.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// A part that was read.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) range: ScanRange,
    /// All lines up to this number were visible.
    pub(super) low: i64,
    pub(super) end: PartEnd,
}

/// What the connections share.
struct Shared {
    ranges: Mutex<VecDeque<ScanRange>>,
    parts: Mutex<Vec<Option<Part>>>,
}

impl Shared {
    fn next_range(&self) -> Option<ScanRange> {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        ranges.pop_front()
    }

    /// Gives the part's number.
    fn begin_part(&self) -> usize {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push(None);
        parts.len() - 1
    }

    fn end_part(&self, number: usize, part: Part) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts[number] = Some(part);
    }
}

/// Reads the table. Gives its parts by number; `None` if it is altered meanwhile.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn read(job: &Arc<Job>, config: &Config) -> Result<Option<Vec<Part>>, Failure> {
    let shared = Arc::new(Shared {
        ranges: Mutex::new(job.scan.ranges.iter().cloned().collect()),
        parts: Mutex::default(),
    });
    if !job.scan.has_parts() {
        let part = tokio::spawn(read_whole(
            Arc::clone(job),
            ScanReader::new(config, PART_BYTES),
        ));
        let part = part
            .await
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        return Ok(part?.map(|part| vec![part]));
    }
    let mut connections = JoinSet::new();
    for _ in 0..config.backfill.connections {
        let reader = ScanReader::new(config, PART_BYTES);
        let settings = config.backfill.clone();
        connections.spawn(read_ranges(
            Arc::clone(job),
            Arc::clone(&shared),
            reader,
            settings,
        ));
    }
    while let Some(done) = connections.join_next().await {
        let is_whole =
            done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        if !is_whole {
            return Ok(None);
        }
    }
    let parts = std::mem::take(&mut *shared.parts.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Some(parts.into_iter().flatten().collect()))
}

/// Reads ranges until there are none. Whether the table has stayed as it was.
async fn read_ranges(
    job: Arc<Job>,
    shared: Arc<Shared>,
    mut reader: ScanReader,
    settings: config::Backfill,
) -> Result<bool, Failure> {
    let mut lines = RowLines::new(&job.scan)?;
    let mut records = job.spill.writer();
    loop {
        let Some(mut range) = shared.next_range() else {
            records.flush()?;
            return Ok(true);
        };
        loop {
            let mark = job.watch.visible(job.until()).await?;
            let low = mark.sequence;
            let Some(part) = read_part(&mut reader, &job.scan, &range, &mark).await? else {
                return Ok(false);
            };
            let number = shared.begin_part();
            let rest = part.rest.clone();
            let pause = pause(part.chunk.len(), &settings);
            tokio::task::block_in_place(|| {
                take(&job, &part.chunk, number, &mut lines, &mut records)
            })?;
            let (end, range_read) = part.end();
            let part = Part {
                range: range_read,
                low,
                end,
            };
            shared.end_part(number, part);
            tokio::time::sleep(pause).await;
            match rest {
                Some(rest) => range = rest,
                None => break,
            }
        }
    }
}

/// Reads a table that has no key, which is one part.
async fn read_whole(job: Arc<Job>, mut reader: ScanReader) -> Result<Option<Part>, Failure> {
    let mut lines = RowLines::new(&job.scan)?;
    let (mut records, mut scratch) = (job.spill.writer(), Vec::new());
    let mark = job.watch.visible(job.until()).await?;
    let low = mark.sequence;
    let mut number = 0;
    let take = |row: &[u8]| {
        let line = lines.line(row, 0)?;
        for record in job
            .shapes
            .of_row(line.text, line.fields, (0, number), &mut scratch)
        {
            if job.is_sampled(&record) {
                records.push(record)?;
            }
        }
        number = number.saturating_add(1);
        job.tally.rows.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let part = reader.read_whole(&job.scan, mark, take).await?;
    records.flush()?;
    Ok(part.map(|part| {
        let (end, range) = part.end();
        Part { range, low, end }
    }))
}

/// What a connection leaves of its time, so that all together keep to the chosen rate.
fn pause(rows: usize, settings: &config::Backfill) -> Duration {
    let Some(rate) = settings.rows_per_second else {
        return Duration::ZERO;
    };
    #[expect(clippy::cast_precision_loss, reason = "a time")]
    let seconds = rows as f64 * f64::from(settings.connections) / f64::from(rate.get());
    Duration::from_secs_f64(seconds)
}

/// Reads a part, again if the connection breaks.
pub(super) async fn read_part(
    reader: &mut ScanReader,
    scan: &TableScan,
    range: &ScanRange,
    mark: &Arc<Mark>,
) -> Result<Option<ScannedPart>, Failure> {
    let mut attempt = 1;
    loop {
        match reader.read(scan, range.clone(), Arc::clone(mark)).await {
            Err(failure)
                if failure.fault == Fault::Transient
                    && failure.exit != Exit::Temporary
                    && attempt < ATTEMPTS =>
            {
                warn!("verify: {failure}; trying again");
                tokio::time::sleep(PAUSE).await;
                attempt += 1;
            }
            read => return read,
        }
    }
}

fn take(
    job: &Job,
    chunk: &Chunk,
    part: usize,
    lines: &mut RowLines,
    records: &mut RunWriter,
) -> Result<(), Failure> {
    let part = u32::try_from(part).map_err(|_| odd_answer())?;
    let (shapes, tally): (&Shapes, &Tally) = (&job.shapes, &job.tally);
    let mut scratch = Vec::new();
    for (number, row) in chunk.rows().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let line = lines.line(row, chunk.key_len)?;
        for record in shapes.of_row(line.text, line.fields, (part, number), &mut scratch) {
            if job.is_sampled(&record) {
                records.push(record)?;
            }
        }
    }
    tally.rows.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// Makes lines of rows.
pub(super) struct RowLines {
    plan: Plan,
    dialect: Dialect,
    suffix: RowSuffix,
    cells: Vec<std::ops::Range<usize>>,
    text: Vec<u8>,
    fields: Fields,
}

impl RowLines {
    /// # Errors
    /// If a column cannot be written.
    pub(super) fn new(scan: &TableScan) -> Result<Self, Failure> {
        Ok(Self {
            plan: scan.plan()?,
            dialect: scan.table.dialect,
            suffix: RowSuffix::new(scan.table.dialect),
            cells: Vec::new(),
            text: Vec::new(),
            fields: Fields::default(),
        })
    }

    /// A row of an answer as a line.
    ///
    /// # Errors
    /// If the answer is none that was asked for, or a cell does not fit its type.
    pub(super) fn line(&mut self, row: &[u8], key_len: usize) -> Result<Line<'_>, Failure> {
        find_cells(row, &mut self.cells).map_err(|_| odd_answer())?;
        let cells = self.cells.get(key_len..).ok_or_else(odd_answer)?;
        self.text.clear();
        let none = LineNumber::default();
        let written = self
            .plan
            .write_selected(row, cells, &self.suffix, none, &mut self.text);
        written.map_err(|error| {
            let remedy = "correct the value, or leave the column out of what is written";
            Failure::definite(Exit::Data, format!("a row of the table: {error}"), remedy)
        })?;
        match self.fields.find(&self.text, self.dialect) {
            Found::Line(len) if len == self.text.len() => Ok(Line {
                text: &self.text,
                fields: &self.fields,
            }),
            _ => Err(odd_answer()),
        }
    }
}

fn odd_answer() -> Failure {
    Failure::uncertain(
        Exit::Unavailable,
        "verify: the answer to a SELECT is not what it should be",
        "report this with the server's version; a proxy in between may be the cause",
    )
}
