//! PURE. What a checkpoint stores of an object that is staged.
//!
//! It is enough to publish the object, whatever the configuration says by then ([`super::publishing`]).

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An object whose bytes are stored, and that nobody sees yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedObject {
    /// A random number that no other object has.
    pub id: Uuid,
    /// What it will be called below the sink's place.
    pub key: String,
    /// Where its bytes are, and what makes them appear.
    pub place: StagedPlace,
    /// Its rows.
    pub rows: u64,
    /// Bytes of its lines.
    pub bytes: u64,
    /// CRC32 of its lines.
    pub crc32: u32,
}

/// Where a staged object is, and what makes it appear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StagedPlace {
    /// A file beside the objects of a directory.
    Dir {
        /// The sink's directory.
        root: PathBuf,
        /// The file's name.
        file: String,
    },
    /// A multipart upload to a bucket.
    S3 {
        /// The bucket.
        at: S3Place,
        /// The upload's id.
        upload: String,
        /// Its parts, in their order.
        parts: Vec<S3Part>,
        /// When its last part was there, in seconds since 1970.
        staged_at: i64,
    },
}

/// A bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct S3Place {
    pub(super) bucket: String,
    pub(super) region: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) path_style: bool,
}

/// A part of an upload, as S3 has answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Part {
    pub(super) etag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) crc32: Option<String>,
}

impl S3Place {
    /// A bucket in a region that is not known yet.
    pub(crate) fn new(bucket: &str, endpoint: Option<String>, path_style: bool) -> Self {
        Self {
            bucket: bucket.to_owned(),
            region: String::new(),
            endpoint,
            path_style,
        }
    }

    /// The bucket's name.
    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "s3://{} at {endpoint}", self.bucket),
            None => write!(f, "s3://{} in {}", self.bucket, self.region),
        }
    }
}
