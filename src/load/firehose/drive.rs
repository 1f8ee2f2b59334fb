//! The open loop's clock: rows that are due go to the client, acknowledgements come back, seconds close.
//!
//! What lives here: the loop and its priorities. What does not: what is made and what becomes of it
//! ([`super::open_loop`]), what is counted ([`crate::load::measure::record`]), and the client itself
//! ([`crate::sink::Delivery`]), which is the agent's own.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Failure;
use crate::signals::{SignalRequest, Signals};
use crate::sink::{Delivery, Sink};

use super::open_loop::{OpenLoop, Settings};
use super::plan::RatePlan;
use super::watch::Watched;
use crate::load::measure::record::latency_histogram;
use crate::load::measure::verdict::MissedRows;
use crate::load::rows::RowMaker;
use crate::load::session::Session;

/// How long rows are made before acknowledgements are looked at again.
const TURN: Duration = Duration::from_millis(2);

/// How a part of a run ended.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Planned rows without an acknowledgement.
    pub(super) missed: MissedRows,
    /// From the intended time of each row, warmed up, to its acknowledgement, or to the end without one.
    pub(super) latencies: Histogram<u64>,
    /// The seconds that the plan took, without those that only waited.
    pub(super) planned_seconds: u32,
    /// The signal that ended it.
    pub(super) stopped: Option<&'static str>,
    /// The failure that ended it.
    pub(super) failure: Option<Failure>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            missed: MissedRows::default(),
            latencies: latency_histogram(),
            planned_seconds: 0,
            stopped: None,
            failure: None,
        }
    }
}

struct Drive<'a, S> {
    session: &'a mut Session,
    sink: Watched<S>,
    delivery: Delivery<Watched<S>>,
    rows: OpenLoop<'a>,
    begun_s: u32,
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
    let begun_s = session.recorder.second();
    let begun = Duration::from_secs(begun_s.into());
    let limits = sink.profile().limits;
    let mut drive = Drive {
        delivery: Delivery::new(sink.clone(), 1),
        rows: OpenLoop::new(
            plan,
            rows,
            limits,
            settings,
            (session.instant(Duration::ZERO), begun),
        ),
        session,
        sink,
        begun_s,
        stopped: None,
    };
    let failure = drive.run(signals).await.err();
    if !drive.rows.is_over(drive.session.elapsed()) {
        // It ended within a second, by a failure or because nothing more was to be waited for.
        drive.close_second();
    }
    let unacknowledged = drive.rows.backlog_rows();
    let ages = drive.rows.give_up(drive.session.elapsed());
    drive.session.given_up(&ages);
    let planned = drive.rows.schedule().plan().length_s().ceil() as u32;
    let passed = drive.session.recorder.second() - begun_s;
    let never_made = if drive.stopped.is_some() || failure.is_some() {
        0
    } else {
        drive.rows.schedule().left()
    };
    Outcome {
        missed: MissedRows {
            never_made,
            unacknowledged,
        },
        latencies: drive.rows.latencies().clone(),
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
                if self.rows.is_over(now) {
                    return Ok(());
                }
            }
            let wake = self.offer()?;
            now = self.session.elapsed();
            for batch in self.rows.sealed(now) {
                self.delivery.push(batch);
            }
            let flush = self.rows.flush_at().unwrap_or(Duration::MAX);
            let wake = wake.min(flush).min(self.session.second_ends());
            let wake = self.session.instant(wake);
            tokio::select! {
                // A stop is never kept waiting; acknowledgements are timed here, so they come
                // before the timer; the timer leads back to the rows that are due.
                biased;
                asked = signals.next() => match asked {
                    // The second time nothing is waited for.
                    SignalRequest::Stop(_) if self.stopped.is_some() => return Ok(()),
                    SignalRequest::Stop(signal) => {
                        self.stopped = Some(signal);
                        self.rows.stop(self.session.elapsed());
                    }
                    SignalRequest::Progress => {}
                },
                delivered = self.delivery.next() => {
                    let delivered = delivered?;
                    let now = self.session.elapsed();
                    let batch = (delivered.id, delivered.bytes);
                    self.rows.arrived(now, batch, &mut self.session.recorder);
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Makes the rows that are due, for a while, and says when to come again.
    fn offer(&mut self) -> Result<Duration, Failure> {
        let turn = Instant::now();
        loop {
            let now = self.session.elapsed();
            if let Some(wake) = self.rows.offer(now, &mut self.session.recorder)? {
                return Ok(wake);
            }
            if turn.elapsed() >= TURN {
                return Ok(now);
            }
        }
    }

    fn close_second(&mut self) {
        let recorder = &mut self.session.recorder;
        let passed = recorder.second() - self.begun_s;
        let began = Duration::from_secs(recorder.second().into());
        let (intended, backlog) = self.rows.close_second(began, recorder);
        let second = self
            .session
            .close_second(intended, self.sink.wire(), backlog);
        self.session.live.second(&second, passed + 1);
    }
}
