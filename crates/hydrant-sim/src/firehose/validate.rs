//! PURE. The limits of single requests, as AWS enforces them before any quota is looked at.
//!
//! What lives here: the limits as constants with their source, and the errors that breaking
//! them gives. What does not: quotas ([`crate::quota`]) and anything that depends on which
//! streams exist ([`super`]).
//!
//! Constraints of the service model are reported together, in AWS's words ("2 validation errors
//! detected: ..."), but without quoting the value: AWS prints it, and it may be data.

use super::buffer::Hints;
use jiff::tz::TimeZone;

use super::object_key::{Compression, ObjectNaming, Prefix, PrefixError, check_error_prefix};
use super::wire::{
    ApiError, BufferingHints, Code, CreateDeliveryStreamInput, ListDeliveryStreamsInput, Record,
    S3Destination,
};

/// Most records of a `PutRecordBatch`. Source: API reference, `PutRecordBatch`, `Records`.
pub(super) const MAX_RECORDS: usize = 500;

/// Most bytes of one record's data, before base64. Source: service model, shape `Data`.
pub(super) const MAX_RECORD_BYTES: usize = 1_024_000;

/// Most bytes of a `PutRecordBatch`'s data. "Up to a limit of 4 MB for the entire request" (API
/// reference); counted over the data before base64, which AWS does not say in so many words. The error's
/// words are quoted in osquery/osquery#3568.
pub(super) const MAX_REQUEST_BYTES: usize = 4 << 20;

/// Longest name of a stream. Source: service model, shape `DeliveryStreamName`.
pub(super) const MAX_NAME_CHARS: usize = 64;

/// Most names that a `ListDeliveryStreams` gives. Source: service model, shape
/// `ListDeliveryStreamsInputLimit`.
pub(super) const MAX_LIST_LIMIT: usize = 10_000;

/// How many names a `ListDeliveryStreams` gives if it does not say. Source: API reference.
const DEFAULT_LIST_LIMIT: usize = 10;

/// Longest ARNs and ending of names. Source for these and the patterns: service model, shapes `RoleARN`,
/// `BucketARN` and `FileExtension`.
const MAX_ROLE_CHARS: usize = 512;
const MAX_BUCKET_CHARS: usize = 2_048;
const MAX_EXTENSION_CHARS: usize = 128;
const BUCKET_PATTERN: &str = "arn:.*:s3:::[\\w\\.\\-]{1,255}";
const EXTENSION_PATTERN: &str = "^$|\\.[0-9a-z!\\-_.*'()]+";

const NAME_PATTERN: &str = "[a-zA-Z0-9_.-]+";
const DIRECT_PUT: &str = "DirectPut";

/// Collects the constraints that one request breaks.
#[derive(Debug, Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, member: &str, constraint: &str) {
        self.0.push(format!(
            "Value at '{member}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// Checks that a required member is there.
    fn require<T>(&mut self, member: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(member, "Member must not be null");
        }
        value
    }

    fn at_most_long(&mut self, member: &str, length: usize, limit: usize) {
        if length > limit {
            let constraint = format!("Member must have length less than or equal to {limit}");
            self.add(member, &constraint);
        }
    }

    /// Checks a number's bounds; `None` if it is outside of them.
    fn bounded(&mut self, member: &str, value: i64, low: u64, high: u64) -> Option<u64> {
        match u64::try_from(value) {
            Ok(value) if (low..=high).contains(&value) => return Some(value),
            Ok(value) if value > high => {
                let constraint = format!("Member must have value less than or equal to {high}");
                self.add(member, &constraint);
            }
            _ => {
                let constraint = format!("Member must have value greater than or equal to {low}");
                self.add(member, &constraint);
            }
        }
        None
    }

    fn pattern(&mut self, member: &str, is_met: bool, pattern: &str) {
        if !is_met {
            let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
            self.add(member, &constraint);
        }
    }

    fn name(&mut self, name: &str) {
        const MEMBER: &str = "deliveryStreamName";
        if name.is_empty() {
            self.add(MEMBER, "Member must have length greater than or equal to 1");
        }
        self.at_most_long(MEMBER, name.chars().count(), MAX_NAME_CHARS);
        self.pattern(MEMBER, is_name_alphabet(name), NAME_PATTERN);
    }

    fn into_result(self) -> Result<(), ApiError> {
        let count = self.0.len();
        if count == 0 {
            return Ok(());
        }
        let noun = if count == 1 { "error" } else { "errors" };
        let list = self.0.join("; ");
        let message = format!("{count} validation {noun} detected: {list}");
        Err(ApiError::new(Code::Validation, message))
    }
}

fn is_name_alphabet(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether a stream can have this name: 1 to 64 of `a-z A-Z 0-9 _ . -`.
#[must_use]
pub(crate) fn is_valid_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.len()) && is_name_alphabet(name)
}

/// Checks the name that every operation on one stream takes.
///
/// # Errors
/// [`Code::Validation`] if it is missing, too long, or has other characters than allowed.
pub(super) fn stream_name(name: Option<String>) -> Result<String, ApiError> {
    let mut violations = Violations::default();
    let name = violations
        .require("deliveryStreamName", name)
        .inspect(|name| violations.name(name));
    violations.into_result()?;
    Ok(name.unwrap_or_default())
}

/// Checks a `PutRecord` and gives its data.
///
/// # Errors
/// [`Code::Validation`] naming every constraint that is broken.
pub(super) fn put_record(
    name: Option<String>,
    record: Option<Record>,
) -> Result<(String, Vec<u8>), ApiError> {
    let mut violations = Violations::default();
    let name = violations
        .require("deliveryStreamName", name)
        .inspect(|name| violations.name(name));
    let record = violations.require("record", record);
    let data = record.and_then(|record| {
        let data = violations.require("record.data", record.data)?;
        violations.at_most_long("record.data", data.0.len(), MAX_RECORD_BYTES);
        Some(data.0)
    });
    violations.into_result()?;
    Ok((name.unwrap_or_default(), data.unwrap_or_default()))
}

/// Checks a `PutRecordBatch` and gives its records' data.
///
/// # Errors
/// [`Code::Validation`] naming every constraint that is broken, records counted from 1 as AWS
/// does; [`Code::InvalidArgument`] if only the whole is too large.
pub(super) fn put_record_batch(
    name: Option<String>,
    records: Option<Vec<Record>>,
) -> Result<(String, Vec<Vec<u8>>), ApiError> {
    let mut violations = Violations::default();
    let name = violations
        .require("deliveryStreamName", name)
        .inspect(|name| violations.name(name));
    let records = violations.require("records", records).unwrap_or_default();
    if violations.0.is_empty() && records.is_empty() {
        violations.add(
            "records",
            "Member must have length greater than or equal to 1",
        );
    }
    violations.at_most_long("records", records.len(), MAX_RECORDS);
    let mut data = Vec::with_capacity(records.len());
    for (ordinal, record) in (1..).zip(records) {
        match record.data {
            Some(blob) if blob.0.len() <= MAX_RECORD_BYTES => data.push(blob.0),
            Some(blob) => {
                let member = format!("records.{ordinal}.member.data");
                violations.at_most_long(&member, blob.0.len(), MAX_RECORD_BYTES);
            }
            None => {
                violations.require::<()>(&format!("records.{ordinal}.member.data"), None);
            }
        }
    }
    violations.into_result()?;
    if data.iter().map(Vec::len).sum::<usize>() > MAX_REQUEST_BYTES {
        let message = "Records size exceeds 4 MB limit";
        return Err(ApiError::new(Code::InvalidArgument, message));
    }
    Ok((name.unwrap_or_default(), data))
}

/// Checks a `ListDeliveryStreams` and gives its limit.
///
/// # Errors
/// [`Code::Validation`] naming every constraint that is broken.
pub(super) fn list(input: &ListDeliveryStreamsInput) -> Result<usize, ApiError> {
    let mut violations = Violations::default();
    let limit = input
        .limit
        .and_then(|limit| violations.bounded("limit", limit, 1, MAX_LIST_LIMIT as u64));
    violations.into_result()?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    Ok(limit.unwrap_or(DEFAULT_LIST_LIMIT))
}

/// Where and how a stream delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// As given; described back, otherwise unused.
    pub role_arn: String,
    /// As given; described back, otherwise unused.
    pub bucket_arn: String,
    /// What objects are called.
    pub naming: ObjectNaming,
    /// How objects are compressed.
    pub compression: Compression,
    /// When a buffer becomes an object.
    pub hints: Hints,
}

/// Checks a `CreateDeliveryStream` and gives the stream's name and destination.
///
/// # Errors
/// [`Code::Validation`] for constraints of the service model; [`Code::InvalidArgument`] for
/// combinations that AWS refuses and for whatever the simulator does not do, because a setting
/// that is ignored would be a test that passes for no reason.
pub(super) fn create(input: CreateDeliveryStreamInput) -> Result<(String, Destination), ApiError> {
    let mut violations = Violations::default();
    let name = violations
        .require("deliveryStreamName", input.delivery_stream_name)
        .inspect(|name| violations.name(name));
    violations.into_result()?;
    if input
        .delivery_stream_type
        .is_some_and(|kind| kind != DIRECT_PUT)
    {
        return Err(unsupported("DeliveryStreamType other than DirectPut"));
    }
    let harmless = [
        "Tags",
        "DirectPutSourceConfiguration",
        "DeliveryStreamEncryptionConfigurationInput",
    ];
    if let Some((member, _)) = input
        .rest
        .iter()
        .find(|(key, value)| !harmless.contains(&key.as_str()) && !value.is_null())
    {
        return Err(unsupported(member));
    }
    let destination = match (
        input.extended_s3_destination_configuration,
        input.s3_destination_configuration,
    ) {
        (Some(extended), None) => destination("extendedS3DestinationConfiguration", extended)?,
        (None, Some(plain)) => destination("s3DestinationConfiguration", plain)?,
        _ => {
            let message = "Exactly one destination configuration is supported for a Firehose";
            return Err(ApiError::new(Code::InvalidArgument, message));
        }
    };
    Ok((name.unwrap_or_default(), destination))
}

fn destination(member: &str, input: S3Destination) -> Result<Destination, ApiError> {
    let mut violations = Violations::default();
    let name = format!("{member}.roleARN");
    let role_arn = violations.require(&name, input.role_arn).inspect(|arn| {
        violations.at_most_long(&name, arn.chars().count(), MAX_ROLE_CHARS);
        violations.pattern(&name, arn.starts_with("arn:"), "arn:.*");
    });
    let name = format!("{member}.bucketARN");
    let bucket_arn = violations.require(&name, input.bucket_arn).inspect(|arn| {
        violations.at_most_long(&name, arn.chars().count(), MAX_BUCKET_CHARS);
        violations.pattern(&name, is_bucket_arn(arn), BUCKET_PATTERN);
    });
    let extension = input.file_extension.unwrap_or_default();
    let name = format!("{member}.fileExtension");
    violations.at_most_long(&name, extension.chars().count(), MAX_EXTENSION_CHARS);
    violations.pattern(&name, is_extension(&extension), EXTENSION_PATTERN);
    let hints = hints(&mut violations, member, input.buffering_hints);
    let format = input
        .compression_format
        .as_deref()
        .unwrap_or("UNCOMPRESSED");
    let known = ["UNCOMPRESSED", "GZIP", "ZIP", "Snappy", "HADOOP_SNAPPY"];
    if !known.contains(&format) {
        violations.add(
            &format!("{member}.compressionFormat"),
            &format!("Member must satisfy enum value set: [{}]", known.join(", ")),
        );
    }
    violations.into_result()?;
    let naming = naming(
        input.prefix.as_deref(),
        input.error_output_prefix,
        input.custom_time_zone.as_deref(),
        extension,
    )?;
    let compression = match format {
        "GZIP" => Compression::Gzip,
        "UNCOMPRESSED" => Compression::Uncompressed,
        _ => {
            return Err(unsupported(
                "CompressionFormat other than GZIP and UNCOMPRESSED",
            ));
        }
    };
    let harmless = ["EncryptionConfiguration", "CloudWatchLoggingOptions"];
    let does_something = |key: &str, value: &serde_json::Value| {
        let is_off = value.is_null() || value == "Disabled" || value["Enabled"] == false;
        !harmless.contains(&key) && !is_off
    };
    if let Some((member, _)) = input
        .rest
        .iter()
        .find(|(key, value)| does_something(key, value))
    {
        return Err(unsupported(member));
    }
    let role_arn = role_arn.unwrap_or_default();
    if !is_role_arn(&role_arn) {
        // In AWS's words, which hashicorp/terraform-provider-aws#6053 quotes.
        let message = format!(
            "Firehose is unable to assume role {role_arn}. Please check the role provided."
        );
        return Err(ApiError::new(Code::InvalidArgument, message));
    }
    Ok(Destination {
        role_arn,
        bucket_arn: bucket_arn.unwrap_or_default(),
        naming,
        compression,
        hints: hints?,
    })
}

/// What objects are called. An extension was looked at before.
fn naming(
    prefix: Option<&str>,
    error_prefix: Option<String>,
    time_zone: Option<&str>,
    extension: String,
) -> Result<ObjectNaming, ApiError> {
    let refused = |error: PrefixError| ApiError::new(Code::InvalidArgument, error.to_string());
    let prefix = Prefix::parse(prefix.unwrap_or_default()).map_err(refused)?;
    check_error_prefix(&prefix, error_prefix.as_deref()).map_err(refused)?;
    let time_zone = TimeZone::get(time_zone.unwrap_or("UTC")).map_err(|_| {
        let message = "CustomTimeZone is not the name of a time zone, such as Asia/Tokyo";
        ApiError::new(Code::InvalidArgument, message)
    })?;
    Ok(ObjectNaming {
        prefix,
        error_prefix,
        time_zone,
        extension,
    })
}

fn is_bucket_arn(arn: &str) -> bool {
    let bucket = arn
        .strip_prefix("arn:")
        .and_then(|arn| arn.rsplit_once(":s3:::"));
    let taken = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    bucket.is_some_and(|(_, name)| (1..=255).contains(&name.len()) && name.chars().all(taken))
}

/// `arn:PARTITION:iam::ACCOUNT:role/NAME`.
fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, "iam", "", account, role] => {
            let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
            let has_name = role
                .strip_prefix("role/")
                .is_some_and(|name| !name.is_empty());
            partition.starts_with("aws") && is_account && has_name
        }
        _ => false,
    }
}

fn is_extension(extension: &str) -> bool {
    let taken = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!-_.*'()".contains(c);
    match extension.strip_prefix('.') {
        Some(rest) => !rest.is_empty() && rest.chars().all(taken),
        None => extension.is_empty(),
    }
}

/// The two hints; AWS takes both or none (API reference, `BufferingHints`).
fn hints(
    violations: &mut Violations,
    member: &str,
    input: Option<BufferingHints>,
) -> Result<Hints, ApiError> {
    let Some(input) = input else {
        return Ok(Hints::default());
    };
    let size_mib = input.size_mib.and_then(|value| {
        let member = format!("{member}.bufferingHints.sizeInMBs");
        violations.bounded(
            &member,
            value,
            Hints::MIN_BYTES >> 20,
            Hints::MAX_BYTES >> 20,
        )
    });
    let interval_s = input.interval_s.and_then(|value| {
        let member = format!("{member}.bufferingHints.intervalInSeconds");
        violations.bounded(&member, value, 0, Hints::MAX_INTERVAL_S.into())
    });
    if input.size_mib.is_some() != input.interval_s.is_some() {
        let message = "BufferingHints: SizeInMBs and IntervalInSeconds must both be specified";
        return Err(ApiError::new(Code::InvalidArgument, message));
    }
    let defaults = Hints::default();
    Ok(Hints {
        bytes: size_mib.map_or(defaults.bytes, |size_mib| size_mib << 20),
        interval_s: interval_s
            .and_then(|interval_s| u32::try_from(interval_s).ok())
            .unwrap_or(defaults.interval_s),
    })
}

fn unsupported(what: &str) -> ApiError {
    ApiError::new(
        Code::InvalidArgument,
        format!("{what} is not supported by this simulator"),
    )
}

#[cfg(test)]
mod tests;
