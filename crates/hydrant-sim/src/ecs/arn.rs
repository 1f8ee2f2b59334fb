//! PURE. Names, ARNs and page tokens of clusters and services.
//!
//! What lives here: what identifies something, both ways. What does not: whether there is such
//! a thing ([`super`]).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::super::firehose::{ACCOUNT_ID, REGION};
use super::wire::EcsError;

/// Longest name. Source: API reference, `CreateCluster`.
const MAX_NAME_CHARS: usize = 255;

/// Whether a cluster may have this name. Source: API reference, `CreateCluster`.
pub(super) fn is_valid_name(name: &str) -> bool {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(is_valid)
}

/// The name in a name or an ARN; none if the ARN is another account's.
pub(super) fn cluster_name(identifier: &str) -> Result<Option<&str>, EcsError> {
    let name = resource_of(identifier, "cluster")?;
    if name.is_some_and(|name| !is_valid_name(name)) {
        return Err(EcsError::InvalidParameter("Invalid identifier."));
    }
    Ok(name)
}

/// What follows the kind in an ARN of that kind and this account; a name is itself.
pub(super) fn resource_of<'a>(
    identifier: &'a str,
    kind: &str,
) -> Result<Option<&'a str>, EcsError> {
    if !identifier.starts_with("arn:") {
        return Ok(Some(identifier));
    }
    let parts: Vec<&str> = identifier.splitn(6, ':').collect();
    let [_, _, "ecs", _, account, resource] = parts[..] else {
        return Err(EcsError::InvalidParameter("Invalid identifier."));
    };
    let resource = resource.split_once('/').filter(|(of, _)| *of == kind);
    let (_, name) = resource.ok_or(EcsError::InvalidParameter("Invalid identifier."))?;
    Ok((account == ACCOUNT_ID).then_some(name))
}

pub(super) fn cluster_arn(name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT_ID}:cluster/{name}")
}

/// Of the task definition of a service's deployment with this number, from 1.
pub(super) fn task_definition_arn(service: &str, deployment: u32) -> String {
    let revision = deployment.max(1);
    format!("arn:aws:ecs:{REGION}:{ACCOUNT_ID}:task-definition/{service}:{revision}")
}

pub(super) fn service_arn(cluster: &str, name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT_ID}:service/{cluster}/{name}")
}

/// The id of a container instance is its number, in the form of AWS's.
pub(super) fn instance_arn(cluster: &str, number: u32) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT_ID}:container-instance/{cluster}/{number:032x}")
}

/// The number in the id or ARN of a container instance of this cluster.
pub(super) fn instance_number(cluster: &str, identifier: &str) -> Result<Option<u32>, EcsError> {
    let id = resource_of(identifier, "container-instance")?;
    let id = id.and_then(|id| match id.rsplit_once('/') {
        Some((of, id)) => (of == cluster).then_some(id),
        None => Some(id),
    });
    Ok(id.and_then(|id| u32::from_str_radix(id, 16).ok()))
}

/// Where the next page starts, opaque to clients.
pub(super) fn token_of_number(number: u32) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(number.to_be_bytes())
}

pub(super) fn token_of_name(name: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(name)
}

pub(super) fn name_of_token(token: &str) -> Result<String, EcsError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or(EcsError::InvalidParameter("Invalid token."))
}

pub(super) fn number_of_token(token: &str) -> Result<u32, EcsError> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    let bytes = bytes.ok_or(EcsError::InvalidParameter("Invalid token."))?;
    Ok(u32::from_be_bytes(bytes))
}
