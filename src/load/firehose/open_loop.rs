//! PURE. The open loop: which rows are made at a time, which batches they are in, and what becomes of both.
//!
//! What lives here: the rows of one plan between their intended times and their acknowledgements, told the time.
//! What does not: who takes the batches and reads the clock ([`super::drive`]), and when a row is due
//! ([`super::schedule`]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use crate::binlog::FilePosition;
use crate::{Exit, Failure};

use super::plan::RatePlan;
use super::schedule::{RowSchedule, Span};
use crate::load::measure::record::{Recorder, add_latency, latency_histogram};
use crate::load::rows::RowMaker;

/// How long after the end of a plan its late rows may still be made.
const GRACE: Duration = Duration::from_secs(1);

/// How rows are given to the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// How long a row may wait for others.
    pub(super) flush_interval: Duration,
    /// Bytes of unacknowledged rows at which planned rows are left out.
    pub(super) max_backlog: usize,
    /// How long the last acknowledgements may take after the end of the plan.
    pub(super) patience: Duration,
    /// How long the target warms up: rows that are meant for that time are not in the percentiles.
    pub(super) warm_up: Duration,
}

/// Rows of a batch by the time that they were meant for.
type Notes = Vec<(Duration, u64)>;

/// A batch that the client has.
#[derive(Debug)]
struct UnderWay {
    notes: Notes,
    sealed_at: Duration,
}

/// The rows of a plan on their way.
///
/// Contract: all times are since the start of the session and never go back. Call [`OpenLoop::offer`] until it says when to
/// come again, give what [`OpenLoop::sealed`] has to the client, tell [`OpenLoop::arrived`] what was acknowledged, and
/// call [`OpenLoop::close_second`] at the end of each second until [`OpenLoop::is_over`]; then [`OpenLoop::give_up`].
#[derive(Debug)]
pub(super) struct OpenLoop<'a> {
    schedule: RowSchedule,
    rows: &'a mut RowMaker,
    limits: BatchLimits,
    settings: Settings,
    /// The start of the session, which batches are dated from.
    started: Instant,
    begun: Duration,
    open: Option<(Batch, Notes)>,
    sealed: Vec<SealedBatch>,
    under_way: HashMap<u64, UnderWay>,
    next_id: u64,
    sealed_bytes: usize,
    backlog_rows: u64,
    stopped_at: Option<Duration>,
    latencies: Histogram<u64>,
}

impl<'a> OpenLoop<'a> {
    /// The rows of a plan that begins at `begun`, in a session that has started at `started`.
    pub(super) fn new(
        plan: RatePlan,
        rows: &'a mut RowMaker,
        limits: BatchLimits,
        settings: Settings,
        (started, begun): (Instant, Duration),
    ) -> Self {
        Self {
            schedule: RowSchedule::new(plan),
            rows,
            limits,
            settings,
            started,
            begun,
            open: None,
            sealed: Vec::new(),
            under_way: HashMap::new(),
            next_id: 0,
            sealed_bytes: 0,
            backlog_rows: 0,
            stopped_at: None,
            latencies: latency_histogram(),
        }
    }

    pub(super) fn schedule(&self) -> &RowSchedule {
        &self.schedule
    }

    /// Offered rows that are not acknowledged.
    pub(super) fn backlog_rows(&self) -> u64 {
        self.backlog_rows
    }

    /// Latencies from the intended times of all rows that are acknowledged, or given up.
    pub(super) fn latencies(&self) -> &Histogram<u64> {
        &self.latencies
    }

    /// Offers no more rows. What was offered has as long as after the end of the plan.
    pub(super) fn stop(&mut self, now: Duration) {
        self.stopped_at.get_or_insert(now);
    }

    fn plan_ends(&self) -> Duration {
        self.begun + self.schedule.plan().length()
    }

    fn offering_is_over(&self, now: Duration) -> bool {
        let all_made = self.schedule.left() == 0 && now >= self.plan_ends();
        self.stopped_at.is_some() || all_made || now >= self.plan_ends() + GRACE
    }

    /// Whether every offered row is acknowledged, or was waited for long enough.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        let ends = self.stopped_at.unwrap_or_else(|| self.plan_ends());
        let waited_enough = now >= ends + self.settings.patience;
        self.offering_is_over(now) && (self.backlog_rows == 0 || waited_enough)
    }

    /// Makes rows of one millisecond if some are due, else says when to come again.
    ///
    /// # Errors
    /// If a row is larger than the target takes.
    pub(super) fn offer(
        &mut self,
        now: Duration,
        recorder: &mut Recorder,
    ) -> Result<Option<Duration>, Failure> {
        if self.offering_is_over(now) {
            return Ok(Some(Duration::MAX));
        }
        let Some(span) = self.schedule.due(now.saturating_sub(self.begun)) else {
            let next = self.schedule.next_at();
            let wake = next.map_or_else(|| self.plan_ends(), |next| self.begun + next);
            return Ok(Some(wake));
        };
        let open_bytes = self.open.as_ref().map_or(0, |(batch, _)| batch.len());
        if self.sealed_bytes + open_bytes >= self.settings.max_backlog {
            recorder.left_out(span.rows);
        } else {
            self.make(span, now, recorder)?;
        }
        Ok(None)
    }

    fn make(&mut self, span: Span, now: Duration, recorder: &mut Recorder) -> Result<(), Failure> {
        let intended = self.begun + span.intended;
        recorder.offered(span.rows, now.saturating_sub(intended));
        self.backlog_rows += span.rows;
        for row in span.first..span.first + span.rows {
            self.make_row(row, intended, now)?;
        }
        Ok(())
    }

    fn make_row(&mut self, row: u64, intended: Duration, now: Duration) -> Result<(), Failure> {
        let (batch, notes) = match &mut self.open {
            Some(open) => open,
            None => {
                self.next_id += 1;
                let batch = new_batch(self.next_id, row, self.started + now);
                self.open.insert((batch, Notes::new()))
            }
        };
        let start = batch.len();
        self.rows.write(batch.buffer());
        let rest = batch.row_written(start, &self.limits).map_err(|oversize| {
            Failure::definite(Exit::Usage, oversize.to_string(), "choose smaller rows")
        })?;
        let Some(line) = rest else {
            note(notes, intended);
            return Ok(());
        };
        self.seal(now);
        self.next_id += 1;
        let mut batch = new_batch(self.next_id, row, self.started + now);
        batch.buffer().extend_from_slice(&line);
        // A line that was refused only because the batch was full is taken by an empty one.
        let _ = batch.row_written(0, &self.limits);
        self.open = Some((batch, vec![(intended, 1)]));
        Ok(())
    }

    /// When the open batch has waited long enough.
    pub(super) fn flush_at(&self) -> Option<Duration> {
        let (_, notes) = self.open.as_ref()?;
        let (first, _) = notes.first()?;
        Some(*first + self.settings.flush_interval)
    }

    /// The batches that the client gets now.
    pub(super) fn sealed(&mut self, now: Duration) -> Vec<SealedBatch> {
        if self.flush_at().is_some_and(|at| at <= now) || self.offering_is_over(now) {
            self.seal(now);
        }
        std::mem::take(&mut self.sealed)
    }

    fn seal(&mut self, now: Duration) {
        if let Some((batch, notes)) = self.open.take() {
            let batch: SealedBatch = batch.seal();
            self.sealed_bytes += batch.bytes().len();
            let sealed_at = now;
            self.under_way
                .insert(batch.id, UnderWay { notes, sealed_at });
            self.sealed.push(batch);
        }
    }

    /// The batch of this number, with so many bytes, is acknowledged.
    pub(super) fn arrived(
        &mut self,
        now: Duration,
        (id, bytes): (u64, usize),
        recorder: &mut Recorder,
    ) {
        let Some(batch) = self.under_way.remove(&id) else {
            return;
        };
        self.sealed_bytes -= bytes;
        recorder.acknowledged_bytes(bytes as u64);
        for (intended, rows) in batch.notes {
            let latency = now.saturating_sub(intended);
            self.backlog_rows -= rows;
            recorder.acknowledged(rows, latency);
            self.count(intended, latency, rows);
        }
    }

    fn count(&mut self, intended: Duration, latency: Duration, rows: u64) {
        if intended >= self.begun + self.settings.warm_up {
            add_latency(&mut self.latencies, latency, rows);
        }
    }

    /// The second that began at `began` is over. Gives the rows that the plan has for it, and the backlog in rows and bytes.
    pub(super) fn close_second(
        &self,
        began: Duration,
        recorder: &mut Recorder,
    ) -> (u64, (u64, u64)) {
        let waited = |batch: &UnderWay| batch.sealed_at <= began;
        if self.under_way.values().any(waited) {
            recorder.waited();
        }
        let open_bytes = self.open.as_ref().map_or(0, |(batch, _)| batch.len());
        let bytes = (self.sealed_bytes + open_bytes) as u64;
        let passed = began.saturating_sub(self.begun).as_secs();
        let second = u32::try_from(passed).unwrap_or(u32::MAX);
        let intended_rows = self.schedule.intended_in(second);
        (intended_rows, (self.backlog_rows, bytes))
    }

    /// Gives up what is not acknowledged: its rows count in the percentiles with their age, which is the least that they
    /// would have waited. Gives these ages.
    pub(super) fn give_up(&mut self, now: Duration) -> Histogram<u64> {
        let under_way = std::mem::take(&mut self.under_way).into_values();
        let open = self.open.take().map(|(_, notes)| notes);
        let mut ages = latency_histogram();
        for (intended, rows) in under_way.map(|it| it.notes).chain(open).flatten() {
            let age = now.saturating_sub(intended);
            self.count(intended, age, rows);
            add_latency(&mut ages, age, rows);
        }
        ages
    }
}

/// Counts a row that was meant for this time.
fn note(notes: &mut Notes, intended: Duration) {
    match notes.last_mut() {
        Some((at, rows)) if *at == intended => *rows += 1,
        _ => notes.push((intended, 1)),
    }
}

fn new_batch(id: u64, row: u64, opened_at: Instant) -> Batch {
    let first = RowPlace {
        transaction: FilePosition::new("load", 0),
        gtid: None,
        ordinal: row,
        commit_time_us: 0,
    };
    Batch::new(id, 0, first, opened_at)
}
