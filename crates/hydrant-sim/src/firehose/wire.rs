//! PURE. The JSON shapes of Firehose's requests, answers and errors.
//!
//! What lives here: what is on the wire, as serde types. What does not: what it means
//! ([`super`]) and which values are allowed ([`super::validate`]).
//!
//! Source: API reference of Amazon Data Firehose, version 2015-08-04, and its service model;
//! the protocol is `awsJson1_1`. Members that a client left out are `None`, because AWS reports
//! them as validation errors and not as malformed JSON.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::faults_error::{AwsService, CallError};

/// A blob member: base64 on the wire, bytes here.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    /// Says the length only, because the bytes are a customer's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blob, E> {
                // The decoder's own message quotes the offending byte, which is data.
                BASE64_STANDARD
                    .decode(text)
                    .map(Blob)
                    .map_err(|_| E::custom("invalid base64"))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// `Record`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Record {
    /// Required.
    pub data: Option<Blob>,
}

/// `PutRecordInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordInput {
    /// Required.
    pub delivery_stream_name: Option<String>,
    /// Required.
    pub record: Option<Record>,
}

/// `PutRecordBatchInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordBatchInput {
    /// Required.
    pub delivery_stream_name: Option<String>,
    /// Required, 1 to 500.
    pub records: Option<Vec<Record>>,
}

/// `PutRecordOutput`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordOutput {
    /// Unique among all records of all streams.
    pub record_id: String,
    /// Always false: there is no encryption here.
    pub encrypted: bool,
}

/// `PutRecordBatchOutput`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutRecordBatchOutput {
    /// How many of the entries failed.
    pub failed_put_count: usize,
    /// Always false: there is no encryption here.
    pub encrypted: bool,
    /// As many entries as the request has records, in its order.
    pub request_responses: Vec<PutRecordBatchEntry>,
}

/// `PutRecordBatchResponseEntry`: an id, or an error's code and message.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "PascalCase")]
pub(crate) enum PutRecordBatchEntry {
    /// The record was admitted.
    Admitted {
        /// Unique among all records of all streams.
        record_id: String,
    },
    /// The record was refused.
    Refused {
        /// The name of an error.
        error_code: &'static str,
        /// Its message.
        error_message: &'static str,
    },
}

/// `CreateDeliveryStreamInput`, as far as the simulator knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreateDeliveryStreamInput {
    /// Required.
    pub delivery_stream_name: Option<String>,
    /// `DirectPut` if left out.
    pub delivery_stream_type: Option<String>,
    /// The older of the two shapes of an S3 destination.
    pub s3_destination_configuration: Option<S3Destination>,
    /// The newer one.
    pub extended_s3_destination_configuration: Option<S3Destination>,
    /// Everything else, so that it is not ignored in silence.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// `S3DestinationConfiguration` and `ExtendedS3DestinationConfiguration`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct S3Destination {
    /// Required.
    #[serde(rename = "RoleARN")]
    pub role_arn: Option<String>,
    /// Required.
    #[serde(rename = "BucketARN")]
    pub bucket_arn: Option<String>,
    /// What keys begin with.
    pub prefix: Option<String>,
    /// What keys of what could not be delivered begin with.
    pub error_output_prefix: Option<String>,
    /// That of the times in keys; UTC if left out.
    pub custom_time_zone: Option<String>,
    /// How keys end, instead of `.gz`.
    pub file_extension: Option<String>,
    /// `UNCOMPRESSED` if left out.
    pub compression_format: Option<String>,
    /// 5 MiB or 300 s if left out.
    pub buffering_hints: Option<BufferingHints>,
    /// Everything else, so that it is not ignored in silence.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// `BufferingHints`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct BufferingHints {
    /// MiB, despite the name.
    #[serde(rename = "SizeInMBs")]
    pub size_mib: Option<i64>,
    /// Seconds.
    #[serde(rename = "IntervalInSeconds")]
    pub interval_s: Option<i64>,
}

/// `DescribeDeliveryStreamInput` and `DeleteDeliveryStreamInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamInput {
    /// Required.
    pub delivery_stream_name: Option<String>,
}

/// The stream that a request is about, whatever its operation. What is no request is about none.
#[must_use]
pub(crate) fn stream_of(body: &[u8]) -> Option<String> {
    let input: Option<StreamInput> = serde_json::from_slice(body).ok();
    input?.delivery_stream_name
}

/// `ListDeliveryStreamsInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListDeliveryStreamsInput {
    /// 10 if left out.
    pub limit: Option<i64>,
    /// Only streams of this type; all if left out.
    pub delivery_stream_type: Option<String>,
    /// The last name of the page before.
    pub exclusive_start_delivery_stream_name: Option<String>,
}

/// `ListDeliveryStreamsOutput`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListDeliveryStreamsOutput {
    /// In alphabetical order.
    pub delivery_stream_names: Vec<String>,
    /// Whether another page follows.
    pub has_more_delivery_streams: bool,
}

/// The errors that a request can be answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Over a quota; come back later.
    ServiceUnavailable,
    /// No such stream.
    ResourceNotFound,
    /// The stream exists already.
    ResourceInUse,
    /// Too many streams.
    LimitExceeded,
    /// A value that no constraint of the service model covers.
    InvalidArgument,
    /// A value outside a constraint of the service model.
    Validation,
    /// The body is not the JSON that the operation takes.
    Serialization,
    /// No such operation.
    UnknownOperation,
    /// The request is not signed at all.
    MissingAuthenticationToken,
    /// The body is larger than anything valid can be.
    RequestEntityTooLarge,
    /// What a fault says.
    Injected(CallError),
}

impl Code {
    /// The name in `__type`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::LimitExceeded => "LimitExceededException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::Validation => "ValidationException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::RequestEntityTooLarge => "RequestEntityTooLargeException",
            Self::Injected(error) => error.name(AwsService::Firehose),
        }
    }

    /// The HTTP status. Source: API reference, the operations' "Errors" and "Common Errors".
    #[must_use]
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::ServiceUnavailable => 500,
            Self::ResourceNotFound
            | Self::ResourceInUse
            | Self::LimitExceeded
            | Self::InvalidArgument
            | Self::Validation
            | Self::Serialization
            | Self::UnknownOperation => 400,
            Self::MissingAuthenticationToken => 403,
            Self::RequestEntityTooLarge => 413,
            Self::Injected(error) => error.status(AwsService::Firehose),
        }
    }
}

/// An error that is a request's answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.name())]
pub(crate) struct ApiError {
    /// Which one.
    pub code: Code,
    /// Why, as AWS words it where that is known.
    pub message: String,
}

impl ApiError {
    /// An error with this message.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The error that a fault says.
    pub(crate) fn injected(error: CallError) -> Self {
        Self::new(Code::Injected(error), error.message())
    }

    /// The answer's body.
    #[must_use]
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = serde_json::json!({ "__type": self.code.name(), "message": self.message });
        body.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_decoded_from_base64_and_from_nothing_else() {
        let decode = |json: &str| serde_json::from_str::<PutRecordInput>(json);
        let input = decode(r#"{"Record":{"Data":"aGk\u003d"}}"#).unwrap();
        assert_eq!(input.record.unwrap().data, Some(Blob(b"hi".to_vec())));
        let error = decode(r#"{"Record":{"Data":"secret!"}}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("invalid base64") && !error.contains("secret"),
            "{error}"
        );
        assert!(decode(r#"{"Record":{"Data":7}}"#).is_err());
    }

    #[test]
    fn entries_carry_an_id_or_an_error_and_never_both() {
        let output = PutRecordBatchOutput {
            failed_put_count: 1,
            encrypted: false,
            request_responses: vec![
                PutRecordBatchEntry::Admitted {
                    record_id: "r".into(),
                },
                PutRecordBatchEntry::Refused {
                    error_code: "E",
                    error_message: "m",
                },
            ],
        };
        assert_eq!(
            serde_json::to_string(&output).unwrap(),
            r#"{"FailedPutCount":1,"Encrypted":false,"RequestResponses":[{"RecordId":"r"},{"ErrorCode":"E","ErrorMessage":"m"}]}"#
        );
    }
}
