//! The yardstick for the tables `wide` and `text`: what mysql_common decodes, written by the csv crate.
//!
//! The text is hydrant's, byte for byte. Its libraries are those that hydrant uses, where there is one: itoa, zmij,
//! jiff, encoding_rs; JSON is serde_json's, into which mysql_common turns it. What it need not do, hydrant does: it
//! knows the types, labels and character sets beforehand instead of reading them from table maps, and need not check
//! checksums and utf8mb4 (see `baseline`).

use std::io::{self, Write};

use anyhow::{Context, Result, bail, ensure};
use mysql_common::Value;
use mysql_common::binlog::value::BinlogValue;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::baseline::{transcode_with, write_text, write_utc};
use crate::tables::{BINARY_LEN, Column, ENUM_LABELS, SET_LABELS};

/// Writes all columns of every inserted row of the binlog as a line of CSV and returns the number of rows.
///
/// # Errors
/// When the binlog has what the table cannot have, or `out` fails.
pub fn transcode(
    binlog: &[u8],
    columns: &[Column],
    is_checked: bool,
    out: impl Write,
) -> Result<u64> {
    let mut scratch = Vec::new();
    transcode_with(binlog, is_checked, out, |row, csv| {
        ensure!(row.len() == columns.len(), "a row of another table");
        for (column, value) in columns.iter().zip(row.unwrap()) {
            write_cell(*column, value, is_checked, csv, &mut scratch)?;
        }
        csv.write_record(None::<&[u8]>)?;
        Ok(())
    })
}

fn write_cell(
    column: Column,
    value: BinlogValue<'_>,
    is_checked: bool,
    csv: &mut csv::Writer<impl Write>,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    scratch.clear();
    let value = match value {
        BinlogValue::Value(value) => value,
        BinlogValue::Jsonb(document) => {
            let document = serde_json::Value::try_from(document)?;
            document.serialize(&mut Serializer::with_formatter(&mut *scratch, MySqlsJson))?;
            csv.write_field(&scratch)?;
            return Ok(());
        }
        BinlogValue::JsonDiff(_) => bail!("an inserted row with changes of JSON"),
    };
    match (column, value) {
        (_, Value::NULL) => csv.write_field("")?,
        // mysql_common 0.37 gives a negative MEDIUMINT without its sign.
        (Column::Int(_, 24), Value::Int(number)) => {
            csv.write_field(itoa::Buffer::new().format(number << 40 >> 40))?;
        }
        (Column::Int(..) | Column::Unsigned(..), Value::Int(number)) => {
            csv.write_field(itoa::Buffer::new().format(number))?;
        }
        (Column::Unsigned(..), Value::UInt(number)) => {
            csv.write_field(itoa::Buffer::new().format(number))?;
        }
        (Column::Float, Value::Float(number)) => {
            csv.write_field(shortest(zmij::Buffer::new().format_finite(number)))?;
        }
        (Column::Double, Value::Double(number)) => {
            csv.write_field(shortest(zmij::Buffer::new().format_finite(number)))?;
        }
        (Column::Decimal(..), Value::Bytes(digits)) => csv.write_field(digits)?,
        (Column::Name(_) | Column::Prose(..), Value::Bytes(text)) => {
            write_text(&text, is_checked, csv)?;
        }
        (Column::Latin1(_), Value::Bytes(text)) => {
            let text = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&text);
            csv.write_field(text.0.as_bytes())?;
        }
        (Column::Enum, Value::Int(index)) => {
            let label = usize::try_from(index - 1).ok();
            let label = label.and_then(|label| ENUM_LABELS.get(label));
            csv.write_field(label.context("an ENUM without this label")?)?;
        }
        (Column::Set, Value::Bytes(members)) => {
            write_set(&members, scratch)?;
            csv.write_field(&scratch)?;
        }
        (Column::Bit, Value::Bytes(bytes)) => {
            write_hex(&bytes, scratch);
            csv.write_field(&scratch)?;
        }
        (Column::Binary, Value::Bytes(bytes)) => {
            write_hex(&bytes, scratch);
            scratch.resize(2 * BINARY_LEN, b'0');
            csv.write_field(&scratch)?;
        }
        (column, value) => {
            write_temporal(column, &value, scratch)?;
            csv.write_field(&scratch)?;
        }
    }
    Ok(())
}

/// A number without a pointless `.0`.
fn shortest(number: &str) -> &str {
    number.strip_suffix(".0").unwrap_or(number)
}

fn write_set(members: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let [members] = members else {
        bail!("a SET of another width");
    };
    for (index, label) in SET_LABELS.iter().enumerate() {
        if members >> index & 1 == 1 {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(label.as_bytes());
        }
    }
    Ok(())
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 0xf)]);
    }
}

fn write_temporal(column: Column, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match (column, value) {
        (Column::Date, Value::Date(year, month, day, ..)) => {
            write!(out, "{year:04}-{month:02}-{day:02}")?;
        }
        (Column::DateTime, Value::Date(year, month, day, hour, minute, second, micros)) => write!(
            out,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}"
        )?,
        (Column::Time, Value::Time(is_negative, days, hours, minutes, seconds, _)) => {
            let sign = if *is_negative { "-" } else { "" };
            let hours = 24 * days + u32::from(*hours);
            write!(out, "{sign}{hours:02}:{minutes:02}:{seconds:02}")?;
        }
        // mysql_common gives the decimal text of the seconds, with six digits after the point or none.
        (Column::Timestamp, Value::Bytes(seconds)) => {
            let seconds = std::str::from_utf8(seconds)?;
            let (seconds, micros) = seconds.split_once('.').unwrap_or((seconds, "000000"));
            write_utc(seconds, out)?;
            let millis = micros.get(..3).context("a fraction of another width")?;
            write!(out, ".{millis}")?;
        }
        (column, value) => bail!("{column:?} has the unexpected form {value:?}"),
    }
    Ok(())
}

/// MySQL's looks: a space after each comma and colon.
struct MySqlsJson;

impl Formatter for MySqlsJson {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}
