//! The objects of a table: which there are, and their lines.
//!
//! What lives here: listing and reading a directory or a bucket, and unpacking. What does not: what a line means
//! ([`super::shape`]).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use flate2::write::MultiGzDecoder;

use crate::config::{self, LetterPlace};
use crate::encode::Dialect;
use crate::partitions::VERSION_PARTITION;
use crate::sink::{S3Place, connect_to_s3, s3_error};
use crate::{Exit, Failure};

use super::fields::{Fields, Found};

/// Bytes that are read at once.
const BLOCK: usize = 256 << 10;
/// A line is not larger than the row of an event.
const MOST_LINE: usize = 1 << 30;
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Where objects are.
#[derive(Debug)]
pub(super) enum Place {
    Dir(PathBuf),
    Bucket {
        client: Client,
        place: S3Place,
        /// With a slash at its end, unless it is empty.
        prefix: String,
    },
}

/// What goes on with each line that is read: the line, its fields and its number.
pub(super) type Take<'t> = dyn FnMut(&[u8], &Fields, u32) -> Result<(), Failure> + Send + 't;

impl Place {
    /// That of a sink's objects.
    ///
    /// # Errors
    /// If the sink has none, or there is no region.
    pub(super) async fn of_sink(sink: &config::Sink) -> Result<Self, Failure> {
        match sink {
            config::Sink::Dir { path } => Ok(Self::Dir(path.clone())),
            config::Sink::S3(s3) => {
                let place = S3Place::new(&s3.bucket, s3.endpoint.clone(), s3.path_style);
                Self::bucket(place, s3.region.as_deref(), &s3.prefix).await
            }
            config::Sink::Firehose(_) | config::Sink::Stdout => Err(Failure::definite(
                Exit::Usage,
                "the sink's objects are not known",
                "name the place in which Firehose, or whoever takes the lines, writes them: --objects s3://BUCKET/PREFIX, or a directory",
            )),
        }
    }

    /// The one that was named.
    ///
    /// # Errors
    /// If there is no region.
    pub(super) async fn named(place: &LetterPlace) -> Result<Self, Failure> {
        match place {
            LetterPlace::Dir(path) => Ok(Self::Dir(path.clone())),
            LetterPlace::S3(bucket) => {
                let is_other = |name| std::env::var_os(name).is_some();
                let path_style = is_other("AWS_ENDPOINT_URL_S3") || is_other("AWS_ENDPOINT_URL");
                let place = S3Place::new(&bucket.bucket, None, path_style);
                Self::bucket(place, None, &bucket.prefix).await
            }
        }
    }

    async fn bucket(place: S3Place, region: Option<&str>, prefix: &str) -> Result<Self, Failure> {
        let (client, place) = connect_to_s3(place, region, "sink.region", None).await?;
        let prefix = match prefix.trim_end_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self::Bucket {
            client,
            place,
            prefix,
        })
    }

    /// What a checkpoint calls an object.
    pub(super) fn key(&self, name: &str) -> String {
        match self {
            Self::Dir(_) => name.to_owned(),
            Self::Bucket { prefix, .. } => format!("{prefix}{name}"),
        }
    }

    /// The names of all objects in a folder of the place, in their order; all of the place if the folder has no name.
    ///
    /// # Errors
    /// If it cannot be listed.
    pub(super) async fn list(&self, folder: &str) -> Result<BTreeSet<String>, Failure> {
        match self {
            Self::Dir(root) => {
                let mut names = BTreeSet::new();
                let from = root.join(folder);
                tokio::task::block_in_place(|| list_files(root, &from, &mut names))
                    .map_err(|error| unreadable(&from.display().to_string(), &error.to_string()))?;
                Ok(names)
            }
            Self::Bucket {
                client,
                place,
                prefix,
            } => {
                let below = match folder {
                    "" => prefix.clone(),
                    folder => format!("{prefix}{folder}/"),
                };
                let list = client
                    .list_objects_v2()
                    .bucket(place.bucket())
                    .prefix(below);
                let mut pages = list.into_paginator().send();
                let mut names = BTreeSet::new();
                while let Some(page) = pages.next().await {
                    let page = page
                        .map_err(|error| place.failure("the list of objects", &s3_error(&error)))?;
                    let keys = page.contents().iter().filter_map(|object| object.key());
                    let own = keys.filter_map(|key| key.strip_prefix(prefix.as_str()));
                    names.extend(own.filter(|name| !name.ends_with('/')).map(str::to_owned));
                }
                Ok(names)
            }
        }
    }

    /// Gives each line of an object to `take`.
    ///
    /// # Errors
    /// If it cannot be read, or something in it is no line.
    pub(super) async fn read(
        &self,
        name: &str,
        dialect: Dialect,
        take: &mut Take<'_>,
    ) -> Result<(), Failure> {
        let mut lines = Lines::new(name, dialect, take);
        match self {
            Self::Dir(root) => {
                let path = root.join(name);
                tokio::task::block_in_place(|| {
                    let failed = |error: &io::Error| unreadable(name, &error.to_string());
                    let mut file = File::open(path).map_err(|error| match error.kind() {
                        io::ErrorKind::NotFound => taken_away(name),
                        _ => failed(&error),
                    })?;
                    let mut block = vec![0; BLOCK];
                    loop {
                        let len = file.read(&mut block).map_err(|error| failed(&error))?;
                        if len == 0 {
                            return lines.end();
                        }
                        lines.add(&block[..len])?;
                    }
                })
            }
            Self::Bucket {
                client,
                place,
                prefix,
            } => {
                let key = format!("{prefix}{name}");
                let get = client
                    .get_object()
                    .bucket(place.bucket())
                    .key(&key)
                    .send()
                    .await;
                let mut object = get.map_err(|error| match error.code() {
                    Some("NoSuchKey") => taken_away(&key),
                    _ => place.failure(&key, &s3_error(&error)),
                })?;
                while let Some(block) = object.body.next().await {
                    let block = block.map_err(|error| broken_off(&key, &error.to_string()))?;
                    tokio::task::block_in_place(|| lines.add(&block))?;
                }
                tokio::task::block_in_place(|| lines.end())
            }
        }
    }
}

fn taken_away(name: &str) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("{name} was taken away while objects were read"),
        "compare where objects stay: --objects names the place to which they are moved",
    )
}

fn broken_off(key: &str, error: &str) -> Failure {
    Failure::transient(
        Exit::Unavailable,
        format!("{key}: the answer broke off: {error}"),
        "start again; check that the endpoint is up and can be reached from here",
    )
}

fn list_files(root: &Path, folder: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // What is not finished is there.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            list_files(root, &path, names)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            names.insert(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// The version in an object's name, if lines are kept apart by theirs.
pub(super) fn version_in(name: &str) -> Option<usize> {
    name.split('/').find_map(|part| {
        let version = part.strip_prefix(VERSION_PARTITION)?.strip_prefix('=')?;
        version.parse().ok()
    })
}

fn unreadable(name: &str, why: &str) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("{name} cannot be read: {why}"),
        "look at who else writes there. If the object is damaged, fetch it from where it was copied to, or move it away: then its rows \
         are reported as missing",
    )
}

/// Unpacks an object and finds its lines.
struct Lines<'n, 't> {
    name: &'n str,
    dialect: Dialect,
    unpack: Option<Unpack>,
    first: Vec<u8>,
    fields: Fields,
    number: u32,
    take: &'n mut Take<'t>,
}

/// Appends what it is given to a vector, unpacked.
enum Unpack {
    Plain(Vec<u8>),
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Unpack {
    fn of(first: &[u8]) -> io::Result<Self> {
        Ok(if first.starts_with(GZIP) {
            Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
        } else if first.starts_with(ZSTD) {
            Self::Zstd(Box::new(zstd::stream::write::Decoder::new(Vec::new())?))
        } else {
            Self::Plain(Vec::new())
        })
    }

    fn write(&mut self, block: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(block),
            Self::Gzip(decoder) => decoder.write_all(block),
            Self::Zstd(decoder) => decoder.write_all(block),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(decoder) => decoder.flush(),
        }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(out) => out,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl<'n, 't> Lines<'n, 't> {
    fn new(name: &'n str, dialect: Dialect, take: &'n mut Take<'t>) -> Self {
        Self {
            name,
            dialect,
            unpack: None,
            first: Vec::new(),
            fields: Fields::default(),
            number: 0,
            take,
        }
    }

    fn add(&mut self, block: &[u8]) -> Result<(), Failure> {
        let failed = |error: io::Error| unreadable(self.name, &error.to_string());
        if let Some(unpack) = &mut self.unpack {
            unpack.write(block).map_err(failed)?;
            return self.take_lines();
        }
        self.first.extend_from_slice(block);
        if self.first.len() < ZSTD.len() {
            return Ok(());
        }
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let failed = |error: io::Error| unreadable(self.name, &error.to_string());
        let mut unpack = Unpack::of(&self.first).map_err(failed)?;
        unpack
            .write(&std::mem::take(&mut self.first))
            .map_err(failed)?;
        self.unpack = Some(unpack);
        self.take_lines()
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.unpack.is_none() {
            self.begin()?;
        }
        let failed = |error: io::Error| unreadable(self.name, &error.to_string());
        if let Some(unpack) = &mut self.unpack {
            unpack.finish().map_err(failed)?;
        }
        self.take_lines()?;
        let rest = self
            .unpack
            .as_mut()
            .is_some_and(|unpack| !unpack.out().is_empty());
        if rest {
            return Err(unreadable(self.name, "it ends within a line"));
        }
        Ok(())
    }

    fn take_lines(&mut self) -> Result<(), Failure> {
        let Some(unpack) = &mut self.unpack else {
            return Ok(());
        };
        let out = unpack.out();
        let mut start = 0;
        loop {
            match self.fields.find(&out[start..], self.dialect) {
                Found::Line(len) => {
                    (self.take)(&out[start..start + len], &self.fields, self.number)?;
                    self.number = self.number.saturating_add(1);
                    start += len;
                }
                Found::Incomplete if out.len() - start <= MOST_LINE => break,
                Found::Incomplete | Found::Other => {
                    let why = format!("line {} is none of the configured dialect", self.number + 1);
                    return Err(unreadable(self.name, &why));
                }
            }
        }
        out.drain(..start);
        Ok(())
    }
}
