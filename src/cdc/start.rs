//! Where a run starts in the server's binlog, and whether that part of it is there.

use std::sync::Arc;

use mysql_async::Row;

use crate::binlog::{FilePosition, Flavor, GtidSet};
use crate::config::Start;
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::explain::{binlog_is_off, is_server_error};
use super::kept_binlog::{check_gtids_are_kept, file_of, purged_failure};
use super::resume::resume;
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
        let mark = resume(server, checkpoint).await?;
        return Ok(Mark {
            backfill: Arc::new(checkpoint.backfilled()),
            ..mark
        });
    }
    let mark = match start {
        Start::Latest => {
            // Some may be prepared, or end, between the question and its answer.
            let before = something_is_prepared(server).await?;
            let mut mark = server.end_of_binlog().await?;
            if let Some(position) = &mark.position
                && (before || something_is_prepared(server).await?)
            {
                mark.xa.from = Some(look_back(server, position).await?);
            }
            mark
        }
        Start::Earliest => {
            let files = server.binlog_files().await?;
            let (oldest, _) = files.into_iter().next().ok_or_else(binlog_is_off)?;
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

/// A file that never was there is a mistake, and one that is gone is a loss; they cannot be told apart.
async fn check_file(server: &mut Server, position: &FilePosition) -> Result<(), Failure> {
    let files = server.ask("SHOW BINARY LOGS", ()).await?;
    let text = |row: &Row, column| super::refusals::text(row, column).unwrap_or_default();
    let name = |row: &Row| text(row, "Log_name");
    let Some(file) = files.iter().find(|file| name(file) == position.file) else {
        let known = match (files.first(), files.last()) {
            (Some(first), Some(last)) => format!("; it has {} to {}", name(first), name(last)),
            _ => String::new(),
        };
        let (start, file) = (position, &position.file);
        return Err(Failure::definite(
            Exit::Data,
            format!("source.start = \"{start}\": the server has no binlog file {file}{known}"),
            CHOOSE_START,
        ));
    };
    let size = text(file, "File_size").parse::<u64>();
    match size {
        Ok(size) if size < position.offset => {
            let why = format!("it is past the end of the file, {size}");
            Err(wrong_offset(position, &why))
        }
        _ => Ok(()),
    }
}

/// Whether a transaction, or what stands between two, begins at a position.
async fn check_event(server: &mut Server, position: &FilePosition) -> Result<(), Failure> {
    const WRONG_OFFSET: u16 = 1220;
    let no_event = || wrong_offset(position, "no event begins there");
    let (file, offset) = (super::refusals::sql_text(&position.file), position.offset);
    let statement = format!("SHOW BINLOG EVENTS IN {file} FROM {offset} LIMIT 1");
    let events = server.try_ask(&statement, ()).await?;
    let events = events.map_err(|error| {
        if is_server_error(&error, WRONG_OFFSET) {
            no_event()
        } else {
            server.explain(&error)
        }
    })?;
    let Some(event) = events.first() else {
        // The end of the file.
        return Ok(());
    };
    let text = |column| super::refusals::text(event, column).unwrap_or_default();
    // Near the begin of a file MySQL gives the next event.
    if text("Pos").parse() != Ok(offset) {
        return Err(no_event());
    }
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
    Err(wrong_offset(position, "a transaction is under way there"))
}

fn wrong_offset(position: &FilePosition, why: &str) -> Failure {
    let file = super::refusals::sql_text(&position.file);
    Failure::definite(
        Exit::Data,
        format!("source.start = \"{position}\": {why}"),
        format!(
            "SHOW BINLOG EVENTS IN {file} lists where events begin (Pos): choose one of the type Gtid or \
             Anonymous_Gtid, at which a transaction begins, or the end of the file; or {CHOOSE_START}"
        ),
    )
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
    let names = files.iter().map(|(name, _)| name);
    let before = names.take_while(|file| **file != start.file).last();
    let file = before.unwrap_or(&start.file);
    Ok(FilePosition::new(file.clone(), FilePosition::FIRST_OFFSET))
}

/// MySQL has a privilege for the question, which hydrant does not need for anything else.
async fn something_is_prepared(server: &mut Server) -> Result<bool, Failure> {
    let prepared = server.ask_if_allowed("XA RECOVER").await?;
    Ok(prepared.is_some_and(|rows| !rows.is_empty()))
}

async fn check_file_is_kept(server: &mut Server, mark: &Mark) -> Result<(), Failure> {
    let Some(position) = mark.read_from() else {
        return Ok(());
    };
    let files = server.binlog_files().await?;
    if files.iter().any(|(name, _)| *name == position.file) {
        return Ok(());
    }
    Err(purged_failure(&file_of(mark, position)))
}
