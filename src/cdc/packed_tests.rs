//! A compressed transaction that comes in pieces, whole and damaged.

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use super::*;
use crate::binlog::EventType;
use crate::wire::Packet;

fn event(event_type: EventType, body: &[u8], sum_len: usize) -> Vec<u8> {
    let header = EventHeader {
        timestamp: 0,
        type_code: event_type.code(),
        server_id: 1,
        event_size: u32::try_from(EventHeader::LEN + body.len() + sum_len).unwrap(),
        log_pos: 0,
        flags: 0,
    };
    [&header.to_bytes()[..], body].concat()
}

const SIZES: [usize; 3] = [18 << 20, 100_000, 8];

/// The packet of a transaction of three events that do not compress, with its checksum.
fn packet(checksum: Checksum) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(7);
    let events = SIZES.map(|size| {
        let mut body = vec![0; size];
        random.fill_bytes(&mut body);
        event(EventType::RowsQuery, &body, 0)
    });
    let unpacked = events.concat();
    let packed = zstd::bulk::compress(&unpacked, 1).unwrap();
    let mut body = Vec::new();
    for (number, value) in [(1, packed.len()), (2, 0), (3, unpacked.len())] {
        body.extend_from_slice(&[number, 9, 254]);
        body.extend_from_slice(&(value as u64).to_le_bytes());
    }
    body.push(0);
    body.extend_from_slice(&packed);
    let sum_len = checksum.sum_len();
    let mut event = event(EventType::TransactionPayload, &body, sum_len);
    let sum = crc32fast::hash(&event).to_le_bytes();
    event.extend_from_slice(&sum[..sum_len]);
    [&[0][..], &event].concat()
}

/// Bodies of the events that come out of a packet before its end or an error.
fn unpack(packet: &[u8], checksum: Checksum) -> (Vec<usize>, Result<(), Problem>) {
    let mut frames = Frames::new();
    let mut received = Vec::new();
    for (chunk, number) in packet.chunks(0xff_ffff).zip(0_u8..) {
        received.extend_from_slice(&u32::try_from(chunk.len()).unwrap().to_le_bytes()[..3]);
        received.push(number);
        received.extend_from_slice(chunk);
    }
    let mut rest = &received[..];
    let mut receive = |frames: &mut Frames| {
        let space = frames.space();
        let len = space.len().min(rest.len()).min(70_000);
        assert!(len > 0, "the packet is over");
        space[..len].copy_from_slice(&rest[..len]);
        frames.filled(len);
        rest = &rest[len..];
    };
    loop {
        match frames.next().unwrap() {
            Some(kind) => break assert_eq!(kind, Packet::Pieces),
            None => receive(&mut frames),
        }
    }
    let mut sizes = Vec::new();
    let outcome = Packed::open(frames.bytes(), checksum, false).and_then(|mut packed| {
        loop {
            match packed.next(frames.bytes())? {
                Next::Event(event) => sizes.push(event.body.len()),
                Next::End => return Ok(()),
                Next::Starved => {
                    while !packed.has_more(&mut frames)? {
                        receive(&mut frames);
                    }
                }
            }
        }
    });
    (sizes, outcome)
}

#[test]
fn a_transaction_in_pieces_is_handed_out_event_by_event() {
    for checksum in [Checksum::Crc32, Checksum::Off] {
        let (sizes, outcome) = unpack(&packet(checksum), checksum);
        assert_eq!(outcome, Ok(()), "{checksum:?}");
        assert_eq!(sizes, SIZES);
    }
}

/// Wherever a byte is flipped, what commits is never handed out.
#[test]
fn a_flipped_byte_is_seen_before_the_last_event() {
    let whole = packet(Checksum::Crc32);
    for at in [60, 1_000_000, 17_000_000, whole.len() - 5, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        let (sizes, outcome) = unpack(&damaged, Checksum::Crc32);
        assert!(outcome.is_err(), "{at}");
        assert!(sizes.len() < SIZES.len(), "{at}");
    }
}
