//! A bucket of an emulator that others made, which is a process of its own.

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use testkit::emulator::{Emulator, Make};
use tokio::runtime::Runtime;

/// Its name.
pub const BUCKET: &str = "lake";

/// An empty bucket, and a client that does not try again.
#[derive(Debug)]
pub struct Bucket {
    /// The client.
    pub client: Client,
    /// What its calls run on.
    pub runtime: Runtime,
    emulator: Emulator,
}

impl Bucket {
    /// Starts an emulator.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn start() -> Result<Self> {
        Self::start_in(Make::Ministack)
    }

    /// Starts one of this make.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn start_in(make: Make) -> Result<Self> {
        let emulator = Emulator::start(make)?;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .endpoint_url(emulator.endpoint_url())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true)
            .build();
        let bucket = Self {
            client: Client::from_conf(config),
            runtime: Runtime::new()?,
            emulator,
        };
        let created = bucket.client.create_bucket().bucket(BUCKET).send();
        bucket.runtime.block_on(created)?;
        Ok(bucket)
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        self.emulator.endpoint_url()
    }

    /// A `[sink]` that writes below `prefix`; `lines` are more of its keys.
    #[must_use]
    pub fn sink(&self, prefix: &str, lines: &str) -> String {
        let endpoint = self.endpoint_url();
        format!("bucket = \"{BUCKET}\"\nprefix = \"{prefix}\"\nendpoint = \"{endpoint}\"\n{lines}")
    }
}
