//! The loop of `hydrant metrics`: ticks and answers in, datums out.
//!
//! What lives here: the loop with its priorities, what is logged. What does not:
//! every decision ([`super::schedule`], [`super::backlog`]) and every request ([`super::poll`],
//! [`super::publish`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::config::{Cluster, Metrics};
use crate::signals::{Asked, Signals};
use crate::{Exit, Failure};

use super::account::{Account, DatumCounts, GapReason};
use super::backlog::{Backlog, DatumBatch, Settings};
use super::clock::now;
use super::own::OwnMetrics;
use super::place::Place;
use super::poll::{CLUSTERS_A_CALL, PollError, Polled, poll};
use super::price::{Plan, counted_usd_per_day};
use super::publish::{Put, metric_data, put};
use super::schedule::{Event, Now, Schedule, Settled, Tick};
use super::series::Datum;
use super::summary::Summary;
use super::target::{Target, add_gaps};
use super::timing::{Durations, Timings};

/// How often a line tells how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_mins(1);
/// What ECS lets an account ask of its clusters. Source: API reference, "Request throttling for
/// the Amazon ECS API", "Cluster read" actions, sustained rate.
const CLUSTER_READS_A_SECOND: usize = 20;
/// The longest sleep: so that a clock that was set is noticed in time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What one DescribeClusters is for.
#[derive(Debug)]
struct Unit {
    place: usize,
    schedule: Schedule,
    clusters: Arc<[Cluster]>,
    targets: Vec<Target>,
    trouble: Option<GapReason>,
}

/// Where datums go.
#[derive(Debug)]
struct Outlet {
    place: Place,
    backlog: Backlog,
    /// Whether anything was ever accepted.
    has_accepted: bool,
    /// When the failure that lasts was first seen.
    failing_since: Option<Instant>,
}

/// The poller, ready to run.
#[derive(Debug)]
pub(super) struct Poller {
    config: Metrics,
    dry_run: bool,
    units: Vec<Unit>,
    outlets: Vec<Outlet>,
    account: Account,
    timings: Timings,
    /// The same since the last progress.
    recent: Timings,
    own: Option<OwnMetrics>,
    polls: JoinSet<(usize, i64, Polled)>,
    puts: JoinSet<(usize, Put)>,
    started: Instant,
    metric_count: u32,
    /// When sampling ends by itself.
    end: Option<Instant>,
    stopping: bool,
    progress_at: Instant,
}

fn internal(error: &JoinError) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("a task of the poller ended: {error}"),
        "report this; it is a defect of hydrant",
    )
}

impl Poller {
    /// Makes clients and books, checks credentials and names with one poll, and says what it
    /// will cost.
    pub(super) async fn start(
        config: Metrics,
        dry_run: bool,
        length: Option<Duration>,
    ) -> Result<Self, Failure> {
        let mut poller = Self {
            dry_run,
            units: Vec::new(),
            outlets: Vec::new(),
            account: Account::default(),
            timings: Timings::default(),
            recent: Timings::default(),
            own: None,
            polls: JoinSet::new(),
            puts: JoinSet::new(),
            started: Instant::now(),
            metric_count: 0,
            end: None,
            stopping: false,
            progress_at: Instant::now() + PROGRESS_INTERVAL,
            config,
        };
        for index in 0..poller.config.groups.len() {
            poller.add_group(index).await?;
        }
        if let Some(outlet) = poller
            .outlets
            .first_mut()
            .filter(|_| poller.config.publish_own)
        {
            let before = outlet.backlog.counts().count();
            poller.own = Some(OwnMetrics::open(&poller.config, &mut outlet.backlog)?);
            let more = outlet.backlog.counts().count() - before;
            poller.metric_count += u32::try_from(more).unwrap_or(u32::MAX);
        }
        poller.check().await?;
        poller.plan()?;
        let now = now();
        poller.started = now.monotonic;
        for unit in &mut poller.units {
            unit.schedule = Schedule::new(poller.config.interval, now);
        }
        poller.end = length.map(|length| now.monotonic + length);
        Ok(poller)
    }

    async fn add_group(&mut self, index: usize) -> Result<(), Failure> {
        let config = &self.config;
        let group = config.groups[index].clone();
        let place = Place::of(&group, config).await?;
        let mut settings = Settings::new(config.publish_every, config.buffer, config.interval);
        settings.flush_changes = config.flush_changes;
        let mut backlog = Backlog::new(settings);
        let several = config.groups.len() > 1;
        for clusters in group.clusters.chunks(CLUSTERS_A_CALL) {
            let mut targets = Vec::new();
            for cluster in clusters {
                let shown = if several {
                    format!("{} in {}", cluster.name, place.label)
                } else {
                    cluster.name.clone()
                };
                targets.push(Target::open(
                    config,
                    &mut backlog,
                    &mut self.account,
                    cluster,
                    shown,
                )?);
            }
            self.units.push(Unit {
                place: index,
                schedule: Schedule::new(config.interval, now()),
                clusters: clusters.into(),
                targets,
                trouble: None,
            });
        }
        self.metric_count += u32::try_from(backlog.counts().count()).unwrap_or(u32::MAX);
        self.outlets.push(Outlet {
            place,
            backlog,
            has_accepted: false,
            failing_since: None,
        });
        Ok(())
    }

    /// One poll of everything. Credentials that are refused now will be refused later; anything
    /// else may pass, and is counted when it does not.
    async fn check(&mut self) -> Result<(), Failure> {
        for unit in &self.units {
            let place = &self.outlets[unit.place].place;
            let deadline = Instant::now() + Duration::from_secs(5);
            let clusters = Arc::clone(&unit.clusters);
            let polled = poll(place.ecs.clone(), clusters, false, deadline).await;
            self.account.calls.describe_clusters += u64::from(polled.attempts);
            match polled.answer {
                Ok(answers) => {
                    for (target, answer) in unit.targets.iter().zip(answers) {
                        if let Err(reason) = answer {
                            let reason = reason.as_str();
                            warn!(
                                "cluster {} is {reason} now: its seconds are counted as gaps until it is there",
                                target.name
                            );
                        }
                    }
                }
                Err(error) if error.reason == GapReason::Denied => {
                    return Err(Failure::definite(
                        Exit::Permission,
                        format!("ECS in {}: {}", place.label, error.what),
                        "allow ecs:DescribeClusters on the clusters, and give AWS credentials: a task role, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                    ));
                }
                Err(error) => warn!(
                    "ECS in {} cannot be asked: {}; its seconds are counted as gaps until it can",
                    place.label, error.what
                ),
            }
        }
        Ok(())
    }

    /// Says what it will cost, and stretches `publish_every` where the budget asks for it.
    fn plan(&mut self) -> Result<(), Failure> {
        let polls = f64::from(86_400 / self.config.interval.seconds()) * self.units_f64();
        let mut usd = 0.0;
        let mut requests = 0.0;
        for outlet in &mut self.outlets {
            let count = u32::try_from(outlet.backlog.counts().count()).unwrap_or(u32::MAX);
            let mut plan = Plan {
                interval: self.config.interval,
                publish_every: self.config.publish_every,
                metric_count: count,
                changes_per_day: 0.0,
            };
            if let Some(budget) = self.config.budget_usd_per_day {
                let share = budget * f64::from(count) / f64::from(self.metric_count.max(1));
                let (stretched, limit) = plan.stretch(share).map_err(|error| {
                    Failure::definite(
                        Exit::Config,
                        format!(
                            "metrics.budget_usd_per_day, {}: {error}",
                            outlet.place.label
                        ),
                        "raise it, sample fewer clusters, or leave it out",
                    )
                })?;
                if stretched.publish_every > plan.publish_every {
                    info!(
                        "publishing every {:?} instead of {:?} in {}, to stay inside ${budget} a day; sampling stays at {} s",
                        stretched.publish_every,
                        plan.publish_every,
                        outlet.place.label,
                        plan.interval.seconds()
                    );
                }
                plan = stretched;
                outlet.backlog.pace(plan.publish_every, limit);
            }
            usd += plan.usd_per_day();
            requests += plan.requests_per_day();
        }
        let changes = if self.config.flush_changes {
            "; values that change are sent at once, at most $0.01 for 1,000"
        } else {
            ""
        };
        info!(
            "clusters: {}, metrics: {}, every {} s: {polls:.0} DescribeClusters (free) and {requests:.0} PutMetricData, ${usd:.3} a day{changes}",
            self.units
                .iter()
                .map(|unit| unit.targets.len())
                .sum::<usize>(),
            self.metric_count,
            self.config.interval.seconds(),
        );
        let most = self.units.len() / self.config.interval.seconds() as usize;
        if most > CLUSTER_READS_A_SECOND {
            warn!(
                "{most} DescribeClusters a second are more than an account's {CLUSTER_READS_A_SECOND}, unless they are spread over several: raise metrics.interval"
            );
        }
        Ok(())
    }

    fn units_f64(&self) -> f64 {
        f64::from(u32::try_from(self.units.len()).unwrap_or(u32::MAX))
    }

    /// Runs until a signal, the end that was asked for, or a refusal that will not pass.
    pub(super) async fn run(mut self, mut signals: Signals) -> Result<Summary, Failure> {
        loop {
            let now = now();
            self.turn(now);
            if self.end.is_some_and(|end| end <= now.monotonic) && !self.stopping {
                self.stop("the end of --for");
                continue;
            }
            if self.stopping && self.polls.is_empty() {
                break;
            }
            let wake_at = self.wake_at(now.monotonic);
            // Answers before the clock: a tick's answer may be in time only now. Nothing here
            // can starve the clock, because answers are as many as requests.
            tokio::select! {
                biased;
                asked = signals.next() => self.asked(asked),
                Some(polled) = self.polls.join_next() => {
                    let (unit, second, polled) = polled.map_err(|error| internal(&error))?;
                    self.answer_poll(unit, second, polled);
                }
                Some(done) = self.puts.join_next() => {
                    let (outlet, done) = done.map_err(|error| internal(&error))?;
                    self.answer_put(outlet, done)?;
                }
                () = sleep_until(wake_at.into()) => {}
            }
        }
        for unit in &mut self.units {
            for gap in unit.schedule.stop() {
                add_gaps(&mut self.account, &unit.targets, gap);
            }
        }
        self.drain().await?;
        Ok(self.summary())
    }

    /// Publishes what waits, for as long as a stop may take.
    async fn drain(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + self.config.shutdown_grace;
        for outlet in &mut self.outlets {
            outlet.backlog.flush(Instant::now());
        }
        loop {
            let now = now();
            self.publish(now);
            let waiting = self
                .outlets
                .iter()
                .any(|outlet| outlet.backlog.waiting() > 0);
            if (!waiting && self.puts.is_empty()) || end <= now.monotonic {
                return Ok(());
            }
            let flushes = self.outlets.iter().filter_map(|it| it.backlog.wake_at());
            let wake_at = flushes.min().map_or(end, |at| at.min(end));
            tokio::select! {
                Some(done) = self.puts.join_next() => {
                    let (outlet, done) = done.map_err(|error| internal(&error))?;
                    self.answer_put(outlet, done)?;
                }
                () = sleep_until(wake_at.into()) => {}
            }
        }
    }

    fn asked(&mut self, asked: Asked) {
        match asked {
            Asked::Stop(signal) => self.stop(signal),
            Asked::Progress => self.tell_progress(),
        }
    }

    fn stop(&mut self, why: &str) {
        if self.stopping {
            return;
        }
        info!("{why}: ending, with what waits published first");
        self.stopping = true;
        self.end = None;
        for unit in &mut self.units {
            unit.schedule.finish();
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let ticks = self.units.iter().map(|unit| unit.schedule.wake_at());
        let flushes = self.outlets.iter().filter_map(|it| it.backlog.wake_at());
        let wake_at = ticks.chain(flushes).chain(self.end).min();
        let latest = (now + LONGEST_SLEEP).min(self.progress_at);
        wake_at.map_or(latest, |at| at.min(latest))
    }

    fn turn(&mut self, now: Now) {
        for index in 0..self.units.len() {
            while let Some(event) = self.units[index].schedule.advance(now) {
                let unit = &mut self.units[index];
                match event {
                    Event::Poll(tick) => self.start_poll(index, tick),
                    Event::Gap(gap) => {
                        unit.note(Some(gap.reason), "");
                        add_gaps(&mut self.account, &unit.targets, gap);
                    }
                    Event::Stepped(step) => warn!(
                        "the clock was set by {:.3} s; the next sample is in {:.1?}",
                        Duration::from_micros(step.by_us.unsigned_abs()).as_secs_f64()
                            * if step.by_us < 0 { -1.0 } else { 1.0 },
                        step.next_in
                    ),
                }
            }
        }
        self.publish(now);
        if self.progress_at <= now.monotonic {
            self.progress_at = now.monotonic + PROGRESS_INTERVAL;
            let summary = self.summary();
            self.tell_progress();
            if let (Some(own), Some(outlet)) = (&self.own, self.outlets.first_mut()) {
                let recent = std::mem::take(&mut self.recent);
                own.offer(&mut outlet.backlog, now, &summary, &recent);
            }
        }
    }

    fn time(&mut self, kind: impl Fn(&mut Timings) -> &mut Durations, duration: Duration) {
        kind(&mut self.timings).add(duration);
        kind(&mut self.recent).add(duration);
    }

    fn start_poll(&mut self, index: usize, tick: Tick) {
        self.time(|timings| &mut timings.lateness, tick.lateness);
        let unit = &self.units[index];
        let client = self.outlets[unit.place].place.ecs.clone();
        let clusters = Arc::clone(&unit.clusters);
        let asking = poll(client, clusters, self.config.launch_types, tick.deadline);
        self.polls
            .spawn(async move { (index, tick.second, asking.await) });
    }

    fn answer_poll(&mut self, index: usize, second: i64, polled: Polled) {
        self.account.calls.describe_clusters += u64::from(polled.attempts);
        self.time(|timings| &mut timings.poll, polled.took);
        let now = now();
        let unit = &mut self.units[index];
        let whole = polled.answer.as_ref().map(|_| ()).map_err(|it| it.reason);
        match unit.schedule.settle(second, now.monotonic, whole) {
            // Its tick ended before, and was counted then.
            None => {}
            Some(Settled::Gap(gap)) => {
                let what = polled.answer.err().map(|PollError { what, .. }| what);
                unit.note(Some(gap.reason), &what.unwrap_or_default());
                add_gaps(&mut self.account, &unit.targets, gap);
            }
            Some(Settled::Sampled) => {
                unit.note(None, "");
                let answers = polled.answer.unwrap_or_default();
                let backlog = &mut self.outlets[unit.place].backlog;
                for (target, answer) in unit.targets.iter_mut().zip(answers) {
                    target.sample(answer, second, now, backlog, &mut self.account);
                }
            }
        }
    }

    fn publish(&mut self, now: Now) {
        for (index, outlet) in self.outlets.iter_mut().enumerate() {
            while let Some(batch) = outlet.backlog.next_batch(now) {
                if self.dry_run {
                    print_batch(&self.config.namespace, &outlet.backlog, &batch);
                    outlet.backlog.acknowledge(batch);
                    continue;
                }
                self.account.calls.put_metric_data += 1;
                let data = metric_data(&outlet.backlog, &batch);
                let client = outlet.place.cloudwatch.clone();
                let sending = put(client, self.config.namespace.clone(), data, batch);
                self.puts.spawn(async move { (index, sending.await) });
            }
        }
    }

    fn answer_put(&mut self, index: usize, done: Put) -> Result<(), Failure> {
        self.time(|timings| &mut timings.publish, done.took);
        let outlet = &mut self.outlets[index];
        let label = &outlet.place.label;
        let error = match done.answer {
            Ok(()) => {
                note_changes(&mut self.timings, &done.batch, now());
                outlet.backlog.acknowledge(done.batch);
                outlet.has_accepted = true;
                if let Some(since) = outlet.failing_since.take() {
                    let waiting = outlet.backlog.waiting();
                    info!(
                        "CloudWatch in {label} takes data again after {:.0?}; {waiting} datums wait",
                        since.elapsed()
                    );
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if error.denied && !outlet.has_accepted {
            return Err(Failure::definite(
                Exit::Permission,
                format!("CloudWatch in {label}: {}", error.what),
                "allow cloudwatch:PutMetricData for the namespace",
            ));
        }
        if outlet.failing_since.is_none() {
            outlet.failing_since = Some(Instant::now());
            warn!(
                "CloudWatch in {label}: {}; datums are kept, and sent again",
                error.what
            );
        }
        let chance = rand::random_range(0.0..=1.0);
        let now = Instant::now();
        let bad = outlet
            .backlog
            .refuse(done.batch, error.refusal, now, chance);
        if let Some(bad) = bad {
            let key = outlet.backlog.key(bad.series);
            warn!(
                "CloudWatch rejects {} at {}, which is dropped: {}",
                key.name(),
                bad.second,
                error.what
            );
        }
        Ok(())
    }

    fn tell_progress(&self) {
        info!("{}; {}", self.summary(), self.timings);
    }

    fn summary(&self) -> Summary {
        let mut datums = DatumCounts::default();
        for outlet in &self.outlets {
            datums.add(&outlet.backlog.total());
        }
        let elapsed = self.started.elapsed().max(Duration::from_secs(1));
        let calls = self.account.calls;
        let usd = counted_usd_per_day(calls.put_metric_data, elapsed, self.metric_count);
        Summary {
            ticks: self.account.total(),
            datums,
            calls,
            usd_per_day: usd,
            timings: self.timings.to_string(),
        }
    }
}

impl Unit {
    /// Logs when a reason begins or ends, not every second of it.
    fn note(&mut self, trouble: Option<GapReason>, what: &str) {
        if self.trouble == trouble {
            return;
        }
        let names: Vec<_> = self.targets.iter().map(|it| it.name.as_str()).collect();
        let names = match names[..] {
            [name] => name.to_owned(),
            [first, ..] => format!("{first} and {} more", names.len() - 1),
            [] => String::new(),
        };
        match trouble {
            Some(reason) => {
                let colon = if what.is_empty() { "" } else { ": " };
                warn!("no sample of {names} ({}){colon}{what}", reason.as_str());
            }
            None => info!("{names}: samples again"),
        }
        self.trouble = trouble;
    }
}

fn note_changes(timings: &mut Timings, batch: &DatumBatch, now: Now) {
    let Some(changed) = batch.changed_second() else {
        return;
    };
    let us = now.utc_us - changed * 1_000_000;
    timings
        .change
        .add(Duration::from_micros(u64::try_from(us).unwrap_or(0)));
}

fn print_batch(namespace: &str, backlog: &Backlog, batch: &DatumBatch) {
    let line = |datum: &Datum| {
        let key = backlog.key(datum.series);
        let time = jiff::Timestamp::from_second(datum.second).unwrap_or_default();
        let dimensions = key.dimensions().iter();
        let dimensions: Vec<_> = dimensions
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let (name, dimensions) = (key.name(), dimensions.join(","));
        format!("{time} {namespace} {name} {dimensions} {}", datum.value)
    };
    let mut lines: Vec<_> = batch.datums().iter().map(line).collect();
    // A time of one length comes first, so that this is their order.
    lines.sort_unstable();
    for line in lines {
        println!("{line}");
    }
}
