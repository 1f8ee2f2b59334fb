//! Fragments made by hand after MariaDB's source; no server of 12.3 has written them.

use std::io::Write as _;

use proptest::prelude::*;

use super::super::{DecodeError, DecoderStart, FilePosition, Inflater, Input, Step, WatchedTable};
use super::*;

const TABLE_MAP: &[u8] =
    b"\x09\0\0\0\0\0\x01\0\x04shop\0\x01T\0\x01\x03\0\0\x01\x01\0\x04\x03\x02id";

fn header(event_type: EventType, body_len: usize) -> EventHeader {
    EventHeader {
        timestamp: 1,
        type_code: event_type.code(),
        server_id: 1,
        event_size: u32::try_from(EventHeader::LEN + body_len).unwrap(),
        log_pos: 0,
        flags: 0x80,
    }
}

fn rows(table_id: u8, count: u16) -> Vec<u8> {
    let mut body = vec![table_id, 0, 0, 0, 0, 0, 1, 0, 1, 1];
    for id in 0..count {
        body.push(0);
        body.extend_from_slice(&u32::from(id).to_le_bytes());
    }
    body
}

/// A row event as it is before it is divided.
fn event(event_type: EventType, body: &[u8], sum_len: usize) -> Vec<u8> {
    let mut header = header(event_type, body.len());
    header.event_size += u32::try_from(sum_len.min(CHECKSUM_LEN)).unwrap();
    let mut bytes = [&header.to_bytes()[..], body].concat();
    if sum_len == CHECKSUM_LEN {
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    }
    bytes
}

/// Bodies of fragments; `is_total_first` as MariaDB's documentation has it.
fn divided(event: &[u8], len: usize, is_total_first: bool) -> Vec<Vec<u8>> {
    let chunks: Vec<&[u8]> = event.chunks(len).collect();
    let total = u32::try_from(chunks.len()).unwrap();
    let fragment = |(index, chunk): (usize, &&[u8])| {
        let number = u32::try_from(index + 1).unwrap();
        let (first, second) = if is_total_first {
            (total, number)
        } else {
            (number, total)
        };
        let mut body = [first.to_le_bytes(), second.to_le_bytes()].concat();
        body.push(u8::from(number == 1));
        if number == 1 {
            body.extend_from_slice(&(event.len() as u64).to_le_bytes());
        }
        body.extend_from_slice(chunk);
        body
    };
    chunks.iter().enumerate().map(fragment).collect()
}

/// Something that is done to fragments.
type Change<'c> = &'c dyn Fn(&mut Vec<Vec<u8>>);

struct Stream {
    decoder: Decoder,
    inflater: Inflater,
}

impl Stream {
    fn new() -> Self {
        let table = WatchedTable::inserts("shop", "T");
        let start = FilePosition::new("b.000001", 4);
        let mut stream = Self {
            decoder: Decoder::new(DecoderStart::at(start), &[table]).unwrap(),
            inflater: Inflater::default(),
        };
        let begin = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0BEGIN";
        stream.feed(EventType::Query, begin).unwrap();
        stream.feed(EventType::TableMap, TABLE_MAP).unwrap();
        let mut other = TABLE_MAP.to_vec();
        other[0] = 8;
        other[15] = b'U';
        stream.feed(EventType::TableMap, &other).unwrap();
        stream
    }

    /// The images of the rows that come out.
    fn feed(&mut self, event_type: EventType, body: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
        let header = header(event_type, body.len());
        let input = Input::Event(Event { header, body });
        let input = self.inflater.plain(input, &self.decoder)?;
        Ok(match self.decoder.take(&input)? {
            Step::Rows { rows, .. } => Some(rows.images.to_vec()),
            _ => None,
        })
    }

    fn feed_all(&mut self, fragments: &[Vec<u8>]) -> Result<Option<Vec<u8>>, Problem> {
        let mut images = None;
        for body in fragments {
            assert_eq!(images, None, "rows before the last fragment");
            let fed = self.feed(EventType::MariaPartialRowData, body);
            images = fed.map_err(|error| error.problem)?;
        }
        Ok(images)
    }
}

fn whole(fragments: &[Vec<u8>]) -> Result<Option<Vec<u8>>, Problem> {
    Stream::new().feed_all(fragments)
}

#[test]
fn a_row_event_is_put_together() {
    let body = rows(9, 300);
    let images = &body[10..];
    for len in [1, 19, 24, 25, 26, 100, 5_000] {
        for (sum_len, is_total_first) in [(0, false), (4, false), (5, false), (0, true)] {
            let event = event(EventType::WriteRowsV1, &body, sum_len);
            let fragments = divided(&event, len, is_total_first);
            let made = whole(&fragments);
            assert_eq!(
                made,
                Ok(Some(images.to_vec())),
                "{len} {sum_len} {is_total_first}"
            );
        }
    }
    // The place is that of the last fragment's end, and nothing is left open.
    let mut stream = Stream::new();
    let before = stream.decoder.position().offset;
    let fragments = divided(&event(EventType::WriteRowsV1, &body, 0), 100, false);
    stream.feed_all(&fragments).unwrap();
    let len: usize = fragments
        .iter()
        .map(|body| EventHeader::LEN + body.len())
        .sum();
    assert_eq!(stream.decoder.position().offset - before, len as u64);
    stream.feed(EventType::Xid, &[0; 8]).unwrap();
    assert_eq!(stream.decoder.committed(), Some(stream.decoder.position()));
}

#[test]
fn a_compressed_row_event_is_put_together_and_unpacked() {
    let body = rows(9, 300);
    let (head, images) = body.split_at(10);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(images).unwrap();
    let len = u16::try_from(images.len()).unwrap().to_be_bytes();
    let packed = [head, &[0x82], &len, &zlib.finish().unwrap()].concat();
    let event = event(EventType::MariaWriteRowsCompressedV1, &packed, 0);
    assert_eq!(
        whole(&divided(&event, 100, false)),
        Ok(Some(images.to_vec()))
    );
}

#[test]
fn rows_of_a_table_that_is_not_followed_are_not_kept() {
    let event = event(EventType::WriteRowsV1, &rows(8, 30_000), 0);
    let mut stream = Stream::new();
    assert_eq!(stream.feed_all(&divided(&event, 1_000, false)), Ok(None));
    assert!(stream.inflater.kept_fragments().capacity() < 2_000);
    assert!(stream.feed(EventType::Xid, &[0; 8]).is_ok());
}

#[test]
fn fragments_that_do_not_follow_each_other_are_malformed() {
    let event_bytes = event(EventType::WriteRowsV1, &rows(9, 300), 0);
    let good = divided(&event_bytes, 300, false);
    assert!(good.len() > 4);
    let with = |change: Change<'_>| {
        let mut fragments = good.clone();
        change(&mut fragments);
        whole(&fragments)
    };
    let last = good.len() - 1;
    let changes: [(&str, Change<'_>); 11] = [
        ("missing", &|all| drop(all.remove(2))),
        ("the first missing", &|all| drop(all.remove(0))),
        ("twice", &|all| all.insert(2, all[2].clone())),
        ("in another order", &|all| all.swap(1, 2)),
        ("the first again", &|all| all.insert(1, all[0].clone())),
        ("another total", &|all| all[1][4] ^= 1),
        ("an unknown flag", &|all| all[1][8] = 2),
        ("a larger size", &|all| all[0][9] ^= 1),
        ("a byte less", &|all| {
            all[last].pop();
        }),
        ("a byte more", &|all| all[last].push(0)),
        ("no row event", &|all| all[0][9 + 8 + 4] = 2),
    ];
    for (what, change) in changes {
        assert_eq!(with(change), Err(GROUP), "{what}");
    }
    assert_eq!(with(&|all| all[1].truncate(6)), Err(Problem::Truncated));
    let huge = with(&|all| all[0][9..17].copy_from_slice(&(1_u64 << 32).to_le_bytes()));
    assert_eq!(huge, Err(Problem::RowEventTooLarge(1 << 32)));

    // Something else before the last.
    let mut stream = Stream::new();
    stream.feed_all(&good[..2]).unwrap();
    stream.feed(EventType::Heartbeat, b"b.000001").unwrap();
    let error = stream.feed(EventType::Xid, &[0; 8]).unwrap_err();
    assert_eq!(error.problem, GROUP);
    assert_eq!(error.position, *stream.decoder.position());
}

#[test]
fn what_is_open_is_forgotten_when_it_comes_again_or_never() {
    let event = event(EventType::WriteRowsV1, &rows(9, 300), 0);
    let fragments = divided(&event, 300, false);
    let mut stream = Stream::new();
    stream.feed_all(&fragments[..2]).unwrap();
    stream.inflater.rewind();
    assert!(stream.feed_all(&fragments).unwrap().is_some());
    stream.feed_all(&fragments[..2]).unwrap();
    // A server that has died begins another file.
    let rotate = [&4_u64.to_le_bytes()[..], b"b.000002"].concat();
    let error = stream.feed(EventType::Rotate, &rotate).unwrap_err();
    assert_eq!(error.problem, Problem::Unfinished, "the rows before");
    let mut stream = Stream::new();
    stream.feed_all(&fragments[..2]).unwrap();
    stream.feed(EventType::Rotate, &rotate).unwrap();
    assert_eq!(stream.decoder.transaction(), None);
}

#[test]
fn a_fragment_is_never_taken_for_nothing() {
    let event = event(EventType::WriteRowsV1, &rows(9, 3), 0);
    let fragments = divided(&event, 10, false);
    let mut stream = Stream::new();
    let header = header(EventType::MariaPartialRowData, fragments[0].len());
    let raw = Event {
        header,
        body: &fragments[0],
    };
    let error = stream.decoder.event(&raw).unwrap_err();
    assert_eq!(
        error.problem,
        Problem::Unsupported(EventType::MariaPartialRowData)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bodies in prop::collection::vec(prop::collection::vec(0_u8..12, 0..60), 1..6),
    ) {
        drop(whole(&bodies));
    }

    #[test]
    fn flipped_bits_never_add_or_drop_rows_in_silence(
        fragment in 0_usize..5,
        byte in 0_usize..17,
        bit in 0_u8..8,
    ) {
        let body = rows(9, 300);
        let event = event(EventType::WriteRowsV1, &body, 0);
        let mut fragments = divided(&event, 320, false);
        let at = byte.min(if fragment == 0 { 16 } else { 8 });
        fragments[fragment][at] ^= 1 << bit;
        prop_assert!(whole(&fragments).is_err());
    }
}
