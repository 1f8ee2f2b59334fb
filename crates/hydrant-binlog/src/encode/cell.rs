//! One cell: its bytes in the row image to its text in the line.
//!
//! What lives here: how each column is written, chosen once, and bytes as hexadecimal digits. What
//! does not: the types of each kind, which have rooms of their own.

use std::ops::Range;

use crate::LogicalType;

use super::address::{write_inet4, write_inet6, write_uuid};
use super::compressed::uncompressed;
use super::decimal::write_decimal;
use super::dialect::{Plain, Syntax, finish_text, write_bare, write_text_as, write_utf8_as};
use super::invalid_text::InvalidText;
use super::json::write_json;
use super::json_diff::write_changed_json;
use super::label::{Label, write_enum, write_set};
use super::mask::Mask;
use super::number::{write_floating, write_int, write_vector, write_year};
use super::problem::CellProblem;
use super::temporal::{
    write_date_cell, write_datetime_cell, write_old_temporal, write_time_cell, write_timestamp_cell,
};
use super::text::Encoding;

/// Digits that a double keeps, which is what many readers make of a number of JSON's.
const DOUBLES_DIGITS: u8 = 15;

/// How the cells of one column are written; chosen once per table map, not per cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writer {
    Int {
        width: u8,
        unsigned: bool,
    },
    Float {
        scale: Option<u8>,
    },
    Double {
        scale: Option<u8>,
    },
    Year,
    Date,
    Time {
        digits: u8,
    },
    DateTime {
        digits: u8,
    },
    Timestamp {
        digits: u8,
    },
    Text(Encoding),
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Upper-case hexadecimal digits, two for each byte; with zeros up to `padded_len` bytes, which
    /// the server leaves out of a BINARY(N).
    Hex {
        padded_len: usize,
    },
    /// ENUM, by its labels from 1 on; the index has this width in bytes.
    Enum {
        width: u8,
        labels: Vec<Label>,
    },
    /// SET, by its labels from the lowest bit on.
    Set {
        width: u8,
        labels: Vec<Label>,
    },
    Json,
    /// VECTOR of 32-bit floating numbers.
    Vector,
    /// MariaDB's INET4, INET6 and UUID.
    Inet4,
    Inet6,
    Uuid,
    /// TIME, TIMESTAMP and DATETIME from before MySQL 5.6, by width in bytes.
    OldTemporal {
        width: u8,
    },
    /// A cell that MariaDB has compressed, for the writer of what is in it.
    Compressed(Box<Writer>),
    /// A mask, and the writer of what it is made of.
    Masked(Box<(Mask, Writer)>),
}

impl Writer {
    /// What a reader takes the cells for.
    pub(super) fn logical_type(&self) -> LogicalType {
        match *self {
            Self::Int { width, unsigned } => LogicalType::Int {
                bits: width * 8,
                unsigned,
            },
            Self::Float { scale } => LogicalType::Float { scale },
            Self::Double { scale } => LogicalType::Double { scale },
            Self::Decimal { scale, .. } => LogicalType::Decimal { scale },
            Self::Year => LogicalType::Year,
            Self::Date => LogicalType::Date,
            Self::OldTemporal { width } => LogicalType::OldTemporal { bytes: width },
            Self::Compressed(ref writer) => writer.logical_type(),
            Self::Masked(ref masked) => LogicalType::Masked(masked.0.kind()),
            Self::Time { digits } => LogicalType::Time { digits },
            Self::DateTime { digits } => LogicalType::DateTime { digits },
            Self::Timestamp { digits } => LogicalType::Timestamp { digits },
            Self::Text(_) | Self::Enum { .. } | Self::Set { .. } => LogicalType::Text,
            Self::Hex { .. } => LogicalType::Binary,
            Self::Json => LogicalType::Json,
            Self::Vector => LogicalType::Vector,
            Self::Inet4 => LogicalType::Inet4,
            Self::Inet6 => LogicalType::Inet6,
            Self::Uuid => LogicalType::Uuid,
        }
    }

    /// Whether a DECIMAL would lose digits as a number of the dialect.
    pub(super) fn is_quoted_decimal<S: Syntax>(precision: u8) -> bool {
        S::IS_JSON && precision > DOUBLES_DIGITS
    }

    /// Appends the JSON document that `changes` make of the one before.
    pub(super) fn write_changed<S: Syntax>(
        &self,
        before: &[u8],
        changes: &[u8],
        invalid: InvalidText,
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        match self {
            Self::Json => {}
            Self::Masked(masked) => {
                let (mask, writer) = &**masked;
                return mask.apply::<S>(out, |out| {
                    writer.write_changed::<Plain>(before, changes, invalid, out)
                });
            }
            _ => return Err(CellProblem::Json),
        }
        let start = out.len();
        write_changed_json(before, changes, invalid, out)?;
        finish_text::<S>(start, out);
        Ok(())
    }

    /// Appends the value of one cell that is not NULL, with nothing beside it.
    pub(super) fn write_alone<S: Syntax>(
        &self,
        cell: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        self.write::<S>(cell, 0..cell.len(), out)
    }

    /// Appends the value of one cell that is not NULL; `cell` is where it lies in `bytes`.
    #[inline]
    pub(super) fn write<S: Syntax>(
        &self,
        bytes: &[u8],
        cell: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        if let Self::Text(Encoding::Utf8) = self {
            return write_utf8_as::<S>(bytes, cell, out);
        }
        let cell = &bytes[cell];
        match self {
            Self::Int { width, unsigned } => write_int(*width, *unsigned, cell, out),
            Self::Double { scale } => {
                let bytes: [u8; 8] = cell.try_into().map_err(|_| CellProblem::Width)?;
                write_floating::<S>(f64::from_le_bytes(bytes), *scale, out);
                Ok(())
            }
            Self::Float { scale } => {
                let bytes: [u8; 4] = cell.try_into().map_err(|_| CellProblem::Width)?;
                write_floating::<S>(f32::from_le_bytes(bytes), *scale, out);
                Ok(())
            }
            Self::Year => write_year::<S>(cell, out),
            Self::Date => write_bare::<S>(out, |out| write_date_cell(cell, out)),
            Self::Time { digits } => {
                write_bare::<S>(out, |out| write_time_cell(cell, *digits, out))
            }
            Self::DateTime { digits } => {
                write_bare::<S>(out, |out| write_datetime_cell(cell, *digits, out))
            }
            Self::Timestamp { digits } => {
                write_bare::<S>(out, |out| write_timestamp_cell(cell, *digits, out))
            }
            Self::Text(Encoding::Ascii | Encoding::Latin1) if cell.is_ascii() => {
                write_text_as::<S>(cell, out);
                Ok(())
            }
            Self::Text(encoding) => {
                let start = out.len();
                encoding.append(cell, InvalidText::Stop, out)?;
                finish_text::<S>(start, out);
                Ok(())
            }
            Self::Decimal { precision, scale } if Self::is_quoted_decimal::<S>(*precision) => {
                write_bare::<S>(out, |out| write_decimal(cell, *precision, *scale, out))
            }
            Self::Decimal { precision, scale } => write_decimal(cell, *precision, *scale, out),
            Self::Hex { padded_len } => write_hex::<S>(cell, *padded_len, out),
            Self::Enum { width, labels } => {
                write_enum::<S>(cell, *width, labels, InvalidText::Stop, out)
            }
            Self::Set { width, labels } => {
                write_set::<S>(cell, *width, labels, InvalidText::Stop, out)
            }
            Self::Json => {
                let start = out.len();
                write_json(cell, InvalidText::Stop, out)?;
                finish_text::<S>(start, out);
                Ok(())
            }
            Self::Vector => write_vector::<S>(cell, out),
            Self::Inet4 => write_bare::<S>(out, |out| write_inet4(cell, out)),
            Self::Inet6 => write_bare::<S>(out, |out| write_inet6(cell, out)),
            Self::Uuid => write_bare::<S>(out, |out| write_uuid(cell, out)),
            Self::OldTemporal { width } => {
                write_bare::<S>(out, |out| write_old_temporal(cell, *width, out))
            }
            Self::Compressed(writer) => writer.write_alone::<S>(&uncompressed(cell)?, out),
            Self::Masked(masked) => write_masked::<S>(masked, cell, out),
        }
    }

    /// Appends a cell that [`Writer::write`] has refused with [`CellProblem::Text`], with U+FFFD for what is
    /// no text.
    #[cold]
    pub(super) fn write_replacing<S: Syntax>(
        &self,
        cell: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        const REPLACE: InvalidText = InvalidText::Replace;
        let start = out.len();
        match self {
            Self::Text(encoding) => encoding.append(cell, REPLACE, out)?,
            Self::Json => write_json(cell, REPLACE, out)?,
            Self::Enum { width, labels } => {
                return write_enum::<S>(cell, *width, labels, REPLACE, out);
            }
            Self::Set { width, labels } => {
                return write_set::<S>(cell, *width, labels, REPLACE, out);
            }
            Self::Compressed(writer) => {
                return writer.write_replacing::<S>(&uncompressed(cell)?, out);
            }
            Self::Masked(masked) => {
                let (mask, writer) = &**masked;
                return mask.apply::<S>(out, |out| writer.write_replacing::<Plain>(cell, out));
            }
            Self::Int { .. }
            | Self::Float { .. }
            | Self::Double { .. }
            | Self::Decimal { .. }
            | Self::Year
            | Self::Date
            | Self::Time { .. }
            | Self::DateTime { .. }
            | Self::Timestamp { .. }
            | Self::OldTemporal { .. }
            | Self::Hex { .. }
            | Self::Vector
            | Self::Inet4
            | Self::Inet6
            | Self::Uuid => return Err(CellProblem::Text),
        }
        finish_text::<S>(start, out);
        Ok(())
    }
}

/// Apart, so that others do not pay for it.
#[inline(never)]
fn write_masked<S: Syntax>(
    (mask, writer): &(Mask, Writer),
    cell: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    mask.apply::<S>(out, |out| writer.write_alone::<Plain>(cell, out))
}

fn write_hex<S: Syntax>(
    cell: &[u8],
    padded_len: usize,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if padded_len > 0 && cell.len() > padded_len {
        return Err(CellProblem::Width);
    }
    let len = cell.len().max(padded_len);
    if len == 0 {
        // An empty value, and not NULL.
        write_text_as::<S>(b"", out);
        return Ok(());
    }
    write_bare::<S>(out, |out| {
        let start = out.len();
        out.resize(start + 2 * len, b'0');
        let (pairs, _) = out[start..].as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(cell) {
            *pair = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dialect::{Csv, Hive, Jsonl, OpenCsv};
    use super::super::number::write_fixed;
    use super::*;

    fn text(writer: &Writer, cell: &[u8]) -> String {
        let mut out = Vec::new();
        writer.write_alone::<Csv>(cell, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_at_their_bounds() {
        let int = |width, unsigned| Writer::Int { width, unsigned };
        for (writer, cell, expected) in [
            (int(1, false), &[0x80][..], "-128"),
            (int(1, true), &[0xff], "255"),
            (int(2, false), &[0x00, 0x80], "-32768"),
            (int(3, false), &[0x00, 0x00, 0x80], "-8388608"),
            (int(3, true), &[0xff, 0xff, 0xff], "16777215"),
            (int(4, false), &[0xff; 4], "-1"),
            (
                int(8, false),
                &[0, 0, 0, 0, 0, 0, 0, 0x80],
                "-9223372036854775808",
            ),
            (int(8, true), &[0xff; 8], "18446744073709551615"),
        ] {
            assert_eq!(text(&writer, cell), expected);
        }
    }

    #[test]
    fn floating_numbers_print_as_the_column_says() {
        let shortest = Writer::Double { scale: None };
        let cents = Writer::Double { scale: Some(2) };
        let long = Writer::Double { scale: Some(20) };
        let whole = Writer::Double { scale: Some(0) };
        let micros = Writer::Double { scale: Some(6) };
        for (writer, value, expected) in [
            (&shortest, 12.0, "12"),
            (&shortest, 0.1, "0.1"),
            (&shortest, -0.5, "-0.5"),
            (&shortest, f64::NAN, "NaN"),
            (&shortest, f64::NEG_INFINITY, "-Infinity"),
            (&cents, 12.0, "12.00"),
            (&cents, 0.07, "0.07"),
            (&cents, -3.5, "-3.50"),
            (&cents, 99_999_999.99, "99999999.99"),
            (&cents, 1e20, "100000000000000000000.00"),
            (&cents, 1e23, "100000000000000000000000.00"),
            (&cents, 0.125, "0.12"),
            (&long, 0.1, "0.10000000000000000000"),
            (&long, -2.675, "-2.67500000000000000000"),
            (&whole, 2.5, "2"),
            (&whole, 1e22, "10000000000000000000000"),
            (&cents, 599_980_920_986_128.2, "599980920986128.20"),
            (&micros, 8_781_469_000.663_52, "8781469000.663520"),
            (&long, 1e-7, "0.00000010000000000000"),
            (&long, -1.25e-20, "-0.00000000000000000001"),
        ] {
            assert_eq!(text(writer, &f64::to_le_bytes(value)), expected);
        }
        assert_eq!(
            text(&Writer::Float { scale: None }, &1.1_f32.to_le_bytes()),
            "1.1"
        );
        assert_eq!(
            text(&Writer::Float { scale: Some(3) }, &1.5_f32.to_le_bytes()),
            "1.500"
        );
    }

    #[test]
    fn text_is_quoted_where_needed() {
        for (value, expected) in [
            ("Garden", "Garden"),
            (" Repeat Customer ", " Repeat Customer "),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("5\" pot", "\"5\"\" pot\""),
            ("\"", "\"\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("a\rb", "\"a\rb\""),
            ("\\N", "\\N"),
        ] {
            assert_eq!(
                text(&Writer::Text(Encoding::Utf8), value.as_bytes()),
                expected
            );
        }
        assert_eq!(
            text(&Writer::Text(Encoding::Latin1), b"caf\xe9 \x80"),
            "café €"
        );
        assert_eq!(
            Writer::Text(Encoding::Utf8).write_alone::<Csv>(b"\xff", &mut Vec::new()),
            Err(CellProblem::Text)
        );
    }

    #[test]
    fn temporal_cells() {
        // 2016-03-04 as (year << 9) | (month << 5) | day.
        let date = ((2016_u32 << 9) | (3 << 5) | 4).to_le_bytes();
        assert_eq!(text(&Writer::Date, &date[..3]), "2016-03-04");
        assert_eq!(text(&Writer::Date, &[0, 0, 0]), "");
        assert_eq!(text(&Writer::Year, &[0]), "0000");
        assert_eq!(text(&Writer::Year, &[116]), "2016");
        let stamp = |digits| Writer::Timestamp { digits };
        assert_eq!(
            text(&stamp(0), &1_457_049_600_u32.to_be_bytes()),
            "2016-03-04 00:00:00"
        );
        assert_eq!(text(&stamp(0), &[0; 4]), "");
        assert_eq!(
            text(&stamp(3), &[0, 0, 0, 1, 0x04, 0xce]),
            "1970-01-01 00:00:01.123"
        );
        // -00:00:00.01 is one hundredth below the offset zero.
        assert_eq!(
            text(&Writer::Time { digits: 2 }, &[0x7f, 0xff, 0xff, 0xff]),
            "-00:00:00.01"
        );
        let longest = 0x80_0000 + ((838_u32 << 12) + (59 << 6) + 59);
        assert_eq!(
            text(&Writer::Time { digits: 0 }, &longest.to_be_bytes()[1..]),
            "838:59:59"
        );
        let packed =
            (1_u64 << 39) + ((2016 * 13 + 3) << 22) + (4 << 17) + (23 << 12) + (59 << 6) + 58;
        let cell = &packed.to_be_bytes()[3..];
        assert_eq!(
            text(&Writer::DateTime { digits: 0 }, cell),
            "2016-03-04 23:59:58"
        );
    }

    /// The cell in `hive`, `opencsv` and `jsonl`.
    fn texts(writer: &Writer, cell: &[u8]) -> [String; 3] {
        let mut outs = [Vec::new(), Vec::new(), Vec::new()];
        let [hive, open_csv, jsonl] = &mut outs;
        writer.write_alone::<Hive>(cell, hive).unwrap();
        writer.write_alone::<OpenCsv>(cell, open_csv).unwrap();
        writer.write_alone::<Jsonl>(cell, jsonl).unwrap();
        outs.map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn numbers_in_each_dialect() {
        let double = |scale| Writer::Double { scale };
        let decimal = |precision| Writer::Decimal {
            precision,
            scale: 1,
        };
        let decimal_cell = [0x80, 0, 0, 0, 0, 0, 7, 5];
        for (writer, cell, text, jsonl) in [
            (double(Some(2)), &1e0_f64.to_le_bytes()[..], "1.00", "1.00"),
            (double(None), &f64::NAN.to_le_bytes(), "NaN", "\"NaN\""),
            (decimal(15), &decimal_cell, "7.5", "7.5"),
            (decimal(16), &decimal_cell, "7.5", "\"7.5\""),
            (double(None), &(-0e0_f64).to_le_bytes(), "-0", "-0.0"),
            (Writer::Year, &[0], "0000", "0"),
        ] {
            assert_eq!(texts(&writer, cell), [text, text, jsonl]);
        }
    }

    #[test]
    fn cells_in_each_dialect() {
        let date = ((2016_u32 << 9) | (3 << 5) | 4).to_le_bytes();
        let label = |text: &str| Label::of(text.as_bytes(), Encoding::Utf8).unwrap();
        let labels = vec![label("a"), label("b,c")];
        let one = Writer::Enum {
            width: 1,
            labels: labels.clone(),
        };
        let set = Writer::Set { width: 1, labels };
        let numbers = [1.5_f32, f32::NAN].map(f32::to_le_bytes).concat();
        let hex = Writer::Hex { padded_len: 0 };
        let datetime = Writer::DateTime { digits: 0 };
        let timestamp = Writer::Timestamp { digits: 0 };
        for (writer, cell, hive, open_csv, jsonl) in [
            (
                &Writer::Date,
                &date[..3],
                "2016-03-04",
                "2016-03-04",
                r#""2016-03-04""#,
            ),
            (&Writer::Date, &[0; 3], r"\N", r"\N", "null"),
            (&datetime, &[0x80, 0, 0, 0, 0], r"\N", r"\N", "null"),
            (&timestamp, &[0; 4], r"\N", r"\N", "null"),
            (&hex, b"\n", "0A", "0A", r#""0A""#),
            (&hex, b"", "", r#""""#, r#""""#),
            (&one, &[2], r"b\,c", r#""b,c""#, r#""b,c""#),
            (&set, &[3], r"a\,b\,c", r#""a,b,c""#, r#""a,b,c""#),
            (
                &Writer::Vector,
                &numbers,
                r"[1.5\,NaN]",
                r#""[1.5,NaN]""#,
                r#"[1.5,"NaN"]"#,
            ),
            (
                &Writer::Inet4,
                &[1, 2, 3],
                "1.2.3.0",
                "1.2.3.0",
                r#""1.2.3.0""#,
            ),
        ] {
            assert_eq!(texts(writer, cell), [hive, open_csv, jsonl]);
        }
    }

    proptest! {
        #[test]
        fn fixed_decimals_agree_with_the_standard_library(cents in -1_000_000_000_i64..1_000_000_000) {
            #[expect(clippy::cast_precision_loss, reason = "small enough to be exact")]
            let value = cents as f64 / 100.0;
            let mut out = Vec::new();
            write_fixed(value, 2, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{value:.2}"));
        }

        #[test]
        fn any_bytes_give_text_or_an_error(cell in prop::collection::vec(any::<u8>(), 0..12), digits in 0_u8..=6) {
            for writer in [
                Writer::Date, Writer::Year, Writer::Text(Encoding::Latin1), Writer::Text(Encoding::Utf8),
                Writer::Time { digits }, Writer::DateTime { digits }, Writer::Timestamp { digits },
                Writer::Int { width: 3, unsigned: false }, Writer::Double { scale: Some(digits) },
                Writer::Float { scale: None },
            ] {
                let mut out = Vec::new();
                if writer.write_alone::<Csv>(&cell, &mut out).is_ok() {
                    prop_assert!(std::str::from_utf8(&out).is_ok());
                }
            }
        }

        #[test]
        fn quoted_text_reads_back(values in prop::collection::vec("[ -~\n\r\u{e9}]{0,12}", 2..5)) {
            let mut line = Vec::new();
            for (index, value) in values.iter().enumerate() {
                if index > 0 { line.push(b','); }
                write_text_as::<Csv>(value.as_bytes(), &mut line);
            }
            line.push(b'\n');
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&line[..]);
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(record.iter().collect::<Vec<_>>(), values);
        }
    }
}
