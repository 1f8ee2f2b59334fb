//! PURE. How clusters, services and failures look in answers.
//!
//! What lives here: the JSON of what is described. What does not: which of them are
//! ([`super`]).

use serde_json::{Value, json};

use super::arn::{cluster_arn, instance_arn, service_arn, task_definition_arn};
use super::script::{Instance, Rollout, Service, State, Status, share};

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
        "desiredCount": service.desired,
        "runningCount": service.running,
        "pendingCount": service.pending,
        "launchType": launch_type(service),
        "schedulingStrategy": "REPLICA",
        "taskDefinition": task_definition_arn(name, service.deployments),
        "createdAt": created_s,
        "deployments": (0..service.deployments)
            .map(|age| deployment(name, service, age, created_s))
            .collect::<Vec<_>>(),
        "events": [],
        "loadBalancers": [],
    })
}

fn launch_type(service: &Service) -> &'static str {
    if service.is_fargate { "FARGATE" } else { "EC2" }
}

/// `Deployment`, the newest first: that is the PRIMARY one, the others are being replaced. The tasks are spread over all of
/// them. Source: API reference, "Deployment".
fn deployment(name: &str, service: &Service, age: u32, created_s: i64) -> Value {
    let id = format!("ecs-svc/{:019}", service.deployments - age);
    let running = share(service.running, service.deployments, age);
    let (status, desired, rollout, failed) = if age == 0 {
        let Service {
            desired,
            rollout,
            failed,
            ..
        } = *service;
        ("PRIMARY", desired, rollout, failed)
    } else {
        ("ACTIVE", running, Rollout::Completed, 0)
    };
    let rollout = match rollout {
        Rollout::Completed => Some(("COMPLETED", "completed")),
        Rollout::InProgress => Some(("IN_PROGRESS", "in progress")),
        Rollout::Failed => Some(("FAILED", "failed")),
        Rollout::None => None,
    };
    let mut described = json!({
        "id": id,
        "status": status,
        "taskDefinition": task_definition_arn(name, service.deployments - age),
        "desiredCount": desired,
        "pendingCount": share(service.pending, service.deployments, age),
        "runningCount": running,
        "failedTasks": failed,
        "createdAt": created_s,
        "updatedAt": created_s,
        "launchType": launch_type(service),
    });
    if let Some((state, reason)) = rollout {
        described["rolloutState"] = json!(state);
        described["rolloutStateReason"] = json!(format!("ECS deployment {id} {reason}."));
    }
    described
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_s_tasks_are_spread_over_its_deployments_and_the_newest_is_primary() {
        let state = State {
            running: 14,
            pending: 2,
            services: 2,
            desired: Some(20),
            deployments: 2,
            rollout: Rollout::InProgress,
            failed: 3,
            ..State::default()
        };
        let of = |state: State| {
            let service = state.service(1).expect("it has two");
            described_service("Web", "service-0001", &service, 7)
        };
        let described = of(state);
        assert_eq!(described["desiredCount"], 10);
        let deployments = described["deployments"].as_array().expect("a list");
        assert_eq!(deployments.len(), 2);
        let [primary, active] = [&deployments[0], &deployments[1]];
        assert_eq!(
            (&primary["status"], &active["status"]),
            (&json!("PRIMARY"), &json!("ACTIVE"))
        );
        assert_eq!(
            (&primary["desiredCount"], &active["desiredCount"]),
            (&json!(10), &json!(3))
        );
        assert_eq!(
            (&primary["runningCount"], &active["runningCount"]),
            (&json!(4), &json!(3))
        );
        assert_eq!(
            (&primary["failedTasks"], &active["failedTasks"]),
            (&json!(3), &json!(0))
        );
        assert_eq!(primary["rolloutState"], "IN_PROGRESS");
        let reason = "ECS deployment ecs-svc/0000000000000000002 in progress.";
        assert_eq!(primary["rolloutStateReason"], reason);
        assert_ne!(primary["taskDefinition"], active["taskDefinition"]);
        let silent = of(State {
            rollout: Rollout::None,
            ..state
        });
        assert_eq!(silent["deployments"][0].get("rolloutState"), None);
        let other = of(State {
            deployments: 0,
            ..state
        });
        assert_eq!(other["deployments"], json!([]));
    }
}
