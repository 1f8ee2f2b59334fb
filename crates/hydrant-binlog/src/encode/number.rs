//! Integers and floating numbers.
//!
//! What lives here: FLOAT and DOUBLE as the shortest text that reads back, or with the digits of
//! FLOAT(M,D) and DOUBLE(M,D), YEAR, and VECTOR, which is numbers. What does not: DECIMAL ([`super::decimal`]).

use std::io::Write as _;

use super::dialect::{Syntax, finish_text};
use super::problem::CellProblem;
use super::temporal::two_digits;

pub(super) fn write_int(
    width: u8,
    unsigned: bool,
    cell: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    if cell.len() != usize::from(width) {
        return Err(CellProblem::Width);
    }
    let value = match *cell {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        _ => u64::from_le_bytes(cell.try_into().map_err(|_| CellProblem::Width)?),
    };
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

/// A DOUBLE, or a FLOAT in its width.
pub(super) trait Floating: zmij::Float + Copy {
    fn wide(self) -> f64;
}

impl Floating for f32 {
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Floating for f64 {
    fn wide(self) -> f64 {
        self
    }
}

/// With `scale` digits after the point, or as many as it takes.
#[inline]
pub(super) fn write_floating<S: Syntax>(
    value: impl Floating,
    scale: Option<u8>,
    out: &mut Vec<u8>,
) {
    let wide = value.wide();
    if !wide.is_finite() {
        // JSON has no such number.
        let quote = if S::IS_JSON { S::QUOTE } else { b"" };
        out.extend_from_slice(quote);
        out.extend_from_slice(match (wide.is_nan(), wide > 0.0) {
            (true, _) => b"NaN",
            (false, true) => b"Infinity",
            (false, false) => b"-Infinity",
        });
        out.extend_from_slice(quote);
        return;
    }
    match scale {
        Some(scale) => write_fixed(wide, scale, out),
        None => write_shortest::<S>(value, out),
    }
}

/// The shortest text that reads back as the same number, without a pointless `.0`. In JSON it has a
/// point, as readers take -0 for an integer that has no sign.
fn write_shortest<S: Syntax>(finite: impl zmij::Float, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(finite);
    let whole = text.strip_suffix(".0").filter(|_| !S::IS_JSON);
    out.extend_from_slice(whole.unwrap_or(text).as_bytes());
}

/// `scale` digits after the point, as a FLOAT(M,D) or DOUBLE(M,D) prints: the digits that tell the
/// value from its neighbours and then zeros, or rounded where there is no room for all of those.
pub(super) fn write_fixed(value: f64, scale: u8, out: &mut Vec<u8>) {
    const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
    // No two numbers of 15 digits are the same double, so there is no shorter one to look for.
    const DISTINCT: u64 = 10_u64.pow(15);

    if let Some(power) = POWERS.get(usize::from(scale)) {
        let magnitude = value.abs();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what is not right after it is not used"
        )]
        let scaled = (magnitude * power + 0.5) as u64;
        // Where the division gives the value back, these digits are the value's own.
        #[expect(
            clippy::float_cmp,
            clippy::cast_precision_loss,
            reason = "only exact equality proves the digits"
        )]
        if scaled < DISTINCT && scaled as f64 / power == magnitude {
            if value.is_sign_negative() {
                out.push(b'-');
            }
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
/// Four digits; as a number of JSON's, which has no zeros before it, as many as it has.
pub(super) fn write_year<S: Syntax>(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let [years] = cell else {
        return Err(CellProblem::Width);
    };
    let year = match *years {
        0 => 0,
        years => 1900 + u32::from(years),
    };
    if S::IS_JSON {
        out.extend_from_slice(itoa::Buffer::new().format(year).as_bytes());
    } else {
        out.extend_from_slice(&two_digits(year / 100));
        out.extend_from_slice(&two_digits(year % 100));
    }
    Ok(())
}

/// As a JSON array, each number as the shortest text that reads back.
pub(super) fn write_vector<S: Syntax>(cell: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    let (numbers, rest) = cell.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(CellProblem::Width);
    }
    let start = out.len();
    out.push(b'[');
    for (index, bytes) in numbers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_floating::<S>(f32::from_le_bytes(*bytes), None, out);
    }
    out.push(b']');
    if !S::IS_JSON {
        finish_text::<S>(start, out);
    }
    Ok(())
}
