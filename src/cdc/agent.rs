//! The one loop: events in, batches out, acknowledgements back, the checkpoint behind them.

mod asking;
mod parts;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::binlog::PreparedXa;
use crate::config::{Config, StoredPattern};
use crate::error::Error;
use crate::signals::{SignalRequest, Signals};
use crate::sink::{DeadLetters, Sink, StagedObject};
use crate::{Exit, Failure};

use super::Stored;
use super::Until;
use super::announce;
use super::asker::{Asker, QueryOutcome};
use super::backfill::Backfill;
use super::checked_table::CheckedTable;
use super::checkpoint::{Checkpoint, FollowedTable};
use super::end::End;
use super::objects::Objects;
use super::pipeline::{Pipeline, table_names};
use super::prefix::Prefix;
use super::preflight::Preflight;
use super::progress::{AgentSummary, Progress};
use super::reader::{Reader, ReaderEvent};
use super::server::Mark;
use super::start::start_mark;
use super::store::{Store, is_lost};

use asking::Asking;
use parts::next_arrival;

/// How long to wait after the disk did not take it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);
/// How often a line tells how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// What a stop leaves the checkpoint at least, once `shutdown_grace` is used up.
const SAVE_GRACE: Duration = Duration::from_secs(2);
/// Events that are taken in before completions and timers are looked at again.
const EVENTS_AT_ONCE: usize = 256;

/// The agent, ready to run.
pub(super) struct Agent<S> {
    config: Config,
    reader: Reader,
    pipeline: Pipeline<S>,
    asking: Asking,
    /// What reads tables whose rows were there before, as long as there are some.
    backfill: Option<Box<Backfill>>,
    end: Option<End>,
    store: Arc<Store>,
    saving: Option<JoinHandle<Result<Checkpoint, Failure>>>,
    saved: Checkpoint,
    /// What the checkpoint is of.
    followed: (Vec<FollowedTable>, Vec<StoredPattern>),
    /// Whose staged objects the sink has.
    owner: Uuid,
    /// The lines of each table that were in committed objects when the run began.
    written: BTreeMap<String, Prefix>,
    /// What the reader said when the server took the request.
    first_event: Option<ReaderEvent>,
    saved_at: Instant,
    /// When the checkpoint was last written, whether or not it had changed.
    written_at: Instant,
    progress_at: Instant,
    /// What was told last.
    told: Progress,
}

impl<S: Sink> Agent<S> {
    /// Decides where to start, asks for the stream, and stores the place once the server sends from there.
    pub(super) async fn start(
        config: Config,
        mut checked: Preflight,
        stored: Stored,
        (sink, dead_letters): (S, Option<DeadLetters>),
        until: Option<Until>,
    ) -> Result<Self, Error> {
        let Stored {
            store,
            loaded,
            owner,
        } = stored;
        let mut mark =
            start_mark(&mut checked.server, loaded.as_ref(), &config.source.start).await?;
        let end = match until {
            Some(until) => Some(End::of(until, &mark, &mut checked.server).await?),
            None => None,
        };
        let with_rows = with_rows(&sink, &checked, loaded.is_none()).await?;
        announce::missing_rows(&config, loaded.as_ref(), &mark, &checked, &with_rows);
        announce::followed(&checked, &mark, loaded.is_some());
        let Preflight {
            mut server,
            mut tables,
            listed,
            new_tables,
        } = checked;
        let known = followed_before(loaded.as_ref(), new_tables.patterns.folds());
        let begun = Backfill::begin(&config, &mut tables, &mut server, &mut mark, known);
        let (backfill, seam) = Box::pin(begun).await?.unzip();
        let followed = tables.iter().map(CheckedTable::to_followed).collect();
        let followed = (followed, new_tables.patterns.stored());
        let has_names = server.logs_names();
        let starting = Box::pin(Reader::start(&config.source, server, mark));
        let (mut reader, mut mark) = starting.await?;
        // A place that the server cannot send from must not be stored: it would be found at the next start,
        // whatever has been corrected by then.
        let first_event = Some(reader.next().await?);
        let names = [table_names(&tables), listed.names()].concat();
        let mut asker = Asker::new(&config.source, names);
        Box::pin(asker.ask_at_start(&tables, has_names, &mut mark)).await?;
        let layouts = loaded.as_ref().map(Checkpoint::layouts);
        let layouts = layouts.unwrap_or_default();
        let written = loaded.as_ref().map(|loaded| loaded.written.clone());
        let written = written.unwrap_or_default();
        let known = (layouts, written.clone());
        let (max_in_flight, table_count) = (config.max_in_flight, tables.len());
        let tables = (tables, new_tables);
        let mut pipeline = Pipeline::following(&mark, tables, known, sink, max_in_flight)?;
        pipeline.read_tables(seam);
        pipeline.decoder.exempt(config.exemptions.clone());
        pipeline.flow.keep_dead_letters(dead_letters, table_count);
        let saved = Checkpoint::at(&mark, pipeline.layouts()).of(&followed);
        // What the checkpoint has named until now was published before.
        let saved = saved.with_objects(owner, written.clone(), Vec::new());
        if loaded.as_ref() != Some(&saved) {
            store.save(&saved).await?;
        }
        let now = Instant::now();
        Ok(Self {
            config,
            reader,
            pipeline,
            asking: Asking::Idle(Box::new(asker)),
            backfill,
            end,
            store,
            saving: None,
            saved,
            followed,
            owner,
            written,
            first_event,
            saved_at: now,
            written_at: now,
            progress_at: now,
            told: Progress::default(),
        })
    }

    /// Runs to the end. Whatever ends it, what is with the sink by then is in the checkpoint.
    pub(super) async fn run(mut self, mut signals: Signals) -> Result<AgentSummary, Error> {
        let followed = self.follow(&mut signals).await;
        let deliver = match &followed {
            // What came before the trouble is whole, so that a start behind it loses nothing.
            Err(Error::Decode(error)) => {
                self.pipeline.forget_doubtful_rows(&error.problem);
                true
            }
            Ok(()) | Err(Error::Failure(_)) => true,
            Err(Error::Sink(_) | Error::Config(_) | Error::Failures(_)) => false,
            #[cfg(feature = "sim")]
            Err(Error::Sim(_)) => false,
        };
        // A drain up to a position is a job to finish, however long it takes; a stop is not.
        let grace = self.config.shutdown_grace;
        let deadline = (!self.reached_end()).then(|| Instant::now() + grace);
        let drained = if deliver {
            self.drain(&mut signals, deadline).await
        } else {
            Ok(())
        };
        let saved = self.save_now(&mut signals, deadline).await;
        let ended = followed.and(drained).and(saved);
        // An object that cannot be found any more may have been published by whoever has the checkpoint now.
        if let Err(Error::Sink(_)) = &ended
            && let Ok(Some(loss)) = timeout(SAVE_GRACE, self.store.loss()).await
        {
            return Err(Error::Sink(loss));
        }
        ended?;
        let is_left = !self.reached_end() || !self.pipeline.flow.is_settled();
        if self.end.is_some() && is_left {
            return Err(unfinished().into());
        }
        Ok(AgentSummary {
            progress: self.pipeline.progress(),
            position: self.saved.position.clone(),
        })
    }

    /// Reads until a signal or the end that was asked for.
    async fn follow(&mut self, signals: &mut Signals) -> Result<(), Error> {
        let mut timer = pin!(tokio::time::sleep_until(self.next_timer().into()));
        if let Some(event) = self.first_event.take().filter(|_| !self.reached_end()) {
            self.take_in(event)?;
        }
        while !self.reached_end() {
            let room = self.pipeline.has_room() && !self.asking.is_under_way();
            if room && self.backfill.is_some() {
                self.go_on_with_backfill()?;
            }
            if room && self.pipeline.take_in_prepared(Instant::now())? {
                self.begin_asking();
                continue;
            }
            let room = room && !self.pipeline.is_opening_snapshot();
            // Setting a timer wakes the thread that waits for all of them. One that rings early does no
            // harm.
            let due = self.next_timer().into();
            if timer.is_elapsed() || due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            tokio::select! {
                // In this order: a stop is never kept waiting; acknowledgements free memory;
                // timers are due rarely; the binlog would fill all the time there is.
                biased;
                asked = signals.next() => match asked {
                    SignalRequest::Stop(signal) => {
                        info!("{signal}: delivering what was read");
                        return Ok(());
                    }
                    SignalRequest::Progress => self.tell_progress(),
                },
                advanced = self.pipeline.flow.advance() => advanced.map_err(Error::Sink)?,
                () = &mut timer => self.on_timer(),
                saved = finished(&mut self.saving) => self.on_saved(saved)?,
                told = self.asking.next() => match told? {
                    QueryOutcome::Answer(answer) => self.pipeline.answer(answer)?,
                    QueryOutcome::OtherServer => self.reconnect(),
                },
                arrival = next_arrival(&mut self.backfill) => self.on_arrival(arrival?),
                event = self.reader.next(), if room => self.take_in(event?)?,
            }
        }
        Ok(())
    }

    /// Takes in one event of the reader, and what else is there already.
    fn take_in(&mut self, event: ReaderEvent) -> Result<(), Error> {
        let now = Instant::now();
        self.on_reader_event(event, now)?;
        for _ in 0..EVENTS_AT_ONCE {
            let is_handing_out = self.pipeline.decoder.is_handing_out();
            if is_handing_out
                || self.asking.is_under_way()
                || !self.pipeline.has_room()
                || self.reached_end()
            {
                return Ok(());
            }
            // A window may close between two transactions.
            let seam = self.pipeline.seam.as_ref();
            if seam.is_some_and(|seam| seam.has_due(&self.pipeline.decoder)) {
                return Ok(());
            }
            match self.reader.ready() {
                Some(event) => self.on_reader_event(event?, now)?,
                None => {
                    if self.config.flush_interval.is_zero() {
                        self.pipeline.seal_all(true);
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn on_reader_event(&mut self, event: ReaderEvent, now: Instant) -> Result<(), Error> {
        match event {
            ReaderEvent::Event => self.on_event(now)?,
            ReaderEvent::Lost => self.reconnect(),
            ReaderEvent::Resumed(mark) => {
                let was = self.pipeline.server();
                if mark.server != *was {
                    warn!("the server is now {} (was {})", mark.server.0, was.0);
                }
                self.pipeline.rewind(*mark)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, now: Instant) -> Result<(), Error> {
        match self.reader.at_hand() {
            Ok(Some(input)) => {
                self.pipeline.take_in(input, now)?;
                self.begin_asking();
            }
            Ok(None) => return Ok(()),
            Err(problem) => return Err(self.pipeline.decoder.ahead(problem).into()),
        }
        if self.pipeline.decoder.must_read_again() {
            let key = self.pipeline.decoder.transaction_key();
            let key = key.map(|key| key.to_string()).unwrap_or_default();
            info!(
                "reading {key} again: only its end says which of its rows are committed, and they were too many \
                 to keep"
            );
            self.reconnect();
        }
        Ok(())
    }

    /// Asks the server what must be known before anything more is taken in.
    fn begin_asking(&mut self) {
        if let Some(question) = self.pipeline.question() {
            let question = question.clone();
            self.asking.begin(question, self.pipeline.newest_commit());
        }
    }

    /// Has the binlog sent again from the newest commit on.
    fn reconnect(&mut self) {
        self.asking.forget();
        let mut mark = Mark::clone(&self.pipeline.newest_commit());
        if !self.pipeline.decoder.is_passing_over() {
            // The rows of what is prepared are in memory.
            mark.xa = PreparedXa::default();
        }
        let checkpoint = Checkpoint::at(&mark, self.pipeline.layouts()).of(&self.followed);
        self.reader.reconnect(checkpoint);
    }

    /// When something is to be done even if nothing happens.
    fn next_timer(&self) -> Instant {
        let flush = self.pipeline.oldest_open();
        let flush = flush.map(|opened_at| opened_at + self.config.flush_interval);
        let save = self.saving.is_none().then(|| self.save_due_at());
        let progress = self.progress_at + PROGRESS_INTERVAL;
        let backfill = self.backfill.as_ref().and_then(|it| it.wake_at());
        [flush, save, backfill]
            .into_iter()
            .flatten()
            .fold(progress, Instant::min)
    }

    /// When the checkpoint may be written again: at once if that makes rows visible.
    fn save_due_at(&self) -> Instant {
        let objects = self.pipeline.flow.objects.as_ref();
        if objects.is_some_and(|objects| objects.is_ready()) {
            self.saved_at
        } else {
            self.saved_at + self.store.interval()
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        self.pipeline.seal_older(self.config.flush_interval, now);
        if self.saving.is_none() && now >= self.save_due_at() {
            self.save();
        }
        if now >= self.progress_at + PROGRESS_INTERVAL {
            self.progress_at = now;
            if let (Some(backfill), Some(seam)) = (&self.backfill, &self.pipeline.seam) {
                backfill.tell(seam);
            }
            let rows = |progress: &Progress| (progress.rows_written, progress.rows_waiting());
            if rows(&self.told) != rows(&self.pipeline.progress()) {
                self.tell_progress();
            }
        }
    }

    /// Says how it goes.
    fn tell_progress(&mut self) {
        let progress = self.pipeline.progress();
        let age = progress.newest_row_age(jiff::Timestamp::now().as_microsecond());
        info!(
            rows_delivered = progress.rows_delivered,
            rows_dead_lettered = progress.rows_dead_lettered,
            rows_waiting = progress.rows_waiting(),
            in_flight = %bytesize::ByteSize(progress.bytes_in_flight),
            newest_row_age_s = age.as_secs(),
            cells_replaced = progress.cells_replaced,
            position = %self.pipeline.decoder.committed().map(ToString::to_string).unwrap_or_default(),
            "following"
        );
        self.told = progress;
    }

    /// The lines of each table that are behind the mark and in committed objects, and the objects that may not be
    /// visible yet.
    fn objects(&mut self, mark: &Mark) -> (BTreeMap<String, Prefix>, Vec<StagedObject>) {
        let pipeline = &self.pipeline;
        let objects = pipeline.flow.objects.as_deref();
        for (table, prefix) in objects.iter().flat_map(|objects| objects.prefixes()) {
            let name = pipeline.table_name(*table);
            self.written.insert(name, prefix.clone());
        }
        self.written
            .retain(|table, prefix| !prefix.is_behind(mark, table));
        (
            self.written.clone(),
            objects.map(Objects::named).unwrap_or_default(),
        )
    }

    /// Starts writing the checkpoint if it has moved.
    fn save(&mut self) {
        self.saved_at = Instant::now();
        self.pipeline.flow.begin_checkpoint();
        let mark = self.pipeline.safe_commit();
        let checkpoint = Checkpoint::at(&mark, self.pipeline.layouts()).of(&self.followed);
        let (written, sealed) = self.objects(&mark);
        let checkpoint = checkpoint.with_objects(self.owner, written, sealed);
        let renewal = self.store.renewal();
        let is_old = renewal.is_some_and(|renewal| self.written_at.elapsed() >= renewal);
        if checkpoint == self.saved && !is_old {
            return;
        }
        self.written_at = self.saved_at;
        let store = Arc::clone(&self.store);
        self.saving = Some(tokio::spawn(async move {
            store.save(&checkpoint).await.map(|()| checkpoint)
        }));
    }

    /// A disk that is full holds up the checkpoint, not the rows: they are read again if need be.
    ///
    /// # Errors
    /// If the checkpoint is another process's now.
    fn on_saved(&mut self, saved: Result<Checkpoint, Failure>) -> Result<(), Error> {
        self.saving = None;
        match saved {
            Ok(checkpoint) => {
                debug!(position = ?checkpoint.position, "checkpoint stored");
                self.saved = checkpoint;
                if let Some(objects) = &mut self.pipeline.flow.objects {
                    objects.stored();
                }
            }
            Err(failure) if is_lost(&failure) => return Err(Error::Sink(failure)),
            Err(failure) => {
                warn!("{failure}; trying again. {}", failure.remedy);
                self.saved_at = Instant::now() + CHECKPOINT_PATIENCE;
            }
        }
        Ok(())
    }

    /// Writes the checkpoint and waits for the disk, but not for ever.
    async fn save_now(
        &mut self,
        signals: &mut Signals,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let deadline = deadline.map(|deadline| deadline.max(Instant::now() + SAVE_GRACE));
        let saving = async {
            if self.saving.is_some() {
                let saved = finished(&mut self.saving).await;
                self.on_saved(saved)?;
            }
            self.save();
            if self.saving.is_some() {
                let saved = finished(&mut self.saving).await?;
                self.on_saved(Ok(saved))?;
            }
            Ok(())
        };
        let stopped = async { while signals.next().await == SignalRequest::Progress {} };
        tokio::select! {
            biased;
            saved = saving => saved,
            () = until(deadline) => Err(unsaved()),
            () = stopped => Err(unsaved()),
        }
    }

    fn reached_end(&self) -> bool {
        let decoder = &self.pipeline.decoder;
        let is_reached = |end: &End| end.is_reached(decoder);
        // A checkpoint that does not know its file would not notice that the server was reset.
        let is_read = self.backfill.is_none();
        is_read && self.end.as_ref().is_some_and(is_reached) && decoder.is_file_known()
    }

    /// Delivers all that was read, as long as there is time.
    async fn drain(
        &mut self,
        signals: &mut Signals,
        mut deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.pipeline.forget_unfinished();
        self.pipeline.seal_all(true);
        while !self.pipeline.flow.is_settled() {
            let save_at = self.saving.is_none().then(|| self.save_due_at());
            tokio::select! {
                biased;
                advanced = self.pipeline.flow.advance() => advanced.map_err(Error::Sink)?,
                saved = finished(&mut self.saving) => self.on_saved(saved)?,
                () = until(save_at) => self.save(),
                asked = signals.next() => match asked {
                    SignalRequest::Stop(signal) if deadline.is_none() => {
                        info!("{signal}: delivering what was read");
                        deadline = Some(Instant::now() + self.config.shutdown_grace);
                    }
                    SignalRequest::Stop(signal) => {
                        warn!("{signal}: stopping at once");
                        break;
                    }
                    SignalRequest::Progress => self.tell_progress(),
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

/// Whoever asks for rows up to a place must not take a stop before it for success.
pub(super) fn unfinished() -> Failure {
    Failure::transient(
        Exit::Temporary,
        "stopped before all rows up to --until were delivered",
        "run the command again: it continues at the checkpoint",
    )
}

fn unsaved() -> Error {
    Error::Failure(Failure::transient(
        Exit::Temporary,
        "stopped before the disk had taken the checkpoint",
        "look at the disk of checkpoint.path; rows since the last checkpoint will be delivered again",
    ))
}

/// Whether changes of a table may have been delivered up to a checkpoint.
fn followed_before(loaded: Option<&Checkpoint>, folds: bool) -> impl Fn(&CheckedTable) -> bool {
    move |table| loaded.is_some_and(|it| it.may_have_followed(&table.schema, &table.name, folds))
}

/// The names of tables of which a sink has rows already, at a first start.
async fn with_rows(
    sink: &impl Sink,
    checked: &Preflight,
    is_first: bool,
) -> Result<Vec<String>, Failure> {
    if !is_first {
        return Ok(Vec::new());
    }
    let found = sink.tables_with_rows().await?.into_iter();
    let names = found.map(|table| checked.tables[table].full_name());
    Ok(names.collect())
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
