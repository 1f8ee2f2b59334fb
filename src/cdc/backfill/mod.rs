//! Rows that were there before the binlog was followed, delivered as operation `R` while it is followed.
//!
//! What lives here: which tables are read and by which key ([`key`], [`choice`]), how much of them is read ([`progress`]), the
//! reading itself ([`reader`]), also by those who compare ([`scan`]), when it pauses ([`pause`]), and the seam between what was
//! read and the binlog ([`seam`], and [`once`] with [`given`] for
//! tables of which only inserts are followed). What does not: how a row becomes
//! a line ([`super::tables`]).

mod choice;
mod chunk;
mod estimate;
mod given;
mod key;
mod once;
mod pause;
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
use pause::{Look, Pause};
pub(crate) use progress::{BackfillProgress, TableProgress};
use reader::{Answered, PartReader, Request};
pub(crate) use scan::{PartEnd, ScanRange, ScanReader, ScannedPart, TableScan};
pub(super) use seam::{Due, Reading, Seam};

/// The part of what may be in memory that a part of a table aims at.
const PART_OF_MEMORY: usize = 12;
/// How often the server's load is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Of so many looks one is at its binlog files, of which there may be many.
const LOOKS_AT_FILES: u32 = 5;

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
    /// Why nothing is read now, and since when.
    paused: Option<(Pause, Instant)>,
    /// Whether the server's load was looked at.
    has_looked: bool,
    next_look: Instant,
    looks: u32,
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
            paused: None,
            has_looked: false,
            next_look: Instant::now(),
            looks: 0,
            began: Instant::now(),
        }
    }

    /// When something may be asked for, if that is not now.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let is_later = !self.idle.is_empty() && self.not_before > Instant::now();
        is_later.then_some(self.not_before)
    }

    /// Whether a part may be asked for. At the start, and while reading pauses, one connection looks whether it may go on.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let is_looking = self.must_look() && !self.reading.is_empty();
        !self.idle.is_empty() && now >= self.not_before && !is_looking
    }

    fn must_look(&self) -> bool {
        self.paused.is_some() || !self.has_looked
    }

    /// Asks for parts, between two transactions. `processed` is the newest commit, `safe` the one from which the binlog would
    /// be read again after a restart.
    pub(super) fn ask(
        &mut self,
        seam: &mut Seam,
        now: Instant,
        (processed, safe): (&Arc<Mark>, &Arc<Mark>),
    ) {
        while self.may_ask(now)
            && let Some(part) = seam.open_window()
            && let Some(mut reader) = self.idle.pop()
        {
            let request = Request {
                table: self.tables[part.table].clone(),
                part,
                processed: Arc::clone(processed),
                wanted_bytes: self.wanted_bytes,
                look: self.look(now, safe),
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
            Ok(Answered::Paused(pause)) => self.pause(pause),
            Ok(Answered::Chunk(chunk)) => {
                self.delay = Duration::ZERO;
                if request.look.is_some() {
                    self.go_on();
                }
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

    /// What the next request looks at before it reads.
    fn look(&mut self, now: Instant, safe: &Mark) -> Option<Look> {
        if !self.must_look() && now < self.next_look {
            return None;
        }
        self.next_look = now + LOOK_INTERVAL;
        let is_at_files = self.looks.is_multiple_of(LOOKS_AT_FILES)
            || matches!(self.paused, Some((Pause::Purge { .. }, _)));
        self.looks = self.looks.wrapping_add(1);
        Some(Look {
            settings: self.settings.clone(),
            needed_from: safe.read_from().filter(|_| is_at_files).cloned(),
        })
    }

    /// The server is to be left alone.
    fn pause(&mut self, pause: Pause) {
        let now = Instant::now();
        self.has_looked = true;
        self.not_before = now + LOOK_INTERVAL;
        let since = self.paused.map_or(now, |(_, since)| since);
        let is_known = self.paused.is_some_and(|(known, _)| known.is_like(pause));
        self.paused = Some((pause, since));
        match pause {
            _ if is_known => {}
            Pause::Purge { .. } => warn!("backfill pauses: {pause}"),
            Pause::Threads { .. } | Pause::Lag { .. } => info!("backfill pauses: {pause}"),
        }
    }

    fn go_on(&mut self) {
        self.has_looked = true;
        if let Some((_, since)) = self.paused.take() {
            let seconds = since.elapsed().as_secs();
            info!("backfill goes on after {seconds} s");
        }
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
            let elapsed = self.began.elapsed();
            let about = reading.estimate.about(reading.progress.rows(), elapsed);
            info!(
                rows = reading.progress.rows(),
                percent = about.percent,
                eta_s = about.left.map(|left| left.as_secs()),
                seconds = elapsed.as_secs(),
                paused = self.paused.map(|(pause, _)| pause.to_string()),
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
