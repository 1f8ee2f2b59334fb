//! Where dead letters are: in a directory or in a bucket, each under its key, and never replaced.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumAlgorithm;
use tracing::warn;

use crate::aws::Cause;
use crate::config::LetterPlace;
use crate::{Exit, Failure, nofollow};

use super::super::dir;
use super::super::object::{LETTER_EXTENSION, TableFolder};
use super::super::s3::{call_error, connect};
use super::super::staged::S3Place;

/// A directory or bucket of dead letters.
#[derive(Debug)]
pub(crate) enum Letters {
    Dir(PathBuf),
    Bucket(Bucket),
}

/// The part of a bucket that letters are in.
#[derive(Debug)]
pub(crate) struct Bucket {
    client: Client,
    place: S3Place,
    /// With a slash at its end, unless it is empty.
    prefix: String,
}

/// What has become of something that was to be put under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there for good.
    Stored,
    /// Something is there already, for good.
    IsThere,
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(root) => root.display().fmt(f),
            Self::Bucket(bucket) if bucket.prefix.is_empty() => bucket.place.fmt(f),
            Self::Bucket(bucket) => write!(f, "{}, below {}", bucket.place, bucket.prefix),
        }
    }
}

impl Letters {
    /// Makes a client if one is needed. Whether the place is there is not looked at.
    ///
    /// # Errors
    /// If there is no region.
    pub(crate) async fn connect(place: &LetterPlace) -> Result<Self, Failure> {
        match place {
            LetterPlace::Dir(root) => Ok(Self::Dir(root.clone())),
            LetterPlace::S3(bucket) => {
                let place =
                    S3Place::new(&bucket.bucket, bucket.endpoint.clone(), bucket.path_style);
                let region = bucket.region.as_deref();
                let (client, place) = connect(place, region, "dead_letters.region", None).await?;
                let prefix = match bucket.prefix.as_str() {
                    "" => String::new(),
                    prefix => format!("{prefix}/"),
                };
                Ok(Self::Bucket(Bucket {
                    client,
                    place,
                    prefix,
                }))
            }
        }
    }

    pub(super) fn is_bucket(&self) -> bool {
        matches!(self, Self::Bucket(_))
    }

    /// Finds out before there is a letter whether the place can have letters of these tables.
    ///
    /// # Errors
    /// If it cannot.
    pub(super) async fn check(&self, folders: &[TableFolder]) -> Result<(), Failure> {
        match self {
            Self::Dir(root) => {
                dir::refuse_link(root)?;
                for folder in folders {
                    dir::refuse_folder(root, folder)?;
                }
                dir::prepare(root, folders).map_err(|error| dir::unusable(root, &error))
            }
            Self::Bucket(bucket) => match bucket.list(None).await {
                Ok(_) => Ok(()),
                // A courtesy; putting letters may still be allowed.
                Err((Cause::Denied, failure)) => {
                    warn!(
                        "not allowed to list the dead letters, so they were not checked: {failure}"
                    );
                    Ok(())
                }
                Err((_, failure)) => Err(failure),
            },
        }
    }

    /// Puts bytes under a key, unless there is something.
    ///
    /// # Errors
    /// If it is not known that they are there for good.
    pub(crate) async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<Put, Failure> {
        match self {
            Self::Dir(root) => {
                dir::refuse_link(root)?;
                let put = tokio::task::block_in_place(|| put_new_file(root, key, &bytes));
                put.map_err(|error| {
                    Failure::transient(
                        Exit::Temporary,
                        format!("cannot write {key} under {}: {error}", root.display()),
                        "make room on the disk and check that hydrant's user may write there",
                    )
                })
            }
            Self::Bucket(bucket) => bucket.put_new(key, bytes).await,
        }
    }

    /// The bytes under a key; `None` if there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Dir(root) => {
                let read = tokio::task::block_in_place(|| read_file(&root.join(key)));
                match read {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(unreadable(&root.join(key), &error)),
                }
            }
            Self::Bucket(bucket) => bucket.get(key).await,
        }
    }

    /// The keys of all letters, and of what is beside them, in their order.
    ///
    /// # Errors
    /// If there is no such place, or it cannot be read.
    pub(crate) async fn keys(&self) -> Result<Vec<String>, Failure> {
        let mut keys = match self {
            Self::Dir(root) => tokio::task::block_in_place(|| files_below(root))
                .map_err(|error| unreadable(root, &error))?,
            Self::Bucket(bucket) => bucket.keys().await?,
        };
        keys.retain(|key| key.contains(LETTER_EXTENSION));
        keys.sort_unstable();
        Ok(keys)
    }
}

/// Whether a key is a letter's.
pub(crate) fn is_letter(key: &str) -> bool {
    key.ends_with(LETTER_EXTENSION)
}

impl Bucket {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<Put, Failure> {
        let key = format!("{}{key}", self.prefix);
        let put = self
            .client
            .put_object()
            .bucket(self.place.bucket())
            .key(&key)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(bytes))
            .if_none_match("*");
        let Err(error) = put.send().await else {
            return Ok(Put::Stored);
        };
        match error.code() {
            Some("PreconditionFailed") => Ok(Put::IsThere),
            Some("ConditionalRequestConflict") => Err(Failure::transient(
                Exit::Unavailable,
                format!("{key} in {}: another write is under way", self.place),
                "this passes by itself",
            )),
            _ => Err(self.place.failure(&key, &call_error(&error))),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let key = format!("{}{key}", self.prefix);
        let get = self.client.get_object().bucket(self.place.bucket());
        let found = match get.key(&key).send().await {
            Ok(found) => found,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(self.place.failure(&key, &call_error(&error))),
        };
        let body = found.body.collect().await.map_err(|error| {
            Failure::transient(
                Exit::Unavailable,
                format!("{key} in {}: the answer broke off: {error}", self.place),
                "check that the endpoint is up and can be reached from here",
            )
        })?;
        Ok(Some(body.to_vec()))
    }

    /// Keys behind this one, below the prefix; none if there are no more.
    async fn list(&self, after: Option<&String>) -> Result<Vec<String>, (Cause, Failure)> {
        let list = self
            .client
            .list_objects_v2()
            .bucket(self.place.bucket())
            .prefix(&self.prefix)
            .set_start_after(after.cloned());
        let page = list.send().await.map_err(|error| {
            let error = call_error(&error);
            (error.cause, self.place.failure(&self.prefix, &error))
        })?;
        let keys = page.contents.unwrap_or_default().into_iter();
        Ok(keys.filter_map(|object| object.key).collect())
    }

    async fn keys(&self) -> Result<Vec<String>, Failure> {
        let mut keys = Vec::new();
        loop {
            let page = self
                .list(keys.last())
                .await
                .map_err(|(_, failure)| failure)?;
            if page.is_empty() {
                let below = |key: String| Some(key.strip_prefix(&self.prefix)?.to_owned());
                return Ok(keys.into_iter().filter_map(below).collect());
            }
            keys.extend(page);
        }
    }
}

/// Writes beside, syncs, gives the file its name unless it is taken, and syncs the folders that have it.
fn put_new_file(root: &Path, key: &str, bytes: &[u8]) -> io::Result<Put> {
    let path = root.join(key);
    let folder = path.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    let mut put = Put::IsThere;
    if path.symlink_metadata().is_err() {
        // `prepare` knows what is left of a crash by its table's name.
        let (table, _) = key.split_once('/').unwrap_or((key, ""));
        let mut file = dir::temporary(root, table)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => put = Put::Stored,
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
    // A crash may have come between name and sync.
    dir::sync(root, folder)?;
    Ok(put)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = nofollow::open(File::options().read(true), path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files in the folders of a directory, by their paths below it. Hidden ones are left out.
fn files_below(root: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in fs::read_dir(root)? {
        let folder = folder?;
        let name = folder.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !folder.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path())? {
            let file = file?.file_name();
            files.push(format!("{name}/{}", file.to_string_lossy()));
        }
    }
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::definite(
        Exit::Unavailable,
        format!("cannot read {}: {error}", path.display()),
        "check that it is there and that hydrant's user may read it",
    )
}
