//! One connection that a server sends its binlog on: how it is set up, and what is asked for.

use mysql_common::packets::binlog_request::BinlogRequest;
use mysql_common::packets::{BinlogDumpFlags, ComRegisterSlave, GnoInterval, Sid, Tag};

use crate::binlog::{Flavor, GtidSet};
use crate::config::Source;
use crate::wire::Wire;
use crate::{Exit, Failure};

use super::explain::{ACCESS_DENIED, GRANTS, REACH_SERVER, explain, is_server_error};
use super::server::{Mark, within};

pub(super) fn place(source: &Source) -> String {
    format!("{}:{}", source.host, source.port)
}

/// A connection that has to be made anew.
pub(super) fn broken(source: &Source, what: &str) -> Failure {
    let what = format!("{}: {what}", place(source));
    Failure::transient(Exit::Unavailable, what, REACH_SERVER)
}

/// Opens a connection of its own, tells the server what this reader understands, and asks for
/// events from `mark`.
pub(super) async fn open_stream(
    source: &Source,
    flavor: Flavor,
    server_id: u32,
    mark: &Mark,
    flags: BinlogDumpFlags,
) -> Result<Wire, Failure> {
    check_offset(mark)?;
    let place = place(source);
    let explain = |error: mysql_async::Error| explain(&place, &error);
    let connecting = within(source.connect_timeout, &place, Wire::connect(source));
    let mut wire = connecting.await?.map_err(explain)?;
    for statement in session_settings(source, flavor, mark) {
        wire.statement(&statement).await.map_err(explain)?;
    }
    let requested = request(&mut wire, flavor, server_id, mark, flags).await;
    requested.map_err(|error| {
        // The login is long past, so it is the request itself that is denied.
        if is_server_error(&error, ACCESS_DENIED) {
            let what = format!("{place}: the user may not read the binlog (REPLICATION SLAVE)");
            return Failure::uncertain(Exit::Permission, what, GRANTS);
        }
        explain(error)
    })?;
    Ok(wire)
}

/// COM_BINLOG_DUMP has 32 bits for the offset; cut off, it would name another place.
fn check_offset(mark: &Mark) -> Result<(), Failure> {
    match mark.read_from() {
        Some(position) if !position.can_be_asked_for() => Err(Failure::definite(
            Exit::Data,
            format!("{position} is past 4 GiB, where the server cannot be asked to start"),
            "start at the next binlog file after loading the rest of this one from the table, \
             and keep single transactions below 4 GiB",
        )),
        Some(_) | None => Ok(()),
    }
}

fn session_settings(source: &Source, flavor: Flavor, mark: &Mark) -> Vec<String> {
    let heartbeat_ns = source.heartbeat_interval.as_nanos();
    let mut settings = vec![
        // Messages come in the session's character set. A sink that is slow, or away, keeps the server
        // waiting.
        "SET NAMES utf8mb4".to_owned(),
        "SET SESSION net_write_timeout = 3600".to_owned(),
        // Both names: the older one is all that MariaDB and MySQL before 8.0.26 know.
        format!(
            "SET @master_heartbeat_period = {heartbeat_ns}, @source_heartbeat_period = {heartbeat_ns}"
        ),
        "SET @master_binlog_checksum = @@global.binlog_checksum, \
             @source_binlog_checksum = @@global.binlog_checksum"
            .to_owned(),
    ];
    match flavor {
        Flavor::MySql => {
            // Lets the server end an older dump of this same reader.
            let id = uuid::Uuid::new_v4();
            settings.push(format!("SET @slave_uuid = '{id}', @replica_uuid = '{id}'"));
        }
        Flavor::MariaDb => {
            // Version 4 readers are sent GTID events.
            settings.push("SET @mariadb_slave_capability = 4".to_owned());
            if let (None, Some(gtids)) = (&mark.position, &mark.gtids) {
                settings.push(format!("SET @slave_connect_state = '{gtids}'"));
                settings.push("SET @slave_gtid_strict_mode = 0".to_owned());
            }
        }
    }
    settings
}

async fn request(
    wire: &mut Wire,
    flavor: Flavor,
    server_id: u32,
    mark: &Mark,
    flags: BinlogDumpFlags,
) -> Result<(), mysql_async::Error> {
    wire.tell(&ComRegisterSlave::new(server_id)).await?;
    let request = BinlogRequest::new(server_id).with_flags(flags);
    let request = match (mark.read_from(), &mark.read_after()) {
        (Some(position), _) => request
            .with_filename(position.file.as_bytes())
            .with_pos(position.offset),
        (None, Some(GtidSet::MySql(set))) if flavor == Flavor::MySql => {
            let sids = set.iter().map(|(source, intervals)| {
                // The wire's intervals end before their last number.
                let intervals = intervals
                    .iter()
                    .map(|(first, last)| GnoInterval::new(*first, last + 1));
                let sid = Sid::new(*source.uuid.as_bytes()).with_intervals(intervals.collect());
                match Tag::new(source.tag.as_str().to_owned()) {
                    Ok(tag) => sid.with_tag(tag),
                    // The empty tag is none.
                    Err(_) => sid,
                }
            });
            request.with_use_gtid(true).with_sids(sids)
        }
        _ => request,
    };
    wire.request(&request.as_cmd()).await
}

#[cfg(test)]
mod tests {
    use super::super::server::Identity;
    use super::*;
    use crate::binlog::FilePosition;

    #[test]
    fn an_offset_that_the_request_cannot_hold_is_refused() {
        let mark = |offset| {
            let position = FilePosition::new("b.000001", offset);
            Mark::new(Identity("x".into()), Some(position), None)
        };
        assert!(check_offset(&mark(u32::MAX.into())).is_ok());
        let error = check_offset(&mark(u64::from(u32::MAX) + 1)).unwrap_err();
        assert_eq!(error.exit, Exit::Data);
    }
}
