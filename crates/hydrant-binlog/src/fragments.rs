//! Row events of MariaDB 12.3 and later that come in fragments (PARTIAL_ROW_DATA_EVENT), put together.
//!
//! A fragment has its number, from 1 on, the number of all, and flags; the first also has the size of the whole;
//! then bytes of the row event, which begins with its own header. MariaDB's source has the fragment's number before
//! that of all, its documentation has it behind.

use super::bytes::Cursor;
use super::{Decoder, Event, EventHeader, EventType, Problem, rows};

const GROUP: Problem = Problem::Malformed("the fragments of a row event");
/// Flag of the first fragment.
const HAS_SIZE: u8 = 1;
/// The largest row event that is put together, as large as the largest packet.
const LIMIT_BYTES: u64 = 1 << 30;
/// Room that is kept for the next one.
const KEPT_ROOM: usize = 1 << 20;
const CHECKSUM_LEN: usize = 4;

/// The fragments of one row event so far.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    bytes: Vec<u8>,
    open: Option<Open>,
}

/// What is known of an event whose fragments are not all there.
#[derive(Debug, Clone, Copy)]
struct Open {
    is_total_first: bool,
    total: u32,
    /// Fragments that are there.
    count: u32,
    size: u64,
    seen: u64,
    /// It is of a table that is not followed.
    is_dropped: bool,
}

impl Fragments {
    /// Whether some are there and some are missing.
    pub(super) fn are_open(&self) -> bool {
        self.open.is_some()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &Vec<u8> {
        &self.bytes
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.open = None;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_ROOM);
    }

    /// Takes in a fragment; says whether [`Fragments::whole`] has an event now.
    pub(super) fn add(&mut self, body: &[u8], decoder: &Decoder) -> Result<bool, Problem> {
        let mut cursor = Cursor(body);
        let numbers = (cursor.u32()?, cursor.u32()?);
        let flags = cursor.u8()?;
        let mut open = match self.open {
            Some(open) if flags == 0 => open,
            None if flags == HAS_SIZE => {
                self.clear();
                Open::first(numbers, cursor.uint(8)?)?
            }
            Some(_) | None => return Err(GROUP),
        };
        let (number, total) = if open.is_total_first {
            (numbers.1, numbers.0)
        } else {
            numbers
        };
        open.count += 1;
        open.seen += cursor.0.len() as u64;
        if number != open.count || total != open.total || open.seen > open.size {
            return Err(GROUP);
        }
        if number == 1 {
            let row_event = cursor.0.get(EventHeader::LEN..).unwrap_or_default();
            open.is_dropped = matches!(decoder.followed_table(row_event), Ok(None));
        }
        if !open.is_dropped {
            self.bytes.extend_from_slice(cursor.0);
        }
        self.open = Some(open);
        if number < total {
            return Ok(false);
        }
        self.open = None;
        if open.seen == open.size {
            Ok(!open.is_dropped)
        } else {
            Err(GROUP)
        }
    }

    /// The event whose last fragment has `header`.
    pub(super) fn whole(&self, header: EventHeader) -> Result<Event<'_>, Problem> {
        let inner = EventHeader::parse(&self.bytes)?;
        let mut body = &self.bytes[EventHeader::LEN..];
        let size = inner.event_size as usize;
        // Its own checksum may be there, may be missing, or may be counted and missing.
        if let Some((rest, sum)) = self.bytes.split_last_chunk::<CHECKSUM_LEN>()
            && crc32fast::hash(rest) == u32::from_le_bytes(*sum)
            && rest.len() >= EventHeader::LEN
        {
            body = &rest[EventHeader::LEN..];
        }
        let is_size = size == self.bytes.len() || size == self.bytes.len() + CHECKSUM_LEN;
        let is_rows = matches!(
            EventType::from_code(inner.type_code),
            EventType::WriteRowsV1
                | EventType::UpdateRowsV1
                | EventType::DeleteRowsV1
                | EventType::WriteRows
                | EventType::UpdateRows
                | EventType::DeleteRows
                | EventType::MariaWriteRowsCompressedV1
                | EventType::MariaUpdateRowsCompressedV1
                | EventType::MariaDeleteRowsCompressedV1
        );
        if !is_size || !is_rows || rows::table_id(body).is_err() {
            return Err(GROUP);
        }
        let header = EventHeader {
            type_code: inner.type_code,
            ..header
        };
        Ok(Event { header, body })
    }
}

impl Open {
    /// The first fragment tells the order of its two numbers: its own is 1, and no other one can be before that of
    /// all.
    fn first(numbers: (u32, u32), size: u64) -> Result<Self, Problem> {
        let (is_total_first, total) = match numbers {
            (1, total @ 1..) => (false, total),
            (total, 1) => (true, total),
            _ => return Err(GROUP),
        };
        if size > LIMIT_BYTES {
            return Err(Problem::RowEventTooLarge(size));
        }
        Ok(Self {
            is_total_first,
            total,
            count: 0,
            size,
            seen: 0,
            is_dropped: false,
        })
    }
}

#[cfg(test)]
#[path = "fragments_tests.rs"]
mod tests;
