//! Clusters that come and go: those that patterns match.
//!
//! What does not live here: how they are listed ([`super::super::roster`]).

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::config::Cluster;
use crate::{Exit, Failure};

use super::super::caller::CallBucket;
use super::super::core::schedule::Now;
use super::super::directory::Directory;
use super::super::estimate;
use super::super::roster::{
    Changes, ClusterListing, ListedClusters, Roster, call_spacing, find_clusters,
};
use super::super::shared::Shared;
use super::{Done, Sampler, shown_name};

/// Clusters that a line of the log names.
const NAMED_IN_LOG: usize = 5;

impl Sampler {
    /// Clusters that are sampled.
    pub(in super::super) fn cluster_count(&self) -> usize {
        self.rosters.iter().map(Roster::len).sum()
    }

    /// Those of them that patterns match.
    pub(in super::super) fn found_count(&self) -> usize {
        self.rosters.iter().map(Roster::found_count).sum()
    }

    /// Looks for clusters where that is due.
    pub(super) fn search(&mut self, now: Instant, shared: &Shared) {
        for (place, roster) in self.rosters.iter_mut().enumerate() {
            if roster.due_at().is_none_or(|due| due > now) {
                continue;
            }
            roster.begin();
            self.lists += 1;
            let clients = &shared.outlets[place].clients;
            let group = &shared.config.groups[place];
            let spacing = spacing_of(shared, CallBucket::Clusters);
            let listing = find_clusters(clients, group, &shared.config.discovery, spacing);
            self.under_way
                .spawn(async move { Done::Clusters(place, listing.await) });
        }
    }

    /// Takes a list of clusters in, of which at most `most` are sampled in all places together, and at most `most_new` are new; what it has changed.
    pub(super) fn take_clusters(
        &mut self,
        place: usize,
        listing: &ClusterListing,
        (most, most_new): (usize, usize),
        now: Instant,
        shared: &mut Shared,
    ) -> Changes {
        let elsewhere = self.found_count() - self.rosters[place].found_count();
        let most = most.saturating_sub(elsewhere);
        let timing = (now, spacing_of(shared, CallBucket::Clusters));
        let shown = shown_name(place, shared);
        let mut registry = shared.registry(place);
        self.rosters[place].take(listing, timing, (most, most_new), &mut registry, shown)
    }

    /// Says whether clusters can be listed, if that is new, and counts the seconds before the first list.
    fn note_list(&mut self, place: usize, listing: &ClusterListing, now: Now, shared: &mut Shared) {
        let label = shared.outlets[place].clients.label.clone();
        let had_failed = self.rosters[place].has_failed;
        let known = self.rosters[place].found_count();
        match &listing.answer {
            Ok(_) => shared.outlets[place].refused_by_ecs = None,
            Err(error) if !had_failed => warn!(
                region = label,
                reason = error.reason.as_str(),
                "the clusters in {label} cannot be listed: {}; the {known} that patterns match so far are asked for as before",
                error.what
            ),
            Err(_) => {}
        }
        match (&mut self.rosters[place].unlisted, &listing.answer) {
            (Some(unlisted), Err(error)) => unlisted.reason = error.reason,
            (unlisted, Ok(_)) => {
                if let Some(unlisted) = unlisted.take() {
                    unlisted.end(now, &mut shared.registry(place));
                }
            }
            (None, Err(_)) => {}
        }
        if had_failed && listing.answer.is_ok() {
            info!(
                region = label,
                "the clusters in {label} can be listed again"
            );
        }
    }

    /// Samples what a list of clusters says; of what there is more or less than before.
    pub(super) fn follow_clusters(
        &mut self,
        place: usize,
        listing: &ClusterListing,
        now: Now,
        shared: &mut Shared,
    ) -> Result<Option<String>, Failure> {
        let label = shared.outlets[place].clients.label.clone();
        let was_unlisted = self.rosters[place].is_unlisted;
        self.note_list(place, listing, now, shared);
        let configured = shared.config.discovery.max_clusters;
        let empty = ListedClusters::default();
        let listed = listing.answer.as_ref().unwrap_or(&empty);
        let new = self.rosters[place].new_contents(listed);
        let sampled = self.sampled(shared);
        let affordable = estimate::room(shared, &sampled, place, &new);
        let most = (configured, affordable);
        let changes = self.take_clusters(place, listing, most, now.monotonic, shared);
        let is_budget_spent = affordable < new.len() && self.found_count() < configured;
        let has_sampled = shared.account.total().sampled() > 0;
        if was_unlisted && changes.left_out > 0 && !is_budget_spent && !has_sampled {
            return Err(too_many(self.found_count() + changes.left_out, configured));
        }
        let bound = if is_budget_spent {
            "metrics.budget_usd_per_day has no room for them; raise it".to_owned()
        } else {
            format!("metrics.max_clusters = {configured} is reached; raise it")
        };
        self.say_changes(place, &label, &changes, &bound);
        let is_listed_first = was_unlisted && listing.answer.is_ok();
        if self.rosters[place].found_count() == 0 && (is_listed_first || !changes.went.is_empty()) {
            warn_of_none(&label);
        }
        if changes.came.is_empty() && changes.went.is_empty() {
            let label = format!("the clusters in {label}");
            return Ok(is_listed_first.then_some(label));
        }
        let is_of = |it: &Directory, clusters: &[Cluster]| {
            it.place == place && clusters.contains(&it.cluster)
        };
        for directory in self.directories.values_mut() {
            if is_of(directory, &changes.went) {
                directory.leave();
            } else if is_of(directory, &changes.came) {
                directory.come_back(now.monotonic);
            }
        }
        self.directories.retain(|_, it| !it.has_ended());
        self.open_directories(place, &changes.came, now.monotonic, shared);
        for directory in self.directories.values_mut() {
            if is_of(directory, &changes.came) {
                let contents = listed.contents_of(&directory.cluster);
                directory.expected_metrics = contents.metrics(directory.bucket, shared, &sampled);
            }
        }
        self.lay_out_clusters(place, now, shared)?;
        for bucket in [CallBucket::Services, CallBucket::Instances] {
            // Those that came have nothing to sample before their first list.
            let has_one = |it: &Directory| it.bucket == bucket && is_of(it, &changes.went);
            if self.directories.values().any(has_one) {
                self.lay_out_listed((place, bucket), now, shared)?;
            }
        }
        Ok(Some(format!("the clusters in {label}")))
    }

    /// Lists of what is in these clusters, one after the other.
    pub(super) fn open_directories(
        &mut self,
        place: usize,
        clusters: &[Cluster],
        now: Instant,
        shared: &Shared,
    ) {
        let shown = shown_name(place, shared);
        for (is_wanted, bucket) in [
            (shared.config.services, CallBucket::Services),
            (shared.config.capacity_providers, CallBucket::Instances),
        ] {
            if !is_wanted {
                continue;
            }
            let mut due_at = now;
            for cluster in clusters {
                let has = |it: &Directory| {
                    (it.place, it.bucket) == (place, bucket) && it.cluster == *cluster
                };
                if self.directories.values().any(has) {
                    continue;
                }
                let (cluster, shown) = (cluster.clone(), shown(cluster));
                let directory = Directory::new((place, bucket), cluster, shown, due_at);
                self.directories.insert(self.next_id, directory);
                self.next_id += 1;
                due_at += spacing_of(shared, bucket);
            }
        }
        self.space_lists(shared);
    }

    fn say_changes(&mut self, place: usize, label: &str, changes: &Changes, bound: &str) {
        let count = self.rosters[place].found_count();
        if !changes.came.is_empty() || !changes.went.is_empty() {
            let part = |what, clusters: &[Cluster]| {
                (!clusters.is_empty()).then(|| format!("{what} {}", names(clusters)))
            };
            let parts = [part("new", &changes.came), part("gone", &changes.went)];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            info!(
                region = label,
                count,
                came = changes.came.len(),
                went = changes.went.len(),
                "clusters in {label} that patterns match: {}; {count} now",
                parts.join(", ")
            );
        }
        if let Some(failure) = &changes.failure {
            warn!("{}; remedy: {}", failure.what, failure.remedy);
        }
        let roster = &mut self.rosters[place];
        if changes.left_out > roster.said_left_out {
            warn!(
                region = label,
                left_out = changes.left_out,
                "{} clusters in {label} match the patterns and are not sampled: {bound}, or narrow the patterns",
                changes.left_out,
            );
            roster.said_left_out = changes.left_out;
        }
        if changes.left_out == 0 {
            roster.said_left_out = 0;
        }
    }
}

/// No cluster matches, at the start or any more.
pub(super) fn warn_of_none(label: &str) {
    warn!(
        region = label,
        "no cluster in {label} matches the patterns of metrics.clusters; new ones are looked for every 15 s"
    );
}

/// The first list has more clusters than may be sampled.
pub(super) fn too_many(count: usize, most: usize) -> Failure {
    Failure::definite(
        Exit::Config,
        format!(
            "the patterns of metrics.clusters match {count} clusters, and metrics.max_clusters is {most}"
        ),
        "narrow the patterns, leave clusters out with metrics.exclude_clusters or metrics.cluster_tags, or raise metrics.max_clusters; each metric costs $0.30 a month",
    )
}

/// Between two calls of lists of one bucket.
fn spacing_of(shared: &Shared, bucket: CallBucket) -> Duration {
    call_spacing(shared.config.ecs_share * bucket.per_second())
}

fn names(clusters: &[Cluster]) -> String {
    let mut names: Vec<_> = clusters
        .iter()
        .map(|it| it.name.as_str())
        .take(NAMED_IN_LOG)
        .collect();
    let more = format!("{} more", clusters.len().saturating_sub(NAMED_IN_LOG));
    if clusters.len() > NAMED_IN_LOG {
        names.push(&more);
    }
    names.join(", ")
}
