//! Text: character sets to UTF-8.
//!
//! What lives here: which character sets can be written. What does not: how a column's character
//! set is known ([`crate::binlog`]), and what a dialect escapes ([`super::dialect`]).

use encoding_rs::WINDOWS_1252;

use crate::binlog::Charset;

use super::cell::CellProblem;
use super::code_page::CodePage;

/// How bytes of a character set become UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// utf8mb4 and utf8mb3.
    Utf8,
    /// ascii. MariaDB stores other bytes in it, too, which SELECT shows as `?`.
    Ascii,
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
    /// A character set with a table.
    CodePage(&'static CodePage),
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
            "utf8mb4" | "utf8mb3" | "utf8" => Self::Utf8,
            "ascii" => Self::Ascii,
            "latin1" => Self::Latin1,
            "ucs2" => Self::Ucs2,
            "utf16" => Self::Utf16,
            "utf16le" => Self::Utf16Le,
            "utf32" => Self::Utf32,
            other => Self::CodePage(CodePage::named(other)?),
        })
    }

    /// The text in UTF-8.
    pub(super) fn decode(self, text: &[u8]) -> Result<String, CellProblem> {
        let mut out = Vec::new();
        self.append(text, &mut out)?;
        String::from_utf8(out).map_err(|_| CellProblem::Text)
    }

    /// Appends the text in UTF-8.
    pub(super) fn append(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
        match self {
            Self::Utf8 => {
                let text = from_utf8(text)?;
                out.extend_from_slice(text.as_bytes());
            }
            Self::Ascii => out.extend(
                text.iter()
                    .map(|byte| if byte.is_ascii() { *byte } else { b'?' }),
            ),
            Self::Latin1 => {
                const LONGEST_CHARACTER: usize = 3;
                let start = out.len();
                out.resize(start + LONGEST_CHARACTER * text.len(), 0);
                let mut decoder = WINDOWS_1252.new_decoder_without_bom_handling();
                let (_, _, len, _) = decoder.decode_to_utf8(text, &mut out[start..], true);
                out.truncate(start + len);
            }
            Self::Ucs2 => {
                for unit in units::<2>(text)? {
                    append_code_point(u16::from_be_bytes(*unit).into(), out)?;
                }
            }
            Self::Utf16 => append_utf16(
                units(text)?.iter().map(|unit| u16::from_be_bytes(*unit)),
                out,
            )?,
            Self::Utf16Le => append_utf16(
                units(text)?.iter().map(|unit| u16::from_le_bytes(*unit)),
                out,
            )?,
            Self::Utf32 => {
                for unit in units::<4>(text)? {
                    append_code_point(u32::from_be_bytes(*unit), out)?;
                }
            }
            Self::CodePage(page) => page.append(text, out)?,
        }
        Ok(())
    }
}

/// The bytes as UTF-8.
pub(super) fn from_utf8(text: &[u8]) -> Result<&str, CellProblem> {
    simdutf8::basic::from_utf8(text).map_err(|_| CellProblem::Text)
}

/// Text in units of so many bytes, with none left over.
fn units<const N: usize>(text: &[u8]) -> Result<&[[u8; N]], CellProblem> {
    match text.as_chunks() {
        (units, []) => Ok(units),
        _ => Err(CellProblem::Text),
    }
}

fn append_utf16(units: impl Iterator<Item = u16>, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    for character in char::decode_utf16(units) {
        push_character(character.map_err(|_| CellProblem::Text)?, out);
    }
    Ok(())
}

fn append_code_point(code_point: u32, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    push_character(char::from_u32(code_point).ok_or(CellProblem::Text)?, out);
    Ok(())
}

pub(super) fn push_character(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
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
