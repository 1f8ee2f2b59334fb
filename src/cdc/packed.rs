//! A compressed transaction on its way from the connection to the decoder.

use std::ops::Range;

use crate::binlog::{Checksum, Event, EventHeader, Payload, Problem, Unpacked};
use crate::wire::Frames;

/// The TRANSACTION_PAYLOAD event at hand, whose bytes are those of the packet, or of the piece of a
/// packet, at hand.
///
/// The last bytes of an event that comes in pieces are unpacked when its checksum is verified, and
/// [`Payload`] hands out the last event, which commits, when it has all bytes. Before that its rows are
/// those of an open transaction.
pub(super) struct Packed {
    payload: Payload,
    /// Which of the bytes at hand are still to be unpacked.
    range: Range<usize>,
    /// The pieces that are still to come.
    rest: Option<Rest>,
    starved: bool,
}

struct Rest {
    /// Bytes of the event.
    left: u64,
    checksum: Checksum,
    crc: crc32fast::Hasher,
}

/// What [`Packed::next`] found.
pub(super) enum Next<'p> {
    Event(Event<'p>),
    /// More bytes are needed.
    Starved,
    End,
}

impl Packed {
    /// The outer event in the packet at hand, which says that all is well, or in its first piece.
    pub(super) fn outer(packet: &[u8]) -> Result<Event<'_>, Problem> {
        let event = packet.get(1..).ok_or(Problem::Truncated)?;
        Ok(Event {
            header: EventHeader::parse(event)?,
            body: &event[EventHeader::LEN..],
        })
    }

    /// Opens that event, which was verified if it is whole.
    pub(super) fn open(packet: &[u8], checksum: Checksum, whole: bool) -> Result<Self, Problem> {
        let Event { header, body } = Self::outer(packet)?;
        let size = u64::from(header.event_size);
        let around = (EventHeader::LEN + checksum.sum_len()) as u64;
        let body_len = size.checked_sub(around).ok_or(Problem::Truncated)?;
        let mut end = packet.len();
        let mut rest = None;
        if whole {
            end -= checksum.sum_len();
        } else {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&packet[1..]);
            let left = size.checked_sub(packet.len() as u64 - 1);
            rest = Some(Rest {
                left: left.ok_or(PIECES)?,
                checksum,
                crc,
            });
        }
        let front = &body[..body.len() - (packet.len() - end)];
        let (payload, taken) = Payload::open(front, body_len)?;
        Ok(Self {
            payload,
            range: end - front.len() + taken..end,
            rest,
            starved: false,
        })
    }

    /// The next event. `packet` is the packet, or the piece of one, at hand.
    pub(super) fn next(&mut self, packet: &[u8]) -> Result<Next<'_>, Problem> {
        let mut bytes = packet.get(self.range.clone()).ok_or(PIECES)?;
        let unpacked = self.payload.next(&mut bytes)?;
        self.range.start = self.range.end - bytes.len();
        Ok(match unpacked {
            Unpacked::Event(event) => Next::Event(event),
            Unpacked::End => Next::End,
            Unpacked::Starved => {
                self.starved = true;
                Next::Starved
            }
        })
    }

    /// Whether there is something to unpack, after looking for the next piece if need be.
    pub(super) fn has_more(&mut self, frames: &mut Frames) -> Result<bool, Problem> {
        if !self.starved {
            return Ok(true);
        }
        let Some(rest) = &mut self.rest else {
            return Err(PIECES);
        };
        let Some(last) = frames.more()? else {
            return Ok(false);
        };
        let piece = frames.bytes();
        rest.left = rest.left.checked_sub(piece.len() as u64).ok_or(PIECES)?;
        let mut end = piece.len();
        if last {
            end = end.checked_sub(rest.checksum.sum_len()).ok_or(PIECES)?;
        }
        let (covered, sum) = piece.split_at(end);
        rest.crc.update(covered);
        if last {
            if rest.left != 0 {
                return Err(PIECES);
            }
            let found = std::mem::take(&mut rest.crc).finalize().to_le_bytes();
            if rest.checksum == Checksum::Crc32 && found != *sum {
                return Err(Problem::Checksum);
            }
            self.rest = None;
        }
        self.range = 0..end;
        self.starved = false;
        Ok(true)
    }
}

const PIECES: Problem = Problem::Malformed("the size of the compressed transaction");

#[cfg(test)]
#[path = "packed_tests.rs"]
mod tests;
