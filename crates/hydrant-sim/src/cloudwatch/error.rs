//! PURE. What CloudWatch refuses, under which names.
//!
//! Source: API reference of Amazon CloudWatch, version 2010-08-01, and its service model.

use super::super::faults_error::{AwsService, CallError};

/// Where in a request something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParameterPath {
    /// Its number in the request's list, from 1, as AWS counts; none outside of a list.
    pub(super) number: Option<usize>,
    /// The list's name, or the member's.
    pub(super) member: &'static str,
}

impl std::fmt::Display for ParameterPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.number {
            Some(number) => write!(f, "MetricData.member.{number}.{}", self.member),
            None => f.write_str(self.member),
        }
    }
}

/// An error that is a request's answer. No message holds a value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CloudWatchError {
    /// A value that is not allowed.
    #[error("The value for parameter {0} is invalid: {1}.")]
    InvalidValue(ParameterPath, &'static str),
    /// Members that exclude each other.
    #[error("The parameters {0} cannot be used together: {1}.")]
    InvalidCombination(ParameterPath, &'static str),
    /// A member that must be there.
    #[error("The parameter {0} is required.")]
    Missing(ParameterPath),
    /// Not a token of a page before.
    #[error("The token is invalid.")]
    InvalidNextToken,
    /// Over the quota; come back later.
    #[error("Rate exceeded")]
    Throttled,
    /// The simulator's own bound on memory.
    #[error("The simulator keeps no more metrics or seconds than it has.")]
    Full,
    /// More bytes than a request may have.
    #[error("The request is larger than 1 MB.")]
    TooLarge,
    /// Not gzip, although it says so, or another encoding.
    #[error("The body is not in the encoding that its header says.")]
    Encoding,
    /// Not the CBOR or JSON that the operation takes.
    #[error("The body is not this operation's input in this protocol.")]
    Serialization,
    /// No such operation, or not in this protocol.
    #[error("The operation is not known in this protocol.")]
    UnknownOperation,
    /// The request is not signed at all.
    #[error("Missing Authentication Token")]
    MissingAuthenticationToken,
    /// What a fault says.
    #[error("{}", .0.message())]
    Injected(CallError),
}

impl CloudWatchError {
    /// The name that clients see: the query protocol's, which the SDKs take from the header
    /// `x-amzn-query-error`. Source: service model, `awsQueryError`, and API reference, "Common
    /// Errors".
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InvalidValue(..) => "InvalidParameterValue",
            Self::InvalidCombination(..) => "InvalidParameterCombination",
            Self::Missing(_) => "MissingParameter",
            Self::InvalidNextToken => "InvalidNextToken",
            Self::Throttled => "Throttling",
            Self::Full => "LimitExceeded",
            Self::TooLarge => "RequestEntityTooLarge",
            Self::Encoding | Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::MissingAuthenticationToken => "MissingAuthenticationToken",
            Self::Injected(error) => error.query_name(),
        }
    }

    /// The shape in `__type`.
    pub(super) fn shape(self) -> &'static str {
        match self {
            Self::InvalidValue(..) => "InvalidParameterValueException",
            Self::InvalidCombination(..) => "InvalidParameterCombinationException",
            Self::Missing(_) => "MissingRequiredParameterException",
            Self::InvalidNextToken => "InvalidNextToken",
            Self::Throttled => "ThrottlingException",
            Self::Full => "LimitExceededException",
            Self::TooLarge => "RequestEntityTooLargeException",
            Self::Encoding | Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::Injected(error) => error.name(AwsService::CloudWatch),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::InvalidValue(..)
            | Self::InvalidCombination(..)
            | Self::Missing(_)
            | Self::InvalidNextToken
            | Self::Throttled
            | Self::Full
            | Self::Encoding
            | Self::Serialization => 400,
            Self::MissingAuthenticationToken => 403,
            Self::UnknownOperation => 404,
            Self::TooLarge => 413,
            Self::Injected(error) => error.status(AwsService::CloudWatch),
        }
    }
}
