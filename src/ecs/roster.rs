//! The clusters of one region and role: those that are named, and those that patterns match.
//!
//! What lives here: when clusters are looked for, the pages of that list, which came and went. What does not: how they are
//! sampled ([`super::sampler`]), and what patterns match ([`crate::config::ClusterGroup`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use aws_sdk_ecs::types::ClusterField;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::config::{Cluster, ClusterGroup, Discovery, any_matches};

use super::caller::{CallBucket, Caller, PollError};
use super::clients::RegionClients;
use super::core::account::{Calls, GapReason};
use super::directory::capacity_providers;
use super::estimate::Contents;
use super::list_timer::{LEAST_SPACING, LIST_PART, ListTimer, RETRY};
use super::poll::Polled;
use super::poll_query::{CLUSTERS_A_CALL, PollQuery, last_part};
use super::target::{Target, TargetRegistry};
use super::unlisted::UnlistedClusters;

/// Clusters on a page. Source: API reference, "ListClusters".
const PAGE: i32 = 100;
/// How often clusters are looked for, if the calls suffice; a new one is to be sampled within a minute.
const REFRESH: Duration = Duration::from_secs(15);
/// How long a list may take. Its calls are spread out, for they take from the bucket that samples.
const DEADLINE: Duration = Duration::from_mins(10);

/// How a list went.
#[derive(Debug)]
pub(super) struct ClusterListing {
    pub(super) answer: Result<ListedClusters, PollError>,
    pub(super) calls: Calls,
}

/// What a list says.
#[derive(Debug, Default)]
pub(super) struct ListedClusters {
    /// The clusters that are to be sampled.
    active: Vec<Cluster>,
    /// Names of those that ListClusters lists and DescribeClusters calls MISSING: it is not known yet which is true.
    missing: BTreeSet<String>,
    /// What is in those that are to be sampled, by ARN.
    contents: HashMap<String, Contents>,
}

impl ListedClusters {
    /// What is in a cluster.
    pub(super) fn contents_of(&self, cluster: &Cluster) -> Contents {
        self.contents.get(&cluster.id).copied().unwrap_or_default()
    }
}

/// A cluster and its targets.
#[derive(Debug)]
struct Member {
    cluster: Cluster,
    targets: Vec<Target>,
    /// Whether it is named, or was on the newest list.
    is_listed: bool,
}

/// What a list has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) came: Vec<Cluster>,
    pub(super) went: Vec<Cluster>,
    /// Those for which there is no room.
    pub(super) left_out: usize,
    /// Why some of them cannot be registered.
    pub(super) failure: Option<Failure>,
}

/// The clusters of one region and role.
#[derive(Debug)]
pub(super) struct Roster {
    named: Vec<Member>,
    /// Those that were found, by name.
    found: BTreeMap<String, Member>,
    /// None without patterns.
    timer: Option<ListTimer>,
    /// Whether the newest list failed.
    pub(super) has_failed: bool,
    /// Whether no list has succeeded yet. Never without patterns.
    pub(super) is_unlisted: bool,
    /// What counts the seconds until then.
    pub(super) unlisted: Option<UnlistedClusters>,
    /// How many were left out when that was last said.
    pub(super) said_left_out: usize,
}

/// Between two calls of lists, if they may make `per_second` calls with all others.
pub(super) fn call_spacing(per_second: f64) -> Duration {
    Duration::from_secs_f64(1.0 / (per_second * LIST_PART))
}

impl Roster {
    /// The named clusters, with their targets; with patterns, to be listed at once.
    pub(super) fn new(
        group: &ClusterGroup,
        registry: &mut TargetRegistry<'_>,
        shown: impl Fn(&Cluster) -> String,
        now: Instant,
    ) -> Result<Self, Failure> {
        let mut named = Vec::with_capacity(group.clusters.len());
        for cluster in &group.clusters {
            named.push(Member {
                targets: registry.open_cluster(cluster, &shown(cluster))?,
                cluster: cluster.clone(),
                is_listed: true,
            });
        }
        Ok(Self {
            named,
            found: BTreeMap::new(),
            timer: (!group.patterns.is_empty()).then(|| ListTimer::at(now)),
            has_failed: false,
            is_unlisted: !group.patterns.is_empty(),
            unlisted: None,
            said_left_out: 0,
        })
    }

    /// When clusters are to be looked for; none while they are, or without patterns.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.timer.as_ref()?.due_at()
    }

    /// When there are more seconds to count that are not known of; none after the first list.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.unlisted.as_ref().map(UnlistedClusters::wake_at)
    }

    /// The list is under way.
    pub(super) fn begin(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.begin();
        }
    }

    /// Whether clusters are looked for.
    pub(super) fn is_searching(&self) -> bool {
        self.timer.is_some()
    }

    /// Clusters that are sampled.
    pub(super) fn len(&self) -> usize {
        self.named.len() + self.found_count()
    }

    /// Those of them that patterns match.
    pub(super) fn found_count(&self) -> usize {
        self.found
            .values()
            .filter(|member| member.is_listed)
            .count()
    }

    /// Clusters that are sampled: named ones in their order, then the others by name.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Cluster> {
        self.listed().map(|member| &member.cluster)
    }

    fn listed(&self) -> impl Iterator<Item = &Member> {
        let all = self.named.iter().chain(self.found.values());
        all.filter(|member| member.is_listed)
    }

    /// The polls that sample them.
    pub(super) fn queries(&self, launch_types: bool) -> Vec<(PollQuery, Vec<Target>)> {
        let listed: Vec<_> = self.listed().collect();
        let chunks = listed.chunks(CLUSTERS_A_CALL).map(|chunk| {
            let clusters = chunk.iter().map(|member| member.cluster.clone());
            let query = PollQuery::Clusters {
                clusters: clusters.collect(),
                launch_types,
            };
            let targets = chunk.iter().flat_map(|member| member.targets.clone());
            (query, targets.collect())
        });
        chunks.collect()
    }

    /// A cluster that was found and is not there any more is a reason to look for clusters soon.
    pub(super) fn notice(&mut self, query: &PollQuery, polled: &Polled, now: Instant) {
        let (
            Some(timer),
            PollQuery::Clusters {
                clusters,
                launch_types,
            },
            Ok(answers),
        ) = (&mut self.timer, query, &polled.answer)
        else {
            return;
        };
        let stride = if *launch_types { 2 } else { 1 };
        let mut answers = clusters.iter().zip(answers.iter().step_by(stride));
        if answers.any(|(cluster, answer)| {
            let is_lost = answer.as_ref().is_err_and(|reason| reason.is_absence());
            is_lost && self.found.contains_key(&cluster.name)
        }) {
            timer.hurry(now);
        }
    }

    /// Those of a list that are not named, by name.
    fn matched<'a>(&self, listed: &'a ListedClusters) -> BTreeMap<&'a str, &'a Cluster> {
        let named: BTreeSet<_> = self.named.iter().map(|it| &it.cluster.name).collect();
        let matched = listed.active.iter();
        let matched = matched.filter(|cluster| !named.contains(&cluster.name));
        matched
            .map(|cluster| (cluster.name.as_str(), cluster))
            .collect()
    }

    /// What is in those of a list that are not sampled yet, in the order of their names.
    pub(super) fn new_contents(&self, listed: &ListedClusters) -> Vec<Contents> {
        let mut new = self.matched(listed);
        let is_sampled = |name: &str| self.found.get(name).is_some_and(|it| it.is_listed);
        new.retain(|name, _| !is_sampled(name));
        new.values().map(|it| listed.contents_of(it)).collect()
    }

    /// Takes a list in; at most `most` clusters that were found are sampled, `most_new` of them new, and none is dropped for another.
    pub(super) fn take(
        &mut self,
        listing: &ClusterListing,
        (now, spacing): (Instant, Duration),
        (most, most_new): (usize, usize),
        registry: &mut TargetRegistry<'_>,
        shown: impl Fn(&Cluster) -> String,
    ) -> Changes {
        let mut changes = Changes::default();
        let calls = u32::try_from(listing.calls.total()).unwrap_or(u32::MAX);
        let Ok(listed) = &listing.answer else {
            self.has_failed = true;
            let ready_at = now + LEAST_SPACING.max(spacing * calls);
            let due_at = if self.is_unlisted { now } else { now + RETRY };
            self.end_list(ready_at, due_at);
            return changes;
        };
        self.has_failed = false;
        self.is_unlisted = false;
        self.end_list(now + LEAST_SPACING.max(spacing * calls), now + REFRESH);
        let mut new = self.matched(listed);
        for (name, member) in &mut self.found {
            if !member.is_listed {
                continue;
            }
            let is_missing = listed.missing.contains(name);
            member.is_listed = new.remove(name.as_str()).is_some() || is_missing;
            if !member.is_listed {
                changes.went.push(member.cluster.clone());
            }
        }
        let room = most.saturating_sub(self.found_count()).min(most_new);
        changes.left_out = new.len().saturating_sub(room);
        for (name, cluster) in new.into_iter().take(room) {
            // Those that have gone stay until no poll is for them any more.
            if let Some(member) = self.found.get_mut(name) {
                member.is_listed = true;
            } else {
                let targets = match registry.open_cluster(cluster, &shown(cluster)) {
                    Ok(targets) => targets,
                    Err(failure) => {
                        changes.left_out += 1;
                        changes.failure = Some(failure);
                        continue;
                    }
                };
                let member = Member {
                    cluster: cluster.clone(),
                    targets,
                    is_listed: true,
                };
                self.found.insert(name.to_owned(), member);
            }
            changes.came.push(cluster.clone());
        }
        changes
    }

    fn end_list(&mut self, ready_at: Instant, due_at: Instant) {
        if let Some(timer) = &mut self.timer {
            timer.end(ready_at, due_at);
        }
    }

    /// Closes the accounts of those that have gone. No scheduled poll may be for them any more.
    pub(super) fn sweep(&mut self, registry: &mut TargetRegistry<'_>) {
        self.found.retain(|_, member| {
            if !member.is_listed {
                for target in &member.targets {
                    registry.close(target);
                }
            }
            member.is_listed
        });
    }
}

/// Asks for the clusters that patterns match, with `spacing` between calls.
pub(super) fn find_clusters(
    clients: &RegionClients,
    group: &ClusterGroup,
    discovery: &Discovery,
    spacing: Duration,
) -> impl Future<Output = ClusterListing> + Send + use<> {
    let caller = || clients.caller(CallBucket::Clusters).patient();
    let (lists, describes) = (caller(), caller());
    let (group, discovery) = (group.clone(), discovery.clone());
    async move {
        let mut calls = Calls::default();
        let asking = async {
            let matching = list(lists, &group, &discovery, spacing, &mut calls).await?;
            keep_active(describes, &matching, &discovery, spacing, &mut calls).await
        };
        let answer = timeout(DEADLINE, asking).await;
        let answer = answer.unwrap_or_else(|_| Err(PollError::deadline()));
        let error = answer.as_ref().err();
        let is_throttled = error.is_some_and(|it| it.reason == GapReason::Throttled);
        calls.throttled_reads = is_throttled.into();
        ClusterListing { answer, calls }
    }
}

/// ARNs of clusters whose names are as asked for.
async fn list(
    mut caller: Caller,
    group: &ClusterGroup,
    discovery: &Discovery,
    spacing: Duration,
    calls: &mut Calls,
) -> Result<Vec<String>, PollError> {
    let mut matching = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = caller.call(|client| {
            let request = client.list_clusters().max_results(PAGE);
            request.set_next_token(token.clone()).send()
        });
        let page = page.await;
        calls.list_clusters = caller.attempts.into();
        let page = page?;
        let arns = page
            .cluster_arns()
            .iter()
            .filter(|arn| group.matches(arn) && !any_matches(&discovery.exclude, last_part(arn)));
        matching.extend(arns.cloned());
        token = page.next_token;
        if token.is_none() {
            matching.sort_unstable();
            return Ok(matching);
        }
        sleep(spacing).await;
    }
}

/// Those that have the tags and are not INACTIVE.
async fn keep_active(
    mut caller: Caller,
    arns: &[String],
    discovery: &Discovery,
    spacing: Duration,
    calls: &mut Calls,
) -> Result<ListedClusters, PollError> {
    let mut kept = ListedClusters::default();
    for arns in arns.chunks(CLUSTERS_A_CALL) {
        sleep(spacing).await;
        let described = caller.call(|client| {
            let include = (!discovery.tags.is_empty()).then(|| vec![ClusterField::Tags]);
            let request = client.describe_clusters().set_clusters(Some(arns.to_vec()));
            request.set_include(include).send()
        });
        let described = described.await;
        calls.describe_clusters = caller.attempts.into();
        let described = described?;
        if described
            .failures()
            .iter()
            .any(|it| it.reason() != Some("MISSING"))
        {
            return Err(PollError {
                reason: GapReason::Failed,
                cause: None,
                what: "ECS does not describe all clusters that it lists".to_owned(),
            });
        }
        let missing = described.failures().iter().filter_map(|it| it.arn());
        let missing = missing.map(|arn| last_part(arn).to_owned());
        kept.missing.extend(missing);
        for cluster in described.clusters() {
            let tags = cluster.tags().iter();
            let tags = tags.filter_map(|tag| Some((tag.key()?, tag.value().unwrap_or_default())));
            let tags: Vec<_> = tags.collect();
            let is_active = cluster.status() != Some("INACTIVE");
            if let (Some(arn), true, true) = (
                cluster.cluster_arn(),
                is_active,
                discovery.takes_tags(&tags),
            ) {
                kept.contents.insert(arn.to_owned(), contents_of(cluster));
                kept.active.push(Cluster {
                    name: last_part(arn).to_owned(),
                    id: arn.to_owned(),
                });
            }
        }
    }
    Ok(kept)
}

fn contents_of(cluster: &aws_sdk_ecs::types::Cluster) -> Contents {
    Contents {
        services: usize::try_from(cluster.active_services_count()).unwrap_or(0),
        providers: capacity_providers(cluster).count(),
    }
}
