//! PURE. Which batch is sent when, and what becomes of it after an attempt.
//!
//! What lives here: the order of batches, how much may be under way, the pace of each stream, the
//! waits between attempts, and when a failure is final. What does not: the attempts themselves and
//! the clock (see [`super::Delivery`]). Time is an argument, and so is the seed of chance.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use backon::ExponentialBackoff;

use crate::Failure;
use crate::batch::SealedBatch;
use crate::error::Fault;
use crate::pace::{Cost, Pacer};
use crate::waits;

use super::{Attempted, SinkProfile, StagedObject};

/// How often a lasting failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A batch that the sink has for good, visible or staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The batch's number in the ledger.
    pub id: u64,
    /// Bytes of its lines.
    pub bytes: usize,
    /// Its rows.
    pub row_count: usize,
    /// The index of its table.
    pub table: usize,
    /// The object that has ended with it.
    pub object: Option<Box<StagedObject>>,
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

/// The state of all batches that have not arrived.
///
/// Contract: [`AttemptSchedule::push`] sealed batches. [`AttemptSchedule::start_attempts`] hands out the attempts
/// that start now and says when to call it again; call it after each push and each answer, too.
/// Every attempt comes back to [`AttemptSchedule::answered`] with its result. `now` never goes back.
#[derive(Debug)]
pub(super) struct AttemptSchedule {
    profile: SinkProfile,
    /// One for each table, of which those that share another's place are not used.
    lanes: Vec<Lane>,
    /// The lane of each table.
    lane_of: Vec<usize>,
    /// The lane that was served first the last time.
    lanes_offset: usize,
    /// Batches that wait in all lanes.
    waiting: usize,
    attempts_under_way: usize,
    bytes_under_way: u64,
    jitter_seed: u64,
    stats: DeliveryStats,
    outage: Option<Outage>,
}

/// What waits to be sent to one place.
#[derive(Debug)]
struct Lane {
    pacer: Option<Pacer>,
    /// The one that the pacer is being asked about.
    next: Option<Shipment>,
    waiting: VecDeque<Shipment>,
    /// Attempts under way.
    under_way: usize,
    /// Whether one batch is sent after the other.
    in_order: bool,
    /// Whether the place has taken anything yet.
    has_taken: bool,
    /// The first of the definite failures since it last took something.
    denied_since: Option<Instant>,
}

/// A batch and those of its records that have not arrived.
#[derive(Debug)]
struct Shipment {
    batch: SealedBatch,
    records: Vec<usize>,
    /// Of these records.
    cost: Cost,
    backoff: Option<ExponentialBackoff>,
    not_before: Option<Instant>,
}

/// An attempt that was started. It holds its batch until its result is known.
#[derive(Debug)]
pub(super) struct Attempt {
    shipment: Shipment,
    sent_at: Instant,
}

/// Failures without a success between them, so that they are logged now and then and not one by one.
#[derive(Debug)]
struct Outage {
    since: Instant,
    logged_at: Instant,
    failures: u64,
}

/// What an attempt has led to.
#[derive(Debug, PartialEq)]
pub(super) struct SettledBatch {
    /// The batch, if all of it has arrived.
    pub(super) delivered: Option<Delivered>,
    /// What is to be logged.
    pub(super) notice: Option<Notice>,
}

/// What is logged of failures that are tried again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The newest of so many failures.
    Failing { failures: u64, what: String },
    /// The first success after so many failures, and how long after the first of them it came.
    Recovered { failures: u64, after: Duration },
}

impl Attempt {
    pub(super) fn batch(&self) -> &SealedBatch {
        &self.shipment.batch
    }

    /// The indices of the records that are sent.
    pub(super) fn records(&self) -> &[usize] {
        &self.shipment.records
    }
}

impl AttemptSchedule {
    /// An empty schedule for tables with these lanes; each lane is named after one of its tables. Random parts of waits follow from
    /// the seed.
    pub(super) fn new(
        profile: SinkProfile,
        lane_of: Vec<usize>,
        jitter_seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            lanes: lane_of.iter().map(|_| Lane::new(&profile, now)).collect(),
            lane_of,
            profile,
            lanes_offset: 0,
            waiting: 0,
            attempts_under_way: 0,
            bytes_under_way: 0,
            jitter_seed,
            stats: DeliveryStats::default(),
            outage: None,
        }
    }

    /// The number of tables.
    pub(super) fn table_count(&self) -> usize {
        self.lane_of.len()
    }

    /// One more table, with this lane.
    pub(super) fn follow(&mut self, lane: usize, now: Instant) {
        self.lanes.push(Lane::new(&self.profile, now));
        self.lane_of.push(lane);
    }

    pub(super) fn stats(&self) -> DeliveryStats {
        self.stats
    }

    /// The share of its stream's quotas that a table uses at `now`.
    pub(super) fn quota_share(&mut self, table: usize, now: Instant) -> f64 {
        let pacer = self.lanes[self.lane_of[table]].pacer.as_mut();
        pacer.map_or(1.0, |pacer| pacer.share(now))
    }

    /// Puts a batch in line. One for a table that was not announced is a programming error.
    pub(super) fn push(&mut self, batch: SealedBatch) {
        let lane = self.lane_of[batch.table];
        let records: Vec<usize> = (0..batch.record_count()).collect();
        self.waiting += 1;
        self.lanes[lane].waiting.push_back(Shipment {
            cost: cost(&batch, &records),
            batch,
            records,
            backoff: None,
            not_before: None,
        });
    }

    /// Whether no batch could be started, at whatever time.
    pub(super) fn is_held_up(&self) -> bool {
        self.waiting == 0 || self.attempts_under_way >= self.profile.concurrency
    }

    /// Hands the attempts that start now to `start`, and says when to look again if no answer comes
    /// before.
    pub(super) fn start_attempts(
        &mut self,
        now: Instant,
        mut start: impl FnMut(Attempt),
    ) -> Option<Instant> {
        let mut wake: Option<Instant> = None;
        // The first in line changes, so that a busy place does not hold up the others.
        self.lanes_offset = (self.lanes_offset + 1) % self.lanes.len().max(1);
        let (after, first) = self.lanes.split_at_mut(self.lanes_offset);
        for lane in first.iter_mut().chain(after) {
            while self.attempts_under_way < self.profile.concurrency {
                let most = self.profile.most_bytes_under_way as u64;
                let room = match self.bytes_under_way {
                    0 => u64::MAX,
                    bytes => most.saturating_sub(bytes),
                };
                match lane.take_next(now, room) {
                    Ok(shipment) => {
                        lane.under_way += 1;
                        self.waiting -= 1;
                        self.attempts_under_way += 1;
                        self.bytes_under_way += shipment.cost.bytes;
                        self.stats.attempts += 1;
                        start(Attempt {
                            shipment,
                            sent_at: now,
                        });
                    }
                    Err(at) => {
                        wake = [wake, at].into_iter().flatten().min();
                        break;
                    }
                }
            }
        }
        wake
    }

    /// Takes in the result of an attempt.
    ///
    /// # Errors
    /// A failure that trying again will not mend.
    pub(super) fn answered(
        &mut self,
        attempt: Attempt,
        attempted: Attempted,
        now: Instant,
    ) -> Result<SettledBatch, Failure> {
        let Attempt {
            mut shipment,
            sent_at,
        } = attempt;
        let Attempted {
            result,
            slow_down,
            object,
        } = attempted;
        self.attempts_under_way -= 1;
        self.bytes_under_way -= shipment.cost.bytes;
        self.stats.slow_downs += u64::from(slow_down);
        let lane = &mut self.lanes[self.lane_of[shipment.batch.table]];
        lane.under_way -= 1;
        let mut latest = None;
        let what = match result {
            Ok(refused) => {
                let sent = (shipment.records.len(), shipment.cost);
                shipment.cost = cost(&shipment.batch, &refused);
                shipment.records = refused;
                let accepted = sent.1.without(shipment.cost);
                lane.took(sent_at, now, accepted, slow_down);
                if shipment.records.is_empty() {
                    return Ok(SettledBatch {
                        delivered: Some(self.delivered(&shipment.batch, object)),
                        notice: self.recovered(now),
                    });
                }
                let refused = shipment.records.len();
                self.stats.records_refused += refused as u64;
                format!("{refused} of {} records refused", sent.0)
            }
            Err(error) => {
                lane.took(sent_at, now, Cost::default(), slow_down);
                latest = match error.fault {
                    Fault::Definite | Fault::Uncertain => {
                        Some(lane.bear(now, self.profile.patience, &error)?)
                    }
                    Fault::Transient => None,
                };
                self.stats.attempts_failed += 1;
                error.what
            }
        };
        shipment.wait(now, latest, self.jitter_seed);
        self.waiting += 1;
        lane.waiting.push_front(shipment);
        Ok(SettledBatch {
            delivered: None,
            notice: self.failed(now, what),
        })
    }

    fn delivered(&mut self, batch: &SealedBatch, object: Option<Box<StagedObject>>) -> Delivered {
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
            table: batch.table,
            object,
        }
    }

    fn failed(&mut self, now: Instant, what: String) -> Option<Notice> {
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            logged_at: now,
            failures: 0,
        });
        outage.failures += 1;
        let is_due = now.duration_since(outage.logged_at) >= LOG_INTERVAL;
        (outage.failures == 1 || is_due).then(|| {
            outage.logged_at = now;
            let failures = outage.failures;
            Notice::Failing { failures, what }
        })
    }

    fn recovered(&mut self, now: Instant) -> Option<Notice> {
        self.outage.take().map(|outage| Notice::Recovered {
            failures: outage.failures,
            after: now.duration_since(outage.since),
        })
    }
}

impl Lane {
    fn new(profile: &SinkProfile, now: Instant) -> Self {
        let bytes = profile.limits.bytes;
        Self {
            pacer: profile.quota.map(|quota| Pacer::new(&quota, bytes, now)),
            next: None,
            waiting: VecDeque::new(),
            under_way: 0,
            in_order: profile.is_staging,
            has_taken: false,
            denied_since: None,
        }
    }

    /// The batch whose attempt starts now, if it has no more bytes than this; else when to ask again,
    /// if time alone will help.
    fn take_next(&mut self, now: Instant, room: u64) -> Result<Shipment, Option<Instant>> {
        if self.in_order && self.under_way > 0 {
            return Err(None);
        }
        let shipment = match self.next.take() {
            Some(shipment) => shipment,
            None => self.take_ready(now)?,
        };
        let cost = shipment.cost;
        let admitted = match &mut self.pacer {
            _ if cost.bytes > room => Err(None),
            Some(pacer) => pacer.admit(now, cost).map_err(|wait| Some(now + wait)),
            None => Ok(()),
        };
        if let Err(at) = admitted {
            self.next = Some(shipment);
            return Err(at);
        }
        Ok(shipment)
    }

    /// The first batch that may be sent now, else when the first will be: one that waits after a
    /// failure does not hold up the others.
    fn take_ready(&mut self, now: Instant) -> Result<Shipment, Option<Instant>> {
        let ready = |shipment: &Shipment| shipment.not_before.is_none_or(|at| at <= now);
        let in_line = if self.in_order { 1 } else { self.waiting.len() };
        self.waiting
            .iter()
            .take(in_line)
            .position(ready)
            .and_then(|index| self.waiting.remove(index))
            .ok_or_else(|| {
                self.waiting
                    .iter()
                    .filter_map(|shipment| shipment.not_before)
                    .min()
            })
    }

    /// Takes in what the place made of an attempt.
    fn took(&mut self, sent_at: Instant, now: Instant, accepted: Cost, slow_down: bool) {
        if let Some(pacer) = &mut self.pacer {
            pacer.answered(sent_at, now, accepted, slow_down);
        }
        if accepted != Cost::default() {
            self.has_taken = true;
            self.denied_since = None;
        }
    }

    /// Whether a definite failure is tried again, and until when: as long as there is patience, if the
    /// place has taken something before.
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
    /// Sets the time of the next attempt: exponential, with jitter, without a last one, and not
    /// later than the given time.
    fn wait(&mut self, now: Instant, latest: Option<Instant>, jitter_seed: u64) {
        let seed = jitter_seed.wrapping_add(self.batch.id);
        let backoff = self.backoff.get_or_insert_with(|| waits::endless(seed));
        let next = backoff.next().map(|delay| now + delay);
        self.not_before = [next, latest].into_iter().flatten().min();
    }
}

fn cost(batch: &SealedBatch, records: &[usize]) -> Cost {
    let bytes = records
        .iter()
        .map(|index| batch.record(*index).len() as u64)
        .sum();
    Cost {
        records: u32::try_from(records.len()).unwrap_or(u32::MAX),
        bytes,
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
