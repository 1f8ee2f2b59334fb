//! One PutMetricData, and what its failure means.
//!
//! What lives here: a batch as a request, and errors by what is to be done about them. What does
//! not: which datums, and when ([`super::backlog`]).

use std::io;
use std::time::{Duration, Instant};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::http::HttpResponse;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use crate::error::root_cause;

use super::backlog::{Backlog, DatumBatch, Refusal};
use super::metric::MetricKey;

/// Source: API reference, "MetricDatum": 1 is high resolution.
const STORAGE_RESOLUTION_S: i32 = 1;

/// Why a request was not accepted.
#[derive(Debug)]
pub(super) struct PutError {
    pub(super) refusal: Refusal,
    /// Whether the credentials are not allowed to, or there are none.
    pub(super) denied: bool,
    /// For people.
    pub(super) what: String,
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
    let datum = |datum: &super::series::Datum| {
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
        answer: answer.map(|_| ()).map_err(|error| classify(&error)),
    }
}

fn classify(error: &SdkError<PutMetricDataError, HttpResponse>) -> PutError {
    let put_error = |refusal, what: String| PutError {
        refusal,
        denied: false,
        what,
    };
    let (service, status) = match error {
        SdkError::ServiceError(service) => (service.err(), service.raw().status()),
        SdkError::TimeoutError(_) => {
            return put_error(Refusal::Ambiguous, "no answer in time".to_owned());
        }
        SdkError::ConstructionFailure(_) => {
            return put_error(Refusal::Transient, root_cause(error));
        }
        other => {
            let refusal = if was_never_sent(other) {
                Refusal::Transient
            } else {
                Refusal::Ambiguous
            };
            let what = format!("cannot send: {}", root_cause(other));
            return put_error(refusal, what);
        }
    };
    let code = service.code().unwrap_or("unknown error");
    let what = format!("{code}: {}", service.message().unwrap_or("no message"));
    match code {
        "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => put_error(Refusal::Throttled, what),
        // About a datum of it; the namespace was looked at before.
        "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidParameterCombination"
        | "InvalidParameterCombinationException"
        | "MissingParameter"
        | "MissingRequiredParameterException"
        | "ValidationError"
        | "ValidationException"
        | "RequestEntityTooLarge" => put_error(Refusal::Rejected, what),
        "ServiceUnavailable" | "ServiceUnavailableException" => put_error(Refusal::Transient, what),
        "AccessDenied"
        | "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => PutError {
            refusal: Refusal::Transient,
            denied: true,
            what,
        },
        // Nobody says what a service that failed has kept.
        _ if status.is_server_error() => put_error(Refusal::Ambiguous, what),
        _ => put_error(Refusal::Transient, what),
    }
}

/// Whether the request failed before any of it left: no credentials, no connection.
fn was_never_sent(error: &SdkError<PutMetricDataError, HttpResponse>) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source()).any(|cause| {
        let refused = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        refused || cause.is::<aws_credential_types::provider::error::CredentialsError>()
    })
}
