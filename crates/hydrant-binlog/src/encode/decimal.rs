//! DECIMAL cells, exactly.
//!
//! What lives here: MySQL's binary format of DECIMAL (`strings/decimal.cc`, `decimal2bin`): nine
//! digits in four bytes on either side of the point, fewer in fewer bytes at the outer ends, big
//! endian, the first bit inverted so that it sorts, all bytes of a negative number inverted.

use super::problem::CellProblem;

/// Digits of a group, and its bytes.
const GROUP_DIGITS: usize = 9;
const GROUP_BYTES: usize = 4;
/// Bytes of a group with fewer digits, by their count.
const LEFT_OVER_BYTES: [usize; GROUP_DIGITS] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
/// Digits that MySQL and MariaDB allow.
const MOST_DIGITS: usize = 65;
/// Bytes of the longest: 35 digits before the point and 30 after it.
const MOST_BYTES: usize = 30 + 2;

/// Appends a number with `scale` digits after the point, without zeros before it.
pub(super) fn write_decimal(
    cell: &[u8],
    precision: u8,
    scale: u8,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    let whole = precision.checked_sub(scale).ok_or(CellProblem::Width)?;
    if precision > MOST_DIGITS || cell.is_empty() || cell.len() > MOST_BYTES {
        return Err(CellProblem::Width);
    }
    let is_negative = cell[0] & 0x80 == 0;
    let mask = if is_negative { 0xff } else { 0 };
    let mut bytes = [0; MOST_BYTES];
    for (byte, stored) in bytes.iter_mut().zip(cell) {
        *byte = stored ^ mask;
    }
    bytes[0] ^= 0x80;
    let mut rest = &bytes[..cell.len()];
    let mut digits = [b'0'; MOST_DIGITS];
    let mut count = 0;
    let mut group = |digit_count: usize| -> Result<(), CellProblem> {
        let byte_count = if digit_count == GROUP_DIGITS {
            GROUP_BYTES
        } else {
            LEFT_OVER_BYTES[digit_count]
        };
        let (stored, after) = rest
            .split_at_checked(byte_count)
            .ok_or(CellProblem::Width)?;
        rest = after;
        if digit_count == 0 {
            return Ok(());
        }
        let value = stored
            .iter()
            .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value).as_bytes();
        let zeros = digit_count
            .checked_sub(text.len())
            .ok_or(CellProblem::Number)?;
        digits[count + zeros..count + digit_count].copy_from_slice(text);
        count += digit_count;
        Ok(())
    };
    group(whole % GROUP_DIGITS)?;
    for _ in 0..whole / GROUP_DIGITS {
        group(GROUP_DIGITS)?;
    }
    for _ in 0..scale / GROUP_DIGITS {
        group(GROUP_DIGITS)?;
    }
    group(scale % GROUP_DIGITS)?;
    if !rest.is_empty() {
        return Err(CellProblem::Width);
    }
    write_digits(is_negative, digits[..precision].split_at(whole), out);
    Ok(())
}

/// Appends the digits before and after the point.
fn write_digits(is_negative: bool, (before, after): (&[u8], &[u8]), out: &mut Vec<u8>) {
    let is_zero = |digit: &u8| *digit == b'0';
    if is_negative && !before.iter().chain(after).all(is_zero) {
        out.push(b'-');
    }
    let leading = before.iter().take_while(|digit| is_zero(digit)).count();
    match &before[leading..] {
        [] => out.push(b'0'),
        before => out.extend_from_slice(before),
    }
    if !after.is_empty() {
        out.push(b'.');
        out.extend_from_slice(after);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The format, written down a second time, from digits to bytes.
    fn stored(is_negative: bool, whole: &str, fraction: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut push = |digits: &str| {
            let width = if digits.len() == 9 {
                4
            } else {
                LEFT_OVER_BYTES[digits.len()]
            };
            let value: u32 = if digits.is_empty() {
                0
            } else {
                digits.parse().unwrap()
            };
            bytes.extend_from_slice(&value.to_be_bytes()[4 - width..]);
        };
        let (first, groups) = whole.split_at(whole.len() % 9);
        push(first);
        for at in (0..groups.len()).step_by(9) {
            push(&groups[at..at + 9]);
        }
        for at in (0..fraction.len()).step_by(9) {
            push(&fraction[at..fraction.len().min(at + 9)]);
        }
        bytes[0] ^= 0x80;
        if is_negative {
            for byte in &mut bytes {
                *byte ^= 0xff;
            }
        }
        bytes
    }

    fn text(cell: &[u8], precision: u8, scale: u8) -> Result<String, CellProblem> {
        let mut out = Vec::new();
        write_decimal(cell, precision, scale, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_example_of_mysqls_source_and_zeros() {
        // 1234567890.1234 in DECIMAL(14,4), from the comment on decimal2bin.
        let cell = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(text(&cell, 14, 4).unwrap(), "1234567890.1234");
        let cell = cell.map(|byte| byte ^ 0xff);
        assert_eq!(text(&cell, 14, 4).unwrap(), "-1234567890.1234");
        assert_eq!(text(&stored(true, "0", "00"), 3, 2).unwrap(), "0.00");
        assert_eq!(text(&stored(true, "", "50"), 2, 2).unwrap(), "-0.50");
        assert_eq!(text(&stored(false, "007", ""), 3, 0).unwrap(), "7");
    }

    #[test]
    fn what_no_server_writes_is_an_error() {
        assert_eq!(text(&[0xff], 1, 0), Err(CellProblem::Number));
        assert_eq!(text(&[0x80, 0], 1, 0), Err(CellProblem::Width));
        assert_eq!(text(&[], 1, 0), Err(CellProblem::Width));
        assert_eq!(text(&[0x80], 1, 2), Err(CellProblem::Width));
    }

    proptest! {
        #[test]
        fn digits_come_back(is_negative: bool, whole in "[0-9]{0,35}", fraction in "[0-9]{0,30}") {
            prop_assume!(!whole.is_empty() || !fraction.is_empty());
            let precision = u8::try_from(whole.len() + fraction.len()).unwrap();
            let scale = u8::try_from(fraction.len()).unwrap();
            let shown = text(&stored(is_negative, &whole, &fraction), precision, scale).unwrap();
            let is_zero = [&whole, &fraction].iter().all(|part| part.bytes().all(|digit| digit == b'0'));
            let sign = if is_negative && !is_zero { "-" } else { "" };
            let before = whole.trim_start_matches('0');
            let before = if before.is_empty() { "0" } else { before };
            let point = if fraction.is_empty() { "" } else { "." };
            prop_assert_eq!(shown, format!("{sign}{before}{point}{fraction}"));
        }

        #[test]
        fn any_bytes_give_digits_or_an_error(
            cell in prop::collection::vec(any::<u8>(), 0..36), precision in 0_u8..80, scale in 0_u8..80,
        ) {
            if let Ok(text) = text(&cell, precision, scale) {
                prop_assert!(text.bytes().all(|byte| b"-.0123456789".contains(&byte)));
            }
        }
    }
}
