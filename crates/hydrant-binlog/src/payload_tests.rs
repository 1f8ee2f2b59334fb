//! Compressed transactions made by hand: cut, flipped, and lying about their sizes.

use proptest::prelude::*;

use super::super::EventType;
use super::*;

fn event(body_len: usize, fill: u8) -> Vec<u8> {
    let header = EventHeader {
        timestamp: 0,
        type_code: EventType::RowsQuery.code(),
        server_id: 1,
        event_size: u32::try_from(EventHeader::LEN + body_len).unwrap(),
        log_pos: 0,
        flags: 0,
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend((0..body_len).map(|index| fill.wrapping_add(u8::try_from(index % 7).unwrap())));
    bytes
}

fn field(number: u8, value: u64) -> Vec<u8> {
    let mut bytes = vec![number, 9, 254];
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes
}

fn body(packed: &[u8], unpacked_len: usize) -> Vec<u8> {
    [
        field(1, packed.len() as u64),
        field(2, 0),
        field(3, unpacked_len as u64),
        vec![0],
        packed.to_vec(),
    ]
    .concat()
}

fn pack(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 3).unwrap()
}

/// Unpacks a body that comes in pieces of these lengths, again and again.
fn unpack(body: &[u8], pieces: &[usize]) -> Result<Vec<u8>, Problem> {
    let (mut payload, taken) = Payload::open(body, body.len() as u64)?;
    let mut out = Vec::new();
    let (mut piece, mut rest) = (&[][..], &body[taken..]);
    let mut lens = pieces.iter().cycle();
    loop {
        match payload.next(&mut piece)? {
            Unpacked::Event(event) => {
                out.extend_from_slice(&event.header.to_bytes());
                out.extend_from_slice(event.body);
            }
            Unpacked::End => return Ok(out),
            Unpacked::Starved => {
                assert!(piece.is_empty());
                if rest.is_empty() {
                    return Err(Problem::Truncated);
                }
                (piece, rest) = rest.split_at(rest.len().min(*lens.next().unwrap()));
            }
        }
    }
}

proptest! {
    #[test]
    fn events_come_out_as_they_went_in(
        lens in prop::collection::vec(prop_oneof![0_usize..300, 8_000_usize..9_000, 100_000_usize..300_000], 1..12),
        pieces in prop::collection::vec(prop_oneof![1_usize..4, 100_usize..10_000], 1..5),
        frames in 1_usize..3,
    ) {
        let data: Vec<u8> = lens.iter().zip(1..).flat_map(|(len, fill)| event(*len, fill)).collect();
        let packed: Vec<u8> = data.chunks(data.len().div_ceil(frames)).flat_map(pack).collect();
        prop_assert_eq!(unpack(&body(&packed, data.len()), &pieces).unwrap(), data);
    }

    #[test]
    fn no_flipped_byte_makes_it_panic(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let data = [event(500, 1), event(20_000, 2)].concat();
        let mut body = body(&pack(&data), data.len());
        let at = at.index(body.len());
        body[at] ^= flip;
        drop(unpack(&body, &[1000]));
    }
}

#[test]
fn whatever_does_not_add_up_is_refused() {
    let data = [event(500, 1), event(20_000, 2)].concat();
    let packed = pack(&data);
    let whole = body(&packed, data.len());
    assert!(unpack(&whole, &[usize::MAX]).is_ok());
    for len in 0..whole.len() {
        assert!(unpack(&whole[..len], &[usize::MAX]).is_err(), "{len}");
    }
    let half_event = &data[..data.len() - 1];
    let two_frames = [&packed[..], &pack(&data)].concat();
    for (body, what) in [
        (body(&packed, data.len() + 1), "an unpacked byte less"),
        (body(&packed, data.len() - 1), "an unpacked byte more"),
        (body(&packed, 0), "nothing unpacked"),
        (body(&pack(half_event), half_event.len()), "half an event"),
        (
            body(&[&packed[..], &[0]].concat(), data.len()),
            "a byte behind",
        ),
        (body(&two_frames, data.len()), "a frame behind"),
        (body(&data, data.len()), "data that are not compressed"),
        ([&whole[..], &[0]].concat(), "a byte behind the event"),
        ([field(4, 1), whole.clone()].concat(), "an unknown field"),
        ([field(2, 0), whole.clone()].concat(), "a field twice"),
        (
            [&[1, 1], &whole[..]].concat(),
            "a field with a longer value",
        ),
        (whole[field(1, 0).len()..].to_vec(), "a field less"),
        ([vec![0], packed.clone()].concat(), "no fields"),
    ] {
        assert!(unpack(&body, &[64]).is_err(), "{what}");
    }
}

#[test]
fn another_compression_is_named() {
    let body = [field(1, 0), field(2, 255), field(3, 1), vec![0]].concat();
    let error = Payload::open(&body, body.len() as u64).unwrap_err();
    assert_eq!(error, Problem::UnknownCompression(255));
}

/// A small event may say that it unpacks to something huge: room is made as data come.
#[test]
fn a_size_is_believed_as_far_as_there_are_data() {
    let mut lie = event(0, 0);
    lie[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
    let body = body(&pack(&lie), u32::MAX as usize);
    let (mut payload, taken) = Payload::open(&body, body.len() as u64).unwrap();
    assert!(payload.next(&mut &body[taken..]).is_err());
    assert!(payload.event.capacity() < 1 << 20);
}
