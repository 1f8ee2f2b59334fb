//! The operations: what each request does to the streams, and its answer.
//!
//! What lives here: the registry of streams and one function for each operation, from a body's
//! bytes to an answer's bytes, without an await. What does not: HTTP ([`super::http`]), limits
//! ([`validate`]) and quotas ([`super::quota`]).
//!
//! Differences from AWS, on purpose: a stream is ACTIVE as soon as it is created and gone as
//! soon as it is deleted (what it buffered is still delivered), and signatures are not verified.

pub(super) mod buffer;
mod delivery;
mod intake;
pub(super) mod object_key;
mod stream;
pub(super) mod validate;
pub(super) mod wire;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use super::account::{Amount, StreamAccount, Waiting};
use super::faults::{CallFaults, End, Length, QuotaPlan, Script, Start};
use super::faults_error::RecordError;
use super::quota::Quota;
use super::{Clock, lock};
use delivery::deliver;
use intake::Verdict;
use object_key::VERSION_ID;
use stream::Stream;
use validate::Destination;
use wire::{
    ApiError, Code, CreateDeliveryStreamInput, ListDeliveryStreamsInput, ListDeliveryStreamsOutput,
    PutRecordBatchEntry, PutRecordBatchInput, PutRecordBatchOutput, PutRecordInput,
    PutRecordOutput, StreamInput,
};

/// The account that everything belongs to.
pub(super) const ACCOUNT_ID: &str = "123456789012";

/// The region in names. Clients may sign for any other.
pub(super) const REGION: &str = "us-east-1";

/// Most streams. Source: API reference, `CreateDeliveryStream`: "up to 5,000 Firehose streams
/// per AWS Region".
const MAX_STREAMS: usize = 5_000;

/// What comes before the operation in `X-Amz-Target`. Source: service model, `targetPrefix`.
pub(super) const TARGET_PREFIX: &str = "Firehose_20150804.";

/// The operations, as IAM names them.
pub(super) const ACTIONS: [&str; 6] = [
    "firehose:CreateDeliveryStream",
    "firehose:DeleteDeliveryStream",
    "firehose:DescribeDeliveryStream",
    "firehose:ListDeliveryStreams",
    "firehose:PutRecord",
    "firehose:PutRecordBatch",
];

/// The message that no quota but the simulator's memory is used up.
const BACKLOGGED: &str = "The simulator has 512 MiB of this stream still to deliver.";

/// The message to those who come too late.
const STOPPING: &str = "The stream or the simulator is stopping.";

/// The message of every throttle. Source: answers of Firehose quoted in public issues, such as
/// boto/boto3#2804.
const SLOW_DOWN: &str = "Slow down.";

/// An answer, and what the call has brought.
#[derive(Debug)]
pub(super) struct Answer {
    /// The answer's body.
    pub body: Vec<u8>,
    /// What was admitted.
    pub admitted: Option<Admitted>,
}

/// What a call has brought to a stream.
#[derive(Debug)]
pub(super) struct Admitted {
    stream: Arc<Stream>,
    amount: Amount,
}

impl Admitted {
    /// Counts that the client does not know of it.
    pub(super) fn count_unconfirmed(&self) {
        let mut intake = self.stream.intake();
        intake.tally.count_unconfirmed(&self.amount);
    }
}

/// The streams there are.
#[derive(Debug, Default)]
struct Registry {
    streams: BTreeMap<String, Arc<Stream>>,
    /// Deleted, and alive as long as they deliver.
    deleted: Vec<Weak<Stream>>,
    /// The simulator stops: no more streams.
    is_closed: bool,
}

/// The simulated service.
#[derive(Debug)]
pub(super) struct Firehose {
    quota: Quota,
    /// Asked for changes of the quota only.
    faults: Arc<Script>,
    folder: Arc<Path>,
    clock: Clock,
    /// Makes record ids unique over restarts.
    run: Uuid,
    registry: Mutex<Registry>,
    deliveries: Mutex<JoinSet<()>>,
}

impl Firehose {
    /// A service without streams that delivers into `folder`.
    #[must_use]
    pub(super) fn new(quota: Quota, faults: Arc<Script>, folder: &Path, clock: Clock) -> Self {
        Self {
            quota,
            faults,
            folder: folder.into(),
            clock,
            run: Uuid::new_v4(),
            registry: Mutex::default(),
            deliveries: Mutex::default(),
        }
    }

    /// Answers a request, with what faults have in store for it. Must be called inside a tokio
    /// runtime, which runs the deliveries.
    ///
    /// # Errors
    /// The error that is the answer.
    pub(super) fn answer(
        &self,
        operation: &str,
        is_signed: bool,
        body: &[u8],
        plan: &CallFaults,
    ) -> Result<Answer, ApiError> {
        if super::calls::action_of(&ACTIONS, operation).is_none() {
            return Err(ApiError::new(
                Code::UnknownOperation,
                "The operation is not known.",
            ));
        }
        if !is_signed {
            let message = "Missing Authentication Token";
            return Err(ApiError::new(Code::MissingAuthenticationToken, message));
        }
        match operation {
            // These count what is refused, by a fault as well.
            "PutRecord" => return self.put_record(decode(body)?, plan),
            "PutRecordBatch" => return self.put_record_batch(decode(body)?, plan),
            _ => {}
        }
        if let Start::Refuse(error) = plan.start {
            return Err(ApiError::injected(error));
        }
        let body = match operation {
            "CreateDeliveryStream" => encode(&self.create_delivery_stream(decode(body)?)?),
            "DeleteDeliveryStream" => encode(&self.delete_delivery_stream(decode(body)?)?),
            "DescribeDeliveryStream" => encode(&self.describe_delivery_stream(decode(body)?)?),
            _ => encode(&self.list_delivery_streams(&decode(body)?)?),
        }?;
        Ok(Answer {
            body,
            admitted: None,
        })
    }

    fn create_delivery_stream(&self, input: CreateDeliveryStreamInput) -> Result<Value, ApiError> {
        let (name, destination) = validate::create(input)?;
        let arn = arn(&name);
        self.create(name, destination)?;
        Ok(json!({ "DeliveryStreamARN": arn }))
    }

    /// Creates a stream and starts its delivery.
    ///
    /// # Errors
    /// [`Code::ResourceInUse`] if there is one of this name, [`Code::LimitExceeded`] if there
    /// are too many.
    pub(super) fn create(&self, name: String, destination: Destination) -> Result<(), ApiError> {
        // Held until the delivery runs, so that `close` sees both or neither.
        let mut registry = lock(&self.registry);
        if registry.is_closed {
            return Err(ApiError::new(Code::ServiceUnavailable, STOPPING));
        }
        if registry.streams.contains_key(&name) {
            let message = format!("Firehose {name} under accountId {ACCOUNT_ID} already exists");
            return Err(ApiError::new(Code::ResourceInUse, message));
        }
        if registry.streams.len() >= MAX_STREAMS {
            let message = format!("The account has its {MAX_STREAMS} streams already");
            return Err(ApiError::new(Code::LimitExceeded, message));
        }
        let now = self.clock.now();
        let changes = self.faults.quotas(&name, self.quota);
        let quota_plan = QuotaPlan::new(changes, self.clock.started_at);
        let stream = Stream::new(name.clone(), destination, self.quota, quota_plan, now);
        let stream = Arc::new(stream);
        registry.streams.insert(name, Arc::clone(&stream));
        let mut deliveries = lock(&self.deliveries);
        while deliveries.try_join_next().is_some() {}
        deliveries.spawn(deliver(stream, Arc::clone(&self.folder), self.clock));
        Ok(())
    }

    fn delete_delivery_stream(&self, input: StreamInput) -> Result<Value, ApiError> {
        let name = validate::stream_name(input.delivery_stream_name)?;
        let mut registry = lock(&self.registry);
        let stream = registry
            .streams
            .remove(&name)
            .ok_or_else(|| not_found(&name))?;
        registry.deleted.retain(|stream| stream.strong_count() > 0);
        registry.deleted.push(Arc::downgrade(&stream));
        stream.close();
        Ok(json!({}))
    }

    fn describe_delivery_stream(&self, input: StreamInput) -> Result<Value, ApiError> {
        let stream = self.stream(&validate::stream_name(input.delivery_stream_name)?)?;
        Ok(json!({ "DeliveryStreamDescription": description(&stream) }))
    }

    fn list_delivery_streams(
        &self,
        input: &ListDeliveryStreamsInput,
    ) -> Result<ListDeliveryStreamsOutput, ApiError> {
        let limit = validate::list(input)?;
        let registry = lock(&self.registry);
        let start = input.exclusive_start_delivery_stream_name.as_deref();
        let start = start.map_or(Bound::Unbounded, Bound::Excluded);
        let is_listed = input
            .delivery_stream_type
            .as_deref()
            .is_none_or(|kind| kind == "DirectPut");
        let mut names = registry
            .streams
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(name, _)| name.clone())
            .filter(|_| is_listed);
        let delivery_stream_names: Vec<String> = names.by_ref().take(limit).collect();
        let has_more_delivery_streams = names.next().is_some();
        Ok(ListDeliveryStreamsOutput {
            delivery_stream_names,
            has_more_delivery_streams,
        })
    }

    fn put_record(&self, input: PutRecordInput, plan: &CallFaults) -> Result<Answer, ApiError> {
        let (name, data) = validate::put_record(input.delivery_stream_name, input.record)?;
        let stream = self.stream(&name)?;
        let verdict = stream.put(self.clock.now(), &[data], plan);
        let (numbers, amount) = judged(verdict)?;
        let output = match numbers.first() {
            Some(&Ok(number)) => PutRecordOutput {
                record_id: self.record_id(&stream, number),
                encrypted: false,
            },
            Some(Err(_)) | None => return Err(ApiError::new(Code::ServiceUnavailable, SLOW_DOWN)),
        };
        Ok(Answer {
            body: encode(&output)?,
            admitted: Some(Admitted { stream, amount }),
        })
    }

    fn put_record_batch(
        &self,
        input: PutRecordBatchInput,
        plan: &CallFaults,
    ) -> Result<Answer, ApiError> {
        let (name, records) =
            validate::put_record_batch(input.delivery_stream_name, input.records)?;
        let stream = self.stream(&name)?;
        let (numbers, amount) = judged(stream.put(self.clock.now(), &records, plan))?;
        let entry = |number: &Result<u64, RecordError>| match number {
            Ok(number) => PutRecordBatchEntry::Admitted {
                record_id: self.record_id(&stream, *number),
            },
            Err(error) => PutRecordBatchEntry::Refused {
                error_code: error.code(),
                error_message: error.message(),
            },
        };
        let mut entries: Vec<_> = numbers.iter().map(entry).collect();
        match plan.end {
            End::WrongLength(Length::Short) => drop(entries.pop()),
            End::WrongLength(Length::Long) => entries.push(entry(&Ok(0))),
            End::Answer | End::Error(_) | End::Reset | End::Silence(_) => {}
        }
        let output = PutRecordBatchOutput {
            failed_put_count: numbers.iter().filter(|number| number.is_err()).count(),
            encrypted: false,
            request_responses: entries,
        };
        Ok(Answer {
            body: encode(&output)?,
            admitted: Some(Admitted { stream, amount }),
        })
    }

    fn stream(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        lock(&self.registry)
            .streams
            .get(name)
            .cloned()
            .ok_or_else(|| not_found(name))
    }

    /// Unique among all records: this run, the stream (also if it is created again) and the
    /// record's number in it. Clients must take it as opaque, as AWS's.
    fn record_id(&self, stream: &Stream, number: u64) -> String {
        let created_ns = stream.created.as_nanosecond();
        format!(
            "{}/{}/{created_ns}/{number:012}",
            self.run.simple(),
            stream.name
        )
    }

    /// A copy of the streams' accounts, by name.
    #[must_use]
    pub(super) fn accounts(&self) -> BTreeMap<String, StreamAccount> {
        let streams = lock(&self.registry).streams.clone();
        let now = self.clock.now();
        let account = |(name, stream): (String, Arc<Stream>)| (name, stream.intake().account(now));
        streams.into_iter().map(account).collect()
    }

    /// Closes all streams and waits until they are delivered, at most for `patience`. Gives what
    /// could not be delivered in that time.
    pub(super) async fn close(&self, patience: Duration) -> Waiting {
        let streams: Vec<_> = {
            let mut registry = lock(&self.registry);
            registry.is_closed = true;
            let deleted = registry.deleted.iter().filter_map(Weak::upgrade);
            registry.streams.values().cloned().chain(deleted).collect()
        };
        for stream in &streams {
            stream.close();
        }
        let mut deliveries = std::mem::take(&mut *lock(&self.deliveries));
        let _ = timeout(patience, async {
            while deliveries.join_next().await.is_some() {}
        })
        .await;
        streams.iter().fold(Waiting::default(), |sum, stream| {
            let left = stream.intake().buffer.waiting();
            Waiting {
                records: sum.records + left.records,
                bytes: sum.bytes + left.bytes,
            }
        })
    }
}

/// Parses a body. The error names a place and a kind, never the text.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // AWS takes an empty body for an empty object.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message =
            format!("The body is not the JSON of this operation (line {line}, column {column})");
        ApiError::new(Code::Serialization, message)
    })
}

fn encode<T: Serialize>(output: &T) -> Result<Vec<u8>, ApiError> {
    // These types have no map with other keys than strings, which is all that could fail.
    serde_json::to_vec(output)
        .map_err(|error| ApiError::new(Code::ServiceUnavailable, error.to_string()))
}

/// The numbers of a call that was judged record by record with what was admitted, or the error for
/// the whole call.
fn judged(verdict: Verdict) -> Result<(Vec<Result<u64, RecordError>>, Amount), ApiError> {
    match verdict {
        Verdict::Judged {
            numbers, admitted, ..
        } => Ok((numbers, admitted)),
        Verdict::Failed(error) => Err(ApiError::injected(error)),
        Verdict::Throttled => Err(ApiError::new(Code::ServiceUnavailable, SLOW_DOWN)),
        Verdict::Backlogged => Err(ApiError::new(Code::ServiceUnavailable, BACKLOGGED)),
        Verdict::Closed => Err(ApiError::new(Code::ServiceUnavailable, STOPPING)),
    }
}

fn not_found(name: &str) -> ApiError {
    let message = format!("Firehose {name} under account {ACCOUNT_ID} not found.");
    ApiError::new(Code::ResourceNotFound, message)
}

fn arn(name: &str) -> String {
    format!("arn:aws:firehose:{REGION}:{ACCOUNT_ID}:deliverystream/{name}")
}

/// `DeliveryStreamDescription`. AWS describes an S3 destination in both of its shapes.
fn description(stream: &Stream) -> Value {
    let Destination {
        role_arn,
        bucket_arn,
        naming,
        compression,
        hints,
    } = &stream.destination;
    let plain = json!({
        "RoleARN": role_arn,
        "BucketARN": bucket_arn,
        "Prefix": naming.prefix.as_str(),
        "ErrorOutputPrefix": naming.error_prefix,
        "BufferingHints": {
            "SizeInMBs": hints.bytes >> 20,
            "IntervalInSeconds": hints.interval_s,
        },
        "CompressionFormat": compression.as_str(),
        "EncryptionConfiguration": { "NoEncryptionConfig": "NoEncryption" },
        "CloudWatchLoggingOptions": { "Enabled": false },
    });
    let mut extended = plain.clone();
    extended["S3BackupMode"] = json!("Disabled");
    extended["CustomTimeZone"] = json!(naming.time_zone.iana_name());
    extended["FileExtension"] = json!(naming.extension);
    json!({
        "DeliveryStreamName": stream.name,
        "DeliveryStreamARN": arn(&stream.name),
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamType": "DirectPut",
        "VersionId": VERSION_ID,
        "CreateTimestamp": stream.created.as_second(),
        "Destinations": [{
            "DestinationId": "destinationId-000000000001",
            "S3DestinationDescription": plain,
            "ExtendedS3DestinationDescription": extended,
        }],
        "HasMoreDestinations": false,
    })
}
