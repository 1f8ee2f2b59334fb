//! A `[sink]` of type `s3`: its bucket, and what its objects are like.
//!
//! What lives here: its validation. What does not: whether the bucket exists.

use bytesize::ByteSize;
use url::Url;

use super::firehose::{DEFAULT_PATIENCE, region};
use super::raw;
use super::{ConfigError, S3};

/// What an object has at its end, compressed.
const DEFAULT_OBJECT_BYTES: u64 = 64 << 20;
/// At least one part; at most what 10,000 parts of 8 MiB have.
const OBJECT_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(64 << 30);
/// Source: "Categorizing your storage using tags" in the S3 user guide.
const MOST_TAGS: usize = 10;
/// The longest key has 1,024 bytes, and what follows the prefix needs some.
const MOST_PREFIX_BYTES: usize = 400;

/// Turns the typed section into the meant one.
pub(super) fn validate(raw: &raw::Sink) -> Result<S3, ConfigError> {
    let bucket = raw.bucket.clone().unwrap_or_default();
    check_bucket("sink.bucket", &bucket)?;
    check_endpoint("sink.endpoint", raw.endpoint.as_deref())?;
    let object_bytes = raw.object_size.map_or(DEFAULT_OBJECT_BYTES, |size| size.0);
    if !OBJECT_BYTES.contains(&object_bytes) {
        let (least, most) = OBJECT_BYTES.into_inner();
        let remedy = format!("give {} to {}", ByteSize(least), ByteSize(most));
        return Err(ConfigError::at(
            "sink.object_size",
            "no size of an object",
            remedy,
        ));
    }
    if raw.tags.len() > MOST_TAGS {
        let what = format!(
            "{} tags, and an object can have {MOST_TAGS}",
            raw.tags.len()
        );
        return Err(ConfigError::at("sink.tags", what, "leave some out"));
    }
    Ok(S3 {
        bucket,
        prefix: prefix("sink.prefix", raw.prefix.as_deref().unwrap_or_default())?,
        region: match &raw.endpoint {
            Some(_) => raw.region.clone(),
            None => region("sink.region", raw.region.as_deref())?,
        },
        endpoint: raw.endpoint.clone(),
        // Emulators have no names in DNS for buckets.
        path_style: raw.path_style.unwrap_or(raw.endpoint.is_some()),
        object_bytes,
        storage_class: raw.storage_class.clone(),
        kms_key: raw.kms_key.clone(),
        tags: raw.tags.clone().into_iter().collect(),
        patience: raw.patience.map_or(DEFAULT_PATIENCE, |typed| typed.0),
    })
}

pub(super) fn check_endpoint(key: &str, endpoint: Option<&str>) -> Result<(), ConfigError> {
    let is_url =
        |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if endpoint.is_none_or(is_url) {
        return Ok(());
    }
    let remedy = "write it like https://bucket.vpce-1a2b3c4d.s3.us-east-1.vpce.amazonaws.com";
    Err(ConfigError::at(key, "not a URL", remedy))
}

/// Source: "General purpose bucket naming rules" in the S3 user guide.
pub(super) fn check_bucket(key: &str, bucket: &str) -> Result<(), ConfigError> {
    if bucket.is_empty() {
        return Err(ConfigError::at(
            key,
            "missing",
            "name the bucket: sink.bucket = \"my-lake\"",
        ));
    }
    let taken = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = (3..=63).contains(&bucket.len())
        && bucket.chars().all(taken)
        && bucket.starts_with(ends)
        && bucket.ends_with(ends);
    if !is_name {
        let remedy = "write its name alone, such as my-lake; what keys begin with is sink.prefix";
        return Err(ConfigError::at(key, "not the name of a bucket", remedy));
    }
    Ok(())
}

/// What keys begin with, without a slash at its end.
pub(super) fn prefix(key: &str, typed: &str) -> Result<String, ConfigError> {
    let prefix = typed.trim_end_matches('/');
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let is_good = prefix.is_empty()
        || prefix.split('/').all(is_part) && !prefix.chars().any(char::is_control);
    if !is_good || prefix.len() > MOST_PREFIX_BYTES {
        let remedy = format!(
            "write it like raw/shop, without a slash before it, and with at most {MOST_PREFIX_BYTES} bytes"
        );
        return Err(ConfigError::at(key, "not the begin of keys", remedy));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::{Sink, written};

    fn sink(lines: &str) -> Result<Sink, String> {
        let text =
            format!("source.url = \"mysql://a@b\"\n[[table]]\nname = \"shop.t\"\n[sink]\n{lines}");
        written(&text)
            .map(|config| config.sink)
            .map_err(|error| error.key.unwrap_or_default())
    }

    #[test]
    fn a_bucket_is_enough() {
        let Ok(Sink::S3(s3)) = sink("bucket = \"my-lake\"") else {
            panic!("no S3");
        };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("my-lake", ""));
        assert!(!s3.path_style);
        let Ok(Sink::S3(s3)) =
            sink("bucket = \"my-lake\"\nprefix = \"a/b/\"\nendpoint = \"http://[::1]:1\"")
        else {
            panic!("no S3");
        };
        assert_eq!(s3.prefix, "a/b");
        assert!(s3.path_style);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        for (lines, key) in [
            ("type = \"s3\"", "bucket"),
            ("bucket = \"s3://my-lake\"", "bucket"),
            ("bucket = \"My\"", "bucket"),
            ("bucket = \"my-lake\"\nprefix = \"/a\"", "prefix"),
            ("bucket = \"my-lake\"\nprefix = \"a/../b\"", "prefix"),
            ("bucket = \"my-lake\"\nendpoint = \"here\"", "endpoint"),
            (
                "bucket = \"my-lake\"\nobject_size = \"1 KiB\"",
                "object_size",
            ),
            ("bucket = \"my-lake\"\npath = \"x\"", "path"),
            ("bucket = \"my-lake\"\nregion = \"us-east\"", "region"),
            ("path = \"x\"\nprefix = \"x\"", "prefix"),
        ] {
            assert_eq!(sink(lines), Err(format!("sink.{key}")), "{lines}");
        }
    }
}
