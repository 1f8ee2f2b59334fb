//! The sections `[checkpoint]` and `[ha]`: a file, or an object in a bucket, and when a standby takes it over.

use std::time::Duration;

use super::firehose::region;
use super::raw;
use super::s3::{check_bucket, check_endpoint};
use super::{CheckpointPlace, ConfigError, S3Checkpoint};

/// Source: "Creating object key names" in the S3 user guide.
const MOST_KEY_BYTES: usize = 1_024;

/// Turns the typed section into the meant one.
pub(super) fn validate(raw: &raw::Place) -> Result<CheckpointPlace, ConfigError> {
    const KEY: &str = "checkpoint.path";
    let path = raw
        .path
        .as_deref()
        .unwrap_or("file:hydrant-checkpoint.json");
    if let Some(place) = path.strip_prefix("s3://") {
        return in_bucket(raw, place).map(CheckpointPlace::S3);
    }
    for (key, is_given) in [
        ("checkpoint.region", raw.region.is_some()),
        ("checkpoint.endpoint", raw.endpoint.is_some()),
        ("checkpoint.path_style", raw.path_style.is_some()),
    ] {
        if is_given {
            let what = "has no effect on a checkpoint in a file";
            return Err(ConfigError::at(
                key,
                what,
                "leave it out, or write checkpoint.path = \"s3://BUCKET/KEY\"",
            ));
        }
    }
    if path.starts_with("s3:") {
        let remedy = "write s3://BUCKET/KEY, or file:PATH";
        return Err(ConfigError::at(KEY, "not a place in S3", remedy));
    }
    let path = path.strip_prefix("file:").unwrap_or(path);
    if path.is_empty() {
        let remedy = "write file:PATH, or leave it out for file:hydrant-checkpoint.json";
        return Err(ConfigError::at(KEY, "no path", remedy));
    }
    Ok(CheckpointPlace::File(path.into()))
}

/// Shorter than the shortest, a slow answer of S3 would be a reason to change agents; longer, nobody would wait for it.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(10);

/// How long a standby waits, if there is to be one.
pub(super) fn lease(raw: &raw::Ha) -> Result<Option<Duration>, ConfigError> {
    let lease = raw.lease.map(|typed| typed.0);
    if lease.is_none_or(|lease| LEASES.contains(&lease)) {
        return Ok(lease);
    }
    let what = "not from 5s to 10m";
    Err(ConfigError::at("ha.lease", what, "write it like \"15s\""))
}

/// What `checkpoint.path` names behind `s3://`.
fn in_bucket(raw: &raw::Place, place: &str) -> Result<S3Checkpoint, ConfigError> {
    const KEY: &str = "checkpoint.path";
    let (bucket, key) = place.split_once('/').unwrap_or((place, ""));
    check_bucket(KEY, bucket)?;
    if key.is_empty() || key.ends_with('/') || key.len() > MOST_KEY_BYTES {
        let remedy = "write it like s3://my-lake/hydrant/checkpoint.json";
        return Err(ConfigError::at(KEY, "not the key of an object", remedy));
    }
    check_endpoint("checkpoint.endpoint", raw.endpoint.as_deref())?;
    Ok(S3Checkpoint {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        region: match &raw.endpoint {
            Some(_) => raw.region.clone(),
            None => region("checkpoint.region", raw.region.as_deref())?,
        },
        path_style: raw.path_style.unwrap_or(raw.endpoint.is_some()),
        endpoint: raw.endpoint.clone(),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_checkpoint_has_a_path() {
        for path in [
            "",
            "file:",
            "s3:",
            "s3:bucket/key",
            "s3://bucket",
            "s3://bucket/",
            "s3://B/key",
        ] {
            let text = format!(
                "source.url = \"mysql://u@127.0.0.1\"\ntable = [{{ name = \"shop.T\" }}]\n\
                 sink.type = \"stdout\"\ncheckpoint.path = {path:?}"
            );
            let error = super::super::load::parse(&text, "x").unwrap_err();
            assert_eq!(error.key.as_deref(), Some("checkpoint.path"), "{path}");
        }
    }

    #[test]
    fn a_lease_is_of_some_seconds() {
        for lease in ["1s", "0s", "1h"] {
            let text = format!(
                "source.url = \"mysql://u@127.0.0.1\"\ntable = [{{ name = \"shop.T\" }}]\n\
                 sink.type = \"stdout\"\nha.lease = {lease:?}"
            );
            let error = super::super::load::parse(&text, "x").unwrap_err();
            assert_eq!(error.key.as_deref(), Some("ha.lease"), "{lease}");
        }
    }

    #[test]
    fn a_checkpoint_may_be_in_a_bucket() {
        use crate::config::{CheckpointPlace, S3Checkpoint};

        let text = "source.url = \"mysql://u@127.0.0.1\"\ntable = [{ name = \"shop.T\" }]\n\
                    sink.type = \"stdout\"\ncheckpoint.path = \"s3://bucket/a/b.json\"";
        let config = super::super::load::parse(text, "x").unwrap();
        let place = S3Checkpoint {
            bucket: "bucket".to_owned(),
            key: "a/b.json".to_owned(),
            region: None,
            endpoint: None,
            path_style: false,
        };
        assert_eq!(config.checkpoint.to_string(), "s3://bucket/a/b.json");
        assert_eq!(config.checkpoint, CheckpointPlace::S3(place));
    }
}
