//! Cells of MariaDB's COMPRESSED columns.
//!
//! What does not live here: compressed events ([`crate::binlog`]).
//!
//! Source of the format: MariaDB `sql/field_comp.cc`. An empty value is empty. Otherwise the first byte has
//! the method in its upper half, 8 for zlib and 0 for none; then whether zlib's header is left out, and in its
//! lowest three bits how many bytes of the unpacked length follow, the highest first.

use std::borrow::Cow;

use flate2::{Decompress, FlushDecompress, Status};

use super::problem::CellProblem;

const ZLIB: u8 = 8;
const WITHOUT_HEADER: u8 = 8;
const LENGTH_BYTES: u8 = 7;
/// Deflate's best: 258 bytes for two bits.
const MOST_GROWTH: usize = 1_032;

/// The cell's value.
pub(super) fn uncompressed(cell: &[u8]) -> Result<Cow<'_, [u8]>, CellProblem> {
    let Some((head, rest)) = cell.split_first() else {
        return Ok(Cow::Borrowed(cell));
    };
    match head >> 4 {
        0 if *head == 0 => Ok(Cow::Borrowed(rest)),
        ZLIB => {
            let (len, packed) = rest
                .split_at_checked(usize::from(head & LENGTH_BYTES))
                .ok_or(CellProblem::Compressed)?;
            let len = len
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            inflate(packed, len, head & WITHOUT_HEADER == 0).map(Cow::Owned)
        }
        _ => Err(CellProblem::Compressed),
    }
}

fn inflate(packed: &[u8], len: usize, has_header: bool) -> Result<Vec<u8>, CellProblem> {
    if len > packed.len().saturating_mul(MOST_GROWTH) {
        return Err(CellProblem::Compressed);
    }
    let mut value = vec![0; len];
    let mut inflater = Decompress::new(has_header);
    match inflater.decompress(packed, &mut value, FlushDecompress::Finish) {
        Ok(Status::StreamEnd)
            if inflater.total_out() == len as u64 && inflater.total_in() == packed.len() as u64 =>
        {
            Ok(value)
        }
        _ => Err(CellProblem::Compressed),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn packed(head: u8, value: &[u8]) -> Vec<u8> {
        let mut cell = vec![head | 2];
        cell.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        if head & WITHOUT_HEADER == 0 {
            let mut encoder = ZlibEncoder::new(cell, Compression::fast());
            encoder.write_all(value).unwrap();
            return encoder.finish().unwrap();
        }
        let mut encoder = DeflateEncoder::new(cell, Compression::fast());
        encoder.write_all(value).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn values_come_back_and_damage_is_seen() {
        let value = b"ab".repeat(500);
        assert_eq!(uncompressed(b"").as_deref(), Ok(&b""[..]));
        assert_eq!(uncompressed(b"\0as it is").as_deref(), Ok(&b"as it is"[..]));
        for head in [0x80, 0x88] {
            let cell = packed(head, &value);
            assert_eq!(uncompressed(&cell).as_deref(), Ok(&value[..]));
            for len in 1..cell.len() {
                assert!(uncompressed(&cell[..len]).is_err(), "{len}");
            }
            assert!(uncompressed(&[&cell[..], b"x"].concat()).is_err());
            let mut longer = cell;
            longer[2] += 1;
            assert!(uncompressed(&longer).is_err());
        }
        assert!(uncompressed(&[0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert!(uncompressed(&[0x10, 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(cell in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = uncompressed(&cell);
        }
    }
}
