//! Character sets that are tables: those of one byte a character, and the East Asian ones.
//!
//! What lives here: their tables, as the servers have them, and decoding by them. What does not: Unicode's
//! own encodings and latin1 ([`super::text`]).
//!
//! The multi-byte tables are encoding_rs's, with the servers' differences. A byte or a code that the server
//! has no character for becomes `?`, as its SELECT prints it.

mod differences;
mod single_byte;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use encoding_rs::{BIG5, EUC_JP, EUC_KR, GB18030, GBK, SHIFT_JIS};

use self::differences::Run;
use self::single_byte::SINGLE_BYTE;
use super::invalid_text::{InvalidText, push_character};
use super::problem::CellProblem;

const UNKNOWN: u16 = b'?' as u16;
/// In [`CodePage::one`]: the byte starts a longer character. No character of one byte has this number.
const LEAD: u16 = 0xffff;
/// The byte after which EUC-JP's characters have two more.
const THREE: u8 = 0x8f;

/// A multi-byte character set.
struct MultiByte {
    name: &'static str,
    encoding: &'static encoding_rs::Encoding,
    leads: &'static [RangeInclusive<u8>],
    /// Second bytes, and third ones behind [`THREE`].
    trails: &'static [RangeInclusive<u8>],
    differences: &'static [Run],
}

const GBK_TRAILS: &[RangeInclusive<u8>] = &[0x40..=0x7e, 0x80..=0xfe];
const SJIS_LEADS: &[RangeInclusive<u8>] = &[0x81..=0x9f, 0xe0..=0xfc];
const SJIS_TRAILS: &[RangeInclusive<u8>] = &[0x40..=0x7e, 0x80..=0xfc];
const EUC: &[RangeInclusive<u8>] = &[0xa1..=0xfe];
const EUC_JP_LEADS: &[RangeInclusive<u8>] = &[0x8e..=THREE, 0xa1..=0xfe];

const MULTI_BYTE: [MultiByte; 9] = [
    MultiByte {
        name: "gbk",
        encoding: GBK,
        leads: &[0x81..=0xfe],
        trails: GBK_TRAILS,
        differences: differences::GBK,
    },
    MultiByte {
        name: "gb2312",
        encoding: GBK,
        leads: &[0xa1..=0xf7],
        trails: EUC,
        differences: differences::GB2312,
    },
    MultiByte {
        name: "gb18030",
        encoding: GB18030,
        leads: &[0x81..=0xfe],
        trails: GBK_TRAILS,
        differences: differences::GB18030,
    },
    MultiByte {
        name: "sjis",
        encoding: SHIFT_JIS,
        leads: SJIS_LEADS,
        trails: SJIS_TRAILS,
        differences: differences::SJIS,
    },
    MultiByte {
        name: "cp932",
        encoding: SHIFT_JIS,
        leads: SJIS_LEADS,
        trails: SJIS_TRAILS,
        differences: &[],
    },
    MultiByte {
        name: "big5",
        encoding: BIG5,
        leads: &[0xa1..=0xf9],
        trails: &[0x40..=0x7e, 0xa1..=0xfe],
        differences: differences::BIG5,
    },
    MultiByte {
        name: "euckr",
        encoding: EUC_KR,
        leads: &[0x81..=0xfe],
        trails: &[0x41..=0x5a, 0x61..=0x7a, 0x81..=0xfe],
        differences: &[],
    },
    MultiByte {
        name: "ujis",
        encoding: EUC_JP,
        leads: EUC_JP_LEADS,
        trails: EUC,
        differences: differences::UJIS,
    },
    MultiByte {
        name: "eucjpms",
        encoding: EUC_JP,
        leads: EUC_JP_LEADS,
        trails: EUC,
        differences: differences::EUCJPMS,
    },
];

/// What swe7 has in place of ASCII's characters.
const SWE7: [(u8, char); 11] = [
    (b'@', 'É'),
    (b'[', 'Ä'),
    (b'\\', 'Ö'),
    (b']', 'Å'),
    (b'^', 'Ü'),
    (b'`', 'é'),
    (b'{', 'ä'),
    (b'|', 'ö'),
    (b'}', 'å'),
    (b'~', 'ü'),
    (0x7f, '?'),
];

/// The table of a character set. All characters are of the basic plane but gb18030's of four bytes.
pub(super) struct CodePage {
    name: &'static str,
    one: [u16; 256],
    /// By both bytes, 0 where the set has no such code; empty in sets of one byte.
    two: Vec<u16>,
    /// By the two bytes behind [`THREE`]; empty in sets without it.
    three: Vec<u16>,
    /// Whether a digit behind a lead byte makes it a character of four.
    has_four: bool,
}

impl fmt::Debug for CodePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for CodePage {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for CodePage {}

impl CodePage {
    /// The table of a character set by MySQL's name of it, made when it is first asked for.
    pub(super) fn named(charset: &str) -> Option<&'static Self> {
        static MULTI: [OnceLock<CodePage>; MULTI_BYTE.len()] =
            [const { OnceLock::new() }; MULTI_BYTE.len()];
        static SINGLE: [OnceLock<CodePage>; SINGLE_BYTE.len()] =
            [const { OnceLock::new() }; SINGLE_BYTE.len()];
        if let Some(index) = MULTI_BYTE.iter().position(|set| set.name == charset) {
            return Some(MULTI[index].get_or_init(|| Self::of_many_bytes(&MULTI_BYTE[index])));
        }
        let index = SINGLE_BYTE.iter().position(|(name, _)| *name == charset)?;
        let (name, upper) = SINGLE_BYTE[index];
        Some(SINGLE[index].get_or_init(|| Self::of_one_byte(name, upper)))
    }

    fn of_one_byte(name: &'static str, upper: &[u16; 128]) -> Self {
        let mut one = [0; 256];
        for (byte, unit) in (0..).zip(&mut one[..128]) {
            *unit = byte;
        }
        one[128..].copy_from_slice(upper);
        if name == "swe7" {
            for (byte, character) in SWE7 {
                one[usize::from(byte)] = unit(character);
            }
        }
        Self {
            name,
            one,
            two: Vec::new(),
            three: Vec::new(),
            has_four: false,
        }
    }

    fn of_many_bytes(set: &MultiByte) -> Self {
        let is_in = |ranges: &[RangeInclusive<u8>], byte: u8| {
            ranges.iter().any(|range| range.contains(&byte))
        };
        let has_three = set.encoding == EUC_JP;
        let mut page = Self {
            name: set.name,
            one: [UNKNOWN; 256],
            two: vec![0; 1 << 16],
            three: vec![0; if has_three { 1 << 16 } else { 0 }],
            has_four: set.encoding == GB18030,
        };
        for byte in 0..=255_u8 {
            page.one[usize::from(byte)] = if is_in(set.leads, byte) {
                LEAD
            } else {
                set.decode(&[byte])
            };
        }
        let trails = || (0..=255_u8).filter(|byte| is_in(set.trails, *byte));
        for lead in (0..=255_u8).filter(|byte| is_in(set.leads, *byte)) {
            for trail in trails() {
                // Only half-width katakana stand behind 8E.
                let is_katakana = (0xa1..=0xdf).contains(&trail);
                if !has_three || lead > THREE || (lead < THREE && is_katakana) {
                    let code = u16::from_be_bytes([lead, trail]);
                    page.two[usize::from(code)] = set.decode(&[lead, trail]);
                }
                if lead == THREE && has_three {
                    for last in trails() {
                        let code = u16::from_be_bytes([trail, last]);
                        page.three[usize::from(code)] = set.decode(&[lead, trail, last]);
                    }
                }
            }
        }
        for (first, last, character) in set.differences {
            page.apply(*first, *last, unit(*character));
        }
        page
    }

    /// Puts the server's characters from `first` to `last`.
    fn apply(&mut self, first: u32, last: u32, character: u16) {
        let high = u32::from(THREE) << 16;
        let table = if first > high {
            &mut self.three
        } else {
            &mut self.two
        };
        let index = |code: u32| usize::try_from(code & 0xffff).unwrap_or(0);
        let codes = table[index(first)..=index(last)].iter_mut();
        for (code, next) in codes.filter(|code| **code != 0).zip(character..) {
            *code = if character == UNKNOWN { UNKNOWN } else { next };
        }
    }

    /// Appends text in UTF-8. Only what ends within a character is invalid.
    pub(super) fn append(
        &self,
        text: &[u8],
        invalid: InvalidText,
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        let mut rest = text;
        while let [first, behind @ ..] = rest {
            rest = behind;
            match self.one[usize::from(*first)] {
                LEAD => match self.append_long(*first, behind, out) {
                    Some(len) => rest = &behind[len..],
                    None => return invalid.take(out),
                },
                unit => push_unit(unit, out),
            }
        }
        Ok(())
    }

    /// Appends the character that starts with this byte, and tells how many it has behind it; `None` if it is
    /// cut off.
    fn append_long(&self, first: u8, behind: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let second = *behind.first()?;
        if self.has_four && second.is_ascii_digit() {
            let [b, c, d, ..] = behind else {
                return None;
            };
            let code = [first, *b, *c, *d];
            let (text, has_errors) = GB18030.decode_without_bom_handling(&code);
            out.extend_from_slice(if has_errors { b"?" } else { text.as_bytes() });
            return Some(3);
        }
        let (unit, len) = if first == THREE && !self.three.is_empty() {
            let third = *behind.get(1)?;
            let code = u16::from_be_bytes([second, third]);
            (self.three[usize::from(code)], 2)
        } else {
            let code = u16::from_be_bytes([first, second]);
            (self.two[usize::from(code)], 1)
        };
        if unit == 0 {
            // The first byte alone is none of the set's; the next one may be.
            push_unit(UNKNOWN, out);
            return Some(0);
        }
        push_unit(unit, out);
        Some(len)
    }
}

impl MultiByte {
    /// What encoding_rs makes of a code.
    fn decode(&self, code: &[u8]) -> u16 {
        let (text, has_errors) = self.encoding.decode_without_bom_handling(code);
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) if !has_errors => unit(character),
            _ => UNKNOWN,
        }
    }
}

/// A character of the basic plane; no other is in these tables.
fn unit(character: char) -> u16 {
    u16::try_from(u32::from(character)).unwrap_or(UNKNOWN)
}

fn push_unit(unit: u16, out: &mut Vec<u8>) {
    match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => out.push(byte),
        _ => push_character(char::from_u32(unit.into()).unwrap_or('?'), out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_with(charset: &str, bytes: &[u8], invalid: InvalidText) -> Result<String, CellProblem> {
        let mut out = Vec::new();
        CodePage::named(charset)
            .unwrap()
            .append(bytes, invalid, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn text(charset: &str, bytes: &[u8]) -> Result<String, CellProblem> {
        text_with(charset, bytes, InvalidText::Stop)
    }

    #[test]
    fn words_in_some_character_sets() {
        for (charset, bytes, expected) in [
            ("gbk", &b"\xbc\xdb\xb8\xf1, a\x81\x5c"[..], "价格, a乗"),
            ("gb2312", b"\xa1\xa4\xa1\xaa", "・―"),
            (
                "gb18030",
                b"\x81\x30\x81\x30\x95\x32\x82\x36\xa3\xa0",
                "\u{80}𠀀\u{e5e5}",
            ),
            ("sjis", b"\x83\x5c\xb1\\\x81\x5f", "ソｱ\\\\"),
            ("cp932", b"\x87\x40\x81\x60", "①～"),
            ("big5", b"\xa4\xa4\xa4\xe5\xc7\xb0", "中文ヶ"),
            ("euckr", b"\xc7\xd1\xb1\xdb", "한글"),
            ("ujis", b"\xc6\xfc\x8e\xb1\x8f\xb0\xa1\x8e\xa0", "日ｱ丂??"),
            ("eucjpms", b"\x8f\xf3\xf3", "ⅰ"),
            ("latin2", b"\xa3\xf3d\xbc", "Łódź"),
            ("cp1250", b"\x81\x80", "?€"),
            ("koi8r", b"\xd0\xd2\xc9", "при"),
            ("swe7", b"a[\xff", "aÄ?"),
        ] {
            assert_eq!(text(charset, bytes).as_deref(), Ok(expected), "{charset}");
        }
        assert!(CodePage::named("klingon").is_none());
    }

    #[test]
    fn text_that_ends_within_a_character_is_refused_or_replaced() {
        for (charset, bytes, replaced) in [
            ("gbk", &b"a\xbc"[..], "a\u{fffd}"),
            ("ujis", b"\x8f\xb0", "\u{fffd}"),
            ("gb18030", b"\x81\x30\x81", "\u{fffd}"),
        ] {
            assert_eq!(text(charset, bytes), Err(CellProblem::Text), "{charset}");
            let lossy = text_with(charset, bytes, InvalidText::Replace);
            assert_eq!(lossy.as_deref(), Ok(replaced), "{charset}");
        }
    }

    #[test]
    fn any_two_bytes_give_text_or_an_error_in_every_set() {
        let multi = MULTI_BYTE.iter().map(|set| set.name);
        for charset in multi.chain(SINGLE_BYTE.iter().map(|(name, _)| *name)) {
            for code in 0..=u16::MAX {
                let bytes = code.to_be_bytes();
                let lossy = text_with(charset, &bytes, InvalidText::Replace).unwrap();
                match text(charset, &bytes) {
                    Ok(text) => assert_eq!(text, lossy),
                    Err(_) => assert!(lossy.ends_with(char::REPLACEMENT_CHARACTER)),
                }
            }
        }
    }
}
