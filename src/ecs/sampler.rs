//! What is polled and how often: scheduled polls, their polls under way, and the lists that change them.
//!
//! What lives here: how calls of one bucket are laid out anew when there is more or less to
//! sample. What does not: one scheduled poll ([`super::scheduled_poll`]), one list ([`super::directory`]), and what
//! becomes of datums ([`super::poller`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::aws::Cause;
use crate::{Exit, Failure};

use super::caller::{CallBucket, PollError};
use super::core::cadence::{Cadence, change_wait};
use super::core::schedule::{Interval, Now, Tick};
use super::directory::{Directory, Listing, list_spacing};
use super::poll::{Polled, poll};
use super::poll_query::{CLUSTERS_A_CALL, PollQuery, Sighting};
use super::scheduled_poll::{Advance, ScheduledPoll};
use super::shared::Shared;
use super::target::Target;

/// For the polls before the first tick.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// What comes back to the sampler.
#[derive(Debug)]
pub(super) enum Done {
    /// The poll of a scheduled poll's tick.
    Poll(u64, Tick, Polled),
    /// The list of a directory.
    List(usize, Listing),
}

/// Polls on a schedule.
///
/// Contract: [`Sampler::start`] once; then [`Sampler::turn`] whenever [`Sampler::wake_at`] comes,
/// and [`Sampler::settle`] with what [`Sampler::next`] gives.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    scheduled_polls: BTreeMap<u64, ScheduledPoll>,
    next_id: u64,
    directories: Vec<Directory>,
    under_way: JoinSet<Done>,
    /// How many lists are under way.
    lists: usize,
    /// What was announced of each place and bucket that is asked less often than configured.
    announced: BTreeMap<(usize, usize), Interval>,
}

impl Sampler {
    /// Enters all clusters, asks for each of them once, and for what is in them, so that what
    /// will be refused later is refused now.
    pub(super) async fn start(shared: &mut Shared) -> Result<Self, Failure> {
        let mut sampler = Self::default();
        let mut queries = Vec::new();
        for place in 0..shared.outlets.len() {
            let of_place = sampler.enter_clusters(place, shared)?;
            for (query, targets) in &of_place {
                sampler.check(place, query, targets, shared).await;
            }
            queries.push(of_place);
        }
        shared.go_on_with_others()?;
        sampler.space_lists(shared);
        sampler.list_all(shared).await?;
        shared.go_on_with_others()?;
        let now = super::clock::now();
        for (place, queries) in queries.into_iter().enumerate() {
            sampler.lay_out((place, CallBucket::Clusters), queries, now, shared)?;
            for bucket in [CallBucket::Services, CallBucket::Instances] {
                sampler.lay_out_listed((place, bucket), now, shared)?;
            }
        }
        Ok(sampler)
    }

    fn enter_clusters(
        &mut self,
        place: usize,
        shared: &mut Shared,
    ) -> Result<Vec<(PollQuery, Vec<Target>)>, Failure> {
        let clusters = shared.config.groups[place].clusters.clone();
        let several = shared.outlets.len() > 1;
        let now = Instant::now();
        let mut queries = Vec::new();
        for clusters in clusters.chunks(CLUSTERS_A_CALL) {
            let mut targets = Vec::new();
            for cluster in clusters {
                let shown = if several {
                    format!(
                        "{} in {}",
                        cluster.name, shared.outlets[place].clients.label
                    )
                } else {
                    cluster.name.clone()
                };
                targets.extend(shared.registry(place).open_cluster(cluster, &shown)?);
                for (wanted, bucket) in [
                    (shared.config.services, CallBucket::Services),
                    (shared.config.capacity_providers, CallBucket::Instances),
                ] {
                    if wanted {
                        let (cluster, shown) = (cluster.clone(), shown.clone());
                        let directory = Directory::new((place, bucket), cluster, shown, now);
                        self.directories.push(directory);
                    }
                }
            }
            let query = PollQuery::Clusters {
                clusters: clusters.into(),
                launch_types: shared.config.launch_types,
            };
            queries.push((query, targets));
        }
        Ok(queries)
    }

    /// One poll. What is refused now will be refused later; anything else may pass, and is counted when it does not.
    async fn check(
        &self,
        place: usize,
        query: &PollQuery,
        targets: &[Target],
        shared: &mut Shared,
    ) {
        let label = &shared.outlets[place].clients.label;
        let caller = shared.outlets[place].clients.caller(CallBucket::Clusters);
        let deadline = Instant::now() + CHECK_DEADLINE;
        let polled = poll(caller.patient(), query.clone(), deadline).await;
        let is_throttled = polled.is_throttled();
        match polled.answer {
            Ok(answers) => {
                for (target, answer) in targets.iter().zip(answers) {
                    if let Err(reason) = answer {
                        let reason = reason.as_str();
                        warn!(
                            cluster = target.name,
                            reason,
                            "cluster {} is {reason} now: its seconds are counted as gaps until it is there",
                            target.name
                        );
                    }
                }
            }
            Err(error) => {
                let refusal = refusal(CallBucket::Clusters, label, &error);
                let remedy = refusal
                    .as_ref()
                    .map(|it| format!("; remedy: {}", it.remedy));
                warn!(
                    region = label,
                    reason = error.reason.as_str(),
                    "ECS in {label} cannot be asked: {}; its seconds are counted as gaps until it can{}",
                    error.what,
                    remedy.unwrap_or_default()
                );
                shared.outlets[place].refused_by_ecs = refusal;
            }
        }
        *query.counter(&mut shared.account.calls) += u64::from(polled.attempts);
        shared.account.calls.throttled_reads += u64::from(is_throttled);
    }

    /// Directories of one place and bucket share its calls.
    fn space_lists(&mut self, shared: &Shared) {
        for index in 0..self.directories.len() {
            let Directory { place, bucket, .. } = self.directories[index];
            let per_second = shared.config.ecs_share * bucket.per_second();
            let count = self.directory_count((place, bucket));
            self.directories[index].spacing = list_spacing(count, per_second);
        }
    }

    fn directory_count(&self, kind: (usize, CallBucket)) -> usize {
        let directories = self.directories.iter();
        directories
            .filter(|it| (it.place, it.bucket) == kind)
            .count()
    }

    /// The first list of every directory.
    async fn list_all(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        if !self.directories.is_empty() {
            info!(
                "listing what is in {} clusters",
                shared.config.cluster_count()
            );
        }
        for directory in &mut self.directories {
            let clients = &shared.outlets[directory.place].clients;
            let listing = directory.list(clients).await;
            shared.account.calls.add(&listing.calls);
            if let Err(error) = &listing.answer
                && let Some(refusal) = refusal(directory.bucket, &clients.label, error)
            {
                shared.outlets[directory.place].refused_by_ecs = Some(refusal);
            }
            directory.begin();
            if let (_, Some(failure)) = take_list(directory, listing, shared) {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// When [`Sampler::turn`] will next have something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let ticks = self.scheduled_polls.values().map(ScheduledPoll::wake_at);
        let lists = self.directories.iter().filter_map(Directory::due_at);
        ticks.chain(lists).min()
    }

    /// Starts what is due, and counts what was missed. Whether something that had gone is not
    /// paid for any more.
    pub(super) fn turn(&mut self, now: Now, shared: &mut Shared) -> bool {
        let mut stepped = None;
        for (id, scheduled) in &mut self.scheduled_polls {
            while let Some(advance) = scheduled.advance(now, &mut shared.account) {
                let tick = match advance {
                    Advance::Poll(tick) => tick,
                    Advance::Stepped(step) => {
                        stepped = Some(step);
                        continue;
                    }
                };
                shared.time(|timings| &mut timings.lateness, tick.lateness);
                let caller = shared.outlets[scheduled.place]
                    .clients
                    .caller(scheduled.bucket);
                let (id, query) = (*id, scheduled.query.clone());
                let polling = poll(caller, query, tick.deadline);
                self.under_way
                    .spawn(async move { Done::Poll(id, tick, polling.await) });
            }
        }
        if let Some(step) = stepped {
            let seconds = Duration::from_micros(step.by_us.unsigned_abs()).as_secs_f64();
            let way = if step.by_us < 0 { "back" } else { "forward" };
            warn!(
                by_us = step.by_us,
                "the clock was set {way} by {seconds:.3} s; samples carry the new time from now on"
            );
        }
        let has_retired = self.retire(shared);
        for (index, directory) in self.directories.iter_mut().enumerate() {
            if directory.due_at().is_some_and(|due| due <= now.monotonic) {
                directory.begin();
                self.lists += 1;
                let listing = directory.list(&shared.outlets[directory.place].clients);
                self.under_way
                    .spawn(async move { Done::List(index, listing.await) });
            }
        }
        has_retired
    }

    /// Forgets scheduled polls whose last poll has ended, and what has gone with them.
    fn retire(&mut self, shared: &mut Shared) -> bool {
        let before = shared.metric_count();
        let mut ended: Vec<_> = Vec::new();
        self.scheduled_polls.retain(|_, scheduled| {
            if scheduled.has_ended() {
                ended.push((scheduled.place, scheduled.bucket));
            }
            !scheduled.has_ended()
        });
        ended.dedup();
        for (place, bucket) in ended {
            let is_one =
                |scheduled: &ScheduledPoll| (scheduled.place, scheduled.bucket) == (place, bucket);
            if self
                .scheduled_polls
                .values()
                .any(|scheduled| is_one(scheduled) && scheduled.is_ending())
            {
                continue;
            }
            for directory in &mut self.directories {
                if (directory.place, directory.bucket) == (place, bucket) {
                    directory.sweep(&mut shared.registry(place));
                }
            }
        }
        shared.metric_count() != before
    }

    /// The next poll or list that has ended; none if none is under way.
    pub(super) async fn next(&mut self) -> Option<Result<Done, JoinError>> {
        self.under_way.join_next().await
    }

    /// Whether polls are under way. Lists are of no use at the end.
    pub(super) fn is_polling(&self) -> bool {
        self.under_way.len() > self.lists
    }

    /// Enters what has ended; whether there is more or less to sample than before.
    ///
    /// # Errors
    /// If ECS's calls are too few for all of it, however seldom it is sampled.
    pub(super) fn settle(
        &mut self,
        done: Done,
        now: Now,
        shared: &mut Shared,
    ) -> Result<bool, Failure> {
        match done {
            Done::Poll(id, tick, polled) => {
                self.settle_poll(id, tick, &polled, now, shared);
                Ok(false)
            }
            Done::List(index, listing) => {
                self.lists -= 1;
                shared.account.calls.add(&listing.calls);
                // There is none any more at the end.
                let Some(directory) = self.directories.get_mut(index) else {
                    return Ok(false);
                };
                let kind = (directory.place, directory.bucket);
                let had_failed = directory.has_failed;
                let (changed, failure) = take_list(directory, listing, shared);
                if let Some(failure) = failure.filter(|_| !had_failed) {
                    warn!("{}; remedy: {}", failure.what, failure.remedy);
                }
                if changed {
                    self.lay_out_listed(kind, now, shared)?;
                }
                Ok(changed)
            }
        }
    }

    fn settle_poll(&mut self, id: u64, tick: Tick, polled: &Polled, now: Now, shared: &mut Shared) {
        shared.time(|timings| &mut timings.poll, polled.took);
        let Some(scheduled) = self.scheduled_polls.get_mut(&id) else {
            return;
        };
        *scheduled.query.counter(&mut shared.account.calls) += u64::from(polled.attempts);
        let place = scheduled.place;
        if polled.answer.is_ok() {
            shared.outlets[place].refused_by_ecs = None;
        }
        if let Some(second) = scheduled.settle(tick, polled, now, &mut shared.account) {
            let answers = polled.answer.as_deref().unwrap_or_default();
            let backlog = &mut shared.outlets[place].backlog;
            for (target, answer) in scheduled.targets.iter_mut().zip(answers) {
                target.sample(answer, second, now, backlog, &mut shared.account);
            }
        }
        let query = &scheduled.query;
        let of_place = |it: &&mut Directory| it.place == place;
        for directory in self.directories.iter_mut().filter(of_place) {
            notice(directory, query, polled, now.monotonic);
        }
    }

    /// Polls what the directories of a place and bucket have.
    fn lay_out_listed(
        &mut self,
        kind: (usize, CallBucket),
        now: Now,
        shared: &mut Shared,
    ) -> Result<(), Failure> {
        let directories = self.directories.iter();
        let listed = directories.filter(|it| (it.place, it.bucket) == kind);
        let queries = listed.flat_map(Directory::queries).collect();
        self.lay_out(kind, queries, now, shared)
    }

    /// Replaces the scheduled polls of a place and bucket at one second: those before leave it and what
    /// follows to the new ones, so that no second is sampled twice or by none.
    fn lay_out(
        &mut self,
        (place, bucket): (usize, CallBucket),
        queries: Vec<(PollQuery, Vec<Target>)>,
        now: Now,
        shared: &mut Shared,
    ) -> Result<(), Failure> {
        let (call, what) = bucket.names();
        let label = &shared.outlets[place].clients.label;
        let calls = queries.iter().map(|(query, _)| query.call_count()).sum();
        let share = shared.config.ecs_share * bucket.per_second();
        let directories = self.directory_count((place, bucket));
        let lists = f64::from(u32::try_from(directories).unwrap_or(u32::MAX))
            / list_spacing(directories, share).as_secs_f64();
        let Some(cadence) = Cadence::of(calls, shared.config.interval, share, lists) else {
            return Err(Failure::definite(
                Exit::Config,
                format!("{label}: {share} {call} a second are too few for all {what}"),
                "raise metrics.ecs_share, or sample fewer clusters",
            ));
        };
        self.announce((place, bucket), cadence, calls, shared);
        let is_before = |scheduled: &&mut ScheduledPoll| {
            (scheduled.place, scheduled.bucket) == (place, bucket) && !scheduled.is_ending()
        };
        let mut before: Vec<_> = self
            .scheduled_polls
            .values_mut()
            .filter(is_before)
            .collect();
        let whole = now.utc_us.rem_euclid(1_000_000) == 0;
        let next = now.second() + i64::from(!whole);
        let first_second = before.iter().map(|scheduled| scheduled.next_second(now));
        let first_second = first_second.fold(next, i64::max);
        for scheduled in &mut before {
            scheduled.finish_before(first_second, now);
        }
        let mut index = 0;
        for (query, targets) in queries {
            let on_grid = (cadence.interval, cadence.shift(index));
            index += query.call_count();
            let scheduled = ScheduledPoll::starting(
                (place, bucket),
                (query, targets),
                on_grid,
                now,
                first_second,
            );
            self.scheduled_polls.insert(self.next_id, scheduled);
            self.next_id += 1;
        }
        let of_place =
            |scheduled: &&ScheduledPoll| scheduled.place == place && !scheduled.is_ending();
        let wait = change_wait(self.scheduled_polls.values().filter(of_place).count());
        shared.outlets[place].backlog.wait_for_changes(wait);
        Ok(())
    }

    /// Says so when the share of calls makes sampling slower than configured, or not any more.
    fn announce(
        &mut self,
        (place, bucket): (usize, CallBucket),
        cadence: Cadence,
        calls: usize,
        shared: &Shared,
    ) {
        let configured = shared.config.interval;
        let key = (place, bucket as usize);
        let before = self.announced.get(&key).copied().unwrap_or(configured);
        if cadence.interval == before {
            return;
        }
        self.announced.insert(key, cadence.interval);
        let (call, what) = bucket.names();
        let label = &shared.outlets[place].clients.label;
        let seconds = cadence.interval.seconds();
        if cadence.interval == configured {
            info!("{what} in {label} are sampled every {seconds} s again");
        } else {
            warn!(
                region = label,
                interval_s = seconds,
                "{what} in {label} are sampled every {seconds} s instead of {} s: a sample of all takes {calls} {call}, and metrics.ecs_share = {} allows {} a second",
                configured.seconds(),
                shared.config.ecs_share,
                shared.config.ecs_share * bucket.per_second(),
            );
        }
    }

    /// What goes on to be polled.
    pub(super) fn polled(&self) -> impl Iterator<Item = &ScheduledPoll> {
        let all = self.scheduled_polls.values();
        all.filter(|scheduled| !scheduled.is_ending())
    }

    /// Datums a second of one place.
    pub(super) fn datums_per_second(&self, place: usize) -> f64 {
        let of_place = self.polled().filter(|scheduled| scheduled.place == place);
        of_place.map(ScheduledPoll::datums_per_second).sum()
    }

    /// Calls of ECS a second, without lists and what is asked again.
    pub(super) fn calls_per_second(&self) -> f64 {
        self.polled().map(ScheduledPoll::calls_per_second).sum()
    }

    /// Starts no poll any more.
    pub(super) fn finish(&mut self) {
        for scheduled in self.scheduled_polls.values_mut() {
            scheduled.finish();
        }
        // A list would bring new scheduled polls.
        self.directories.clear();
    }

    /// Ends what is under way.
    pub(super) fn stop(&mut self, shared: &mut Shared) {
        for scheduled in self.scheduled_polls.values_mut() {
            scheduled.stop(&mut shared.account);
        }
    }
}

/// Takes a list in, and says when it begins or ends to fail.
fn take_list(
    directory: &mut Directory,
    listing: Listing,
    shared: &mut Shared,
) -> (bool, Option<Failure>) {
    let (_, what) = directory.bucket.names();
    let (name, failed_before) = (directory.cluster.name.clone(), directory.has_failed);
    match &listing.answer {
        Ok(_) if failed_before => info!("the {what} of {name} can be listed again"),
        Err(error) if !failed_before => warn!(
            cluster = name,
            reason = error.reason.as_str(),
            "the {what} of {name} cannot be listed: {}; those that are known are still sampled",
            error.what
        ),
        Ok(_) | Err(_) => {}
    }
    let before = directory.len();
    let mut registry = shared.registry(directory.place);
    let (changed, failure) = directory.take(listing.answer, Instant::now(), &mut registry);
    // What is there at the start is in the line about the price.
    if directory.len() != before && before > 0 {
        info!(
            cluster = name,
            count = directory.len(),
            before,
            "{what} of {name}: {}, before {before}",
            directory.len()
        );
    }
    (changed, failure)
}

/// Lets a directory see what a poll says about how much there is.
fn notice(directory: &mut Directory, query: &PollQuery, polled: &Polled, now: Instant) {
    let answers = polled.answer.as_deref().ok();
    match query.sighting(&directory.cluster, directory.bucket, answers) {
        Some(Sighting::Count(count)) => directory.see(count, now),
        Some(Sighting::Changed) => directory.hurry(now),
        None => {}
    }
}

/// What ends the poller at its start, if a failed call will not pass by itself.
fn refusal(bucket: CallBucket, label: &str, error: &PollError) -> Option<Failure> {
    let what = format!("ECS in {label}: {}", error.what);
    let cause = error.cause?;
    if cause != Cause::Denied {
        let (exit, remedy) = cause.refusal()?;
        return Some(Failure::definite(exit, what, remedy));
    }
    let allow = match bucket {
        CallBucket::Clusters => "allow ecs:DescribeClusters on the clusters",
        CallBucket::Services => {
            "allow ecs:ListServices and ecs:DescribeServices, or set metrics.services = false"
        }
        CallBucket::Instances => {
            "allow ecs:ListContainerInstances and ecs:DescribeContainerInstances, or set metrics.capacity_providers = false"
        }
    };
    Some(Failure::definite(Exit::Permission, what, allow))
}

#[cfg(test)]
mod tests {
    use super::super::core::account::GapReason;
    use super::*;

    #[test]
    fn only_what_does_not_pass_by_itself_ends_the_start() {
        let of = |cause| {
            let error = PollError {
                reason: GapReason::Failed,
                cause,
                what: "x".to_owned(),
            };
            refusal(CallBucket::Services, "us-east-1", &error)
        };
        for passes in [
            Cause::NoAnswer,
            Cause::Throttled,
            Cause::Failed,
            Cause::Gone,
        ] {
            assert_eq!(of(Some(passes)), None);
        }
        assert_eq!(of(None), None);
        let denied = of(Some(Cause::Denied)).unwrap();
        assert_eq!(denied.exit, Exit::Permission);
        assert!(denied.remedy.contains("ecs:ListServices"), "{denied:?}");
        assert_eq!(denied.what, "ECS in us-east-1: x");
        let elsewhere = of(Some(Cause::NotUnderstood)).unwrap();
        assert_eq!(elsewhere.exit, Exit::Config);
    }
}
