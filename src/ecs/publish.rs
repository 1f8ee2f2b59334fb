//! One PutMetricData, and what its failure means.
//!
//! What lives here: a batch as a request, and errors by what is to be done about them. What does
//! not: which datums, and when ([`super::core::backlog`]).

use std::time::{Duration, Instant};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use crate::aws::{CallError, Cause};
use crate::{Exit, Failure};

use super::core::backlog::Backlog;
use super::core::batch::{DatumBatch, Refusal};
use super::core::metric::MetricKey;

/// Source: API reference, "MetricDatum": 1 is high resolution.
const STORAGE_RESOLUTION_S: i32 = 1;

/// Why a request was not accepted.
#[derive(Debug)]
pub(super) struct PutError {
    pub(super) refusal: Refusal,
    pub(super) cause: Cause,
    /// For people.
    pub(super) what: String,
}

impl PutError {
    /// What ends the poller, if it will not pass by itself and nothing was ever accepted.
    pub(super) fn refusal(&self, label: &str) -> Option<Failure> {
        let (exit, remedy) = match self.cause {
            Cause::Denied => (
                Exit::Permission,
                "allow cloudwatch:PutMetricData for the namespace",
            ),
            cause => cause.refusal()?,
        };
        let what = format!("CloudWatch in {label}: {}", self.what);
        Some(Failure::definite(exit, what, remedy))
    }
}

/// How a request went.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) batch: DatumBatch,
    pub(super) took: Duration,
    pub(super) answer: Result<(), PutError>,
}

/// The batch as the SDK sends it.
pub(super) fn metric_data(backlog: &Backlog, batch: &DatumBatch) -> Vec<MetricDatum> {
    let datum = |datum: &super::core::series::Datum| {
        let key = backlog.key(datum.series);
        MetricDatum::builder()
            .metric_name(key.name())
            .set_dimensions(Some(dimensions(key)))
            .timestamp(DateTime::from_secs(datum.second))
            .value(datum.value)
            .unit(if key.is_in_milliseconds() {
                StandardUnit::Milliseconds
            } else {
                StandardUnit::Count
            })
            .storage_resolution(STORAGE_RESOLUTION_S)
            .build()
    };
    batch.datums().iter().map(datum).collect()
}

fn dimensions(key: &MetricKey) -> Vec<Dimension> {
    let dimension =
        |(name, value): &(String, String)| Dimension::builder().name(name).value(value).build();
    key.dimensions().iter().map(dimension).collect()
}

/// Sends a batch once.
pub(super) async fn put(
    client: Client,
    namespace: String,
    data: Vec<MetricDatum>,
    batch: DatumBatch,
) -> Put {
    let started = Instant::now();
    let request = client.put_metric_data().namespace(namespace);
    let answer = request.set_metric_data(Some(data)).send().await;
    Put {
        batch,
        took: started.elapsed(),
        answer: answer
            .map(|_| ())
            .map_err(|error| CallError::from(&error).into()),
    }
}

impl From<CallError> for PutError {
    fn from(error: CallError) -> Self {
        let refusal = match error.cause {
            Cause::Throttled => Refusal::Throttled,
            // About a datum of it; the namespace was looked at before.
            Cause::Invalid => Refusal::Rejected,
            // Nobody says what a service that failed has kept.
            Cause::BrokenOff | Cause::NoAnswer | Cause::Failed => Refusal::Ambiguous,
            Cause::NotBuilt
            | Cause::NoCredentials
            | Cause::Unreachable
            | Cause::Unavailable
            | Cause::Denied
            | Cause::RoleDenied
            | Cause::Expired
            | Cause::BadCredentials
            | Cause::BadSignature
            | Cause::Gone
            | Cause::BadKey
            | Cause::NotUnderstood
            | Cause::Other => Refusal::Transient,
        };
        Self {
            refusal,
            cause: error.cause,
            what: error.what,
        }
    }
}
