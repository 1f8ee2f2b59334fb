//! PURE. How clusters, services and failures look in answers.
//!
//! What lives here: the JSON of what is described. What does not: which of them are
//! ([`super`]).

use serde_json::{Value, json};

use super::arn::{cluster_arn, instance_arn, service_arn};
use super::script::{Instance, Service, State, Status};

/// `Failure` of what is not there.
pub(super) fn missing(arn: &str) -> Value {
    json!({ "arn": arn, "reason": "MISSING" })
}

/// `Cluster`, with the fields of `include`.
pub(super) fn described_cluster(
    name: &str,
    state: &State,
    capacity_providers: &[String],
    include: &[String],
) -> Value {
    let is_included = |field: &str| include.iter().any(|included| included == field);
    let status = match state.status {
        Status::Active => "ACTIVE",
        Status::Inactive | Status::Missing => "INACTIVE",
    };
    let state = match state.status {
        Status::Active => *state,
        Status::Inactive | Status::Missing => State::default(),
    };
    let mut described = json!({
        "clusterArn": cluster_arn(name),
        "clusterName": name,
        "status": status,
        "registeredContainerInstancesCount": state.instances,
        "runningTasksCount": state.running,
        "pendingTasksCount": state.pending,
        "activeServicesCount": state.services,
        "statistics": [],
        "tags": [],
        "settings": [],
        "capacityProviders": capacity_providers,
        "defaultCapacityProviderStrategy": [],
    });
    if is_included("STATISTICS") {
        described["statistics"] = statistics(&state);
    }
    if is_included("SETTINGS") {
        described["settings"] = json!([{ "name": "containerInsights", "value": "disabled" }]);
    }
    described
}

/// The split by launch type. Source: API reference, `Cluster.statistics`, which writes the second
/// name with a capital R, unlike all others; that is taken for a slip and not verified on AWS.
fn statistics(state: &State) -> Value {
    let running = state.split(state.running);
    let pending = state.split(state.pending);
    let services = state.split(state.services);
    let pair = |(name, value): (&str, u32)| json!({ "name": name, "value": value.to_string() });
    [
        ("runningEC2TasksCount", running.ec2),
        ("runningFargateTasksCount", running.fargate),
        ("pendingEC2TasksCount", pending.ec2),
        ("pendingFargateTasksCount", pending.fargate),
        ("activeEC2ServiceCount", services.ec2),
        ("activeFargateServiceCount", services.fargate),
        ("drainingEC2ServiceCount", 0),
        ("drainingFargateServiceCount", 0),
    ]
    .into_iter()
    .map(pair)
    .collect()
}

/// `Service`, created at `created_s` seconds since 1970-01-01 UTC.
pub(super) fn described_service(
    cluster: &str,
    name: &str,
    service: &Service,
    created_s: i64,
) -> Value {
    json!({
        "serviceArn": service_arn(cluster, name),
        "serviceName": name,
        "clusterArn": cluster_arn(cluster),
        "status": "ACTIVE",
        "desiredCount": service.running + service.pending,
        "runningCount": service.running,
        "pendingCount": service.pending,
        "launchType": if service.is_fargate { "FARGATE" } else { "EC2" },
        "schedulingStrategy": "REPLICA",
        "createdAt": created_s,
        "deployments": [],
        "events": [],
        "loadBalancers": [],
    })
}

/// `ContainerInstance`, which belongs to one of the capacity providers by its number.
pub(super) fn described_instance(
    cluster: &str,
    number: u32,
    instance: Instance,
    capacity_providers: &[String],
) -> Value {
    let mut described = json!({
        "containerInstanceArn": instance_arn(cluster, number),
        "ec2InstanceId": format!("i-{number:017x}"),
        "status": "ACTIVE",
        "agentConnected": true,
        "runningTasksCount": instance.running,
        "pendingTasksCount": instance.pending,
        "registeredResources": [],
        "remainingResources": [],
        "attributes": [],
        "tags": [],
    });
    if !capacity_providers.is_empty() {
        let provider = &capacity_providers[number as usize % capacity_providers.len()];
        described["capacityProviderName"] = json!(provider);
    }
    described
}
