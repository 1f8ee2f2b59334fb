//! The one loop: events in, batches out, acknowledgements back, the checkpoint behind them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::Failure;
use crate::binlog::{Decoder, FilePosition, Inflater, Step};
use crate::config::Config;
use crate::error::Error;
use crate::signals::{Asked, Signals};
use crate::sink::{Delivery, Sink};

use super::Until;
use super::checkpoint::{Checkpoint, CheckpointStore};
use super::end::End;
use super::flow::{Flow, FlowOutlet};
use super::preflight::{Preflight, start_mark};
use super::reader::{AtHand, News, Reader};
use super::tables::TableWriter;

/// How often the checkpoint may be written: what a crash makes the sink receive twice.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait after the disk did not take it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);
/// How often a line tells how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Events that are taken in before completions and timers are looked at again.
const EVENTS_AT_ONCE: usize = 256;

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Rows that were written into batches.
    pub rows_written: u64,
    /// Rows that the sink has for good.
    pub rows_delivered: u64,
    /// Bytes of those.
    pub bytes_delivered: u64,
    /// Records that were refused and sent again.
    pub records_refused: u64,
    /// Up to where everything is delivered.
    pub position: Option<FilePosition>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows ({}) delivered",
            self.rows_delivered,
            bytesize::ByteSize(self.bytes_delivered)
        )?;
        if self.rows_written > self.rows_delivered {
            let waiting = self.rows_written - self.rows_delivered;
            write!(f, ", {waiting} more will be read again")?;
        }
        if self.records_refused > 0 {
            write!(f, ", {} records sent again", self.records_refused)?;
        }
        match &self.position {
            Some(position) => write!(f, "; checkpoint at {position}"),
            None => Ok(()),
        }
    }
}

/// The agent, ready to run.
pub(super) struct Agent<S> {
    config: Config,
    signals: Signals,
    reader: Reader,
    decoder: Decoder,
    inflater: Inflater,
    tables: Vec<TableWriter>,
    flow: Flow<S>,
    end: Option<End>,
    store: Arc<CheckpointStore>,
    saving: Option<JoinHandle<Result<Checkpoint, Failure>>>,
    saved: Checkpoint,
    saved_at: Instant,
    progress_at: Instant,
    rows_written: u64,
    /// When the transaction of the newest row was committed.
    newest_commit_us: i64,
    /// Rows written and delivered when it was last told.
    told: (u64, u64),
}

impl<S: Sink> Agent<S> {
    /// Decides where to start, stores that, and asks for the stream.
    pub(super) async fn start(
        config: Config,
        checked: Preflight,
        store: CheckpointStore,
        sink: S,
        until: Option<Until>,
    ) -> Result<Self, Error> {
        let Preflight { mut server, tables } = checked;
        let loaded = store.load()?;
        let mark = start_mark(&mut server, loaded.as_ref(), &config.source.start).await?;
        let end = match until {
            Some(until) => Some(End::of(until, &mut server).await?),
            None => None,
        };
        let names: Vec<(String, String)> = tables
            .iter()
            .map(|table| (table.schema.clone(), table.name.clone()))
            .collect();
        let decoder = Decoder::new(mark.position.clone(), mark.gtids.clone(), &names);
        let saved = Checkpoint::at(&mark);
        if loaded.as_ref() != Some(&saved) {
            store.save(&saved)?;
        }
        let signals = Signals::new()?;
        for table in &tables {
            info!("{table}");
        }
        let from = if loaded.is_some() {
            "the checkpoint"
        } else {
            "source.start"
        };
        match (&mark.position, &mark.gtids) {
            (Some(position), _) => info!("following from {position} ({from})"),
            (None, Some(gtids)) => info!("following after {gtids} ({from})"),
            (None, None) => {}
        }
        let reader = Reader::start(&config.source, server, &mark).await?;
        let limits = sink.limits();
        let delivery = Delivery::new(sink, tables.len());
        let tables = tables
            .into_iter()
            .enumerate()
            .map(|(index, table)| TableWriter::new(index, table, limits))
            .collect();
        let now = Instant::now();
        Ok(Self {
            config,
            signals,
            reader,
            decoder,
            inflater: Inflater::default(),
            tables,
            flow: Flow::new(mark.server, delivery),
            end,
            store: Arc::new(store),
            saving: None,
            saved,
            saved_at: now,
            progress_at: now,
            rows_written: 0,
            newest_commit_us: 0,
            told: (0, 0),
        })
    }

    /// Runs to the end. Whatever ends it, what is with the sink by then is in the checkpoint.
    pub(super) async fn run(mut self) -> Result<Summary, Error> {
        let followed = self.follow().await;
        let deliver = match &followed {
            Err(Error::Decode(error)) => {
                // What came before the trouble is whole, so that a start behind it loses nothing.
                if error.problem.is_doubt_of_open_rows() || self.decoder.is_in_payload() {
                    let forget = TableWriter::forget_open_transaction;
                    self.rows_written -= self.tables.iter_mut().map(forget).sum::<u64>();
                }
                true
            }
            Ok(()) | Err(Error::Failure(_)) => true,
            Err(Error::Sink(_) | Error::Config(_) | Error::Sim(_)) => false,
        };
        let drained = if deliver { self.drain().await } else { Ok(()) };
        let saved = self.save_now().await;
        followed.and(drained).and(saved)?;
        Ok(Summary {
            rows_written: self.rows_written,
            rows_delivered: self.flow.rows_delivered,
            bytes_delivered: self.flow.bytes_delivered,
            records_refused: self.flow.delivery.stats().records_refused,
            position: self.saved.position.clone(),
        })
    }

    /// Reads until a signal or the end that was asked for.
    async fn follow(&mut self) -> Result<(), Error> {
        while !self.reached_end() {
            let room = self.has_room();
            let timer = self.next_timer();
            tokio::select! {
                // In this order: a stop is never kept waiting; acknowledgements free memory;
                // timers are due rarely; the binlog would fill all the time there is.
                biased;
                asked = self.signals.next() => match asked {
                    Asked::Stop(signal) => {
                        info!("{signal}: delivering what was read");
                        return Ok(());
                    }
                    Asked::Progress => self.tell_progress(),
                },
                delivered = self.flow.delivery.next() => self.flow.arrived(delivered.map_err(Error::Sink)?),
                () = tokio::time::sleep_until(timer.into()) => self.on_timer(),
                saved = finished(&mut self.saving) => self.on_saved(saved),
                news = self.reader.next(), if room => self.take_in(news?)?,
            }
        }
        Ok(())
    }

    /// Takes in one piece of news, and what else is there already.
    fn take_in(&mut self, news: News) -> Result<(), Error> {
        let now = Instant::now();
        self.on_news(news, now)?;
        for _ in 0..EVENTS_AT_ONCE {
            if !self.has_room() || self.reached_end() {
                return Ok(());
            }
            match self.reader.ready() {
                Some(news) => self.on_news(news?, now)?,
                None => {
                    if self.config.flush_interval.is_zero() {
                        self.seal_all();
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn on_news(&mut self, news: News, now: Instant) -> Result<(), Error> {
        match news {
            News::Event => self.on_event(now)?,
            News::Lost => {
                let mark = self.flow.newest_commit(&self.decoder);
                self.reader.reconnect(Checkpoint::at(&mark));
            }
            News::Resumed(mark) => {
                if mark.server != self.flow.server {
                    warn!(
                        "the server is now {} (was {})",
                        mark.server.0, self.flow.server.0
                    );
                    self.flow.server = mark.server;
                }
                self.decoder.rewind(mark.position);
                self.flow.moved();
                self.tables.iter_mut().for_each(TableWriter::rewind);
            }
        }
        Ok(())
    }

    fn on_event(&mut self, now: Instant) -> Result<(), Error> {
        let decoder = &mut self.decoder;
        let step = match self.reader.at_hand() {
            Ok(AtHand::Event(event)) if decoder.is_to_be_inflated(&event) => {
                let event = self.inflater.inflate(&event);
                decoder.event(&event.map_err(|problem| decoder.ahead(problem))?)?
            }
            Ok(AtHand::Event(event)) => decoder.event(&event)?,
            Ok(AtHand::Packed(event)) => decoder.packed_event(&event)?,
            Ok(AtHand::Nothing) => return Ok(()),
            Ok(AtHand::PayloadEnd) => {
                decoder.payload_end()?;
                self.reader.close_payload();
                return Ok(());
            }
            Err(problem) => return Err(decoder.ahead(problem).into()),
        };
        match step {
            Step::Nothing => {}
            Step::Rows { table, rows } => {
                if let Some(transaction) = self.decoder.transaction() {
                    self.newest_commit_us = transaction.commit_time_us;
                }
                let mut outlet = FlowOutlet {
                    flow: &mut self.flow,
                    decoder: &self.decoder,
                };
                let writer = &mut self.tables[table];
                self.rows_written += writer.write(&rows, &self.decoder, now, &mut outlet)?;
            }
            Step::Commit => {
                self.flow.moved();
                self.tables.iter_mut().for_each(TableWriter::commit);
            }
            Step::Payload => {
                let opened = self.reader.open_payload();
                opened.map_err(|problem| self.decoder.ahead(problem))?;
            }
        }
        Ok(())
    }

    /// Whether more may be read. If not, everything that was read is on its way.
    fn has_room(&mut self) -> bool {
        let open_bytes: usize = self.tables.iter().map(TableWriter::open_bytes).sum();
        if self.flow.sealed_bytes + open_bytes < self.config.max_in_flight {
            return true;
        }
        self.seal_all();
        false
    }

    fn seal_all(&mut self) {
        for table in &mut self.tables {
            if let Some(batch) = table.seal() {
                self.flow.push(batch);
            }
        }
    }

    /// When something is to be done even if nothing happens.
    fn next_timer(&self) -> Instant {
        let flush = self.tables.iter().filter_map(TableWriter::opened_at).min();
        let flush = flush.map(|opened_at| opened_at + self.config.flush_interval);
        let save = self
            .saving
            .is_none()
            .then_some(self.saved_at + CHECKPOINT_INTERVAL);
        let progress = self.progress_at + PROGRESS_INTERVAL;
        [flush, save]
            .into_iter()
            .flatten()
            .fold(progress, Instant::min)
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        for table in &mut self.tables {
            let due = |opened_at| opened_at + self.config.flush_interval <= now;
            if table.opened_at().is_some_and(due)
                && let Some(batch) = table.seal()
            {
                self.flow.push(batch);
            }
        }
        if self.saving.is_none() && now >= self.saved_at + CHECKPOINT_INTERVAL {
            self.save();
        }
        if now >= self.progress_at + PROGRESS_INTERVAL {
            self.progress_at = now;
            if self.told != (self.rows_written, self.flow.rows_delivered) {
                self.tell_progress();
            }
        }
    }

    /// Says how it goes.
    fn tell_progress(&mut self) {
        let rows_delivered = self.flow.rows_delivered;
        self.told = (self.rows_written, rows_delivered);
        let now = jiff::Timestamp::now().as_microsecond();
        let age = Duration::from_micros(
            now.saturating_sub(self.newest_commit_us)
                .max(0)
                .cast_unsigned(),
        );
        info!(
            rows_delivered,
            rows_waiting = self.rows_written - rows_delivered,
            in_flight = %bytesize::ByteSize(self.flow.sealed_bytes as u64),
            newest_row_age_s = age.as_secs(),
            position = %self.decoder.committed().map(ToString::to_string).unwrap_or_default(),
            "following"
        );
    }

    /// Starts writing the checkpoint if it has moved.
    fn save(&mut self) {
        self.saved_at = Instant::now();
        let checkpoint = Checkpoint::at(&self.flow.safe_commit(&self.decoder));
        if checkpoint == self.saved {
            return;
        }
        let store = Arc::clone(&self.store);
        self.saving = Some(tokio::task::spawn_blocking(move || {
            store.save(&checkpoint).map(|()| checkpoint)
        }));
    }

    /// A disk that is full holds up the checkpoint, not the rows: they are read again if need be.
    fn on_saved(&mut self, saved: Result<Checkpoint, Failure>) {
        self.saving = None;
        match saved {
            Ok(checkpoint) => {
                debug!(position = ?checkpoint.position, "checkpoint stored");
                self.saved = checkpoint;
            }
            Err(failure) => {
                warn!("{failure}; trying again. {}", failure.remedy);
                self.saved_at = Instant::now() + CHECKPOINT_PATIENCE;
            }
        }
    }

    /// Writes the checkpoint and waits for the disk.
    async fn save_now(&mut self) -> Result<(), Error> {
        if self.saving.is_some() {
            let saved = finished(&mut self.saving).await;
            self.on_saved(saved);
        }
        self.save();
        if self.saving.is_some() {
            let saved = finished(&mut self.saving).await?;
            self.saved = saved;
            self.saving = None;
        }
        Ok(())
    }

    fn reached_end(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.is_reached(&self.decoder))
    }

    /// Delivers all that was read, as long as there is time.
    async fn drain(&mut self) -> Result<(), Error> {
        self.seal_all();
        // A drain up to a position is a job to finish, however long it takes; a stop is not.
        let grace = self.config.shutdown_grace;
        let deadline = (!self.reached_end()).then(|| Instant::now() + grace);
        while self.flow.batches_under_way > 0 {
            tokio::select! {
                biased;
                delivered = self.flow.delivery.next() => self.flow.arrived(delivered.map_err(Error::Sink)?),
                asked = self.signals.next() => match asked {
                    Asked::Stop(signal) => {
                        warn!("{signal}: stopping at once");
                        break;
                    }
                    Asked::Progress => self.tell_progress(),
                },
                () = until(deadline) => {
                    warn!("shutdown_grace is over before everything was delivered");
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Waits for a task that may not be there; for ever if it is not.
async fn finished(
    task: &mut Option<JoinHandle<Result<Checkpoint, Failure>>>,
) -> Result<Checkpoint, Failure> {
    match task {
        None => std::future::pending().await,
        Some(task) => match task.await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        },
    }
}

/// Waits for a moment; for ever if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
