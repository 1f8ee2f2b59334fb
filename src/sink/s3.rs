//! Objects in a bucket, exactly once: each is a multipart upload, which the checkpoint seals before it is completed.
//!
//! What lives here: the client, the parts of open objects, and what S3 says to a completion. What does not: when that
//! is ([`crate::publication`]). Source of the limits: "Amazon S3 multipart upload limits" in the S3 user guide.

mod bucket;
mod place;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ServerSideEncryption, StorageClass};
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracing::info;
use uuid::Uuid;

use crate::aws::CallError;
use crate::batch::{BatchLimits, SealedBatch};
use crate::config;
use crate::spare::Buffer;
use crate::{Exit, Failure};

use super::object::{TableFolder, gzip};
use super::staged::{S3Part, S3Place, StagedObject, StagedPlace};
use super::{Attempted, Sink, SinkProfile, SinkTable, add_table, all_tables, table_of};

pub(super) use place::{S3Clients, complete};
pub(crate) use place::{call_error, connect};

/// Bytes of a part, which is uploaded while the next one fills. All but the last have at least 5 MiB.
const PART_BYTES: usize = 5 << 20;
/// Bytes of lines that become one gzip member at most.
const MOST_BATCH_BYTES: usize = 8 << 20;
/// The parts of what may be in memory that a batch takes, and compressed bytes that wait to become a part.
const BATCH_PART: usize = 6;
const WAITING_PART: usize = 2;
/// Tables whose parts are uploaded at once.
const CONCURRENCY: usize = 4;
/// Parts of an upload, and those of them that are kept for lines behind which an object may not end.
const MOST_PARTS: usize = 10_000;
const RESERVED_PARTS: usize = 100;
const KEEP_UPLOADS: &str =
    "Let nobody abort uploads of sink.prefix, and no lifecycle rule before seven days";

/// The sink of type `s3`.
#[derive(Debug)]
pub struct S3Sink {
    client: Client,
    place: S3Place,
    options: config::S3,
    tables: RwLock<Vec<Arc<StagedTable>>>,
    limits: BatchLimits,
    /// Compressed bytes of all tables that are in memory, and how many may be before objects end for that.
    waiting: AtomicUsize,
    most_waiting: usize,
}

#[derive(Debug)]
struct StagedTable {
    folder: TableFolder,
    open: Mutex<Option<OpenObject>>,
}

impl StagedTable {
    fn new(folder: TableFolder) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }
}

/// An object that is being uploaded.
#[derive(Debug)]
struct OpenObject {
    object: Facts,
    crc32: crc32fast::Hasher,
    upload: Option<String>,
    parts: Vec<S3Part>,
    /// Compressed bytes in those.
    uploaded: u64,
    /// Compressed bytes that are in no part.
    waiting: Buffer,
    /// Those that are becoming the next part.
    part: Option<Bytes>,
    /// The upload of that part, unless it has failed.
    uploading: Option<JoinHandle<Result<Option<S3Part>, Failure>>>,
    /// The batch that came last.
    newest: Option<u64>,
    /// What was uploaded says that nothing follows.
    is_ending: bool,
}

/// What is known of an object.
#[derive(Debug)]
struct Facts {
    id: Uuid,
    key: String,
    first: String,
    layout: Option<usize>,
    rows: u64,
    bytes: u64,
}

impl S3Sink {
    /// Makes a client, and looks at the bucket and its rule for abandoned uploads.
    ///
    /// # Errors
    /// If there is no region, no endpoint that answers or no such bucket, or if uploads are aborted too early there.
    pub async fn connect(
        options: &config::S3,
        folders: Vec<TableFolder>,
        flush_interval: Duration,
        max_in_flight: usize,
    ) -> Result<Self, Failure> {
        let place = S3Place::new(
            &options.bucket,
            options.endpoint.clone(),
            options.path_style,
        );
        let (client, place) =
            place::connect(place, options.region.as_deref(), "sink.region", None).await?;
        bucket::check(&client, &place, &options.prefix).await?;
        info!(
            "writing to {place}: three requests an object, at most {:.3} USD a day for objects that end by \
             sink.flush_interval, {} tables",
            bucket::usd_per_day(folders.len(), flush_interval),
            folders.len(),
        );
        let tables = folders.into_iter().map(StagedTable::new).map(Arc::new);
        Ok(Self {
            client,
            place,
            options: options.clone(),
            tables: RwLock::new(tables.collect()),
            limits: BatchLimits::one_record(MOST_BATCH_BYTES.min(max_in_flight / BATCH_PART)),
            waiting: AtomicUsize::new(0),
            most_waiting: max_in_flight / WAITING_PART,
        })
    }

    fn begin(&self, batch: &SealedBatch, folder: &TableFolder) -> OpenObject {
        let first = &batch.first;
        let gtid = first
            .gtid
            .map_or_else(String::new, |gtid| format!("{gtid} "));
        let name = folder.object_key(first, batch.schema_version).name(1);
        let key = match self.options.prefix.as_str() {
            "" => name,
            prefix => format!("{prefix}/{name}"),
        };
        OpenObject {
            object: Facts {
                id: Uuid::new_v4(),
                key,
                first: format!("{gtid}{} {}", first.transaction, first.ordinal),
                layout: batch.schema_version,
                rows: 0,
                bytes: 0,
            },
            crc32: crc32fast::Hasher::new(),
            upload: None,
            parts: Vec::new(),
            uploaded: 0,
            waiting: Buffer::default(),
            part: None,
            uploading: None,
            newest: None,
            is_ending: false,
        }
    }

    /// Adds a batch to the open object of its table. Gives the object if it has ended.
    async fn stage(&self, batch: &SealedBatch) -> Result<Option<StagedObject>, Failure> {
        let table = table_of(&self.tables, batch.table);
        let mut slot = table.open.lock().await;
        if batch.row_count > 0 {
            let open = slot.get_or_insert_with(|| self.begin(batch, &table.folder));
            if open.newest != Some(batch.id) {
                let added = tokio::task::block_in_place(|| open.append(batch));
                self.waiting.fetch_add(added, Ordering::Relaxed);
            }
        }
        let Some(open) = &mut *slot else {
            return Ok(None);
        };
        let is_full = open.compressed() >= self.options.object_bytes
            || open.parts.len() + RESERVED_PARTS >= MOST_PARTS
            || self.waiting.load(Ordering::Relaxed) > self.most_waiting;
        open.is_ending |= batch.ends_object || (batch.may_end_object && is_full);
        let is_part = open.waiting.len() >= PART_BYTES || open.is_ending;
        if is_part && !open.waiting.is_empty() {
            self.finish_part(open).await?;
            open.part = Some(Bytes::from_owner(std::mem::take(&mut open.waiting)));
            self.begin_part(open).await?;
        }
        if !open.is_ending {
            return Ok(None);
        }
        self.finish_part(open).await?;
        Ok(slot.take().and_then(|open| self.ended(open)))
    }

    /// Begins to upload the next part, if there is one that is not under way.
    async fn begin_part(&self, open: &mut OpenObject) -> Result<(), Failure> {
        let Some(part) = open.part.clone().filter(|_| open.uploading.is_none()) else {
            return Ok(());
        };
        let key = open.object.key.clone();
        let upload = match &open.upload {
            Some(upload) => upload.clone(),
            None => {
                let created = self.create(open).await;
                let created = created.map_err(|error| self.place.failure(&key, &error))?;
                open.upload.insert(created).clone()
            }
        };
        let number = i32::try_from(open.parts.len() + 1).unwrap_or(i32::MAX);
        let request = self
            .client
            .upload_part()
            .bucket(&self.place.bucket)
            .key(&key)
            .upload_id(upload)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(part));
        let place = self.place.clone();
        open.uploading = Some(tokio::spawn(async move {
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) if error.code() == Some("NoSuchUpload") => return Ok(None),
                Err(error) => return Err(place.failure(&key, &place::call_error(&error))),
            };
            Ok(Some(S3Part {
                etag: answer.e_tag.ok_or_else(|| place.no_etag(&key))?,
                crc32: answer.checksum_crc32,
            }))
        }));
        Ok(())
    }

    /// Waits until the next part, if there is one, is uploaded. May be dropped and called again.
    async fn finish_part(&self, open: &mut OpenObject) -> Result<(), Failure> {
        self.begin_part(open).await?;
        let Some(uploading) = &mut open.uploading else {
            return Ok(());
        };
        let uploaded = uploading.await;
        open.uploading = None;
        let part = match uploaded {
            Ok(part) => part?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let Some(part) = part else {
            return Err(self.aborted(open));
        };
        open.parts.push(part);
        let bytes = open.part.take().map_or(0, |part| part.len());
        open.uploaded += bytes as u64;
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Somebody has removed an upload that has not ended. Its rows are not committed, and those of a first part are in memory.
    fn aborted(&self, open: &mut OpenObject) -> Failure {
        let (key, place) = (&open.object.key, &self.place);
        let what = format!("the upload of {key} in {place} was aborted before it was whole");
        if open.parts.is_empty() {
            open.upload = None;
            return Failure::transient(Exit::Unavailable, what, KEEP_UPLOADS);
        }
        let remedy = format!("start again: its rows are read again. {KEEP_UPLOADS}");
        Failure::definite(Exit::Temporary, what, remedy)
    }

    /// Begins an upload. An object of one part is whole by then, so that its metadata says all of it.
    async fn create(&self, open: &OpenObject) -> Result<String, CallError> {
        let facts = &open.object;
        let mut request = self
            .client
            .create_multipart_upload()
            .bucket(&self.place.bucket)
            .key(&facts.key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .metadata(place::ID, facts.id.simple().to_string())
            .metadata("hydrant-version", env!("CARGO_PKG_VERSION"))
            .metadata("hydrant-first", &facts.first);
        if let Some(layout) = facts.layout {
            request = request.metadata("hydrant-layout", layout.to_string());
        }
        if open.is_ending {
            request = request
                .metadata("hydrant-rows", facts.rows.to_string())
                .metadata("hydrant-bytes", facts.bytes.to_string())
                .metadata(
                    "hydrant-crc32",
                    format!("{:08x}", open.crc32.clone().finalize()),
                );
        }
        if let Some(class) = &self.options.storage_class {
            request = request.storage_class(StorageClass::from(class.as_str()));
        }
        if let Some(key) = &self.options.kms_key {
            request = request
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(key);
        }
        if !self.options.tags.is_empty() {
            request = request.tagging(tagging(&self.options.tags));
        }
        let answer = request
            .send()
            .await
            .map_err(|error| place::call_error(&error))?;
        // Without it nothing can be uploaded, and S3 gives one always.
        answer.upload_id.ok_or_else(|| CallError {
            cause: crate::aws::Cause::NotUnderstood,
            what: "an answer without an upload's id".to_owned(),
        })
    }

    fn ended(&self, open: OpenObject) -> Option<StagedObject> {
        Some(StagedObject {
            id: open.object.id,
            key: open.object.key,
            rows: open.object.rows,
            bytes: open.object.bytes,
            crc32: open.crc32.finalize(),
            place: StagedPlace::S3 {
                at: self.place.clone(),
                upload: open.upload?,
                parts: open.parts,
                staged_at: jiff::Timestamp::now().as_second(),
            },
        })
    }
}

impl OpenObject {
    /// Its compressed bytes so far.
    fn compressed(&self) -> u64 {
        let part = self.part.as_ref().map_or(0, Bytes::len);
        self.uploaded + (part + self.waiting.len()) as u64
    }

    /// Appends a batch as a gzip member. Gives its compressed bytes.
    fn append(&mut self, batch: &SealedBatch) -> usize {
        let before = self.waiting.len();
        self.waiting.make_room(batch.bytes().len());
        let all = gzip(&mut *self.waiting, batch.bytes());
        debug_assert!(all.is_ok(), "a vector takes everything");
        self.crc32.update(batch.bytes());
        self.object.rows += batch.row_count as u64;
        self.object.bytes += batch.bytes().len() as u64;
        self.newest = Some(batch.id);
        self.waiting.len() - before
    }
}

/// Tags as in a query of a URL.
fn tagging(tags: &[(String, String)]) -> String {
    let encoded = |text: &String| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = tags
        .iter()
        .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

impl Sink for S3Sink {
    fn profile(&self) -> SinkProfile {
        SinkProfile {
            is_staging: true,
            patience: self.options.patience,
            ..SinkProfile::new(self.limits, CONCURRENCY)
        }
    }

    fn follow(&self, _table: SinkTable, folder: TableFolder) -> Result<(), Failure> {
        add_table(&self.tables, StagedTable::new(folder));
        Ok(())
    }

    async fn tables_with_rows(&self) -> Result<Vec<usize>, Failure> {
        let folders = bucket::folders(&self.client, &self.place, &self.options.prefix).await?;
        let tables = all_tables(&self.tables).into_iter().enumerate();
        let with_rows = tables.filter(|(_, table)| folders.contains(table.folder.name()));
        Ok(with_rows.map(|(index, _)| index).collect())
    }

    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        match self.stage(batch).await {
            Ok(object) => Attempted {
                object: object.map(Box::new),
                ..Ok(Vec::new()).into()
            },
            Err(failure) => Err(failure).into(),
        }
    }
}
