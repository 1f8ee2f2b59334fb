//! Compressed transactions: one TRANSACTION_PAYLOAD event holds a transaction's other events.
//!
//! Its body is a list of fields (number, length, value), an end mark, and the compressed events
//! (MySQL `libs/mysql/binlog/event/codecs/binary.cpp`). The events have no checksums of their own;
//! that of the outer event covers them.

use zstd::stream::raw::{Decoder, Operation as _};

use super::bytes::Cursor;
use super::{Event, EventHeader, Problem};

/// The events within one TRANSACTION_PAYLOAD event, unpacked one at a time.
///
/// Memory is one event, what zstd looks back on (2 MiB at MySQL's default level, 128 MiB at most), and
/// nothing that grows with the transaction.
///
/// Contract: [`Payload::open`] with the body of the outer event, then [`Payload::next`] until it
/// answers [`Unpacked::End`]. The compressed bytes may come in pieces: [`Unpacked::Starved`] asks
/// for the next one. After an error it must be dropped.
pub struct Payload {
    frames: Frames,
    /// Unpacked bytes that are still to come.
    unpacked_left: u64,
    /// The event at hand, as far as it is unpacked.
    event: Vec<u8>,
    /// The event at hand was handed out.
    handed_out: bool,
}

/// What [`Payload::next`] found.
#[derive(Debug)]
pub enum Unpacked<'p> {
    /// The next event.
    Event(Event<'p>),
    /// All compressed bytes given so far are used up, and there are more.
    Starved,
    /// There was no more, and everything added up.
    End,
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payload")
            .field("packed_left", &self.frames.packed_left)
            .field("unpacked_left", &self.unpacked_left)
            .finish_non_exhaustive()
    }
}

impl Payload {
    /// Reads the fields at the front of an outer event's body of `body_len` bytes, of which `body`
    /// is the beginning, and returns how many bytes they take; the compressed bytes follow.
    ///
    /// # Errors
    /// If a field is unknown, missing or twice there, or the sizes do not fit the event.
    pub fn open(body: &[u8], body_len: u64) -> Result<(Self, usize), Problem> {
        const END: u64 = 0;
        const PACKED_SIZE: u64 = 1;
        const COMPRESSION: u64 = 2;
        const UNPACKED_SIZE: u64 = 3;
        const ZSTD: u64 = 0;
        let mut cursor = Cursor(body);
        let mut fields = [None; 3];
        loop {
            let field = cursor.lenenc()?;
            if field == END {
                break;
            }
            let len = cursor.lenenc_len()?;
            let mut value = Cursor(cursor.take(len)?);
            let place = match field {
                PACKED_SIZE => &mut fields[0],
                COMPRESSION => &mut fields[1],
                UNPACKED_SIZE => &mut fields[2],
                // It may change what the rest means.
                _ => return Err(Problem::Malformed("a field of the compressed transaction")),
            };
            if place.replace(value.lenenc()?).is_some() || !value.is_empty() {
                return Err(Problem::Malformed("a field of the compressed transaction"));
            }
        }
        let [Some(packed_left), Some(compression), Some(unpacked_left)] = fields else {
            return Err(Problem::Malformed("the head of the compressed transaction"));
        };
        if compression != ZSTD {
            return Err(Problem::UnknownCompression(compression));
        }
        let head_len = body.len() - cursor.0.len();
        if body_len.checked_sub(head_len as u64) != Some(packed_left) || unpacked_left == 0 {
            return Err(PAYLOAD_SIZE);
        }
        let frames = Frames {
            zstd: Decoder::new().map_err(|_| PAYLOAD_DATA)?,
            packed_left,
            whole: true,
        };
        let payload = Self {
            frames,
            unpacked_left,
            event: Vec::new(),
            handed_out: false,
        };
        Ok((payload, head_len))
    }

    /// The next event, unpacked from the front of `packed`, which shrinks by what was taken. The last
    /// event is handed out when all compressed bytes were taken and add up.
    ///
    /// # Errors
    /// If the bytes are no whole events, or not as many as the head said.
    pub fn next(&mut self, packed: &mut &[u8]) -> Result<Unpacked<'_>, Problem> {
        if std::mem::take(&mut self.handed_out) {
            self.event.clear();
            if self.unpacked_left == 0 {
                return Ok(Unpacked::End);
            }
        }
        if !self.fill(EventHeader::LEN, packed)? {
            return Ok(Unpacked::Starved);
        }
        let header = EventHeader::parse(&self.event)?;
        let size = header.event_size as usize;
        if size < EventHeader::LEN {
            return Err(Problem::Malformed("the event's size"));
        }
        if !self.fill(size, packed)? || (self.unpacked_left == 0 && !self.frames.end(packed)?) {
            return Ok(Unpacked::Starved);
        }
        self.handed_out = true;
        Ok(Unpacked::Event(Event {
            header,
            body: &self.event[EventHeader::LEN..],
        }))
    }

    /// Unpacks until the event at hand has `len` bytes; `false` if `packed` is too short.
    fn fill(&mut self, len: usize, packed: &mut &[u8]) -> Result<bool, Problem> {
        /// A size is believed only as far as there are bytes for it.
        const STEP: usize = 64 << 10;
        while self.event.len() < len {
            let had = self.event.len();
            let missing = len - had;
            if missing as u64 > self.unpacked_left {
                return Err(PAYLOAD_SIZE);
            }
            let room = missing.min(STEP.max(had));
            self.event.reserve_exact(room);
            self.event.resize(had + room, 0);
            let got = self.frames.unpack(packed, &mut self.event[had..])?;
            self.event.truncate(had + got);
            self.unpacked_left -= got as u64;
            if got == 0 {
                return match self.frames.packed_left {
                    0 => Err(PAYLOAD_SIZE),
                    _ => Ok(false),
                };
            }
        }
        Ok(true)
    }
}

/// The compressed bytes: zstd's frames, one after the other.
struct Frames {
    zstd: Decoder<'static>,
    /// Bytes that are still to come.
    packed_left: u64,
    /// All that was taken so far is whole frames.
    whole: bool,
}

impl Frames {
    /// Unpacks as much as `out` can take and `packed` has; 0 if that is used up.
    fn unpack(&mut self, packed: &mut &[u8], out: &mut [u8]) -> Result<usize, Problem> {
        loop {
            let status = self
                .zstd
                .run_on_buffers(packed, out)
                .map_err(|_| PAYLOAD_DATA)?;
            let rest = packed.get(status.bytes_read..).ok_or(PAYLOAD_DATA)?;
            *packed = rest;
            let read = status.bytes_read as u64;
            self.packed_left = self.packed_left.checked_sub(read).ok_or(PAYLOAD_SIZE)?;
            if read > 0 || status.bytes_written > 0 {
                self.whole = status.remaining == 0;
            }
            if status.bytes_written > 0 || packed.is_empty() {
                return Ok(status.bytes_written);
            }
            if read == 0 {
                return Err(PAYLOAD_DATA);
            }
        }
    }

    /// Nothing but the end of a frame may follow; `false` if `packed` is too short for that.
    fn end(&mut self, packed: &mut &[u8]) -> Result<bool, Problem> {
        while !packed.is_empty() || (self.packed_left == 0 && !self.whole) {
            let had = packed.len();
            if self.unpack(packed, &mut [0])? > 0 || (had == 0 && !self.whole) {
                return Err(PAYLOAD_SIZE);
            }
        }
        Ok(self.packed_left == 0)
    }
}

const PAYLOAD_SIZE: Problem = Problem::Malformed("the size of the compressed transaction");
const PAYLOAD_DATA: Problem = Problem::Malformed("the data of the compressed transaction");

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
