//! A bucket of an emulator that others made, and a loader that takes its objects away.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use testkit::ministack::Ministack;
use tokio::runtime::Runtime;

pub(crate) const BUCKET: &str = "lake";

/// A bucket in an emulator of its own.
pub(crate) struct Bucket {
    pub(crate) client: aws_sdk_s3::Client,
    runtime: Runtime,
    ministack: Ministack,
}

/// An object as a reader finds it.
pub(crate) struct Object {
    pub(crate) gzip: Vec<u8>,
    pub(crate) text: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Bucket {
    pub(crate) fn start() -> Result<Self> {
        let ministack = Ministack::start()?;
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .endpoint_url(ministack.endpoint_url())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true)
            .build();
        let bucket = Self {
            client: aws_sdk_s3::Client::from_conf(config),
            runtime: Runtime::new()?,
            ministack,
        };
        let created = bucket.client.create_bucket().bucket(BUCKET).send();
        bucket.runtime.block_on(created)?;
        Ok(bucket)
    }

    pub(crate) fn endpoint_url(&self) -> String {
        self.ministack.endpoint_url()
    }

    /// A `[sink]` that writes there; `lines` are more of its keys.
    pub(crate) fn sink(&self, lines: &str) -> String {
        let endpoint = self.endpoint_url();
        format!("bucket = \"{BUCKET}\"\nprefix = \"raw\"\nendpoint = \"{endpoint}\"\n{lines}")
    }

    /// The keys of all objects, in their order.
    pub(crate) fn keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let list = self.client.list_objects_v2().bucket(BUCKET);
            let page = self
                .runtime
                .block_on(list.set_start_after(after.take()).send())?;
            keys.extend(page.contents().iter().filter_map(|it| it.key.clone()));
            if page.is_truncated() != Some(true) {
                return Ok(keys);
            }
            after = keys.last().cloned();
        }
    }

    pub(crate) fn object(&self, key: &str) -> Result<Object> {
        self.runtime.block_on(async {
            let object = self.client.get_object().bucket(BUCKET).key(key);
            let object = object.send().await?;
            let metadata = object.metadata.unwrap_or_default().into_iter().collect();
            let gzip = object.body.collect().await?.to_vec();
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(gzip.as_slice())
                .read_to_string(&mut text)
                .with_context(|| key.to_owned())?;
            Ok(Object {
                gzip,
                text,
                metadata,
            })
        })
    }

    /// The bytes of an object, as they are.
    pub(crate) fn bytes(&self, key: &str) -> Result<Vec<u8>> {
        self.runtime.block_on(async {
            let object = self.client.get_object().bucket(BUCKET).key(key);
            Ok(object.send().await?.body.collect().await?.to_vec())
        })
    }

    pub(crate) fn delete(&self, key: &str) -> Result<()> {
        let delete = self.client.delete_object().bucket(BUCKET).key(key);
        self.runtime.block_on(delete.send())?;
        Ok(())
    }

    /// Does what a loader does: reads all objects that there are, and removes them. Gives their lines.
    pub(crate) fn load(&self) -> Result<String> {
        let mut lines = String::new();
        for key in self.keys()? {
            lines.push_str(&self.object(&key)?.text);
            self.delete(&key)?;
        }
        Ok(lines)
    }
}
