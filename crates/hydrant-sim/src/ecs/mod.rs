//! ECS: the operations that a poller needs, on clusters that follow a script.
//!
//! What lives here: clusters, throttling and one function for each operation, told the time,
//! without I/O. What does not: HTTP ([`super::http`]), what a script says ([`script`]), names
//! ([`arn`]) and how things look ([`describe`]).
//!
//! Differences from AWS, on purpose: nothing runs; a cluster's numbers are its script's, or
//! zero if it was created by a call. A cluster is ACTIVE as soon as it is created, may be
//! deleted whatever is in it, and stays INACTIVE until the simulator ends or it is created
//! again. Signatures are not verified, and an ARN may name any region.

mod arn;
mod describe;
mod instances;
mod script;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::faults::{CallFaults, Start};
use super::quota::Bucket;
use super::{Clock, lock};
use arn::{
    cluster_arn, cluster_name, is_valid_name, name_of_token, number_of_token, resource_of,
    service_arn, token_of_name, token_of_number,
};
use describe::{described_cluster, described_service, missing};
pub use script::ScriptError;
use script::{MAX_CLUSTERS, Script, State, Status, service_name, service_number};
pub(super) use wire::EcsError;
use wire::{
    CreateClusterInput, DeleteClusterInput, DescribeClustersInput, DescribeServicesInput,
    ListClustersInput, ListServicesInput,
};

/// What comes before the operation in `X-Amz-Target`. Source: service model, `targetPrefix`.
pub(super) const TARGET_PREFIX: &str = "AmazonEC2ContainerServiceV20141113.";

/// The operations, as IAM names them.
pub(super) const ACTIONS: [&str; 8] = [
    "ecs:CreateCluster",
    "ecs:DeleteCluster",
    "ecs:DescribeClusters",
    "ecs:DescribeContainerInstances",
    "ecs:DescribeServices",
    "ecs:ListClusters",
    "ecs:ListContainerInstances",
    "ecs:ListServices",
];

/// Source of the next six: Amazon ECS API Reference, "Request throttling for the Amazon ECS
/// API", "Cluster read", "Service read" and "Cluster resource read" actions.
const CLUSTER_READ_BURST: u64 = 50;
/// Refill of `DescribeClusters` and `ListClusters` together, calls a second.
const CLUSTER_READ_RATE: u64 = 20;
/// Burst of `ListServices` and `DescribeServices` together.
const SERVICE_READ_BURST: u64 = 100;
/// Refill of those, calls a second.
const SERVICE_READ_RATE: u64 = 20;

/// Burst of `ListContainerInstances` and `DescribeContainerInstances` together.
const RESOURCE_READ_BURST: u64 = 100;
/// Refill of those, calls a second.
const RESOURCE_READ_RATE: u64 = 20;

/// Most clusters in a call. Source: API reference, `DescribeClusters`.
const MAX_DESCRIBED_CLUSTERS: usize = 100;

/// Most services in a call. Source: API reference, `DescribeServices`.
const MAX_DESCRIBED_SERVICES: usize = 10;

/// Services on a page if the call does not say. Source: API reference, `ListServices`. Of the others it is [`MAX_PAGE`].
const DEFAULT_PAGE: usize = 10;

/// Most services on a page. Source: as above.
const MAX_PAGE: usize = 100;

/// The cluster that is meant if a call names none. Source: API reference.
const DEFAULT_CLUSTER: &str = "default";

/// What may be asked for in `include`. Source: API reference, `DescribeClusters`.
const FIELDS: [&str; 5] = [
    "ATTACHMENTS",
    "CONFIGURATIONS",
    "SETTINGS",
    "STATISTICS",
    "TAGS",
];

/// A cluster's name and script.
pub(super) type ScriptedCluster = (String, Script);

/// The simulated service.
#[derive(Debug)]
pub(super) struct Ecs {
    clock: Clock,
    state: Mutex<ClusterState>,
}

impl Ecs {
    /// A service with these scripted clusters, whose scripts start now; with AWS's throttles or
    /// with none.
    #[must_use]
    pub(super) fn new(scripts: Vec<ScriptedCluster>, throttles: bool, clock: Clock) -> Self {
        let state = Mutex::new(ClusterState::new(scripts, throttles, clock.now()));
        Self { clock, state }
    }

    /// Answers a request, with what faults have in store for it.
    ///
    /// # Errors
    /// The error that is the answer.
    pub(super) fn answer(
        &self,
        operation: &str,
        is_signed: bool,
        body: &[u8],
        plan: &CallFaults,
    ) -> Result<Vec<u8>, EcsError> {
        let mut state = lock(&self.state);
        let answer = state.answer(self.clock.now(), operation, is_signed, body, plan)?;
        Ok(answer.to_string().into_bytes())
    }
}

/// The clusters of a script file.
///
/// # Errors
/// If the text is not a script.
pub(super) fn parse_script(text: &str) -> Result<Vec<ScriptedCluster>, ScriptError> {
    script::parse(text)
}

/// A cluster that was there at some time.
#[derive(Debug)]
struct Cluster {
    is_deleted: bool,
    script: Option<Script>,
}

/// PURE. All state, told the time.
#[derive(Debug)]
struct ClusterState {
    /// When the scripts started.
    started: Timestamp,
    clusters: BTreeMap<String, Cluster>,
    cluster_reads: Bucket,
    service_reads: Bucket,
    resource_reads: Bucket,
}

impl ClusterState {
    fn new(scripts: Vec<ScriptedCluster>, throttles: bool, now: Timestamp) -> Self {
        let cluster = |script| Cluster {
            is_deleted: false,
            script: Some(script),
        };
        let rate = |rate| throttles.then_some(rate);
        Self {
            started: now,
            clusters: scripts
                .into_iter()
                .map(|(name, script)| (name, cluster(script)))
                .collect(),
            cluster_reads: Bucket::with_burst(rate(CLUSTER_READ_RATE), CLUSTER_READ_BURST, now),
            service_reads: Bucket::with_burst(rate(SERVICE_READ_RATE), SERVICE_READ_BURST, now),
            resource_reads: Bucket::with_burst(rate(RESOURCE_READ_RATE), RESOURCE_READ_BURST, now),
        }
    }

    fn answer(
        &mut self,
        now: Timestamp,
        operation: &str,
        is_signed: bool,
        body: &[u8],
        plan: &CallFaults,
    ) -> Result<Value, EcsError> {
        if super::calls::action_of(&ACTIONS, operation).is_none() {
            return Err(EcsError::UnknownOperation);
        }
        if !is_signed {
            return Err(EcsError::MissingAuthenticationToken);
        }
        if let Start::Refuse(error) = plan.start {
            return Err(EcsError::Injected(error));
        }
        // A throttled call is not looked at, so that an invalid one takes a token as well.
        let is_admitted = match operation {
            "DescribeClusters" | "ListClusters" => self.cluster_reads.admit_one(now),
            "DescribeServices" | "ListServices" => self.service_reads.admit_one(now),
            "DescribeContainerInstances" | "ListContainerInstances" => {
                self.resource_reads.admit_one(now)
            }
            _ => true,
        };
        if !is_admitted {
            return Err(EcsError::Throttled);
        }
        match operation {
            "CreateCluster" => self.create_cluster(now, decode(body)?),
            "DeleteCluster" => self.delete_cluster(now, decode(body)?),
            "DescribeClusters" => self.describe_clusters(now, decode(body)?, plan),
            "DescribeServices" => self.describe_services(now, decode(body)?),
            "DescribeContainerInstances" => self.describe_instances(now, decode(body)?),
            "ListContainerInstances" => self.list_instances(now, &decode(body)?),
            "ListClusters" => self.list_clusters(now, &decode(body)?),
            _ => self.list_services(now, &decode(body)?),
        }
    }

    /// A cluster as it is now; none that was never there.
    fn state(&self, now: Timestamp, name: &str) -> Option<State> {
        let cluster = self.clusters.get(name)?;
        if cluster.is_deleted {
            return Some(State {
                status: Status::Inactive,
                ..State::default()
            });
        }
        let elapsed = now.duration_since(self.started);
        let state = cluster.script.as_ref().map(|script| script.state(elapsed));
        let state = state.unwrap_or_default();
        (state.status != Status::Missing).then_some(state)
    }

    fn script(&self, name: &str) -> Option<&Script> {
        self.clusters.get(name)?.script.as_ref()
    }

    /// The capacity providers of a cluster's script.
    fn capacity_providers(&self, name: &str) -> &[String] {
        let script = self.script(name);
        script.map_or(&[], |script| &script.capacity_providers)
    }

    /// Those that are ACTIVE, by name.
    fn list_clusters(&self, now: Timestamp, input: &ListClustersInput) -> Result<Value, EcsError> {
        let page = page_of(input.max_results, MAX_PAGE)?;
        let start = input.next_token.as_deref().map(name_of_token).transpose()?;
        let names = self.clusters.range(start.unwrap_or_default()..);
        let mut active = names.map(|(name, _)| name).filter(|name| {
            let state = self.state(now, name);
            state.is_some_and(|state| state.status == Status::Active)
        });
        let page = active.by_ref().take(page);
        let arns: Vec<_> = page.map(|name| cluster_arn(name)).collect();
        let mut answer = json!({ "clusterArns": arns });
        if let Some(next) = active.next() {
            answer["nextToken"] = json!(token_of_name(next));
        }
        Ok(answer)
    }

    /// Creates a cluster, or gives the one of this name if it is ACTIVE, as AWS does.
    fn create_cluster(
        &mut self,
        now: Timestamp,
        input: CreateClusterInput,
    ) -> Result<Value, EcsError> {
        let name = input
            .cluster_name
            .unwrap_or_else(|| DEFAULT_CLUSTER.to_owned());
        if !is_valid_name(&name) {
            return Err(EcsError::InvalidParameter("Invalid cluster name."));
        }
        if !self.clusters.contains_key(&name) && self.clusters.len() >= MAX_CLUSTERS {
            return Err(EcsError::LimitExceeded);
        }
        let cluster = self.clusters.entry(name.clone()).or_insert(Cluster {
            is_deleted: false,
            script: None,
        });
        cluster.is_deleted = false;
        let state = self.state(now, &name).unwrap_or_default();
        let providers = self.capacity_providers(&name);
        Ok(json!({ "cluster": described_cluster(&name, &state, providers, &[]) }))
    }

    fn delete_cluster(
        &mut self,
        now: Timestamp,
        input: DeleteClusterInput,
    ) -> Result<Value, EcsError> {
        let identifier = input
            .cluster
            .ok_or(EcsError::InvalidParameter("Cluster can not be blank."))?;
        let name = self.active_cluster(now, Some(&identifier))?.0;
        if let Some(cluster) = self.clusters.get_mut(&name) {
            cluster.is_deleted = true;
        }
        let state = self.state(now, &name).unwrap_or_default();
        let providers = self.capacity_providers(&name);
        Ok(json!({ "cluster": described_cluster(&name, &state, providers, &[]) }))
    }

    fn describe_clusters(
        &self,
        now: Timestamp,
        input: DescribeClustersInput,
        plan: &CallFaults,
    ) -> Result<Value, EcsError> {
        let mut identifiers = input.clusters.unwrap_or_default();
        let include = input.include.unwrap_or_default();
        if identifiers.is_empty() {
            identifiers.push(DEFAULT_CLUSTER.to_owned());
        }
        if identifiers.len() > MAX_DESCRIBED_CLUSTERS {
            let message = "Clusters cannot have more than 100 elements.";
            return Err(EcsError::InvalidParameter(message));
        }
        if include
            .iter()
            .any(|field| !FIELDS.contains(&field.as_str()))
        {
            return Err(EcsError::InvalidParameter("Invalid include."));
        }
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for identifier in &identifiers {
            let name = cluster_name(identifier)?;
            let seen = name.filter(|name| !plan.misses(name));
            match seen.and_then(|name| Some((name, self.state(now, name)?))) {
                Some((name, state)) => {
                    let providers = self.capacity_providers(name);
                    let mut cluster = described_cluster(name, &state, providers, &include);
                    if include.iter().any(|field| field == "TAGS") {
                        cluster["tags"] =
                            self.script(name).map_or(json!([]), Script::described_tags);
                    }
                    clusters.push(cluster);
                }
                None => failures.push(missing(&match name {
                    Some(name) => cluster_arn(name),
                    None => identifier.clone(),
                })),
            }
        }
        Ok(json!({ "clusters": clusters, "failures": failures }))
    }

    fn list_services(&self, now: Timestamp, input: &ListServicesInput) -> Result<Value, EcsError> {
        let page = page_of(input.max_results, DEFAULT_PAGE)?;
        let wants_fargate = match input.launch_type.as_deref() {
            None => None,
            Some("FARGATE") => Some(true),
            Some("EC2") => Some(false),
            Some(_) => return Err(EcsError::InvalidParameter("Invalid launch type.")),
        };
        let start = input.next_token.as_deref().map_or(Ok(0), number_of_token)?;
        let (cluster, state) = self.active_cluster(now, input.cluster.as_deref())?;
        let mut numbers = (start..state.services).filter(|&number| {
            let service = state.service(number);
            service.is_some_and(|service| wants_fargate.is_none_or(|it| it == service.is_fargate))
        });
        let arns: Vec<String> = numbers
            .by_ref()
            .take(page)
            .map(|number| service_arn(&cluster, &service_name(number)))
            .collect();
        let mut answer = json!({ "serviceArns": arns });
        if let Some(next) = numbers.next() {
            answer["nextToken"] = json!(token_of_number(next));
        }
        Ok(answer)
    }

    fn describe_services(
        &self,
        now: Timestamp,
        input: DescribeServicesInput,
    ) -> Result<Value, EcsError> {
        let identifiers = input.services.unwrap_or_default();
        if identifiers.is_empty() {
            let message = "Services cannot be empty.";
            return Err(EcsError::InvalidParameter(message));
        }
        if identifiers.len() > MAX_DESCRIBED_SERVICES {
            let message = "Services cannot have more than 10 elements.";
            return Err(EcsError::InvalidParameter(message));
        }
        let (cluster, state) = self.active_cluster(now, input.cluster.as_deref())?;
        let created_s = self.started.as_second();
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for identifier in &identifiers {
            let name = resource_of(identifier, "service")?;
            // A long ARN names the cluster as well.
            let own = name.and_then(|name| match name.rsplit_once('/') {
                Some((of, name)) => (of == cluster).then_some(name),
                None => Some(name),
            });
            let number = own.and_then(service_number);
            let service = number.and_then(|number| state.service(number));
            let Some((name, service)) = own.zip(service) else {
                failures.push(missing(&match own {
                    Some(name) => service_arn(&cluster, name),
                    None => identifier.clone(),
                }));
                continue;
            };
            services.push(described_service(&cluster, name, &service, created_s));
        }
        Ok(json!({ "services": services, "failures": failures }))
    }

    /// The cluster that a call is about, which must be ACTIVE.
    fn active_cluster(
        &self,
        now: Timestamp,
        identifier: Option<&str>,
    ) -> Result<(String, State), EcsError> {
        let name = cluster_name(identifier.unwrap_or(DEFAULT_CLUSTER))?;
        name.and_then(|name| Some((name.to_owned(), self.state(now, name)?)))
            .filter(|(_, state)| state.status == Status::Active)
            .ok_or(EcsError::ClusterNotFound)
    }
}

/// Entries on a page.
fn page_of(max_results: Option<i64>, default: usize) -> Result<usize, EcsError> {
    let Some(most) = max_results else {
        return Ok(default);
    };
    let most = usize::try_from(most).ok();
    let most = most.filter(|most| (1..=MAX_PAGE).contains(most));
    most.ok_or(EcsError::InvalidParameter(
        "maxResults must be between 1 and 100.",
    ))
}

/// Parses a body. The error names a place, never the text.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, EcsError> {
    // AWS takes an empty body for an empty object.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| EcsError::Serialization {
        line: error.line(),
        column: error.column(),
    })
}

#[cfg(test)]
mod tests;
