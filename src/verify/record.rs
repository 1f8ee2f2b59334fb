//! PURE. What is remembered of a row, on either side: of one size, whatever the row's, and in the order in which rows are
//! compared.

/// Bytes that a record takes on disk.
pub(super) const RECORD_BYTES: usize = 50;

/// What a record is of. In this order they are looked at, where nothing else orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Kind {
    /// A row of the table.
    Source,
    /// A line that takes a row away: of a delete, or of a row before an update.
    Away,
    /// A line with a row as a change has made it.
    Row,
    /// A line with a row that was there before.
    Read,
}

/// A row of the table, or a line. Those of one key are together, rows of the table before lines, and lines in the order
/// in which they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    /// A hash of the key, or of all that is compared if lines have no key.
    pub(super) key: [u64; 2],
    /// The line's number in `sequence`; the same for all if there is none.
    pub(super) order: i64,
    pub(super) kind: Kind,
    /// The object of a line, or the part of the table.
    pub(super) part: u32,
    /// The number in it, from 0.
    pub(super) number: u32,
    /// A hash of what no other line has; 0 if lines have nothing like that.
    pub(super) identity: u64,
    /// A hash of the values that are compared.
    pub(super) data: u64,
    /// Which columns those are of.
    pub(super) variant: u8,
}

impl Record {
    /// As it is on disk.
    pub(super) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.key[0].to_le_bytes());
        bytes[8..16].copy_from_slice(&self.key[1].to_le_bytes());
        bytes[16..24].copy_from_slice(&self.order.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.identity.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.data.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.part.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.number.to_le_bytes());
        bytes[48] = self.kind as u8;
        bytes[49] = self.variant;
        bytes
    }

    /// The one that was written as these bytes.
    pub(super) fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let half = |at: usize| {
            let mut half = [0; 4];
            half.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(half)
        };
        Self {
            key: [word(0), word(8)],
            order: word(16).cast_signed(),
            kind: match bytes[48] {
                0 => Kind::Source,
                1 => Kind::Away,
                2 => Kind::Row,
                _ => Kind::Read,
            },
            part: half(40),
            number: half(44),
            identity: word(24),
            data: word(32),
            variant: bytes[49],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(key: [u64; 2], order: i64, kind in 0_usize..4, part: u32, number: u32, identity: u64, data: u64, variant: u8) {
            let kind = [Kind::Source, Kind::Away, Kind::Row, Kind::Read][kind];
            let record = Record { key, order, kind, part, number, identity, data, variant };
            prop_assert_eq!(Record::from_bytes(&record.to_bytes()), record);
        }
    }
}
