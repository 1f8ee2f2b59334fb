//! Every limit at exactly its value, and one over.

use serde_json::{Value, json};

use super::super::wire::Blob;
use super::*;

fn records(sizes: impl IntoIterator<Item = usize>) -> Vec<Record> {
    let record = |size| Record {
        data: Some(Blob(vec![b'x'; size])),
    };
    sizes.into_iter().map(record).collect()
}

fn batch(records: impl Into<Option<Vec<Record>>>) -> Result<(String, Vec<Vec<u8>>), ApiError> {
    put_record_batch(Some("s".into()), records.into())
}

#[test]
fn five_hundred_records_pass_and_one_more_does_not() {
    assert_eq!(batch(records([1; 500])).unwrap().1.len(), 500);
    let error = batch(records([1; 501])).unwrap_err();
    assert_eq!(error.code, Code::Validation);
    assert_eq!(
        error.message,
        "1 validation error detected: Value at 'records' failed to satisfy constraint: \
         Member must have length less than or equal to 500"
    );
}

#[test]
fn a_batch_of_nothing_is_refused() {
    let error = batch(records([])).unwrap_err();
    assert_eq!(
        error.message,
        "1 validation error detected: Value at 'records' failed to satisfy constraint: \
         Member must have length greater than or equal to 1"
    );
    assert_eq!(batch(None).unwrap_err().code, Code::Validation);
}

#[test]
fn a_record_of_1_024_000_bytes_passes_and_one_more_byte_does_not() {
    assert!(batch(records([1_024_000])).is_ok());
    let error = batch(records([1, 1_024_001])).unwrap_err();
    assert_eq!(error.code, Code::Validation);
    assert_eq!(
        error.message,
        "1 validation error detected: Value at 'records.2.member.data' failed to satisfy \
         constraint: Member must have length less than or equal to 1024000"
    );
    let record = |size| {
        Some(Record {
            data: Some(Blob(vec![0; size])),
        })
    };
    assert!(put_record(Some("s".into()), record(1_024_000)).is_ok());
    assert!(put_record(Some("s".into()), record(1_024_001)).is_err());
}

#[test]
fn four_mebibytes_pass_and_one_more_byte_does_not() {
    let full = [1_024_000, 1_024_000, 1_024_000, 1_024_000, 98_304];
    assert_eq!(full.iter().sum::<usize>(), 4 << 20);
    assert!(batch(records(full)).is_ok());
    let error = batch(records(full.into_iter().chain([1]))).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

#[test]
fn empty_data_is_a_record_and_missing_data_is_not() {
    assert!(batch(records([0])).is_ok());
    let error = batch(Some(vec![Record { data: None }, Record { data: None }])).unwrap_err();
    assert!(
        error.message.starts_with("2 validation errors detected: "),
        "{}",
        error.message
    );
    assert!(
        error.message.contains("'records.1.member.data'"),
        "{}",
        error.message
    );
}

#[test]
fn names_have_1_to_64_characters_of_the_alphabet() {
    for name in ["a", "A-b_c.9", &"x".repeat(64)] {
        assert_eq!(stream_name(Some(name.into())).unwrap(), name);
        assert!(is_valid_name(name));
    }
    for name in ["", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert_eq!(
            stream_name(Some(name.into())).unwrap_err().code,
            Code::Validation
        );
        assert!(!is_valid_name(name));
    }
    assert!(stream_name(None).is_err());
}

#[test]
fn a_page_has_1_to_10_000_names_and_10_by_default() {
    let limit = |limit| {
        list(&ListDeliveryStreamsInput {
            limit,
            delivery_stream_type: None,
            exclusive_start_delivery_stream_name: None,
        })
    };
    assert_eq!(limit(None).unwrap(), 10);
    assert_eq!(limit(Some(1)).unwrap(), 1);
    assert_eq!(limit(Some(10_000)).unwrap(), 10_000);
    for outside in [0, 10_001, -1] {
        assert_eq!(limit(Some(outside)).unwrap_err().code, Code::Validation);
    }
}

fn created(extra: Value) -> Result<(String, Destination), ApiError> {
    let mut destination = json!({
        "RoleARN": "arn:aws:iam::123456789012:role/firehose",
        "BucketARN": "arn:aws:s3:::bucket",
    });
    if let (Value::Object(base), Value::Object(extra)) = (&mut destination, extra) {
        base.extend(extra);
    }
    let input = json!({
        "DeliveryStreamName": "s", "ExtendedS3DestinationConfiguration": destination,
    });
    create(serde_json::from_value(input).unwrap())
}

#[test]
fn a_stream_has_awss_defaults() {
    let (name, destination) = created(json!({})).unwrap();
    assert_eq!(name, "s");
    assert_eq!(
        destination.hints,
        Hints {
            bytes: 5 << 20,
            interval_s: 300
        }
    );
    assert_eq!(destination.compression, Compression::Uncompressed);
    assert_eq!(destination.naming.prefix.as_str(), "");
}

#[test]
fn buffering_hints_are_1_to_128_mib_and_0_to_900_s_and_come_together() {
    let hints = |size: i64, interval: i64| {
        let hints = json!({ "SizeInMBs": size, "IntervalInSeconds": interval });
        created(json!({ "BufferingHints": hints })).map(|(_, destination)| destination.hints)
    };
    assert_eq!(
        hints(1, 0).unwrap(),
        Hints {
            bytes: 1 << 20,
            interval_s: 0
        }
    );
    assert_eq!(
        hints(128, 900).unwrap(),
        Hints {
            bytes: 128 << 20,
            interval_s: 900
        }
    );
    for (size, interval) in [(0, 60), (129, 60), (1, -1), (1, 901)] {
        assert_eq!(hints(size, interval).unwrap_err().code, Code::Validation);
    }
    for alone in ["SizeInMBs", "IntervalInSeconds"] {
        let error = created(json!({ "BufferingHints": { alone: 64 } })).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }
}

#[test]
fn what_the_simulator_does_not_do_is_refused_and_not_ignored() {
    let refused = |extra: Value| created(extra).unwrap_err().code;
    assert_eq!(
        refused(json!({ "CompressionFormat": "ZIP" })),
        Code::InvalidArgument
    );
    assert_eq!(
        refused(json!({ "CompressionFormat": "gzip" })),
        Code::Validation
    );
    assert_eq!(refused(json!({ "Prefix": "../" })), Code::InvalidArgument);
    let processing = json!({ "ProcessingConfiguration": { "Enabled": true } });
    assert_eq!(refused(processing), Code::InvalidArgument);
    assert!(created(json!({ "ProcessingConfiguration": { "Enabled": false } })).is_ok());
    assert!(created(json!({ "S3BackupMode": "Disabled", "ErrorOutputPrefix": "e/" })).is_ok());
}

#[test]
fn arns_extensions_zones_and_prefixes_are_as_aws_takes_them() {
    for extra in [
        json!({ "RoleARN": "arn:aws-cn:iam::123456789012:role/path/name" }),
        json!({ "FileExtension": ".csv.gz", "CustomTimeZone": "Asia/Tokyo" }),
        json!({ "FileExtension": "", "CustomTimeZone": "UTC" }),
        json!({ "Prefix": "!{timestamp:yyyy}/", "ErrorOutputPrefix": "!{firehose:error-output-type}/" }),
        json!({ "Prefix": "!{firehose:random-string}/", "ErrorOutputPrefix": "failed/" }),
    ] {
        assert!(created(extra.clone()).is_ok(), "{extra}");
    }
    for (extra, code) in [
        (json!({ "RoleARN": "firehose" }), Code::Validation),
        (
            json!({ "RoleARN": "arn:aws:iam::123456789012:user/x" }),
            Code::InvalidArgument,
        ),
        (
            json!({ "RoleARN": "arn:aws:iam::1234:role/x" }),
            Code::InvalidArgument,
        ),
        (
            json!({ "RoleARN": "arn:aws:iam::123456789012:role/" }),
            Code::InvalidArgument,
        ),
        (json!({ "BucketARN": "bucket" }), Code::Validation),
        (json!({ "BucketARN": "arn:aws:s3:::a/b" }), Code::Validation),
        (json!({ "FileExtension": "csv" }), Code::Validation),
        (json!({ "FileExtension": ".CSV" }), Code::Validation),
        (
            json!({ "CustomTimeZone": "Mars/Olympus" }),
            Code::InvalidArgument,
        ),
        (
            json!({ "Prefix": "!{timestamp:yyyy}/" }),
            Code::InvalidArgument,
        ),
        (
            json!({ "Prefix": "!{firehose:error-output-type}/", "ErrorOutputPrefix": "e/" }),
            Code::InvalidArgument,
        ),
        (
            json!({ "ErrorOutputPrefix": "!{timestamp:yyyy}/" }),
            Code::InvalidArgument,
        ),
        (
            json!({ "Prefix": "!{partitionKeyFromQuery:id}/", "ErrorOutputPrefix": "e/" }),
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(
            created(extra.clone()).map(|_| ()).unwrap_err().code,
            code,
            "{extra}"
        );
    }
}

#[test]
fn a_stream_has_exactly_one_destination_and_is_direct_put() {
    let refused = |input: Value| {
        create(serde_json::from_value(input).unwrap())
            .map(|_| ())
            .unwrap_err()
            .code
    };
    let role = "arn:aws:iam::123456789012:role/firehose";
    let s3 = json!({ "RoleARN": role, "BucketARN": "arn:aws:s3:::b" });
    assert_eq!(
        refused(json!({ "DeliveryStreamName": "s" })),
        Code::InvalidArgument
    );
    assert_eq!(
        refused(json!({
            "DeliveryStreamName": "s", "S3DestinationConfiguration": s3,
            "ExtendedS3DestinationConfiguration": s3,
        })),
        Code::InvalidArgument
    );
    assert_eq!(
        refused(json!({
            "DeliveryStreamName": "s", "S3DestinationConfiguration": s3,
            "DeliveryStreamType": "KinesisStreamAsSource",
        })),
        Code::InvalidArgument
    );
    assert_eq!(
        refused(json!({ "DeliveryStreamName": "s", "S3DestinationConfiguration": {} })),
        Code::Validation
    );
    assert_eq!(
        refused(json!({ "DeliveryStreamName": "s", "SplunkDestinationConfiguration": {} })),
        Code::InvalidArgument
    );
}
