//! Delivery: a stream's buffer becomes objects in the data folder.
//!
//! What lives here: waiting for a buffer to be due, writing objects, and trying again. What does
//! not: when a buffer is due ([`super::buffer`]) and what objects are called
//! ([`super::object_key`]).
//!
//! An object appears whole or not at all: it is written under a name that starts with a dot, in
//! the folder where it belongs, flushed to disk and then renamed. A disk that fails is tried
//! again for as long as the simulator runs, while the records wait in memory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::write::GzEncoder;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use uuid::Uuid;

use super::buffer::{Batch, Next};
use super::object_key::{Compression, object_key};
use super::stream::Stream;
use crate::Clock;
use crate::account::{Delivered, count_rows};

/// How long to wait after the first failed attempt at an object; then twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest wait between two attempts.
const RETRY_MOST: Duration = Duration::from_secs(16);

/// Level 1, because the judge should leave the processor to the judged.
const GZIP_LEVEL: flate2::Compression = flate2::Compression::fast();

/// Delivers what a stream buffers until the stream is closed and empty.
pub(super) async fn deliver(stream: Arc<Stream>, folder: Arc<Path>, clock: Clock) {
    loop {
        let next = stream.intake().buffer.next(clock.now());
        match next {
            Next::Write(batch) => deliver_batch(&stream, &folder, &batch, clock).await,
            Next::Wait(Some(deadline)) => {
                let pause = clock.now().duration_until(deadline);
                let pause = Duration::try_from(pause).unwrap_or_default();
                tokio::select! {
                    () = stream.changed() => {}
                    () = sleep(pause) => {}
                }
            }
            Next::Wait(None) => stream.changed().await,
            Next::Done => return,
        }
    }
}

/// Writes one object, however long that takes. The key stays the same over all attempts, so
/// that an attempt which failed after its rename leaves no second object.
async fn deliver_batch(stream: &Stream, folder: &Path, batch: &Arc<Batch>, clock: Clock) {
    let compression = stream.destination.compression;
    let key = object_key(
        &stream.destination.naming,
        &stream.name,
        batch.oldest,
        Uuid::new_v4,
        compression,
    );
    let path = folder.join(&key);
    let mut pause = RETRY_FIRST;
    loop {
        let written = spawn_blocking({
            let (path, batch) = (path.clone(), Arc::clone(batch));
            move || {
                let object_bytes = write_object(&path, &batch.data, compression)?;
                Ok(Delivered {
                    objects: 1,
                    records: batch.records,
                    rows: count_rows(&batch.data),
                    bytes: batch.data.len() as u64,
                    object_bytes,
                })
            }
        });
        match written.await.map_err(io::Error::other).flatten() {
            Ok(delivered) => {
                let mut intake = stream.intake();
                intake.tally.count_delivered(clock.now(), &delivered);
                intake.buffer.written();
                let object_bytes = delivered.object_bytes;
                tracing::debug!(stream = stream.name, key, object_bytes, "object delivered");
                return;
            }
            Err(error) => {
                let (stream, retry_s) = (&stream.name, pause.as_secs());
                tracing::error!(stream, key, %error, retry_s, "object not delivered, records kept");
            }
        }
        pause = wait_for_retry(stream, pause).await;
    }
}

/// Waits, and gives the next wait. A stream that is being closed is tried every second, because
/// somebody waits for it.
async fn wait_for_retry(stream: &Stream, pause: Duration) -> Duration {
    let until = tokio::time::Instant::now() + pause;
    while !stream.intake().buffer.is_closed() {
        tokio::select! {
            () = stream.changed() => {}
            () = tokio::time::sleep_until(until) => return (pause * 2).min(RETRY_MOST),
        }
    }
    sleep(RETRY_FIRST).await;
    RETRY_FIRST
}

/// Writes an object and gives its size as a file, in bytes. Blocks.
///
/// # Errors
/// Whatever the file system says; a file that could not be finished is removed.
fn write_object(path: &Path, data: &[u8], compression: Compression) -> io::Result<u64> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a key without a file name",
        ));
    };
    fs::create_dir_all(folder)?;
    let unfinished: PathBuf = folder.join(format!(".{}.unfinished", name.to_string_lossy()));
    let written = write_file(&unfinished, data, compression)
        .and_then(|object_bytes| fs::rename(&unfinished, path).map(|()| object_bytes));
    if written.is_err() {
        // The attempt's own error is the one to report.
        let _ = fs::remove_file(&unfinished);
    }
    let object_bytes = written?;
    File::open(folder)?.sync_all()?;
    Ok(object_bytes)
}

fn write_file(path: &Path, data: &[u8], compression: Compression) -> io::Result<u64> {
    let mut file = File::create(path)?;
    match compression {
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(io::BufWriter::new(&mut file), GZIP_LEVEL);
            encoder.write_all(data)?;
            encoder.finish()?.flush()?;
        }
        Compression::Uncompressed => file.write_all(data)?,
    }
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn an_object_is_gzip_and_leaves_no_unfinished_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/object.gz");
        let size = write_object(&path, b"one\ntwo\n", Compression::Gzip).unwrap();
        assert_eq!(size, fs::metadata(&path).unwrap().len());
        let mut content = String::new();
        GzDecoder::new(File::open(&path).unwrap())
            .read_to_string(&mut content)
            .unwrap();
        assert_eq!(content, "one\ntwo\n");
        assert_eq!(names(path.parent().unwrap()), ["object.gz"]);
    }

    #[test]
    fn an_uncompressed_object_is_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        assert_eq!(
            write_object(&path, b"one", Compression::Uncompressed).unwrap(),
            3
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_failed_object_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("in the way"), "").unwrap();
        assert!(write_object(&path, b"one", Compression::Uncompressed).is_err());
        assert_eq!(names(folder.path()), ["object"]);
    }
}
