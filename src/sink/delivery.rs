//! The dispatcher: keeps each stream's pace, bounds what is under way, and tries again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::Failure;
use crate::batch::SealedBatch;
use crate::error::Fault;
use crate::pace::{Cost, Pacer};

use super::Sink;

/// How often a lasting failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A batch that the sink has for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The batch's number in the ledger.
    pub id: u64,
    /// Bytes of its lines.
    pub bytes: usize,
    /// Its rows.
    pub row_count: usize,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryStats {
    /// Attempts that were made.
    pub attempts: u64,
    /// Records that were refused in an answer that accepted others, and sent again.
    pub records_refused: u64,
    /// Attempts that failed as a whole and were made again.
    pub attempts_failed: u64,
}

/// Batches between the loop and the sink.
///
/// Contract: [`Delivery::push`] sealed batches; await [`Delivery::next`] for those that arrived.
/// `next` may be dropped at any await and called again: nothing is lost.
#[derive(Debug)]
pub struct Delivery<S> {
    sink: Arc<S>,
    lanes: Vec<Lane>,
    /// The lane that was served first the last time.
    lanes_offset: usize,
    under_way: JoinSet<(Shipment, Result<Vec<usize>, Failure>)>,
    stats: DeliveryStats,
    trouble: Option<Trouble>,
}

/// What waits for one stream.
#[derive(Debug)]
struct Lane {
    pacer: Option<Pacer>,
    /// The one that the pacer is being asked about.
    next: Option<Shipment>,
    waiting: VecDeque<Shipment>,
}

/// A batch and those of its records that have not arrived.
#[derive(Debug)]
struct Shipment {
    batch: Arc<SealedBatch>,
    records: Vec<usize>,
    backoff: Option<ExponentialBackoff>,
    not_before: Option<Instant>,
}

/// A failure that lasts, so that it is logged now and then and not for every attempt.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    logged: Instant,
    failures: u64,
}

impl<S: Sink> Delivery<S> {
    /// A dispatcher for as many streams as there are tables.
    #[must_use]
    pub fn new(sink: S, table_count: usize) -> Self {
        let request_bytes = sink.limits().bytes;
        let lane = || Lane {
            pacer: sink.quota().map(|quota| Pacer::new(&quota, request_bytes)),
            next: None,
            waiting: VecDeque::new(),
        };
        let lanes = (0..table_count).map(|_| lane()).collect();
        Self {
            sink: Arc::new(sink),
            lanes,
            lanes_offset: 0,
            under_way: JoinSet::new(),
            stats: DeliveryStats::default(),
            trouble: None,
        }
    }

    /// The sink.
    #[must_use]
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> DeliveryStats {
        self.stats
    }

    /// Puts a batch in line. One for a table that was not announced is a programming error.
    pub fn push(&mut self, batch: SealedBatch) {
        let records = (0..batch.record_count()).collect();
        let lane = &mut self.lanes[batch.table];
        lane.waiting.push_back(Shipment {
            batch: Arc::new(batch),
            records,
            backoff: None,
            not_before: None,
        });
    }

    /// The next batch that has arrived whole. Waits for ever if nothing is in line.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub async fn next(&mut self) -> Result<Delivered, Failure> {
        loop {
            let wake = self.dispatch(Instant::now());
            let timer = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(wake.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.under_way.join_next() => {
                    let (shipment, result) = match done {
                        Ok(done) => done,
                        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                    };
                    if let Some(delivered) = self.settle(shipment, result)? {
                        return Ok(delivered);
                    }
                }
                () = timer => {}
            }
        }
    }

    /// Starts what may start now, and says when to look again.
    fn dispatch(&mut self, now: Instant) -> Option<Instant> {
        let mut wake: Option<Instant> = None;
        let mut look_again = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        // The first in line changes, so that a busy stream does not hold up the others.
        self.lanes_offset = (self.lanes_offset + 1) % self.lanes.len().max(1);
        let (after, first) = self.lanes.split_at_mut(self.lanes_offset);
        for lane in first.iter_mut().chain(after) {
            while self.under_way.len() < self.sink.concurrency() {
                if lane.next.is_none() {
                    match lane.take_ready(now) {
                        Ok(shipment) => lane.next = Some(shipment),
                        Err(None) => break,
                        Err(Some(ready_at)) => {
                            look_again(ready_at);
                            break;
                        }
                    }
                }
                let Some(shipment) = lane.next.take() else {
                    break;
                };
                if let Some(pacer) = &mut lane.pacer
                    && let Err(wait) = pacer.admit(shipment.cost())
                {
                    lane.next = Some(shipment);
                    look_again(now + wait);
                    break;
                }
                let sink = Arc::clone(&self.sink);
                self.stats.attempts += 1;
                self.under_way.spawn(async move {
                    let result = sink.attempt(&shipment.batch, &shipment.records).await;
                    (shipment, result)
                });
            }
        }
        wake
    }

    /// Decides what becomes of a batch after an attempt.
    fn settle(
        &mut self,
        mut shipment: Shipment,
        result: Result<Vec<usize>, Failure>,
    ) -> Result<Option<Delivered>, Failure> {
        match result {
            Ok(refused) if refused.is_empty() => {
                self.recovered();
                return Ok(Some(Delivered {
                    id: shipment.batch.id,
                    bytes: shipment.batch.bytes().len(),
                    row_count: shipment.batch.row_count,
                }));
            }
            Ok(refused) => {
                self.stats.records_refused += refused.len() as u64;
                let sent = shipment.records.len();
                self.troubled(&format!("{} of {sent} records refused", refused.len()));
                shipment.records = refused;
            }
            Err(error) => match error.fault {
                Fault::Definite => return Err(error),
                Fault::Transient => {
                    self.stats.attempts_failed += 1;
                    self.troubled(&error.what);
                }
            },
        }
        shipment.wait();
        self.lanes[shipment.batch.table]
            .waiting
            .push_front(shipment);
        Ok(None)
    }

    fn troubled(&mut self, what: &str) {
        let now = Instant::now();
        let trouble = self.trouble.get_or_insert(Trouble {
            since: now,
            logged: now,
            failures: 0,
        });
        trouble.failures += 1;
        if trouble.failures == 1 || now.duration_since(trouble.logged) >= LOG_INTERVAL {
            trouble.logged = now;
            warn!(failures = trouble.failures, "sink: {what}; trying again");
        }
    }

    fn recovered(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            let seconds = trouble.since.elapsed().as_secs_f32();
            info!(
                failures = trouble.failures,
                "sink: delivering again after {seconds:.1} s"
            );
        }
    }
}

impl Lane {
    /// The first batch that may be sent now, else when the first will be: one that waits after a
    /// failure does not hold up the others.
    fn take_ready(&mut self, now: Instant) -> Result<Shipment, Option<Instant>> {
        let ready = |shipment: &Shipment| shipment.not_before.is_none_or(|at| at <= now);
        self.waiting
            .iter()
            .position(ready)
            .and_then(|index| self.waiting.remove(index))
            .ok_or_else(|| {
                self.waiting
                    .iter()
                    .filter_map(|shipment| shipment.not_before)
                    .min()
            })
    }
}

impl Shipment {
    fn cost(&self) -> Cost {
        let bytes = self
            .records
            .iter()
            .map(|index| self.batch.record(*index).len() as u64)
            .sum();
        Cost {
            records: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            bytes,
        }
    }

    /// Sets the time of the next attempt: exponential, with jitter, without a last one.
    fn wait(&mut self) {
        let backoff = self.backoff.get_or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(Duration::from_secs(10))
                .with_jitter()
                .without_max_times()
                .build()
        });
        self.not_before = backoff.next().map(|delay| Instant::now() + delay);
    }
}
