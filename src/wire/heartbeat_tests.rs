//! Heartbeats of a real server, in the form that hydrant asks for and in the later one, which tells a
//! position past 4 GiB and comes only to readers that want it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use mysql_common::packets::{BinlogDumpFlags, binlog_request::BinlogRequest};

use super::login_tests::source;
use super::*;
use crate::binlog::{Decoder, DecoderStart, EventStream, EventType, Step, WatchedTable};
use crate::config::Tls;
use testkit::servers::{Kind, Server};

/// What may pass by until there is a heartbeat.
const MOST_EVENTS: usize = 1_000;

/// Reads all that the server has, up to the first heartbeat.
async fn first_heartbeat(server: &Server, flags: u16) -> Result<(EventType, u64)> {
    let mut wire = Wire::connect(&source(server, "root", "", Tls::Off)).await?;
    wire.statement(
        "SET @source_heartbeat_period = 50000000, \
         @source_binlog_checksum = @@global.binlog_checksum",
    )
    .await?;
    let request = BinlogRequest::new(77)
        .with_use_gtid(true)
        .with_flags(BinlogDumpFlags::from_bits_retain(flags));
    wire.request(&request.as_cmd()).await?;
    let mut events = EventStream::default();
    let mut decoder = Decoder::new(
        DecoderStart::default(),
        &[WatchedTable::inserts("shop", "T")],
    )?;
    let mut rows = 0;
    for _ in 0..MOST_EVENTS {
        while wire.frames().next()?.is_none() {
            tokio::time::timeout(Duration::from_mins(1), wire.fill()).await??;
        }
        let [0, event @ ..] = wire.frames().bytes() else {
            bail!("the server refuses: {:?}", refusal(wire.frames().bytes()));
        };
        let event = events.event(event)?;
        if matches!(decoder.event(&event)?, Step::Rows { .. }) {
            rows += 1;
        }
        let event_type = EventType::from_code(event.header.type_code);
        if matches!(event_type, EventType::Heartbeat | EventType::HeartbeatV2) && rows == 2 {
            return Ok((event_type, decoder.position().offset));
        }
    }
    bail!("no heartbeat among {MOST_EVENTS} events");
}

#[tokio::test]
async fn heartbeats_of_both_forms_are_no_place_in_the_binlog() -> Result<()> {
    /// `USE_HEARTBEAT_EVENT_V2` (MySQL `sql/rpl_constants.h`).
    const LATER_FORM: u16 = 2;
    let server = Server::start(Kind::Mysql, &[])?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int); INSERT INTO shop.T VALUES (1); \
         INSERT INTO shop.T VALUES (2)",
    )?;
    let status = server.sql("SHOW BINARY LOG STATUS")?;
    for (flags, form) in [
        (0, EventType::Heartbeat),
        (LATER_FORM, EventType::HeartbeatV2),
    ] {
        let (event_type, offset) = first_heartbeat(&server, flags).await?;
        ensure!(event_type == form, "{event_type} with flags {flags}");
        ensure!(status.contains(&offset.to_string()), "{offset} in {status}");
    }
    Ok(())
}
