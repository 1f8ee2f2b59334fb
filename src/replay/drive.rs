//! The files one after the other: surveyed, then written.

use std::fmt;
use std::time::Instant;

use futures_util::FutureExt as _;
use tracing::warn;

use crate::binlog::{Exemptions, FilePosition, GtidSet};
use crate::cdc::{CheckedTable, Identity, Mark, NewTables, Pipeline, table_names};
use crate::error::Error;
use crate::sink::Sink;
use crate::{Exit, Failure};

use super::dump::{Dump, FileRange, Survey, survey};
use super::file::number;
use super::progress::ProgressLog;

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Rows that the sink has.
    pub rows: u64,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Cells whose text was not valid and was written with U+FFFD in places.
    pub cells_replaced: u64,
    /// Files that were read, the last perhaps in part.
    pub files: usize,
    /// Behind the last whole transaction.
    pub position: Option<FilePosition>,
    /// XA transactions that are prepared there with rows, which are not written.
    pub prepared: Vec<String>,
}

impl fmt::Display for ReplaySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.files == 1 { "" } else { "s" };
        write!(
            f,
            "{} rows ({}) of {} file{plural} written",
            self.rows,
            bytesize::ByteSize(self.bytes),
            self.files
        )?;
        if self.cells_replaced > 0 {
            write!(f, ", {} cells with invalid text", self.cells_replaced)?;
        }
        if let Some(position) = &self.position {
            write!(f, ": all up to {position}")?;
        }
        if !self.prepared.is_empty() {
            let xids = self.prepared.join("; ");
            write!(
                f,
                ", but not those of XA transactions that are prepared there: {xids}"
            )?;
        }
        Ok(())
    }
}

/// Writes the rows of all whole transactions of the files. What came before a trouble is written,
/// too, and told with it.
pub(super) async fn replay<S: Sink>(
    ranges: &[FileRange],
    tables: (Vec<CheckedTable>, NewTables),
    sink: S,
    (max_in_flight, exemptions): (usize, Exemptions),
    progress: &mut ProgressLog,
) -> (ReplaySummary, Result<(), Error>) {
    let names = table_names(&tables.0);
    let start = Mark::new(Identity("files".to_owned()), None, None);
    let mut pipeline = match Pipeline::replaying(&start, tables, sink, max_in_flight) {
        Ok(pipeline) => pipeline,
        Err(error) => return (ReplaySummary::default(), Err(error)),
    };
    pipeline.decoder.exempt(exemptions);
    let mut replay = Replay {
        pipeline,
        progress,
        summary: ReplaySummary::default(),
    };
    let written = replay.write_all(ranges).await;
    let drained = match &written {
        Err(Error::Sink(_)) => Ok(()),
        Ok(()) | Err(_) => replay.drain().await,
    };
    let Replay {
        pipeline,
        mut summary,
        ..
    } = replay;
    let delivered = pipeline.progress();
    summary.rows = delivered.rows_delivered;
    summary.bytes = delivered.bytes_delivered;
    summary.cells_replaced = delivered.cells_replaced;
    summary.prepared = pipeline.decoder.prepared_xa().with_rows;
    let outcome = written.and(drained);
    if outcome.is_ok() {
        for (index, (schema, table)) in names.iter().enumerate() {
            if pipeline.decoder.table(index).is_none() {
                warn!(
                    "the files have nothing of a table {schema}.{table}; names are as the server \
                     spells them, also in upper and lower case"
                );
            }
        }
    }
    (summary, outcome)
}

struct Replay<'r, S> {
    pipeline: Pipeline<S>,
    progress: &'r mut ProgressLog,
    summary: ReplaySummary,
}

impl<S: Sink> Replay<'_, S> {
    async fn write_all(&mut self, ranges: &[FileRange]) -> Result<(), Error> {
        let mut previous: Option<(&FileRange, Survey)> = None;
        for range in ranges {
            let before = &self.pipeline.decoder;
            if let Some((previous, surveyed)) = &previous {
                check_order(previous, surveyed, range, before.gtids())?;
            }
            let (mut surveyed, _) = survey(range, before, self.progress, |_| ());
            let one_phase = std::mem::take(&mut surveyed.one_phase);
            self.pipeline.decoder.know_one_phase(one_phase);
            let undone = std::mem::take(&mut surveyed.undone);
            self.pipeline.decoder.know_undone(undone);
            self.summary.files += 1;
            self.write(range, surveyed.end).await?;
            self.summary.position = Some(FilePosition::new(range.name.clone(), surveyed.end));
            if let Some(trouble) = surveyed.trouble {
                return Err(trouble);
            }
            previous = Some((range, surveyed));
        }
        Ok(())
    }

    /// Writes a file's rows up to `end`.
    async fn write(&mut self, range: &FileRange, end: u64) -> Result<(), Error> {
        if end <= FilePosition::FIRST_OFFSET {
            return Ok(());
        }
        let mut dump = Dump::open(range, self.progress.bytes_read())?;
        let mut now = Instant::now();
        while (!dump.is_there() || dump.position().offset < end)
            && let Some(input) = dump.next()?
        {
            let explained = |error| match error {
                Error::Decode(error) => super::explained(&range.path, &error),
                error => error,
            };
            self.pipeline.take_in(input, now).map_err(explained)?;
            while self.pipeline.take_in_prepared(now).map_err(explained)? {
                self.make_room().await?;
            }
            self.progress.rows(self.pipeline.rows_written);
            if self.progress.tick(dump.position()) {
                now = Instant::now();
                while let Some(advanced) = self.pipeline.flow.advance().now_or_never() {
                    advanced.map_err(Error::Sink)?;
                }
            }
            self.make_room().await?;
        }
        Ok(())
    }

    async fn make_room(&mut self) -> Result<(), Error> {
        while !self.pipeline.has_room() {
            self.arrival().await?;
        }
        Ok(())
    }

    async fn arrival(&mut self) -> Result<(), Error> {
        self.pipeline.flow.advance().await.map_err(Error::Sink)
    }

    async fn drain(&mut self) -> Result<(), Error> {
        self.pipeline.seal_all(false);
        while self.pipeline.flow.batches_under_way > 0 {
            self.arrival().await?;
        }
        Ok(())
    }
}

/// Whether `range` is what its server wrote after `previous`, as far as names and GTIDs tell.
fn check_order(
    previous: &FileRange,
    surveyed: &Survey,
    range: &FileRange,
    before: Option<&GtidSet>,
) -> Result<(), Error> {
    let expected = match &surveyed.next {
        Some(name) => number(name),
        None => number(&previous.name).map(|number| number + 1),
    };
    if let (Some(expected), Some(found)) = (expected, number(&range.name))
        && expected != found
    {
        let what = format!(
            "{} does not follow {}: the next file must have number {expected}",
            range.path.display(),
            previous.path.display()
        );
        let remedy = "give all files in the order of their numbers (`sort -V` has it), or replay \
                      them in several runs";
        return Err(Failure::definite(Exit::Data, what, remedy).into());
    }
    if !surveyed.is_closed && before.is_none_or(GtidSet::is_empty) {
        warn!(
            "{} ends without a ROTATE or STOP event, as after a crash of its server; without GTIDs \
             it is unknown whether it is complete",
            previous.path.display()
        );
    }
    Ok(())
}
