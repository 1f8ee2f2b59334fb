//! PURE. The operations on container instances.
//!
//! What lives here: pages of a cluster's instances, and their counts. What does not: how many
//! there are ([`super::script`]).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::arn::{instance_arn, instance_number, number_of_token, token_of_number};
use super::describe::{described_instance, missing};
use super::wire::{DescribeContainerInstancesInput, EcsError, ListContainerInstancesInput};
use super::{ClusterState, MAX_PAGE, page_of};

/// Most instances in a call. Source: API reference, `DescribeContainerInstances`.
const MAX_DESCRIBED_INSTANCES: usize = 100;

impl ClusterState {
    pub(super) fn list_instances(
        &self,
        now: Timestamp,
        input: &ListContainerInstancesInput,
    ) -> Result<Value, EcsError> {
        let page = page_of(input.max_results, MAX_PAGE)?;
        let start = input.next_token.as_deref().map_or(Ok(0), number_of_token)?;
        let (cluster, state) = self.active_cluster(now, input.cluster.as_deref())?;
        let mut numbers = start..state.instances;
        let arns: Vec<String> = numbers
            .by_ref()
            .take(page)
            .map(|number| instance_arn(&cluster, number))
            .collect();
        let mut answer = json!({ "containerInstanceArns": arns });
        if let Some(next) = numbers.next() {
            answer["nextToken"] = json!(token_of_number(next));
        }
        Ok(answer)
    }

    pub(super) fn describe_instances(
        &self,
        now: Timestamp,
        input: DescribeContainerInstancesInput,
    ) -> Result<Value, EcsError> {
        let identifiers = input.container_instances.unwrap_or_default();
        if !(1..=MAX_DESCRIBED_INSTANCES).contains(&identifiers.len()) {
            let message = "Container instances must have 1 to 100 elements.";
            return Err(EcsError::InvalidParameter(message));
        }
        let (cluster, state) = self.active_cluster(now, input.cluster.as_deref())?;
        let providers = self.capacity_providers(&cluster);
        let (mut instances, mut failures) = (Vec::new(), Vec::new());
        for identifier in &identifiers {
            let number = instance_number(&cluster, identifier)?;
            match number.and_then(|number| Some((number, state.instance(number)?))) {
                Some((number, instance)) => {
                    instances.push(described_instance(&cluster, number, instance, providers));
                }
                None => failures.push(missing(identifier)),
            }
        }
        Ok(json!({ "containerInstances": instances, "failures": failures }))
    }
}
