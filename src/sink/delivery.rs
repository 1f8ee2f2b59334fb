//! The tasks around the schedule: they make its attempts and read the clock for it.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Failure;
use crate::batch::SealedBatch;

use super::schedule::{Attempt, AttemptSchedule, Delivered, DeliveryStats, Notice, SettledBatch};
use super::{Attempted, Sink, SinkTable, TableFolder};

/// Batches between the loop and the sink.
///
/// Contract: [`Delivery::push`] sealed batches; await [`Delivery::next`] for those that arrived.
/// `next` may be dropped at any await and called again: nothing is lost.
#[derive(Debug)]
pub struct Delivery<S> {
    sink: Arc<S>,
    schedule: AttemptSchedule,
    attempts: JoinSet<(Attempt, Attempted)>,
}

impl<S: Sink> Delivery<S> {
    /// A dispatcher for so many tables.
    #[must_use]
    pub fn new(sink: S, table_count: usize) -> Self {
        let profile = sink.profile();
        let lanes = (0..table_count).map(|table| sink.lane(table)).collect();
        Self {
            sink: Arc::new(sink),
            schedule: AttemptSchedule::new(profile, lanes, rand::random(), Instant::now()),
            attempts: JoinSet::new(),
        }
    }

    /// Serves one more table; its index is the next one.
    ///
    /// # Errors
    /// If the sink cannot take its rows.
    pub fn follow(&mut self, table: SinkTable, folder: TableFolder) -> Result<(), Failure> {
        let index = self.schedule.table_count();
        self.sink.follow(table, folder)?;
        self.schedule.follow(self.sink.lane(index), Instant::now());
        Ok(())
    }

    /// The sink.
    #[must_use]
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> DeliveryStats {
        self.schedule.stats()
    }

    /// The share of its stream's quotas that a table uses now: 1, unless the stream gives less.
    pub fn quota_share(&mut self, table: usize) -> f64 {
        self.schedule.quota_share(table, Instant::now())
    }

    /// Puts a batch in line. One for a table that was not announced is a programming error.
    pub fn push(&mut self, batch: SealedBatch) {
        self.schedule.push(batch);
    }

    /// The next batch that has arrived whole. Waits for ever if nothing is in line.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub async fn next(&mut self) -> Result<Delivered, Failure> {
        loop {
            let wake = self.start_attempts();
            let timer = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.attempts.join_next() => {
                    let (attempt, attempted) = match done {
                        Ok(done) => done,
                        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                    };
                    let SettledBatch { delivered, notice } =
                        self.schedule.answered(attempt, attempted, Instant::now())?;
                    if let Some(notice) = notice {
                        log(&notice);
                    }
                    if let Some(delivered) = delivered {
                        return Ok(delivered);
                    }
                }
                () = timer => {}
            }
        }
    }

    /// Starts what may start now, and says when to look again.
    fn start_attempts(&mut self) -> Option<Instant> {
        // The loop asks after each event that it reads; nearly always there is nothing to start.
        if self.schedule.is_held_up() {
            return None;
        }
        self.schedule.start_attempts(Instant::now(), |attempt| {
            let sink = Arc::clone(&self.sink);
            self.attempts.spawn(async move {
                let attempted = sink.attempt(attempt.batch(), attempt.records()).await;
                (attempt, attempted)
            });
        })
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Failing { failures, what } => {
            warn!(failures, "sink: {what}; trying again");
        }
        Notice::Recovered { failures, after } => {
            let seconds = after.as_secs_f32();
            info!(failures, "sink: delivering again after {seconds:.1} s");
        }
    }
}
