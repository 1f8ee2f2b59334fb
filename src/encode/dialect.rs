//! Dialects: how lines keep values apart, what NULL is, and what is escaped.
//!
//! What lives here: the dialects, and text in each of them. What does not: what the text of a cell is
//! ([`super::cell`]). A plan picks the dialect's [`Syntax`] once for a line, so that each dialect's
//! writers are compiled on their own and CSV pays for no other.

use memchr::{memchr, memchr3};

use super::cell::CellProblem;
use super::text::from_utf8;

/// How a table's lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
}

/// The rules of one dialect, for generic code.
pub(super) trait Syntax {
    /// What stands for NULL.
    const NULL: &'static [u8];
    /// What stands before and after text that is not plain.
    const QUOTE: &'static [u8];
    /// Whether lines are JSON: names before values, and quotes around all that is no number.
    const IS_JSON: bool = false;
    /// The class of each byte of text.
    const CLASSES: &'static [u8; 256];

    /// Whether text without special bytes is written as it is.
    fn may_be_bare(text: &[u8]) -> bool;

    /// What is written within text for a byte that may not stand there; those bytes are [`ESCAPED`].
    fn escape(byte: u8) -> Option<&'static [u8]>;

    /// The classes of all bytes of long text, where it does not matter which are not ASCII. It may
    /// have more of them than the text.
    fn classes_of_long(text: &[u8]) -> u8 {
        classes_of(Self::CLASSES, text)
    }

    /// Where the first byte is that is escaped.
    fn find_escaped(text: &[u8]) -> Option<usize> {
        text.iter()
            .position(|byte| Self::CLASSES[usize::from(*byte)] & ESCAPED != 0)
    }
}

/// Text with such a byte stands in quotes.
const QUOTED: u8 = 1;
/// Such a byte is written as something else.
const ESCAPED: u8 = 2;
/// Such a byte is a part of a longer character.
const NOT_ASCII: u8 = 4;

/// Text from this length on is looked at by libraries that are made for long text.
const LONG: usize = 32;

/// The classes of all bytes, of which these are special.
const fn classes(quoted: &[u8], escaped: &[u8]) -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0x80;
    while byte <= 0xff {
        classes[byte] = NOT_ASCII;
        byte += 1;
    }
    let mut index = 0;
    while index < quoted.len() {
        classes[quoted[index] as usize] |= QUOTED;
        index += 1;
    }
    index = 0;
    while index < escaped.len() {
        classes[escaped[index] as usize] |= ESCAPED;
        index += 1;
    }
    classes
}

#[inline]
fn classes_of(classes: &[u8; 256], text: &[u8]) -> u8 {
    let class = |byte: &u8| classes[usize::from(*byte)];
    text.iter().map(class).fold(0, std::ops::BitOr::bitor)
}

/// [`Dialect::Csv`].
pub(super) struct Csv;
/// [`Dialect::Hive`].
pub(super) struct Hive;
/// [`Dialect::OpenCsv`].
pub(super) struct OpenCsv;
/// [`Dialect::Jsonl`].
pub(super) struct Jsonl;

impl Syntax for Csv {
    const NULL: &'static [u8] = b"";
    const QUOTE: &'static [u8] = b"\"";
    const CLASSES: &'static [u8; 256] = &classes(b",\"\n\r", b"\"");

    #[inline]
    fn may_be_bare(text: &[u8]) -> bool {
        !text.is_empty()
    }

    #[inline]
    fn escape(byte: u8) -> Option<&'static [u8]> {
        (byte == b'"').then_some(b"\"\"")
    }

    fn classes_of_long(text: &[u8]) -> u8 {
        let special = memchr3(b',', b'"', b'\n', text).or_else(|| memchr(b'\r', text));
        special.map_or(0, |_| QUOTED | ESCAPED)
    }

    fn find_escaped(text: &[u8]) -> Option<usize> {
        memchr(b'"', text)
    }
}

impl Syntax for Hive {
    const NULL: &'static [u8] = b"\\N";
    const QUOTE: &'static [u8] = b"";
    const CLASSES: &'static [u8; 256] = &classes(b"", b"\\,\n\r");

    #[inline]
    fn may_be_bare(_: &[u8]) -> bool {
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
    const CLASSES: &'static [u8; 256] = &classes(b"", b"\"\\\n\r\x01");

    #[inline]
    fn may_be_bare(_: &[u8]) -> bool {
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
    const IS_JSON: bool = true;
    const CLASSES: &'static [u8; 256] = &classes(b"", &{
        let mut escaped = [b'"'; 34];
        escaped[33] = b'\\';
        let mut control = 0;
        while control < 32 {
            escaped[control as usize] = control;
            control += 1;
        }
        escaped
    });

    #[inline]
    fn may_be_bare(_: &[u8]) -> bool {
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

/// Appends a value of text in UTF-8.
///
/// # Errors
/// If it is not.
#[inline]
pub(super) fn write_utf8_as<S: Syntax>(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if cell.len() >= LONG {
        from_utf8(cell)?;
        write_classified::<S>(cell, S::classes_of_long(cell), out);
        return Ok(());
    }
    let classes = classes_of(S::CLASSES, cell);
    if classes & NOT_ASCII != 0 {
        from_utf8(cell)?;
    }
    write_classified::<S>(cell, classes, out);
    Ok(())
}

/// Appends a value of text.
#[inline]
pub(super) fn write_text_as<S: Syntax>(text: &[u8], out: &mut Vec<u8>) {
    write_classified::<S>(text, special::<S>(text), out);
}

/// The classes of text that is known to be such.
#[inline]
fn special<S: Syntax>(text: &[u8]) -> u8 {
    if text.len() >= LONG {
        S::classes_of_long(text)
    } else {
        classes_of(S::CLASSES, text)
    }
}

#[inline]
fn is_plain<S: Syntax>(text: &[u8], classes: u8) -> bool {
    classes & (QUOTED | ESCAPED) == 0 && S::may_be_bare(text)
}

#[inline]
fn write_classified<S: Syntax>(text: &[u8], classes: u8, out: &mut Vec<u8>) {
    if is_plain::<S>(text, classes) {
        out.extend_from_slice(text);
    } else {
        write_quoted::<S>(text, classes, out);
    }
}

fn write_quoted<S: Syntax>(text: &[u8], classes: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(S::QUOTE);
    let mut rest = text;
    if classes & ESCAPED != 0 {
        while let Some(at) = S::find_escaped(rest) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(S::escape(rest[at]).unwrap_or_default());
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(S::QUOTE);
}

/// Makes a value of the text from `start` on, which was appended as it is.
pub(super) fn finish_text<S: Syntax>(start: usize, out: &mut Vec<u8>) {
    let text = &out[start..];
    if is_plain::<S>(text, special::<S>(text)) {
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

        /// Both ways to write it agree, and there is nothing left that ends a field or a line.
        #[test]
        fn text_stays_within_its_field(value in "[a,\"\\\\\n\r\u{1}\t]{0,12}") {
            text::<Csv>(&value);
            let hive = text::<Hive>(&value);
            prop_assert!(!hive.contains(['\n', '\r']) && hive != "\\N");
            let open_csv = text::<OpenCsv>(&value);
            let breaks = open_csv.contains(['\n', '\r', '\u{1}']);
            prop_assert!(!breaks);
        }
    }
}
