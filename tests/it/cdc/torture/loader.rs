//! A loader: it takes each object away as soon as it is there, and keeps what it has taken.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{PATIENCE, files_below};
use crate::setup::bucket::Bucket;

/// Where the agent puts its objects.
pub(super) enum Source<'a> {
    Dir(PathBuf),
    S3(&'a Bucket),
}

/// What keys in a bucket begin with.
const PREFIX: &str = "raw/";

pub(super) struct Loader<'a> {
    source: Source<'a>,
    taken: PathBuf,
    /// How often everything that was there was taken.
    loads: Arc<AtomicU64>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(source: Source<'a>, taken: &Path, loads: Arc<AtomicU64>) -> Result<Self> {
        fs::create_dir_all(taken)?;
        let taken = taken.to_owned();
        Ok(Self {
            source,
            taken,
            loads,
        })
    }

    /// Takes objects away until it is told to stop, and then the last ones.
    pub(super) fn run(&self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.load()?;
        }
        self.load()
    }

    fn load(&self) -> Result<()> {
        match &self.source {
            Source::Dir(root) => {
                let unfinished = root.join(".unfinished");
                let objects = files_below(root, ".gz")?;
                for object in objects.iter().filter(|it| !it.starts_with(&unfinished)) {
                    let to = self.free_place(&object.strip_prefix(root)?.to_string_lossy())?;
                    // Nothing is replaced: an object that comes again is an error.
                    fs::hard_link(object, &to).with_context(|| to.display().to_string())?;
                    fs::remove_file(object)?;
                }
            }
            Source::S3(bucket) => {
                let keys = bucket.keys()?;
                for (key, name) in keys
                    .iter()
                    .filter_map(|key| Some((key, key.strip_prefix(PREFIX)?)))
                {
                    let object = bucket.object(key)?;
                    if let Some(said) = object.metadata.get("hydrant-crc32") {
                        let crc32 = crc32fast::hash(object.text.as_bytes());
                        ensure!(
                            *said == format!("{crc32:08x}"),
                            "{key}: {crc32:08x}, not {said}"
                        );
                    }
                    let to = self.free_place(name)?;
                    let file = fs::File::create_new(&to);
                    let mut file = file.with_context(|| to.display().to_string())?;
                    file.write_all(&object.gzip)?;
                    bucket.delete(key)?;
                }
            }
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn free_place(&self, name: &str) -> Result<PathBuf> {
        let to = self.taken.join(name);
        fs::create_dir_all(to.parent().context("no folder")?)?;
        Ok(to)
    }
}

/// Waits until a loader has taken all that is there now.
pub(super) fn wait_for_load(loads: &AtomicU64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let before = loads.load(Ordering::Relaxed);
    // The round that is under way may have looked before.
    while loads.load(Ordering::Relaxed) < before + 2 {
        ensure!(
            Instant::now() < deadline,
            "the loader does not come to an end"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
}
