//! What the simulator's tests share: a simulator to test, clients for it, and a look at its folder.

use std::io::{BufReader, Read as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::config::retry::RetryConfig;
use aws_sdk_firehose::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_firehose::operation::create_delivery_stream::{
    CreateDeliveryStreamError, CreateDeliveryStreamOutput,
};
use aws_sdk_firehose::operation::put_record_batch::{PutRecordBatchError, PutRecordBatchOutput};
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::builders::ExtendedS3DestinationConfigurationBuilder;
use aws_sdk_firehose::types::{ExtendedS3DestinationConfiguration, Record};
use flate2::read::MultiGzDecoder;
use hydrant::sim::{Options, QuotaPreset, Simulator};
use tempfile::TempDir;

pub(super) const STREAM: &str = "Changes";

/// A simulator with one stream, its folder, and a client without retries.
pub(super) struct Bench {
    pub(super) simulator: Simulator,
    pub(super) client: Client,
    folder: TempDir,
}

impl Bench {
    /// Starts with no quotas and one stream, unless `adjust` says otherwise.
    pub(super) async fn start(adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = Options {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            data: folder.path().join("objects"),
            quota: QuotaPreset::Off,
            streams: vec![
                format!("{STREAM}=CDC/")
                    .parse()
                    .map_err(anyhow::Error::msg)?,
            ],
            ..Options::default()
        };
        adjust(&mut options);
        let simulator = Simulator::start(options).await?;
        let client = client(&simulator.endpoint_url());
        Ok(Self {
            simulator,
            client,
            folder,
        })
    }

    /// Starts with no quotas, one stream, and the faults of this text.
    pub(super) async fn with_faults(faults: &str) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), faults)?;
        Self::start(|options| options.faults = Some(file.path().to_owned())).await
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.folder.path().join("objects")
    }

    pub(super) async fn put(&self, records: &[&[u8]]) -> Result<PutRecordBatchOutput> {
        Ok(put(&self.client, records).await?)
    }

    /// The error's name and message of a batch that must fail as a whole.
    pub(super) async fn put_error(&self, records: &[&[u8]]) -> (String, String) {
        let error = put(&self.client, records)
            .await
            .expect_err("the batch was taken");
        name_and_message(&error)
    }
}

pub(super) fn client(endpoint_url: &str) -> Client {
    let config = aws_sdk_firehose::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint_url)
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

pub(super) async fn put(
    client: &Client,
    records: &[&[u8]],
) -> Result<PutRecordBatchOutput, SdkError<PutRecordBatchError>> {
    let records = records.iter().map(|data| record(data)).collect();
    client
        .put_record_batch()
        .delivery_stream_name(STREAM)
        .set_records(Some(records))
        .send()
        .await
}

/// Creates a stream; boxed, because the SDK's future is large.
pub(super) async fn create(
    client: &Client,
    name: &str,
    destination: ExtendedS3DestinationConfiguration,
) -> Result<CreateDeliveryStreamOutput, SdkError<CreateDeliveryStreamError>> {
    let request = client.create_delivery_stream().delivery_stream_name(name);
    Box::pin(
        request
            .extended_s3_destination_configuration(destination)
            .send(),
    )
    .await
}

pub(super) fn record(data: &[u8]) -> Record {
    Record::builder()
        .data(Blob::new(data))
        .build()
        .expect("data is set")
}

pub(super) fn name_and_message(error: &impl ProvideErrorMetadata) -> (String, String) {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (text(error.code()), text(error.message()))
}

pub(super) fn destination() -> ExtendedS3DestinationConfigurationBuilder {
    ExtendedS3DestinationConfiguration::builder()
        .role_arn("arn:aws:iam::123456789012:role/firehose")
        .bucket_arn("arn:aws:s3:::bucket")
}

/// All finished objects below a folder: their keys and contents after decompression, by key.
pub(super) fn delivered(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(current) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&current) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with('.') {
                let key = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                let mut content = Vec::new();
                let file = std::fs::File::open(&path)?;
                if path.extension().is_some_and(|ending| ending == "gz") {
                    MultiGzDecoder::new(file).read_to_end(&mut content)?;
                } else {
                    BufReader::new(file).read_to_end(&mut content)?;
                }
                found.push((key, content));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Waits up to ten seconds for the first objects.
pub(super) async fn wait_for_objects(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = delivered(folder)?;
        if !found.is_empty() {
            return Ok(found);
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "no object in {}",
            folder.display()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A key with its digits as 9 and its uuid as `<uuid>`.
pub(super) fn key_shape(key: &str) -> Option<String> {
    let stem = key.strip_suffix(".gz")?;
    let (before, id) = stem.split_at_checked(stem.len().checked_sub(36)?)?;
    uuid::Uuid::parse_str(id).ok()?;
    let marked = |c: char| if c.is_ascii_digit() { '9' } else { c };
    let before: String = before.chars().map(marked).collect();
    Some(format!(
        "{}<uuid>.gz",
        before.replace("Changes-9-", "Changes-1-")
    ))
}
