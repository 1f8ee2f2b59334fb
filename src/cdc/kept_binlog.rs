//! What the server must still have of its binlog, and what to do if it has purged it.

use crate::binlog::{FilePosition, Flavor, GtidSet};
use crate::{Exit, Failure};

use super::server::{Mark, Server};

/// MariaDB always has them.
pub(crate) fn has_gtids(server: &Server) -> bool {
    let mode = server.variable("gtid_mode");
    server.flavor == Flavor::MariaDb || mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ON"))
}

pub(super) fn check_gtids_are_kept(server: &Server, gtids: &GtidSet) -> Result<(), Failure> {
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

/// The file that has to be there, and what for.
pub(super) fn file_of(mark: &Mark, position: &FilePosition) -> String {
    let mut what = format!("the binlog file {}", position.file);
    if mark.xa.from.is_some() {
        what.push_str(" with the rows of XA transactions that are still prepared");
    }
    what
}

pub(super) fn purged_failure(what: &str) -> Failure {
    Failure::definite(
        Exit::Data,
        format!("the server does not have {what} any more"),
        "load the missing rows from the table, then delete the checkpoint and choose \
         source.start; and keep binlogs longer (binlog_expire_logs_seconds, on RDS 'binlog \
         retention hours')",
    )
}
