//! Continuing from a checkpoint: by position on the server that it is of, by GTID on another one that has
//! executed all of its transactions (the new writer after a failover), and on the same one if the file is gone
//! and the GTIDs prove that nothing in it is missing.
//!
//! Whether the server's history is the one that was read is looked at in [`super::lineage`].

use std::sync::Arc;

use crate::binlog::{FilePosition, Flavor, GtidSet, Lineage, PreparedXa};
use crate::{Exit, Failure};

use super::checkpoint::Checkpoint;
use super::kept_binlog::{check_gtids_are_kept, file_of, has_gtids, purged_failure};
use super::lineage::{end_of_last, restored};
use super::server::{Mark, Server};

/// Most bytes of a GTID set in a message.
const LONGEST_SET: usize = 400;

/// From where the server is asked to send.
///
/// # Errors
/// If it does not have what was read before, or not any more what follows it.
pub(super) async fn resume(server: &mut Server, checkpoint: &Checkpoint) -> Result<Mark, Failure> {
    let same_server = checkpoint.server == server.identity;
    let gtids = gtids_of(server, checkpoint)?;
    let known = gtids.clone().filter(|gtids| !gtids.is_empty());
    let executed = server.executed_gtids().await?;
    match (&known, &executed) {
        (Some(known), Some(executed)) => {
            let missing = known.without(executed);
            if !missing.is_empty() {
                let common = known.without(&missing);
                return Err(lacking(server, checkpoint, (&missing, &common), executed));
            }
        }
        (None, _) | (_, None) if same_server => {}
        (None, _) | (_, None) => {
            return Err(Failure::definite(
                Exit::Data,
                format!(
                    "the checkpoint is of another server, {}, and without GTIDs it is unknown where the \
                     following transactions are on this one, {}",
                    checkpoint.server.0, server.identity.0
                ),
                "follow the server of the checkpoint; to start anew on this one, delete the \
                 checkpoint and choose source.start",
            ));
        }
    }
    let mark = Mark {
        xa: checkpoint.xa.clone(),
        sequence: checkpoint.sequence,
        columns: Arc::new(checkpoint.columns.clone()),
        confirmed_ids: Arc::new(checkpoint.confirmed_ids.clone()),
        lineage: if same_server {
            checkpoint.lineage.clone()
        } else {
            Lineage::default()
        },
        ..Mark::new(server.identity.clone(), checkpoint.position.clone(), gtids)
    };
    let mut gone = None;
    if same_server && let Some(position) = position_to_ask_for(server, &mark, known.is_some()) {
        match place(server, &mark, &position).await? {
            Ok(()) => return Ok(mark),
            Err(failure) => gone = Some(failure),
        }
        // A crash can take what a server has written behind the last transaction.
        if let Some(end) = end_of_last(&mark) {
            let lineage = Lineage {
                file_begun: None,
                ..mark.lineage.clone()
            };
            let position = Some(end.clone());
            let mark = Mark {
                position,
                lineage,
                ..mark.clone()
            };
            if place(server, &mark, &end).await?.is_ok() {
                return Ok(mark);
            }
        }
    }
    by_gtid(server, mark).map_err(|failure| gone.unwrap_or(failure))
}

/// The checkpoint's GTIDs, as this server's family writes them.
fn gtids_of(server: &Server, checkpoint: &Checkpoint) -> Result<Option<GtidSet>, Failure> {
    let unusable = |why: &str| {
        Failure::definite(
            Exit::Data,
            format!("the checkpoint of the server {} {why}", checkpoint.server.0),
            "point source.url to that server, or give this one a checkpoint.path of its own; if the checkpoint is \
             damaged, restore it from a backup, or delete it and choose source.start with care",
        )
    };
    let Some(text) = &checkpoint.gtids else {
        return match checkpoint.position {
            Some(_) => Ok(None),
            None => Err(unusable("has neither a position nor GTIDs")),
        };
    };
    let gtids = GtidSet::parse(server.flavor, text);
    gtids
        .map(Some)
        .map_err(|_| unusable("has GTIDs that cannot be read as those of this server's family"))
}

/// MariaDB counts anew with a new name of its binlog.
const RENAMED: &str = "; if only log_bin was given another name, and nothing was written since: stop the server, copy \
                       the file OLDNAME.state beside its binlogs to NEWNAME.state, which has its GTIDs, and start both again";

/// The server has not executed what was read.
fn lacking(
    server: &Server,
    checkpoint: &Checkpoint,
    (missing, common): (&GtidSet, &GtidSet),
    executed: &GtidSet,
) -> Failure {
    let mut missing = missing.to_string();
    if missing.len() > LONGEST_SET {
        missing.truncate(LONGEST_SET);
        missing.push_str(" and more");
    }
    let (was, is) = (&checkpoint.server.0, &server.identity.0);
    if was == is {
        let mut failure = restored(&format!(
            "the server {is} does not have transactions that were read from it: {missing}"
        ));
        if server.flavor == Flavor::MariaDb && executed.is_empty() {
            failure.remedy.push_str(RENAMED);
        }
        return failure;
    }
    let common = common.to_string();
    // MariaDB's numbers alone do not say that transactions are the same.
    let start = if server.flavor == Flavor::MySql && (1..=LONGEST_SET).contains(&common.len()) {
        format!(
            "set source.start = \"{common}\", which are those that both have; rows of the others are delivered already"
        )
    } else {
        "choose source.start".to_owned()
    };
    Failure::uncertain(
        Exit::Data,
        format!(
            "the checkpoint is of another server, {was}, and this one, {is}, does not have these of \
             its transactions: {missing}"
        ),
        format!(
            "if it is a replica that has not caught up, start again when it has; else follow the server of the \
             checkpoint or a replica of it; to start anew on this one, delete the checkpoint and {start}"
        ),
    )
}

/// The position from which the server can be asked; `None` if only GTIDs say where.
fn position_to_ask_for(server: &Server, mark: &Mark, has_set: bool) -> Option<FilePosition> {
    let has_places = mark.xa.with_rows.is_empty() || mark.xa.from.is_some();
    // Past 4 GiB a server can only be asked by GTID.
    let reachable = |position: &&FilePosition| {
        has_places && (position.can_be_asked_for() || !has_set || !has_gtids(server))
    };
    mark.position.as_ref().filter(reachable).cloned()
}

/// Whether the server has the place, and if not, why.
async fn place(
    server: &mut Server,
    mark: &Mark,
    position: &FilePosition,
) -> Result<Result<(), Failure>, Failure> {
    let files = server.binlog_files().await?;
    let newest = files
        .last()
        .map(|(name, len)| FilePosition::new(name.clone(), *len));
    for wanted in [mark.read_from(), Some(position)].into_iter().flatten() {
        let len = files
            .iter()
            .find(|(name, _)| *name == wanted.file)
            .map(|(_, len)| *len);
        if len.is_some_and(|len| wanted.offset <= len) {
            continue;
        }
        let is_ahead = len.is_some() || newest.as_ref().is_some_and(|newest| wanted > newest);
        return Ok(Err(if is_ahead {
            restored(&format!(
                "{wanted}, where was read before, is past the end of the binlog"
            ))
        } else {
            purged_failure(&file_of(mark, wanted))
        }));
    }
    Ok(Ok(()))
}

/// The same place by GTID.
fn by_gtid(server: &Server, mark: Mark) -> Result<Mark, Failure> {
    check_prepared_can_be_sent(&mark.xa, mark.gtids.as_ref())?;
    let mut mark = mark;
    mark.position = None;
    mark.xa.from = None;
    // Another server has other numbers for its tables, and one that has lost files may have been started in between.
    mark.confirmed_ids = Arc::default();
    match mark.read_after() {
        Some(gtids) => check_gtids_are_kept(server, &gtids)?,
        None => return Err(purged_failure("the checkpoint's position")),
    }
    Ok(mark)
}

/// Rows of XA transactions that are prepared are read again: elsewhere than by position only from MySQL.
fn check_prepared_can_be_sent(xa: &PreparedXa, known: Option<&GtidSet>) -> Result<(), Failure> {
    if xa.with_rows.is_empty() || (xa.gtids.is_some() && known.is_some_and(|set| !set.is_empty())) {
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
