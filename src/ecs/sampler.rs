//! What is polled and how often: scheduled polls, their polls under way, and the lists that change them.
//!
//! What lives here: how calls of one bucket are laid out anew when there is more or less to
//! sample; in `start` what comes before the first tick, in `discover` clusters that come and go. What does not: one scheduled poll ([`super::scheduled_poll`]), one list ([`super::directory`]), and what
//! becomes of datums ([`super::poller`]).

mod discover;
mod start;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::{info, warn};

use crate::config::Cluster;
use crate::{Exit, Failure};

use super::caller::CallBucket;
use super::core::cadence::{Cadence, change_wait};
use super::core::schedule::{Interval, Now, Tick};
use super::directory::{Directory, Listing, list_spacing};
use super::estimate::Sampled;
use super::list_timer::LIST_PART;
use super::poll::{Polled, poll};
use super::poll_query::{PollQuery, Sighting};
use super::roster::{ClusterListing, Roster};
use super::scheduled_poll::{Advance, ScheduledPoll};
use super::shared::Shared;
use super::target::Target;

/// What comes back to the sampler.
#[derive(Debug)]
pub(super) enum Done {
    /// The poll of a scheduled poll's tick.
    Poll(u64, Tick, Polled),
    /// The list of a directory.
    List(u64, Listing),
    /// The list of a place's clusters.
    Clusters(usize, ClusterListing),
}

/// Polls on a schedule.
///
/// Contract: [`Sampler::start`] once; then [`Sampler::turn`] whenever [`Sampler::wake_at`] comes,
/// and [`Sampler::settle`] with what [`Sampler::next`] gives.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    scheduled_polls: BTreeMap<u64, ScheduledPoll>,
    /// The clusters of each place.
    rosters: Vec<Roster>,
    directories: BTreeMap<u64, Directory>,
    /// Of the next scheduled poll or directory.
    next_id: u64,
    under_way: JoinSet<Done>,
    /// How many lists are under way.
    lists: usize,
    /// What was announced of each place and bucket that is asked less often than configured.
    announced: BTreeMap<(usize, usize), Interval>,
}

impl Sampler {
    /// Directories of one place and bucket share its calls.
    fn space_lists(&mut self, shared: &Shared) {
        let mut counts = BTreeMap::<_, usize>::new();
        for directory in self.directories.values() {
            *counts
                .entry((directory.place, directory.bucket as usize))
                .or_default() += 1;
        }
        for directory in self.directories.values_mut() {
            let per_second = shared.config.ecs_share * directory.bucket.per_second();
            let count = counts[&(directory.place, directory.bucket as usize)];
            directory.spacing = list_spacing(count, per_second);
        }
    }

    fn directory_count(&self, kind: (usize, CallBucket)) -> usize {
        let directories = self.directories.values();
        directories
            .filter(|it| (it.place, it.bucket) == kind)
            .count()
    }

    /// When [`Sampler::turn`] will next have something to do.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let ticks = self.scheduled_polls.values().map(ScheduledPoll::wake_at);
        let lists = self.directories.values().filter_map(Directory::due_at);
        let searches = self.rosters.iter().filter_map(Roster::due_at);
        let unlisted = self.rosters.iter().filter_map(Roster::wake_at);
        ticks.chain(lists).chain(searches).chain(unlisted).min()
    }

    /// Starts what is due, and counts what was missed.
    pub(super) fn turn(&mut self, now: Now, shared: &mut Shared) {
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
        for (place, roster) in self.rosters.iter_mut().enumerate() {
            if let Some(unlisted) = &mut roster.unlisted {
                unlisted.advance(now, &mut shared.registry(place));
            }
        }
        self.retire(shared);
        for (id, directory) in &mut self.directories {
            if directory.due_at().is_some_and(|due| due <= now.monotonic) {
                directory.timer.begin();
                self.lists += 1;
                let listing = directory.list(&shared.outlets[directory.place].clients);
                let id = *id;
                self.under_way
                    .spawn(async move { Done::List(id, listing.await) });
            }
        }
        self.search(now.monotonic, shared);
    }

    /// Forgets scheduled polls whose last poll has ended, and what has gone with them.
    fn retire(&mut self, shared: &mut Shared) {
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
            if bucket == CallBucket::Clusters
                && let Some(roster) = self.rosters.get_mut(place)
            {
                roster.sweep(&mut shared.registry(place));
            }
            for directory in self.directories.values_mut() {
                if (directory.place, directory.bucket) == (place, bucket) {
                    directory.sweep(&mut shared.registry(place));
                }
            }
        }
        self.directories.retain(|_, it| !it.has_ended());
    }

    /// The next poll or list that has ended; none if none is under way.
    pub(super) async fn next(&mut self) -> Option<Result<Done, JoinError>> {
        self.under_way.join_next().await
    }

    /// Whether polls are under way. Lists are of no use at the end.
    pub(super) fn is_polling(&self) -> bool {
        self.under_way.len() > self.lists
    }

    /// Enters what has ended; of what there is more or less to sample than before.
    ///
    /// # Errors
    /// If ECS's calls are too few for all of it, however seldom it is sampled.
    pub(super) fn settle(
        &mut self,
        done: Done,
        now: Now,
        shared: &mut Shared,
    ) -> Result<Option<String>, Failure> {
        match done {
            Done::Poll(id, tick, polled) => {
                self.settle_poll(id, tick, &polled, now, shared);
                Ok(None)
            }
            Done::Clusters(place, listing) => {
                self.lists -= 1;
                shared.account.calls.add(&listing.calls);
                // There is none any more at the end.
                if self.rosters.is_empty() {
                    return Ok(None);
                }
                self.follow_clusters(place, &listing, now, shared)
            }
            Done::List(id, listing) => {
                self.lists -= 1;
                shared.account.calls.add(&listing.calls);
                // There is none any more at the end, or without its cluster.
                let Some(directory) = self.directories.get_mut(&id) else {
                    return Ok(None);
                };
                let kind = (directory.place, directory.bucket);
                let had_failed = directory.has_failed;
                let (changed, failure) = take_list(directory, listing, shared);
                if let Some(failure) = failure.filter(|_| !had_failed) {
                    warn!("{}; remedy: {}", failure.what, failure.remedy);
                }
                if !changed {
                    return Ok(None);
                }
                let (_, what) = directory.bucket.names();
                let changed = format!("the {what} of {}", directory.cluster.name);
                self.lay_out_listed(kind, now, shared)?;
                Ok(Some(changed))
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
        for directory in self.directories.values_mut().filter(of_place) {
            notice(directory, query, polled, now.monotonic);
        }
        if let Some(roster) = self.rosters.get_mut(place) {
            roster.notice(query, polled, now.monotonic);
        }
    }

    /// Polls the clusters of a place.
    fn lay_out_clusters(
        &mut self,
        place: usize,
        now: Now,
        shared: &mut Shared,
    ) -> Result<(), Failure> {
        let queries = self.rosters[place].queries(shared.config.launch_types);
        self.lay_out((place, CallBucket::Clusters), queries, now, shared)
    }

    /// Polls what the directories of a place and bucket have.
    fn lay_out_listed(
        &mut self,
        kind: (usize, CallBucket),
        now: Now,
        shared: &mut Shared,
    ) -> Result<(), Failure> {
        let directories = self.directories.values();
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
        let lists = if bucket == CallBucket::Clusters && self.rosters[place].is_searching() {
            share * LIST_PART
        } else {
            let directories = self.directory_count((place, bucket));
            f64::from(u32::try_from(directories).unwrap_or(u32::MAX))
                / list_spacing(directories, share).as_secs_f64()
        };
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

    /// What is sampled, as far as that decides the price.
    pub(super) fn sampled(&self, shared: &Shared) -> Sampled {
        let places = 0..shared.outlets.len();
        let mut metrics = vec![0; places.len()];
        for scheduled in self.polled() {
            let targets = scheduled.targets.iter();
            metrics[scheduled.place] += targets.map(Target::metric_count).sum::<usize>();
        }
        let mut expected_metrics = vec![0; places.len()];
        for directory in self.directories.values() {
            expected_metrics[directory.place] += directory.expected_metrics;
        }
        Sampled {
            clusters: self.cluster_count(),
            found: self.found_count(),
            is_unlisted: self.rosters.iter().any(|roster| roster.is_unlisted),
            metrics,
            expected_metrics,
            datums_per_second: places.map(|place| self.datums_per_second(place)).collect(),
            calls_per_second: self.calls_per_second(),
        }
    }

    /// Datums a second of one place.
    fn datums_per_second(&self, place: usize) -> f64 {
        let of_place = self.polled().filter(|scheduled| scheduled.place == place);
        of_place.map(ScheduledPoll::datums_per_second).sum()
    }

    /// Calls of ECS a second, without lists and what is asked again.
    fn calls_per_second(&self) -> f64 {
        self.polled().map(ScheduledPoll::calls_per_second).sum()
    }

    /// Starts no poll any more.
    pub(super) fn finish(&mut self) {
        for scheduled in self.scheduled_polls.values_mut() {
            scheduled.finish();
        }
        // A list would bring new scheduled polls.
        self.directories.clear();
        self.rosters.clear();
    }

    /// Ends what is under way.
    pub(super) fn stop(&mut self, shared: &mut Shared) {
        for scheduled in self.scheduled_polls.values_mut() {
            scheduled.stop(&mut shared.account);
        }
    }
}

/// What a place's clusters are called in messages.
fn shown_name(place: usize, shared: &Shared) -> impl Fn(&Cluster) -> String + use<> {
    let several = shared.outlets.len() > 1;
    let label = shared.outlets[place].clients.label.clone();
    move |cluster| {
        if several {
            format!("{} in {label}", cluster.name)
        } else {
            cluster.name.clone()
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
            "the {what} of {name} cannot be listed: {}; the {} that are known are asked for as before",
            error.what,
            directory.len()
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
        Some(Sighting::Changed) => directory.timer.hurry(now),
        None => {}
    }
}
