//! PURE. Where an object goes: a stream's prefix, and the key made of it.
//!
//! What lives here: Firehose's naming of objects and the few further rules that turning a key
//! into a path needs. What does not: files ([`super::delivery`]).
//!
//! Source of the format: Amazon Data Firehose Developer Guide, "Configure Amazon S3 object name
//! format" and "Understand custom prefixes for Amazon S3 objects".

use jiff::Timestamp;
use uuid::Uuid;

/// Longest prefix, in characters. Source: API reference, `ExtendedS3DestinationConfiguration`.
pub(super) const MAX_PREFIX_CHARS: usize = 1_024;

/// Longest part of a prefix between two slashes, in bytes, so that with the object's own name it
/// stays a file name. The simulator's rule, not AWS's.
const MAX_PART_BYTES: usize = 100;

/// What a prefix without a timestamp expression gets appended.
const DEFAULT_DATE: &str = "%Y/%m/%d/%H/";

/// The version of a stream's configuration, part of the key. Streams cannot be reconfigured
/// here, so it stays at its first value.
pub(super) const VERSION_ID: &str = "1";

/// How objects are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// `GZIP`: one gzip member, name ends in `.gz`.
    Gzip,
    /// `UNCOMPRESSED`: the bytes as they came, no ending.
    Uncompressed,
}

impl Compression {
    /// The API's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "GZIP",
            Self::Uncompressed => "UNCOMPRESSED",
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Uncompressed => "",
        }
    }
}

/// Why a prefix cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Longer than AWS allows.
    #[error("the prefix is longer than {MAX_PREFIX_CHARS} characters")]
    TooLong,
    /// `!{` without its brace.
    #[error("the prefix has an expression without a closing brace")]
    Unclosed,
    /// An expression of another namespace than `timestamp`.
    #[error("the prefix has !{{{0}}}, of which the simulator only knows !{{timestamp:...}}")]
    Namespace(String),
    /// A letter of Java's `DateTimeFormatter` that is not supported.
    #[error(
        "the prefix has {0:?} in a timestamp, of which the simulator only knows yyyy MM dd HH mm and text in single quotes"
    )]
    Pattern(String),
    /// Keys are paths here, so a part that would leave or hide in the folder is refused.
    #[error(
        "the prefix has the part {0:?}: as a path, parts must be 1 to {MAX_PART_BYTES} bytes and not start with a dot"
    )]
    Part(String),
}

/// A prefix that has been checked, and what it evaluates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    written: String,
    /// The same as a `strftime` format, its date included.
    format: String,
}

impl Prefix {
    /// Checks what a client or the command line wrote.
    ///
    /// # Errors
    /// The rule that it breaks, AWS's or the simulator's.
    pub fn parse(written: &str) -> Result<Self, PrefixError> {
        if written.chars().count() > MAX_PREFIX_CHARS {
            return Err(PrefixError::TooLong);
        }
        let mut format = String::new();
        let mut rest = written;
        let mut dated = false;
        while let Some((literal, after)) = rest.split_once("!{") {
            push_literal(&mut format, literal);
            let (expression, after) = after.split_once('}').ok_or(PrefixError::Unclosed)?;
            let pattern = expression
                .strip_prefix("timestamp:")
                .ok_or_else(|| PrefixError::Namespace(expression.to_owned()))?;
            push_pattern(&mut format, pattern)?;
            dated = true;
            rest = after;
        }
        push_literal(&mut format, rest);
        if !dated {
            format.push_str(DEFAULT_DATE);
        }
        let prefix = Self {
            written: written.to_owned(),
            format,
        };
        check_parts(&prefix.evaluate(Timestamp::UNIX_EPOCH))?;
        Ok(prefix)
    }

    /// What was written, for descriptions.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    fn evaluate(&self, oldest: Timestamp) -> String {
        oldest.strftime(&self.format).to_string()
    }
}

/// The key of an object whose oldest record arrived at `oldest`, relative and with slashes.
#[must_use]
pub(super) fn object_key(
    prefix: &Prefix,
    stream: &str,
    oldest: Timestamp,
    id: Uuid,
    compression: Compression,
) -> String {
    let directory = prefix.evaluate(oldest);
    let time = oldest.strftime("%Y-%m-%d-%H-%M-%S");
    let ending = compression.ending();
    format!("{directory}{stream}-{VERSION_ID}-{time}-{id}{ending}")
}

fn push_literal(format: &mut String, literal: &str) {
    format.push_str(&literal.replace('%', "%%"));
}

/// Translates a pattern of Java's `DateTimeFormatter`.
fn push_pattern(format: &mut String, pattern: &str) -> Result<(), PrefixError> {
    let mut chars = pattern.chars().peekable();
    while let Some(first) = chars.next() {
        if first == '\'' {
            let text: String = chars.by_ref().take_while(|&c| c != '\'').collect();
            // Two quotes in a row are one quote.
            push_literal(format, if text.is_empty() { "'" } else { &text });
        } else if first.is_ascii_alphabetic() {
            let mut run = String::from(first);
            while let Some(same) = chars.next_if_eq(&first) {
                run.push(same);
            }
            format.push_str(match run.as_str() {
                "yyyy" => "%Y",
                "MM" => "%m",
                "dd" => "%d",
                "HH" => "%H",
                "mm" => "%M",
                _ => return Err(PrefixError::Pattern(run)),
            });
        } else {
            push_literal(format, first.encode_utf8(&mut [0; 4]));
        }
    }
    Ok(())
}

/// Refuses what would leave the data folder, hide in it, or be no file name. The last part may
/// be empty, because the object's own name follows it.
fn check_parts(path: &str) -> Result<(), PrefixError> {
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let named = !part.is_empty() || is_last;
        if !named || part.len() > MAX_PART_BYTES || part.starts_with('.') || part.contains('\0') {
            return Err(PrefixError::Part(part.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

    fn key(prefix: &str, compression: Compression) -> String {
        let oldest: Timestamp = "2026-03-04T05:06:07.9Z".parse().unwrap();
        object_key(
            &Prefix::parse(prefix).unwrap(),
            "Changes",
            oldest,
            ID,
            compression,
        )
    }

    #[test]
    fn a_prefix_without_an_expression_gets_the_date_appended() {
        assert_eq!(
            key("CDC/", Compression::Gzip),
            "CDC/2026/03/04/05/Changes-1-2026-03-04-05-06-07-00112233-4455-6677-8899-aabbccddeeff.gz"
        );
    }

    #[test]
    fn no_slash_is_added_to_a_prefix() {
        assert!(key("CDC", Compression::Gzip).starts_with("CDC2026/03/04/05/Changes-1-"));
        assert!(key("", Compression::Gzip).starts_with("2026/03/04/05/Changes-1-"));
    }

    #[test]
    fn an_uncompressed_object_has_no_ending() {
        assert!(key("", Compression::Uncompressed).ends_with("-aabbccddeeff"));
    }

    #[test]
    fn a_timestamp_expression_replaces_the_date() {
        let prefix = "sales/dt=!{timestamp:yyyy-MM-dd}/hr=!{timestamp:HH}/";
        assert!(key(prefix, Compression::Gzip).starts_with("sales/dt=2026-03-04/hr=05/Changes-1-"));
        let prefix = "!{timestamp:yyyy/MM/dd'T'HHmm''}_";
        assert!(key(prefix, Compression::Gzip).starts_with("2026/03/04T0506'_Changes-1-"));
    }

    #[test]
    fn a_percent_sign_is_a_percent_sign() {
        assert!(key("100%Y/", Compression::Gzip).starts_with("100%Y/2026/"));
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        let refused = |prefix: &str| Prefix::parse(prefix).unwrap_err();
        assert_eq!(refused("!{timestamp:yyyy"), PrefixError::Unclosed);
        assert_eq!(
            refused("!{timestamp:yy}/"),
            PrefixError::Pattern("yy".into())
        );
        assert_eq!(
            refused("!{firehose:random-string}/"),
            PrefixError::Namespace("firehose:random-string".into())
        );
        assert_eq!(refused(&"x/".repeat(513)), PrefixError::TooLong);
    }

    #[test]
    fn no_prefix_leads_out_of_the_folder_or_hides_in_it() {
        let paths = [
            "/etc/",
            "../",
            "a/../../b",
            "./",
            ".hidden/",
            "a//b",
            "a/.",
            "a\0b",
        ];
        let computed = [
            "!{timestamp:'../'}",
            "!{timestamp:'..'}/",
            "!{timestamp:''}/../",
        ];
        for prefix in paths.into_iter().chain(computed) {
            let refused = Prefix::parse(prefix);
            assert!(
                matches!(refused, Err(PrefixError::Part(_))),
                "{prefix:?} gave {refused:?}"
            );
        }
        assert!(Prefix::parse(&format!("{}/", "x".repeat(100))).is_ok());
        assert!(Prefix::parse(&format!("{}/", "x".repeat(101))).is_err());
    }
}
