//! MariaDB's compressed events (`log_bin_compress`) and those that come in fragments, made into the events that they
//! stand for.

use std::io::Read as _;

use flate2::bufread::ZlibDecoder;

use super::bytes::Cursor;
use super::fragments::Fragments;
use super::{DecodeError, Decoder, Event, EventHeader, EventType, Input, Problem, query, rows};

/// Room that is kept for the next event.
const KEPT_ROOM: usize = 1 << 20;

/// Unpacks one event at a time into a buffer of its own, and keeps the fragments of one.
#[derive(Debug, Default)]
pub struct Inflater {
    body: Vec<u8>,
    fragments: Fragments,
}

impl Inflater {
    /// The input as `decoder` takes it: with the event that a QUERY_COMPRESSED, or a WRITE_, UPDATE_
    /// or DELETE_ROWS_COMPRESSED_V1 event of a followed table, stands for, and in place of the last fragment of
    /// a row event that event. Memory is what its bytes unpack to, and all fragments of one event.
    ///
    /// # Errors
    /// If its data are not as long as it says, or if fragments do not follow each other.
    #[inline]
    pub fn plain<'a>(
        &'a mut self,
        input: Input<'a>,
        decoder: &Decoder,
    ) -> Result<Input<'a>, DecodeError> {
        match input {
            Input::Event(event) if self.fragments.are_open() || is_made_plain(&event) => {
                let made = self.made(event, decoder);
                made.map_err(|problem| decoder.ahead(problem))
            }
            input => Ok(input),
        }
    }

    /// The server sends what is open once more.
    pub fn rewind(&mut self) {
        self.fragments.clear();
    }

    #[cfg(test)]
    pub(super) fn kept_fragments(&self) -> &Vec<u8> {
        self.fragments.bytes()
    }

    fn made<'a>(
        &'a mut self,
        mut event: Event<'a>,
        decoder: &Decoder,
    ) -> Result<Input<'a>, Problem> {
        let event_type = EventType::from_code(event.header.type_code);
        if event_type == EventType::MariaPartialRowData {
            if !self.fragments.add(event.body, decoder)? {
                return Ok(Input::Fragment(event.header));
            }
            event = self.fragments.whole(event.header)?;
        } else if self.fragments.are_open() {
            match event_type {
                EventType::Heartbeat | EventType::HeartbeatV2 => {}
                // The server died in the middle of them.
                EventType::Rotate | EventType::Stop | EventType::FormatDescription => {
                    self.fragments.clear();
                }
                _ => return Err(Problem::Malformed("the fragments of a row event")),
            }
        }
        if decoder.is_to_be_inflated(&event) {
            inflate(&event, &mut self.body).map(Input::Event)
        } else {
            Ok(Input::Event(event))
        }
    }
}

/// Whether an event may stand for another one.
fn is_made_plain(event: &Event<'_>) -> bool {
    matches!(
        EventType::from_code(event.header.type_code),
        EventType::MariaPartialRowData
            | EventType::MariaQueryCompressed
            | EventType::MariaWriteRowsCompressedV1
            | EventType::MariaUpdateRowsCompressedV1
            | EventType::MariaDeleteRowsCompressedV1
    )
}

/// The event that a compressed one stands for.
pub(super) fn inflate<'b>(event: &Event<'_>, out: &'b mut Vec<u8>) -> Result<Event<'b>, Problem> {
    let compressed_type = EventType::from_code(event.header.type_code);
    let (plain_type, packed) = match compressed_type {
        EventType::MariaQueryCompressed => (EventType::Query, query::statement_text(event.body)?),
        EventType::MariaWriteRowsCompressedV1 => {
            (EventType::WriteRowsV1, rows::images_v1(event.body, 1)?)
        }
        EventType::MariaUpdateRowsCompressedV1 => {
            (EventType::UpdateRowsV1, rows::images_v1(event.body, 2)?)
        }
        EventType::MariaDeleteRowsCompressedV1 => {
            (EventType::DeleteRowsV1, rows::images_v1(event.body, 1)?)
        }
        other => return Err(Problem::Unsupported(other)),
    };
    let head_len = event.body.len() - packed.len();
    out.clear();
    out.shrink_to(KEPT_ROOM);
    out.extend_from_slice(&event.body[..head_len]);
    unpack(packed, out)?;
    let header = EventHeader {
        type_code: plain_type.code(),
        ..event.header
    };
    Ok(Event { header, body: out })
}

/// A byte of which bit 7 is set, bits 4 to 6 name the algorithm (0 is zlib) and bits 0 to 2 count the
/// bytes of the length that follows, highest first; then the data (MariaDB `binlog_buf_compress`).
fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Result<(), Problem> {
    const DATA: Problem = Problem::Malformed("the data of the compressed event");
    let mut cursor = Cursor(packed);
    let head = cursor.u8()?;
    let algorithm = head >> 4 & 7;
    if head & 0x80 == 0 || algorithm != 0 {
        return Err(Problem::UnknownCompression(algorithm.into()));
    }
    let len_bytes = cursor.take(usize::from(head & 7))?;
    if !(1..=4).contains(&len_bytes.len()) {
        return Err(DATA);
    }
    let fold = |len, byte: &u8| len << 8 | u64::from(*byte);
    let len = len_bytes.iter().fold(0_u64, fold);
    let before = out.len();
    let mut zlib = ZlibDecoder::new(cursor.0);
    // One byte more than there may be, so that a longer stream is seen. `out` grows with the data.
    let mut limited = (&mut zlib).take(len + 1);
    limited.read_to_end(out).map_err(|_| DATA)?;
    let whole = (out.len() - before) as u64 == len && zlib.get_ref().is_empty();
    if whole { Ok(()) } else { Err(DATA) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn pack(data: &[u8]) -> Vec<u8> {
        let len = u32::try_from(data.len()).unwrap().to_be_bytes();
        let skip = len.iter().take_while(|byte| **byte == 0).count().min(3);
        let mut packed = vec![0x80 | u8::try_from(4 - skip).unwrap()];
        packed.extend_from_slice(&len[skip..]);
        let mut zlib = flate2::write::ZlibEncoder::new(packed, flate2::Compression::default());
        zlib.write_all(data).unwrap();
        zlib.finish().unwrap()
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(data in prop::collection::vec(0_u8..4, 0..70_000)) {
            let mut out = b"before".to_vec();
            unpack(&pack(&data), &mut out).unwrap();
            prop_assert_eq!(&out[..6], b"before");
            prop_assert_eq!(&out[6..], &data);
        }

        #[test]
        fn no_bytes_make_it_panic(packed in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(unpack(&packed, &mut Vec::new()));
        }
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let whole = pack(&[7; 300]);
        for len in 0..whole.len() {
            assert!(unpack(&whole[..len], &mut Vec::new()).is_err(), "{len}");
        }
        for (index, byte, what) in [
            (0, 0x02, "not compressed"),
            (0, 0x92, "another algorithm"),
            (0, 0x80, "no length"),
            (2, 0x2b, "a byte less"),
            (2, 0x2d, "a byte more"),
        ] {
            let mut bytes = whole.clone();
            bytes[index] = byte;
            assert!(unpack(&bytes, &mut Vec::new()).is_err(), "{what}");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(unpack(&longer, &mut Vec::new()).is_err());
    }
}
