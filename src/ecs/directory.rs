//! What is in a cluster and not in the configuration: its services, or its container instances
//! with their capacity providers.
//!
//! What lives here: when to list it, the pages of a list, and what came and went. What does not:
//! how it is sampled ([`super::sampler`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::Failure;
use crate::config::Cluster;

use super::caller::{CallBucket, Caller, PollError};
use super::clients::RegionClients;
use super::core::account::{Calls, GapReason};
use super::list_timer::{LEAST_SPACING, LIST_PART, ListTimer, RETRY};
use super::poll_query::{PollQuery, SERVICES_A_CALL, last_part};
use super::target::{Target, TargetRegistry};

/// Entries on a page. Source: API reference, "ListServices" and "ListContainerInstances".
const PAGE: i32 = 100;
/// How often a list is asked for, even if nothing says that it has changed.
const REFRESH: Duration = Duration::from_mins(1);
/// How long all pages of a list may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Capacity providers without container instances. Source: "Amazon ECS capacity providers".
const FARGATE: [&str; 2] = ["FARGATE", "FARGATE_SPOT"];

/// How far apart lists of each of so many directories are, if all together may make
/// `per_second` calls, of which lists take a small part.
pub(crate) fn list_spacing(directories: usize, per_second: f64) -> Duration {
    let directories = f64::from(u32::try_from(directories).unwrap_or(u32::MAX));
    LEAST_SPACING.max(Duration::from_secs_f64(
        directories / (per_second * LIST_PART),
    ))
}

/// What a list says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// ARNs of services, or names of capacity providers; what is sampled.
    members: Vec<String>,
    /// ARNs of container instances.
    instances: Vec<String>,
}

/// How a list went.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) answer: Result<Listed, PollError>,
    pub(super) calls: Calls,
}

/// Something that was listed.
#[derive(Debug)]
struct Member {
    target: Target,
    /// Whether it was on the newest list.
    is_listed: bool,
}

/// The services of a cluster, or its capacity providers.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) place: usize,
    pub(super) bucket: CallBucket,
    pub(super) cluster: Cluster,
    /// The cluster's name in messages.
    shown: String,
    members: BTreeMap<String, Member>,
    instances: Arc<[String]>,
    pub(super) timer: ListTimer,
    /// Between two lists, for each page.
    pub(super) spacing: Duration,
    /// Services that the newest list had and the configuration leaves out.
    pub(super) left_out: usize,
    /// How many metrics are expected, until the first list.
    pub(super) expected_metrics: usize,
    /// What the cluster says of how many there are.
    seen: Option<f64>,
    /// Whether the newest list failed.
    pub(super) has_failed: bool,
    /// Whether its cluster is not sampled any more.
    has_gone: bool,
}

impl Directory {
    /// Nothing yet; to be listed at `due_at`.
    pub(super) fn new(
        (place, bucket): (usize, CallBucket),
        cluster: Cluster,
        shown: String,
        due_at: Instant,
    ) -> Self {
        Self {
            place,
            bucket,
            cluster,
            shown,
            members: BTreeMap::new(),
            instances: [].into(),
            timer: ListTimer::at(due_at),
            spacing: LEAST_SPACING,
            left_out: 0,
            expected_metrics: 0,
            seen: None,
            has_failed: false,
            has_gone: false,
        }
    }

    /// When it is to be listed; none while it is, or if its cluster has gone.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.timer.due_at().filter(|_| !self.has_gone)
    }

    /// Its cluster is not sampled any more, and nothing in it: what was listed stays until no poll is for it any more.
    pub(super) fn leave(&mut self) {
        self.has_gone = true;
        self.expected_metrics = 0;
        for member in self.members.values_mut() {
            member.is_listed = false;
        }
    }

    /// Its cluster is sampled again, before it was forgotten; to be listed at once.
    pub(super) fn come_back(&mut self, now: Instant) {
        self.has_gone = false;
        self.timer.hurry(now);
    }

    /// Whether it can be forgotten.
    pub(super) fn has_ended(&self) -> bool {
        self.has_gone && self.members.is_empty()
    }

    /// What the cluster says of how many there are. If that is news, they are listed soon.
    pub(super) fn see(&mut self, count: f64, now: Instant) {
        let before = self.seen.replace(count);
        if before.is_some_and(|before| before.to_bits() != count.to_bits()) {
            self.timer.hurry(now);
        }
    }

    /// Takes a list in. Gives whether what is to be sampled has changed, and what is wrong if there
    /// is no room for so many metrics: the others are sampled anyway.
    pub(super) fn take(
        &mut self,
        answer: Result<Listed, PollError>,
        now: Instant,
        registry: &mut TargetRegistry<'_>,
    ) -> (bool, Option<Failure>) {
        let Ok(listed) = answer else {
            self.has_failed = true;
            self.timer.end(now + RETRY, now);
            return (false, None);
        };
        let entries = listed.members.len().max(listed.instances.len());
        let pages = entries.div_ceil(usize::try_from(PAGE).unwrap_or(1)).max(1);
        let ready_at = now + self.spacing * u32::try_from(pages).unwrap_or(u32::MAX);
        self.timer.end(ready_at, now + REFRESH);
        self.expected_metrics = 0;
        if self.has_gone {
            return (false, None);
        }
        let mut listed = listed;
        if self.bucket == CallBucket::Services {
            let filter = &registry.config.filter;
            let all = listed.members.len();
            listed
                .members
                .retain(|arn| filter.takes_service(last_part(arn)));
            self.left_out = all - listed.members.len();
        }
        let mut changed = *self.instances != listed.instances;
        self.instances = listed.instances.into();
        let mut new: BTreeSet<String> = listed.members.into_iter().collect();
        // Those that have gone stay until no poll is for them any more.
        for (key, member) in &mut self.members {
            let is_listed = new.remove(key);
            changed |= member.is_listed != is_listed;
            member.is_listed = is_listed;
        }
        let mut failure = None;
        for key in new {
            let opened = match self.bucket {
                CallBucket::Instances => registry.open_provider(&self.cluster, &key, &self.shown),
                CallBucket::Clusters | CallBucket::Services => {
                    registry.open_service(&self.cluster, last_part(&key), &self.shown)
                }
            };
            match opened {
                Ok(target) => {
                    changed = true;
                    let is_listed = true;
                    self.members.insert(key, Member { target, is_listed });
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        self.has_failed = failure.is_some();
        (changed, failure)
    }

    /// How many were on the newest list.
    pub(super) fn len(&self) -> usize {
        let listed = self.members.values().filter(|member| member.is_listed);
        listed.count()
    }

    /// Closes the accounts of those that have gone. No scheduled poll may be for them any more.
    pub(super) fn sweep(&mut self, registry: &mut TargetRegistry<'_>) {
        self.members.retain(|_, member| {
            if !member.is_listed {
                registry.close(&member.target);
            }
            member.is_listed
        });
    }

    /// The polls that sample what there is.
    pub(super) fn queries(&self) -> Vec<(PollQuery, Vec<Target>)> {
        let listed: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.is_listed)
            .map(|(key, member)| (key.clone(), member.target.clone()))
            .collect();
        let cluster = self.cluster.id.clone();
        if self.bucket == CallBucket::Instances {
            if listed.is_empty() {
                return Vec::new();
            }
            let (providers, targets): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
            let query = PollQuery::Instances {
                cluster,
                instances: Arc::clone(&self.instances),
                providers: providers.into(),
            };
            return vec![(query, targets)];
        }
        let chunks = listed.chunks(SERVICES_A_CALL).map(|chunk| {
            let (services, targets): (Vec<_>, Vec<_>) = chunk.iter().cloned().unzip();
            let query = PollQuery::Services {
                cluster: cluster.clone(),
                services: services.into(),
            };
            (query, targets)
        });
        chunks.collect()
    }

    /// Asks for the list, page by page.
    pub(super) fn list(
        &self,
        clients: &RegionClients,
    ) -> impl Future<Output = Listing> + Send + use<> {
        let cluster = self.cluster.clone();
        let (bucket, own) = (self.bucket, clients.caller(self.bucket).patient());
        let clusters = clients.caller(CallBucket::Clusters).patient();
        async move {
            let mut calls = Calls::default();
            let asking = async {
                match bucket {
                    CallBucket::Clusters | CallBucket::Services => {
                        list_services(own, &cluster, &mut calls).await
                    }
                    CallBucket::Instances => {
                        list_instances(own, clusters, &cluster, &mut calls).await
                    }
                }
            };
            let answer = timeout(DEADLINE, asking).await;
            let answer = answer.unwrap_or_else(|_| Err(PollError::deadline()));
            let error = answer.as_ref().err();
            let is_throttled = error.is_some_and(|it| it.reason == GapReason::Throttled);
            calls.throttled_reads = is_throttled.into();
            Listing { answer, calls }
        }
    }
}

async fn list_services(
    mut caller: Caller,
    cluster: &Cluster,
    calls: &mut Calls,
) -> Result<Listed, PollError> {
    let mut members = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = caller.call(|client| {
            let request = client
                .list_services()
                .cluster(&cluster.id)
                .max_results(PAGE);
            request.set_next_token(token.clone()).send()
        });
        let page = page.await;
        calls.list_services = caller.attempts.into();
        let page = page?;
        members.extend_from_slice(page.service_arns());
        token = page.next_token;
        if token.is_none() {
            return Ok(Listed {
                members,
                instances: Vec::new(),
            });
        }
    }
}

/// Those of a cluster that have container instances.
pub(super) fn capacity_providers(
    cluster: &aws_sdk_ecs::types::Cluster,
) -> impl Iterator<Item = &String> {
    let providers = cluster.capacity_providers().iter();
    providers.filter(|name| !FARGATE.contains(&name.as_str()))
}

async fn list_instances(
    mut caller: Caller,
    mut clusters: Caller,
    cluster: &Cluster,
    calls: &mut Calls,
) -> Result<Listed, PollError> {
    let described = clusters.call(|client| client.describe_clusters().clusters(&cluster.id).send());
    let described = described.await;
    calls.describe_clusters = clusters.attempts.into();
    let described = described?;
    let Some(found) = described.clusters().first() else {
        return Err(PollError {
            reason: GapReason::Missing,
            cause: None,
            what: "ECS does not know the cluster".to_owned(),
        });
    };
    let members: Vec<_> = capacity_providers(found).cloned().collect();
    let mut instances = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = caller.call(|client| {
            let request = client.list_container_instances().cluster(&cluster.id);
            let request = request.max_results(PAGE).set_next_token(token.clone());
            request.send()
        });
        let page = page.await;
        calls.list_container_instances = caller.attempts.into();
        let page = page?;
        instances.extend_from_slice(page.container_instance_arns());
        token = page.next_token;
        if token.is_none() {
            return Ok(Listed { members, instances });
        }
    }
}
