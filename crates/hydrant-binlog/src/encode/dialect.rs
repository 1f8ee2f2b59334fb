//! Dialects: how lines keep values apart, what NULL is, and what is escaped.
//!
//! What lives here: the dialects, and text in each of them. What does not: what the text of a cell is
//! ([`super::cell`]). A plan picks the dialect's [`Syntax`] once for a line, so that each dialect's
//! writers are compiled on their own and CSV pays for no other.

use std::ops::Range;

use memchr::{memchr, memchr3};
use serde::{Deserialize, Serialize};

use super::problem::CellProblem;
use super::text::from_utf8;

/// How a table's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// RFC 4180 with quotes where they are needed: NULL is empty, the empty string is `""`.
    #[default]
    Csv,
    /// For Hive's LazySimpleSerDe with `ESCAPED BY '\\'`: no quotes, NULL is `\N`.
    Hive,
    /// For Hive's OpenCSVSerDe with `'escapeChar'='\u0001'`: all strings quoted, NULL is a bare `\N`,
    /// escapes within strings are for a view to undo.
    OpenCsv,
    /// One JSON object a line, with the columns' names as keys.
    Jsonl,
}

impl Dialect {
    /// The ending of an object's name.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv | Self::OpenCsv => "csv",
            Self::Hive => "txt",
            Self::Jsonl => "jsonl",
        }
    }

    /// Whether each value has its column's name beside it.
    #[must_use]
    pub fn has_keys(self) -> bool {
        self == Self::Jsonl
    }

    /// Appends a value of text as lines have it.
    pub fn write_text(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Csv => write_text_as::<Csv>(text, out),
            Self::Hive => write_text_as::<Hive>(text, out),
            Self::OpenCsv => write_text_as::<OpenCsv>(text, out),
            Self::Jsonl => write_text_as::<Jsonl>(text, out),
        }
    }
}

/// The rules of one dialect, for generic code.
pub(super) trait Syntax {
    /// What stands for NULL.
    const NULL: &'static [u8];
    /// What stands before and after text that is not bare.
    const QUOTE: &'static [u8];
    /// Whether lines are JSON: names before values, and quotes around all that is no number.
    const IS_JSON: bool = false;

    /// Whether text of this length without special bytes is written as it is.
    fn may_be_bare(len: usize) -> bool;

    /// Text with such a byte is not bare, or not written as it is.
    const SPECIAL: &'static [u8];
    /// All bytes below this one are special, too.
    const LOWEST_PLAIN: u8 = 0;

    /// Whether a byte is special. Comparisons one by one, joined without branches, become a single
    /// operation for all bytes of a block, which a `match` does not.
    #[inline]
    fn is_special(byte: u8) -> bool {
        let found = Self::SPECIAL.iter().map(|special| byte == *special);
        found.fold(byte < Self::LOWEST_PLAIN, std::ops::BitOr::bitor)
    }

    /// What is written within text for a byte that may not stand there; all of those are special.
    fn escape(byte: u8) -> Option<&'static [u8]>;

    /// Whether any byte is special.
    #[inline]
    fn has_special(text: &[u8]) -> bool {
        has_special_by_blocks::<Self>(text)
    }

    /// Where the first byte is that is escaped.
    #[inline]
    fn find_escaped(text: &[u8]) -> Option<usize> {
        let (blocks, _) = text.as_chunks::<BLOCK>();
        let index = blocks.iter().position(block_has_special::<Self>);
        let start = BLOCK * index.unwrap_or(blocks.len());
        let is_escaped = |byte: &u8| Self::escape(*byte).is_some();
        let at = text[start..].iter().position(is_escaped)?;
        Some(start + at)
    }
}

/// Text up to this length is looked at and copied as one block, whatever follows it.
const BLOCK: usize = 16;

/// Text from this length on is searched by a library.
const LONG: usize = 64;

/// By length of a text, ones for its bytes in a block.
const USED: [[u8; BLOCK]; BLOCK + 1] = {
    let mut used = [[0; BLOCK]; BLOCK + 1];
    let mut len = 1;
    while len <= BLOCK {
        used[len] = used[len - 1];
        used[len][len - 1] = 0xff;
        len += 1;
    }
    used
};

/// No dialect: text as it is, for what is made of it.
pub(super) struct Plain;
/// [`Dialect::Csv`].
pub(super) struct Csv;
/// [`Dialect::Hive`].
pub(super) struct Hive;
/// [`Dialect::OpenCsv`].
pub(super) struct OpenCsv;
/// [`Dialect::Jsonl`].
pub(super) struct Jsonl;

impl Syntax for Plain {
    /// In no text.
    const NULL: &'static [u8] = b"\xff";
    const QUOTE: &'static [u8] = b"";
    const SPECIAL: &'static [u8] = b"";

    #[inline]
    fn may_be_bare(_: usize) -> bool {
        true
    }

    #[inline]
    fn escape(_: u8) -> Option<&'static [u8]> {
        None
    }

    #[inline]
    fn has_special(_: &[u8]) -> bool {
        false
    }
}

impl Syntax for Csv {
    const NULL: &'static [u8] = b"";
    const QUOTE: &'static [u8] = b"\"";
    const SPECIAL: &'static [u8] = b",\"\n\r";

    #[inline]
    fn may_be_bare(len: usize) -> bool {
        len > 0
    }

    #[inline]
    fn escape(byte: u8) -> Option<&'static [u8]> {
        (byte == b'"').then_some(b"\"\"")
    }

    #[inline]
    fn has_special(text: &[u8]) -> bool {
        if text.len() < LONG {
            has_special_by_blocks::<Self>(text)
        } else {
            memchr3(b',', b'"', b'\n', text).is_some() || memchr(b'\r', text).is_some()
        }
    }

    #[inline]
    fn find_escaped(text: &[u8]) -> Option<usize> {
        memchr(b'"', text)
    }
}

impl Syntax for Hive {
    const NULL: &'static [u8] = b"\\N";
    const QUOTE: &'static [u8] = b"";
    const SPECIAL: &'static [u8] = b"\\,\n\r";

    #[inline]
    fn may_be_bare(_: usize) -> bool {
        true
    }

    #[inline]
    fn escape(byte: u8) -> Option<&'static [u8]> {
        Some(match byte {
            b'\\' => b"\\\\",
            b',' => b"\\,",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => return None,
        })
    }
}

impl Syntax for OpenCsv {
    const NULL: &'static [u8] = b"\\N";
    const QUOTE: &'static [u8] = b"\"";
    const SPECIAL: &'static [u8] = b"\"\\\n\r\x01";

    #[inline]
    fn may_be_bare(_: usize) -> bool {
        false
    }

    #[inline]
    fn escape(byte: u8) -> Option<&'static [u8]> {
        Some(match byte {
            b'"' => b"\"\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            // The SerDe's own escape character, which it would drop.
            1 => b"\\1",
            _ => return None,
        })
    }
}

impl Syntax for Jsonl {
    const NULL: &'static [u8] = b"null";
    const QUOTE: &'static [u8] = b"\"";
    const SPECIAL: &'static [u8] = b"\"\\";
    const LOWEST_PLAIN: u8 = b' ';
    const IS_JSON: bool = true;

    #[inline]
    fn may_be_bare(_: usize) -> bool {
        false
    }

    /// The escapes that MySQL's own JSON has.
    #[inline]
    fn escape(byte: u8) -> Option<&'static [u8]> {
        const CONTROLS: [&[u8; 6]; 32] = [
            b"\\u0000", b"\\u0001", b"\\u0002", b"\\u0003", b"\\u0004", b"\\u0005", b"\\u0006",
            b"\\u0007", b"\\u0008", b"\\u0009", b"\\u000a", b"\\u000b", b"\\u000c", b"\\u000d",
            b"\\u000e", b"\\u000f", b"\\u0010", b"\\u0011", b"\\u0012", b"\\u0013", b"\\u0014",
            b"\\u0015", b"\\u0016", b"\\u0017", b"\\u0018", b"\\u0019", b"\\u001a", b"\\u001b",
            b"\\u001c", b"\\u001d", b"\\u001e", b"\\u001f",
        ];
        Some(match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            control => return CONTROLS.get(usize::from(control)).map(|text| &text[..]),
        })
    }
}

/// Appends a value of text in UTF-8, which lies at `cell`.
///
/// # Errors
/// If it is not.
#[inline]
pub(super) fn write_utf8_as<S: Syntax>(
    bytes: &[u8],
    cell: Range<usize>,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let len = cell.len();
    if len <= BLOCK
        && let Some(block) = bytes[cell.start..].first_chunk()
        && is_plain_block::<S>(block, len)
    {
        let quote = if S::may_be_bare(len) { b"" } else { S::QUOTE };
        out.extend_from_slice(quote);
        let start = out.len();
        out.extend_from_slice(block);
        out.truncate(start + len);
        out.extend_from_slice(quote);
        return Ok(());
    }
    let text = from_utf8(&bytes[cell])?;
    write_text_as::<S>(text.as_bytes(), out);
    Ok(())
}

/// Whether the first bytes of a block are ASCII, none of them special. It has no branches, so that
/// the length does not matter.
#[inline]
fn is_plain_block<S: Syntax>(block: &[u8; BLOCK], len: usize) -> bool {
    let found = block.iter().zip(&USED[len]).map(|(byte, used)| {
        let is_special = u8::from(S::is_special(*byte));
        (is_special | byte >> 7) & used
    });
    found.fold(0, std::ops::BitOr::bitor) == 0
}

#[inline]
fn block_has_special<S: Syntax + ?Sized>(block: &[u8; BLOCK]) -> bool {
    let special = block.iter().map(|byte| S::is_special(*byte));
    special.fold(false, std::ops::BitOr::bitor)
}

#[inline]
fn has_special_by_blocks<S: Syntax + ?Sized>(text: &[u8]) -> bool {
    match text.last_chunk() {
        Some(last) => {
            let (blocks, _) = text.as_chunks();
            block_has_special::<S>(last) || blocks.iter().any(block_has_special::<S>)
        }
        None => text.iter().any(|byte| S::is_special(*byte)),
    }
}

/// Appends a value of text.
#[inline]
pub(super) fn write_text_as<S: Syntax>(text: &[u8], out: &mut Vec<u8>) {
    if is_bare::<S>(text) {
        out.extend_from_slice(text);
    } else {
        write_quoted::<S>(text, out);
    }
}

#[inline]
fn is_bare<S: Syntax>(text: &[u8]) -> bool {
    S::may_be_bare(text.len()) && !S::has_special(text)
}

fn write_quoted<S: Syntax>(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(S::QUOTE);
    let mut rest = text;
    while let Some(at) = S::find_escaped(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(S::escape(rest[at]).unwrap_or_default());
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(S::QUOTE);
}

/// Makes a value of the text from `start` on, which was appended as it is.
pub(super) fn finish_text<S: Syntax>(start: usize, out: &mut Vec<u8>) {
    let text = &out[start..];
    if is_bare::<S>(text) {
        return;
    }
    let growth = |byte: &u8| S::escape(*byte).map_or(0, |escape| escape.len() - 1);
    let growth: usize = text.iter().map(growth).sum();
    let mut from = out.len();
    let mut to = from + growth + 2 * S::QUOTE.len();
    out.resize(to, 0);
    let put = |bytes: &[u8], to: &mut usize, out: &mut Vec<u8>| {
        *to -= bytes.len();
        out[*to..*to + bytes.len()].copy_from_slice(bytes);
    };
    put(S::QUOTE, &mut to, out);
    // From the end, because the bytes move towards it.
    while from > start {
        from -= 1;
        let byte = out[from];
        match S::escape(byte) {
            Some(escape) => put(escape, &mut to, out),
            None => {
                to -= 1;
                out[to] = byte;
            }
        }
    }
    put(S::QUOTE, &mut to, out);
}

/// Writes a value that is no number and in which nothing has to be escaped. If nothing is written, it
/// is NULL.
#[inline]
pub(super) fn write_bare<S: Syntax>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), CellProblem>,
) -> Result<(), CellProblem> {
    let quote = if S::IS_JSON { S::QUOTE } else { b"" };
    let start = out.len();
    out.extend_from_slice(quote);
    write(out)?;
    if !S::NULL.is_empty() && out.len() == start + quote.len() {
        out.truncate(start);
        out.extend_from_slice(S::NULL);
    } else {
        out.extend_from_slice(quote);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text<S: Syntax>(text: &str) -> String {
        let mut out = b"before,".to_vec();
        write_text_as::<S>(text.as_bytes(), &mut out);
        let mut appended = format!("before,{text}").into_bytes();
        finish_text::<S>(7, &mut appended);
        assert_eq!(out, appended);
        String::from_utf8(out.split_off(7)).unwrap()
    }

    fn all_ways<S: Syntax>(before: &[u8], value: &str, after: &[u8]) {
        let is_special = |byte: &u8| S::is_special(*byte);
        let is_bare = S::may_be_bare(value.len()) && !value.as_bytes().iter().any(is_special);
        let quote = if is_bare { b"" } else { S::QUOTE };
        let escaped = value.bytes().flat_map(|byte| match S::escape(byte) {
            Some(escape) => escape.to_vec(),
            None => vec![byte],
        });
        let expected = [quote, &escaped.collect::<Vec<_>>(), quote].concat();

        let bytes = [before, value.as_bytes(), after].concat();
        let cell = before.len()..before.len() + value.len();
        let mut out = Vec::new();
        write_utf8_as::<S>(&bytes, cell, &mut out).unwrap();
        assert_eq!(out, expected);
        out.clear();
        write_text_as::<S>(value.as_bytes(), &mut out);
        assert_eq!(out, expected);
        out.clear();
        out.extend_from_slice(value.as_bytes());
        finish_text::<S>(0, &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_escaped_is_special() {
        fn check<S: Syntax>(special: &[u8]) {
            let bytes = 0..=u8::MAX;
            let escaped: Vec<u8> = bytes.clone().filter(|b| S::escape(*b).is_some()).collect();
            let found: Vec<u8> = bytes.filter(|byte| S::is_special(*byte)).collect();
            assert_eq!(found, special);
            assert!(escaped.iter().all(|byte| special.contains(byte)));
        }
        check::<Csv>(b"\n\r\",");
        check::<Hive>(b"\n\r,\\");
        check::<OpenCsv>(b"\x01\n\r\"\\");
        let controls: Vec<u8> = (0..b' ').collect();
        check::<Jsonl>(&[&controls[..], b"\"\\"].concat());
    }

    #[test]
    fn each_dialect_has_its_escapes() {
        for (value, csv, hive, open_csv, jsonl) in [
            ("", r#""""#, "", r#""""#, r#""""#),
            ("Garden", "Garden", "Garden", r#""Garden""#, r#""Garden""#),
            ("\\N", "\\N", "\\\\N", r#""\\N""#, r#""\\N""#),
            ("a,b", r#""a,b""#, "a\\,b", r#""a,b""#, r#""a,b""#),
            ("\"", r#""""""#, "\"", r#""""""#, r#""\"""#),
            ("\n", "\"\n\"", "\\n", r#""\n""#, r#""\n""#),
            ("a\r", "\"a\r\"", "a\\r", r#""a\r""#, r#""a\r""#),
            ("\t\u{8}", "\t\u{8}", "\t\u{8}", "\"\t\u{8}\"", r#""\t\b""#),
            ("\u{1}", "\u{1}", "\u{1}", r#""\1""#, r#""\u0001""#),
            (
                "\0é\u{1f}",
                "\0é\u{1f}",
                "\0é\u{1f}",
                "\"\0é\u{1f}\"",
                r#""\u0000é\u001f""#,
            ),
        ] {
            assert_eq!(text::<Csv>(value), csv);
            assert_eq!(text::<Hive>(value), hive);
            assert_eq!(text::<OpenCsv>(value), open_csv);
            assert_eq!(text::<Jsonl>(value), jsonl);
        }
    }

    proptest! {
        #[test]
        fn json_text_reads_back(value: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&text::<Jsonl>(&value)).unwrap(), value);
        }

        /// All ways to write a text agree, whatever its length and whatever lies beside it.
        #[test]
        fn all_ways_agree(
            before in prop::collection::vec(any::<u8>(), 0..4),
            value in "([a-z]{0,40}[a,\"\\\\\n\r\u{1}\té東]?){0,3}",
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            all_ways::<Csv>(&before, &value, &after);
            all_ways::<Hive>(&before, &value, &after);
            all_ways::<OpenCsv>(&before, &value, &after);
            all_ways::<Jsonl>(&before, &value, &after);
        }

        /// There is nothing left that ends a field or a line.
        #[test]
        fn text_stays_within_its_field(value in "[a,\"\\\\\n\r\u{1}\t]{0,12}") {
            let hive = text::<Hive>(&value);
            prop_assert!(!hive.contains(['\n', '\r']) && hive != "\\N");
            let open_csv = text::<OpenCsv>(&value);
            let breaks = open_csv.contains(['\n', '\r', '\u{1}']);
            prop_assert!(!breaks);
        }
    }
}
