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
    cluster_arn, cluster_name, is_valid_name, number_of_token, resource_of, service_arn,
    token_of_number,
};
use describe::{described_cluster, described_service, missing};
pub use script::ScriptError;
use script::{MAX_CLUSTERS, Script, State, Status, service_name, service_number};
pub(super) use wire::EcsError;
use wire::{
    CreateClusterInput, DeleteClusterInput, DescribeClustersInput, DescribeServicesInput,
    ListServicesInput,
};

/// What comes before the operation in `X-Amz-Target`. Source: service model, `targetPrefix`.
pub(super) const TARGET_PREFIX: &str = "AmazonEC2ContainerServiceV20141113.";

/// The operations, as IAM names them.
pub(super) const ACTIONS: [&str; 7] = [
    "ecs:CreateCluster",
    "ecs:DeleteCluster",
    "ecs:DescribeClusters",
    "ecs:DescribeContainerInstances",
    "ecs:DescribeServices",
    "ecs:ListContainerInstances",
    "ecs:ListServices",
];

/// Source of the next six: Amazon ECS API Reference, "Request throttling for the Amazon ECS
/// API", "Cluster read", "Service read" and "Cluster resource read" actions.
const CLUSTER_READ_BURST: u64 = 50;
/// Refill of the cluster reads, calls a second.
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

/// Services on a page if the call does not say. Source: API reference, `ListServices`.
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
            "DescribeClusters" => self.cluster_reads.admit_one(now),
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

    /// The capacity providers of a cluster's script.
    fn capacity_providers(&self, name: &str) -> &[String] {
        let script = self.clusters.get(name).and_then(|it| it.script.as_ref());
        script.map_or(&[], |script| &script.capacity_providers)
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
                    clusters.push(described_cluster(name, &state, providers, &include));
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
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const SCRIPT: &str = r#"
        [[cluster]]
        name = "Web"
        steps = [
            { at = 0, running = 10, pending = 1, services = 3, instances = 2, fargate = 0.3 },
            { at = 5, running = 20 },
            { at = 8, status = "INACTIVE" },
            { at = 9, status = "MISSING" },
        ]
    "#;

    fn at(second: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
    }

    fn state() -> ClusterState {
        ClusterState::new(parse_script(SCRIPT).unwrap(), true, at(100))
    }

    fn ask(
        state: &mut ClusterState,
        second: i64,
        operation: &str,
        body: &Value,
    ) -> Result<Value, EcsError> {
        let body = body.to_string();
        state.answer(
            at(second),
            operation,
            true,
            body.as_bytes(),
            &CallFaults::default(),
        )
    }

    #[test]
    fn a_scripted_cluster_follows_the_time() {
        let mut state = state();
        let web = json!({ "clusters": ["Web"], "include": ["STATISTICS"] });
        let mut described = |second| ask(&mut state, second, "DescribeClusters", &web).unwrap();
        let cluster = &described(100)["clusters"][0];
        assert_eq!(cluster["runningTasksCount"], 10);
        let statistics = cluster["statistics"].as_array().unwrap();
        assert!(statistics.contains(&json!({ "name": "runningFargateTasksCount", "value": "3" })));
        assert!(statistics.contains(&json!({ "name": "runningEC2TasksCount", "value": "7" })));
        assert_eq!(described(105)["clusters"][0]["runningTasksCount"], 20);
        let inactive = described(108);
        assert_eq!(inactive["clusters"][0]["status"], "INACTIVE");
        assert_eq!(inactive["clusters"][0]["runningTasksCount"], 0);
        let arn = "arn:aws:ecs:us-east-1:123456789012:cluster/Web";
        let failures = json!([{ "arn": arn, "reason": "MISSING" }]);
        assert_eq!(
            described(109),
            json!({ "clusters": [], "failures": failures })
        );
    }

    #[test]
    fn names_and_arns_are_the_same_and_other_accounts_are_missing() {
        let mut state = state();
        let mine = "arn:aws:ecs:eu-west-1:123456789012:cluster/Web";
        let other = "arn:aws:ecs:us-east-1:999999999999:cluster/Web";
        let body = json!({ "clusters": [mine, "Web", other] });
        let answer = ask(&mut state, 100, "DescribeClusters", &body).unwrap();
        assert_eq!(answer["clusters"][0], answer["clusters"][1]);
        assert_eq!(
            answer["failures"],
            json!([{ "arn": other, "reason": "MISSING" }])
        );
        for wrong in [
            "a b",
            "arn:aws:s3:::Web",
            "arn:aws:ecs:r:123456789012:task/Web",
            "",
        ] {
            let body = json!({ "clusters": [wrong] });
            let error = ask(&mut state, 100, "DescribeClusters", &body).expect_err(wrong);
            assert_eq!(error.name(), "InvalidParameterException", "{wrong}");
        }
    }

    #[test]
    fn services_of_a_cluster_that_is_not_active_are_not_found() {
        let mut state = state();
        let list = json!({ "cluster": "Web" });
        let services = json!({ "cluster": "Web", "services": ["service-0000", "service-0003"] });
        let answer = ask(&mut state, 100, "DescribeServices", &services).unwrap();
        assert_eq!(answer["services"][0]["runningCount"], 3);
        assert_eq!(answer["services"][0]["launchType"], "FARGATE");
        assert_eq!(answer["failures"][0]["reason"], "MISSING");
        for second in [108, 109] {
            for (operation, body) in [("ListServices", &list), ("DescribeServices", &services)] {
                let error = ask(&mut state, second, operation, body).unwrap_err();
                assert_eq!(error, EcsError::ClusterNotFound);
            }
        }
    }

    #[test]
    fn buckets_throttle_reads_and_list_and_describe_share_theirs() {
        let mut state = state();
        let (body, services) = (json!({}), json!({ "cluster": "Web" }));
        let mut passed = |second, operation: &str, body: &Value| {
            let is_throttled =
                |_: &i32| ask(&mut state, second, operation, body) == Err(EcsError::Throttled);
            120 - (0..120).filter(is_throttled).count()
        };
        assert_eq!(passed(100, "DescribeClusters", &body), 50);
        assert_eq!(passed(101, "DescribeClusters", &body), 20);
        assert_eq!(passed(100, "ListServices", &services), 100);
        assert_eq!(passed(100, "DescribeServices", &services), 0);
        assert_eq!(passed(102, "DescribeServices", &services), 40);
        assert_eq!(passed(102, "CreateCluster", &body), 120);
    }

    #[test]
    fn limits_are_awss() {
        let mut state = state();
        let mut name = |operation: &str, body: Value| match ask(&mut state, 100, operation, &body) {
            Ok(_) => "",
            Err(error) => error.name(),
        };
        let invalid = "InvalidParameterException";
        assert_eq!(
            name("DescribeClusters", json!({ "clusters": vec!["a"; 100] })),
            ""
        );
        assert_eq!(
            name("DescribeClusters", json!({ "clusters": vec!["a"; 101] })),
            invalid
        );
        assert_eq!(
            name("DescribeClusters", json!({ "include": ["ALL"] })),
            invalid
        );
        let services = |count| json!({ "cluster": "Web", "services": vec!["a"; count] });
        assert_eq!(name("DescribeServices", services(10)), "");
        assert_eq!(name("DescribeServices", services(11)), invalid);
        assert_eq!(name("DescribeServices", services(0)), invalid);
        let page = |most| json!({ "cluster": "Web", "maxResults": most });
        assert_eq!(name("ListServices", page(100)), "");
        assert_eq!(name("ListServices", page(101)), invalid);
        assert_eq!(name("ListServices", page(0)), invalid);
        assert_eq!(
            name(
                "ListServices",
                json!({ "cluster": "Web", "nextToken": "?" })
            ),
            invalid
        );
        assert_eq!(
            name("DescribeClusters", json!({ "clusters": 7 })),
            "SerializationException"
        );
        assert_eq!(name("RunTask", json!({})), "UnknownOperationException");
    }
}
