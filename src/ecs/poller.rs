//! The loop of `hydrant metrics`: ticks and answers in, datums out.
//!
//! What lives here: the loop with its priorities, what it costs, what becomes of requests to
//! CloudWatch. What does not: what is polled ([`super::sampler`]), and every other decision
//! ([`super::core::schedule`], [`super::core::backlog`]) and request ([`super::poll`], [`super::publish`]).

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use aws_credential_types::provider::SharedCredentialsProvider;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::config::Metrics;
use crate::printing::refused;
use crate::signals::{SignalRequest, Signals};
use crate::status::{StatusRequest, StatusServer};
use crate::{Exit, Failure};

use super::clients::RegionClients;
use super::clock::now;
use super::core::account::{Account, DatumCounts};
use super::core::backlog::{Backlog, Settings};
use super::core::batch::{DatumBatch, Refusal};
use super::core::price::counted_usd_per_day;
use super::core::schedule::Now;
use super::core::stop::Stop;
use super::dry_run::print_batch;
use super::estimate;
use super::exposition::families;
use super::own::OwnMetrics;
use super::publish::{Put, PutError, metric_data, put};
use super::sampler::{Done, Sampler};
use super::shared::{Outlet, Shared};
use super::summary::PollerSummary;
use super::timing::Timings;

/// How often a line tells how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_mins(1);
/// The longest sleep: so that a clock that was set is noticed in time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The poller, ready to run.
#[derive(Debug)]
pub(super) struct Poller {
    dry_run: bool,
    shared: Shared,
    sampler: Sampler,
    own: Option<OwnMetrics>,
    status: Option<StatusServer>,
    puts: JoinSet<(usize, Put)>,
    started: Instant,
    /// When sampling ends by itself.
    end: Option<Instant>,
    stop: Stop,
    progress_at: Instant,
    /// What was said last about the price.
    estimate: String,
}

fn internal(error: &JoinError) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("a task of the poller ended: {error}"),
        "report this; it is a defect of hydrant",
    )
}

impl Poller {
    /// Makes clients and books, checks credentials and names by asking once, and says what it
    /// will cost.
    pub(super) async fn start(
        config: Metrics,
        dry_run: bool,
        length: Option<Duration>,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Result<Self, Failure> {
        let mut config = config;
        // First, because an address that cannot be had is the quickest to say.
        let status = match config.status_listen {
            Some(listen) => Some(StatusServer::start(listen).await?),
            None => None,
        };
        let mut shared = Shared {
            outlets: Self::open_places(&mut config, credentials).await?,
            config,
            account: Account::default(),
            timings: Timings::default(),
            recent: Timings::default(),
        };
        let mut own = None;
        if shared.config.publish_own
            && let Some(outlet) = shared.outlets.first_mut()
        {
            own = Some(OwnMetrics::open(&shared.config, &mut outlet.backlog)?);
        }
        let sampler = Sampler::start(&mut shared).await?;
        let started = Instant::now();
        let mut poller = Self {
            dry_run,
            shared,
            sampler,
            own,
            status,
            puts: JoinSet::new(),
            started,
            end: length.map(|length| started + length),
            stop: Stop::Running,
            progress_at: started + PROGRESS_INTERVAL,
            estimate: String::new(),
        };
        match poller.plan() {
            Some(over_budget) => Err(over_budget),
            None => Ok(poller),
        }
    }

    async fn open_places(
        config: &mut Metrics,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Result<Vec<Outlet>, Failure> {
        let mut groups = Vec::new();
        let mut outlets = Vec::new();
        for group in &config.groups {
            let clients = RegionClients::of(group, config, credentials.clone()).await?;
            let count = groups.len();
            group
                .add_to(&mut groups, &clients.region)
                .map_err(|error| {
                    Failure::definite(Exit::Config, error.to_string(), error.remedy)
                })?;
            if groups.len() > count {
                let mut settings = Settings::new(config.publish_every, config.buffer);
                settings.flush_changes = config.flush_changes;
                outlets.push(Outlet::new(clients, Backlog::new(settings)));
            }
        }
        config.groups = groups;
        Ok(outlets)
    }

    /// Says what it will cost, and stretches `publish_every` where the budget asks for it; what is wrong if that is
    /// not enough.
    fn plan(&mut self) -> Option<Failure> {
        let sampled = self.sampler.sampled(&self.shared);
        let estimate = estimate::plan(&mut self.shared, &sampled);
        if estimate.line != self.estimate {
            info!(
                metrics = estimate.metrics,
                usd_per_day = estimate.usd_per_day,
                "{}",
                estimate.line
            );
            self.estimate = estimate.line;
        }
        estimate.over_budget
    }

    /// There is more or less to sample than before, and so it costs more or less.
    fn plan_again(&mut self, changed: &str) {
        // What is sampled goes on; somebody has to decide.
        if let Some(failure) = self.plan() {
            warn!(
                "{}; {changed} changed, all of it is sampled, and published as seldom as saves anything; remedy: {}",
                failure.what, failure.remedy
            );
        }
    }

    /// Runs until a signal, the end that was asked for, or a refusal that will not pass.
    pub(super) async fn run(mut self, mut signals: Signals) -> Result<PollerSummary, Failure> {
        loop {
            let now = now();
            self.turn(now)?;
            if self.end.is_some_and(|end| end <= now.monotonic) {
                self.stop.end();
                self.finish("the end of --for");
                continue;
            }
            let is_polled = self.stop > Stop::Running && !self.sampler.is_polling();
            if is_polled || self.stop == Stop::AtOnce {
                break;
            }
            let wake_at = self.wake_at(now.monotonic);
            // Answers before the clock: a tick's answer may be in time only now. Nothing here
            // can starve the clock, because answers are as many as requests. Who asks how it goes waits for all of it.
            tokio::select! {
                biased;
                asked = signals.next() => self.asked(asked),
                Some(done) = self.sampler.next() => {
                    let done = done.map_err(|error| internal(&error))?;
                    self.answer_ecs(done)?;
                }
                Some(done) = self.puts.join_next() => {
                    let (outlet, done) = done.map_err(|error| internal(&error))?;
                    self.answer_put(outlet, done)?;
                }
                () = sleep_until(wake_at.into()) => {}
                request = StatusServer::next(self.status.as_mut()) => self.show(request),
            }
        }
        self.sampler.stop(&mut self.shared);
        self.drain(&mut signals).await?;
        if let Some(status) = self.status.take() {
            status.stop().await;
        }
        Ok(self.summary())
    }

    /// Publishes waiting datums, for as long as a stop may take.
    async fn drain(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        let end = Instant::now() + self.shared.config.shutdown_grace;
        for outlet in &mut self.shared.outlets {
            outlet.backlog.flush(Instant::now());
        }
        loop {
            let now = now();
            self.publish(now)?;
            let waiting = self
                .shared
                .outlets
                .iter()
                .any(|outlet| outlet.backlog.waiting() > 0);
            if (!waiting && self.puts.is_empty())
                || end <= now.monotonic
                || self.stop == Stop::AtOnce
            {
                return Ok(());
            }
            let flushes = self
                .shared
                .outlets
                .iter()
                .filter_map(|it| it.backlog.wake_at());
            let wake_at = flushes.min().map_or(end, |at| at.min(end));
            tokio::select! {
                asked = signals.next() => self.asked(asked),
                request = StatusServer::next(self.status.as_mut()) => self.show(request),
                Some(done) = self.puts.join_next() => {
                    let (outlet, done) = done.map_err(|error| internal(&error))?;
                    self.answer_put(outlet, done)?;
                }
                () = sleep_until(wake_at.into()) => {}
            }
        }
    }

    fn asked(&mut self, asked: SignalRequest) {
        match asked {
            SignalRequest::Stop(signal) => {
                let before = self.stop;
                self.stop.signal();
                if self.stop == Stop::AtOnce {
                    warn!("{signal}: the second signal; stopping at once");
                } else if before == Stop::Running {
                    self.finish(signal);
                }
            }
            SignalRequest::Progress => self.tell_progress(),
        }
    }

    fn finish(&mut self, why: &str) {
        info!("{why}: stopping after waiting datums are published");
        self.end = None;
        self.sampler.finish();
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let flushes = self.shared.outlets.iter();
        let flushes = flushes.filter_map(|it| it.backlog.wake_at());
        let wake_at = flushes.chain(self.sampler.wake_at()).chain(self.end).min();
        let latest = (now + LONGEST_SLEEP).min(self.progress_at);
        wake_at.map_or(latest, |at| at.min(latest))
    }

    fn turn(&mut self, now: Now) -> Result<(), Failure> {
        self.sampler.turn(now, &mut self.shared);
        self.publish(now)?;
        if self.progress_at <= now.monotonic {
            self.progress_at = now.monotonic + PROGRESS_INTERVAL;
            let summary = self.summary();
            self.tell_progress();
            if let (Some(own), Some(outlet)) = (&self.own, self.shared.outlets.first_mut()) {
                let recent = std::mem::take(&mut self.shared.recent);
                own.offer(&mut outlet.backlog, now, &summary, &recent);
            }
        }
        Ok(())
    }

    fn answer_ecs(&mut self, done: Done) -> Result<(), Failure> {
        if let Some(changed) = self.sampler.settle(done, now(), &mut self.shared)? {
            self.plan_again(&changed);
        }
        Ok(())
    }

    /// Sends what is due, or prints it; a reader that has gone ends the run.
    fn publish(&mut self, now: Now) -> Result<(), Failure> {
        for (index, outlet) in self.shared.outlets.iter_mut().enumerate() {
            while let Some(batch) = outlet.backlog.next_batch(now) {
                self.shared.account.calls.put_metric_data += 1;
                if self.dry_run {
                    let namespace = &self.shared.config.namespace;
                    match print_batch(namespace, &outlet.backlog, &batch) {
                        Ok(()) => {}
                        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                            self.stop = Stop::AtOnce;
                        }
                        Err(error) => return Err(refused(&error)),
                    }
                    outlet.backlog.acknowledge(batch);
                    continue;
                }
                let data = metric_data(&outlet.backlog, &batch);
                let client = outlet.clients.cloudwatch.clone();
                let sending = put(client, self.shared.config.namespace.clone(), data, batch);
                self.puts.spawn(async move { (index, sending.await) });
            }
            outlet.say_wait(now.monotonic);
        }
        Ok(())
    }

    fn answer_put(&mut self, index: usize, done: Put) -> Result<(), Failure> {
        self.shared.time(|timings| &mut timings.publish, done.took);
        let outlet = &mut self.shared.outlets[index];
        let label = &outlet.clients.label;
        let error = match done.answer {
            Ok(()) => {
                note_changes(&mut self.shared.timings, &done.batch, now());
                outlet.backlog.acknowledge(done.batch);
                outlet.has_accepted = true;
                outlet.refused_by_cloudwatch = None;
                if let Some(since) = outlet.failing_since.take() {
                    let waiting = outlet.backlog.waiting();
                    info!(
                        region = label,
                        waiting,
                        "CloudWatch in {label} accepts datums again after {:.0?}; {waiting} datums wait",
                        since.elapsed()
                    );
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let refusal = error.refusal(label);
        if outlet.failing_since.is_none() {
            outlet.failing_since = Some(Instant::now());
            let remedy = refusal
                .as_ref()
                .map(|it| format!("; remedy: {}", it.remedy));
            warn!(
                region = label,
                "CloudWatch in {label}: {}; datums are kept, and sent again{}",
                error.what,
                remedy.unwrap_or_default()
            );
        }
        if !outlet.has_accepted {
            outlet.refused_by_cloudwatch = refusal;
        }
        let is_throttled = error.refusal == Refusal::Throttled;
        self.shared.account.calls.throttled_puts += u64::from(is_throttled);
        refuse(outlet, done.batch, &error);
        self.shared.go_on_with_others()
    }

    /// Answers the status server.
    fn show(&self, request: StatusRequest) {
        request.answer(families(
            &self.shared,
            &self.sampler,
            &self.summary(),
            now(),
        ));
    }

    fn tell_progress(&self) {
        self.summary().log(&self.shared.timings);
    }

    fn summary(&self) -> PollerSummary {
        let mut datums = DatumCounts::default();
        for outlet in &self.shared.outlets {
            datums.add(&outlet.backlog.total());
        }
        let elapsed = self.started.elapsed().max(Duration::from_secs(1));
        let calls = self.shared.account.calls;
        let usd = counted_usd_per_day(calls.put_metric_data, elapsed, self.shared.metric_count());
        PollerSummary {
            ticks: self.shared.account.total(),
            datums,
            calls,
            usd_per_day: usd,
            is_dry_run: self.dry_run,
            was_stopped: self.stop >= Stop::Signalled,
            timings: self.shared.timings.clone(),
        }
    }
}

/// Gives a batch back that was not accepted, and says which datums are dropped; only that there are some, if all are.
fn refuse(outlet: &mut Outlet, batch: DatumBatch, error: &PutError) {
    let was_everything = outlet.backlog.is_everything_rejected();
    let chance = rand::random_range(0.0..=1.0);
    let now = Instant::now();
    let bad = outlet.backlog.refuse(batch, error.refusal, now, chance);
    let Some(bad) = bad.filter(|_| !was_everything) else {
        return;
    };
    let (key, label) = (outlet.backlog.key(bad.series), &outlet.clients.label);
    warn!(
        metric = key.name(),
        second = bad.second,
        "CloudWatch in {label} rejects {} at {}, which is dropped: {}",
        key.name(),
        bad.second,
        error.what
    );
    if outlet.backlog.is_everything_rejected() {
        warn!(
            region = label,
            waiting = outlet.backlog.waiting(),
            "CloudWatch in {label} rejects all that it is sent; the other {} datums are kept, and one request is sent for each publish_every; \
             check the clock of this machine, metrics.namespace, and that the endpoint is CloudWatch's",
            outlet.backlog.waiting()
        );
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
