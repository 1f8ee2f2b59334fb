//! Text: character sets to UTF-8.
//!
//! What lives here: which character sets can be written. What does not: how a column's character
//! set is known ([`crate::binlog`]), and what a dialect escapes ([`super::dialect`]).

use std::borrow::Cow;

use encoding_rs::WINDOWS_1252;

use crate::binlog::Charset;

use super::cell::CellProblem;

/// How bytes of a character set become UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// utf8mb4, utf8mb3 and ascii.
    Utf8,
    /// MySQL's latin1: Windows-1252, with C1 controls in its gaps.
    Latin1,
    /// Two bytes a character, the first one high.
    Ucs2,
    /// UTF-16, the first byte high.
    Utf16,
    /// UTF-16, the first byte low.
    Utf16Le,
    /// Four bytes a character, the first one high.
    Utf32,
}

impl Encoding {
    /// The encoding of a character set, if it can be written exactly.
    pub(super) fn of(charset: &Charset) -> Option<Self> {
        Some(match charset {
            Charset::Utf8 => Self::Utf8,
            Charset::Latin1 => Self::Latin1,
            Charset::Binary => return None,
            Charset::Other(name) => return Self::named(name),
        })
    }

    /// The encoding of a character set by MySQL's name of it.
    pub(super) fn named(charset: &str) -> Option<Self> {
        Some(match charset {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => Self::Utf8,
            "latin1" => Self::Latin1,
            "ucs2" => Self::Ucs2,
            "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            _ => return None,
        })
    }

    /// The text in UTF-8.
    pub(super) fn decode(self, text: &[u8]) -> Result<Cow<'_, str>, CellProblem> {
        let units = |size: usize| {
            let whole = text.len().is_multiple_of(size);
            whole
                .then(|| text.chunks_exact(size))
                .ok_or(CellProblem::Text)
        };
        let utf16 = |unit: fn([u8; 2]) -> u16| -> Result<String, CellProblem> {
            let units = units(2)?.map(|two| unit([two[0], two[1]]));
            let characters: Result<String, _> = char::decode_utf16(units).collect();
            characters.map_err(|_| CellProblem::Text)
        };
        Ok(match self {
            Self::Utf8 => std::str::from_utf8(text)
                .map_err(|_| CellProblem::Text)?
                .into(),
            Self::Latin1 => WINDOWS_1252.decode_without_bom_handling(text).0,
            Self::Ucs2 => {
                let unit = |two: &[u8]| char::from_u32(u32::from(two[0]) << 8 | u32::from(two[1]));
                let characters: Option<String> = units(2)?.map(unit).collect();
                characters.ok_or(CellProblem::Text)?.into()
            }
            Self::Utf16 => utf16(u16::from_be_bytes)?.into(),
            Self::Utf16Le => utf16(u16::from_le_bytes)?.into(),
            Self::Utf32 => {
                let unit = |four: &[u8]| {
                    let bytes = <[u8; 4]>::try_from(four).ok()?;
                    char::from_u32(u32::from_be_bytes(bytes))
                };
                let characters: Option<String> = units(4)?.map(unit).collect();
                characters.ok_or(CellProblem::Text)?.into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn wide_text_reads_back(text in "\\PC{0,20}") {
            let utf16: Vec<u16> = text.encode_utf16().collect();
            let high: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let low: Vec<u8> = utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let utf32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
            for (encoding, bytes) in [
                (Encoding::Utf16, &high), (Encoding::Utf16Le, &low), (Encoding::Utf32, &utf32),
            ] {
                prop_assert_eq!(encoding.decode(bytes).unwrap(), text.as_str());
                if !bytes.is_empty() {
                    prop_assert!(encoding.decode(&bytes[1..]).is_err());
                }
            }
            if utf16.len() == text.chars().count() {
                prop_assert_eq!(Encoding::Ucs2.decode(&high).unwrap(), text.as_str());
            }
        }
    }

    #[test]
    fn halves_of_pairs_are_no_characters() {
        let half = [0xd8, 0x00];
        for encoding in [
            Encoding::Ucs2,
            Encoding::Utf16,
            Encoding::Utf32,
            Encoding::Utf8,
        ] {
            assert_eq!(
                encoding.decode(&half),
                Err(CellProblem::Text),
                "{encoding:?}"
            );
        }
    }
}
