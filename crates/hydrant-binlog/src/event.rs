//! Frames: the 19-byte header and the checksum.

use std::sync::LazyLock;

use super::bytes::Cursor;
use super::{EventType, FilePosition, Problem};

/// Set by the dump thread on events that are in no file.
const FLAG_ARTIFICIAL: u16 = 0x20;
/// Set in a replica's relay logs.
const FLAG_RELAY_LOG: u16 = 0x40;
/// A reader that does not know the type may pass over the event.
const FLAG_IGNORABLE: u16 = 0x80;
/// Set in a file that is still written to; not part of the checksum.
const FLAG_BINLOG_IN_USE: u16 = 0x1;

/// The header that all events of binlog version 4 start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970 at which the statement began.
    pub timestamp: u32,
    /// The type's number; see [`EventType`].
    pub type_code: u8,
    /// The server that wrote the event first.
    pub server_id: u32,
    /// Bytes of the whole event: header, body and checksum.
    pub event_size: u32,
    /// Offset of the next event, modulo 2^32; 0 where the server does not say.
    pub log_pos: u32,
    /// Flags of the header.
    pub flags: u16,
}

impl EventHeader {
    /// Bytes of an encoded header.
    pub const LEN: usize = 19;

    /// Reads a header from the front of `bytes`.
    ///
    /// # Errors
    /// [`Problem::Truncated`] if there are fewer than [`EventHeader::LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor(bytes);
        Ok(Self {
            timestamp: cursor.u32()?,
            type_code: cursor.u8()?,
            server_id: cursor.u32()?,
            event_size: cursor.u32()?,
            log_pos: cursor.u32()?,
            flags: cursor.u16()?,
        })
    }

    /// The header's bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.timestamp.to_le_bytes());
        bytes[4] = self.type_code;
        bytes[5..9].copy_from_slice(&self.server_id.to_le_bytes());
        bytes[9..13].copy_from_slice(&self.event_size.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.log_pos.to_le_bytes());
        bytes[17..].copy_from_slice(&self.flags.to_le_bytes());
        bytes
    }

    /// Whether the dump thread made this event up: then it is in no file.
    #[must_use]
    pub fn is_artificial(&self) -> bool {
        self.flags & FLAG_ARTIFICIAL != 0
    }

    /// Whether a reader that does not know the type may pass over the event.
    #[must_use]
    pub fn is_ignorable(&self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }
}

/// One event: its header, and its body without the checksum.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The header.
    pub header: EventHeader,
    /// The bytes after the header, without the checksum.
    pub body: &'a [u8],
}

impl<'a> Event<'a> {
    /// A ROTATE as the dump thread makes one up before each file; `body` is the offset at which
    /// the file is read on, in eight bytes, and the file's name.
    #[must_use]
    pub fn artificial_rotate(body: &'a [u8]) -> Self {
        let header = EventHeader {
            timestamp: 0,
            type_code: EventType::Rotate.code(),
            server_id: 0,
            event_size: 0,
            log_pos: 0,
            flags: FLAG_ARTIFICIAL,
        };
        Self { header, body }
    }

    /// An event that was sent before any format description said whether events end in a
    /// checksum: the ROTATE that names the first file. If its last bytes are its checksum they
    /// are no part of the body.
    #[must_use]
    pub fn before_format_description(header: EventHeader, bytes: &'a [u8]) -> Self {
        let body = match bytes.split_last_chunk::<{ Checksum::CRC32_LEN }>() {
            Some((body, sum)) => {
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(&header.to_bytes());
                hasher.update(body);
                if hasher.finalize() == u32::from_le_bytes(*sum) {
                    body
                } else {
                    bytes
                }
            }
            None => bytes,
        };
        Self { header, body }
    }
}

/// How the events of a file are protected, as its format description says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Not at all.
    Off,
    /// Four bytes of CRC32 end each event.
    Crc32,
}

impl Checksum {
    const CRC32_LEN: usize = 4;

    /// Bytes at the end of each event.
    #[must_use]
    pub fn sum_len(self) -> usize {
        match self {
            Self::Off => 0,
            Self::Crc32 => Self::CRC32_LEN,
        }
    }

    /// The setting at the end of a FORMAT_DESCRIPTION event's body (checksum included); `None` if its
    /// server knew no checksums, so that the format description has none either.
    pub(super) fn of_file(format_description: &[u8]) -> Result<Option<Self>, Problem> {
        if is_before_checksums(format_description) {
            return Ok(None);
        }
        let before_sum = format_description
            .len()
            .checked_sub(Self::CRC32_LEN + 1)
            .ok_or(Problem::Truncated)?;
        match format_description[before_sum] {
            0 => Ok(Some(Self::Off)),
            1 => Ok(Some(Self::Crc32)),
            _ => Err(Problem::Malformed("the checksum algorithm")),
        }
    }

    /// Checks and removes the checksum of one whole event.
    ///
    /// # Errors
    /// [`Problem::Truncated`] or [`Problem::Checksum`].
    pub fn verify(self, event: &[u8]) -> Result<&[u8], Problem> {
        match self {
            Self::Off => Ok(event),
            Self::Crc32 => {
                let Some((covered, sum)) = event.split_last_chunk::<{ Self::CRC32_LEN }>() else {
                    return Err(Problem::Truncated);
                };
                if checksum_of(covered)? == u32::from_le_bytes(*sum) {
                    Ok(covered)
                } else {
                    Err(Problem::Checksum)
                }
            }
        }
    }
}

/// Whether a format description is of a server from before MySQL 5.6.1 or MariaDB 5.3, which wrote no
/// checksums. Source: `is_version_before_checksum` of both servers.
fn is_before_checksums(format_description: &[u8]) -> bool {
    const VERSION: std::ops::Range<usize> = 2..52;
    // A byte for each type of event; the first servers with checksums had 35 types.
    const MOST_LEN: usize = 2 + 50 + 4 + 1 + 34;
    if format_description.len() > MOST_LEN {
        // A version that says otherwise is damaged, and must not switch the check off that tells it.
        return false;
    }
    let version = format_description.get(VERSION).unwrap_or_default();
    let version = version.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(version).to_ascii_lowercase();
    let mut numbers = text
        .split(|character: char| !character.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor), Some(patch)) = (numbers.next(), numbers.next(), numbers.next())
    else {
        return false;
    };
    let first = if text.contains("mariadb") {
        (5, 3, 0)
    } else {
        (5, 6, 1)
    };
    (major, minor, patch) < first
}

/// CRC32 of bytes. The processor's instructions are detected once, not for each event.
pub(super) fn crc32_of(bytes: &[u8]) -> u32 {
    static EMPTY: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);
    let mut hasher = EMPTY.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// CRC32 of an event; of a format description as if its file were closed, as the server does.
fn checksum_of(event: &[u8]) -> Result<u32, Problem> {
    const TYPE_OFFSET: usize = 4;
    const FLAGS_OFFSET: usize = 17;
    if event.get(TYPE_OFFSET) != Some(&EventType::FormatDescription.code()) {
        return Ok(crc32_of(event));
    }
    let header = EventHeader::parse(event)?;
    let closed = (header.flags & !FLAG_BINLOG_IN_USE).to_le_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&event[..FLAGS_OFFSET]);
    hasher.update(&closed);
    hasher.update(&event[EventHeader::LEN..]);
    Ok(hasher.finalize())
}

/// The events of a connection: its server says in each format description whether those that follow
/// end in a checksum.
#[derive(Debug, Default)]
pub struct EventStream {
    checksum: Option<Checksum>,
}

impl EventStream {
    /// The event in these bytes, its checksum verified.
    ///
    /// # Errors
    /// If they are no whole event or its checksum does not match.
    pub fn event<'a>(&mut self, whole: &'a [u8]) -> Result<Event<'a>, Problem> {
        let header = EventHeader::parse(whole)?;
        if header.event_size as usize != whole.len() {
            return Err(Problem::Malformed("the event's size"));
        }
        let body = &whole[EventHeader::LEN..];
        let checksum = match (EventType::from_code(header.type_code), self.checksum) {
            (EventType::FormatDescription, _) => {
                let checksum = Checksum::of_file(body)?;
                self.checksum = Some(checksum.unwrap_or(Checksum::Off));
                match checksum {
                    None => return Ok(Event { header, body }),
                    // A server that does not compute checksums does not mend this one either.
                    Some(Checksum::Off) => {
                        let body = &body[..body.len() - Checksum::CRC32_LEN];
                        return Ok(Event { header, body });
                    }
                    Some(Checksum::Crc32) => Checksum::Crc32,
                }
            }
            (EventType::Rotate, None | Some(Checksum::Off)) => {
                return Ok(Event::before_format_description(header, body));
            }
            (_, Some(checksum)) => checksum,
            (_, None) => return Err(Problem::Malformed("the first event")),
        };
        let Some(body) = checksum.verify(whole)?.get(EventHeader::LEN..) else {
            return Err(Problem::Truncated);
        };
        Ok(Event { header, body })
    }

    /// What ends each event now.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.checksum.unwrap_or(Checksum::Off)
    }
}

impl FilePosition {
    /// Moves past an event that takes a place in the file.
    pub(super) fn pass(&mut self, event_type: EventType, header: &EventHeader) {
        const WRAP: u64 = 1 << 32;
        let off_file = match event_type {
            EventType::Heartbeat | EventType::HeartbeatV2 => true,
            // The dump thread repeats the file's description when a reader starts further on.
            EventType::FormatDescription | EventType::Rotate => header.log_pos == 0,
            _ => false,
        };
        if off_file || header.is_artificial() {
            return;
        }
        if header.log_pos == 0 {
            self.offset += u64::from(header.event_size);
            return;
        }
        // The wire has 32 bits of the offset; the file may be larger.
        let offset = (self.offset & !(WRAP - 1)) | u64::from(header.log_pos);
        self.offset = if offset < self.offset {
            offset + WRAP
        } else {
            offset
        };
    }

    /// Where a ROTATE event says that reading goes on.
    pub(super) fn of_rotate(body: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor(body);
        let offset = cursor.uint(8)?;
        let file = std::str::from_utf8(cursor.0).map_err(|_| Problem::Malformed("a file name"))?;
        Ok(Self::new(file, offset))
    }
}

/// Whether this format description begins the first file of a server that was started. Those that are made up where a
/// reader starts in the middle of a file do not say.
pub(super) fn is_of_server_start(format_description: &Event<'_>) -> bool {
    // The format's version and the server's stand before the time at which the server was started.
    const CREATED: std::ops::Range<usize> = 52..56;
    let created = format_description.body.get(CREATED);
    created.is_some_and(|created| created != [0; 4]) && format_description.header.log_pos != 0
}

/// Whether a replica wrote the file that this format description begins.
pub(super) fn is_of_relay_log(format_description: &EventHeader) -> bool {
    format_description.flags & FLAG_RELAY_LOG != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotate(with_sum: bool) -> (EventHeader, Vec<u8>) {
        let header = EventHeader {
            timestamp: 0,
            type_code: EventType::Rotate.code(),
            server_id: 1,
            event_size: 44,
            log_pos: 0,
            flags: FLAG_ARTIFICIAL,
        };
        let mut bytes = 4_u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"binlog.000001");
        if with_sum {
            let sum = crc32fast::hash(&[&header.to_bytes()[..], &bytes].concat());
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        (header, bytes)
    }

    #[test]
    fn the_first_rotate_may_or_may_not_have_a_checksum() {
        for with_sum in [false, true] {
            let (header, bytes) = rotate(with_sum);
            let event = Event::before_format_description(header, &bytes);
            assert!(event.body.ends_with(b"binlog.000001"), "{with_sum}");
        }
    }

    #[test]
    fn a_flipped_bit_is_caught() {
        let (header, bytes) = rotate(true);
        let mut whole = [&header.to_bytes()[..], &bytes].concat();
        assert_eq!(EventHeader::parse(&whole), Ok(header));
        assert!(Checksum::Crc32.verify(&whole).is_ok());
        for index in 0..whole.len() {
            whole[index] ^= 1;
            assert!(Checksum::Crc32.verify(&whole).is_err(), "{index}");
            whole[index] ^= 1;
        }
    }

    #[test]
    fn servers_from_before_checksums_are_known_by_their_versions() {
        let description = |version: &str| {
            let mut body = vec![4, 0];
            body.extend_from_slice(version.as_bytes());
            body.resize(2 + 50 + 4 + 1 + 27, 0);
            body
        };
        for (version, is_before) in [
            ("5.5.62-log", true),
            ("5.1.73", true),
            ("5.6.0-m4", true),
            ("5.6.1", false),
            ("5.7.44-log", false),
            ("9.7.4-2", false),
            ("5.2.14-MariaDB", true),
            ("5.3.12-MariaDB-log", false),
            ("5.5.68-MariaDB", false),
            ("10.11.14-MariaDB-0+deb12u2-log", false),
            ("x", false),
            ("", false),
        ] {
            let body = description(version);
            assert_eq!(is_before_checksums(&body), is_before, "{version}");
            assert_eq!(Checksum::of_file(&body) == Ok(None), is_before, "{version}");
        }
        assert!(!is_before_checksums(&[4, 0, b'5']));
        // One of today, with a bit flipped in its version.
        let mut damaged = vec![0; 57 + 41];
        damaged[2..7].copy_from_slice(b"1.7.4");
        damaged.extend([1, 0, 0, 0, 0]);
        assert_eq!(Checksum::of_file(&damaged), Ok(Some(Checksum::Crc32)));
    }
}
