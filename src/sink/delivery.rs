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

use super::{Attempted, Sink, SinkProfile};

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
    /// Answers that asked for a slower pace.
    pub slow_downs: u64,
    /// Records of the batches that arrived.
    pub records_delivered: u64,
    /// Their bytes.
    pub bytes_delivered: u64,
    /// Their bytes as they are billed, each record rounded up.
    pub billed_bytes: u64,
}

impl DeliveryStats {
    /// Bytes that are billed for each byte delivered; 1 if nothing was.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn billed_ratio(&self) -> f64 {
        if self.bytes_delivered == 0 {
            return 1.0;
        }
        self.billed_bytes as f64 / self.bytes_delivered as f64
    }
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
    under_way: JoinSet<(Shipment, Attempted)>,
    bytes_under_way: u64,
    /// The sink's.
    profile: SinkProfile,
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
    /// Whether the stream has taken anything yet.
    has_taken: bool,
    /// The first of the definite failures since it last took something.
    denied_since: Option<Instant>,
}

/// A batch and those of its records that have not arrived.
#[derive(Debug)]
struct Shipment {
    batch: Arc<SealedBatch>,
    records: Vec<usize>,
    /// When the attempt that is under way was started.
    sent_at: Instant,
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
        let profile = sink.profile();
        let bytes = profile.limits.bytes;
        let now = Instant::now();
        let lane = || Lane {
            pacer: profile.quota.map(|quota| Pacer::new(&quota, bytes, now)),
            next: None,
            waiting: VecDeque::new(),
            has_taken: false,
            denied_since: None,
        };
        let lanes = (0..table_count).map(|_| lane()).collect();
        Self {
            sink: Arc::new(sink),
            profile,
            lanes,
            lanes_offset: 0,
            under_way: JoinSet::new(),
            bytes_under_way: 0,
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

    /// The share of its stream's quotas that a table uses now: 1, unless the stream gives less.
    pub fn quota_share(&mut self, table: usize) -> f64 {
        let pacer = self.lanes[table].pacer.as_mut();
        pacer.map_or(1.0, |pacer| pacer.share(Instant::now()))
    }

    /// Puts a batch in line. One for a table that was not announced is a programming error.
    pub fn push(&mut self, batch: SealedBatch) {
        let records = (0..batch.record_count()).collect();
        let lane = &mut self.lanes[batch.table];
        lane.waiting.push_back(Shipment {
            batch: Arc::new(batch),
            records,
            sent_at: Instant::now(),
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
                    let (shipment, attempted) = match done {
                        Ok(done) => done,
                        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                    };
                    self.bytes_under_way -= shipment.cost().bytes;
                    if let Some(delivered) = self.settle(shipment, attempted)? {
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
            while self.under_way.len() < self.profile.concurrency {
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
                let Some(mut shipment) = lane.next.take() else {
                    break;
                };
                let cost = shipment.cost();
                let room =
                    (self.profile.most_bytes_under_way as u64).saturating_sub(self.bytes_under_way);
                if self.bytes_under_way > 0 && cost.bytes > room {
                    lane.next = Some(shipment);
                    break;
                }
                if let Some(pacer) = &mut lane.pacer
                    && let Err(wait) = pacer.admit(now, cost)
                {
                    lane.next = Some(shipment);
                    look_again(now + wait);
                    break;
                }
                let sink = Arc::clone(&self.sink);
                self.stats.attempts += 1;
                self.bytes_under_way += cost.bytes;
                shipment.sent_at = now;
                self.under_way.spawn(async move {
                    let attempted = sink.attempt(&shipment.batch, &shipment.records).await;
                    (shipment, attempted)
                });
            }
        }
        wake
    }

    /// Decides what becomes of a batch after an attempt.
    fn settle(
        &mut self,
        mut shipment: Shipment,
        attempted: Attempted,
    ) -> Result<Option<Delivered>, Failure> {
        let now = Instant::now();
        let Attempted { result, slow_down } = attempted;
        self.stats.slow_downs += u64::from(slow_down);
        let lane = &mut self.lanes[shipment.batch.table];
        let sent = shipment.cost();
        let mut latest = None;
        match result {
            Ok(refused) => {
                let sent_records = shipment.records.len();
                shipment.records = refused;
                let accepted = sent.without(shipment.cost());
                lane.took(shipment.sent_at, now, accepted, slow_down);
                if shipment.records.is_empty() {
                    self.recovered();
                    return Ok(Some(self.delivered(&shipment.batch)));
                }
                let refused = shipment.records.len();
                self.stats.records_refused += refused as u64;
                self.troubled(&format!("{refused} of {sent_records} records refused"));
            }
            Err(error) => {
                lane.took(shipment.sent_at, now, Cost::default(), slow_down);
                latest = match error.fault {
                    Fault::Definite | Fault::Uncertain => {
                        Some(lane.bear(now, self.profile.patience, &error)?)
                    }
                    Fault::Transient => None,
                };
                self.stats.attempts_failed += 1;
                self.troubled(&error.what);
            }
        }
        shipment.wait(now, latest);
        self.lanes[shipment.batch.table]
            .waiting
            .push_front(shipment);
        Ok(None)
    }

    fn delivered(&mut self, batch: &SealedBatch) -> Delivered {
        let records = (0..batch.record_count()).map(|index| batch.record(index).len());
        let billed =
            records.map(|bytes| bytes.next_multiple_of(self.profile.limits.step_bytes) as u64);
        self.stats.billed_bytes += billed.sum::<u64>();
        self.stats.bytes_delivered += batch.bytes().len() as u64;
        self.stats.records_delivered += batch.record_count() as u64;
        Delivered {
            id: batch.id,
            bytes: batch.bytes().len(),
            row_count: batch.row_count,
        }
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

    /// Takes in what the stream made of an attempt.
    fn took(&mut self, sent_at: Instant, now: Instant, accepted: Cost, slow_down: bool) {
        if let Some(pacer) = &mut self.pacer {
            pacer.answered(sent_at, now, accepted, slow_down);
        }
        if accepted != Cost::default() {
            self.has_taken = true;
            self.denied_since = None;
        }
    }

    /// Bears a definite failure until the answer, as long as there is patience.
    fn bear(
        &mut self,
        now: Instant,
        patience: Duration,
        error: &Failure,
    ) -> Result<Instant, Failure> {
        if !self.has_taken {
            return Err(error.clone());
        }
        let end = *self.denied_since.get_or_insert(now) + patience;
        if now < end {
            return Ok(end);
        }
        let mut error = error.clone();
        if !patience.is_zero() {
            error.what = format!("{} (again and again for {patience:?})", error.what);
        }
        Err(error)
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

    /// Sets the time of the next attempt: exponential, with jitter, without a last one, and not
    /// later than the given time.
    fn wait(&mut self, now: Instant, latest: Option<Instant>) {
        let backoff = self.backoff.get_or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(Duration::from_secs(10))
                .with_jitter()
                .without_max_times()
                .build()
        });
        let next = backoff.next().map(|delay| now + delay);
        self.not_before = match (next, latest) {
            (Some(next), Some(latest)) => Some(next.min(latest)),
            (next, latest) => next.or(latest),
        };
    }
}
