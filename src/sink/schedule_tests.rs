//! The schedule on a simulated clock, against sinks that refuse, fail and deny at random.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::Exit;
use crate::batch::{Batch, BatchLimits, RowPlace};
use crate::binlog::FilePosition;
use crate::config::limits::FirehoseQuota;

/// Each line is a record.
const LIMITS: BatchLimits = BatchLimits {
    row_bytes: usize::MAX,
    record_bytes: 1,
    records: usize::MAX,
    bytes: MOST_BATCH_BYTES,
    step_bytes: 1,
};
const MOST_BATCH_BYTES: usize = 500;
const QUOTA: FirehoseQuota = FirehoseQuota {
    requests: 20,
    records: 100,
    bytes: 2_000,
};
const SECOND: Duration = Duration::from_secs(1);

fn batch(id: u64, table: usize, line_lens: &[usize]) -> SealedBatch {
    let first = RowPlace {
        transaction: FilePosition::new("b.000001", 4),
        gtid: None,
        ordinal: 0,
        commit_time_us: 0,
    };
    let mut batch = Batch::new(id, table, first, Instant::now());
    for len in line_lens {
        let start = batch.len();
        batch.buffer().resize(start + len, b'\n');
        assert_eq!(batch.row_written(start, &LIMITS), Ok(None));
    }
    batch.seal()
}

fn profile(concurrency: usize) -> SinkProfile {
    SinkProfile::new(LIMITS, concurrency)
}

fn schedule(profile: SinkProfile, table_count: usize, now: Instant) -> AttemptSchedule {
    AttemptSchedule::new(profile, (0..table_count).collect(), 7, now)
}

fn started(schedule: &mut AttemptSchedule, now: Instant) -> (Vec<Attempt>, Option<Instant>) {
    let mut attempts = Vec::new();
    let wake = schedule.start_attempts(now, |attempt| attempts.push(attempt));
    (attempts, wake)
}

fn arrived() -> Attempted {
    Ok(Vec::new()).into()
}

fn broken() -> Attempted {
    Err(Failure::transient(Exit::Unavailable, "broken", "wait")).into()
}

fn denied() -> Attempted {
    Err(Failure::definite(Exit::Permission, "denied", "allow it")).into()
}

/// What the test knows of one table's place, kept apart from the schedule.
#[derive(Default)]
struct TableState {
    has_taken: bool,
    denied_since: Option<Instant>,
    /// Time, records, bytes.
    sent: Vec<(Instant, u64, u64)>,
    /// Batches by their first attempts.
    order: Vec<u64>,
}

/// What the test knows of one batch.
#[derive(Default)]
struct Known {
    left: Vec<usize>,
    failures: u32,
    failed_at: Option<Instant>,
    /// The end of patience, if the newest failure was a denial.
    latest: Option<Instant>,
    is_under_way: bool,
    is_delivered: bool,
}

struct Simulation {
    schedule: AttemptSchedule,
    profile: SinkProfile,
    random: StdRng,
    now: Instant,
    places: Vec<TableState>,
    batches: Vec<Known>,
    attempts: BTreeMap<u64, Attempt>,
    answers: BinaryHeap<Reverse<(Instant, u64)>>,
    bytes_under_way: u64,
}

impl Simulation {
    fn new(profile: SinkProfile, table_count: usize, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            schedule: AttemptSchedule::new(profile, (0..table_count).collect(), seed, now),
            profile,
            random: StdRng::seed_from_u64(seed),
            now,
            places: (0..table_count).map(|_| TableState::default()).collect(),
            batches: Vec::new(),
            attempts: BTreeMap::new(),
            answers: BinaryHeap::new(),
            bytes_under_way: 0,
        }
    }

    fn push(&mut self) {
        let table = self.random.random_range(0..self.places.len());
        let lens = vec![self.random.random_range(1..100); self.random.random_range(1..6)];
        let id = self.batches.len() as u64;
        self.batches.push(Known {
            left: (0..lens.len()).collect(),
            ..Known::default()
        });
        self.schedule.push(batch(id, table, &lens));
    }

    /// Runs until all batches have arrived or a failure is final. Of a hundred attempts so many go wrong.
    fn run(&mut self, batch_count: usize, trouble: u32) -> Result<(), Failure> {
        for _ in 0..100_000 {
            while self.batches.len() < batch_count && self.random.random_ratio(2, 3) {
                self.push();
            }
            let (attempts, wake) = started(&mut self.schedule, self.now);
            for attempt in attempts {
                self.started(attempt);
            }
            assert!(wake.is_none_or(|wake| wake > self.now), "it never rests");
            let answer = self.answers.peek().map(|Reverse((at, _))| *at);
            let Some(next) = [wake, answer].into_iter().flatten().min() else {
                if self.batches.len() < batch_count {
                    continue;
                }
                return Ok(());
            };
            self.now = next;
            while let Some(Reverse((at, id))) = self.answers.peek().copied()
                && at <= next
            {
                self.answers.pop();
                let attempt = self.attempts.remove(&id).unwrap();
                self.answer(attempt, trouble)?;
            }
        }
        panic!("no end");
    }

    fn started(&mut self, attempt: Attempt) {
        let batch = attempt.batch();
        let place = &mut self.places[batch.table];
        let known = &mut self.batches[usize::try_from(batch.id).unwrap()];
        assert!(!known.is_under_way && !known.is_delivered);
        assert_eq!(attempt.records(), known.left);
        known.is_under_way = true;
        if known.failures == 0 {
            place.order.push(batch.id);
        }
        if let Some(failed_at) = known.failed_at {
            let doubled = waits::SHORTEST * 2_u32.pow((known.failures - 1).min(16));
            let patience_ends = known.latest.is_some_and(|at| at <= self.now);
            let waited = self.now - failed_at;
            assert!(waited >= doubled.min(waits::LONGEST) || patience_ends);
        }
        let records = attempt.records().iter();
        let bytes = records.map(|index| batch.record(*index).len() as u64).sum();
        place
            .sent
            .push((self.now, attempt.records().len() as u64, bytes));
        let room = (self.profile.most_bytes_under_way as u64).saturating_sub(self.bytes_under_way);
        assert!(self.attempts.is_empty() || bytes <= room);
        self.bytes_under_way += bytes;
        let latency = Duration::from_millis(self.random.random_range(1..300));
        self.answers.push(Reverse((self.now + latency, batch.id)));
        self.attempts.insert(batch.id, attempt);
        assert!(self.attempts.len() <= self.profile.concurrency);
    }

    fn answer(&mut self, attempt: Attempt, trouble: u32) -> Result<(), Failure> {
        let (id, table) = (attempt.batch().id, attempt.batch().table);
        let records = attempt.records().iter();
        self.bytes_under_way -= records
            .map(|index| attempt.batch().record(*index).len() as u64)
            .sum::<u64>();
        let known = &mut self.batches[usize::try_from(id).unwrap()];
        let place = &mut self.places[table];
        known.is_under_way = false;
        let goes_wrong = self.random.random_ratio(trouble, 100);
        let result = match self.random.random_range(0..4) {
            _ if !goes_wrong => arrived(),
            0 => broken(),
            1 if self.random.random_ratio(1, 4) => denied(),
            _ => {
                let is_refused = |_: &usize| self.random.random_ratio(1, 2);
                Attempted {
                    result: Ok(known.left.iter().copied().filter(is_refused).collect()),
                    slow_down: true,
                    object: None,
                }
            }
        };
        let mut final_failure = false;
        known.latest = None;
        match &result.result {
            Ok(refused) => {
                if refused.len() < known.left.len() {
                    place.has_taken = true;
                    place.denied_since = None;
                }
                known.left.clone_from(refused);
            }
            Err(failure) if failure.fault == Fault::Definite => {
                let since = *place.denied_since.get_or_insert(self.now);
                let patience_ends = since + self.profile.patience;
                known.latest = Some(patience_ends);
                final_failure = !place.has_taken || self.now >= patience_ends;
            }
            Err(_) => {}
        }
        let is_whole = result.result.as_ref().is_ok_and(Vec::is_empty);
        if !is_whole {
            known.failures += 1;
            known.failed_at = Some(self.now);
        }
        known.is_delivered = is_whole;
        let settled = self.schedule.answered(attempt, result, self.now);
        assert_eq!(settled.is_err(), final_failure);
        let delivered = settled?.delivered.map(|delivered| delivered.id);
        assert_eq!(delivered, is_whole.then_some(id));
        Ok(())
    }
}

proptest! {
    #[test]
    fn batches_arrive_once_within_all_limits_or_a_failure_is_final(
        seed: u64,
        table_count in 1_usize..4,
        batch_count in 1_usize..40,
        concurrency in 1_usize..6,
        most_bytes_under_way in 1_usize..2_000,
        patience_ms in 0_u64..3_000,
        has_quota: bool,
        trouble in prop_oneof![Just(0_u32), 1_u32..80],
    ) {
        let profile = SinkProfile {
            most_bytes_under_way,
            patience: Duration::from_millis(patience_ms),
            quota: has_quota.then_some(QUOTA),
            ..profile(concurrency)
        };
        let mut simulation = Simulation::new(profile, table_count, seed);
        let ended = simulation.run(batch_count, trouble);
        prop_assert!(trouble > 0 || ended.is_ok());
        if ended.is_ok() {
            prop_assert!(simulation.batches.iter().all(|known| known.is_delivered));
            prop_assert!(simulation.schedule.is_held_up());
            let records: u64 = simulation.schedule.stats().records_delivered;
            let attempts: usize = simulation.places.iter().map(|place| place.sent.len()).sum();
            prop_assert_eq!(simulation.schedule.stats().attempts, attempts as u64);
            prop_assert!(records >= batch_count as u64);
        }
        for place in &simulation.places {
            prop_assert!(place.order.is_sorted(), "{:?}", place.order);
        }
        for place in simulation.places.iter().filter(|_| has_quota) {
            for (index, (from, ..)) in place.sent.iter().enumerate() {
                let within = place.sent[index..].iter().take_while(|(at, ..)| *at < *from + SECOND);
                let (mut requests, mut records, mut bytes) = (0, 0, 0);
                for (_, request_records, request_bytes) in within {
                    requests += 1;
                    records += request_records;
                    bytes += request_bytes;
                }
                prop_assert!(requests <= QUOTA.requests && records <= u64::from(QUOTA.records));
                prop_assert!(bytes <= QUOTA.bytes);
            }
        }
    }
}

#[test]
fn waits_double_up_to_the_longest_and_the_wake_is_their_end() {
    let mut now = Instant::now();
    let mut schedule = schedule(profile(1), 1, now);
    schedule.push(batch(1, 0, &[10]));
    let mut waits = BTreeSet::new();
    for failures in 0..12 {
        let (mut attempts, _) = started(&mut schedule, now);
        let attempt = attempts.pop().unwrap();
        let settled = schedule.answered(attempt, broken(), now).unwrap();
        assert_eq!(settled.delivered, None);
        let (early, wake) = started(&mut schedule, now);
        assert!(early.is_empty());
        let wait = wake.unwrap() - now;
        let least = (waits::SHORTEST * 2_u32.pow(failures)).min(waits::LONGEST);
        assert!(wait >= least && wait <= least * 2, "{wait:?}");
        waits.insert(wait);
        let (early, _) = started(&mut schedule, now + wait / 2);
        assert!(early.is_empty());
        now = wake.unwrap();
    }
    assert_eq!(waits.len(), 12, "without jitter");
}

#[test]
fn a_batch_that_waits_does_not_hold_up_the_others() {
    let now = Instant::now();
    let mut schedule = schedule(profile(1), 2, now);
    for (id, table) in [(1, 0), (2, 0), (3, 1)] {
        schedule.push(batch(id, table, &[10]));
    }
    let mut ids = Vec::new();
    for result in [broken(), arrived(), arrived()] {
        let (mut attempts, _) = started(&mut schedule, now);
        let attempt = attempts.pop().unwrap();
        ids.push(attempt.batch().id);
        schedule.answered(attempt, result, now).unwrap();
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3], "the failed one would have come first");
}

#[test]
fn patience_begins_with_the_first_denial_and_its_end_is_tried() {
    let patience = Duration::from_secs(3);
    let start = Instant::now();
    let profile = SinkProfile {
        patience,
        ..profile(1)
    };
    // A place that has taken nothing is denied at once.
    let mut new = schedule(profile, 1, start);
    new.push(batch(1, 0, &[10]));
    let attempt = started(&mut new, start).0.pop().unwrap();
    let failure = new.answered(attempt, denied(), start).unwrap_err();
    assert_eq!(failure.what, "denied");

    let mut schedule = schedule(profile, 1, start);
    for id in [1, 2] {
        schedule.push(batch(id, 0, &[10]));
    }
    let attempt = started(&mut schedule, start).0.pop().unwrap();
    schedule.answered(attempt, arrived(), start).unwrap();
    let mut now = start;
    let failure = loop {
        let attempt = started(&mut schedule, now).0.pop().unwrap();
        if let Err(failure) = schedule.answered(attempt, denied(), now) {
            break failure;
        }
        now = started(&mut schedule, now).1.unwrap();
    };
    assert_eq!(now - start, patience);
    assert_eq!(failure.what, "denied (again and again for 3s)");
}

#[test]
fn lasting_failures_are_told_now_and_then_and_their_end_once() {
    let start = Instant::now();
    let mut schedule = schedule(profile(1), 1, start);
    schedule.push(batch(1, 0, &[10]));
    schedule.push(batch(2, 0, &[10]));
    let mut now = start;
    let mut notices = Vec::new();
    for result in [broken, broken, broken, broken, broken, arrived, arrived] {
        // Longer than any wait, so that the newest failure is tried again before the other batch.
        now += waits::LONGEST / 4;
        let attempt = started(&mut schedule, now).0.pop().unwrap();
        let settled = schedule.answered(attempt, result(), now).unwrap();
        notices.push(settled.notice);
    }
    let failing = |failures| {
        let what = "broken".to_owned();
        Some(Notice::Failing { failures, what })
    };
    let recovered = Notice::Recovered {
        failures: 5,
        after: waits::LONGEST * 5 / 4,
    };
    let expected = [
        failing(1),
        None,
        None,
        None,
        failing(5),
        Some(recovered),
        None,
    ];
    assert_eq!(notices, expected);
}
