//! What a reader of lines takes a column for.
//!
//! This is what is stored of a table's columns and compared with what comes later. It is versioned by its
//! serialized form: variants and fields are added, and never change their meaning. What does not live here: how the bytes of
//! a cell look ([`ColumnType`]), and how its text is written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ColumnType;

/// The type of a written column. Two columns have the same type if no reader can tell their cells apart by more than
/// their range: text is UTF-8 whatever its character set was, and labels of ENUM and SET are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogicalType {
    /// TINYINT to BIGINT.
    Int {
        /// 8, 16, 24, 32 or 64.
        bits: u8,
        /// Without negative numbers.
        unsigned: bool,
    },
    /// FLOAT: 32 bits.
    Float {
        /// Digits after the point of a FLOAT(M,D).
        scale: Option<u8>,
    },
    /// DOUBLE: 64 bits.
    Double {
        /// Digits after the point of a DOUBLE(M,D).
        scale: Option<u8>,
    },
    /// DECIMAL, exact.
    Decimal {
        /// Digits after the point, 0 to 38.
        scale: u8,
    },
    /// YEAR: four digits.
    Year,
    /// DATE.
    Date,
    /// TIME.
    Time {
        /// Fractional digits, 0 to 6.
        digits: u8,
    },
    /// DATETIME, in no time zone.
    DateTime {
        /// Fractional digits, 0 to 6.
        digits: u8,
    },
    /// TIMESTAMP, in UTC.
    Timestamp {
        /// Fractional digits, 0 to 6.
        digits: u8,
    },
    /// TIME, TIMESTAMP and DATETIME as MySQL 5.5 stored them.
    OldTemporal {
        /// 3, 4 or 8, in this order.
        bytes: u8,
    },
    /// CHAR, VARCHAR, TEXT, ENUM and SET: UTF-8.
    Text,
    /// BINARY, VARBINARY, BLOB, BIT and GEOMETRY: upper-case hexadecimal digits.
    Binary,
    /// JSON.
    Json,
    /// VECTOR: a list of 32-bit floating numbers.
    Vector,
    /// MariaDB's INET4.
    Inet4,
    /// MariaDB's INET6.
    Inet6,
    /// MariaDB's UUID.
    Uuid,
    /// Text that a mask has made of a column of any type.
    Masked(MaskKind),
}

/// How the text of a masked column is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// A keyed hash.
    Sha256 {
        /// A code of the secret key, which tells nothing of it but whether it is another one.
        key: u32,
    },
    /// The same for each value.
    Redact,
    /// The beginning.
    Truncate {
        /// Its length.
        characters: u32,
    },
}

impl fmt::Display for MaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256 { .. } => f.write_str("sha256"),
            Self::Redact => f.write_str("redact"),
            Self::Truncate { characters } => write!(f, "truncate:{characters}"),
        }
    }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |f: &mut fmt::Formatter<'_>, name: &str, scale: Option<u8>| match scale {
            Some(scale) => write!(f, "{name} with {scale} digits after the point"),
            None => f.write_str(name),
        };
        match *self {
            Self::Int { bits, unsigned } => {
                let unsigned = if unsigned { " UNSIGNED" } else { "" };
                write!(f, "{}{unsigned}", ColumnType::Int(bits / 8))
            }
            Self::Float { scale } => scaled(f, "FLOAT", scale),
            Self::Double { scale } => scaled(f, "DOUBLE", scale),
            Self::Decimal { scale } => scaled(f, "DECIMAL", Some(scale)),
            Self::Year => f.write_str("YEAR"),
            Self::Date => f.write_str("DATE"),
            Self::Time { digits } => write!(f, "TIME({digits})"),
            Self::DateTime { digits } => write!(f, "DATETIME({digits})"),
            Self::Timestamp { digits } => write!(f, "TIMESTAMP({digits})"),
            Self::OldTemporal { bytes } => ColumnType::OldTemporal(bytes).fmt(f),
            Self::Text => f.write_str("TEXT"),
            Self::Binary => f.write_str("BINARY"),
            Self::Json => f.write_str("JSON"),
            Self::Vector => f.write_str("VECTOR"),
            Self::Inet4 => f.write_str("INET4"),
            Self::Inet6 => f.write_str("INET6"),
            Self::Uuid => f.write_str("UUID"),
            Self::Masked(kind) => write!(f, "TEXT masked by {kind}"),
        }
    }
}

/// A text that is not a logical type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no type of a column")]
pub struct UnknownType(String);

impl FromStr for LogicalType {
    type Err = UnknownType;

    /// Parses its display form, as far as checkpoints before version 4 hold it: they have no masks.
    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let digits = || {
            (0..=6).flat_map(|digits| {
                [
                    Self::Time { digits },
                    Self::DateTime { digits },
                    Self::Timestamp { digits },
                ]
            })
        };
        let scales = || {
            (0..=u8::MAX).flat_map(|scale| {
                [
                    Self::Float { scale: Some(scale) },
                    Self::Double { scale: Some(scale) },
                    Self::Decimal { scale },
                ]
            })
        };
        let ints = [8, 16, 24, 32, 64].into_iter();
        let ints = ints.flat_map(|bits| [false, true].map(|unsigned| Self::Int { bits, unsigned }));
        let old = [3, 4, 8]
            .into_iter()
            .map(|bytes| Self::OldTemporal { bytes });
        let others = [
            Self::Float { scale: None },
            Self::Double { scale: None },
            Self::Year,
            Self::Date,
            Self::Text,
            Self::Binary,
            Self::Json,
            Self::Vector,
            Self::Inet4,
            Self::Inet6,
            Self::Uuid,
        ];
        let mut all = ints
            .chain(old)
            .chain(others)
            .chain(digits())
            .chain(scales());
        all.find(|known| known.to_string() == text)
            .ok_or_else(|| UnknownType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_and_so_is_what_was_stored_as_it_is_displayed() {
        let types = [
            (
                LogicalType::Int {
                    bits: 24,
                    unsigned: true,
                },
                r#"{"int":{"bits":24,"unsigned":true}}"#,
                "MEDIUMINT UNSIGNED",
            ),
            (
                LogicalType::Double { scale: Some(2) },
                r#"{"double":{"scale":2}}"#,
                "DOUBLE with 2 digits after the point",
            ),
            (
                LogicalType::Float { scale: None },
                r#"{"float":{"scale":null}}"#,
                "FLOAT",
            ),
            (
                LogicalType::Decimal { scale: 30 },
                r#"{"decimal":{"scale":30}}"#,
                "DECIMAL with 30 digits after the point",
            ),
            (
                LogicalType::DateTime { digits: 6 },
                r#"{"date_time":{"digits":6}}"#,
                "DATETIME(6)",
            ),
            (LogicalType::Text, r#""text""#, "TEXT"),
            (LogicalType::Uuid, r#""uuid""#, "UUID"),
        ];
        for (known, stored, displayed) in types {
            assert_eq!(serde_json::to_string(&known).unwrap(), stored);
            assert_eq!(serde_json::from_str::<LogicalType>(stored).unwrap(), known);
            assert_eq!(known.to_string(), displayed);
            assert_eq!(displayed.parse(), Ok(known));
        }
        for bytes in [3, 4, 8] {
            let known = LogicalType::OldTemporal { bytes };
            assert_eq!(known.to_string().parse(), Ok(known));
        }
        assert!("POINT".parse::<LogicalType>().is_err());
    }
}
