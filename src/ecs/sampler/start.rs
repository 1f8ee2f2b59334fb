//! The start: every cluster is asked for once, and for what is in it, so that what will be refused later is refused now.
//!
//! What does not live here: what is sampled afterwards ([`super`]).

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::aws::Cause;
use crate::{Exit, Failure};

use super::super::caller::{CallBucket, PollError};
use super::super::clock;
use super::super::core::account::GapReason;
use super::super::poll::poll;
use super::super::poll_query::PollQuery;
use super::super::roster::{Roster, find_clusters};
use super::super::shared::Shared;
use super::super::target::Target;
use super::super::unlisted::UnlistedClusters;
use super::discover::{too_many, warn_of_none};
use super::{Sampler, shown_name, take_list};

/// For the polls before the first tick.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

impl Sampler {
    /// Enters all clusters, asks for each of them once, and for what is in them, so that what
    /// will be refused later is refused now.
    pub(in super::super) async fn start(shared: &mut Shared) -> Result<Self, Failure> {
        let mut sampler = Self::default();
        for place in 0..shared.outlets.len() {
            let group = shared.config.groups[place].clone();
            let shown = shown_name(place, shared);
            let now = Instant::now();
            let roster = Roster::new(&group, &mut shared.registry(place), shown, now)?;
            sampler.rosters.push(roster);
        }
        let mut unlisted = Vec::new();
        for place in 0..shared.outlets.len() {
            unlisted.push(sampler.find_first(place, shared).await?);
            for (query, targets) in sampler.rosters[place].queries(shared.config.launch_types) {
                sampler.check(place, &query, &targets, shared).await;
            }
        }
        shared.go_on_with_others()?;
        for place in 0..shared.outlets.len() {
            let clusters: Vec<_> = sampler.rosters[place].clusters().cloned().collect();
            sampler.open_directories(place, &clusters, Instant::now(), shared);
        }
        sampler.list_all(shared).await?;
        shared.go_on_with_others()?;
        let now = clock::now();
        for (place, unlisted) in unlisted.into_iter().enumerate() {
            if let Some(reason) = unlisted {
                let label = &shared.outlets[place].clients.label;
                let name = format!("clusters in {label} that patterns match");
                let target = shared.registry(place).open_unlisted(name)?;
                let interval = shared.config.interval;
                let unlisted = UnlistedClusters::new(target, interval, reason, now);
                sampler.rosters[place].unlisted = Some(unlisted);
            }
            sampler.lay_out_clusters(place, now, shared)?;
            for bucket in [CallBucket::Services, CallBucket::Instances] {
                sampler.lay_out_listed((place, bucket), now, shared)?;
            }
        }
        Ok(sampler)
    }

    /// The first look for clusters that patterns match; why it failed, if it may succeed later.
    ///
    /// # Errors
    /// If there are more than may be sampled.
    async fn find_first(
        &mut self,
        place: usize,
        shared: &mut Shared,
    ) -> Result<Option<GapReason>, Failure> {
        if !self.rosters[place].is_searching() {
            return Ok(None);
        }
        let group = &shared.config.groups[place];
        let clients = &shared.outlets[place].clients;
        let discovery = &shared.config.discovery;
        let listing = find_clusters(clients, group, discovery, Duration::ZERO).await;
        let label = clients.label.clone();
        shared.account.calls.add(&listing.calls);
        if let Err(error) = &listing.answer {
            let what = format!("the clusters in {label} cannot be listed");
            let counted = "seconds of those that patterns match are counted as gaps, of one target, until they can";
            shared.outlets[place].refused_by_ecs =
                warn_of_start(&label, ALLOW_LISTS, error, (&what, counted));
        }
        let most = shared.config.discovery.max_clusters;
        let changes =
            self.take_clusters(place, &listing, (most, usize::MAX), Instant::now(), shared);
        if changes.left_out > 0 && changes.failure.is_none() {
            return Err(too_many(self.found_count() + changes.left_out, most));
        }
        if let Some(failure) = changes.failure {
            return Err(failure);
        }
        match listing.answer {
            Ok(_) => {
                if self.rosters[place].found_count() == 0 {
                    warn_of_none(&label);
                }
                Ok(None)
            }
            Err(error) => Ok(Some(error.reason)),
        }
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
                let what = format!("ECS in {label} cannot be asked");
                let counted = "its seconds are counted as gaps until it can";
                let allow = allow(CallBucket::Clusters);
                shared.outlets[place].refused_by_ecs =
                    warn_of_start(label, allow, &error, (&what, counted));
            }
        }
        *query.counter(&mut shared.account.calls) += u64::from(polled.attempts);
        shared.account.calls.throttled_reads += u64::from(is_throttled);
    }

    /// The first list of every directory.
    async fn list_all(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        if !self.directories.is_empty() {
            info!("listing what is in {} clusters", self.cluster_count());
        }
        for directory in self.directories.values_mut() {
            let clients = &shared.outlets[directory.place].clients;
            let listing = directory.list(clients).await;
            shared.account.calls.add(&listing.calls);
            if let Err(error) = &listing.answer
                && let Some(refusal) = refusal(allow(directory.bucket), &clients.label, error)
            {
                shared.outlets[directory.place].refused_by_ecs = Some(refusal);
            }
            directory.timer.begin();
            if let (_, Some(failure)) = take_list(directory, listing, shared) {
                return Err(failure);
            }
        }
        let directories = self.directories.values();
        let services = directories.filter(|it| it.bucket == CallBucket::Services);
        let (taken, left_out) = services.fold((0, 0), |(taken, left_out), it| {
            (taken + it.len(), left_out + it.left_out)
        });
        if taken == 0 && left_out > 0 {
            warn!(
                left_out,
                "none of the {left_out} services is sampled: change metrics.include_services or metrics.exclude_services, or leave metrics.services out"
            );
        }
        Ok(())
    }
}

/// What lists of clusters need.
const ALLOW_LISTS: &str = "allow ecs:ListClusters and ecs:DescribeClusters for all clusters (\"*\"), or name clusters instead of patterns";

/// What calls of a bucket need.
fn allow(bucket: CallBucket) -> &'static str {
    match bucket {
        CallBucket::Clusters => "allow ecs:DescribeClusters on the clusters",
        CallBucket::Services => {
            "allow ecs:ListServices and ecs:DescribeServices, or set metrics.services = false"
        }
        CallBucket::Instances => {
            "allow ecs:ListContainerInstances and ecs:DescribeContainerInstances, or set metrics.capacity_providers = false"
        }
    }
}

/// What ends the poller at its start, if a failed call will not pass by itself.
fn refusal(allow: &str, label: &str, error: &PollError) -> Option<Failure> {
    let what = format!("ECS in {label}: {}", error.what);
    let cause = error.cause?;
    if cause != Cause::Denied {
        let (exit, remedy) = cause.refusal()?;
        return Some(Failure::definite(exit, what, remedy));
    }
    Some(Failure::definite(Exit::Permission, what, allow))
}

/// Says why a first call has failed, and how seconds count until one does not. Gives what ends the poller, as
/// [`refusal`] does.
fn warn_of_start(
    label: &str,
    allow: &str,
    error: &PollError,
    (what, counted): (&str, &str),
) -> Option<Failure> {
    let refusal = refusal(allow, label, error);
    let remedy = refusal
        .as_ref()
        .map(|it| format!("; remedy: {}", it.remedy));
    warn!(
        region = label,
        reason = error.reason.as_str(),
        "{what}: {}; {counted}{}",
        error.what,
        remedy.unwrap_or_default()
    );
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_pass_by_itself_ends_the_start() {
        let of = |cause| {
            let error = PollError {
                reason: GapReason::Failed,
                cause,
                what: "x".to_owned(),
            };
            refusal(allow(CallBucket::Services), "us-east-1", &error)
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
