//! PURE. What a dead letter is: one line of JSON that says what it is, and behind it the line as it would have been
//! delivered, byte for byte.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::binlog::FilePosition;
use crate::encode::Dialect;

/// Of this form. Others will have another number.
const FORM: u32 = 1;

/// What is known of a line that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LetterHead {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// The stream that it was for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    pub(crate) dialect: Dialect,
    /// The number of the columns that it has, as in the metadata column `schema_version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<usize>,
    /// Whether objects of the table are apart by that number.
    pub(crate) has_version_folders: bool,
    /// Where its transaction starts.
    pub(crate) position: FilePosition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gtid: Option<String>,
    /// Its number within its transaction and table, from 0.
    pub(crate) ordinal: u64,
    pub(crate) commit_time: Timestamp,
    pub(crate) reason: Reason,
}

/// Why a line was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// The sink does not take so many bytes.
    Oversize {
        row_bytes: usize,
        limit_bytes: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oversize {
                row_bytes,
                limit_bytes,
            } => write!(
                f,
                "a row of {row_bytes} bytes is over the sink's limit of {limit_bytes} bytes"
            ),
        }
    }
}

/// The first line of a letter.
#[derive(Serialize, Deserialize)]
struct FirstLine<H> {
    dead_letter: u32,
    hydrant: String,
    line_bytes: usize,
    /// In hexadecimal digits.
    line_crc32: String,
    #[serde(flatten)]
    head: H,
}

/// As much as tells whether the rest is understood.
#[derive(Deserialize)]
struct Form {
    dead_letter: u32,
}

/// A letter that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) head: LetterHead,
    /// The line, with its line feed.
    pub(crate) line: Vec<u8>,
}

/// Why bytes are no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoLetter {
    /// They have no first line that says so.
    #[error("it is no dead letter")]
    Other,
    /// A later hydrant wrote it.
    #[error("it is a dead letter of form {0}, and this hydrant knows form {FORM}")]
    Form(u32),
    /// The line is not the one that was written.
    #[error("it is damaged: its line is not the one that was written")]
    Damaged,
}

impl LetterHead {
    /// The letter with this line.
    pub(crate) fn with_line(&self, line: &[u8]) -> Vec<u8> {
        let first = FirstLine {
            dead_letter: FORM,
            hydrant: env!("CARGO_PKG_VERSION").to_owned(),
            line_bytes: line.len(),
            line_crc32: format!("{:08x}", crc32fast::hash(line)),
            head: self,
        };
        // Its keys are texts, and its values numbers and texts.
        let mut letter = serde_json::to_vec(&first).unwrap_or_default();
        letter.reserve_exact(line.len() + 1);
        letter.push(b'\n');
        letter.extend_from_slice(line);
        letter
    }
}

impl Letter {
    /// Reads a letter.
    ///
    /// # Errors
    /// If it is none, or not whole.
    pub(crate) fn parse(mut bytes: Vec<u8>) -> Result<Self, NoLetter> {
        let end = memchr::memchr(b'\n', &bytes).ok_or(NoLetter::Other)?;
        let line = bytes.split_off(end + 1);
        let form: Form = serde_json::from_slice(&bytes).map_err(|_| NoLetter::Other)?;
        if form.dead_letter != FORM {
            return Err(NoLetter::Form(form.dead_letter));
        }
        let first: FirstLine<LetterHead> =
            serde_json::from_slice(&bytes).map_err(|_| NoLetter::Damaged)?;
        let crc32 = format!("{:08x}", crc32fast::hash(&line));
        if (first.line_bytes, first.line_crc32) != (line.len(), crc32) {
            return Err(NoLetter::Damaged);
        }
        Ok(Self {
            head: first.head,
            line,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> LetterHead {
        LetterHead {
            schema: "shop".to_owned(),
            table: "a \"b\"\n".to_owned(),
            stream: Some("s".to_owned()),
            dialect: Dialect::OpenCsv,
            layout: Some(2),
            has_version_folders: false,
            position: FilePosition::new("binlog.000003", 1234),
            gtid: None,
            ordinal: 7,
            commit_time: Timestamp::from_microsecond(1_457_049_600_000_001).unwrap(),
            reason: Reason::Oversize {
                row_bytes: 11,
                limit_bytes: 10,
            },
        }
    }

    #[test]
    fn a_letter_has_what_is_known_and_then_the_line() {
        let letter = head().with_line(b"1,\"a\nb\"\n");
        let letter = String::from_utf8(letter).unwrap();
        let version = format!("\"hydrant\":\"{}\",", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            letter.replace(&version, ""),
            "{\"dead_letter\":1,\"line_bytes\":8,\"line_crc32\":\"a9e775b6\",\"schema\":\"shop\",\"table\":\"a \\\"b\\\"\\n\",\
             \"stream\":\"s\",\"dialect\":\"opencsv\",\"layout\":2,\"has_version_folders\":false,\
             \"position\":{\"file\":\"binlog.000003\",\"offset\":1234},\"ordinal\":7,\
             \"commit_time\":\"2016-03-04T00:00:00.000001Z\",\
             \"reason\":{\"code\":\"oversize\",\"row_bytes\":11,\"limit_bytes\":10}}\n1,\"a\nb\"\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            line in prop::collection::vec(any::<u8>(), 0..200),
            table in ".{1,20}",
            gtid in prop::option::of("[0-9a-f:-]{1,20}"),
            ordinal: u64,
            commit_time_us in 0_i64..253_000_000_000_000_000,
        ) {
            let commit_time = Timestamp::from_microsecond(commit_time_us).unwrap();
            let head = LetterHead { table, gtid, ordinal, commit_time, ..head() };
            let letter = Letter::parse(head.with_line(&line));
            prop_assert_eq!(letter, Ok(Letter { head, line }));
        }

        /// Whatever becomes of its bytes, no other line is read from it.
        #[test]
        fn damage_is_noticed(at: prop::sample::Index, bit in 0_u8..8, cut: prop::sample::Index) {
            let line = b"1,abcdefgh\n";
            let whole = head().with_line(line);
            let mut flipped = whole.clone();
            flipped[at.index(whole.len())] ^= 1 << bit;
            let cut = whole[..cut.index(whole.len())].to_vec();
            for damaged in [flipped, cut] {
                if let Ok(letter) = Letter::parse(damaged) {
                    prop_assert_eq!(letter.line, line);
                }
            }
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Letter::parse(bytes).is_err());
        }
    }

    #[test]
    fn a_letter_of_a_later_form_is_told_from_damage() {
        let letter = "{\"dead_letter\":2,\"what\":[]}\nline\n";
        assert_eq!(Letter::parse(letter.into()), Err(NoLetter::Form(2)));
        let letter = "{\"dead_letter\":1}\nline\n";
        assert_eq!(Letter::parse(letter.into()), Err(NoLetter::Damaged));
    }
}
