//! PURE. The errors that a fault answers with, as AWS names and words them in each service.
//!
//! What lives here: names, statuses and messages. What does not: when they are given
//! ([`super::faults`]) and how an error is written in a protocol (each service's `wire`).
//!
//! Sources: the "Errors" and "Common Errors" of the API references and service models; that the
//! JSON services answer refused credentials with 400 and not with the 403 of the list is what their
//! clients report.

use serde::Deserialize;

/// Whose answer an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AwsService {
    /// `awsJson1_1`.
    Firehose,
    /// `awsJson1_1`.
    Ecs,
    /// Smithy RPC v2 CBOR or `awsJson1_0`, both with the query protocol's names.
    CloudWatch,
}

/// An error for a whole call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum CallError {
    /// Over a quota, or an outage.
    #[serde(rename = "ServiceUnavailableException")]
    ServiceUnavailable,
    /// Too many calls.
    #[serde(rename = "ThrottlingException")]
    Throttling,
    /// The service failed.
    InternalFailure,
    /// The session is over.
    #[serde(rename = "ExpiredTokenException")]
    ExpiredToken,
    /// The policy does not allow it.
    #[serde(rename = "AccessDeniedException")]
    AccessDenied,
    /// The key is not known.
    #[serde(rename = "UnrecognizedClientException")]
    UnrecognizedClient,
    /// The signature is wrong, or the client's clock.
    #[serde(rename = "InvalidSignatureException")]
    InvalidSignature,
}

impl CallError {
    /// The name of the shape in `__type`.
    #[must_use]
    pub(super) fn name(self, service: AwsService) -> &'static str {
        match self {
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::Throttling => "ThrottlingException",
            Self::InternalFailure if service == AwsService::CloudWatch => "InternalServiceFault",
            Self::InternalFailure => "InternalFailure",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::AccessDenied => "AccessDeniedException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::InvalidSignature => "InvalidSignatureException",
        }
    }

    /// The name in the query protocol, which CloudWatch's clients see.
    #[must_use]
    pub(super) fn query_name(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Throttling => "Throttling",
            Self::InternalFailure => "InternalServiceError",
            Self::ExpiredToken => "ExpiredToken",
            Self::AccessDenied => "AccessDenied",
            Self::UnrecognizedClient => "InvalidClientTokenId",
            Self::InvalidSignature => "SignatureDoesNotMatch",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub(super) fn status(self, service: AwsService) -> u16 {
        match self {
            Self::ServiceUnavailable if service == AwsService::Firehose => 500,
            Self::ServiceUnavailable => 503,
            Self::Throttling => 400,
            Self::InternalFailure => 500,
            Self::ExpiredToken
            | Self::AccessDenied
            | Self::UnrecognizedClient
            | Self::InvalidSignature => match service {
                AwsService::Firehose | AwsService::Ecs => 400,
                AwsService::CloudWatch => 403,
            },
        }
    }

    /// The message.
    #[must_use]
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "Slow down.",
            Self::Throttling => "Rate exceeded",
            Self::InternalFailure => "The request processing has failed.",
            Self::ExpiredToken => "The security token included in the request is expired",
            Self::AccessDenied => "User is not authorized to perform this action.",
            Self::UnrecognizedClient => "The security token included in the request is invalid.",
            Self::InvalidSignature => {
                "The request signature we calculated does not match the signature you provided."
            }
        }
    }

    /// Whether it says to come back later.
    #[must_use]
    pub(super) fn is_throttle(self) -> bool {
        matches!(self, Self::ServiceUnavailable | Self::Throttling)
    }
}

/// An error for one record of a call that is answered with 200. Source: API reference,
/// `PutRecordBatch`: `ServiceUnavailableException` and `InternalFailure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum RecordError {
    /// Over a quota.
    #[default]
    #[serde(rename = "ServiceUnavailableException")]
    ServiceUnavailable,
    /// The service failed.
    InternalFailure,
}

impl RecordError {
    /// `ErrorCode`.
    #[must_use]
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::InternalFailure => "InternalFailure",
        }
    }

    /// `ErrorMessage`.
    #[must_use]
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "Slow down.",
            Self::InternalFailure => "Internal service failure.",
        }
    }
}
