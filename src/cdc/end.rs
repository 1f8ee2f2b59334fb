//! The end of a run that `--until` asks for.

use crate::binlog::{Decoder, FilePosition, GtidSet};
use crate::{Exit, Failure};

use super::Until;
use super::server::{Mark, Server};

/// Where a run ends, or a window: at whichever of the two is reached first.
#[derive(Debug, Default)]
pub(super) struct End {
    position: Option<FilePosition>,
    gtids: Option<GtidSet>,
}

impl End {
    /// At a mark.
    pub(super) fn at(mark: Mark) -> Self {
        let Mark {
            position, gtids, ..
        } = mark;
        Self { position, gtids }
    }

    /// # Errors
    /// If this end can never be reached.
    pub(super) async fn of(
        until: Until,
        start: &Mark,
        server: &mut Server,
    ) -> Result<Self, Failure> {
        Ok(match until {
            Until::Now => Self::at(server.end_of_binlog().await?),
            Until::Position(position) => {
                check_is_there(&position, start, server).await?;
                Self {
                    position: Some(position),
                    gtids: None,
                }
            }
            Until::Gtids(text) => {
                let gtids = text.for_flavor(server.flavor).ok_or_else(|| {
                    Failure::definite(
                        Exit::Usage,
                        "--until is not a GTID set of this server's family",
                        "write a set as the server prints it",
                    )
                })?;
                check_is_executed(&gtids, server).await?;
                Self {
                    position: None,
                    gtids: Some(gtids),
                }
            }
        })
    }

    /// Whether the decoder is there, and between two transactions.
    pub(super) fn is_reached(&self, decoder: &Decoder) -> bool {
        if decoder.transaction().is_some() {
            return false;
        }
        self.is_at(decoder.committed(), decoder.gtids())
    }

    /// Whether it is at this position of its server, or among these transactions.
    pub(super) fn is_at(&self, position: Option<&FilePosition>, gtids: Option<&GtidSet>) -> bool {
        let by_position = match (position, &self.position) {
            (Some(committed), Some(end)) => committed >= end,
            _ => false,
        };
        let by_gtids = match (gtids, &self.gtids) {
            (Some(read), Some(end)) => !end.is_empty() && read.contains(end),
            _ => false,
        };
        by_position || by_gtids
    }
}

/// Transactions that the server has not executed may never come.
async fn check_is_executed(gtids: &GtidSet, server: &mut Server) -> Result<(), Failure> {
    let executed = server.executed_gtids().await?;
    if executed.is_some_and(|executed| executed.contains(gtids)) {
        return Ok(());
    }
    Err(Failure::definite(
        Exit::Data,
        "the server has not executed all transactions of --until",
        "name a part of SELECT @@gtid_executed (MySQL) or @@gtid_binlog_pos (MariaDB)",
    ))
}

/// The place is in the binlog, or is a purged one that is behind the start.
async fn check_is_there(
    position: &FilePosition,
    start: &Mark,
    server: &mut Server,
) -> Result<(), Failure> {
    let files = server.binlog_files().await?;
    let len = files.iter().find(|(name, _)| *name == position.file);
    let base = |name: &str| name.rsplit_once('.').map(|(base, _)| base.to_owned());
    let is_behind = start
        .position
        .as_ref()
        .is_some_and(|start| position <= start && base(&position.file) == base(&start.file));
    let why = match len {
        Some((_, len)) if position.offset <= *len => return Ok(()),
        Some((_, len)) => format!("is past the end of that file, {len}"),
        None if is_behind => return Ok(()),
        None => "is in no binlog file of the server".to_owned(),
    };
    Err(Failure::definite(
        Exit::Data,
        format!("--until {position} {why}"),
        "choose a position that the server has: SHOW BINARY LOGS lists its files and their sizes",
    ))
}
