//! PURE. Bytes of a connection in, packets out.
//!
//! A packet travels in chunks of at most 16 MiB - 1, each with a length and a number; the first
//! shorter one is its last. Small packets are read where they were received. Larger ones are put
//! together, except compressed transactions of several chunks, which come in pieces, because they
//! can be a gigabyte long.

use std::ops::Range;

use crate::binlog::{EventHeader, EventType, Problem};

/// What is asked for from the connection at once.
const BUFFER_LEN: usize = 256 << 10;
/// A chunk's head: three bytes of length, one number.
const HEAD_LEN: usize = 4;
/// The length of a chunk after which another one follows.
const FULL_CHUNK: usize = 0xff_ffff;
/// Bytes of a piece.
const PIECE_LEN: usize = 256 << 10;
/// Room that is kept for the next large packet.
const KEPT_ROOM: usize = 1 << 20;

/// A packet that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packet {
    /// All of it.
    Whole,
    /// The first piece of a compressed transaction; [`Frames::more`] has the others.
    Pieces,
}

/// Why bytes are no packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A chunk is missing, or these are not chunks.
    #[error("packets are out of order")]
    Order,
    /// A packet is longer than any that is read; it says, or has, so many bytes.
    #[error("a packet of {0} bytes is too long")]
    TooLong(u64),
}

impl From<FrameError> for Problem {
    fn from(error: FrameError) -> Self {
        Self::Malformed(match error {
            FrameError::Order => "the order of packets",
            FrameError::TooLong(_) => "the size of a packet",
        })
    }
}

/// Splits a stream of bytes into packets.
///
/// Contract: [`Frames::next`] until it answers `None`, then bytes into [`Frames::space`] and their
/// number to [`Frames::filled`]. What [`Frames::bytes`] shows is gone with the call after that.
pub(crate) struct Frames {
    buffer: Vec<u8>,
    /// What was received and not yet taken.
    received: Range<usize>,
    /// The packet at hand, if it is whole in the buffer.
    at_hand: Option<Range<usize>>,
    /// A packet that is being put together, or a piece of one.
    large: Vec<u8>,
    /// How much of `large` [`Frames::bytes`] shows; the rest begins the next piece.
    shown: usize,
    /// The chunk that is being received: what is left of it, and whether another one follows.
    chunk: Option<(usize, bool)>,
    sequence: u8,
}

/// How far [`Frames::collect`] came.
enum Collected {
    /// To the end of the packet.
    End,
    /// To as many bytes as were wanted.
    Enough,
    /// To the end of what was received.
    Starved,
}

impl Frames {
    /// How many bytes at least the last piece of a packet has.
    pub(crate) const LAST_PIECE: usize = 64;
    /// No server sends more (`replica_max_allowed_packet` and the head of an event).
    pub(crate) const LONGEST: usize = (1 << 30) + (1 << 20);

    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_LEN],
            received: 0..0,
            at_hand: None,
            large: Vec::new(),
            shown: 0,
            chunk: None,
            sequence: 0,
        }
    }

    /// A new command begins; its packets are counted from 0.
    pub(crate) fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Whether nothing was received that was not taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The chunk for one packet of the caller's; `None` if it does not fit into one.
    pub(crate) fn wrap(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let len = u32::try_from(packet.len())
            .ok()
            .filter(|_| packet.len() < FULL_CHUNK)?;
        let mut bytes = Vec::with_capacity(HEAD_LEN + packet.len());
        bytes.extend_from_slice(&len.to_le_bytes()[..3]);
        bytes.push(self.sequence);
        bytes.extend_from_slice(packet);
        self.sequence = self.sequence.wrapping_add(1);
        Some(bytes)
    }

    /// Where bytes of the connection go.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.received.clone(), 0);
        self.received = 0..self.received.len();
        &mut self.buffer[self.received.end..]
    }

    /// So many bytes were put there.
    pub(crate) fn filled(&mut self, len: usize) {
        self.received.end += len;
    }

    /// The next packet, which [`Frames::bytes`] then shows; `None` if it has not arrived.
    ///
    /// # Errors
    /// If chunks are out of order or longer than any packet.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, FrameError> {
        if self.chunk.is_none() {
            self.let_go();
            let Some((len, more)) = self.head()? else {
                return Ok(None);
            };
            if !more && len <= self.received.len() {
                let start = self.received.start;
                self.at_hand = Some(start..start + len);
                self.received.start += len;
                return Ok(Some(Packet::Whole));
            }
            if !more && HEAD_LEN + len <= BUFFER_LEN {
                // It will be whole in the buffer: look at its head again then.
                self.received.start -= HEAD_LEN;
                self.sequence = self.sequence.wrapping_sub(1);
                return Ok(None);
            }
            self.chunk = Some((len, more));
        }
        if self.large.len() < PIECE_LEN {
            match self.collect(PIECE_LEN)? {
                Collected::Starved => return Ok(None),
                Collected::End => return Ok(Some(self.finished())),
                Collected::Enough if self.is_in_pieces() => {
                    self.shown = self.large.len() - Self::LAST_PIECE;
                    return Ok(Some(Packet::Pieces));
                }
                Collected::Enough => self.refuse_too_long()?,
            }
        }
        match self.collect(Self::LONGEST)? {
            Collected::Starved => Ok(None),
            Collected::End => Ok(Some(self.finished())),
            Collected::Enough => Err(FrameError::TooLong(Self::LONGEST as u64)),
        }
    }

    /// The next piece of the packet at hand, which [`Frames::bytes`] then shows, and whether it is the
    /// last; `None` if it has not arrived.
    ///
    /// # Errors
    /// As for [`Frames::next`].
    pub(crate) fn more(&mut self) -> Result<Option<bool>, FrameError> {
        let shown = std::mem::take(&mut self.shown);
        self.large.copy_within(shown.., 0);
        self.large.truncate(self.large.len() - shown);
        let collected = match self.chunk {
            Some(_) => self.collect(PIECE_LEN)?,
            None => Collected::End,
        };
        match collected {
            Collected::Starved => Ok(None),
            Collected::Enough => {
                self.shown = self.large.len() - Self::LAST_PIECE;
                Ok(Some(false))
            }
            Collected::End => {
                self.finished();
                Ok(Some(true))
            }
        }
    }

    /// The packet or piece at hand.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.at_hand {
            Some(range) => &self.buffer[range.clone()],
            None => &self.large[..self.shown],
        }
    }

    fn let_go(&mut self) {
        self.at_hand = None;
        self.shown = 0;
        self.large.clear();
        self.large.shrink_to(KEPT_ROOM);
    }

    fn finished(&mut self) -> Packet {
        self.chunk = None;
        self.shown = self.large.len();
        Packet::Whole
    }

    /// Takes a chunk's head: its length, and whether another one follows it.
    fn head(&mut self) -> Result<Option<(usize, bool)>, FrameError> {
        let Some((head, _)) = self.buffer[self.received.clone()].split_first_chunk::<HEAD_LEN>()
        else {
            return Ok(None);
        };
        let [low, middle, high, sequence] = *head;
        if sequence != self.sequence {
            return Err(FrameError::Order);
        }
        self.sequence = sequence.wrapping_add(1);
        self.received.start += HEAD_LEN;
        let len = u32::from_le_bytes([low, middle, high, 0]) as usize;
        Ok(Some((len, len == FULL_CHUNK)))
    }

    /// Moves bytes of the packet at hand into `large` until there are `wanted`.
    fn collect(&mut self, wanted: usize) -> Result<Collected, FrameError> {
        while let Some((left, more)) = self.chunk {
            let len = left.min(self.received.len()).min(wanted - self.large.len());
            self.make_room(len);
            let start = self.received.start;
            self.large
                .extend_from_slice(&self.buffer[start..start + len]);
            self.received.start += len;
            self.chunk = Some((left - len, more));
            if left > len {
                return Ok(if self.large.len() == wanted {
                    Collected::Enough
                } else {
                    Collected::Starved
                });
            }
            if !more {
                self.chunk = None;
                break;
            }
            if self.large.len() == wanted {
                return Ok(Collected::Enough);
            }
            match self.head()? {
                Some(next) => self.chunk = Some(next),
                None => return Ok(Collected::Starved),
            }
        }
        Ok(Collected::End)
    }

    /// Makes room for what the event says is its size, as far as that is likely: no more than
    /// twice of what is there.
    fn make_room(&mut self, len: usize) {
        if self.large.capacity() - self.large.len() >= len {
            return;
        }
        let needed = self.large.len() + len;
        let claimed = match self.event_header() {
            Some(header) => header.event_size as usize + 1,
            None => needed,
        };
        let capacity = claimed.clamp(needed, needed.max(PIECE_LEN) * 2);
        self.large.reserve_exact(capacity - self.large.len());
    }

    /// The header of the event in `large`, which a byte precedes that says that all is well.
    fn event_header(&self) -> Option<EventHeader> {
        EventHeader::parse(self.large.get(1..)?).ok()
    }

    /// What an event says of its size is believed if it is bad news: before all of it is received.
    fn refuse_too_long(&self) -> Result<(), FrameError> {
        let goes_on = matches!(self.chunk, Some((_, true)));
        match self.event_header() {
            Some(header) if goes_on && header.event_size as usize > Self::LONGEST => {
                Err(FrameError::TooLong(header.event_size.into()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the packet at hand is one that comes in pieces.
    fn is_in_pieces(&self) -> bool {
        let header = self.event_header();
        matches!(self.chunk, Some((_, true)))
            && header.is_some_and(|header| header.type_code == EventType::TransactionPayload.code())
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
