//! mysql-binlog-connector-rust, used as its README shows: inserts of any table, as its own column values.
//!
//! It cannot log in without a password: the server has a user `rival` for it.
//!
//! Usage: rival PORT FILE:POSITION ROWS
//!
//! It prints `first` when the first row arrives and `rows N` after so many.

use mysql_binlog_connector_rust::binlog_client::{BinlogClient, StartPosition};
use mysql_binlog_connector_rust::event::event_data::EventData;

#[async_std::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [port, start, expected] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: rival PORT FILE:POSITION ROWS")?;
    let (file, position) = start.split_once(':').ok_or("no position")?;
    let expected: usize = expected.parse()?;
    let start = StartPosition::BinlogPosition(file.to_owned(), position.parse()?);
    let url = format!("mysql://rival:rival@127.0.0.1:{port}");
    let mut stream = BinlogClient::new(&url, 7_005, start).connect().await?;
    let mut row_count = 0;
    while row_count < expected {
        if let (_, EventData::WriteRows(event)) = stream.read().await? {
            if row_count == 0 {
                println!("first");
            }
            row_count += event.rows.len();
        }
    }
    println!("rows {row_count}");
    Ok(())
}
