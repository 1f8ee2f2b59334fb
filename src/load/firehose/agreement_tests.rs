//! What a report says of a run is what its target says of it, whatever goes wrong: the open loop with a client and a
//! target in simulated time. The target keeps its own account, by the numbers that rows carry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::answers::Facts;
use super::open_loop::{OpenLoop, Settings};
use super::plan::RatePlan;
use crate::batch::{BatchLimits, SealedBatch};
use crate::load::measure::record::{Gauges, Latency, Recorder, Second, Wire};
use crate::load::measure::verdict::{Limit, MissedRows, Quotas};
use crate::load::report::{Answer, Headline};
use crate::load::rows::{RowMaker, RowShape};

const RATE: u32 = 500;
const LENGTH: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(3);
const ROWS: u64 = RATE as u64 * LENGTH.as_secs();
/// From a call to its answer when nothing is wrong.
const ANSWER: Duration = Duration::from_millis(5);
const LIMITS: BatchLimits = BatchLimits {
    row_bytes: 1_024_000,
    record_bytes: 2_000,
    records: 500,
    bytes: 1 << 20,
    step_bytes: 1,
};

/// What happens to calls for a while.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// Carried out and never answered.
    Hang,
    /// Not carried out.
    Error,
    /// Carried out, and the answer is lost.
    LostAnswer,
    /// Answered later.
    Delay(Duration),
    /// Every n-th record is refused.
    Refuse(usize),
}

#[derive(Debug, Clone)]
struct Fault {
    from: Duration,
    until: Duration,
    effect: Effect,
}

fn scripts() -> impl Strategy<Value = Vec<Fault>> {
    let effect = prop_oneof![
        Just(Effect::Hang),
        Just(Effect::Error),
        Just(Effect::LostAnswer),
        (10_u64..4_000).prop_map(|ms| Effect::Delay(Duration::from_millis(ms))),
        (1_usize..5).prop_map(Effect::Refuse),
    ];
    let fault = (0_u64..9_000, 50_u64..9_000, effect).prop_map(|(from, length, effect)| Fault {
        from: Duration::from_millis(from),
        until: Duration::from_millis(from + length),
        effect,
    });
    prop::collection::vec(fault, 0..4)
}

/// The target's own account.
#[derive(Debug, Default)]
struct Account {
    /// When each row was first confirmed by an answer.
    confirmed: BTreeMap<u64, Duration>,
    /// When each row was first sent.
    called: BTreeMap<u64, Duration>,
    /// Rows that were carried out, whatever was answered.
    admitted: BTreeSet<u64>,
    /// Records that were refused, and those of calls that failed.
    refused: u64,
    /// Answers that came late.
    delayed: u64,
    /// Times at which an answer took something.
    takings: Vec<Duration>,
}

/// A batch of which some records are on their way.
struct Attempt {
    batch: SealedBatch,
    records: Vec<usize>,
    failures: u32,
}

/// What comes next of an attempt.
enum Event {
    Call(Attempt),
    /// The answer: the records that were refused, or none if it failed.
    Answer(Attempt, Option<Vec<usize>>),
}

/// The client and the target.
struct Model {
    script: Vec<Fault>,
    /// By time, and by a number that tells those of one time apart.
    events: BTreeMap<(Duration, u64), Event>,
    number: u64,
    wire: Wire,
    account: Account,
}

fn rows_of(batch: &SealedBatch, records: &[usize]) -> Vec<u64> {
    let lines = |index: &usize| {
        let text = std::str::from_utf8(batch.record(*index)).unwrap();
        text.lines()
            .map(|line| line[..9].parse().unwrap())
            .collect::<Vec<u64>>()
    };
    records.iter().flat_map(lines).collect()
}

impl Model {
    fn at(&mut self, at: Duration, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    fn push(&mut self, now: Duration, batch: SealedBatch) {
        let records = (0..batch.record_count()).collect();
        let failures = 0;
        let attempt = Attempt {
            batch,
            records,
            failures,
        };
        self.at(now, Event::Call(attempt));
    }

    fn next_at(&self) -> Option<Duration> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Everything that is due; gives the number and the bytes of batches that are there as a whole.
    fn run(&mut self, now: Duration) -> Vec<(u64, usize)> {
        let mut arrived = Vec::new();
        while self.next_at().is_some_and(|at| at <= now) {
            match self.events.pop_first() {
                Some((_, Event::Call(attempt))) => self.called(now, attempt),
                Some((_, Event::Answer(attempt, refused))) => {
                    arrived.extend(self.answered(now, attempt, refused));
                }
                None => {}
            }
        }
        arrived
    }

    fn called(&mut self, now: Duration, attempt: Attempt) {
        let bytes = |it: &usize| attempt.batch.record(*it).len() as u64;
        self.wire.requests += 1;
        self.wire.records += attempt.records.len() as u64;
        self.wire.bytes += attempt.records.iter().map(bytes).sum::<u64>();
        for row in rows_of(&attempt.batch, &attempt.records) {
            self.account.called.entry(row).or_insert(now);
        }
        let is_on = |fault: &&Fault| (fault.from..fault.until).contains(&now);
        let effects: Vec<Effect> = self
            .script
            .iter()
            .filter(is_on)
            .map(|fault| fault.effect)
            .collect();
        let mut answer_at = now + ANSWER;
        let mut refused = BTreeSet::new();
        let (mut is_done, mut is_answered, mut is_lost) = (true, true, false);
        for effect in effects {
            match effect {
                Effect::Hang => is_answered = false,
                Effect::Error => is_done = false,
                Effect::LostAnswer => is_lost = true,
                Effect::Delay(delay) => answer_at += delay,
                Effect::Refuse(every) => {
                    refused.extend(
                        attempt
                            .records
                            .iter()
                            .copied()
                            .skip(every - 1)
                            .step_by(every),
                    );
                }
            }
        }
        self.account.delayed += u64::from(answer_at > now + ANSWER);
        let taken: Vec<usize> = attempt
            .records
            .iter()
            .copied()
            .filter(|record| !refused.contains(record))
            .collect();
        if is_done {
            self.account
                .admitted
                .extend(rows_of(&attempt.batch, &taken));
        }
        if is_done && !is_lost {
            if !is_answered {
                return;
            }
            self.account.refused += refused.len() as u64;
            self.at(
                answer_at,
                Event::Answer(attempt, Some(refused.into_iter().collect())),
            );
        } else {
            self.account.refused += attempt.records.len() as u64;
            self.at(answer_at, Event::Answer(attempt, None));
        }
    }

    fn answered(
        &mut self,
        now: Duration,
        mut attempt: Attempt,
        refused: Option<Vec<usize>>,
    ) -> Option<(u64, usize)> {
        let sent = std::mem::take(&mut attempt.records);
        let Some(refused) = refused else {
            self.wire.failed_requests += 1;
            self.wire.failed_records += sent.len() as u64;
            attempt.records = sent;
            self.retry(now, attempt);
            return None;
        };
        let taken: Vec<usize> = sent
            .into_iter()
            .filter(|record| !refused.contains(record))
            .collect();
        for row in rows_of(&attempt.batch, &taken) {
            self.account.confirmed.entry(row).or_insert(now);
        }
        if !taken.is_empty() {
            self.account.takings.push(now);
        }
        self.wire.accepted_records += taken.len() as u64;
        self.wire.refused_records += refused.len() as u64;
        if refused.is_empty() {
            return Some((attempt.batch.id, attempt.batch.bytes().len()));
        }
        attempt.records = refused;
        self.retry(now, attempt);
        None
    }

    fn retry(&mut self, now: Duration, mut attempt: Attempt) {
        let wait = Duration::from_millis(50 << attempt.failures.min(7));
        attempt.failures += 1;
        self.at(now + wait, Event::Call(attempt));
    }
}

/// A report's words and numbers.
struct Told {
    seconds: Vec<Second>,
    planned: usize,
    missed: MissedRows,
    latency: Latency,
    limit: Limit,
    headline: Headline,
    answers: Vec<Answer>,
}

/// Sends everything, as `drive` does, and gives the time of the end.
fn send(open_loop: &mut OpenLoop, model: &mut Model, recorder: &mut Recorder) -> Duration {
    let mut now = Duration::ZERO;
    loop {
        let second_ends =
            |recorder: &Recorder| Duration::from_secs(u64::from(recorder.second()) + 1);
        while second_ends(recorder) <= now {
            let began = Duration::from_secs(recorder.second().into());
            let (intended, _) = open_loop.close_second(began, recorder);
            recorder.close_second(intended, model.wire, Gauges::default());
            if open_loop.is_over(now) {
                return now;
            }
        }
        let wake = loop {
            if let Some(wake) = open_loop.offer(now, recorder).unwrap() {
                break wake;
            }
        };
        for batch in open_loop.sealed(now) {
            model.push(now, batch);
        }
        let flush = open_loop.flush_at().unwrap_or(Duration::MAX);
        let event = model.next_at().unwrap_or(Duration::MAX);
        let next = wake.min(flush).min(event).min(second_ends(recorder));
        // A time in seconds is rounded to nanoseconds, and may be a little before the row that is meant.
        now = next.max(now + Duration::from_nanos(1));
        for batch in model.run(now) {
            open_loop.arrived(now, batch, recorder);
        }
    }
}

fn run(script: Vec<Fault>) -> (Told, Account) {
    let mut model = Model {
        script,
        events: BTreeMap::new(),
        number: 0,
        wire: Wire::default(),
        account: Account::default(),
    };
    let plan = RatePlan::constant(RATE.into(), LENGTH).unwrap();
    let mut rows = RowMaker::new(RowShape::Bytes(120), 1);
    let settings = Settings {
        flush_interval: Duration::from_millis(200),
        max_backlog: 64 << 20,
        patience: PATIENCE,
        warm_up: Duration::ZERO,
    };
    let start = (Instant::now(), Duration::ZERO);
    let mut open_loop = OpenLoop::new(plan, &mut rows, LIMITS, settings, start);
    let mut recorder = Recorder::default();
    let now = send(&mut open_loop, &mut model, &mut recorder);
    let missed = MissedRows {
        never_made: open_loop.schedule().left(),
        unacknowledged: open_loop.backlog_rows(),
    };
    open_loop.give_up(now);
    let latency = Latency::of("rows", open_loop.latencies());
    let seconds = recorder.seconds;
    let planned = seconds.len().min(LENGTH.as_secs() as usize);
    let limit = Limit::of(&seconds, planned, 2.0, missed);
    let facts = Facts {
        quotas: &Quotas::default(),
        limits: &LIMITS,
        row_bytes: 120.0,
        seconds: &seconds,
        planned,
        missed,
        latency: &latency,
        limit: &limit,
        knee: None,
        is_firehose: true,
    };
    let (headline, answers) = (facts.headline(), facts.answers());
    let told = Told {
        planned,
        missed,
        limit: limit.clone(),
        headline,
        answers,
        latency: latency.clone(),
        seconds: seconds.clone(),
    };
    (told, model.account)
}

/// The 99th percentile by the target's account: from the time that a row's number stands for to its first confirmation, or
/// to the end.
fn p99_of(account: &Account, end: Duration) -> f64 {
    let wait = |row: u64| {
        let intended = Duration::from_secs_f64((row - 1) as f64 / f64::from(RATE));
        let at = account.confirmed.get(&row).copied().unwrap_or(end);
        at.saturating_sub(intended).as_secs_f64() * 1e3
    };
    let mut waits: Vec<f64> = (1..=ROWS).map(wait).collect();
    waits.sort_by(f64::total_cmp);
    waits[(waits.len() * 99).div_ceil(100) - 1]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_headline_agrees_with_the_account_of_the_target(script in scripts()) {
        let refuses = script.iter().any(|fault| matches!(fault.effect, Effect::Refuse(_)));
        let (told, account) = run(script);
        let end = Duration::from_secs(told.seconds.len() as u64);
        let taken: u64 = told.seconds.iter().map(|second| second.acknowledged_rows).sum();
        let confirmed = account.confirmed.len() as u64;

        // Rows taken: all that the target has confirmed, but for batches that it has confirmed in part.
        prop_assert_eq!((told.planned, told.missed.never_made), (8, 0));
        prop_assert_eq!(taken + told.missed.unacknowledged, ROWS);
        prop_assert!(taken <= confirmed && confirmed <= account.admitted.len() as u64);
        prop_assert!(refuses || taken == confirmed, "{} {}", taken, confirmed);
        let rate = told.headline.value;
        prop_assert!(rate <= f64::from(RATE) && rate * 5.0 <= taken as f64 + 1e-6, "{}", rate);
        let says_all = told.headline.note.contains("it took all that was planned");
        prop_assert_eq!(says_all, taken == ROWS, "{}", told.headline.note);
        if !says_all {
            let of = told.headline.note.replace(',', "");
            prop_assert!(of.contains(&format!("it took {taken} of {ROWS} rows")), "{}", of);
        }

        // p99: as long as the target's, which confirms rows one by one and not by the batch.
        let p99 = told.latency.at(99.0).unwrap();
        let least = p99_of(&account, end);
        prop_assert!(p99 * 1.002 + 0.1 >= least, "{} {}", p99, least);
        // The rows of one millisecond have one time.
        prop_assert!(refuses || p99 <= least * 1.002 + 2.1, "{} {}", p99, least);

        // The limit: none only if nothing was wrong, the target if it was.
        let silent = told.seconds.iter().filter(|second| second.is_silent).map(|second| second.second);
        let silent: Vec<u32> = silent.collect();
        for second in &silent {
            let second = u64::from(*second);
            let within = |at: &&Duration| at.as_secs() == second && at.subsec_nanos() > 0;
            prop_assert_eq!(account.takings.iter().find(within), None, "{}", second);
        }
        for second in told.seconds.iter().map(|second| second.second) {
            let (begins, ends) = (Duration::from_secs(second.into()), Duration::from_secs((second + 1).into()));
            let waited = account.called.iter().any(|(row, called)| {
                *called < begins && account.confirmed.get(row).is_none_or(|at| *at > ends)
            });
            let has_taken = account.takings.iter().any(|at| (begins..=ends).contains(at));
            prop_assert!(has_taken || !waited || silent.contains(&second), "{}", second);
        }
        let unwell = told.missed.unacknowledged > 0 || account.refused > 0 || !silent.is_empty();
        match &told.limit {
            Limit::Nothing => {
                prop_assert!(told.missed.unacknowledged == 0 && silent.is_empty());
                prop_assert_eq!(taken, ROWS);
            }
            Limit::Target(why) => {
                prop_assert!(unwell || account.delayed > 0, "{}", why);
                prop_assert_eq!(
                    why.contains("rows were never acknowledged"),
                    told.missed.unacknowledged > 0
                );
                prop_assert_eq!(why.contains("nothing was acknowledged for"), !silent.is_empty());
                let weakest = &told.answers[1].answer;
                prop_assert!(weakest.contains(why.as_str()), "{}", weakest);
            }
            Limit::Harness(why) => prop_assert!(false, "{}", why),
        }
    }
}

/// The fault of a target that dies: it answers for three seconds and never again.
#[test]
fn a_death_is_told_with_its_rows_its_time_and_its_age() {
    let (told, account) = run(vec![Fault {
        from: Duration::from_secs(3),
        until: Duration::from_mins(1),
        effect: Effect::Hang,
    }]);
    let taken = account.confirmed.len() as u64;
    assert!((1_300..=1_500).contains(&taken), "{taken}");
    assert_eq!(told.missed.unacknowledged, ROWS - taken);
    // It ends eleven seconds after the first row.
    assert!(told.latency.at(99.0).unwrap() > 7_000.0);
    assert!(told.latency.at(50.0).unwrap() > 4_000.0);
    let rate = &told.answers[0].answer;
    assert!(
        rate.contains("p99 at least ") && rate.contains("to the end"),
        "{rate}"
    );
}

/// Acknowledgements that come together after a stall are no higher rate than was offered.
#[test]
fn a_stall_makes_no_higher_rate_and_is_named() {
    for stall_s in [0, 2, 6] {
        let (told, _) = run(vec![Fault {
            from: Duration::from_secs(1),
            until: Duration::from_secs(1 + stall_s),
            effect: Effect::Error,
        }]);
        assert!(
            told.headline.value <= f64::from(RATE),
            "{}",
            told.headline.value
        );
        let weakest = &told.answers[1].answer;
        let is_named = weakest.contains("nothing was acknowledged for ");
        assert_eq!(is_named, stall_s > 0, "{stall_s}: {weakest}");
    }
}
