//! PURE. Where the fields of a line lie, as they are written.
//!
//! They are compared as bytes, because the same row gives the same bytes. So nothing is unquoted, which a reader of CSV
//! would do: it could not tell NULL from the empty string then.

use std::ops::Range;

use memchr::{memchr, memchr2, memchr3};

use crate::encode::Dialect;

/// The fields of one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Where each value lies.
    pub(super) values: Vec<Range<usize>>,
    /// Where its name lies, with its quotes, in a dialect that has names.
    pub(super) names: Vec<Range<usize>>,
}

/// What there is at the begin of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A line of so many bytes, with its end.
    Line(usize),
    /// The begin of one.
    Incomplete,
    /// No line of this dialect.
    Other,
}

impl Fields {
    /// Finds the fields of the first line.
    pub(super) fn find(&mut self, bytes: &[u8], dialect: Dialect) -> Found {
        self.values.clear();
        self.names.clear();
        let found = match dialect {
            Dialect::Csv | Dialect::OpenCsv => self.find_quoted(bytes),
            Dialect::Hive => self.find_escaped(bytes),
            Dialect::Jsonl => self.find_named(bytes),
        };
        found.unwrap_or(Found::Incomplete)
    }

    fn find_quoted(&mut self, bytes: &[u8]) -> Option<Found> {
        let mut at = 0;
        loop {
            let start = at;
            let end = if *bytes.get(at)? == b'"' {
                loop {
                    at += 1;
                    at += memchr(b'"', bytes.get(at..)?)?;
                    // Two are one within the value.
                    at += 1;
                    if *bytes.get(at)? != b'"' {
                        break at;
                    }
                }
            } else {
                at + memchr2(b',', b'\n', &bytes[at..])?
            };
            self.values.push(start..end);
            match bytes[end] {
                b',' => at = end + 1,
                b'\n' => return Some(Found::Line(end + 1)),
                _ => return Some(Found::Other),
            }
        }
    }

    fn find_escaped(&mut self, bytes: &[u8]) -> Option<Found> {
        let (mut start, mut at) = (0, 0);
        loop {
            at += memchr3(b'\\', b',', b'\n', bytes.get(at..)?)?;
            match bytes[at] {
                b'\\' => at += 2,
                end => {
                    self.values.push(start..at);
                    at += 1;
                    start = at;
                    if end == b'\n' {
                        return Some(Found::Line(at));
                    }
                }
            }
        }
    }

    fn find_named(&mut self, bytes: &[u8]) -> Option<Found> {
        if *bytes.first()? != b'{' {
            return Some(Found::Other);
        }
        let mut at = 1;
        loop {
            let name = at..end_of_string(bytes, at)?;
            if bytes[at] != b'"' || *bytes.get(name.end)? != b':' {
                return Some(Found::Other);
            }
            let start = name.end + 1;
            let end = match *bytes.get(start)? {
                b'"' => end_of_string(bytes, start)?,
                // Of numbers.
                b'[' => start + memchr(b']', &bytes[start..])? + 1,
                _ => start + memchr3(b',', b'}', b'\n', &bytes[start..])?,
            };
            self.names.push(name);
            self.values.push(start..end);
            match *bytes.get(end)? {
                b',' => at = end + 1,
                b'}' if *bytes.get(end + 1)? == b'\n' => return Some(Found::Line(end + 2)),
                _ => return Some(Found::Other),
            }
        }
    }
}

/// The end of the string of JSON that begins there.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(dialect: Dialect, text: &str) -> Vec<&str> {
        let mut fields = Fields::default();
        let line = fields.find(text.as_bytes(), dialect);
        let Found::Line(len) = line else {
            panic!("{line:?}: {text}");
        };
        // What is cut off anywhere is incomplete.
        for end in 0..len {
            let cut = fields.find(&text.as_bytes()[..end], dialect);
            assert_eq!(cut, Found::Incomplete, "{end}: {text}");
        }
        assert_eq!(fields.find(text.as_bytes(), dialect), Found::Line(len));
        fields
            .values
            .iter()
            .map(|value| &text[value.clone()])
            .collect()
    }

    #[test]
    fn fields_are_found_as_they_are_written() {
        let csv = "1,,\"\",\"a,\"\"b\n\",\\N,é\nnext,";
        assert_eq!(
            found(Dialect::Csv, csv),
            ["1", "", "\"\"", "\"a,\"\"b\n\"", "\\N", "é"]
        );
        let open_csv = "1,\\N,\"\",\"a,\"\"\\\\\\n\"\nnext,";
        assert_eq!(
            found(Dialect::OpenCsv, open_csv),
            ["1", "\\N", "\"\"", "\"a,\"\"\\\\\\n\""]
        );
        let hive = "1,\\N,,a\\,b\\\\,\\\\\\,\\n\nnext,";
        assert_eq!(
            found(Dialect::Hive, hive),
            ["1", "\\N", "", "a\\,b\\\\", "\\\\\\,\\n"]
        );
        let jsonl = "{\"a\":1,\"b,\\\"\":\"}\\\\\\\",\",\"c\":null,\"d\":[1,2.5],\"e\":[]}\n{";
        assert_eq!(
            found(Dialect::Jsonl, jsonl),
            ["1", "\"}\\\\\\\",\"", "null", "[1,2.5]", "[]"]
        );
        let mut fields = Fields::default();
        fields.find(jsonl.as_bytes(), Dialect::Jsonl);
        assert_eq!(&jsonl[fields.names[1].clone()], "\"b,\\\"\"");
        assert_eq!(found(Dialect::Csv, "\n"), [""]);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let mut fields = Fields::default();
        for (dialect, text) in [
            (Dialect::Csv, "\"a\"b,c\n"),
            (Dialect::Jsonl, "1,2\n"),
            (Dialect::Jsonl, "{\"a\" 1}\n"),
            (Dialect::Jsonl, "{\"a\":1\n"),
            (Dialect::Jsonl, "{\"a\":1}}\n"),
        ] {
            assert_eq!(
                fields.find(text.as_bytes(), dialect),
                Found::Other,
                "{text}"
            );
        }
    }
}
