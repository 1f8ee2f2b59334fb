//! One binlog file on disk, plain or compressed, read event by event.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use crate::binlog::{Event, EventHeader, FILE_MAGIC, FileFrames, FilePosition, Problem};
use crate::error::Error;
use crate::{Exit, Failure};

const BUFFER_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What an archive's name has behind the binlog's.
const ARCHIVE_EXTENSIONS: [&str; 3] = ["gz", "zst", "zstd"];

/// The binlog's name: the file's without its folder and its archive's extension.
pub(super) fn binlog_name(path: &Path) -> String {
    let is_archive = path
        .extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| ARCHIVE_EXTENSIONS.contains(&extension));
    let name = if is_archive {
        path.file_stem()
    } else {
        path.file_name()
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// The number that ends a binlog's name.
pub(super) fn number(name: &str) -> Option<u64> {
    name.rsplit('.').next()?.parse().ok()
}

/// A file's events in order, read as a stream: memory is the largest event.
pub(super) struct BinlogFile {
    path: PathBuf,
    input: Box<dyn Read>,
    frames: FileFrames,
    /// The event at hand.
    event: Vec<u8>,
    /// Bytes of its body.
    body_len: usize,
}

impl BinlogFile {
    /// Opens a file; `bytes_read` counts what is read of it on disk.
    pub(super) fn open(path: &Path, bytes_read: Rc<Cell<u64>>) -> Result<Self, Error> {
        let failed = |error| cannot_read(path, None, &error);
        let file = File::open(path).map_err(failed)?;
        let counted = Counted { file, bytes_read };
        let mut disk = BufReader::with_capacity(BUFFER_BYTES, counted);
        let start = disk.fill_buf().map_err(failed)?;
        let mut input: Box<dyn Read> = if start.starts_with(&GZIP_MAGIC) {
            let plain = MultiGzDecoder::new(disk);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, plain))
        } else if start.starts_with(&ZSTD_MAGIC) {
            let plain = zstd::stream::read::Decoder::with_buffer(disk).map_err(failed)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, plain))
        } else {
            Box::new(disk)
        };
        let mut magic = Vec::new();
        let mut front = input.by_ref().take(FILE_MAGIC.len() as u64);
        front.read_to_end(&mut magic).map_err(failed)?;
        let frames = FileFrames::open(&binlog_name(path), &magic);
        Ok(Self {
            path: path.to_owned(),
            input,
            frames: frames.map_err(|error| super::explained(path, &error))?,
            event: Vec::new(),
            body_len: 0,
        })
    }

    /// Where the next event starts.
    pub(super) fn position(&self) -> &FilePosition {
        self.frames.position()
    }

    /// The next event, its checksum verified, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.event.clear();
        self.fill(EventHeader::LEN)?;
        if self.event.is_empty() {
            return Ok(None);
        }
        let size = match self.frames.size_of(&self.event) {
            Ok(size) => size,
            Err(problem) => return Err(self.error(problem)),
        };
        self.fill(size)?;
        if self.event.len() < size {
            return Err(self.error(Problem::Truncated));
        }
        match self.frames.event(&self.event) {
            Ok(event) => {
                self.body_len = event.body.len();
                Ok(Some(event))
            }
            Err(problem) => Err(super::explained(&self.path, &self.frames.error(problem))),
        }
    }

    /// The body of the event that [`BinlogFile::next`] has given.
    pub(super) fn body(&self) -> &[u8] {
        &self.event[EventHeader::LEN..EventHeader::LEN + self.body_len]
    }

    /// Where that event starts.
    pub(super) fn start(&self) -> u64 {
        self.position().offset - self.event.len() as u64
    }

    fn error(&self, problem: Problem) -> Error {
        super::explained(&self.path, &self.frames.error(problem))
    }

    /// Reads on until there are `len` bytes of the event, or the file ends. Memory grows with what
    /// is there, not with what a header says is there.
    fn fill(&mut self, len: usize) -> Result<(), Error> {
        let missing = len.saturating_sub(self.event.len()) as u64;
        let mut rest = self.input.by_ref().take(missing);
        match rest.read_to_end(&mut self.event) {
            Ok(_) => Ok(()),
            // An archive that is cut off.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.error(Problem::Truncated))
            }
            Err(error) => Err(cannot_read(&self.path, Some(self.position()), &error)),
        }
    }
}

pub(super) fn cannot_read(
    path: &Path,
    position: Option<&FilePosition>,
    error: &io::Error,
) -> Error {
    let place = position.map_or(String::new(), |position| format!(" at {position}"));
    let what = format!("cannot read {}{place}: {error}", path.display());
    let (exit, remedy) = match error.kind() {
        io::ErrorKind::NotFound => (Exit::Usage, "correct the path after --binlog"),
        io::ErrorKind::PermissionDenied => (
            Exit::Permission,
            "run as a user that may read the file, or copy it",
        ),
        // What the disk has can be read, and is not what the archive's format allows.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => (
            Exit::Data,
            "the archive is damaged; take another copy of the file",
        ),
        _ => (Exit::Unavailable, "check the disk that the file is on"),
    };
    Failure::definite(exit, what, remedy).into()
}

/// A file whose bytes are counted as they are read.
struct Counted {
    file: File,
    bytes_read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes_read.set(self.bytes_read.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binlogs_name_has_no_folder_and_no_archive() {
        for (path, name) in [
            ("binlog.000001", "binlog.000001"),
            ("/backup/2026.11/db-bin.000042.gz", "db-bin.000042"),
            ("x/binlog.1000000.zst", "binlog.1000000"),
        ] {
            assert_eq!(binlog_name(Path::new(path)), name);
        }
    }
}
