//! The rivals that are libraries of Rust, and hydrant's decoder alone, each run in a process of its own: this program
//! again, with `--as`.
//!
//! What does not live here: what they do with a row, which is `workloads::baseline` and `../transcode.rs`.

use std::fs;
use std::io;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;
use futures_util::StreamExt;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{EventData, RowsEventData};
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Opts};

use crate::binlog_start::BinlogStart;
use crate::transcode::{drop_batch, transcode};
use workloads::baseline;
use workloads::sales::sales_columns;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Inside {
    /// Events as they come, looked at for their type alone.
    Raw,
    /// mysql_common's rows and the csv crate, into nothing.
    Rows,
    /// hydrant's decoder and encoder, from memory into batches that are dropped.
    Decoder,
}

impl Inside {
    pub(crate) fn command(self, place: &BinlogStart) -> Result<Command> {
        let name = self
            .to_possible_value()
            .context("a variant without a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--bench", "--as", name.get_name()]);
        command.args(["--url", &place.server.url(), "--file"]);
        match self {
            Self::Raw | Self::Rows => command.arg(&place.file),
            Self::Decoder => command.arg(place.server.binlog_dir().join(&place.file)),
        };
        Ok(command)
    }

    /// Reads `file` to its end: a name of the server's, or a path.
    pub(crate) fn run(self, url: &str, file: &str) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let row_count = runtime.block_on(async {
            match self {
                Self::Raw => raw(stream(url, file).await?).await,
                Self::Rows => rows(stream(url, file).await?).await,
                Self::Decoder => decoded(file),
            }
        })?;
        println!("rows {row_count}");
        Ok(())
    }
}

async fn stream(url: &str, file: &str) -> Result<BinlogStream> {
    let conn = Conn::new(Opts::from_url(url)?).await?;
    let request = BinlogStreamRequest::new(7_004)
        .with_filename(file.as_bytes())
        .with_pos(4)
        .with_non_blocking();
    Ok(conn.get_binlog_stream(request).await?)
}

fn decoded(path: &str) -> Result<u64> {
    let binlog = fs::read(path)?;
    println!("first");
    transcode(&binlog, "Sales", &sales_columns(), &[], drop_batch)
}

/// Nothing says how many rows there are but the rows themselves, so it is row events that are counted.
async fn raw(mut stream: BinlogStream) -> Result<u64> {
    let mut event_count = 0;
    while let Some(event) = stream.next().await {
        if event?.header().event_type() == Ok(EventType::WRITE_ROWS_EVENT) {
            event_count += 1;
        }
    }
    Ok(event_count)
}

async fn rows(mut stream: BinlogStream) -> Result<u64> {
    let mut csv = baseline::writer(io::sink());
    let mut scratch = Vec::new();
    let mut row_count = 0;
    while let Some(event) = stream.next().await {
        let event = event?;
        let Some(EventData::RowsEvent(RowsEventData::WriteRowsEvent(rows))) = event.read_data()?
        else {
            continue;
        };
        let table = stream
            .get_tme(rows.table_id())
            .context("a row event without its table map")?;
        row_count += baseline::write_rows(&rows, table, &mut csv, &mut scratch)?;
    }
    csv.flush()?;
    Ok(row_count)
}
