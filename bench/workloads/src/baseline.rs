//! The yardstick: mysql_common's decoder and the csv crate, used as their documentation shows.
//!
//! It may keep its buffers and writes into nothing. It verifies checksums and UTF-8 only if it is told to:
//! mysql_common leaves both to its user, and hydrant always does it.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use csv::QuoteStyle;
use mysql_common::Value;
use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{
    Event, EventData, RowsEventData, TableMapEvent, WriteRowsEvent,
};
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;

/// Where the blog's eight columns are in the row image.
const COLUMNS: std::ops::RangeInclusive<usize> = 1..=8;
const ORDER_DATE: usize = 5;

/// Writes the blog's columns of every inserted row of the binlog as a line of CSV and returns their number.
///
/// # Errors
/// When the binlog has what the table cannot have, or `out` fails.
pub fn transcode(binlog: &[u8], is_checked: bool, out: impl Write) -> Result<u64> {
    let mut scratch = Vec::new();
    transcode_with(binlog, is_checked, out, |row, csv| {
        write_row(&row, is_checked, csv, &mut scratch)
    })
}

/// Writes every inserted row of the binlog in the caller's way and returns their number.
///
/// # Errors
/// When the binlog has what the table cannot have, or `out` fails.
pub fn transcode_with<W: Write>(
    binlog: &[u8],
    is_checked: bool,
    out: W,
    mut write_row: impl FnMut(BinlogRow, &mut csv::Writer<W>) -> Result<()>,
) -> Result<u64> {
    let mut events = BinlogFile::new(BinlogVersion::Version4, binlog)?;
    let mut csv = writer(out);
    let mut row_count = 0;
    while let Some(event) = events.next() {
        let event = event?;
        if is_checked {
            verify(&event)?;
        }
        let Some(EventData::RowsEvent(RowsEventData::WriteRowsEvent(rows))) = event.read_data()?
        else {
            continue;
        };
        let table = events
            .reader()
            .get_tme(rows.table_id())
            .context("a row event without its table map")?;
        row_count += write_rows_with(&rows, table, |row| write_row(row, &mut csv))?;
    }
    csv.flush()?;
    Ok(row_count)
}

fn verify(event: &Event) -> Result<()> {
    if let (Some(sum), Some(algorithm)) = (event.checksum(), event.footer().get_checksum_alg()?) {
        let is_right = event.calc_checksum(algorithm).to_le_bytes() == sum;
        ensure!(is_right, "an event with another checksum");
    }
    Ok(())
}

/// Writes text of utf8mb4.
///
/// # Errors
/// When the binlog has what the table cannot have, or `out` fails.
pub fn write_text(text: &[u8], is_checked: bool, csv: &mut csv::Writer<impl Write>) -> Result<()> {
    if is_checked {
        std::str::from_utf8(text)?;
    }
    Ok(csv.write_field(text)?)
}

/// The writer of the same lines that hydrant writes.
#[must_use]
pub fn writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new()
        .has_headers(false)
        .quote_style(QuoteStyle::Necessary)
        .from_writer(out)
}

/// Writes the blog's columns of the rows of one event and returns their number.
///
/// # Errors
/// When the binlog has what the table cannot have, or `out` fails.
pub fn write_rows(
    rows: &WriteRowsEvent,
    table: &TableMapEvent,
    csv: &mut csv::Writer<impl Write>,
    scratch: &mut Vec<u8>,
) -> Result<u64> {
    write_rows_with(rows, table, |row| write_row(&row, false, csv, scratch))
}

fn write_rows_with(
    rows: &WriteRowsEvent,
    table: &TableMapEvent,
    mut write_row: impl FnMut(BinlogRow) -> Result<()>,
) -> Result<u64> {
    let mut row_count = 0;
    for row in rows.rows(table) {
        let (_, Some(row)) = row? else {
            bail!("an inserted row without an image");
        };
        write_row(row)?;
        row_count += 1;
    }
    Ok(row_count)
}

fn write_row(
    row: &BinlogRow,
    is_checked: bool,
    csv: &mut csv::Writer<impl Write>,
    scratch: &mut Vec<u8>,
) -> Result<()> {
    for column in COLUMNS {
        let Some(BinlogValue::Value(value)) = row.as_ref(column) else {
            bail!("a row without column {column}");
        };
        match value {
            Value::NULL => csv.write_field("")?,
            Value::Int(number) => csv.write_field(itoa::Buffer::new().format(*number))?,
            Value::Double(number) => {
                scratch.clear();
                write!(scratch, "{number:.2}")?;
                csv.write_field(&scratch)?;
            }
            // mysql_common gives a TIMESTAMP as the decimal text of its seconds.
            Value::Bytes(seconds) if column == ORDER_DATE => {
                scratch.clear();
                write_utc(std::str::from_utf8(seconds)?, scratch)?;
                csv.write_field(&scratch)?;
            }
            Value::Bytes(text) => write_text(text, is_checked, csv)?,
            other => bail!("column {column} has the unexpected form {other:?}"),
        }
    }
    csv.write_record(None::<&[u8]>)?;
    Ok(())
}

/// Appends `YYYY-MM-DD HH:MM:SS` of a count of seconds since 1970.
///
/// # Errors
/// When the binlog has what the table cannot have, or `out` fails.
pub fn write_utc(seconds: &str, out: &mut Vec<u8>) -> Result<()> {
    let instant = jiff::Timestamp::from_second(seconds.parse()?)?;
    let utc = jiff::tz::Offset::UTC.to_datetime(instant);
    write!(
        out,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        utc.year(),
        utc.month(),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )?;
    Ok(())
}
