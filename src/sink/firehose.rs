//! Amazon Data Firehose, Direct PUT, through the AWS SDK with its own retries off.

use std::io;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::config::{RuntimeComponents, SharedHttpClient};
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{DeliveryStreamType, Record};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Builder as HttpClientBuilder, ConnectorBuilder, tls};
use tracing::{debug, warn};

use crate::batch::{BatchLimits, SealedBatch};
use crate::config::limits::{
    FIREHOSE_BATCH_BYTES, FIREHOSE_BATCH_RECORDS, FIREHOSE_BILLED_BYTES, FIREHOSE_RECORD_BYTES,
    FirehoseQuota, is_known_region, nearest_region,
};
use crate::config::{Firehose, QuotaChoice};
use crate::error::{Fault, root_cause};
use crate::pace;
use crate::{Exit, Failure};

use super::{Attempted, Sink, SinkProfile};

/// The most bytes of a record of several lines. At this size hardly anything is billed for nothing,
/// and a record can be had of a stream that has little left.
const RECORD_BYTES: usize = 50 * FIREHOSE_BILLED_BYTES;
const _: () = assert!(RECORD_BYTES <= FIREHOSE_RECORD_BYTES);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// 4 MiB at 1 MiB/s, twice over.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is not used again: what is between here and there may
/// have forgotten it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes under way at once. In requests they are base64, and there are copies.
const MOST_BYTES_UNDER_WAY: usize = 2 * FIREHOSE_BATCH_BYTES;
/// How long the endpoint may be away when the program starts.
const START_ATTEMPTS: u32 = 3;

const REACH_ENDPOINT: &str = "check that the endpoint is up and can be reached from here; \
                              hydrant goes on from its checkpoint when it is started again";

/// The sink of type `firehose`.
#[derive(Debug)]
pub struct FirehoseSink {
    client: Client,
    /// Opens a connection for each request.
    unpooled: Client,
    streams: Vec<Stream>,
    quota: Option<FirehoseQuota>,
    limits: BatchLimits,
    patience: Duration,
    /// The region, if the endpoint is made from it.
    region_of_endpoint: Option<String>,
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
        let mut loader = loader
            .retry_config(RetryConfig::disabled())
            .http_client(http_client(IDLE_TIMEOUT))
            .timeout_config(
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
        let quota = quota.map(|quota| quota.shared(config.quota_share));
        let unpooled = aws_sdk_firehose::config::Builder::from(&aws)
            .http_client(http_client(Duration::ZERO))
            .build();
        let sink = Self {
            client: Client::new(&aws),
            unpooled: Client::from_conf(unpooled),
            streams: streams(config, region.as_ref()),
            region_of_endpoint: aws
                .endpoint_url()
                .is_none()
                .then(|| region.to_string())
                .filter(|_| std::env::var_os("AWS_ENDPOINT_URL_FIREHOSE").is_none()),
            limits: limits(quota.as_ref()),
            quota,
            patience: config.patience,
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
                    if let Some(unknown) = self.unknown_region(&error) {
                        return Err(unknown);
                    }
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

impl FirehoseSink {
    /// A failure for which a region that is not known is to blame: its endpoint has no address.
    fn unknown_region(&self, error: &Failure) -> Option<Failure> {
        let region = self.region_of_endpoint.as_deref()?;
        if error.fault == Fault::Definite || is_known_region(region) {
            return None;
        }
        let hint = nearest_region(region).map(|nearest| format!("did you mean {nearest}? "));
        Some(Failure::definite(
            Exit::Config,
            format!("{}: hydrant knows no region {region}", error.what),
            format!(
                "{}set sink.region (or AWS_REGION) to the region of the stream; if there is a new region of \
                 this name, set sink.endpoint to its endpoint",
                hint.unwrap_or_default()
            ),
        ))
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

/// Requests as large as AWS takes, or of the size that suits the quota.
fn limits(quota: Option<&FirehoseQuota>) -> BatchLimits {
    let bytes = quota.map_or(FIREHOSE_BATCH_BYTES, pace::request_bytes);
    let record_bytes = bytes.min(RECORD_BYTES);
    BatchLimits {
        row_bytes: FIREHOSE_RECORD_BYTES,
        record_bytes,
        records: FIREHOSE_BATCH_RECORDS,
        bytes: bytes / record_bytes * record_bytes,
        step_bytes: FIREHOSE_BILLED_BYTES,
    }
}

/// The SDK's own client, proxies from the environment included, but for how long a connection may
/// be idle; with zero none is used twice.
fn http_client(idle_timeout: Duration) -> SharedHttpClient {
    let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
    HttpClientBuilder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(provider.clone())
            .proxy_config(ProxyConfig::from_env())
            .pool_idle_timeout(idle_timeout);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// Attempts at once: enough to fill the quota of requests at a latency of 30 ms.
const MOST_UNDER_WAY: usize = 64;

impl Sink for FirehoseSink {
    fn profile(&self) -> SinkProfile {
        SinkProfile {
            quota: self.quota,
            most_bytes_under_way: MOST_BYTES_UNDER_WAY,
            patience: self.patience,
            ..SinkProfile::new(self.limits, MOST_UNDER_WAY)
        }
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        let Stream { name, label } = &self.streams[batch.table];
        let request = |client: &Client| {
            let request = client.put_record_batch().delivery_stream_name(name);
            let data = |index: &usize| {
                let data = Blob::new(batch.record(*index));
                Record::builder().data(data).build()
            };
            let records: Result<Vec<Record>, _> = records.iter().map(data).collect();
            records.map(|records| request.set_records(Some(records)))
        };
        let mut answer = match request(&self.client) {
            Ok(request) => request.send().await,
            Err(error) => return Err(internal(label, &error)).into(),
        };
        // The far end may have dropped a connection while it was idle, which is seen only when it
        // is used. That is no outage, so it is tried once more; not on a pooled connection, because
        // the others may have been dropped as well.
        if answer.as_ref().is_err_and(is_broken_off)
            && let Ok(request) = request(&self.unpooled)
        {
            debug!("{label}: the connection was broken; trying a new one");
            answer = request.send().await;
        }
        match answer {
            Ok(answer) => judge(label, records, &answer),
            Err(error) => Attempted {
                slow_down: error.code().is_some_and(is_slow_down),
                result: Err(classify(label, &error)),
            },
        }
    }
}

/// Which records an answer refuses, and why.
fn judge(label: &str, records: &[usize], answer: &PutRecordBatchOutput) -> Attempted {
    let entries = answer.request_responses();
    let failed = answer.failed_put_count();
    let codes = || {
        let entries = records.iter().zip(entries);
        entries.filter_map(|(index, entry)| Some((*index, entry.error_code()?)))
    };
    let refused: Vec<usize> = codes().map(|(index, _)| index).collect();
    if entries.len() != records.len() || (failed > 0 && refused.is_empty()) {
        // Nobody can tell which records arrived, so all are sent again.
        let (answered, sent) = (entries.len(), records.len());
        return Err(Failure::transient(
            Exit::Temporary,
            format!("{label} answered for {answered} of {sent} records, and that {failed} failed"),
            "check what answers at the endpoint",
        ))
        .into();
    }
    Attempted {
        slow_down: codes().any(|(_, code)| is_slow_down(code)),
        result: Ok(refused),
    }
}

/// Whether an error's code asks for a slower pace. `ThrottlingException` is in no documentation.
fn is_slow_down(code: &str) -> bool {
    matches!(
        code,
        "ServiceUnavailableException" | "ThrottlingException" | "Throttling"
    )
}

/// Whether a connection ended before the answer began.
fn is_broken_off<E, R>(error: &SdkError<E, R>) -> bool {
    let SdkError::DispatchFailure(failure) = error else {
        return false;
    };
    let Some(error) = failure.as_connector_error() else {
        return false;
    };
    // How the SDK tells that the connection was closed in the middle of a message.
    if error.as_other().is_some() {
        return true;
    }
    let error: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(error), |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            )
        })
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
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => definite(
            "renew the AWS credentials, or use a role, whose credentials are renewed by themselves",
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
        return Failure::definite(Exit::Permission, what, remedy);
    }
    Failure::transient(Exit::Unavailable, what, REACH_ENDPOINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_under_aws_limits_and_fill_whole_records() {
        let unlimited = limits(None);
        assert_eq!(unlimited.bytes, 16 * RECORD_BYTES);
        let raised = FirehoseQuota {
            requests: 40_000,
            records: 10_000_000,
            bytes: 400 << 20,
        };
        let quotas = ["us-east-1", "eu-central-1"].map(FirehoseQuota::of_region);
        for quota in quotas.iter().chain([&raised]) {
            let limits = limits(Some(quota));
            assert_eq!(limits.bytes % limits.record_bytes, 0);
            assert_eq!(limits.record_bytes % FIREHOSE_BILLED_BYTES, 0);
            assert!(limits.record_bytes <= RECORD_BYTES);
            assert!(limits.bytes <= unlimited.bytes);
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
