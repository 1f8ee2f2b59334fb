//! Rows that were there before the binlog was followed, delivered as operation `R` while it is followed.
//!
//! What lives here: which tables are read and by which key ([`key`], [`choice`]), how much of them is read ([`progress`]), the
//! reading itself ([`reader`], [`select`]), also by those who compare ([`scan`]), when it pauses ([`pause`]), and the seam between
//! what was read and the binlog ([`seam`]; [`once`] with [`given`] for tables of which only inserts are followed, [`whole`] for
//! those that no key divides). What does not: how a row becomes a line ([`super::tables`]).

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
mod select;
mod whole;
#[cfg(test)]
mod wrong_rules;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::config;
use crate::error::Fault;
use crate::{Error, Exit, Failure};

use super::checked_table::CheckedTable;
use super::retry::LONGEST_DELAY;
use super::server::{Mark, Server};

pub(crate) use chunk::Chunk;
pub(super) use once::{Change, Read};
use pause::{Look, Pause};
pub(crate) use progress::{BackfillProgress, TableProgress};
use reader::{Answered, Blind, PartReader, Request};
pub(crate) use scan::{PartEnd, ScanRange, ScanReader, ScannedPart, TableScan};
pub(super) use seam::{Due, Reading, Seam};
use whole::{MOST_TRIES, delay_after};
pub(super) use whole::{Opened, Place, Settled};

/// The part of what may be in memory that a part of a table aims at.
const PART_OF_MEMORY: usize = 12;
/// How often the server's load is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Of so many looks one is at its binlog files, of which there may be many.
const LOOKS_AT_FILES: u32 = 5;
/// After the first failure.
const FIRST_DELAY: Duration = Duration::from_millis(200);

/// What has come.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The rows of a part, by the number of its window, if it could be read.
    Part(u64, Option<Chunk>),
    /// A snapshot of a whole table.
    Opened(Opened),
}

/// What reads the tables.
pub(super) struct Backfill {
    settings: config::Backfill,
    tables: Vec<CheckedTable>,
    wanted_bytes: usize,
    idle: Vec<PartReader>,
    reading: JoinSet<(PartReader, Request, Result<Answered, Failure>)>,
    /// What has a snapshot of a whole table open.
    whole: Option<(PartReader, Request)>,
    /// No other is opened before.
    no_whole_before: Instant,
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
    /// Begins to read the tables that are to be read, if there are some; see [`choice::begin`]. `was_followed` tells whether changes
    /// of a table may have been delivered before this start.
    ///
    /// # Errors
    /// All that is in the way.
    pub(super) async fn begin(
        config: &config::Config,
        tables: &mut [CheckedTable],
        server: &mut Server,
        mark: &mut Mark,
        was_followed: impl Fn(&CheckedTable) -> bool,
    ) -> Result<Option<(Box<Self>, Box<Seam>)>, Error> {
        let seam = choice::begin(config, tables, server, mark, was_followed).await?;
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
            whole: None,
            no_whole_before: Instant::now(),
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
        let now = Instant::now();
        let is_idle = !self.idle.is_empty() || self.whole.is_some();
        let times = [self.not_before, self.no_whole_before];
        let later = times.into_iter().filter(|it| is_idle && *it > now);
        later.min()
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
            && let Some(part) = seam.open_window(now >= self.no_whole_before)
            && let Some(mut reader) = self.idle.pop()
        {
            let request = Request {
                table: self.tables[part.table].clone(),
                part,
                processed: Arc::clone(processed),
                wanted_bytes: self.wanted_bytes,
                look: self.look(now, safe),
                blind: if self.settings.lock_tables {
                    Blind::Locked
                } else {
                    Blind::Refused
                },
                is_begun: false,
            };
            self.reading.spawn(async move {
                let answered = reader.read(&request).await;
                (reader, request, answered)
            });
        }
    }

    /// Asks for more rows of the whole table that is being read, if they are wanted, and lets go of one that is not read any more.
    pub(super) fn ask_for_more(&mut self, seam: &mut Seam, now: Instant) {
        if !seam.is_whole_under_way()
            && let Some((mut reader, _)) = self.whole.take()
        {
            reader.disconnect();
            self.idle.push(reader);
        }
        if now >= self.not_before
            && self.whole.is_some()
            && seam.wants_more()
            && let Some((mut reader, request)) = self.whole.take()
        {
            self.reading.spawn(async move {
                let answered = reader.more(&request).await;
                (reader, request, answered)
            });
        }
    }

    /// What has become of the snapshot of a table.
    ///
    /// # Errors
    /// If none was of use for too long.
    pub(super) fn settled(
        &mut self,
        (table, settled): (usize, Settled),
        place: Option<&Place>,
    ) -> Result<(), Failure> {
        let name = self.name(table);
        let Settled::Useless { tries } = settled else {
            let place = place.map(|place| place.position.to_string());
            info!(
                "backfill of {name}: reading it as of {}",
                place.unwrap_or_default()
            );
            return Ok(());
        };
        let delay = delay_after(tries).ok_or_else(|| always_changing(&name))?;
        self.no_whole_before = Instant::now() + delay;
        info!(
            "backfill of {name}: it was changed while its snapshot was opened; trying again in {delay:?}"
        );
        Ok(())
    }

    fn name(&self, table: usize) -> String {
        let name = self.tables.get(table).map(CheckedTable::full_name);
        name.unwrap_or_default()
    }

    /// Waits for what comes next; for ever if nothing is being read. May be dropped and called again.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) async fn next(&mut self) -> Result<Arrival, Failure> {
        let (reader, request, answered) = match self.reading.join_next().await {
            None => return pending().await,
            Some(Ok(read)) => read,
            Some(Err(error)) => return Err(panicked(error)),
        };
        let window = request.part.window;
        let is_looked = request.look.is_some();
        let name = request.table.full_name();
        match answered {
            Ok(Answered::Chunk(chunk)) => {
                self.read(is_looked);
                self.pace(chunk.len());
                if request.is_begun && !chunk.is_last() {
                    self.whole = Some((reader, request));
                } else {
                    self.idle.push(reader);
                }
                return Ok(Arrival::Part(window, Some(*chunk)));
            }
            Ok(Answered::Opened(opened)) => {
                self.read(is_looked);
                let is_begun = true;
                self.whole = Some((
                    reader,
                    Request {
                        is_begun,
                        ..request
                    },
                ));
                return Ok(Arrival::Opened(opened));
            }
            Ok(Answered::Paused(pause)) => self.pause(pause),
            // The binlog's connection will notice.
            Ok(Answered::OtherServer) => self.hold_back(),
            Err(failure) if request.is_begun => return Err(broken(&name, &failure.to_string())),
            Err(failure) if failure.fault == Fault::Definite => return Err(failure),
            Err(failure) => {
                self.hold_back();
                warn!(
                    "backfill of {name}: {failure}; trying again in {:.1} s. {}",
                    self.delay.as_secs_f32(),
                    failure.remedy
                );
            }
        }
        self.idle.push(reader);
        Ok(Arrival::Part(window, None))
    }

    /// The server has answered as it should.
    fn read(&mut self, is_looked: bool) {
        self.delay = Duration::ZERO;
        if is_looked {
            self.go_on();
        }
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
        self.delay = (self.delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
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
            let elapsed = self.began.elapsed();
            let about = reading.estimate.about(reading.rows(), elapsed);
            info!(
                rows = reading.rows(),
                percent = about.percent,
                eta_s = about.left.map(|left| left.as_secs()),
                seconds = elapsed.as_secs(),
                paused = self.paused.map(|(pause, _)| pause.to_string()),
                "backfill of {}",
                self.name(reading.table)
            );
        }
    }

    /// A part of a table is written: says so if it was the last.
    pub(super) fn tell_written(&self, seam: Option<&Seam>, table: usize) {
        let reading = seam.and_then(|seam| seam.reading(table));
        if let Some(reading) = reading.filter(|reading| reading.progress.is_done()) {
            let (name, rows) = (self.name(table), reading.progress.rows());
            info!("backfill of {name} is done: {rows} rows");
        }
    }
}

fn panicked(error: JoinError) -> Failure {
    std::panic::resume_unwind(error.into_panic())
}

/// What was written of a whole table cannot be continued. Objects do not end before its last row, so that none has any.
pub(super) fn broken(table: &str, why: &str) -> Failure {
    Failure::transient(
        Exit::Temporary,
        format!(
            "backfill of {table}: the SELECT that reads it whole has ended before its last row: {why}"
        ),
        "start again: it is read anew from its first row",
    )
}

fn always_changing(table: &str) -> Failure {
    Failure::definite(
        Exit::Temporary,
        format!(
            "backfill of {table}: it was changed each of {MOST_TRIES} times while a snapshot of it was opened, so that it is not \
             known which changes the snapshot has"
        ),
        "start again when it is changed less often; or set backfill.lock_tables = true, which keeps others from writing to it \
         for a moment; or give it a primary key",
    )
}
