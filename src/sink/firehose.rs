//! Amazon Data Firehose, Direct PUT, through the AWS SDK with its own retries off.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{DeliveryStreamType, Record};
use tracing::warn;

use crate::batch::{BatchLimits, SealedBatch};
use crate::config::limits::{
    FIREHOSE_BATCH_BYTES, FIREHOSE_BATCH_RECORDS, FIREHOSE_BILLED_BYTES, FIREHOSE_RECORD_BYTES,
    FirehoseQuota,
};
use crate::config::{Firehose, QuotaChoice};
use crate::error::{Fault, root_cause};
use crate::pace;
use crate::{Exit, Failure};

use super::Sink;

/// Bytes of a record of several lines: a multiple of what is billed, so that little is billed
/// for nothing, and small enough that little is sent again when one is refused.
const RECORD_BYTES: usize = 12 * FIREHOSE_BILLED_BYTES;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// 4 MiB at 1 MiB/s, twice over.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the endpoint may be away when the program starts.
const START_ATTEMPTS: u32 = 3;

const REACH_ENDPOINT: &str = "check that the endpoint is up and can be reached from here; \
                              hydrant goes on from its checkpoint when it is started again";

/// The sink of type `firehose`.
#[derive(Debug)]
pub struct FirehoseSink {
    client: Client,
    streams: Vec<Stream>,
    quota: Option<FirehoseQuota>,
    limits: BatchLimits,
}

/// A delivery stream.
#[derive(Debug)]
struct Stream {
    name: String,
    /// The name and where it is, for messages.
    label: String,
}

impl FirehoseSink {
    /// Makes a client and asks for each stream, so that a wrong name is seen before the first
    /// row is read.
    ///
    /// # Errors
    /// If there is no region, no endpoint that answers, or no such stream.
    pub async fn connect(config: &Firehose) -> Result<Self, Failure> {
        Self::connect_with(config, aws_config::defaults(BehaviorVersion::latest())).await
    }

    /// The same with a loader that may bring its own credentials.
    ///
    /// # Errors
    /// As for [`FirehoseSink::connect`].
    pub async fn connect_with(config: &Firehose, loader: ConfigLoader) -> Result<Self, Failure> {
        let mut loader = loader.retry_config(RetryConfig::disabled()).timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .build(),
        );
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let aws = loader.load().await;
        let Some(region) = aws.region() else {
            return Err(Failure::definite(
                Exit::Config,
                "no AWS region is configured",
                "set sink.region, or AWS_REGION in the environment",
            ));
        };
        let quota = quota(config.quota, region.as_ref());
        let sink = Self {
            client: Client::new(&aws),
            streams: streams(config, region.as_ref()),
            limits: limits(quota.as_ref()),
            quota,
        };
        for stream in &sink.streams {
            sink.check(stream).await?;
        }
        Ok(sink)
    }

    /// Asks for a stream's description, a few times if the endpoint does not answer.
    async fn check(&self, stream: &Stream) -> Result<(), Failure> {
        let label = &stream.label;
        let mut attempt = 1;
        let described = loop {
            let described = self.client.describe_delivery_stream();
            match described.delivery_stream_name(&stream.name).send().await {
                Ok(described) => break described,
                // Describing is a courtesy; putting records may still be allowed.
                Err(error) if is_denied(&error) => {
                    warn!("not allowed to describe {label}, so it was not checked");
                    return Ok(());
                }
                Err(error) => {
                    let error = classify(label, &error);
                    if error.fault == Fault::Definite || attempt == START_ATTEMPTS {
                        return Err(error);
                    }
                    warn!("sink: {error}; trying again");
                    tokio::time::sleep(Duration::from_secs(attempt.into())).await;
                    attempt += 1;
                }
            }
        };
        let kind = described
            .delivery_stream_description()
            .map(aws_sdk_firehose::types::DeliveryStreamDescription::delivery_stream_type);
        match kind {
            Some(DeliveryStreamType::DirectPut) | None => Ok(()),
            Some(other) => Err(Failure::definite(
                Exit::Config,
                format!("{label} takes its records from {other}, not from Direct PUT"),
                "create a stream with Direct PUT as its source, and name it",
            )),
        }
    }
}

fn streams(config: &Firehose, region: &str) -> Vec<Stream> {
    let place = match &config.endpoint {
        Some(endpoint) => format!("at {endpoint}"),
        None => format!("in {region}"),
    };
    let stream = |name: &String| Stream {
        name: name.clone(),
        label: format!("stream {name} {place}"),
    };
    config.streams.iter().map(stream).collect()
}

fn quota(choice: QuotaChoice, region: &str) -> Option<FirehoseQuota> {
    match choice {
        QuotaChoice::Off => None,
        QuotaChoice::Region {
            requests_per_second,
            records_per_second,
            bytes_per_second,
        } => {
            let default = FirehoseQuota::of_region(region);
            Some(FirehoseQuota {
                requests: requests_per_second.unwrap_or(default.requests),
                records: records_per_second.unwrap_or(default.records),
                bytes: bytes_per_second.unwrap_or(default.bytes),
            })
        }
    }
}

/// Requests as large as AWS takes, or as one burst of the quota where that is less.
fn limits(quota: Option<&FirehoseQuota>) -> BatchLimits {
    let burst = quota.map_or(u64::MAX, pace::request_bytes);
    let bytes = usize::try_from(burst).unwrap_or(usize::MAX);
    let whole_records = bytes.clamp(RECORD_BYTES, FIREHOSE_BATCH_BYTES) / RECORD_BYTES;
    BatchLimits {
        row_bytes: FIREHOSE_RECORD_BYTES,
        record_bytes: RECORD_BYTES,
        records: FIREHOSE_BATCH_RECORDS,
        bytes: whole_records * RECORD_BYTES,
    }
}

impl Sink for FirehoseSink {
    fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// Enough to fill the quota at a latency of half a second.
    fn concurrency(&self) -> usize {
        16
    }

    fn quota(&self) -> Option<FirehoseQuota> {
        self.quota
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Result<Vec<usize>, Failure> {
        let Stream { name, label } = &self.streams[batch.table];
        let mut request = self.client.put_record_batch().delivery_stream_name(name);
        for index in records {
            let record = Record::builder()
                .data(Blob::new(batch.record(*index)))
                .build();
            request = request.records(record.map_err(|error| internal(label, &error))?);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| classify(label, &error))?;
        let entries = answer.request_responses();
        let refused: Vec<usize> = records
            .iter()
            .zip(entries)
            .filter(|(_, entry)| entry.error_code().is_some())
            .map(|(index, _)| *index)
            .collect();
        let failed = answer.failed_put_count();
        if entries.len() != records.len() || (failed > 0 && refused.is_empty()) {
            // Nobody can tell which records arrived, so all are sent again.
            let (answered, sent) = (entries.len(), records.len());
            return Err(Failure::transient(
                Exit::Temporary,
                format!(
                    "{label} answered for {answered} of {sent} records, and that {failed} failed"
                ),
                "check what answers at the endpoint",
            ));
        }
        Ok(refused)
    }
}

fn internal(label: &str, error: &dyn std::error::Error) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("cannot build a request to {label}: {error}"),
        "report this; it is a defect of hydrant",
    )
}

fn is_denied<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    code.is_some_and(|code| code.contains("AccessDenied"))
}

/// What to do about a failed call, by AWS's error code.
fn classify<E, R>(label: &str, error: &SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let transient = |what: String| Failure::transient(Exit::Unavailable, what, REACH_ENDPOINT);
    let service = match error {
        SdkError::ServiceError(service) => service.err(),
        SdkError::TimeoutError(_) => {
            return transient(format!("{label}: no answer in time"));
        }
        SdkError::DispatchFailure(failure) => {
            return match failure.as_connector_error() {
                Some(error) => dispatch_failure(label, error),
                None => transient(format!("{label}: cannot send")),
            };
        }
        SdkError::ResponseError(_) => {
            return transient(format!("{label}: the answer broke off"));
        }
        _ => return internal(label, error),
    };
    let code = service.code().unwrap_or("unknown error");
    let what = format!(
        "{label}: {code}: {}",
        service.message().unwrap_or("no message")
    );
    let definite = |remedy: &str, exit| Failure::definite(exit, what.clone(), remedy);
    match code {
        "ResourceNotFoundException" => definite(
            "create the delivery stream, or correct sink.stream, the region and the account",
            Exit::Config,
        ),
        "InvalidArgumentException"
        | "InvalidSourceException"
        | "ValidationException"
        | "SerializationException"
        | "UnknownOperationException" => definite(
            "check that the stream takes Direct PUT and that the endpoint is Firehose's",
            Exit::Config,
        ),
        "InvalidKMSResourceException" => definite(
            "enable the stream's KMS key, or give it one that exists",
            Exit::Config,
        ),
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => definite(
            "allow firehose:PutRecordBatch and firehose:DescribeDeliveryStream on the stream",
            Exit::Permission,
        ),
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId" => definite(
            "check the AWS credentials, the region and this machine's clock",
            Exit::Permission,
        ),
        _ => transient(what),
    }
}

/// A call that got no answer: its endpoint is away, the connection broke, or nobody could sign it.
fn dispatch_failure(label: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    let what = format!("{label}: cannot send: {}", root_cause(error));
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    if causes.any(<dyn std::error::Error>::is::<CredentialsError>) {
        let remedy = "give AWS credentials: a task role, AWS_ACCESS_KEY_ID and \
                      AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";
        return Failure::transient(Exit::Permission, what, remedy);
    }
    Failure::transient(Exit::Unavailable, what, REACH_ENDPOINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_under_aws_limits_and_fill_whole_records() {
        let unlimited = limits(None);
        assert!(unlimited.bytes <= FIREHOSE_BATCH_BYTES);
        for region in ["us-east-1", "eu-central-1"] {
            let quota = FirehoseQuota::of_region(region);
            let limits = limits(Some(&quota));
            assert_eq!(limits.bytes % RECORD_BYTES, 0);
            assert!(limits.bytes >= RECORD_BYTES && limits.bytes <= unlimited.bytes);
        }
    }

    #[test]
    fn single_quotas_can_be_replaced() {
        let choice = QuotaChoice::Region {
            requests_per_second: None,
            records_per_second: None,
            bytes_per_second: Some(10 << 20),
        };
        let quota = quota(choice, "us-east-1").unwrap();
        assert_eq!((quota.requests, quota.bytes), (2_000, 10 << 20));
        assert_eq!(super::quota(QuotaChoice::Off, "us-east-1"), None);
    }
}
