//! A cursor over one event's body. Running out of bytes is an error value.

use super::Problem;

/// Reads little-endian integers and slices from the front of a byte slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Problem> {
        let Some((head, rest)) = self.0.split_at_checked(len) else {
            return Err(Problem::Truncated);
        };
        self.0 = rest;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let Some((head, rest)) = self.0.split_first_chunk() else {
            return Err(Problem::Truncated);
        };
        self.0 = rest;
        Ok(*head)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Problem> {
        self.array().map(u8::from_le_bytes)
    }

    /// An unsigned little-endian integer of 1 to 8 bytes.
    #[inline]
    pub(super) fn uint(&mut self, len: usize) -> Result<u64, Problem> {
        let mut wide = [0; 8];
        wide[..len].copy_from_slice(self.take(len)?);
        Ok(u64::from_le_bytes(wide))
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Problem> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length-encoded integer of the client/server protocol.
    pub(super) fn lenenc(&mut self) -> Result<u64, Problem> {
        match self.u8()? {
            byte @ 0..=250 => Ok(u64::from(byte)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.uint(8),
            251 | 255 => Err(Problem::Malformed("a length-encoded integer")),
        }
    }

    /// A length-encoded integer that counts things in memory.
    pub(super) fn lenenc_len(&mut self) -> Result<usize, Problem> {
        usize::try_from(self.lenenc()?).map_err(|_| Problem::Truncated)
    }

    /// An integer of `mysql::serialization`: the first byte's lowest bits that are set count the
    /// bytes that follow, and the rest of the bits, from there up, are the number.
    pub(super) fn varlen(&mut self) -> Result<u64, Problem> {
        let first = self.u8()?;
        let more = first.trailing_ones();
        let rest = self.uint(more as usize)?;
        // The last of nine bytes has no bits of the first before it.
        let low = u64::from(first).checked_shr(more + 1).unwrap_or(0);
        Ok(match more {
            0..8 => low | rest << (7 - more),
            _ => rest,
        })
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_variable_length_are_read_at_their_bounds() {
        for (bytes, expected) in [
            (&b"\x00"[..], 0),
            (b"\xfe", 127),
            (b"\x01\x02", 128),
            (b"\xfd\xff", (1 << 14) - 1),
            (b"\x03\x00\x02", 1 << 14),
            (b"\xbf\xff\xff\xff\xff\xff\xff", (1 << 49) - 1),
            (b"\x7f\xff\xff\xff\xff\xff\xff\xff", (1 << 56) - 1),
            (b"\xff\x00\x00\x00\x00\x00\x00\x00\x01", 1 << 56),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
        ] {
            assert_eq!(Cursor(bytes).varlen(), Ok(expected), "{bytes:x?}");
            assert_eq!(
                Cursor(&bytes[..bytes.len() - 1]).varlen(),
                Err(Problem::Truncated)
            );
        }
    }
}
