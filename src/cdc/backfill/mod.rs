//! Rows that were there before the binlog was followed, delivered as operation `R` while it is followed.
//!
//! What lives here: which tables are read and by which key ([`key`], [`choice`]), how much of them is read ([`progress`]), the
//! reading itself ([`reader`]), also by those who compare ([`scan`]), and the seam between what was read and the binlog ([`seam`], and [`once`] with [`given`] for
//! tables of which only inserts are followed). What does not: how a row becomes
//! a line ([`super::tables`]).

mod choice;
mod chunk;
mod given;
mod key;
mod once;
mod progress;
mod reader;
mod scan;
mod seam;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::config;
use crate::error::Fault;
use crate::{Error, Failure};

use super::checked_table::CheckedTable;
use super::retry::LONGEST_DELAY;
use super::server::{Mark, Server};

pub(crate) use chunk::Chunk;
pub(super) use once::{Change, Read};
pub(crate) use progress::{BackfillProgress, TableProgress};
use reader::{Answered, PartReader, Request};
pub(crate) use scan::{PartEnd, ScanRange, ScanReader, ScannedPart, TableScan};
pub(super) use seam::{Due, Reading, Seam};

/// The part of what may be in memory that a part of a table aims at.
const PART_OF_MEMORY: usize = 12;

/// What reads the tables.
pub(super) struct Backfill {
    settings: config::Backfill,
    tables: Vec<CheckedTable>,
    wanted_bytes: usize,
    idle: Vec<PartReader>,
    reading: JoinSet<(PartReader, Request, Result<Answered, Failure>)>,
    /// Nothing is asked for before.
    not_before: Instant,
    delay: Duration,
    began: Instant,
}

impl Backfill {
    /// Begins to read the tables that are to be read, if there are some; see [`choice::begin`].
    ///
    /// # Errors
    /// All that is in the way.
    pub(super) async fn begin(
        config: &config::Config,
        tables: &mut [CheckedTable],
        server: &mut Server,
        mark: &mut Mark,
    ) -> Result<Option<(Box<Self>, Box<Seam>)>, Error> {
        let seam = choice::begin(config, tables, server, mark).await?;
        Ok(seam.map(|seam| (Box::new(Self::new(config, tables)), seam)))
    }

    fn new(config: &config::Config, tables: &[CheckedTable]) -> Self {
        let settings = config.backfill.clone();
        let rate = settings.rows_per_second;
        let readers = 0..settings.connections;
        let readers = readers.map(|_| PartReader::new(&config.source, rate));
        Self {
            idle: readers.collect(),
            settings,
            tables: tables.to_vec(),
            wanted_bytes: config.max_in_flight / PART_OF_MEMORY,
            reading: JoinSet::new(),
            not_before: Instant::now(),
            delay: Duration::ZERO,
            began: Instant::now(),
        }
    }

    /// When something may be asked for, if that is not now.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let is_later = !self.idle.is_empty() && self.not_before > Instant::now();
        is_later.then_some(self.not_before)
    }

    /// Asks for parts, between two transactions.
    pub(super) fn ask(
        &mut self,
        seam: &mut Seam,
        now: Instant,
        mut processed: impl FnMut() -> Arc<Mark>,
    ) {
        if now < self.not_before {
            return;
        }
        while !self.idle.is_empty()
            && let Some(part) = seam.open_window()
            && let Some(mut reader) = self.idle.pop()
        {
            let request = Request {
                table: self.tables[part.table].clone(),
                part,
                processed: processed(),
                wanted_bytes: self.wanted_bytes,
            };
            self.reading.spawn(async move {
                let answered = reader.read(&request).await;
                (reader, request, answered)
            });
        }
    }

    /// Waits for the next part, and gives the number of its window and what was read, if it could be; for ever if none is
    /// being read. May be dropped and called again.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) async fn next(&mut self) -> Result<(u64, Option<Chunk>), Failure> {
        let (reader, request, answered) = match self.reading.join_next().await {
            None => return pending().await,
            Some(Ok(read)) => read,
            Some(Err(error)) => return Err(panicked(error)),
        };
        self.idle.push(reader);
        let window = request.part.window;
        match answered {
            Ok(Answered::Chunk(chunk)) => {
                self.delay = Duration::ZERO;
                self.pace(chunk.len());
                return Ok((window, Some(*chunk)));
            }
            // The binlog's connection will notice.
            Ok(Answered::OtherServer) => self.hold_back(),
            Err(failure) if failure.fault == Fault::Definite => return Err(failure),
            Err(failure) => {
                self.hold_back();
                warn!(
                    "backfill of {}: {failure}; trying again in {:.1} s. {}",
                    request.table.full_name(),
                    self.delay.as_secs_f32(),
                    failure.remedy
                );
            }
        }
        Ok((window, None))
    }

    fn hold_back(&mut self) {
        const FIRST: Duration = Duration::from_millis(200);
        self.delay = (self.delay * 2).clamp(FIRST, LONGEST_DELAY);
        self.not_before = Instant::now() + self.delay;
    }

    /// Keeps to the chosen rate.
    fn pace(&mut self, rows: usize) {
        if let Some(rate) = self.settings.rows_per_second {
            #[expect(clippy::cast_precision_loss, reason = "a time")]
            let seconds = rows as f64 / f64::from(rate.get());
            let now = Instant::now();
            self.not_before = self.not_before.max(now) + Duration::from_secs_f64(seconds);
        }
    }

    /// Says how far it is.
    pub(super) fn tell(&self, seam: &Seam) {
        for reading in seam.readings().iter().filter(|it| !it.progress.is_done()) {
            let name = self.tables.get(reading.table).map(CheckedTable::full_name);
            info!(
                rows = reading.progress.rows(),
                seconds = self.began.elapsed().as_secs(),
                "backfill of {}",
                name.unwrap_or_default()
            );
        }
    }

    /// A part of a table is written: says so if it was the last.
    pub(super) fn tell_written(&self, seam: Option<&Seam>, table: usize) {
        let reading = seam.and_then(|seam| seam.reading(table));
        if let Some(reading) = reading.filter(|reading| reading.progress.is_done()) {
            let name = self.tables.get(table).map(CheckedTable::full_name);
            let (name, rows) = (name.unwrap_or_default(), reading.progress.rows());
            info!("backfill of {name} is done: {rows} rows");
        }
    }
}

fn panicked(error: JoinError) -> Failure {
    std::panic::resume_unwind(error.into_panic())
}
