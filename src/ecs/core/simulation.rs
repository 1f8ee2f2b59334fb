//! A day of the poller in simulated time: the cores together, between an ECS and a CloudWatch
//! that misbehave by a plan. Only for tests.
//!
//! What lives here: the loop that the poller will have, without waiting; a judge with books of
//! its own. Chance is a fixed sequence, so a failure repeats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::account::{Account, Coverage, GapReason, TargetId};
use super::backlog::{Backlog, Settings};
use super::batch::{DatumBatch, Refusal};
use super::metric::MetricKey;
use super::price;
use super::sample::enter_sample;
use super::schedule::{Event, Interval, Now, Schedule, Settled, Step, Tick};
use super::series::{Datum, SeriesId};

#[path = "simulation_budget.rs"]
mod budget;
#[path = "simulation_clocks.rs"]
mod clocks;

const EPOCH_US: i64 = 1_790_000_000_250_000;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
const METRICS: [&str; 4] = [
    "RunningTask",
    "PendingTask",
    "ActiveServices",
    "RegisteredContainerInstances",
];
const CLUSTERS: [&str; 3] = ["blue", "green", "deleted"];

/// What goes wrong, in seconds since the start.
struct Faults {
    outage: std::ops::Range<i64>,
    /// ECS throttles in the first seconds of each of these.
    ecs_bursts: std::ops::Range<i64>,
    /// The wall clock is set by so many milliseconds.
    steps: BTreeMap<i64, i64>,
    /// The process stands still for so many milliseconds.
    suspensions: BTreeMap<i64, u64>,
}

/// Numbers that look random, always the same.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        // xorshift64, by Marsaglia.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// Something that will come back.
#[derive(Debug)]
enum Pending {
    Poll(Tick, Result<(), GapReason>),
    Put(DatumBatch, Result<(), Refusal>),
}

/// What CloudWatch has got of one metric.
#[derive(Debug, Default, Clone)]
struct Received {
    seconds: BTreeMap<i64, u32>,
}

struct World {
    start: Instant,
    now: Now,
    /// By how much the wall clock was set in all.
    set_by_us: i64,
    chance: Chance,
    faults: Faults,
    schedule: Schedule,
    backlog: Backlog,
    account: Account,
    targets: Vec<TargetId>,
    /// For each cluster, its metrics.
    series: Vec<Vec<SeriesId>>,
    pending: BTreeMap<(Instant, u64), Pending>,
    pending_id: u64,
    received: BTreeMap<SeriesId, Received>,
    ambiguous: u64,
    steps: Vec<Step>,
    /// Seconds that polls were answered for.
    sampled: BTreeSet<i64>,
    latest: Duration,
    most_waiting: usize,
    /// From the newest second of a batch (a changed one, if it did not wait) to its acceptance.
    accepted_after: Vec<Duration>,
    tasks: [f64; 2],
}

impl World {
    fn new(faults: Faults, settings: Settings) -> Self {
        let start = Instant::now();
        let now = Now {
            monotonic: start,
            utc_us: EPOCH_US,
        };
        let mut backlog = Backlog::new(settings);
        let mut account = Account::default();
        let mut series = Vec::new();
        for cluster in CLUSTERS {
            let keys =
                METRICS.map(|metric| MetricKey::new(metric, &[("ClusterName", cluster)]).unwrap());
            series.push(
                keys.iter()
                    .map(|key| backlog.series(key).unwrap())
                    .collect(),
            );
        }
        Self {
            start,
            now,
            set_by_us: 0,
            chance: Chance(0x5DEE_CE66),
            faults,
            schedule: Schedule::new(Interval::ALL[0], now),
            backlog,
            targets: CLUSTERS.map(|name| account.add_target(name)).to_vec(),
            account,
            series,
            pending: BTreeMap::new(),
            pending_id: 0,
            received: BTreeMap::new(),
            ambiguous: 0,
            steps: Vec::new(),
            sampled: BTreeSet::new(),
            latest: Duration::ZERO,
            most_waiting: 0,
            accepted_after: Vec::new(),
            tasks: [10.0, 3.0],
        }
    }

    /// Seconds since the start, by a clock that is never set.
    fn elapsed_s(&self) -> i64 {
        i64::try_from((self.now.monotonic - self.start).as_secs()).unwrap()
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.read_wall_clock();
    }

    fn read_wall_clock(&mut self) {
        let since = self.now.monotonic - self.start;
        let since_us = i64::try_from(since.as_micros()).unwrap();
        self.now.utc_us = EPOCH_US + since_us + self.set_by_us;
    }

    /// To the next thing that happens; a few milliseconds late, as on a real machine.
    fn sleep(&mut self, sampling: bool) {
        let mut wake_at = self.backlog.wake_at();
        let answer = self.pending.keys().next().map(|(at, _)| *at);
        let tick = sampling.then(|| self.schedule.wake_at());
        for other in [answer, tick].into_iter().flatten() {
            wake_at = Some(wake_at.map_or(other, |at| at.min(other)));
        }
        let wait = wake_at.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(self.now.monotonic)
        });
        let late_us = self.chance.next() % 3_000;
        self.pass(wait + Duration::from_micros(late_us));
        let elapsed_s = self.elapsed_s();
        while let Some(entry) = self.faults.steps.first_entry()
            && *entry.key() <= elapsed_s
        {
            self.set_by_us += entry.remove() * 1_000;
        }
        self.read_wall_clock();
        while let Some(entry) = self.faults.suspensions.first_entry()
            && *entry.key() <= elapsed_s
        {
            let time = Duration::from_millis(entry.remove());
            self.pass(time);
        }
    }

    fn later(&mut self, ms: u64, what: Pending) {
        self.pending_id += 1;
        let at = self.now.monotonic + Duration::from_millis(ms);
        self.pending.insert((at, self.pending_id), what);
    }

    /// One turn of the poller's loop: answers, the schedule, requests.
    fn turn(&mut self, sampling: bool) {
        while let Some(entry) = self.pending.first_entry()
            && entry.key().0 <= self.now.monotonic
        {
            match entry.remove() {
                Pending::Poll(tick, answer) => self.answer_poll(tick, answer),
                Pending::Put(batch, answer) => self.answer_put(batch, answer),
            }
        }
        while sampling && let Some(event) = self.schedule.advance(self.now) {
            match event {
                Event::Poll(tick) => self.poll(tick),
                Event::Gap(gap) => self.account.add_gaps(&self.targets, gap),
                Event::Stepped(step) => {
                    self.steps.push(step);
                    self.account.add_skipped(&self.targets, step.skipped);
                }
            }
        }
        while let Some(batch) = self.backlog.next_batch(self.now) {
            self.account.calls.put_metric_data += 1;
            self.put(batch);
        }
        self.most_waiting = self.most_waiting.max(self.backlog.waiting());
    }

    fn poll(&mut self, tick: Tick) {
        self.account.calls.describe_clusters += 1;
        // The wall clock is where the tick says, however often it was set.
        let off_us = self.now.utc_us - tick.second * 1_000_000;
        let late_us = i64::try_from(tick.lateness.as_micros()).unwrap();
        assert!((late_us - off_us).abs() <= 1, "{late_us} is not {off_us}");
        self.latest = self.latest.max(tick.lateness);
        let in_burst = self
            .faults
            .ecs_bursts
            .contains(&(self.elapsed_s() % HOUR_S));
        let answer = if in_burst && !self.chance.one_in(3) {
            Err(GapReason::Throttled)
        } else if self.chance.one_in(5_000) {
            Err(GapReason::Failed)
        } else {
            Ok(())
        };
        let slow = self.chance.one_in(400);
        let ms = 5 + self.chance.next() % if slow { 1_500 } else { 60 };
        self.later(ms, Pending::Poll(tick, answer));
    }

    fn answer_poll(&mut self, tick: Tick, answer: Result<(), GapReason>) {
        match self.schedule.settle(tick, self.now.monotonic, answer) {
            None => {}
            Some(Settled::Gap(gap)) => self.account.add_gaps(&self.targets, gap),
            Some(Settled::Sampled) => self.sample(tick.second),
        }
    }

    fn sample(&mut self, second: i64) {
        for cluster in 0..self.tasks.len() {
            if self.chance.one_in(180) {
                self.tasks[cluster] = f64::from(u32::try_from(self.chance.next() % 50).unwrap());
            }
            let values = [self.tasks[cluster], 2.0, 2.0, 2.0].map(Some);
            let target = (self.targets[cluster], &*self.series[cluster]);
            let (backlog, account) = (&mut self.backlog, &mut self.account);
            enter_sample(target, (second, &values), self.now, backlog, account);
        }
        self.sampled.insert(second);
        self.account.add_gap(self.targets[2], GapReason::Missing);
    }

    fn put(&mut self, batch: DatumBatch) {
        let answer = if self.faults.outage.contains(&self.elapsed_s()) {
            let ambiguous = self.chance.one_in(100);
            Err(if ambiguous {
                Refusal::Ambiguous
            } else {
                Refusal::Transient
            })
        } else {
            match self.chance.next() % 300 {
                0 => Err(Refusal::Throttled),
                1 => Err(Refusal::Ambiguous),
                _ => Ok(()),
            }
        };
        match answer {
            // Not having had an answer, half of them have arrived.
            Err(Refusal::Ambiguous) => {
                self.ambiguous += batch.datums().len() as u64;
                if self.chance.one_in(2) {
                    self.receive(&batch);
                }
            }
            Err(_) => {}
            Ok(()) => self.receive(&batch),
        }
        let ms = match answer {
            Err(Refusal::Ambiguous) => 10_000,
            _ => 10 + self.chance.next() % 80,
        };
        self.later(ms, Pending::Put(batch, answer));
    }

    fn receive(&mut self, batch: &DatumBatch) {
        for datum in batch.datums() {
            let received = self.received.entry(datum.series).or_default();
            *received.seconds.entry(datum.second).or_default() += 1;
        }
    }

    fn answer_put(&mut self, batch: DatumBatch, answer: Result<(), Refusal>) {
        let Err(refusal) = answer else {
            let newest = batch.datums().iter().map(|datum| datum.second).max();
            let wait_us = self.now.utc_us - newest.unwrap() * 1_000_000;
            self.accepted_after
                .push(Duration::from_micros(u64::try_from(wait_us).unwrap_or(0)));
            self.backlog.acknowledge(batch);
            return;
        };
        let chance = self.chance.share();
        let bad = self
            .backlog
            .refuse(batch, refusal, self.now.monotonic, chance);
        assert_eq!(bad, None);
    }

    /// Samples for this long, then sends what is left.
    fn run(&mut self, seconds: i64) {
        while self.elapsed_s() < seconds {
            self.turn(true);
            self.sleep(true);
        }
        for gap in self.schedule.stop() {
            self.account.add_gaps(&self.targets, gap);
        }
        self.backlog.flush(self.now.monotonic);
        for _ in 0..100_000 {
            if self.pending.is_empty() && self.backlog.waiting() == 0 {
                return;
            }
            self.sleep(false);
            self.turn(false);
        }
        panic!("the backlog does not drain");
    }

    /// What must hold, whatever the faults were; gives the counts of the first cluster.
    fn check_books(&self) -> Coverage {
        let elapsed = self.schedule.elapsed();
        // Each second of the monotonic clock has a tick, from about half of one on to about half of one before now.
        let passed = (self.now.monotonic - self.start).as_secs();
        assert!(elapsed <= passed + 1, "{elapsed} of {passed}");
        let mut doubled = 0;
        let coverage: Vec<_> = self.account.targets().collect();
        let counts: HashMap<_, _> = self.backlog.counts().collect();
        for (cluster, metrics) in self.series.iter().enumerate() {
            for series in metrics {
                let nothing = Received::default();
                let received = self.received.get(series).unwrap_or(&nothing);
                let published = received.seconds.len() as u64;
                let gaps = coverage[cluster].1.gaps();
                let counts = counts[self.backlog.key(*series)];
                let settled = counts.published + counts.dropped() + gaps;
                assert_eq!(settled, elapsed, "{}", coverage[cluster].0);
                // What had no answer may have arrived before it was dropped.
                let unsure = counts.dropped().min(counts.ambiguous);
                let arrived = counts.published..=counts.published + unsure;
                assert!(arrived.contains(&published), "{}", coverage[cluster].0);
                assert!(
                    received
                        .seconds
                        .keys()
                        .all(|second| self.sampled.contains(second))
                );
                let times: u32 = received.seconds.values().sum();
                doubled += u64::from(times) - published;
            }
        }
        assert!(doubled <= self.ambiguous, "{doubled} of {}", self.ambiguous);
        let datums = self.backlog.total();
        assert_eq!(datums.ambiguous, self.ambiguous);
        assert_eq!(datums.pending(), 0);
        *coverage[0].1
    }
}

fn no_faults() -> Faults {
    Faults {
        outage: 0..0,
        ecs_bursts: 0..0,
        steps: BTreeMap::new(),
        suspensions: BTreeMap::new(),
    }
}

fn settings() -> Settings {
    Settings::new(Duration::from_secs(10), Duration::from_hours(3))
}

#[test]
fn a_bad_day_loses_no_second_that_was_sampled() {
    let settings = settings();
    let row_limit = settings.row_limit;
    let mut world = World::new(
        Faults {
            outage: 5 * HOUR_S..8 * HOUR_S,
            ecs_bursts: 600..640,
            steps: BTreeMap::from([
                (HOUR_S, 2_000),
                (2 * HOUR_S, -2_000),
                // While CloudWatch is away, too.
                (6 * HOUR_S, -2_000),
                (7 * HOUR_S, 2_000),
                (20 * HOUR_S, 2_000),
                (20 * HOUR_S + 1, -2_000),
            ]),
            suspensions: BTreeMap::from([
                (3 * HOUR_S, 90_000),
                (6 * HOUR_S + 600, 45_000),
                (21 * HOUR_S, 1_700),
            ]),
        },
        settings,
    );
    world.run(DAY_S);
    let coverage = world.check_books();
    let datums = world.backlog.total();
    assert_eq!((datums.dropped(), datums.published), (0, datums.offered));

    // No drift: after a day whose steps cancel out, the ticks are those of the wall clock.
    let elapsed = i64::try_from(world.schedule.elapsed()).unwrap();
    assert!((DAY_S - 1..=DAY_S + 1).contains(&elapsed), "{elapsed}");
    assert!(world.latest < Duration::from_secs(1));
    assert_eq!(world.steps.len(), 6);

    assert!(
        (130..=136).contains(&coverage.gaps_by(GapReason::Suspended)),
        "{coverage}"
    );
    // What the clock jumped over are no ticks, and what it repeats is published once.
    assert_eq!(coverage.skipped(), 6, "{coverage}");
    assert!(
        (4..=6).contains(&coverage.gaps_by(GapReason::Repeated)),
        "{coverage}"
    );
    assert_eq!(coverage.gaps_by(GapReason::Late), 1, "{coverage}");
    assert_eq!(coverage.gaps_by(GapReason::Busy), 0, "{coverage}");
    assert!(coverage.gaps_by(GapReason::Throttled) > 500, "{coverage}");
    assert!(coverage.gaps_by(GapReason::Deadline) > 50, "{coverage}");
    assert!(coverage.gaps() < 1_200, "{coverage}");

    let two_clusters = 2 * METRICS.len();
    assert!(world.most_waiting > 3 * 3_600 * two_clusters * 95 / 100);
    assert!(world.most_waiting <= row_limit * two_clusters);
    let published: BTreeSet<_> = world.received.keys().collect();
    assert_eq!(
        published.len(),
        two_clusters,
        "a deleted cluster has no values"
    );
}

#[test]
fn an_hour_of_good_weather_has_no_gap_but_the_deleted_clusters() {
    let mut world = World::new(no_faults(), settings());
    world.run(HOUR_S);
    let coverage = world.check_books();
    assert_eq!(world.backlog.total().dropped(), 0);
    let slow = coverage.gaps_by(GapReason::Deadline) + coverage.gaps_by(GapReason::Failed);
    assert_eq!(coverage.gaps(), slow, "{coverage}");
    assert!(world.latest < Duration::from_millis(10));
    // A flush every ten seconds, and the changes; what was refused is sent again.
    let calls = world.account.calls.put_metric_data;
    assert!((360..450).contains(&calls), "{calls}");
    let mut waits = world.accepted_after;
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 <= Duration::from_millis(1_300), "{p99:?}");
}

#[test]
fn an_outage_as_long_as_the_buffer_loses_nothing() {
    let buffer = Duration::from_mins(10);
    // How long after its end an outage is found to be over is chance.
    for seed in 1..=10 {
        let faults = Faults {
            outage: 300..900,
            ..no_faults()
        };
        let settings = Settings::new(Duration::from_secs(10), buffer);
        let mut world = World::new(faults, settings);
        world.chance = Chance(seed << 32 | 0x9E37);
        world.run(1_200);
        world.check_books();
        assert_eq!(world.backlog.total().dropped(), 0, "seed {seed}");
    }
}

#[test]
fn an_outage_beyond_the_buffer_drops_the_oldest_and_counts_every_one() {
    let faults = Faults {
        outage: 600..4_200,
        ..no_faults()
    };
    let buffer = Duration::from_mins(30);
    let settings = Settings::new(Duration::from_secs(10), buffer);
    let mut world = World::new(faults, settings);
    world.run(2 * HOUR_S);
    world.check_books();
    // Of an hour in which nothing was taken, the last half is there and the first half is not.
    let lost = world.backlog.total().dropped() / 8;
    assert!((1_600..1_800).contains(&lost), "{lost}");
    let first_s = EPOCH_US / 1_000_000;
    for received in world.received.values() {
        let of_outage = received
            .seconds
            .range(first_s + 2_400..first_s + 4_200)
            .count();
        assert!(of_outage > 1_780, "{of_outage}");
    }
}

/// Times of the demo's steps in its hour, and how many tasks run and are pending from then on.
fn demo_script() -> Vec<(f64, [f64; 2])> {
    let text = include_str!("../../../demo/clusters.toml");
    let script: toml::Table = toml::from_str(text).unwrap();
    let cluster = &script["cluster"][0];
    assert_eq!(cluster["loop"].as_integer(), Some(HOUR_S));
    let mut tasks = [0.0; 2];
    let steps = cluster["steps"].as_array().unwrap().iter().map(|step| {
        for (count, key) in tasks.iter_mut().zip(["running", "pending"]) {
            if let Some(given) = step.get(key).and_then(toml::Value::as_integer) {
                *count = f64::from(i32::try_from(given).unwrap());
            }
        }
        (step["at"].as_float().unwrap(), tasks)
    });
    steps.collect()
}

#[test]
fn a_day_of_one_cluster_costs_what_was_estimated_and_at_most_six_cents() {
    let publish_every = Duration::from_mins(1);
    let script = demo_script();
    let settings = Settings::new(publish_every, Duration::from_hours(3));
    let mut backlog = Backlog::new(settings);
    let series = METRICS.map(|metric| {
        let key = MetricKey::new(metric, &[("ClusterName", "ECSEsgaroth")]).unwrap();
        backlog.series(&key).unwrap()
    });
    let start = Instant::now();
    let mut requests = 0;
    for passed in 0..DAY_S {
        let now = Now {
            monotonic: start + Duration::from_secs(passed.unsigned_abs()),
            utc_us: EPOCH_US + passed * 1_000_000,
        };
        let of_hour = f64::from(i32::try_from(passed % HOUR_S).unwrap());
        let step = script.iter().rev().find(|(at, _)| *at <= of_hour);
        let [running, pending] = step.unwrap().1;
        for (series, value) in series.into_iter().zip([running, pending, 2.0, 2.0]) {
            let second = now.second();
            let datum = Datum {
                series,
                second,
                value,
            };
            backlog.offer(datum, now);
        }
        while let Some(batch) = backlog.next_batch(now) {
            backlog.acknowledge(batch);
            requests += 1;
        }
    }
    let day = Duration::from_hours(24);
    let counted_usd = price::counted_usd_per_day(requests, day, 4);
    // The first step of each hour is as the hour before ended.
    let changes_per_hour = i32::try_from(script.len() - 1).unwrap();
    let estimated_usd = price::PriceInputs {
        interval: Interval::ALL[0],
        publish_every,
        metric_count: 4,
        datums_per_second: 4.0,
        changes_per_day: f64::from(24 * changes_per_hour),
    }
    .usd_per_day();
    assert!(counted_usd <= 0.06, "${counted_usd}, {requests} requests");
    let apart = (counted_usd / estimated_usd - 1.0).abs();
    assert!(apart < 0.02, "${counted_usd} is not ${estimated_usd}");
}
