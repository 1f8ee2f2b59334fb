//! The open loop: rows that are due go to the client, acknowledgements come back, seconds close.
//!
//! What lives here: the loop and its priorities. What does not: when a row is due
//! ([`super::schedule`]), what is counted ([`crate::load::measure::record`]), and the client itself
//! ([`crate::sink::Delivery`]), which is the agent's own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::batch::{Batch, RowPlace, SealedBatch};
use crate::binlog::FilePosition;
use crate::signals::{SignalRequest, Signals};
use crate::sink::{Delivered, Delivery, Sink};
use crate::{Exit, Failure};

use super::plan::RatePlan;
use super::schedule::{RowSchedule, Span};
use super::watch::Watched;
use crate::load::rows::RowMaker;
use crate::load::session::Session;

/// How long rows are made before acknowledgements are looked at again.
const TURN: Duration = Duration::from_millis(2);
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
}

/// How a part of a run ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Planned rows that were not made in time to be offered.
    pub(super) never_made_rows: u64,
    /// Offered rows that were not acknowledged.
    pub(super) unacknowledged_rows: u64,
    /// The seconds that the plan took, without those that only waited.
    pub(super) planned_seconds: u32,
    /// The signal that ended it.
    pub(super) stopped: Option<&'static str>,
    /// The failure that ended it.
    pub(super) failure: Option<Failure>,
}

/// Rows of a batch by the time that they were meant for.
type Notes = Vec<(Duration, u64)>;

struct Drive<'a, S> {
    session: &'a mut Session,
    sink: Watched<S>,
    delivery: Delivery<Watched<S>>,
    schedule: RowSchedule,
    rows: &'a mut RowMaker,
    settings: Settings,
    /// Since the start of the session.
    begun: Duration,
    open: Option<(Batch, Notes)>,
    under_way: HashMap<u64, Notes>,
    next_id: u64,
    sealed_bytes: usize,
    backlog_rows: u64,
    stopped: Option<&'static str>,
}

/// Sends what a plan has, from the next second of the session on.
pub(super) async fn drive<S: Sink>(
    session: &mut Session,
    sink: Watched<S>,
    plan: RatePlan,
    rows: &mut RowMaker,
    settings: Settings,
    signals: &mut Signals,
) -> Outcome {
    let begun = Duration::from_secs(session.recorder.second().into());
    let mut drive = Drive {
        delivery: Delivery::new(sink.clone(), 1),
        schedule: RowSchedule::new(plan),
        session,
        sink,
        rows,
        settings,
        begun,
        open: None,
        under_way: HashMap::new(),
        next_id: 0,
        sealed_bytes: 0,
        backlog_rows: 0,
        stopped: None,
    };
    let failure = drive.run(signals).await.err();
    let planned = drive.schedule.plan().length_s().ceil() as u32;
    let passed = drive.session.recorder.second() - u32::try_from(begun.as_secs()).unwrap_or(0);
    Outcome {
        never_made_rows: if drive.stopped.is_some() || failure.is_some() {
            0
        } else {
            drive.schedule.left()
        },
        unacknowledged_rows: drive.backlog_rows,
        planned_seconds: planned.min(passed),
        stopped: drive.stopped,
        failure,
    }
}

impl<S: Sink> Drive<'_, S> {
    async fn run(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        loop {
            let mut now = self.session.elapsed();
            while self.session.second_ends() <= now {
                self.close_second();
                if self.is_over(now) {
                    return Ok(());
                }
            }
            let wake = self.offer()?;
            now = self.session.elapsed();
            if self.open_is_due(now) || self.offering_is_over(now) {
                self.seal();
            }
            let flush = self.flush_at().unwrap_or(Duration::MAX);
            let wake = wake.min(flush).min(self.session.second_ends());
            let wake = self.session.instant(wake);
            tokio::select! {
                // A stop is never kept waiting; acknowledgements are timed here, so they come
                // before the timer; the timer leads back to the rows that are due.
                biased;
                asked = signals.next() => match asked {
                    // The second time nothing is waited for.
                    SignalRequest::Stop(_) if self.stopped.is_some() => return Ok(()),
                    SignalRequest::Stop(signal) => self.stopped = Some(signal),
                    SignalRequest::Progress => {}
                },
                delivered = self.delivery.next() => self.arrived(delivered?),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn plan_ends(&self) -> Duration {
        self.begun + self.schedule.plan().length()
    }

    fn offering_is_over(&self, now: Duration) -> bool {
        let all_made = self.schedule.left() == 0 && now >= self.plan_ends();
        self.stopped.is_some() || all_made || now >= self.plan_ends() + GRACE
    }

    fn is_over(&self, now: Duration) -> bool {
        let waited_enough = now >= self.plan_ends() + self.settings.patience;
        self.offering_is_over(now) && (self.backlog_rows == 0 || waited_enough)
    }

    /// Makes the rows that are due, for a while, and says when to come again.
    fn offer(&mut self) -> Result<Duration, Failure> {
        let turn = Instant::now();
        loop {
            let now = self.session.elapsed();
            if self.offering_is_over(now) {
                return Ok(Duration::MAX);
            }
            let Some(span) = self.schedule.due(now.saturating_sub(self.begun)) else {
                let next = self.schedule.next_at();
                return Ok(next.map_or_else(|| self.plan_ends(), |next| self.begun + next));
            };
            let open_bytes = self.open.as_ref().map_or(0, |(batch, _)| batch.len());
            if self.sealed_bytes + open_bytes >= self.settings.max_backlog {
                self.session.recorder.left_out(span.rows);
            } else {
                self.make(span)?;
            }
            if turn.elapsed() >= TURN {
                return Ok(now);
            }
        }
    }

    fn make(&mut self, span: Span) -> Result<(), Failure> {
        let intended = self.begun + span.intended;
        let late = self.session.elapsed().saturating_sub(intended);
        self.session.recorder.offered(span.rows, late);
        self.backlog_rows += span.rows;
        for row in span.first..span.first + span.rows {
            self.make_row(row, intended)?;
        }
        Ok(())
    }

    fn make_row(&mut self, row: u64, intended: Duration) -> Result<(), Failure> {
        let limits = self.sink.profile().limits;
        let (batch, notes) = match &mut self.open {
            Some(open) => open,
            None => {
                self.next_id += 1;
                let batch = new_batch(self.next_id, row);
                self.open.insert((batch, Notes::new()))
            }
        };
        let start = batch.len();
        self.rows.write(batch.buffer());
        let rest = batch.row_written(start, &limits).map_err(|oversize| {
            Failure::definite(Exit::Usage, oversize.to_string(), "choose smaller rows")
        })?;
        let Some(line) = rest else {
            note(notes, intended);
            return Ok(());
        };
        self.seal();
        self.next_id += 1;
        let mut batch = new_batch(self.next_id, row);
        batch.buffer().extend_from_slice(&line);
        // A line that was refused only because the batch was full is taken by an empty one.
        let _ = batch.row_written(0, &limits);
        self.open = Some((batch, vec![(intended, 1)]));
        Ok(())
    }

    fn flush_at(&self) -> Option<Duration> {
        let (_, notes) = self.open.as_ref()?;
        let (first, _) = notes.first()?;
        Some(*first + self.settings.flush_interval)
    }

    fn open_is_due(&self, now: Duration) -> bool {
        self.flush_at().is_some_and(|at| at <= now)
    }

    fn seal(&mut self) {
        if let Some((batch, notes)) = self.open.take() {
            let batch: SealedBatch = batch.seal();
            self.sealed_bytes += batch.bytes().len();
            self.under_way.insert(batch.id, notes);
            self.delivery.push(batch);
        }
    }

    fn arrived(&mut self, delivered: Delivered) {
        let now = self.session.elapsed();
        self.sealed_bytes -= delivered.bytes;
        self.backlog_rows -= delivered.row_count as u64;
        let recorder = &mut self.session.recorder;
        recorder.acknowledged_bytes(delivered.bytes as u64);
        for (intended, rows) in self.under_way.remove(&delivered.id).unwrap_or_default() {
            recorder.acknowledged(rows, now.saturating_sub(intended));
        }
    }

    fn close_second(&mut self) {
        let begun_s = u32::try_from(self.begun.as_secs()).unwrap_or(u32::MAX);
        let passed = self.session.recorder.second() - begun_s;
        let open_bytes = self.open.as_ref().map_or(0, |(batch, _)| batch.len());
        let backlog = (self.backlog_rows, (self.sealed_bytes + open_bytes) as u64);
        let intended = self.schedule.intended_in(passed);
        let second = self
            .session
            .close_second(intended, self.sink.wire(), backlog);
        self.session.live.second(&second, passed + 1);
    }
}

/// Counts a row that was meant for this time.
fn note(notes: &mut Notes, intended: Duration) {
    match notes.last_mut() {
        Some((at, rows)) if *at == intended => *rows += 1,
        _ => notes.push((intended, 1)),
    }
}

fn new_batch(id: u64, row: u64) -> Batch {
    let first = RowPlace {
        transaction: FilePosition::new("load", 0),
        gtid: None,
        ordinal: row,
        commit_time_us: 0,
    };
    Batch::new(id, 0, first, Instant::now())
}
