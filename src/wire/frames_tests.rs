//! Packets cut into chunks, received in pieces of any length.

use proptest::prelude::*;

use super::*;

/// A packet as it travels.
fn chunks(packet: &[u8], sequence: &mut u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = packet;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(FULL_CHUNK));
        let len = u32::try_from(chunk.len()).unwrap();
        bytes.extend_from_slice(&len.to_le_bytes()[..3]);
        bytes.push(*sequence);
        *sequence = sequence.wrapping_add(1);
        bytes.extend_from_slice(chunk);
        if chunk.len() < FULL_CHUNK {
            return bytes;
        }
        rest = after;
    }
}

/// An OK byte, and an event of this type and size.
fn packet(event_type: EventType, size: usize, fill: u8) -> Vec<u8> {
    let header = EventHeader {
        timestamp: 0,
        type_code: event_type.code(),
        server_id: 1,
        event_size: u32::try_from(size).unwrap(),
        log_pos: 0,
        flags: 0,
    };
    let mut bytes = vec![0];
    bytes.extend_from_slice(&header.to_bytes());
    let body = (0..size - EventHeader::LEN).map(|index| u8::try_from(index % 251).unwrap() ^ fill);
    bytes.extend(body);
    bytes
}

/// What comes out of bytes that are received so many at a time: packets, and how many pieces each had.
fn receive(bytes: &[u8], at_once: usize) -> Result<Vec<(Vec<u8>, usize)>, FrameError> {
    let mut frames = Frames::new();
    let mut rest = bytes;
    let mut packets = Vec::new();
    loop {
        let mut next = None;
        match packets.last_mut() {
            Some((packet, pieces, open @ true)) => {
                if let Some(last) = frames.more()? {
                    assert!(!last || frames.bytes().len() >= Frames::LAST_PIECE);
                    Vec::extend_from_slice(packet, frames.bytes());
                    *pieces += 1;
                    *open = !last;
                    continue;
                }
            }
            _ => next = frames.next()?,
        }
        if let Some(kind) = next {
            packets.push((frames.bytes().to_vec(), 1, kind == Packet::Pieces));
            continue;
        }
        if rest.is_empty() {
            assert!(packets.iter().all(|(_, _, open)| !open));
            return Ok(packets
                .into_iter()
                .map(|(packet, pieces, _)| (packet, pieces))
                .collect());
        }
        let space = frames.space();
        assert!(!space.is_empty());
        let len = at_once.min(space.len()).min(rest.len());
        space[..len].copy_from_slice(&rest[..len]);
        frames.filled(len);
        rest = &rest[len..];
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn packets_come_out_as_they_went_in(
        sizes in prop::collection::vec(
            prop_oneof![19_usize..400, 200_000_usize..600_000, Just(BUFFER_LEN - 5), Just(BUFFER_LEN - 4),
                Just(PIECE_LEN - 1), Just(PIECE_LEN)],
            1..8,
        ),
        at_once in prop_oneof![1_usize..40, 1000_usize..300_000],
    ) {
        let mut sequence = 0;
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (size, fill) in sizes.into_iter().zip(0..) {
            let packet = packet(EventType::WriteRows, size, fill);
            bytes.extend(chunks(&packet, &mut sequence));
            expected.push((packet, 1));
        }
        prop_assert_eq!(receive(&bytes, at_once).unwrap(), expected);
    }
}

#[test]
fn packets_of_several_chunks_are_put_together_or_come_in_pieces() {
    for size in [
        FULL_CHUNK - 2,
        FULL_CHUNK - 1,
        FULL_CHUNK,
        2 * FULL_CHUNK - 1,
        40 << 20,
    ] {
        for event_type in [EventType::WriteRows, EventType::TransactionPayload] {
            let mut sequence = 0;
            let before = packet(EventType::RowsQuery, 30, 1);
            let large = packet(event_type, size, 2);
            let mut bytes = Vec::new();
            for packet in [&before, &large, &before] {
                bytes.extend(chunks(packet, &mut sequence));
            }
            let received = receive(&bytes, 100_000).unwrap();
            assert_eq!(received.len(), 3);
            assert!(received[1].0 == large, "{size}");
            let in_pieces =
                event_type == EventType::TransactionPayload && large.len() >= FULL_CHUNK;
            assert_eq!(received[1].1 > 1, in_pieces, "{size} {event_type}");
            assert_eq!(received[2], (before, 1));
        }
    }
}

#[test]
fn a_chunk_out_of_order_is_seen() {
    let mut bytes = chunks(&packet(EventType::RowsQuery, 30, 1), &mut 0);
    bytes.extend(chunks(&packet(EventType::RowsQuery, 30, 1), &mut 2));
    assert!(receive(&bytes, 10).is_err());
}

#[test]
fn the_number_of_a_chunk_goes_around() {
    let mut sequence = 0;
    let packet = packet(EventType::RowsQuery, 30, 1);
    let bytes: Vec<u8> = (0..600)
        .flat_map(|_| chunks(&packet, &mut sequence))
        .collect();
    assert_eq!(receive(&bytes, 77).unwrap().len(), 600);
}

/// Room for a large packet is made as it arrives, and given back.
#[test]
fn the_size_of_an_event_is_believed_as_far_as_it_arrives() {
    let mut lie = packet(EventType::WriteRows, 30, 0);
    lie[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
    lie.resize(400_000, 0);
    let mut frames = Frames::new();
    let bytes = chunks(&lie, &mut 0);
    for piece in bytes.chunks(50_000) {
        assert_eq!(frames.next(), Ok(None));
        frames.space()[..piece.len()].copy_from_slice(piece);
        frames.filled(piece.len());
    }
    assert_eq!(frames.next(), Ok(Some(Packet::Whole)));
    assert!(frames.large.capacity() <= 2 << 20);
}

/// 256 KiB of it are enough to know.
#[test]
fn a_packet_longer_than_any_is_refused_before_it_is_received() {
    let mut bytes = chunks(&packet(EventType::WriteRows, FULL_CHUNK + 9, 1), &mut 0);
    let size_at = HEAD_LEN + 1 + 9;
    bytes[size_at..size_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    bytes.truncate(HEAD_LEN + PIECE_LEN);
    let refused = receive(&bytes, 10_000).unwrap_err();
    assert_eq!(refused, FrameError::TooLong(u32::MAX.into()));
}
