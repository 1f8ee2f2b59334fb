//! JSON cells: MySQL's binary format to the text that SELECT prints.
//!
//! What lives here: containers, scalars and MySQL's own types within JSON. What does not: JSON of
//! MariaDB, which is text.
//!
//! Source of the format: MySQL `sql-common/json_binary.h`; of the text, `sql-common/json_dom.cc`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::decimal::write_decimal;
use super::dialect::{Jsonl, finish_text, write_utf8_as};
use super::invalid_text::InvalidText;
use super::problem::CellProblem;
use super::temporal::write_packed_temporal;
use super::text::append_invalid_utf8;

/// MySQL itself stores no deeper document (`JSON_DOCUMENT_MAX_DEPTH`).
const MOST_DEPTH: u32 = 100;

/// Digits before the point up to which a whole double is written without an exponent, and zeros
/// after it (`my_gcvt` in `strings/dtoa.cc`, `MAX_DECPT_FOR_F_FORMAT`).
const MOST_PLAIN_DIGITS: i32 = 15;

/// Characters in a line of base64 (`mysys/base64.cc`).
const BASE64_LINE: usize = 76;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// Column types within opaque values. Source: MySQL `field_types.h`.
const TYPE_NEWDECIMAL: u8 = 246;

/// Text is at most so many times as long as the bytes that it is made of: a control character has
/// six for one, a number of three bytes has eight. What is longer has values that overlap.
const MOST_GROWTH: usize = 16;

/// How far a document may go, and what its text may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    depth: u32,
    /// Bytes that may be in the output.
    most_bytes: usize,
    invalid: InvalidText,
}

impl Bounds {
    /// Of a document of so many bytes whose text is appended to `out`.
    pub(super) fn of(document_len: usize, invalid: InvalidText, out: &[u8]) -> Self {
        Self {
            depth: 0,
            most_bytes: out.len() + document_len * MOST_GROWTH,
            invalid,
        }
    }

    /// One level deeper.
    pub(super) fn within(self) -> Result<Self, CellProblem> {
        if self.depth >= MOST_DEPTH {
            return Err(CellProblem::Json);
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

/// Appends the text of a document.
pub(super) fn write_json(
    cell: &[u8],
    invalid: InvalidText,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    match cell.split_first() {
        // What an ignored error leaves in a column that is NOT NULL.
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
        Some((kind, value)) => {
            let bounds = Bounds::of(cell.len(), invalid, out);
            write_value(*kind, value, bounds, out)
        }
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Result<[u8; N], CellProblem> {
    let range = from.get(at..).and_then(|rest| rest.first_chunk::<N>());
    range.copied().ok_or(CellProblem::Json)
}

/// A count, size or offset of a container.
fn number(from: &[u8], at: usize, is_large: bool) -> Result<usize, CellProblem> {
    let number = if is_large {
        u32::from_le_bytes(bytes(from, at)?)
    } else {
        u16::from_le_bytes(bytes(from, at)?).into()
    };
    usize::try_from(number).map_err(|_| CellProblem::Json)
}

pub(super) fn write_value(
    kind: u8,
    value: &[u8],
    bounds: Bounds,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    if out.len() > bounds.most_bytes {
        return Err(CellProblem::Json);
    }
    let mut integer = itoa::Buffer::new();
    if let Some(container) = Container::of(kind, value)? {
        return write_container(container, bounds, out);
    }
    match kind {
        LITERAL => out.extend_from_slice(match bytes::<1>(value, 0)? {
            [0] => b"null",
            [1] => b"true",
            [2] => b"false",
            _ => return Err(CellProblem::Json),
        }),
        INT16 => {
            let value = i16::from_le_bytes(bytes(value, 0)?);
            out.extend_from_slice(integer.format(value).as_bytes());
        }
        UINT16 => {
            let value = u16::from_le_bytes(bytes(value, 0)?);
            out.extend_from_slice(integer.format(value).as_bytes());
        }
        INT32 => {
            let value = i32::from_le_bytes(bytes(value, 0)?);
            out.extend_from_slice(integer.format(value).as_bytes());
        }
        UINT32 => {
            let value = u32::from_le_bytes(bytes(value, 0)?);
            out.extend_from_slice(integer.format(value).as_bytes());
        }
        INT64 => {
            let value = i64::from_le_bytes(bytes(value, 0)?);
            out.extend_from_slice(integer.format(value).as_bytes());
        }
        UINT64 => {
            let value = u64::from_le_bytes(bytes(value, 0)?);
            out.extend_from_slice(integer.format(value).as_bytes());
        }
        DOUBLE => return write_double(f64::from_le_bytes(bytes(value, 0)?), out),
        STRING => return write_string(sized(value)?, bounds, out),
        OPAQUE => {
            let [kind] = bytes::<1>(value, 0)?;
            return write_opaque(kind, sized(&value[1..])?, out);
        }
        _ => return Err(CellProblem::Json),
    }
    Ok(())
}

/// Bytes after their length, seven bits of it in each byte, the lowest first.
fn sized(value: &[u8]) -> Result<&[u8], CellProblem> {
    let mut len = 0_u64;
    for (index, byte) in value.iter().take(5).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let len = usize::try_from(len).map_err(|_| CellProblem::Json)?;
            let rest = &value[index + 1..];
            return rest.get(..len).ok_or(CellProblem::Json);
        }
    }
    Err(CellProblem::Json)
}

/// An object or array: counts, entries of keys and values, and what they point to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    pub(super) is_object: bool,
    is_large: bool,
    /// Members or cells.
    pub(super) count: usize,
    /// Where the entries of values begin.
    values_at: usize,
}

impl<'a> Container<'a> {
    /// A value of this kind; `None` if it is a scalar.
    pub(super) fn of(kind: u8, value: &'a [u8]) -> Result<Option<Self>, CellProblem> {
        let (is_object, is_large) = match kind {
            SMALL_OBJECT => (true, false),
            LARGE_OBJECT => (true, true),
            SMALL_ARRAY => (false, false),
            LARGE_ARRAY => (false, true),
            _ => return Ok(None),
        };
        let width = if is_large { 4 } else { 2 };
        let count = number(value, 0, is_large)?;
        let size = number(value, width, is_large)?;
        let bytes = value.get(..size).ok_or(CellProblem::Json)?;
        let values_at = 2 * width + if is_object { count * (width + 2) } else { 0 };
        // Before anything is done for a count that the container has no room for.
        if values_at + count * (width + 1) > size {
            return Err(CellProblem::Json);
        }
        Ok(Some(Self {
            bytes,
            is_object,
            is_large,
            count,
            values_at,
        }))
    }

    fn width(&self) -> usize {
        if self.is_large { 4 } else { 2 }
    }

    /// The name of an object's member.
    pub(super) fn key(&self, index: usize) -> Result<&'a [u8], CellProblem> {
        let entry = 2 * self.width() + index * (self.width() + 2);
        let offset = number(self.bytes, entry, self.is_large)?;
        let len = number(self.bytes, entry + self.width(), false)?;
        let key = self.bytes.get(offset..).and_then(|rest| rest.get(..len));
        key.ok_or(CellProblem::Json)
    }

    /// The kind of a value, and its bytes, and what is behind them.
    pub(super) fn value(&self, index: usize) -> Result<(u8, &'a [u8]), CellProblem> {
        let entry = self.values_at + index * (self.width() + 1);
        let [kind] = bytes::<1>(self.bytes, entry)?;
        let is_inline = match kind {
            LITERAL | INT16 | UINT16 => true,
            INT32 | UINT32 => self.is_large,
            _ => false,
        };
        let value = if is_inline {
            entry + 1
        } else {
            number(self.bytes, entry + 1, self.is_large)?
        };
        Ok((kind, self.bytes.get(value..).ok_or(CellProblem::Json)?))
    }
}

fn write_container(
    container: Container<'_>,
    bounds: Bounds,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let within = bounds.within()?;
    let (open, close) = if container.is_object {
        (b'{', b'}')
    } else {
        (b'[', b']')
    };
    out.push(open);
    for index in 0..container.count {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        if container.is_object {
            write_string(container.key(index)?, bounds, out)?;
            out.extend_from_slice(b": ");
        }
        let (kind, value) = container.value(index)?;
        write_value(kind, value, within, out)?;
    }
    out.push(close);
    Ok(())
}

pub(super) fn write_string(
    text: &[u8],
    bounds: Bounds,
    out: &mut Vec<u8>,
) -> Result<(), CellProblem> {
    let written = write_utf8_as::<Jsonl>(text, 0..text.len(), out);
    if written.is_err() && bounds.invalid == InvalidText::Replace {
        let start = out.len();
        append_invalid_utf8(text, bounds.invalid, out)?;
        finish_text::<Jsonl>(start, out);
        return Ok(());
    }
    written
}

/// The shortest text that reads back as the same number, in MySQL's looks: `1.0`, `1.5e-16`,
/// `1e20`.
fn write_double(value: f64, out: &mut Vec<u8>) -> Result<(), CellProblem> {
    if !value.is_finite() {
        return Err(CellProblem::Json);
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| CellProblem::Json)?;
    let (sign, mantissa) = mantissa.split_at(usize::from(mantissa.starts_with('-')));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0; size_of::<zmij::Buffer>()];
    let (before, after) = digits.split_at_mut(whole.len());
    before.copy_from_slice(whole.as_bytes());
    after[..fraction.len()].copy_from_slice(fraction.as_bytes());
    let digits = &digits[..whole.len() + fraction.len()];
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    let trailing = digits
        .iter()
        .rev()
        .take_while(|digit| **digit == b'0')
        .count();
    out.extend_from_slice(sign.as_bytes());
    if leading == digits.len() {
        out.extend_from_slice(b"0.0");
        return Ok(());
    }
    let significant = &digits[leading..digits.len() - trailing];
    let before = i32::try_from(whole.len()).unwrap_or(i32::MAX) + exponent;
    // Where the point belongs, counted from before the first significant digit.
    let point = before - i32::try_from(leading).unwrap_or(i32::MAX);
    let has_fraction = i32::try_from(significant.len()).is_ok_and(|count| count > point);
    let is_plain = point > -MOST_PLAIN_DIGITS && (point <= MOST_PLAIN_DIGITS || has_fraction);
    if !is_plain {
        out.push(significant[0]);
        if let [_, rest @ ..] = significant
            && !rest.is_empty()
        {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.push(b'e');
        out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
        return Ok(());
    }
    match usize::try_from(point) {
        Ok(point @ 1..) => {
            let (before, after) = significant.split_at(point.min(significant.len()));
            out.extend_from_slice(before);
            out.resize(out.len() + point - before.len(), b'0');
            out.push(b'.');
            out.extend_from_slice(if after.is_empty() { b"0" } else { after });
        }
        _ => {
            out.extend_from_slice(b"0.");
            let zeros = usize::try_from(-point).unwrap_or(0);
            out.resize(out.len() + zeros, b'0');
            out.extend_from_slice(significant);
        }
    }
    Ok(())
}

/// A value of one of MySQL's own types.
fn write_opaque(kind: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), CellProblem> {
    match kind {
        TYPE_NEWDECIMAL => {
            let [precision, scale] = bytes(value, 0)?;
            write_decimal(&value[2..], precision, scale, out)
        }
        7 | 10 | 11 | 12 => {
            let packed = value.try_into().map_err(|_| CellProblem::Json)?;
            out.push(b'"');
            write_packed_temporal(kind, i64::from_le_bytes(packed), out)?;
            out.push(b'"');
            Ok(())
        }
        _ => {
            out.extend_from_slice(b"\"base64:type");
            out.extend_from_slice(itoa::Buffer::new().format(kind).as_bytes());
            out.push(b':');
            let mut line = [0; BASE64_LINE];
            for (index, bytes) in value.chunks(BASE64_LINE / 4 * 3).enumerate() {
                // MySQL breaks it into lines, which its JSON then shows as `\n`.
                out.extend_from_slice(if index > 0 { b"\\n" } else { b"" });
                let len = BASE64_STANDARD.encode_slice(bytes, &mut line);
                let len = len.map_err(|_| CellProblem::Json)?;
                out.extend_from_slice(&line[..len]);
            }
            out.push(b'"');
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        write_double(value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_look_like_mysqls() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-12.5, "-12.5"),
            (1e14, "100000000000000.0"),
            (1e15, "1e15"),
            (3_804_132_460_656_936.5, "3804132460656936.5"),
            (1e20, "1e20"),
            (1.5e-14, "0.000000000000015"),
            (1.5e-16, "1.5e-16"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn a_small_document() {
        // {"a": [1, "x"]}
        let document = [
            0x00, 0x01, 0x00, 0x1a, 0x00, 0x0b, 0x00, 0x01, 0x00, 0x02, 0x0c, 0x00, b'a', 0x02,
            0x00, 0x0e, 0x00, 0x05, 0x01, 0x00, 0x0c, 0x0a, 0x00, 0x01, b'x', 0x00, 0x00,
        ];
        let mut out = Vec::new();
        write_json(&document, InvalidText::Stop, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a": [1, "x"]}"#);
    }

    proptest! {
        #[test]
        fn doubles_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(double(value).parse::<f64>().unwrap().to_bits(), bits);
            }
        }

        /// Neither panics nor grows beyond what the bytes can say.
        #[test]
        fn any_bytes_give_text_or_an_error(document in prop::collection::vec(any::<u8>(), 0..200)) {
            for invalid in [InvalidText::Stop, InvalidText::Replace] {
                let mut out = Vec::new();
                if write_json(&document, invalid, &mut out).is_ok() {
                    prop_assert!(std::str::from_utf8(&out).is_ok());
                }
            }
        }
    }

    #[test]
    fn values_that_contain_each_other_do_not_grow_without_end() {
        // Arrays of two, each of whose elements is the array behind it.
        let mut document = vec![0x02];
        for level in 0..60_u16 {
            let size = (60 - level) * 10;
            let mut array = [2, 0, 0, 0, 0x02, 10, 0, 0x02, 10, 0];
            array[2..4].copy_from_slice(&size.to_le_bytes());
            document.extend(array);
        }
        document.extend([0, 0, 4, 0]);
        let result = write_json(&document, InvalidText::Stop, &mut Vec::new());
        assert_eq!(result, Err(CellProblem::Json));
    }
}
