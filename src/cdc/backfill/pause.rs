//! When the server is to be left alone, so that no part of a table is read.
//!
//! What lives here: what the server is asked about its load, and when it is too much. What does not: how long a pause is
//! ([`super`]).

use std::fmt;
use std::time::Duration;

use mysql_async::Row;
use tracing::warn;

use crate::Failure;
use crate::binlog::{FilePosition, Flavor};
use crate::cdc::refusals::{replica_status, text};
use crate::cdc::server::{Server, cell};
use crate::config;

const THREADS: &str = "SHOW GLOBAL STATUS LIKE 'Threads_running'";

/// Why no part is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// So many threads of the server are not idle.
    Threads { running: u64, limit: u32 },
    /// The server is a replica, and so far behind its source.
    Lag { behind: Duration, limit: Duration },
    /// The binlog that is still to be delivered is among the oldest that the server has.
    Purge { files_before: usize, files: usize },
}

impl Pause {
    /// Whether it is for the same reason.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads { running, limit } => write!(
                f,
                "{running} threads of the server are running, more than backfill.max_threads_running = {limit}"
            ),
            Self::Lag { behind, limit } => write!(
                f,
                "the server is {behind:?} behind its source, more than backfill.max_replica_lag = {limit:?}"
            ),
            Self::Purge {
                files_before,
                files,
            } => write!(
                f,
                "the binlog goes first, because the server may soon purge what is not delivered yet: only {files_before} of its \
                 {files} binlog files are older"
            ),
        }
    }
}

/// What is looked at.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) settings: config::Backfill,
    /// From where the binlog would be read again after a restart, if it is to be known whether it will be there.
    pub(super) needed_from: Option<FilePosition>,
}

impl Look {
    /// Whether the server is to be left alone, and why.
    ///
    /// # Errors
    /// If it does not answer in time.
    pub(super) async fn at(&self, server: &mut Server) -> Result<Option<Pause>, Failure> {
        if let Some(needed_from) = &self.needed_from {
            let files = server.binlog_files().await?;
            let files: Vec<FilePosition> = files
                .into_iter()
                .map(|(file, _)| FilePosition::new(file, 0))
                .collect();
            if let Some(pause) = near_purge(&files, needed_from) {
                return Ok(Some(pause));
            }
        }
        let limit = self.settings.max_threads_running.get();
        let running = threads_running(server).await?;
        if let Some(running) = running.filter(|running| *running > u64::from(limit)) {
            return Ok(Some(Pause::Threads { running, limit }));
        }
        let limit = self.settings.max_replica_lag;
        let behind = replica_lag(server).await?.unwrap_or_default();
        Ok((behind > limit).then_some(Pause::Lag { behind, limit }))
    }
}

/// Whether the server has purged files, and the one that is needed is in the oldest quarter of those that are left.
fn near_purge(files: &[FilePosition], needed_from: &FilePosition) -> Option<Pause> {
    let number = |file: &FilePosition| file.file.rsplit_once('.')?.1.parse::<u64>().ok();
    let oldest = number(files.first()?)?;
    let base = |file: &FilePosition| file.file.rsplit_once('.').map(|(base, _)| base.to_owned());
    if oldest <= 1 || base(files.first()?) != base(needed_from) {
        return None;
    }
    let is_older = |file: &&FilePosition| number(file) < number(needed_from);
    let files_before = files.iter().filter(is_older).count();
    let files_behind = files.len().saturating_sub(files_before + 1);
    let is_near = files_behind >= 2 && 3 * files_before <= files_behind;
    is_near.then_some(Pause::Purge {
        files_before,
        files: files.len(),
    })
}

async fn threads_running(server: &mut Server) -> Result<Option<u64>, Failure> {
    let rows = server.ask_if_allowed(THREADS).await?.unwrap_or_default();
    let text: Option<String> = match rows.first() {
        Some(row) => cell(row, 1, THREADS)?,
        None => None,
    };
    Ok(text.and_then(|text| text.parse().ok()))
}

/// How far the server is behind the source that it is behind most, beyond a delay that is wanted. A server that is no replica,
/// or one that applies nothing now, is not. `None` if the user may not ask.
async fn replica_lag(server: &mut Server) -> Result<Option<Duration>, Failure> {
    let sources = replica_status(server).await?.ok();
    Ok(sources.map(|sources| sources.iter().filter_map(lag_of).max().unwrap_or_default()))
}

fn lag_of(source: &Row) -> Option<Duration> {
    let seconds = |name| text(source, name)?.parse::<u64>().ok();
    let behind = seconds("Seconds_Behind_Source").or_else(|| seconds("Seconds_Behind_Master"))?;
    let wanted = seconds("SQL_Delay").unwrap_or(0);
    Some(Duration::from_secs(behind.saturating_sub(wanted)))
}

/// Says what cannot be known about the server's load.
///
/// # Errors
/// If it does not answer in time.
pub(super) async fn warn_of_unknown(server: &mut Server) -> Result<(), Failure> {
    if threads_running(server).await?.is_none() {
        warn!(
            "backfill: the server does not tell how many of its threads are running, so that backfill.max_threads_running has no \
             effect"
        );
    }
    if replica_lag(server).await?.is_none() {
        let privilege = match server.flavor {
            Flavor::MySql => "REPLICATION CLIENT",
            Flavor::MariaDb => "REPLICA MONITOR",
        };
        warn!(
            "backfill: the user may not ask whether the server is a replica that is behind, so that backfill.max_replica_lag has \
             no effect; GRANT {privilege} ON *.* to hydrant's user if the server is a replica"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(oldest: u32, newest: u32, needed: &str) -> bool {
        let files = (oldest..=newest).map(|it| FilePosition::new(format!("binlog.{it:06}"), 0));
        let files: Vec<_> = files.collect();
        near_purge(&files, &FilePosition::new(needed, 4711)).is_some()
    }

    #[test]
    fn the_oldest_quarter_of_what_is_left_is_near_its_purge() {
        assert!(is_near(7, 9, "binlog.000007"));
        assert!(!is_near(7, 8, "binlog.000007"));
        assert!(!is_near(7, 9, "binlog.000008"));
        assert!(is_near(101, 140, "binlog.000110"));
        assert!(!is_near(101, 140, "binlog.000111"));
        // It is gone already.
        assert!(is_near(7, 9, "binlog.000006"));
        assert!(is_near(999_998, 1_000_002, "binlog.999999"));
    }

    #[test]
    fn nothing_is_near_where_nothing_was_purged_or_another_server_has_the_files() {
        assert!(!is_near(1, 40, "binlog.000001"));
        assert!(!is_near(7, 9, "other.000007"));
        assert_eq!(
            near_purge(&[], &FilePosition::new("binlog.000007", 4)),
            None
        );
    }
}
