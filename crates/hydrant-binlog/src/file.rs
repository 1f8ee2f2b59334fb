//! Events in a file: its magic number, where each event ends, and whether it is whole.

use super::event::{Checksum, is_of_relay_log};
use super::{DecodeError, Event, EventHeader, EventType, FilePosition, Problem};

/// The four bytes that start every binlog file.
pub const FILE_MAGIC: [u8; 4] = *b"\xfebin";

/// The four bytes that start a file that MySQL has encrypted (`binlog_encryption`).
const ENCRYPTED_MAGIC: [u8; 4] = *b"\xfdbin";

/// Bytes of the largest event: what the largest `max_allowed_packet` can carry to a replica, and
/// some for the headers around it.
const LARGEST_EVENT: usize = (1 << 30) + (1 << 20);

/// The frames of one file, whoever reads its bytes.
///
/// Contract: [`FileFrames::open`] with the first four bytes; then for each event
/// [`FileFrames::size_of`] with its header and [`FileFrames::event`] with all of it. After an
/// error it must not be called again.
#[derive(Debug)]
pub struct FileFrames {
    position: FilePosition,
    /// `None` until the format description, which comes first, has said so.
    checksum: Option<Checksum>,
}

impl FileFrames {
    /// Opens the file `name` that starts with the bytes `magic`.
    ///
    /// # Errors
    /// If they are not those of a binlog file.
    pub fn open(name: &str, magic: &[u8]) -> Result<Self, DecodeError> {
        let problem = match magic {
            magic if magic == FILE_MAGIC => {
                return Ok(Self {
                    position: FilePosition::new(name, FilePosition::FIRST_OFFSET),
                    checksum: None,
                });
            }
            magic if magic == ENCRYPTED_MAGIC => Problem::Encrypted,
            _ => Problem::NotABinlog,
        };
        Err(DecodeError {
            position: FilePosition::new(name, 0),
            table: None,
            problem,
        })
    }

    /// Where the next event starts. Offsets have 64 bits here, though an event's own have 32.
    #[must_use]
    pub fn position(&self) -> &FilePosition {
        &self.position
    }

    /// The problem at the next event, with its place.
    #[must_use]
    pub fn error(&self, problem: Problem) -> DecodeError {
        DecodeError {
            position: self.position.clone(),
            table: None,
            problem,
        }
    }

    /// Bytes of the whole event that starts with this header.
    ///
    /// # Errors
    /// If no event can have that size, or the event says that it ends somewhere else: then bytes
    /// are missing before it, or are no event's.
    pub fn size_of(&self, header: &[u8]) -> Result<usize, Problem> {
        let header = EventHeader::parse(header)?;
        let size = header.event_size as usize;
        if !(EventHeader::LEN..=LARGEST_EVENT).contains(&size) {
            return Err(Problem::Malformed("the event's size"));
        }
        let end = self.position.offset + u64::from(header.event_size);
        // Some events do not say where they end.
        if header.log_pos != 0 && u64::from(header.log_pos) != end & u64::from(u32::MAX) {
            return Err(Problem::Misplaced);
        }
        Ok(size)
    }

    /// Checks a whole event, removes its checksum and moves past it.
    ///
    /// # Errors
    /// If its checksum does not match, or the file is no binlog after all.
    pub fn event<'b>(&mut self, whole: &'b [u8]) -> Result<Event<'b>, Problem> {
        let header = EventHeader::parse(whole)?;
        let covered = if header.type_code == EventType::FormatDescription.code() {
            let checksum = Checksum::of_file(&whole[EventHeader::LEN..])?;
            self.checksum = Some(checksum.unwrap_or(Checksum::Off));
            // A format description is always protected, whatever it says of the others, if its server
            // knew how to.
            let covered = match checksum {
                Some(_) => Checksum::Crc32.verify(whole)?,
                None => whole,
            };
            if is_of_relay_log(&header) {
                return Err(Problem::RelayLog);
            }
            covered
        } else {
            let missing = Problem::Malformed("the file's first event");
            self.checksum.ok_or(missing)?.verify(whole)?
        };
        let body = covered
            .get(EventHeader::LEN..)
            .ok_or(Problem::Malformed("the event's size"))?;
        self.position.offset += whole.len() as u64;
        Ok(Event { header, body })
    }
}

/// The events of one binlog file held in memory, in order.
///
/// Call [`EventFile::next`] until it answers `Ok(None)` or an error; after an error it must not
/// be called again.
#[derive(Debug)]
pub struct EventFile<'a> {
    frames: FileFrames,
    rest: &'a [u8],
}

impl<'a> EventFile<'a> {
    /// Opens the file `name` whose content is `bytes`.
    ///
    /// # Errors
    /// If the bytes do not start with [`FILE_MAGIC`].
    pub fn open(name: &str, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (magic, rest) = bytes.split_at(bytes.len().min(FILE_MAGIC.len()));
        let frames = FileFrames::open(name, magic)?;
        Ok(Self { frames, rest })
    }

    /// The next event, its checksum verified, or `None` at the end of the file.
    ///
    /// # Errors
    /// If an event is cut off or its checksum does not match.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let event = self.split();
        event
            .map(Some)
            .map_err(|problem| self.frames.error(problem))
    }

    fn split(&mut self) -> Result<Event<'a>, Problem> {
        let size = self.frames.size_of(self.rest)?;
        let (whole, rest) = self.rest.split_at_checked(size).ok_or(Problem::Truncated)?;
        let event = self.frames.event(whole)?;
        self.rest = rest;
        Ok(event)
    }
}
