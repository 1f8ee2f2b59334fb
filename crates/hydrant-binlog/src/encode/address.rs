//! MariaDB's INET4, INET6 and UUID, as its SELECT prints them.
//!
//! What does not live here: how a column is known to be one of them, because table maps show them as
//! BINARY ([`super::HiddenType`]).

use core::net::Ipv4Addr;
use std::io::Write as _;

use super::problem::CellProblem;

pub(super) fn write_inet4(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let bytes: [u8; 4] = padded(cell)?;
    // Writing into a vector cannot fail.
    let _ = write!(out, "{}", Ipv4Addr::from(bytes));
    Ok(())
}

/// Unlike RFC 5952, MariaDB also shortens a single zero group. The longest run of zeros becomes
/// `::`, the first of equal ones. Source: MariaDB `sql/sql_type_inet.cc`, `Inet6::to_string`.
pub(super) fn write_inet6(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let bytes: [u8; 16] = padded(cell)?;
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut gap = 0..0;
    let mut run = 0..0;
    for (index, pair) in pairs.iter().enumerate() {
        if *pair != [0, 0] {
            run = index + 1..index + 1;
            continue;
        }
        run.end = index + 1;
        if run.len() > gap.len() {
            gap = run.clone();
        }
    }
    let is_ipv4 = gap == (0..6) || (gap == (0..5) && pairs[5] == [0xff, 0xff]);
    let mut index = 0;
    while let Some([high, low]) = pairs.get(index) {
        if gap.start == index && !gap.is_empty() {
            out.extend_from_slice(if index == 0 { b"::" } else { b":" });
            index = gap.end;
            continue;
        }
        if is_ipv4 && index == 6 {
            return write_inet4(&bytes[12..], out);
        }
        let colon = if index + 1 < pairs.len() { ":" } else { "" };
        // Writing into a vector cannot fail.
        let _ = write!(out, "{:x}{colon}", u16::from_be_bytes([*high, *low]));
        index += 1;
    }
    Ok(())
}

pub(super) fn write_uuid(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let uuid = uuid::Uuid::from_bytes(uuid_in_order(padded(cell)?));
    let mut text = uuid::Uuid::encode_buffer();
    out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
    Ok(())
}

/// All bytes of a fixed width; the server leaves out zeros at the end.
fn padded<const N: usize>(cell: &[u8]) -> Result<[u8; N], CellProblem> {
    let mut bytes = [0; N];
    let stored = bytes.get_mut(..cell.len()).ok_or(CellProblem::Width)?;
    stored.copy_from_slice(cell);
    Ok(bytes)
}

/// MariaDB stores the parts of the UUIDs of versions 1 to 5 from the last to the first, so that
/// they sort by time, and all others as they are. Source: MariaDB `plugin/type_uuid/sql_type_uuid.h`.
fn uuid_in_order(stored: [u8; 16]) -> [u8; 16] {
    const PARTS: [(std::ops::Range<usize>, usize); 5] =
        [(12..16, 0), (10..12, 4), (8..10, 6), (6..8, 8), (0..6, 10)];
    // The variant is in the fourth part and the version in the third.
    let is_turned = stored[6] & 0x80 != 0 && (1..0x60).contains(&stored[8]);
    if !is_turned {
        return stored;
    }
    let mut bytes = [0; 16];
    for (from, to) in PARTS {
        bytes[to..to + from.len()].copy_from_slice(&stored[from]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet6(words: [u16; 8]) -> String {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let mut out = Vec::new();
        write_inet6(&bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_look_like_mariadbs() {
        for (words, text) in [
            ([0; 8], "::"),
            ([0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            ([0, 2, 3, 4, 5, 6, 7, 8], "::2:3:4:5:6:7:8"),
            ([1, 2, 3, 4, 5, 0, 7, 8], "1:2:3:4:5::7:8"),
            ([1, 2, 3, 4, 5, 6, 7, 0], "1:2:3:4:5:6:7::"),
            ([1, 0, 0, 4, 0, 0, 7, 8], "1::4:0:0:7:8"),
            ([1, 0, 3, 4, 0, 0, 0, 8], "1:0:3:4::8"),
            ([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304], "::ffff:1.2.3.4"),
            ([0, 0, 0, 0, 0, 0xfffe, 0x102, 0x304], "::fffe:102:304"),
            ([0, 0, 0, 0, 0, 0, 0x102, 0x304], "::1.2.3.4"),
        ] {
            assert_eq!(inet6(words), text);
        }
        let seventeen = [0; 17];
        assert_eq!(
            write_inet6(&seventeen, &mut Vec::new()),
            Err(CellProblem::Width)
        );
    }
}
