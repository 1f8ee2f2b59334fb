//! Dates and times, as the binlog packs them and as MySQL's JSON does.

use super::problem::CellProblem;

/// A number below 100 in two digits.
pub(super) fn two_digits(value: u32) -> [u8; 2] {
    debug_assert!(value < 100);
    let digit = |value: u32| b'0' + u8::try_from(value).unwrap_or(0);
    [digit(value / 10 % 10), digit(value % 10)]
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
    let [[y1, y2], [y3, y4]] = [year / 100, year % 100].map(two_digits);
    let [[m1, m2], [d1, d2]] = [month, day].map(two_digits);
    out.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2]);
    Ok(())
}

fn write_clock(hour: u32, minute: u32, second: u32, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if hour > 99 || minute > 59 || second > 59 {
        return Err(CellProblem::Temporal);
    }
    let [[h1, h2], [m1, m2], [s1, s2]] = [hour, minute, second].map(two_digits);
    out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
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
pub(super) fn write_date_cell(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
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
pub(super) fn write_time_cell(
    cell: &[u8],
    digits: u8,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
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
pub(super) fn write_datetime_cell(
    cell: &[u8],
    digits: u8,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
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
pub(super) fn write_timestamp_cell(
    cell: &[u8],
    digits: u8,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let (seconds, fraction) = split_fraction(cell, 4, digits)?;
    if seconds == 0 && fraction == 0 {
        return Ok(());
    }
    write_utc_seconds(seconds.cast_signed(), out)?;
    write_fraction(fraction, digits, out)
}

/// TIME, TIMESTAMP or DATETIME from before MySQL 5.6, by their widths of 3, 4 and 8 bytes, the lowest
/// first: the digits HHMMSS with a sign, seconds since 1970, the digits YYYYMMDDHHMMSS. Zero dates are
/// NULL.
pub(super) fn write_old_temporal(
    cell: &[u8],
    width: u8,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    if cell.len() != usize::from(width) || width > 8 {
        return Err(CellProblem::Width);
    }
    let mut bytes = [0; 8];
    bytes[..cell.len()].copy_from_slice(cell);
    let stored = u64::from_le_bytes(bytes);
    let part = |number: u64, place: u64| u32::try_from(number / place % 100).unwrap_or(u32::MAX);
    match width {
        3 => {
            // The sign is the highest of the 24 bits.
            let signed = (stored << 40).cast_signed() >> 40;
            if signed < 0 {
                out.push(b'-');
            }
            let digits = signed.unsigned_abs();
            if digits >= 1_000_000 {
                out.push(
                    b'0' + u8::try_from(digits / 1_000_000).map_err(|_| CellProblem::Temporal)?,
                );
            }
            write_clock(
                part(digits, 10_000),
                part(digits, 100),
                part(digits, 1),
                out,
            )
        }
        _ if stored == 0 => Ok(()),
        4 => write_utc_seconds(stored.cast_signed(), out),
        _ => {
            let (date, clock) = (stored / 1_000_000, stored % 1_000_000);
            let hour = part(clock, 10_000);
            let year = u32::try_from(date / 10_000).map_err(|_| CellProblem::Temporal)?;
            if hour > 23 {
                return Err(CellProblem::Temporal);
            }
            write_date(year, part(date, 100), part(date, 1), out)?;
            out.push(b' ');
            write_clock(hour, part(clock, 100), part(clock, 1), out)
        }
    }
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

/// Appends a temporal value of MySQL's JSON: microseconds in the low 24 bits, then the parts as in
/// a column. `kind` is the column type 7 (TIMESTAMP), 10 (DATE), 11 (TIME) or 12 (DATETIME).
/// Source: MySQL `mysys/my_time.cc`, `TIME_from_longlong_datetime_packed` and its kin.
pub(super) fn write_packed_temporal(
    kind: u8,
    packed: i64,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    const FRACTION_BITS: u32 = 24;
    let magnitude = packed.unsigned_abs();
    let fraction = magnitude & ((1 << FRACTION_BITS) - 1);
    let whole = magnitude >> FRACTION_BITS;
    let part = |shift: u32, bits: u32| {
        u32::try_from(whole >> shift & ((1 << bits) - 1)).unwrap_or(u32::MAX)
    };
    if packed < 0 {
        out.push(b'-');
    }
    if kind == 11 {
        let hour = part(12, 10);
        if hour > 99 {
            out.extend_from_slice(&two_digits(hour / 100));
            // Hours have as many digits as they need, and two at least.
            let extra = out.len() - 2;
            if out[extra] == b'0' {
                out.remove(extra);
            }
        }
        write_clock(hour % 100, part(6, 6), part(0, 6), out)?;
        return write_fraction(fraction, 6, out);
    }
    let year_month = part(22, 17);
    write_date(year_month / 13, year_month % 13, part(17, 5), out)?;
    if kind != 10 {
        out.push(b' ');
        write_clock(part(12, 5), part(6, 6), part(0, 6), out)?;
        write_fraction(fraction, 6, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(cell: &[u8]) -> Result<String, CellProblem> {
        let mut out = Vec::new();
        let width = u8::try_from(cell.len()).unwrap();
        write_old_temporal(cell, width, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn temporals_of_before_mysql_5_6() {
        let time = |digits: i32| old(&digits.to_le_bytes()[..3]);
        assert_eq!(time(-8_385_959).as_deref(), Ok("-838:59:59"));
        assert_eq!(time(12_345).as_deref(), Ok("01:23:45"));
        assert_eq!(time(99), Err(CellProblem::Temporal));
        let datetime = |digits: u64| old(&digits.to_le_bytes());
        assert_eq!(
            datetime(20_160_304_235_958).as_deref(),
            Ok("2016-03-04 23:59:58")
        );
        assert_eq!(datetime(0).as_deref(), Ok(""));
        assert_eq!(datetime(20_160_304_240_000), Err(CellProblem::Temporal));
        assert_eq!(datetime(u64::MAX), Err(CellProblem::Temporal));
        assert_eq!(
            old(&1_u32.to_le_bytes()).as_deref(),
            Ok("1970-01-01 00:00:01")
        );
    }
}
