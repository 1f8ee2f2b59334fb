//! One cell: its bytes in the row image to its text in the line.

use std::io::Write as _;

use encoding_rs::WINDOWS_1252;

/// What can be wrong with a cell. Never holds its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellProblem {
    /// The cell's length runs past the end of the event.
    #[error("the cell runs past the end of the event")]
    Truncated,
    /// A date or time has a part that no calendar or clock has.
    #[error("the cell holds no valid date or time")]
    Temporal,
    /// Text that is not in the column's character set.
    #[error("the cell's text is not valid UTF-8")]
    Text,
    /// The cell has another width than its type.
    #[error("the cell has the wrong width")]
    Width,
}

/// How the cells of one column are written; chosen once per table map, not per cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Writer {
    Int { width: u8, unsigned: bool },
    Float { scale: Option<u8> },
    Double { scale: Option<u8> },
    Year,
    Date,
    Time { digits: u8 },
    DateTime { digits: u8 },
    Timestamp { digits: u8 },
    Utf8,
    Latin1,
}

impl Writer {
    /// Whether a reader cannot tell the two apart: text comes out as UTF-8 from any charset.
    pub(super) fn writes_like(&self, other: &Self) -> bool {
        let is_text = |writer: &Self| matches!(writer, Self::Utf8 | Self::Latin1);
        self == other || (is_text(self) && is_text(other))
    }

    /// Appends the text of one cell that is not NULL.
    #[inline]
    pub(super) fn write(&self, cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
        match self {
            Self::Int { width, unsigned } => write_int(*width, *unsigned, cell, out),
            Self::Double { scale } => {
                let bytes: [u8; 8] = cell.try_into().map_err(|_| CellProblem::Width)?;
                write_double(f64::from_le_bytes(bytes), *scale, out);
                Ok(())
            }
            Self::Float { scale } => {
                let bytes: [u8; 4] = cell.try_into().map_err(|_| CellProblem::Width)?;
                let value = f32::from_le_bytes(bytes);
                match scale {
                    Some(_) => write_double(f64::from(value), *scale, out),
                    None => write_shortest(value, value.is_finite(), f64::from(value), out),
                }
                Ok(())
            }
            Self::Year => {
                let [years] = cell else {
                    return Err(CellProblem::Width);
                };
                let year = if *years == 0 {
                    0
                } else {
                    1900 + u32::from(*years)
                };
                write_two(year / 100, out);
                write_two(year % 100, out);
                Ok(())
            }
            Self::Date => write_date_cell(cell, out),
            Self::Time { digits } => write_time_cell(cell, *digits, out),
            Self::DateTime { digits } => write_datetime_cell(cell, *digits, out),
            Self::Timestamp { digits } => write_timestamp_cell(cell, *digits, out),
            Self::Utf8 => {
                std::str::from_utf8(cell).map_err(|_| CellProblem::Text)?;
                write_text(cell, out);
                Ok(())
            }
            Self::Latin1 => {
                // MySQL's latin1 is this encoding, gaps included.
                write_text(
                    WINDOWS_1252.decode_without_bom_handling(cell).0.as_bytes(),
                    out,
                );
                Ok(())
            }
        }
    }
}

/// Appends a value of text, quoted if the dialect needs it.
pub fn write_text(text: &[u8], out: &mut Vec<u8>) {
    if !text.is_empty() && !text.iter().any(|byte| needs_quotes(*byte)) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for part in text.split_inclusive(|byte| *byte == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

#[inline]
fn needs_quotes(byte: u8) -> bool {
    matches!(byte, b',' | b'"' | b'\n' | b'\r')
}

fn write_int(width: u8, unsigned: bool, cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if cell.len() != usize::from(width) || width > 8 {
        return Err(CellProblem::Width);
    }
    let mut wide = [0; 8];
    wide[..cell.len()].copy_from_slice(cell);
    let value = u64::from_le_bytes(wide);
    let mut buffer = itoa::Buffer::new();
    let text = if unsigned {
        buffer.format(value)
    } else {
        let unused = 64 - 8 * u32::from(width);
        buffer.format((value << unused).cast_signed() >> unused)
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write_double(value: f64, scale: Option<u8>, out: &mut Vec<u8>) {
    match scale {
        Some(scale) if value.is_finite() => write_fixed(value, scale, out),
        _ => write_shortest(value, value.is_finite(), value, out),
    }
}

/// The shortest text that reads back as the same number, without a pointless `.0`.
fn write_shortest<F: zmij::Float>(value: F, finite: bool, wide: f64, out: &mut Vec<u8>) {
    if !finite {
        let name = if wide.is_nan() {
            "NaN"
        } else if wide > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        out.extend_from_slice(name.as_bytes());
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// `scale` digits after the point, as a FLOAT(M,D) or DOUBLE(M,D) prints: the digits that tell the
/// value from its neighbours and then zeros, or rounded where there is no room for all of those.
fn write_fixed(value: f64, scale: u8, out: &mut Vec<u8>) {
    const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
    // No two numbers of 15 digits are the same double, so there is no shorter one to look for.
    const DISTINCT: f64 = 1e15;

    if let Some(power) = POWERS.get(usize::from(scale)) {
        let scaled = (value * power).round();
        // Where the division gives the value back, these digits are the value's own.
        #[expect(clippy::float_cmp, reason = "only exact equality proves the digits")]
        if scaled.abs() < DISTINCT && scaled / power == value {
            if value.is_sign_negative() {
                out.push(b'-');
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked"
            )]
            let scaled = scaled.abs() as u64;
            write_scaled(scaled, usize::from(scale), out);
            return;
        }
    }
    let mut buffer = zmij::Buffer::new();
    if !write_shortest_fixed(buffer.format_finite(value), usize::from(scale), out) {
        // Writing into a vector cannot fail.
        let _ = write!(out, "{value:.*}", usize::from(scale));
    }
}

/// Writes a number such as `-1.5`, `2.0` or `3e-7` with `scale` digits after the point; if it has
/// more of them, writes nothing and says false.
fn write_shortest_fixed(shortest: &str, scale: usize, out: &mut Vec<u8>) -> bool {
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: isize = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.split_at(usize::from(mantissa.starts_with('-')));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    // Where the point belongs, counted from before the first digit.
    let point = whole.len().cast_signed() + exponent;
    let digits = whole.bytes().chain(fraction.bytes());
    let digit_count = whole.len() + fraction.len();
    let decimals = usize::try_from(digit_count.cast_signed() - point).unwrap_or(0);
    if decimals > scale {
        return false;
    }
    out.extend_from_slice(sign.as_bytes());
    let leading_zeros = usize::try_from(1 - point).unwrap_or(0);
    let start = out.len();
    out.resize(start + leading_zeros, b'0');
    out.extend(digits);
    let point = start + usize::try_from(point.max(1)).unwrap_or(1);
    if scale > 0 {
        out.resize(out.len().max(point), b'0');
        out.insert(point, b'.');
        out.resize(point + 1 + scale, b'0');
    } else {
        out.resize(point, b'0');
    }
    true
}

fn write_scaled(scaled: u64, scale: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(scaled).as_bytes();
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale - fraction.len(), b'0');
        out.extend_from_slice(fraction);
    }
}

fn write_two(value: u32, out: &mut Vec<u8>) {
    debug_assert!(value < 100);
    let digit = |value: u32| b'0' + u8::try_from(value).unwrap_or(0);
    out.extend_from_slice(&[digit(value / 10 % 10), digit(value % 10)]);
}

/// Bytes of any width up to eight as a big-endian number, as the newer temporal types use.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn write_date(year: u32, month: u32, day: u32, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if year > 9999 || month > 12 || day > 31 {
        return Err(CellProblem::Temporal);
    }
    write_two(year / 100, out);
    write_two(year % 100, out);
    out.push(b'-');
    write_two(month, out);
    out.push(b'-');
    write_two(day, out);
    Ok(())
}

fn write_clock(hour: u32, minute: u32, second: u32, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if hour > 99 || minute > 59 || second > 59 {
        return Err(CellProblem::Temporal);
    }
    write_two(hour, out);
    out.push(b':');
    write_two(minute, out);
    out.push(b':');
    write_two(second, out);
    Ok(())
}

/// The fraction, stored in whole bytes of two decimal digits each.
fn write_fraction(fraction: u64, digits: u8, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if digits == 0 {
        return Ok(());
    }
    let stored = usize::from(digits.div_ceil(2) * 2);
    let mut text = [b'0'; 6];
    let mut rest = fraction;
    for place in text[..stored].iter_mut().rev() {
        *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    if rest > 0 {
        return Err(CellProblem::Temporal);
    }
    out.push(b'.');
    out.extend_from_slice(&text[..usize::from(digits)]);
    Ok(())
}

/// DATE: three bytes, little-endian; day 5 bits, month 4, year 15. Zero dates are NULL.
fn write_date_cell(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let [a, b, c] = cell else {
        return Err(CellProblem::Width);
    };
    let packed = u32::from_le_bytes([*a, *b, *c, 0]);
    if packed == 0 {
        return Ok(());
    }
    write_date(packed >> 9, packed >> 5 & 0xf, packed & 0x1f, out)
}

/// TIME(n): a signed number, offset so that it sorts; hour 10 bits, minute 6, second 6, fraction.
fn write_time_cell(cell: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let fraction_bits = 8 * usize::from(digits.div_ceil(2));
    if cell.len() * 8 != 24 + fraction_bits {
        return Err(CellProblem::Width);
    }
    let stored = big_endian(cell).cast_signed() - (0x80_0000 << fraction_bits);
    if stored < 0 {
        out.push(b'-');
    }
    let magnitude = stored.unsigned_abs();
    let clock = u32::try_from(magnitude >> fraction_bits).map_err(|_| CellProblem::Temporal)?;
    let hour = clock >> 12 & 0x3ff;
    if hour > 99 {
        out.push(b'0' + u8::try_from(hour / 100).map_err(|_| CellProblem::Temporal)?);
        write_clock(hour % 100, clock >> 6 & 0x3f, clock & 0x3f, out)?;
    } else {
        write_clock(hour, clock >> 6 & 0x3f, clock & 0x3f, out)?;
    }
    write_fraction(magnitude & ((1 << fraction_bits) - 1), digits, out)
}

/// DATETIME(n): 40 bits, big-endian; sign, year*13+month 17 bits, day 5, hour 5, minute 6,
/// second 6; then the fraction. Zero dates are NULL.
fn write_datetime_cell(cell: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let (packed, fraction) = split_fraction(cell, 5, digits)?;
    let packed = packed.checked_sub(1 << 39).ok_or(CellProblem::Temporal)?;
    if packed == 0 && fraction == 0 {
        return Ok(());
    }
    let part = |shift: u32, bits: u32| {
        u32::try_from(packed >> shift & ((1 << bits) - 1)).unwrap_or(u32::MAX)
    };
    let year_month = part(22, 17);
    let hour = part(12, 5);
    if hour > 23 {
        return Err(CellProblem::Temporal);
    }
    write_date(year_month / 13, year_month % 13, part(17, 5), out)?;
    out.push(b' ');
    write_clock(hour, part(6, 6), part(0, 6), out)?;
    write_fraction(fraction, digits, out)
}

/// TIMESTAMP(n): seconds since 1970 UTC in 32 bits, big-endian, then the fraction; written as
/// UTC. Zero is the zero date, so NULL.
fn write_timestamp_cell(cell: &[u8], digits: u8, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let (seconds, fraction) = split_fraction(cell, 4, digits)?;
    if seconds == 0 && fraction == 0 {
        return Ok(());
    }
    write_utc_seconds(seconds.cast_signed(), out)?;
    write_fraction(fraction, digits, out)
}

fn split_fraction(cell: &[u8], whole: usize, digits: u8) -> Result<(u64, u64), CellProblem> {
    if cell.len() != whole + usize::from(digits.div_ceil(2)) {
        return Err(CellProblem::Width);
    }
    let (whole, fraction) = cell.split_at(whole);
    Ok((big_endian(whole), big_endian(fraction)))
}

/// Appends `YYYY-MM-DD HH:MM:SS` of a count of seconds since 1970, in UTC.
fn write_utc_seconds(seconds: i64, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let instant = jiff::Timestamp::from_second(seconds).map_err(|_| CellProblem::Temporal)?;
    let utc = jiff::tz::Offset::UTC.to_datetime(instant);
    let number = |value: i8| u32::try_from(value).unwrap_or(u32::MAX);
    let year = u32::try_from(utc.year()).map_err(|_| CellProblem::Temporal)?;
    write_date(year, number(utc.month()), number(utc.day()), out)?;
    out.push(b' ');
    write_clock(
        number(utc.hour()),
        number(utc.minute()),
        number(utc.second()),
        out,
    )
}

/// Appends `YYYY-MM-DD HH:MM:SS.ffffff` of microseconds since 1970, in UTC.
pub(super) fn write_utc_micros(micros: i64, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    write_utc_seconds(micros.div_euclid(1_000_000), out)?;
    write_fraction(micros.rem_euclid(1_000_000).cast_unsigned(), 6, out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(writer: &Writer, cell: &[u8]) -> String {
        let mut out = Vec::new();
        writer.write(cell, &mut out).unwrap();
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
            assert_eq!(text(&Writer::Utf8, value.as_bytes()), expected);
        }
        assert_eq!(text(&Writer::Latin1, b"caf\xe9 \x80"), "café €");
        assert_eq!(
            Writer::Utf8.write(b"\xff", &mut Vec::new()),
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
                Writer::Date, Writer::Year, Writer::Latin1, Writer::Utf8,
                Writer::Time { digits }, Writer::DateTime { digits }, Writer::Timestamp { digits },
                Writer::Int { width: 3, unsigned: false }, Writer::Double { scale: Some(digits) },
                Writer::Float { scale: None },
            ] {
                let mut out = Vec::new();
                if writer.write(&cell, &mut out).is_ok() {
                    prop_assert!(std::str::from_utf8(&out).is_ok());
                }
            }
        }

        #[test]
        fn quoted_text_reads_back(values in prop::collection::vec("[ -~\n\r\u{e9}]{0,12}", 2..5)) {
            let mut line = Vec::new();
            for (index, value) in values.iter().enumerate() {
                if index > 0 { line.push(b','); }
                write_text(value.as_bytes(), &mut line);
            }
            line.push(b'\n');
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&line[..]);
            let record = reader.records().next().unwrap().unwrap();
            prop_assert_eq!(record.iter().collect::<Vec<_>>(), values);
        }
    }
}
