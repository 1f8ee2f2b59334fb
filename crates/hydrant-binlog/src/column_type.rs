//! The one table of column types: their numbers in table maps, their names in `information_schema`, and how many
//! bytes their cells take.
//!
//! A new type has its line in each of the functions here, a variant of [`LogicalType`](super::LogicalType), and a writer in
//! `encode`.

use super::bytes::Cursor;
use super::{Flavor, Problem, ServerColumn};

/// Column types with what they need to know to read a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// TINYINT to BIGINT, by width in bytes: 1, 2, 3, 4 or 8.
    Int(u8),
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL.
    Decimal {
        /// All digits.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME with fractional digits.
    Time(u8),
    /// DATETIME with fractional digits.
    DateTime(u8),
    /// TIMESTAMP with fractional digits.
    Timestamp(u8),
    /// CHAR, VARCHAR, BINARY and VARBINARY.
    String {
        /// Bytes of the length before the value.
        prefix: u8,
        /// Bytes of a CHAR or BINARY, whose padding is left out of the value; otherwise 0.
        padded_len: u16,
    },
    /// TEXT and BLOB types, by bytes of the length before the value.
    Blob(u8),
    /// ENUM, by width of the index in bytes.
    Enum(u8),
    /// SET, by width of the bitmap in bytes.
    Set(u8),
    /// BIT, by bits.
    Bit(u16),
    /// JSON, by bytes of the length before the value.
    Json(u8),
    /// GEOMETRY types, by bytes of the length before the value.
    Geometry(u8),
    /// VECTOR, by bytes of the length before the value.
    Vector(u8),
    /// VARCHAR, TEXT and their binary kin with MariaDB's COMPRESSED attribute, by bytes of the
    /// length before the value.
    Compressed(u8),
    /// TIME, DATETIME and TIMESTAMP as MySQL 5.5 stored them, by width in bytes.
    OldTemporal(u8),
    /// A type number whose cells hydrant cannot even pass over.
    Unknown(u8),
}

/// How many bytes a cell takes: a fixed number, or a length of `prefix` bytes before the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellLayout {
    pub(crate) fixed: u32,
    pub(crate) prefix: u8,
}

impl ColumnType {
    /// Where a cell ends; `None` for types that cannot be passed over.
    pub(crate) fn layout(self) -> Option<CellLayout> {
        let (fixed, prefix) = match self {
            Self::Int(width) | Self::Enum(width) | Self::Set(width) | Self::OldTemporal(width) => {
                (u32::from(width), 0)
            }
            Self::Float => (4, 0),
            Self::Double => (8, 0),
            Self::Decimal { precision, scale } => (decimal_len(precision, scale)?, 0),
            Self::Year => (1, 0),
            Self::Date => (3, 0),
            Self::Time(digits) => (3 + fraction_len(digits), 0),
            Self::DateTime(digits) => (5 + fraction_len(digits), 0),
            Self::Timestamp(digits) => (4 + fraction_len(digits), 0),
            Self::Bit(bits) => (u32::from(bits.div_ceil(8)), 0),
            Self::String { prefix, .. }
            | Self::Blob(prefix)
            | Self::Json(prefix)
            | Self::Geometry(prefix)
            | Self::Vector(prefix)
            | Self::Compressed(prefix) => (0, prefix),
            Self::Unknown(_) => return None,
        };
        Some(CellLayout { fixed, prefix })
    }

    /// The type that a table map has for a column that `information_schema` tells so; `None` if it is not known.
    pub(super) fn declared(column: &ServerColumn) -> Option<Self> {
        let octets = column.octets.unwrap_or(0);
        let prefix = if octets > 255 { 2 } else { 1 };
        let small = |number: Option<u64>| u8::try_from(number.unwrap_or(0)).ok();
        let fixed = |len| Self::String {
            prefix: if len > 255 { 2 } else { 1 },
            padded_len: len,
        };
        let labels = column.labels().len();
        let blob = |prefix| {
            if column.is_compressed() {
                Self::Compressed(prefix)
            } else {
                Self::Blob(prefix)
            }
        };
        Some(match column.data_type.to_ascii_lowercase().as_str() {
            "tinyint" => Self::Int(1),
            "smallint" => Self::Int(2),
            "mediumint" => Self::Int(3),
            "int" => Self::Int(4),
            "bigint" => Self::Int(8),
            "float" => Self::Float,
            "double" => Self::Double,
            "decimal" => Self::Decimal {
                precision: small(column.precision)?,
                scale: small(column.scale)?,
            },
            "year" => Self::Year,
            "date" => Self::Date,
            "time" => Self::Time(small(column.fraction)?),
            "datetime" => Self::DateTime(small(column.fraction)?),
            "timestamp" => Self::Timestamp(small(column.fraction)?),
            "char" | "binary" => fixed(u16::try_from(octets).ok()?),
            "inet4" => fixed(4),
            "inet6" | "uuid" => fixed(16),
            "varchar" | "varbinary" if column.is_compressed() => blob(prefix),
            "varchar" | "varbinary" => Self::String {
                prefix,
                padded_len: 0,
            },
            "tinytext" | "tinyblob" => blob(1),
            "text" | "blob" => blob(2),
            "mediumtext" | "mediumblob" => blob(3),
            "longtext" | "longblob" => blob(4),
            "enum" => Self::Enum(if labels > 255 { 2 } else { 1 }),
            "set" => Self::Set(match labels.div_ceil(8) {
                width @ 0..=4 => u8::try_from(width).ok()?,
                _ => 8,
            }),
            "bit" => Self::Bit(u16::try_from(column.precision.unwrap_or(1)).ok()?),
            "json" => Self::Json(4),
            "vector" => Self::Vector(4),
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection" => Self::Geometry(4),
            _ => return None,
        })
    }

    /// Types for which the table map has a bit of signedness (`is_numeric_type` in `log_event`).
    pub(super) fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::Int(_) | Self::Float | Self::Double | Self::Decimal { .. } | Self::Year
        )
    }

    /// Types for which the table map has a collation in its list of columns: VECTOR as MySQL
    /// counts, GEOMETRY as MariaDB does (`is_character_type` in either's `log_event`).
    pub(super) fn is_character(self, flavor: Flavor) -> bool {
        match self {
            Self::String { .. } | Self::Blob(_) | Self::Vector(_) | Self::Compressed(_) => true,
            Self::Geometry(_) => flavor == Flavor::MariaDb,
            _ => false,
        }
    }

    /// Types whose values are numbers of labels.
    pub(super) fn has_labels(self) -> bool {
        matches!(self, Self::Enum(_) | Self::Set(_))
    }

    /// Reads the type's own metadata, which follows the list of types.
    pub(super) fn parse(code: u8, metadata: &mut Cursor<'_>) -> Result<Self, Problem> {
        let prefix = |len: u64| if len > 255 { 2 } else { 1 };
        Ok(match code {
            1 => Self::Int(1),
            2 => Self::Int(2),
            9 => Self::Int(3),
            3 => Self::Int(4),
            8 => Self::Int(8),
            4 => check_len(metadata.u8()?, 4, Self::Float)?,
            5 => check_len(metadata.u8()?, 8, Self::Double)?,
            7 => Self::OldTemporal(4),
            11 => Self::OldTemporal(3),
            12 => Self::OldTemporal(8),
            10 | 14 => Self::Date,
            13 => Self::Year,
            15 | 253 => Self::String {
                prefix: prefix(metadata.uint(2)?),
                padded_len: 0,
            },
            16 => {
                let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
                Self::Bit(u16::from(bytes) * 8 + u16::from(bits))
            }
            17 => Self::Timestamp(fraction(metadata)?),
            18 => Self::DateTime(fraction(metadata)?),
            19 => Self::Time(fraction(metadata)?),
            242 => Self::Vector(length_prefix(metadata)?),
            245 => Self::Json(length_prefix(metadata)?),
            246 => {
                let (precision, scale) = (metadata.u8()?, metadata.u8()?);
                if decimal_len(precision, scale).is_none() {
                    return Err(Problem::Malformed("a DECIMAL's precision"));
                }
                Self::Decimal { precision, scale }
            }
            249..=252 => Self::Blob(length_prefix(metadata)?),
            254 => {
                let (real_type, low) = (metadata.u8()?, metadata.u8()?);
                match real_type {
                    247 => Self::Enum(low),
                    248 => Self::Set(low),
                    _ => {
                        // Two bits of the length hide, inverted, in the type (MySQL
                        // Field_string::do_save_field_metadata).
                        let high = (u16::from(real_type & 0x30) ^ 0x30) << 4;
                        let padded_len = high | u16::from(low);
                        Self::String {
                            prefix: prefix(padded_len.into()),
                            padded_len,
                        }
                    }
                }
            }
            255 => Self::Geometry(length_prefix(metadata)?),
            140 => Self::Compressed(length_prefix(metadata)?),
            141 => Self::Compressed(prefix(metadata.uint(2)?)),
            _ => Self::Unknown(code),
        })
    }
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(1) => f.write_str("TINYINT"),
            Self::Int(2) => f.write_str("SMALLINT"),
            Self::Int(3) => f.write_str("MEDIUMINT"),
            Self::Int(4) => f.write_str("INT"),
            Self::Int(_) => f.write_str("BIGINT"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            Self::Year => f.write_str("YEAR"),
            Self::Date => f.write_str("DATE"),
            Self::Time(digits) => write!(f, "TIME({digits})"),
            Self::DateTime(digits) => write!(f, "DATETIME({digits})"),
            Self::Timestamp(digits) => write!(f, "TIMESTAMP({digits})"),
            Self::String { .. } => f.write_str("CHAR, VARCHAR, BINARY or VARBINARY"),
            Self::Blob(_) => f.write_str("TEXT or BLOB"),
            Self::Enum(_) => f.write_str("ENUM"),
            Self::Set(_) => f.write_str("SET"),
            Self::Bit(bits) => write!(f, "BIT({bits})"),
            Self::Json(_) => f.write_str("JSON"),
            Self::Geometry(_) => f.write_str("GEOMETRY"),
            Self::Vector(_) => f.write_str("VECTOR"),
            Self::Compressed(_) => f.write_str("a COMPRESSED column"),
            Self::OldTemporal(3) => f.write_str("TIME of MySQL 5.5"),
            Self::OldTemporal(4) => f.write_str("TIMESTAMP of MySQL 5.5"),
            Self::OldTemporal(_) => f.write_str("DATETIME of MySQL 5.5"),
            Self::Unknown(code) => write!(f, "type number {code}"),
        }
    }
}

fn check_len(len: u8, expected: u8, kind: ColumnType) -> Result<ColumnType, Problem> {
    if len == expected {
        Ok(kind)
    } else {
        Err(Problem::Malformed("a column's width"))
    }
}

fn fraction(metadata: &mut Cursor<'_>) -> Result<u8, Problem> {
    match metadata.u8()? {
        digits @ 0..=6 => Ok(digits),
        _ => Err(Problem::Malformed("a column's fractional digits")),
    }
}

fn length_prefix(metadata: &mut Cursor<'_>) -> Result<u8, Problem> {
    match metadata.u8()? {
        len @ 1..=4 => Ok(len),
        _ => Err(Problem::Malformed("a column's length bytes")),
    }
}

fn fraction_len(digits: u8) -> u32 {
    u32::from(digits).div_ceil(2)
}

/// Bytes of a DECIMAL: four for each nine digits on either side of the point, and fewer for the
/// digits left over (MySQL `decimal_bin_size`).
fn decimal_len(precision: u8, scale: u8) -> Option<u32> {
    const LEFT_OVER: [u32; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    let side = |digits: u8| u32::from(digits / 9) * 4 + LEFT_OVER[usize::from(digits % 9)];
    Some(side(precision.checked_sub(scale)?) + side(scale))
}

/// Types of MariaDB that table maps show as BINARY, or VARBINARY in the case of VECTOR;
/// `information_schema.COLUMNS.DATA_TYPE` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenType {
    /// INET4.
    Inet4,
    /// INET6.
    Inet6,
    /// UUID.
    Uuid,
    /// VECTOR, for which MySQL has a type of its own.
    Vector,
}

impl HiddenType {
    /// The type of this name, if it is one of them.
    #[must_use]
    pub fn of(data_type: &str) -> Option<Self> {
        Some(match data_type.to_ascii_lowercase().as_str() {
            "inet4" => Self::Inet4,
            "inet6" => Self::Inet6,
            "uuid" => Self::Uuid,
            "vector" => Self::Vector,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_the_documented_sizes() {
        for (precision, scale, len) in
            [(10, 2, 5), (65, 30, 30), (1, 0, 1), (9, 0, 4), (30, 30, 14)]
        {
            assert_eq!(
                decimal_len(precision, scale),
                Some(len),
                "({precision},{scale})"
            );
        }
        assert_eq!(decimal_len(2, 3), None);
    }
}
