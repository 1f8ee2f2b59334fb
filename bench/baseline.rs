//! The yardstick: mysql_common's decoder and the csv crate, used as their documentation shows.
//!
//! It may keep its buffers, writes into nothing and verifies no checksums (mysql_common leaves that to its
//! user), so what it does is less than what hydrant does.

#![allow(dead_code, reason = "each bench takes only the part it needs")]

use std::io::Write;

use anyhow::{Context, Result, bail};
use csv::QuoteStyle;
use mysql_common::Value;
use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::BinlogVersion;
use mysql_common::binlog::events::{EventData, RowsEventData, TableMapEvent, WriteRowsEvent};
use mysql_common::binlog::row::BinlogRow;
use mysql_common::binlog::value::BinlogValue;

/// Where the blog's eight columns are in the row image.
const COLUMNS: std::ops::RangeInclusive<usize> = 1..=8;
const ORDER_DATE: usize = 5;

/// Writes every inserted row of the binlog as a line of CSV and returns their number.
pub(crate) fn transcode(binlog: &[u8], out: impl Write) -> Result<u64> {
    let mut events = BinlogFile::new(BinlogVersion::Version4, binlog)?;
    let mut csv = writer(out);
    let mut scratch = Vec::new();
    let mut row_count = 0;
    while let Some(event) = events.next() {
        let event = event?;
        let Some(EventData::RowsEvent(RowsEventData::WriteRowsEvent(rows))) = event.read_data()?
        else {
            continue;
        };
        let table = events
            .reader()
            .get_tme(rows.table_id())
            .context("a row event without its table map")?;
        row_count += write_rows(&rows, table, &mut csv, &mut scratch)?;
    }
    csv.flush()?;
    Ok(row_count)
}

/// The writer of the same lines that hydrant writes.
pub(crate) fn writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new()
        .has_headers(false)
        .quote_style(QuoteStyle::Necessary)
        .from_writer(out)
}

/// Writes the rows of one event and returns their number.
pub(crate) fn write_rows(
    rows: &WriteRowsEvent,
    table: &TableMapEvent,
    csv: &mut csv::Writer<impl Write>,
    scratch: &mut Vec<u8>,
) -> Result<u64> {
    let mut row_count = 0;
    for row in rows.rows(table) {
        let (_, Some(row)) = row? else {
            bail!("an inserted row without an image");
        };
        write_row(&row, csv, scratch)?;
        row_count += 1;
    }
    Ok(row_count)
}

fn write_row(
    row: &BinlogRow,
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
                let seconds: i64 = std::str::from_utf8(seconds)?.parse()?;
                let instant = jiff::Timestamp::from_second(seconds)?;
                let utc = jiff::tz::Offset::UTC.to_datetime(instant);
                scratch.clear();
                write!(
                    scratch,
                    "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
                    utc.year(),
                    utc.month(),
                    utc.day(),
                    utc.hour(),
                    utc.minute(),
                    utc.second()
                )?;
                csv.write_field(&scratch)?;
            }
            Value::Bytes(text) => csv.write_field(text)?,
            other => bail!("column {column} has the unexpected form {other:?}"),
        }
    }
    csv.write_record(None::<&[u8]>)?;
    Ok(())
}
