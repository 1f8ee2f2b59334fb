//! Amazon Data Firehose, Direct PUT, through the AWS SDK with its own retries off.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::error::SdkError;
use aws_sdk_firehose::operation::put_record_batch::PutRecordBatchOutput;
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{DeliveryStreamType, Record};
use tracing::{debug, warn};

use crate::aws::{self, CallError, Cause};
use crate::batch::{BatchLimits, SealedBatch};
use crate::config::limits::{
    FIREHOSE_BATCH_BYTES, FIREHOSE_BATCH_RECORDS, FIREHOSE_BILLED_BYTES, FIREHOSE_RECORD_BYTES,
    FirehoseQuota, is_known_region, nearest_region,
};
use crate::config::{Firehose, QuotaChoice};
use crate::error::Fault;
use crate::pace;
use crate::{Exit, Failure};

use super::{
    Attempted, Sink, SinkProfile, SinkTable, TableFolder, add_table, all_tables, table_of,
};

/// The most bytes of a record of several lines. At this size hardly anything is billed for nothing,
/// and a record can be had of a stream that has little left.
const RECORD_BYTES: usize = 50 * FIREHOSE_BILLED_BYTES;
const _: () = assert!(RECORD_BYTES <= FIREHOSE_RECORD_BYTES);

/// A connection that was idle for longer is not used again: what is between here and there may
/// have forgotten it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes under way at once. In requests they are base64, and there are copies.
const MOST_BYTES_UNDER_WAY: usize = 2 * FIREHOSE_BATCH_BYTES;
/// How long the endpoint may be away when the program starts.
const START_ATTEMPTS: u32 = 3;

const DEFECT: &str = "report this; it is a defect of hydrant";
const REACH_ENDPOINT: &str = "check that the endpoint is up and can be reached from here; \
                              hydrant continues from its checkpoint when it is started again";

/// The sink of type `firehose`.
#[derive(Debug)]
pub struct FirehoseSink {
    client: Client,
    /// Opens a connection for each request.
    unpooled: Client,
    streams: RwLock<Vec<Arc<Stream>>>,
    /// Where they are, for messages.
    place: String,
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
        Self::connect_with(config, aws::loader()).await
    }

    /// The same with a loader that may bring its own credentials.
    ///
    /// # Errors
    /// As for [`FirehoseSink::connect`].
    pub async fn connect_with(config: &Firehose, loader: ConfigLoader) -> Result<Self, Failure> {
        let mut loader = loader;
        if let Some(endpoint) = &config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let (settings, region) = aws::load(
            loader,
            IDLE_TIMEOUT,
            config.region.as_deref(),
            "sink.region",
            &[],
        )
        .await?;
        let quota = quota(config.quota, &region);
        let quota = quota.map(|quota| quota.shared(config.quota_share));
        let unpooled = aws_sdk_firehose::config::Builder::from(&settings)
            .http_client(aws::http_client(Duration::ZERO).await?)
            .build();
        let sink = Self {
            client: Client::new(&settings),
            unpooled: Client::from_conf(unpooled),
            streams: RwLock::default(),
            place: match &config.endpoint {
                Some(endpoint) => format!("at {endpoint}"),
                None => format!("in {region}"),
            },
            region_of_endpoint: settings
                .endpoint_url()
                .is_none()
                .then_some(region)
                .filter(|_| std::env::var_os("AWS_ENDPOINT_URL_FIREHOSE").is_none()),
            limits: limits(quota.as_ref()),
            quota,
            patience: config.patience,
        };
        for stream in &config.streams {
            add_table(&sink.streams, sink.stream(stream));
        }
        let names: BTreeSet<&String> = config.streams.iter().chain(&config.expected).collect();
        sink.check_all(names).await?;
        Ok(sink)
    }

    fn stream(&self, name: &str) -> Stream {
        Stream {
            name: name.to_owned(),
            label: format!("stream {name} {}", self.place),
        }
    }

    /// Asks for each stream, and names all that are not there.
    async fn check_all(&self, names: BTreeSet<&String>) -> Result<(), Failure> {
        let mut wrong: Option<Failure> = None;
        for name in names {
            match self.check(&self.stream(name)).await {
                Ok(()) => {}
                Err(failure) if failure.fault != Fault::Definite => return Err(failure),
                Err(failure) => match &mut wrong {
                    None => wrong = Some(failure),
                    Some(first) => first.what = format!("{}; {}", first.what, failure.what),
                },
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Asks for a stream's description, a few times if the endpoint does not answer.
    async fn check(&self, stream: &Stream) -> Result<(), Failure> {
        let label = &stream.label;
        let mut attempt = 1;
        let described = loop {
            let described = self.client.describe_delivery_stream();
            let described = described.delivery_stream_name(&stream.name).send().await;
            match described.map_err(|error| CallError::from(&error)) {
                Ok(described) => break described,
                // Describing is a courtesy; putting records may still be allowed.
                Err(error) if error.cause == Cause::Denied => {
                    warn!("not allowed to describe {label}, so it was not checked");
                    return Ok(());
                }
                Err(error) => {
                    let error = failure(label, &error);
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

    fn follow(&self, table: SinkTable, _folder: TableFolder) -> Result<(), Failure> {
        add_table(
            &self.streams,
            self.stream(&table.stream.unwrap_or_default()),
        );
        Ok(())
    }

    fn lane(&self, table: usize) -> usize {
        let streams = all_tables(&self.streams);
        let name = &streams[table].name;
        let sharing = streams.iter().position(|other| other.name == *name);
        sharing.unwrap_or(table)
    }

    async fn attempt(&self, batch: &SealedBatch, records: &[usize]) -> Attempted {
        let stream = table_of(&self.streams, batch.table);
        let Stream { name, label } = &*stream;
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
            Err(error) => {
                let what = format!("cannot build a request to {label}: {error}");
                return Err(Failure::definite(Exit::Data, what, DEFECT)).into();
            }
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
            Err(error) => {
                let error = CallError::from(&error);
                Attempted {
                    slow_down: is_slow_down(error.cause),
                    object: None,
                    result: Err(failure(label, &error)),
                }
            }
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
        slow_down: codes().any(|(_, code)| is_slow_down(Cause::of_code(code))),
        object: None,
        result: Ok(refused),
    }
}

/// Whether the stream asks for a slower pace.
fn is_slow_down(cause: Cause) -> bool {
    matches!(cause, Cause::Throttled | Cause::Unavailable)
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

/// What to do about a failed call.
fn failure(label: &str, error: &CallError) -> Failure {
    let what = format!("{label}: {}", error.what);
    let (exit, remedy) = match error.cause {
        Cause::Unreachable
        | Cause::BrokenOff
        | Cause::NoAnswer
        | Cause::Failed
        | Cause::Unavailable
        | Cause::Throttled
        | Cause::Other => return Failure::transient(Exit::Unavailable, what, REACH_ENDPOINT),
        Cause::Gone => (
            Exit::Config,
            "create the delivery stream, or correct sink.stream, the region and the account",
        ),
        Cause::Invalid => (
            Exit::Config,
            "check that the stream takes Direct PUT and that the endpoint is Firehose's",
        ),
        Cause::BadKey => (
            Exit::Config,
            "enable the stream's KMS key, or give it one that exists",
        ),
        Cause::Denied => (
            Exit::Permission,
            "allow firehose:PutRecordBatch and firehose:DescribeDeliveryStream on the stream",
        ),
        Cause::NoCredentials
        | Cause::RoleDenied
        | Cause::Expired
        | Cause::BadCredentials
        | Cause::BadSignature
        | Cause::NotUnderstood
        | Cause::NotBuilt => error.cause.refusal().unwrap_or((Exit::Config, DEFECT)),
    };
    Failure::definite(exit, what, remedy)
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
