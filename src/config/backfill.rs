//! How rows that were there before are read.

use std::num::NonZeroU32;
use std::time::Duration;

use super::duration::at_least;
use super::{ConfigError, Table, raw};

/// Connections for it.
const DEFAULT_CONNECTIONS: u32 = 2;
const MOST_CONNECTIONS: u32 = 32;
/// As many as tools that change schemas online stop at, too.
const DEFAULT_THREADS_RUNNING: NonZeroU32 = NonZeroU32::new(25).unwrap();
const DEFAULT_REPLICA_LAG: Duration = Duration::from_secs(30);

/// Whether the rows that a table has are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableBackfill {
    /// They are not.
    #[default]
    No,
    /// They are, once.
    Once,
    /// They are, though they have been.
    Again,
}

impl TableBackfill {
    pub(super) fn of(is_wanted: bool) -> Self {
        if is_wanted { Self::Once } else { Self::No }
    }

    /// Whether they are read.
    #[must_use]
    pub fn is_wanted(self) -> bool {
        self != Self::No
    }

    /// Whether that they have been read is no reason not to.
    #[must_use]
    pub fn is_again(self) -> bool {
        self == Self::Again
    }
}

/// How tables are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    /// Connections that read at once; 1 to 32.
    pub connections: u32,
    /// Rows a second, over all connections; `None` is as many as there are.
    pub rows_per_second: Option<NonZeroU32>,
    /// None are read while more threads of the server are running.
    pub max_threads_running: NonZeroU32,
    /// None are read while a server that is a replica is further behind its source.
    pub max_replica_lag: Duration,
    /// Tables may be locked against writes for a moment, where nothing else tells what a SELECT sees.
    pub lock_tables: bool,
}

impl Default for Backfill {
    fn default() -> Self {
        Self {
            connections: DEFAULT_CONNECTIONS,
            rows_per_second: None,
            max_threads_running: DEFAULT_THREADS_RUNNING,
            max_replica_lag: DEFAULT_REPLICA_LAG,
            lock_tables: false,
        }
    }
}

pub(super) fn validate(raw: &raw::Backfill) -> Result<Backfill, ConfigError> {
    let connections = raw.connections.unwrap_or(DEFAULT_CONNECTIONS);
    if !(1..=MOST_CONNECTIONS).contains(&connections) {
        return Err(ConfigError::at(
            "backfill.connections",
            "out of range",
            format!(
                "give 1 to {MOST_CONNECTIONS}; two read as fast as most servers can without harm to others"
            ),
        ));
    }
    let rate = raw.rows_per_second.map(NonZeroU32::new);
    if rate == Some(None) {
        return Err(ConfigError::at(
            "backfill.rows_per_second",
            "no row is ever read",
            "give at least 1, or leave it out",
        ));
    }
    let threads = raw.max_threads_running.map(NonZeroU32::new);
    if threads == Some(None) {
        return Err(ConfigError::at(
            "backfill.max_threads_running",
            "no row is ever read",
            "give at least 1; a number that is never reached is no limit",
        ));
    }
    Ok(Backfill {
        connections,
        rows_per_second: rate.flatten(),
        max_threads_running: threads.flatten().unwrap_or(DEFAULT_THREADS_RUNNING),
        max_replica_lag: at_least(
            "backfill.max_replica_lag",
            raw.max_replica_lag,
            DEFAULT_REPLICA_LAG,
            Duration::from_secs(1),
        )?,
        lock_tables: raw.lock_tables,
    })
}

/// Has tables read that the command line names.
pub(crate) fn read_again(tables: &mut [Table], names: &[String]) -> Result<(), ConfigError> {
    for name in names {
        let mut tables = tables.iter_mut();
        let table = tables
            .find(|table| format!("{}.{}", table.schema, table.name).eq_ignore_ascii_case(name));
        let table = table.ok_or_else(|| {
            ConfigError::at(
                "table",
                format!("--backfill names {name}, which is not followed"),
                "add it to the configuration, or correct the name: schema.table",
            )
        })?;
        table.backfill = TableBackfill::Again;
    }
    Ok(())
}
