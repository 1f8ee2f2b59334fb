//! What is asked of ECS in one poll, and what the answer says about each target.
//!
//! What lives here: requests, limits of a call, and how counts are read. What does not: attempts
//! and errors ([`super::caller`]), what the counts are called ([`super::target`]).

use std::sync::Arc;

use aws_sdk_ecs::operation::describe_clusters::DescribeClustersOutput;
use aws_sdk_ecs::types::{self, ClusterField, DeploymentRolloutState};

use crate::config::Cluster;
pub(super) use crate::config::cloudwatch::{
    CLUSTER_METRICS, DEPLOYMENT_METRICS, PROVIDER_METRICS, SERVICE_METRICS,
};

use super::caller::{CallBucket, Caller, PollError};
use super::core::account::{Calls, GapReason};

/// Clusters in one DescribeClusters. Source: API reference, "DescribeClusters".
pub(crate) const CLUSTERS_A_CALL: usize = 100;
/// Services in one DescribeServices. Source: API reference, "DescribeServices".
pub(crate) const SERVICES_A_CALL: usize = 10;
/// Instances in one call. Source: API reference, "DescribeContainerInstances".
pub(super) const INSTANCES_A_CALL: usize = 100;

/// Where ActiveServices is among a cluster's values.
const ACTIVE_SERVICES: usize = 2;
/// Where RegisteredContainerInstances is among a cluster's values.
const REGISTERED_INSTANCES: usize = 3;

/// The metrics of a cluster by launch type, in the order of its values: a metric's name, the
/// value of the dimension LaunchType, and the name in `Cluster.statistics`. Source of the last: API
/// reference, "Cluster"; compared without case, because that page varies it.
pub(super) const LAUNCH_TYPE_METRICS: [(&str, &str, &str); 6] = [
    ("RunningTask", "EC2", "runningEC2TasksCount"),
    ("RunningTask", "FARGATE", "runningFargateTasksCount"),
    ("PendingTask", "EC2", "pendingEC2TasksCount"),
    ("PendingTask", "FARGATE", "pendingFargateTasksCount"),
    ("ActiveServices", "EC2", "activeEC2ServiceCount"),
    ("ActiveServices", "FARGATE", "activeFargateServiceCount"),
];

/// The values of RolloutState, from 0. Source: API reference, "Deployment": ECS says it only of rolling updates, and not of
/// services behind a Classic Load Balancer.
pub(super) const ROLLOUT_STATES: [DeploymentRolloutState; 3] = [
    DeploymentRolloutState::Completed,
    DeploymentRolloutState::InProgress,
    DeploymentRolloutState::Failed,
];

/// What ECS says about one target: the values of its metrics, as far as it says them.
pub(super) type Answer = Result<Vec<Option<f64>>, GapReason>;

/// What a poll says about what a cluster has, as far as that must be listed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sighting {
    /// The cluster's own count of it.
    Count(f64),
    /// Something has come or gone.
    Changed,
}

/// What one poll asks for.
#[derive(Debug, Clone)]
pub(super) enum PollQuery {
    /// Up to [`CLUSTERS_A_CALL`] clusters. With launch types each of them is two targets.
    Clusters {
        clusters: Arc<[Cluster]>,
        launch_types: bool,
    },
    /// Up to [`SERVICES_A_CALL`] services of one cluster, by ARN.
    Services {
        cluster: String,
        services: Arc<[String]>,
    },
    /// All container instances of one cluster, by ARN. Each of the capacity providers is a target.
    Instances {
        cluster: String,
        instances: Arc<[String]>,
        providers: Arc<[String]>,
    },
}

impl PollQuery {
    /// Requests of one poll, if each gets an answer.
    pub(super) fn call_count(&self) -> usize {
        match self {
            Self::Clusters { .. } | Self::Services { .. } => 1,
            Self::Instances { instances, .. } => instances.len().div_ceil(INSTANCES_A_CALL).max(1),
        }
    }

    /// The counter of its requests.
    pub(super) fn counter<'a>(&self, calls: &'a mut Calls) -> &'a mut u64 {
        match self {
            Self::Clusters { .. } => &mut calls.describe_clusters,
            Self::Services { .. } => &mut calls.describe_services,
            Self::Instances { instances, .. } if instances.is_empty() => {
                &mut calls.list_container_instances
            }
            Self::Instances { .. } => &mut calls.describe_container_instances,
        }
    }

    /// What the answers, if there are any, say about a cluster's services or container instances.
    pub(super) fn sighting(
        &self,
        cluster: &Cluster,
        bucket: CallBucket,
        answers: Option<&[Answer]>,
    ) -> Option<Sighting> {
        let is_lost =
            |answer: &Answer| matches!(answer, Err(GapReason::Missing | GapReason::Inactive));
        let has_changed = match (self, bucket) {
            (
                Self::Clusters {
                    clusters,
                    launch_types,
                },
                bucket,
            ) => {
                let stride = if *launch_types { 2 } else { 1 };
                let place = clusters.iter().position(|it| it == cluster)? * stride;
                let counts = answers?.get(place)?.as_ref().ok()?;
                let index = if bucket == CallBucket::Services {
                    ACTIVE_SERVICES
                } else {
                    REGISTERED_INSTANCES
                };
                return counts.get(index).copied().flatten().map(Sighting::Count);
            }
            (Self::Services { cluster: of, .. }, CallBucket::Services) => {
                *of == cluster.id && answers.is_some_and(|it| it.iter().any(is_lost))
            }
            (
                Self::Instances {
                    cluster: of,
                    instances,
                    ..
                },
                CallBucket::Instances,
            ) => *of == cluster.id && instances.is_empty() && answers.is_none(),
            (Self::Services { .. } | Self::Instances { .. }, _) => false,
        };
        has_changed.then_some(Sighting::Changed)
    }

    /// Asks, and reads the answer for each target in order.
    pub(super) async fn send(&self, caller: &mut Caller) -> Result<Vec<Answer>, PollError> {
        match self {
            Self::Clusters {
                clusters,
                launch_types,
            } => describe_clusters(caller, clusters, *launch_types).await,
            Self::Services { cluster, services } => {
                describe_services(caller, cluster, services).await
            }
            Self::Instances {
                cluster,
                instances,
                providers,
            } => {
                let described = describe_instances(caller, cluster, instances).await?;
                let of = |provider: &String| Ok(provider_counts(&described, provider));
                Ok(providers.iter().map(of).collect())
            }
        }
    }
}

async fn describe_clusters(
    caller: &mut Caller,
    clusters: &[Cluster],
    launch_types: bool,
) -> Result<Vec<Answer>, PollError> {
    let ids: Vec<_> = clusters.iter().map(|cluster| cluster.id.clone()).collect();
    let output = caller.call(|client| {
        let include = launch_types.then(|| vec![ClusterField::Statistics]);
        let request = client.describe_clusters().set_clusters(Some(ids.clone()));
        request.set_include(include).send()
    });
    let output = output.await?;
    let mut answers = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        let found = find_cluster(cluster, &output);
        answers.push(found.map(cluster_counts));
        if launch_types {
            answers.push(found.and_then(launch_type_counts));
        }
    }
    Ok(answers)
}

fn find_cluster<'a>(
    cluster: &Cluster,
    output: &'a DescribeClustersOutput,
) -> Result<&'a types::Cluster, GapReason> {
    let found = output.clusters().iter().find(|found| {
        found.cluster_arn() == Some(&cluster.id) || found.cluster_name() == Some(&cluster.name)
    });
    match found {
        Some(found) if found.status() == Some("INACTIVE") => Err(GapReason::Inactive),
        Some(found) => Ok(found),
        None => Err(why_not(output.failures(), |arn| {
            arn == cluster.id || last_part(arn) == cluster.name
        })),
    }
}

/// Why something is not in an answer.
fn why_not(failures: &[types::Failure], is_it: impl Fn(&str) -> bool) -> GapReason {
    let mut failures = failures.iter();
    let failure = failures.find(|failure| failure.arn().is_some_and(&is_it));
    match failure.and_then(types::Failure::reason) {
        Some("MISSING") => GapReason::Missing,
        // Another reason, or not a word about it.
        Some(_) | None => GapReason::Failed,
    }
}

/// The name in an ARN.
pub(super) fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn cluster_counts(cluster: &types::Cluster) -> Vec<Option<f64>> {
    let counts = [
        cluster.running_tasks_count(),
        cluster.pending_tasks_count(),
        cluster.active_services_count(),
        cluster.registered_container_instances_count(),
    ];
    counts.map(|count| Some(f64::from(count))).to_vec()
}

/// Its split by launch type, if ECS says all of it.
fn launch_type_counts(cluster: &types::Cluster) -> Answer {
    let count = |(_, _, name): (&str, &str, &str)| {
        let pair = cluster.statistics().iter().find(|pair| {
            pair.name()
                .is_some_and(|given| given.eq_ignore_ascii_case(name))
        });
        pair?.value()?.parse::<u32>().ok().map(f64::from)
    };
    let counts = LAUNCH_TYPE_METRICS.map(count);
    if counts.contains(&None) {
        return Err(GapReason::Failed);
    }
    Ok(counts.to_vec())
}

async fn describe_services(
    caller: &mut Caller,
    cluster: &str,
    services: &[String],
) -> Result<Vec<Answer>, PollError> {
    let output = caller.call(|client| {
        let request = client.describe_services().cluster(cluster);
        request.set_services(Some(services.to_vec())).send()
    });
    let output = output.await?;
    let one = |arn: &String| {
        let mut found = output.services().iter();
        match found.find(|found| found.service_arn() == Some(arn)) {
            Some(found) if found.status() == Some("INACTIVE") => Err(GapReason::Inactive),
            Some(found) => Ok(service_values(found)),
            None => Err(why_not(output.failures(), |failed| failed == arn)),
        }
    };
    Ok(services.iter().map(one).collect())
}

/// Of [`SERVICE_METRICS`] and [`DEPLOYMENT_METRICS`].
fn service_values(service: &types::Service) -> Vec<Option<f64>> {
    let (running, desired) = (service.running_count(), service.desired_count());
    // ECS lists none for the controllers CODE_DEPLOY and EXTERNAL.
    let mut all = service.deployments().iter();
    let primary = all.find(|deployment| deployment.status() == Some("PRIMARY"));
    let deployments = service.deployments.as_ref();
    let count = deployments.and_then(|all| u32::try_from(all.len()).ok());
    let counts = [running, service.pending_count(), desired].map(|count| Some(f64::from(count)));
    let of_deployments = [
        count.map(f64::from),
        primary.and_then(|it| rollout_number(it.rollout_state()?)),
        primary.map(|it| f64::from(it.failed_tasks())),
        Some(f64::from(desired) - f64::from(running)),
    ];
    [&counts[..], &of_deployments[..]].concat()
}

/// How far a deployment is, as its place in [`ROLLOUT_STATES`]; none of a state that is not known.
fn rollout_number(state: &DeploymentRolloutState) -> Option<f64> {
    let place = ROLLOUT_STATES.iter().position(|it| it == state)?;
    u32::try_from(place).ok().map(f64::from)
}

/// Those of the instances that are still there. If there were none, whether there still are none.
async fn describe_instances(
    caller: &mut Caller,
    cluster: &str,
    instances: &[String],
) -> Result<Vec<types::ContainerInstance>, PollError> {
    let unknown = |what: &str| PollError {
        reason: GapReason::Failed,
        cause: None,
        what: what.to_owned(),
    };
    if instances.is_empty() {
        let output = caller.call(|client| {
            let request = client.list_container_instances().cluster(cluster);
            request.max_results(1).send()
        });
        if !output.await?.container_instance_arns().is_empty() {
            return Err(unknown("there are new container instances"));
        }
    }
    let mut described = Vec::with_capacity(instances.len());
    for arns in instances.chunks(INSTANCES_A_CALL) {
        let output = caller.call(|client| {
            let request = client.describe_container_instances().cluster(cluster);
            request.set_container_instances(Some(arns.to_vec())).send()
        });
        let output = output.await?;
        for failure in output.failures() {
            // One that has gone has nothing; anything else is not known.
            if failure.reason() != Some("MISSING") {
                return Err(unknown("ECS does not describe all container instances"));
            }
        }
        described.extend(output.container_instances.unwrap_or_default());
    }
    Ok(described)
}

fn provider_counts(instances: &[types::ContainerInstance], provider: &str) -> Vec<Option<f64>> {
    let mut counts = [0.0; PROVIDER_METRICS.len()];
    let of_provider =
        |it: &&types::ContainerInstance| it.capacity_provider_name() == Some(provider);
    for instance in instances.iter().filter(of_provider) {
        // As in a cluster's count of them.
        if matches!(instance.status(), Some("ACTIVE" | "DRAINING")) {
            counts[0] += 1.0;
        }
        counts[1] += f64::from(instance.running_tasks_count());
        counts[2] += f64::from(instance.pending_tasks_count());
    }
    counts.map(Some).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> Cluster {
        Cluster {
            name: name.to_owned(),
            id: name.to_owned(),
        }
    }

    #[test]
    fn a_cluster_s_own_counts_say_how_much_there_is_to_list() {
        let answers = [
            Ok([1.0, 2.0, 3.0, 4.0].map(Some).to_vec()),
            Err(GapReason::Failed),
            Ok([5.0, 6.0, 7.0, 8.0].map(Some).to_vec()),
            Ok(vec![Some(0.0); 6]),
        ];
        let query = PollQuery::Clusters {
            clusters: [cluster("a"), cluster("b")].into(),
            launch_types: true,
        };
        let of = |name, bucket| query.sighting(&cluster(name), bucket, Some(&answers));
        assert_eq!(of("a", CallBucket::Services), Some(Sighting::Count(3.0)));
        assert_eq!(of("b", CallBucket::Services), Some(Sighting::Count(7.0)));
        assert_eq!(of("b", CallBucket::Instances), Some(Sighting::Count(8.0)));
        assert_eq!(of("c", CallBucket::Services), None);
        assert_eq!(
            query.sighting(&cluster("a"), CallBucket::Services, None),
            None
        );
    }

    #[test]
    fn a_service_that_is_lost_is_a_reason_to_list_its_cluster_s() {
        let query = PollQuery::Services {
            cluster: "a".to_owned(),
            services: ["x".to_owned(), "y".to_owned()].into(),
        };
        let of = |name, bucket, answer: Answer| {
            let answers = [Ok(vec![Some(1.0); 3]), answer];
            query.sighting(&cluster(name), bucket, Some(&answers))
        };
        let (services, missing) = (CallBucket::Services, || Err(GapReason::Missing));
        assert_eq!(of("a", services, missing()), Some(Sighting::Changed));
        assert_eq!(of("b", services, missing()), None);
        assert_eq!(of("a", CallBucket::Instances, missing()), None);
        assert_eq!(of("a", services, Err(GapReason::Failed)), None);
    }

    #[test]
    fn of_deployments_there_is_only_what_ecs_says() {
        let deployment = |status: &str| types::Deployment::builder().status(status);
        let service = || types::Service::builder().running_count(5).desired_count(3);
        let of = |service: types::builders::ServiceBuilder| {
            let values = service_values(&service.build());
            assert_eq!(
                values.len(),
                SERVICE_METRICS.len() + DEPLOYMENT_METRICS.len()
            );
            values[SERVICE_METRICS.len()..].to_vec()
        };
        // More run than are desired while a deployment replaces another.
        assert_eq!(of(service()), [None, None, None, Some(-2.0)]);
        let none = service().set_deployments(Some(Vec::new()));
        assert_eq!(of(none), [Some(0.0), None, None, Some(-2.0)]);
        let silent = service().deployments(deployment("PRIMARY").failed_tasks(1).build());
        assert_eq!(of(silent), [Some(1.0), None, Some(1.0), Some(-2.0)]);
        for (state, number) in [
            ("COMPLETED", Some(0.0)),
            ("IN_PROGRESS", Some(1.0)),
            ("FAILED", Some(2.0)),
            ("PAUSED", None),
        ] {
            let active = deployment("ACTIVE").rollout_state("FAILED".into());
            let primary = deployment("PRIMARY").rollout_state(state.into());
            let two = service().deployments(active.failed_tasks(9).build());
            let two = two.deployments(primary.failed_tasks(4).build());
            assert_eq!(
                of(two),
                [Some(2.0), number, Some(4.0), Some(-2.0)],
                "{state}"
            );
        }
    }
}
