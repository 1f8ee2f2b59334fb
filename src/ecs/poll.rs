//! One poll: DescribeClusters for up to 100 clusters, and what it says about each.
//!
//! What lives here: the request, its attempts within the deadline, and how an error becomes a
//! reason. What does not: when to poll ([`super::schedule`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::http::HttpResponse;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::describe_clusters::{DescribeClustersError, DescribeClustersOutput};
use aws_sdk_ecs::types::{self, ClusterField};
use tokio::time::{sleep, timeout_at};

use crate::config::Cluster;
use crate::error::root_cause;

use super::account::GapReason;

/// Clusters in one DescribeClusters. Source: API reference, "DescribeClusters".
pub(super) const CLUSTERS_A_CALL: usize = 100;

/// A broken connection or a failure of the service is tried again within the deadline.
const MOST_ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(40);

/// The metrics of a cluster, in the order of [`Counts::all`].
pub(super) const CLUSTER_METRICS: [&str; 4] = [
    "RunningTask",
    "PendingTask",
    "ActiveServices",
    "RegisteredContainerInstances",
];

/// The metrics by launch type, in the order of [`Counts::by_launch_type`]: a metric's name, the
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

/// What ECS says about one cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    pub(super) all: [f64; CLUSTER_METRICS.len()],
    /// None if ECS did not say all of it.
    pub(super) by_launch_type: Option<[f64; LAUNCH_TYPE_METRICS.len()]>,
}

/// Why a whole poll failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PollError {
    pub(super) reason: GapReason,
    /// For people.
    pub(super) what: String,
}

/// How a poll went.
#[derive(Debug)]
pub(super) struct Polled {
    /// Requests that were sent.
    pub(super) attempts: u32,
    pub(super) took: Duration,
    /// For each cluster, in the order in which they were asked for.
    pub(super) answer: Result<Vec<Result<Counts, GapReason>>, PollError>,
}

/// Asks until there is an answer, the deadline has come, or asking again is of no use.
pub(super) async fn poll(
    client: Client,
    clusters: Arc<[Cluster]>,
    launch_types: bool,
    deadline: Instant,
) -> Polled {
    let started = Instant::now();
    let mut attempts = 0;
    let asking = async {
        loop {
            attempts += 1;
            let ids = clusters.iter().map(|cluster| cluster.id.clone()).collect();
            let include = launch_types.then(|| vec![ClusterField::Statistics]);
            let request = client
                .describe_clusters()
                .set_clusters(Some(ids))
                .set_include(include);
            match request.send().await {
                Ok(output) => return Ok(read(&clusters, &output)),
                Err(error) => {
                    let again = attempts < MOST_ATTEMPTS && may_pass_at_once(&error);
                    if !again {
                        return Err(classify(&error));
                    }
                    sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
                }
            }
        }
    };
    let answer = timeout_at(deadline.into(), asking).await;
    Polled {
        took: started.elapsed(),
        answer: answer.unwrap_or_else(|_| {
            Err(PollError {
                reason: GapReason::Deadline,
                what: "no answer in time".to_owned(),
            })
        }),
        attempts,
    }
}

fn read(clusters: &[Cluster], output: &DescribeClustersOutput) -> Vec<Result<Counts, GapReason>> {
    let one = |cluster: &Cluster| {
        let found = output.clusters().iter().find(|found| {
            found.cluster_arn() == Some(&cluster.id) || found.cluster_name() == Some(&cluster.name)
        });
        if let Some(found) = found {
            return counts(found);
        }
        let failure = output.failures().iter().find(|failure| {
            failure.arn().is_some_and(|arn| {
                arn == cluster.id || arn.rsplit('/').next() == Some(&cluster.name)
            })
        });
        match failure.and_then(types::Failure::reason) {
            Some("MISSING") => Err(GapReason::Missing),
            // Another reason, or not a word about it.
            Some(_) | None => Err(GapReason::Failed),
        }
    };
    clusters.iter().map(one).collect()
}

fn counts(cluster: &types::Cluster) -> Result<Counts, GapReason> {
    if cluster.status() == Some("INACTIVE") {
        return Err(GapReason::Inactive);
    }
    let statistic = |name: &str| {
        let pair = cluster.statistics().iter().find(|pair| {
            pair.name()
                .is_some_and(|given| given.eq_ignore_ascii_case(name))
        });
        pair?.value()?.parse::<u32>().ok().map(f64::from)
    };
    let mut by_launch_type = [0.0; LAUNCH_TYPE_METRICS.len()];
    let mut complete = true;
    for (value, (_, _, name)) in by_launch_type.iter_mut().zip(LAUNCH_TYPE_METRICS) {
        match statistic(name) {
            Some(count) => *value = count,
            None => complete = false,
        }
    }
    Ok(Counts {
        all: [
            cluster.running_tasks_count(),
            cluster.pending_tasks_count(),
            cluster.active_services_count(),
            cluster.registered_container_instances_count(),
        ]
        .map(f64::from),
        by_launch_type: complete.then_some(by_launch_type),
    })
}

fn may_pass_at_once(error: &SdkError<DescribeClustersError, HttpResponse>) -> bool {
    match error {
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        SdkError::ResponseError(_) => true,
        SdkError::ServiceError(service) => service.raw().status().is_server_error(),
        _ => false,
    }
}

fn classify(error: &SdkError<DescribeClustersError, HttpResponse>) -> PollError {
    let service = match error {
        SdkError::ServiceError(service) => service.err(),
        SdkError::TimeoutError(_) => {
            return PollError {
                reason: GapReason::Deadline,
                what: "no answer in time".to_owned(),
            };
        }
        other => {
            let first: &(dyn std::error::Error + 'static) = other;
            let mut causes = std::iter::successors(Some(first), |cause| cause.source());
            let unsigned = causes.any(<dyn std::error::Error>::is::<CredentialsError>);
            return PollError {
                reason: if unsigned {
                    GapReason::Denied
                } else {
                    GapReason::Failed
                },
                what: format!("cannot ask: {}", root_cause(other)),
            };
        }
    };
    let code = service.code().unwrap_or("unknown error");
    let reason = match code {
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => GapReason::Throttled,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "MissingAuthenticationTokenException" => GapReason::Denied,
        _ => GapReason::Failed,
    };
    let message = service.message().unwrap_or("no message");
    PollError {
        reason,
        what: format!("{code}: {message}"),
    }
}
