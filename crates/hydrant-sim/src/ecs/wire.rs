//! PURE. The JSON shapes of ECS's requests, and its errors.
//!
//! What lives here: what is on the wire. What does not: what it means ([`super`]).
//!
//! Source: API reference of Amazon ECS, version 2014-11-13, and its service model; the protocol
//! is `awsJson1_1`.

use serde::Deserialize;

use super::super::faults_error::{AwsService, CallError};

/// `CreateClusterInput`, as far as the simulator knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateClusterInput {
    /// `default` if left out.
    pub cluster_name: Option<String>,
}

/// `DeleteClusterInput`.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteClusterInput {
    /// Required: a name or an ARN.
    pub cluster: Option<String>,
}

/// `DescribeClustersInput`.
#[derive(Debug, Deserialize)]
pub(super) struct DescribeClustersInput {
    /// Names or ARNs, at most 100; `default` if left out.
    pub clusters: Option<Vec<String>>,
    /// What else to tell.
    pub include: Option<Vec<String>>,
}

/// `ListClustersInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListClustersInput {
    /// From the page before.
    pub next_token: Option<String>,
    /// 1 to 100; 100 if left out.
    pub max_results: Option<i64>,
}

/// `ListServicesInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListServicesInput {
    /// `default` if left out.
    pub cluster: Option<String>,
    /// From the page before.
    pub next_token: Option<String>,
    /// 1 to 100; 10 if left out.
    pub max_results: Option<i64>,
    /// Only services of this launch type.
    pub launch_type: Option<String>,
}

/// `DescribeServicesInput`.
#[derive(Debug, Deserialize)]
pub(super) struct DescribeServicesInput {
    /// `default` if left out.
    pub cluster: Option<String>,
    /// Required: names or ARNs, 1 to 10.
    pub services: Option<Vec<String>>,
}

/// `ListContainerInstancesInput`, without filters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListContainerInstancesInput {
    /// `default` if left out.
    pub cluster: Option<String>,
    /// From the page before.
    pub next_token: Option<String>,
    /// 1 to 100; 100 if left out.
    pub max_results: Option<i64>,
}

/// `DescribeContainerInstancesInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeContainerInstancesInput {
    /// `default` if left out.
    pub cluster: Option<String>,
    /// Required: ids or ARNs, 1 to 100.
    pub container_instances: Option<Vec<String>>,
}

/// An error that is a request's answer. No message holds a value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EcsError {
    /// No such cluster, or it is deleted.
    #[error("Cluster not found.")]
    ClusterNotFound,
    /// Over a bucket; come back later.
    #[error("Rate exceeded")]
    Throttled,
    /// A value that the operation does not take.
    #[error("{0}")]
    InvalidParameter(&'static str),
    /// The account is full.
    #[error("The account has its clusters already.")]
    LimitExceeded,
    /// Not the JSON that the operation takes.
    #[error("The body is not the JSON of this operation (line {line}, column {column})")]
    Serialization {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// No such operation.
    #[error("The operation is not known.")]
    UnknownOperation,
    /// The request is not signed at all.
    #[error("Missing Authentication Token")]
    MissingAuthenticationToken,
    /// What a fault says.
    #[error("{}", .0.message())]
    Injected(CallError),
}

impl EcsError {
    /// The name in `__type`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ClusterNotFound => "ClusterNotFoundException",
            Self::Throttled => "ThrottlingException",
            Self::InvalidParameter(_) => "InvalidParameterException",
            Self::LimitExceeded => "LimitExceededException",
            Self::Serialization { .. } => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::Injected(error) => error.name(AwsService::Ecs),
        }
    }

    /// The HTTP status. Source: API reference, "Common Errors".
    #[must_use]
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::ClusterNotFound
            | Self::Throttled
            | Self::InvalidParameter(_)
            | Self::LimitExceeded
            | Self::Serialization { .. }
            | Self::UnknownOperation => 400,
            Self::MissingAuthenticationToken => 403,
            Self::Injected(error) => error.status(AwsService::Ecs),
        }
    }

    /// The answer's body.
    #[must_use]
    pub(crate) fn body(self) -> Vec<u8> {
        let body = serde_json::json!({ "__type": self.name(), "message": self.to_string() });
        body.to_string().into_bytes()
    }
}
