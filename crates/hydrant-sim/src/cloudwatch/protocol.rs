//! PURE. The two protocols in which CloudWatch is spoken to, and how numbers and times look in each.
//!
//! What lives here: bodies to shapes and back. What does not: the shapes ([`super::wire`]) and
//! the headers and paths that tell the protocols apart ([`crate::http`]).
//!
//! The AWS SDK for Rust speaks Smithy's `rpcv2Cbor`, boto3 `awsJson1_0`, both query-compatible. The
//! CBOR is ciborium's, because it speaks serde as the JSON here does and because the AWS SDK for
//! Rust uses another one (minicbor): a mistake in one of them does not hide in both.

use std::fmt;

use ciborium::tag::Required;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::error::CloudWatchError;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Smithy RPC v2 CBOR.
    Cbor,
    /// AWS JSON 1.0.
    Json,
}

impl Protocol {
    /// The type of a body.
    #[must_use]
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor",
            Self::Json => "application/x-amz-json-1.0",
        }
    }

    /// The body of an answer without output. Source: Smithy, both protocols: CBOR has no body
    /// then, JSON an empty object.
    #[must_use]
    pub(super) fn no_output(self) -> Vec<u8> {
        match self {
            Self::Cbor => Vec::new(),
            Self::Json => b"{}".to_vec(),
        }
    }

    /// Parses a body, all of it.
    ///
    /// # Errors
    /// [`CloudWatchError::Serialization`] if it is anything else or more.
    pub(super) fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, CloudWatchError> {
        match self {
            Self::Json => serde_json::from_slice(body).map_err(|_| CloudWatchError::Serialization),
            Self::Cbor => {
                let mut rest = body;
                let input = ciborium::from_reader(&mut rest);
                let input = input.map_err(|_| CloudWatchError::Serialization)?;
                if rest.is_empty() {
                    Ok(input)
                } else {
                    Err(CloudWatchError::Serialization)
                }
            }
        }
    }

    /// Writes an answer.
    ///
    /// # Errors
    /// Never in practice: memory takes everything.
    pub(super) fn encode<T: Serialize>(self, output: &T) -> Result<Vec<u8>, CloudWatchError> {
        let mut body = Vec::new();
        match self {
            Self::Json => {
                serde_json::to_writer(&mut body, output)
                    .map_err(|_| CloudWatchError::Serialization)?;
            }
            Self::Cbor => {
                ciborium::into_writer(output, &mut body)
                    .map_err(|_| CloudWatchError::Serialization)?;
            }
        }
        Ok(body)
    }

    /// The body of an answer that refuses.
    #[must_use]
    pub(crate) fn refusal(self, error: CloudWatchError) -> Vec<u8> {
        #[derive(Serialize)]
        struct Refusal {
            #[serde(rename = "__type")]
            shape: String,
            message: String,
        }
        let refusal = Refusal {
            shape: format!("com.amazonaws.cloudwatch#{}", error.shape()),
            message: error.to_string(),
        };
        // Writing to memory cannot fail; without a body the status and header still tell.
        self.encode(&refusal).unwrap_or_default()
    }
}

/// A number that a client may write as a float of any width or, if it is whole, as an integer; in
/// JSON, which has no other way, what is not finite as a string. Source: Smithy RPC v2 CBOR
/// protocol, "Float" and "Timestamp"; AWS JSON 1.0 protocol, "Shape serialization".
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(pub f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNumber {
            is_json: bool,
        }
        // Values beyond 2^53 are rounded, as AWS stores doubles.
        #[allow(clippy::cast_precision_loss)]
        impl Visitor<'_> for AnyNumber {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                match text {
                    "NaN" if self.is_json => Ok(Number(f64::NAN)),
                    "Infinity" if self.is_json => Ok(Number(f64::INFINITY)),
                    "-Infinity" if self.is_json => Ok(Number(f64::NEG_INFINITY)),
                    _ => Err(E::invalid_type(de::Unexpected::Other("text"), &self)),
                }
            }
        }
        let is_json = deserializer.is_human_readable();
        deserializer.deserialize_any(AnyNumber { is_json })
    }
}

/// A timestamp in seconds since 1970-01-01 UTC: in CBOR behind tag 1, in JSON a plain number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time(pub f64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Number(seconds) = if deserializer.is_human_readable() {
            Number::deserialize(deserializer)?
        } else {
            Required::<Number, 1>::deserialize(deserializer)?.0
        };
        Ok(Self(seconds))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.0)
        } else {
            Required::<f64, 1>(self.0).serialize(serializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::wire::PutMetricDataInput;
    use super::*;

    /// What boto3 sends: times as plain numbers, and what is not finite as text.
    #[test]
    fn json_has_plain_times_and_numbers_that_are_not_finite() {
        let body = json!({
            "Namespace": "ECS",
            "MetricData": [
                { "MetricName": "A", "Timestamp": 1_800_000_000.25, "Value": 1 },
                { "MetricName": "A", "Timestamp": 1_800_000_000, "Value": "NaN" },
                { "MetricName": "A", "Values": ["Infinity", "-Infinity", 2.5] },
            ],
        });
        let input: PutMetricDataInput = Protocol::Json.decode(body.to_string().as_bytes()).unwrap();
        let data = input.metric_data.unwrap();
        assert_eq!(data[0].timestamp, Some(Time(1_800_000_000.25)));
        assert_eq!(data[0].value, Some(Number(1.0)));
        assert_eq!(data[1].timestamp, Some(Time(1_800_000_000.0)));
        assert!(data[1].value.unwrap().0.is_nan());
        let values = data[2].values.as_deref().unwrap();
        let expected = [f64::INFINITY, f64::NEG_INFINITY, 2.5].map(Number);
        assert_eq!(values, expected);
    }

    #[test]
    fn text_is_no_number_and_what_follows_a_body_is_refused() {
        let refused = Err(CloudWatchError::Serialization);
        let json = |body: &[u8]| Protocol::Json.decode::<Number>(body);
        assert_eq!(json(b"1.5"), Ok(Number(1.5)));
        for body in [b"\"1.5\"".as_slice(), b"\"nan\"", b"1.5 2", b"", b"null"] {
            assert_eq!(json(body), refused);
        }
        // In CBOR the float has its own bits for what is not finite.
        assert_eq!(Protocol::Cbor.decode::<Number>(b"\x63NaN"), refused);
        assert_eq!(Protocol::Cbor.decode::<Number>(b"\x01\x01"), refused);
    }

    #[test]
    fn a_time_has_its_tag_in_cbor_alone() {
        let time = Time(1_800_000_000.5);
        let cbor = Protocol::Cbor.encode(&time).unwrap();
        assert_eq!(cbor[0], 0xc1);
        assert_eq!(Protocol::Cbor.decode(&cbor), Ok(time));
        let untagged = Protocol::Cbor.encode(&time.0).unwrap();
        let refused = Err(CloudWatchError::Serialization);
        assert_eq!(Protocol::Cbor.decode::<Time>(&untagged), refused);
        assert_eq!(Protocol::Json.encode(&time).unwrap(), b"1800000000.5");
    }
}
