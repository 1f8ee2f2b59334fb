//! Where a run starts in the server's binlog, and whether that part of it is there.

use mysql_async::Row;
use mysql_async::prelude::Queryable;
use tracing::debug;

use crate::binlog::{FilePosition, Flavor, GtidSet, PreparedXa};
use crate::config::Start;
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::server::{Mark, Server};

/// Where to start: at the checkpoint if there is one, else where the configuration says.
///
/// # Errors
/// If the checkpoint is another server's, or the server does not have that part of its binlog
/// any more.
pub(super) async fn start_mark(
    server: &mut Server,
    checkpoint: Option<&Checkpoint>,
    start: &Start,
) -> Result<Mark, Failure> {
    if let Some(checkpoint) = checkpoint {
        return resume(server, checkpoint).await;
    }
    let mark = match start {
        Start::Latest => {
            // Some may be prepared, or end, between the question and its answer.
            let before = something_is_prepared(server).await;
            let mut mark = server.end_of_binlog().await?;
            if let Some(position) = &mark.position
                && (before || something_is_prepared(server).await)
            {
                mark.xa.from = Some(look_back(server, position).await?);
            }
            mark
        }
        Start::Earliest => {
            let files = server.binlog_files().await?;
            let oldest = files
                .into_iter()
                .next()
                .ok_or_else(super::server::binlog_is_off)?;
            let position = FilePosition::new(oldest, FilePosition::FIRST_OFFSET);
            Mark::new(server.identity.clone(), Some(position), None)
        }
        Start::Position(position) => {
            check_file(server, position).await?;
            check_event(server, position).await?;
            Mark::new(server.identity.clone(), Some(position.clone()), None)
        }
        Start::Gtids(text) => {
            let gtids = text.for_flavor(server.flavor).ok_or_else(|| {
                Failure::definite(
                    Exit::Config,
                    format!(
                        "source.start = \"{}\" is not a GTID set of this server's family",
                        text.as_str()
                    ),
                    "write a set as the server prints it: SELECT @@gtid_executed (MySQL) or \
                     @@gtid_binlog_pos (MariaDB)",
                )
            })?;
            check_gtids_are_executed(server, &gtids).await?;
            check_gtids_are_kept(server, &gtids)?;
            Mark::new(server.identity.clone(), None, Some(gtids))
        }
    };
    check_file_is_kept(server, &mark).await?;
    Ok(mark)
}

const CHOOSE_START: &str = "correct source.start: \"earliest\", \"latest\", a position that SHOW BINARY LOG STATUS \
                            has printed (SHOW MASTER STATUS on MariaDB), or a GTID set of this server";

/// A file that never was there is a mistake, and one that is gone is a loss; nobody can tell them apart.
async fn check_file(server: &mut Server, position: &FilePosition) -> Result<(), Failure> {
    let files: Result<Vec<Row>, _> = server.conn.query("SHOW BINARY LOGS").await;
    let files = files.map_err(|error| server.explain(&error))?;
    let text = |row: &Row, column| super::refusals::text(row, column).unwrap_or_default();
    let name = |row: &Row| text(row, "Log_name");
    let refused = |why: String| {
        let what = format!("source.start = \"{position}\": {why}");
        Err(Failure::definite(Exit::Data, what, CHOOSE_START))
    };
    let Some(file) = files.iter().find(|file| name(file) == position.file) else {
        let known = match (files.first(), files.last()) {
            (Some(first), Some(last)) => format!("; it has {} to {}", name(first), name(last)),
            _ => String::new(),
        };
        return refused(format!(
            "the server has no binlog file {}{known}",
            position.file
        ));
    };
    let size = text(file, "File_size").parse::<u64>();
    match size {
        Ok(size) if size < position.offset => {
            refused(format!("no event begins there, the file ends at {size}"))
        }
        _ => Ok(()),
    }
}

/// Whether a transaction, or what stands between two, begins at a position.
async fn check_event(server: &mut Server, position: &FilePosition) -> Result<(), Failure> {
    const WRONG_OFFSET: u16 = 1220;
    let refused = |why: &str| {
        Failure::definite(
            Exit::Data,
            format!("source.start = \"{position}\": {why}"),
            CHOOSE_START,
        )
    };
    let (file, offset) = (super::refusals::sql_text(&position.file), position.offset);
    let statement = format!("SHOW BINLOG EVENTS IN {file} FROM {offset} LIMIT 1");
    let events: Result<Vec<Row>, _> = server.conn.query(statement).await;
    let events = events.map_err(|error| {
        if super::server::is_server_error(&error, WRONG_OFFSET) {
            refused("no event begins there")
        } else {
            server.explain(&error)
        }
    })?;
    let Some(event) = events.first() else {
        // The end of the file.
        return Ok(());
    };
    let text = |column| super::refusals::text(event, column).unwrap_or_default();
    let (kind, info) = (text("Event_type").to_lowercase(), text("Info"));
    let has_gtid_events =
        server.flavor == Flavor::MariaDb || server.variable("gtid_mode").is_some();
    let begins = match kind.as_str() {
        "format_desc" | "previous_gtids" | "gtid_list" | "binlog_checkpoint"
        | "start_encryption" | "rotate" | "stop" | "anonymous_gtid" | "incident" => true,
        "query" => !has_gtid_events || info.starts_with("BEGIN"),
        other => other.starts_with("gtid"),
    };
    if begins {
        return Ok(());
    }
    Err(refused("a transaction is under way there"))
}

/// Whoever starts after transactions that are still to come never gets them.
async fn check_gtids_are_executed(server: &mut Server, gtids: &GtidSet) -> Result<(), Failure> {
    let executed = server.executed_gtids().await?;
    if executed
        .as_ref()
        .is_none_or(|executed| executed.contains(gtids))
    {
        return Ok(());
    }
    let executed = executed
        .map(|executed| executed.to_string())
        .unwrap_or_default();
    Err(Failure::definite(
        Exit::Data,
        format!(
            "source.start = \"{gtids}\" has transactions that the server has not executed; it has executed \
             \"{executed}\""
        ),
        CHOOSE_START,
    ))
}

/// The rows of a prepared XA transaction are in the binlog where it was prepared, so that who starts
/// behind that has to look back. Most of them end soon: the file of the start is read, and the one before.
async fn look_back(server: &mut Server, start: &FilePosition) -> Result<FilePosition, Failure> {
    let files = server.binlog_files().await?;
    let before = files.iter().take_while(|file| **file != start.file).last();
    let file = before.unwrap_or(&start.file);
    Ok(FilePosition::new(file.clone(), FilePosition::FIRST_OFFSET))
}

async fn something_is_prepared(server: &mut Server) -> bool {
    let prepared: Result<Vec<Row>, _> = server.conn.query("XA RECOVER").await;
    match prepared {
        Ok(rows) => !rows.is_empty(),
        // MySQL has a privilege for the question, which hydrant does not need for anything else.
        Err(error) => {
            debug!("not allowed to look for prepared XA transactions: {error}");
            false
        }
    }
}

/// From a checkpoint: by position on the server that it is of, by GTID on another one that has
/// executed all of its transactions (the new writer after a failover).
pub(super) async fn resume(server: &mut Server, checkpoint: &Checkpoint) -> Result<Mark, Failure> {
    let gtids = checkpoint
        .gtids
        .as_deref()
        .and_then(|text| GtidSet::parse(server.flavor, text).ok());
    let known = gtids.clone().filter(|gtids| !gtids.is_empty());
    let executed = server.executed_gtids().await?;
    let has_them = match (&known, &executed) {
        (Some(known), Some(executed)) => Some(executed.contains(known)),
        (None, _) | (_, None) => None,
    };
    let same_server = checkpoint.server == server.identity;
    if has_them == Some(false) || (!same_server && has_them.is_none()) {
        return Err(Failure::definite(
            Exit::Data,
            format!(
                "the checkpoint is of another server, {}, whose transactions this one, {}, does \
                 not have",
                checkpoint.server.0, server.identity.0
            ),
            "follow the server of the checkpoint or a replica of it; to start anew on this one, \
             delete the checkpoint and choose source.start",
        ));
    }
    // Past 4 GiB a server can only be asked by GTID.
    let mut xa = checkpoint.xa.clone();
    let has_places = xa.with_rows.is_empty() || xa.from.is_some();
    let by_position = |position: &FilePosition| {
        same_server
            && has_places
            && (position.can_be_asked_for() || known.is_none() || !has_gtids(server))
    };
    let mark = match &checkpoint.position {
        Some(position) if by_position(position) => Mark {
            xa,
            sequence: checkpoint.sequence,
            ..Mark::new(server.identity.clone(), Some(position.clone()), gtids)
        },
        _ => {
            check_prepared_can_be_sent(&xa, known.as_ref())?;
            xa.from = None;
            Mark {
                xa,
                sequence: checkpoint.sequence,
                ..Mark::new(server.identity.clone(), None, known)
            }
        }
    };
    if let Some(gtids) = mark.read_after().filter(|_| mark.position.is_none()) {
        check_gtids_are_kept(server, &gtids)?;
    }
    check_file_is_kept(server, &mark).await?;
    Ok(mark)
}

/// Rows of XA transactions that are prepared are read again: elsewhere than by position only from MySQL.
fn check_prepared_can_be_sent(xa: &PreparedXa, known: Option<&GtidSet>) -> Result<(), Failure> {
    if xa.with_rows.is_empty() || (xa.gtids.is_some() && known.is_some()) {
        return Ok(());
    }
    Err(Failure::definite(
        Exit::Data,
        format!(
            "at the checkpoint XA transactions were prepared, and their rows are in another server's \
             binlog, or too far behind: {}",
            xa.with_rows.join("; ")
        ),
        "start once more with the server of the checkpoint if it is there; otherwise delete the \
         checkpoint, choose a source.start before they were prepared, and drop the rows that come twice",
    ))
}

/// MariaDB always has them.
fn has_gtids(server: &Server) -> bool {
    let mode = server.variable("gtid_mode");
    server.flavor == Flavor::MariaDb || mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ON"))
}

fn check_gtids_are_kept(server: &Server, gtids: &GtidSet) -> Result<(), Failure> {
    if !has_gtids(server) {
        return Err(Failure::definite(
            Exit::Config,
            "the server has GTIDs switched off, so it cannot start after a GTID set",
            "set gtid_mode = ON and enforce_gtid_consistency = ON on the server, or start at a \
             position such as binlog.000042:4",
        ));
    }
    let purged = server
        .variable("gtid_purged")
        .and_then(|text| GtidSet::parse(server.flavor, text).ok());
    if purged.is_some_and(|purged| !gtids.contains(&purged)) {
        return Err(purged_failure("transactions after the GTID set"));
    }
    Ok(())
}

async fn check_file_is_kept(server: &mut Server, mark: &Mark) -> Result<(), Failure> {
    let Some(position) = mark.read_from() else {
        return Ok(());
    };
    if server.binlog_files().await?.contains(&position.file) {
        return Ok(());
    }
    let mut what = format!("the binlog file {}", position.file);
    if mark.xa.from.is_some() {
        what.push_str(" with the rows of XA transactions that are still prepared");
    }
    Err(purged_failure(&what))
}

fn purged_failure(what: &str) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("the server does not have {what} any more"),
        "load the missing rows from the table, then delete the checkpoint and choose \
         source.start; and keep binlogs longer (binlog_expire_logs_seconds, on RDS 'binlog \
         retention hours')",
    )
}
