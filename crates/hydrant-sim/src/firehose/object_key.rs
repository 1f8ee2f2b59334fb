//! PURE. Where an object goes: a stream's prefix, and the key made of it.
//!
//! What lives here: Firehose's naming of objects and the few further rules that turning a key
//! into a path needs. What does not: files ([`super::delivery`]).
//!
//! Source of the format: Amazon Data Firehose Developer Guide, "Configure Amazon S3 object name
//! format" and "Understand custom prefixes for Amazon S3 objects".

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use uuid::Uuid;

/// Longest prefix, in characters. Source: API reference, `ExtendedS3DestinationConfiguration`.
pub(super) const MAX_PREFIX_CHARS: usize = 1_024;

/// Longest part of a prefix between two slashes, in bytes, so that with the object's own name it
/// stays a file name. The simulator's rule, not AWS's.
const MAX_PART_BYTES: usize = 100;

/// What a prefix without a timestamp expression gets appended.
const DEFAULT_DATE: &str = "%Y/%m/%d/%H/";

/// Characters of a random string. Source: the guide's page on prefixes, whose examples are the beginning of a
/// UUID.
const RANDOM_CHARS: usize = 11;

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

/// What a stream's objects are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectNaming {
    /// What keys begin with.
    pub prefix: Prefix,
    /// What keys of what could not be delivered begin with, as it was written.
    pub error_prefix: Option<String>,
    /// That of the times in keys.
    pub time_zone: TimeZone,
    /// How keys end, if this is not empty; otherwise as their compression has it.
    pub extension: String,
}

impl ObjectNaming {
    /// With this prefix, and AWS's defaults for all else.
    #[must_use]
    pub fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            error_prefix: None,
            time_zone: TimeZone::UTC,
            extension: String::new(),
        }
    }
}

/// Why a prefix cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Longer than AWS allows.
    #[error("the prefix is longer than {MAX_PREFIX_CHARS} characters")]
    TooLong,
    /// What AWS refuses, after its own words, their slip included. Those of a missing error prefix are quoted
    /// in hashicorp/terraform-provider-aws#13416; the others are those of the guide.
    #[error("Ths supplied prefix(es) do not satisfy the following constraint: {0}")]
    Constraint(&'static str),
    /// A partition key, for which AWS needs a processor that the simulator does not have.
    #[error("the prefix has !{{{0}}}, which needs dynamic partitioning: this simulator has none")]
    Partition(String),
    /// A letter of Java's `DateTimeFormatter` that is not supported.
    #[error(
        "the prefix has {0:?} in a timestamp, which this simulator does not know: it takes yyyy MM dd DDD HH mm ss and \
         others of years, months, days and times, and text in single quotes"
    )]
    Pattern(String),
    /// Keys are paths here, so a part that would leave or hide in the folder is refused.
    #[error(
        "the prefix has the part {0:?}: as a path, parts must be 1 to {MAX_PART_BYTES} bytes and not start with a dot"
    )]
    Part(String),
}

/// A piece of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// A `strftime` format.
    Time(String),
    /// `!{firehose:random-string}`.
    Random,
    /// `!{firehose:error-output-type}`.
    ErrorType,
}

/// A prefix that has been checked, and what it evaluates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    written: String,
    /// Its date included.
    pieces: Vec<Piece>,
}

impl Prefix {
    /// Checks what a client or the command line wrote.
    ///
    /// # Errors
    /// The rule that it breaks, AWS's or the simulator's.
    pub fn parse(written: &str) -> Result<Self, PrefixError> {
        let (mut pieces, is_dated) = pieces(written)?;
        if pieces.contains(&Piece::ErrorType) {
            return Err(PrefixError::Constraint(
                "Prefix cannot contain !{firehose:error-output-type}",
            ));
        }
        if !is_dated {
            pieces.push(Piece::Time(DEFAULT_DATE.to_owned()));
        }
        let prefix = Self {
            written: written.to_owned(),
            pieces,
        };
        let evaluated = prefix.evaluate(
            &Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC),
            Uuid::nil,
        );
        check_parts(&evaluated)?;
        Ok(prefix)
    }

    /// What was written, for descriptions.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.written
    }

    fn has_expressions(&self) -> bool {
        has_expressions(&self.written)
    }

    fn evaluate(&self, oldest: &ZonedDateTime, mut random: impl FnMut() -> Uuid) -> String {
        let mut evaluated = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Time(format) => evaluated.push_str(&oldest.strftime(format).to_string()),
                Piece::Random => evaluated.push_str(&random().to_string()[..RANDOM_CHARS]),
                Piece::ErrorType => {}
            }
        }
        evaluated
    }
}

/// Checks the prefix of what could not be delivered. Nothing fails here, so that it is only described back.
///
/// # Errors
/// The rule that it breaks, AWS's or the simulator's.
pub(super) fn check_error_prefix(
    prefix: &Prefix,
    written: Option<&str>,
) -> Result<(), PrefixError> {
    let written = written.unwrap_or_default();
    if written.is_empty() {
        if prefix.has_expressions() {
            return Err(PrefixError::Constraint(
                "ErrorOutputPrefix cannot be null or empty when Prefix contains expressions",
            ));
        }
        return Ok(());
    }
    let (pieces, _) = pieces(written)?;
    if has_expressions(written) && !pieces.contains(&Piece::ErrorType) {
        return Err(PrefixError::Constraint(
            "ErrorOutputPrefix must contain !{firehose:error-output-type} when it contains expressions",
        ));
    }
    Ok(())
}

fn has_expressions(written: &str) -> bool {
    written.contains("!{")
}

/// The pieces of a prefix, and whether one of them is an expression of a time.
fn pieces(written: &str) -> Result<(Vec<Piece>, bool), PrefixError> {
    if written.chars().count() > MAX_PREFIX_CHARS {
        return Err(PrefixError::TooLong);
    }
    let mut pieces = Vec::new();
    let mut format = String::new();
    let mut is_dated = false;
    let mut rest = written;
    while let Some((literal, after)) = rest.split_once("!{") {
        push_literal(&mut format, literal);
        let unclosed = "the sequence !{ can only appear in !{namespace:value} expressions";
        let (expression, after) = after
            .split_once('}')
            .ok_or(PrefixError::Constraint(unclosed))?;
        let piece = match expression.split_once(':') {
            Some(("timestamp", pattern)) => {
                push_pattern(&mut format, pattern)?;
                is_dated = true;
                None
            }
            Some(("firehose", "random-string")) => Some(Piece::Random),
            Some(("firehose", "error-output-type")) => Some(Piece::ErrorType),
            Some(("firehose", _)) => {
                let known =
                    "the namespace firehose has the values error-output-type and random-string";
                return Err(PrefixError::Constraint(known));
            }
            Some(("partitionKeyFromQuery" | "partitionKeyFromLambda", _)) => {
                return Err(PrefixError::Partition(expression.to_owned()));
            }
            Some(_) | None => return Err(PrefixError::Constraint(unclosed)),
        };
        if let Some(piece) = piece {
            pieces.push(Piece::Time(std::mem::take(&mut format)));
            pieces.push(piece);
        }
        rest = after;
    }
    push_literal(&mut format, rest);
    pieces.push(Piece::Time(format));
    Ok((pieces, is_dated))
}

/// The key of an object whose oldest record arrived at `oldest`, relative and with slashes. `random` gives another
/// number each time; the object's own name has the first.
#[must_use]
pub(super) fn object_key(
    destination: &ObjectNaming,
    stream: &str,
    oldest: Timestamp,
    mut random: impl FnMut() -> Uuid,
    compression: Compression,
) -> String {
    let id = random();
    let oldest = oldest.to_zoned_datetime(destination.time_zone.clone());
    let directory = destination.prefix.evaluate(&oldest, random);
    let time = oldest.strftime("%Y-%m-%d-%H-%M-%S");
    let ending = match destination.extension.as_str() {
        "" => compression.ending(),
        extension => extension,
    };
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
                "yyyy" | "uuuu" => "%Y",
                "yy" | "uu" => "%y",
                "MMMM" => "%B",
                "MMM" => "%b",
                "MM" => "%m",
                "M" => "%-m",
                "DDD" => "%j",
                "dd" => "%d",
                "d" => "%-d",
                "EEEE" => "%A",
                "EEE" => "%a",
                "HH" => "%H",
                "H" => "%-H",
                "hh" => "%I",
                "h" => "%-I",
                "a" => "%p",
                "mm" => "%M",
                "m" => "%-M",
                "ss" => "%S",
                "s" => "%-S",
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
        let naming = ObjectNaming::new(Prefix::parse(prefix).unwrap());
        object_key(&naming, "Changes", oldest, || ID, compression)
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
    fn each_random_string_is_another_and_leaves_the_date_to_be_appended() {
        let mut count = 0;
        let mut random = || {
            count += 1;
            Uuid::from_u128(count << 96)
        };
        let prefix = "!{firehose:random-string}/x-!{firehose:random-string}/";
        let naming = ObjectNaming::new(Prefix::parse(prefix).unwrap());
        let oldest: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
        let key = object_key(&naming, "S", oldest, &mut random, Compression::Gzip);
        assert_eq!(
            key,
            "00000002-00/x-00000003-00/2026/03/04/05/S-1-2026-03-04-05-06-07-\
             00000001-0000-0000-0000-000000000000.gz"
        );
    }

    #[test]
    fn times_are_in_the_streams_zone_and_a_given_extension_is_the_ending() {
        let mut naming = ObjectNaming::new(Prefix::parse("").unwrap());
        naming.time_zone = TimeZone::get("Asia/Tokyo").unwrap();
        naming.extension = ".csv.gz".to_owned();
        let oldest: Timestamp = "2026-03-04T20:06:07Z".parse().unwrap();
        let key = object_key(&naming, "S", oldest, || ID, Compression::Gzip);
        assert!(
            key.starts_with("2026/03/05/05/S-1-2026-03-05-05-06-07-"),
            "{key}"
        );
        assert!(key.ends_with("aabbccddeeff.csv.gz"), "{key}");
    }

    #[test]
    fn an_error_prefix_is_needed_with_expressions_and_says_which_error() {
        let check = |prefix: &str, error: Option<&str>| {
            check_error_prefix(&Prefix::parse(prefix).unwrap(), error)
        };
        let (plain, dated) = ("CDC/", "CDC/!{timestamp:yyyy}/");
        let typed = "failed/!{firehose:error-output-type}/!{timestamp:yyyy}/";
        for (prefix, error) in [
            (plain, None),
            (plain, Some("failed/")),
            (plain, Some(typed)),
            (dated, Some("failed/")),
            (dated, Some(typed)),
        ] {
            assert_eq!(check(prefix, error), Ok(()), "{prefix}, {error:?}");
        }
        for (prefix, error) in [
            (dated, None),
            (dated, Some("")),
            (plain, Some("failed/!{timestamp:yyyy}/")),
            (plain, Some("failed/!{firehose:random-string}/")),
            (plain, Some("!{firehose:error-output-type")),
        ] {
            let refused = check(prefix, error);
            assert!(
                matches!(refused, Err(PrefixError::Constraint(_))),
                "{prefix}, {error:?}"
            );
        }
        assert_eq!(
            check(dated, None).unwrap_err().to_string(),
            "Ths supplied prefix(es) do not satisfy the following constraint: ErrorOutputPrefix cannot be null \
             or empty when Prefix contains expressions"
        );
    }

    #[test]
    fn a_percent_sign_is_a_percent_sign() {
        assert!(key("100%Y/", Compression::Gzip).starts_with("100%Y/2026/"));
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        let refused = |prefix: &str| Prefix::parse(prefix).unwrap_err();
        for malformed in [
            "!{timestamp:yyyy",
            "!{",
            "!{}",
            "!{timestamp}",
            "!{time:HH}",
            "!{firehose:x}",
        ] {
            assert!(
                matches!(refused(malformed), PrefixError::Constraint(_)),
                "{malformed}"
            );
        }
        assert!(matches!(
            refused("!{firehose:error-output-type}/"),
            PrefixError::Constraint(_)
        ));
        assert_eq!(
            refused("!{partitionKeyFromQuery:id}/"),
            PrefixError::Partition("partitionKeyFromQuery:id".into())
        );
        assert_eq!(
            refused("!{timestamp:YYYY}/"),
            PrefixError::Pattern("YYYY".into())
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
