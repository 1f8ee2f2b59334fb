//! Text: character sets to UTF-8.
//!
//! What lives here: which character sets can be written, and what becomes of bytes that are no text. What does
//! not: how a column's character set is known ([`crate::binlog`]), and what a dialect escapes
//! ([`super::dialect`]).

use encoding_rs::WINDOWS_1252;

use crate::Charset;

use super::code_page::CodePage;
use super::invalid_text::{InvalidText, push_character};
use super::problem::CellProblem;

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
    pub(super) fn decode(self, text: &[u8], invalid: InvalidText) -> Result<String, CellProblem> {
        let mut out = Vec::new();
        self.append(text, invalid, &mut out)?;
        String::from_utf8(out).map_err(|_| CellProblem::Text)
    }

    /// Appends the text in UTF-8.
    pub(super) fn append(
        self,
        text: &[u8],
        invalid: InvalidText,
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        match self {
            Self::Utf8 => match from_utf8(text) {
                Ok(text) => out.extend_from_slice(text.as_bytes()),
                Err(_) => append_invalid_utf8(text, invalid, out)?,
            },
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
                let (units, rest) = text.as_chunks();
                let units = units.iter().map(|unit| u16::from_be_bytes(*unit).into());
                append_characters(units.map(char::from_u32), rest, invalid, out)?;
            }
            Self::Utf16 => append_utf16(text, u16::from_be_bytes, invalid, out)?,
            Self::Utf16Le => append_utf16(text, u16::from_le_bytes, invalid, out)?,
            Self::Utf32 => {
                let (units, rest) = text.as_chunks();
                let units = units.iter().map(|unit| u32::from_be_bytes(*unit));
                append_characters(units.map(char::from_u32), rest, invalid, out)?;
            }
            Self::CodePage(page) => page.append(text, invalid, out)?,
        }
        Ok(())
    }
}

/// Text in UTF-8 as [`InvalidText::Replace`] has it.
#[must_use]
pub fn valid_utf8(text: Vec<u8>) -> String {
    let replaced = |text: &[u8]| Encoding::Utf8.decode(text, InvalidText::Replace);
    String::from_utf8(text)
        .unwrap_or_else(|invalid| replaced(invalid.as_bytes()).unwrap_or_default())
}

/// The bytes as UTF-8.
pub(super) fn from_utf8(text: &[u8]) -> Result<&str, CellProblem> {
    simdutf8::basic::from_utf8(text).map_err(|_| CellProblem::Text)
}

/// Appends text that is not UTF-8. It may hold surrogates, each encoded like a character: their first byte is in no
/// character but as its first, so that each is found on its own.
#[cold]
pub(super) fn append_invalid_utf8(
    text: &[u8],
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    const SURROGATE_LEN: usize = 3;
    let is_surrogate = |bytes: &[u8]| matches!(bytes, [0xed, 0xa0..=0xbf, 0x80..=0xbf]);
    let mut rest = text;
    loop {
        let surrogate = rest.windows(SURROGATE_LEN).position(is_surrogate);
        for chunk in rest[..surrogate.unwrap_or(rest.len())].utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                invalid.take(out)?;
            }
        }
        let Some(at) = surrogate else {
            return Ok(());
        };
        invalid.take(out)?;
        rest = &rest[at + SURROGATE_LEN..];
    }
}

fn append_utf16(
    text: &[u8],
    unit: impl Fn([u8; 2]) -> u16,
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let (units, rest) = text.as_chunks();
    let characters = char::decode_utf16(units.iter().map(|bytes| unit(*bytes)));
    append_characters(characters.map(Result::ok), rest, invalid, out)
}

/// Appends characters, `None` for units that are none, and what is left of a unit behind them.
fn append_characters(
    characters: impl Iterator<Item = Option<char>>,
    rest: &[u8],
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    for character in characters {
        match character {
            Some(character) => push_character(character, out),
            None => invalid.take(out)?,
        }
    }
    if rest.is_empty() {
        Ok(())
    } else {
        invalid.take(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::invalid_text::InvalidText::{Replace, Stop};
    use super::*;

    /// Most of it text, with surrogates and other bad bytes in between.
    fn almost_utf8() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "\\PC{0,4}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..4),
            (0xa0_u8..=0xbf, 0x80_u8..=0xbf).prop_map(|(b, c)| vec![0xed, b, c]),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    /// The definition, by another road: surrogates are taken out first, and stand for one sequence each.
    fn replaced(text: &[u8]) -> String {
        let mut expected = String::new();
        let mut from = 0;
        let mut at = 0;
        while at < text.len() {
            match &text[at..] {
                [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => {
                    expected.push_str(&String::from_utf8_lossy(&text[from..at]));
                    expected.push('\u{fffd}');
                    at += 3;
                    from = at;
                }
                _ => at += 1,
            }
        }
        expected + &String::from_utf8_lossy(&text[from..])
    }

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
                prop_assert_eq!(encoding.decode(bytes, Stop).unwrap(), text.as_str());
                prop_assert_eq!(encoding.decode(bytes, Replace).unwrap(), text.as_str());
                if !bytes.is_empty() {
                    prop_assert!(encoding.decode(&bytes[1..], Stop).is_err());
                }
            }
            if utf16.len() == text.chars().count() {
                prop_assert_eq!(Encoding::Ucs2.decode(&high, Stop).unwrap(), text.as_str());
            }
        }

        #[test]
        fn what_is_no_utf8_is_replaced_as_the_standard_library_does_it(text in almost_utf8()) {
            let lossy = Encoding::Utf8.decode(&text, Replace).unwrap();
            prop_assert_eq!(&lossy, &replaced(&text));
            let is_surrogate = |bytes: &[u8]| bytes[0] == 0xed && bytes[1] >= 0xa0;
            if !text.windows(2).any(is_surrogate) {
                prop_assert_eq!(&lossy, &String::from_utf8_lossy(&text));
            }
            let strict = Encoding::Utf8.decode(&text, Stop);
            prop_assert_eq!(strict.is_ok(), std::str::from_utf8(&text).is_ok());
        }

        #[test]
        fn wide_units_that_are_no_characters_are_replaced(units: Vec<u16>, rest: bool) {
            let with_rest = |mut bytes: Vec<u8>| {
                bytes.extend(rest.then_some(0));
                bytes
            };
            let high = with_rest(units.iter().flat_map(|unit| unit.to_be_bytes()).collect());
            let low = with_rest(units.iter().flat_map(|unit| unit.to_le_bytes()).collect());
            let wide = units.iter().flat_map(|unit| u32::from(*unit).to_be_bytes());
            let wide = with_rest(wide.collect());
            let last = if rest { "\u{fffd}" } else { "" };
            let each = units.iter().map(|unit| char::from_u32((*unit).into()));
            let each: String = each.map(|it| it.unwrap_or('\u{fffd}')).collect();
            let pairs = String::from_utf16_lossy(&units);
            for (encoding, bytes, text) in [
                (Encoding::Ucs2, &high, &each),
                (Encoding::Utf32, &wide, &each),
                (Encoding::Utf16, &high, &pairs),
                (Encoding::Utf16Le, &low, &pairs),
            ] {
                prop_assert_eq!(encoding.decode(bytes, Replace).unwrap(), format!("{text}{last}"));
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
                encoding.decode(&half, Stop),
                Err(CellProblem::Text),
                "{encoding:?}"
            );
        }
        for (encoding, bytes, text) in [
            (Encoding::Utf8, &b"cut \xed\xa0\xbd!"[..], "cut \u{fffd}!"),
            (
                Encoding::Utf8,
                b"\xed\xa0\xbd\xed\xb8\x80",
                "\u{fffd}\u{fffd}",
            ),
            (Encoding::Utf8, b"\xe2\x82\xed\xa0\xbd", "\u{fffd}\u{fffd}"),
            (Encoding::Utf8, b"\xed\xa0", "\u{fffd}\u{fffd}"),
            (Encoding::Ucs2, b"\0A\xd8\x3d", "A\u{fffd}"),
            (Encoding::Utf32, b"\0\0\0A\0\x11\0\0", "A\u{fffd}"),
        ] {
            assert_eq!(encoding.decode(bytes, Replace).as_deref(), Ok(text));
        }
    }
}
