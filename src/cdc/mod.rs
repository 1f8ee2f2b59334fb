//! `hydrant cdc`: the agent.
//!
//! What lives here: the connection to the database and what must be true of it (`server`,
//! `preflight`, `refusals`, `findings`, `described`, `stream`, `reader`), what only it knows of a table while its binlog is read
//! (`server_columns`, `asker`) and the layouts of lines (`layouts`, `definition_code`), tables that
//! patterns mean (`listed`, `new_tables`), what keeps
//! masked and excluded columns from being written under other names (`guard`), the checkpoint (`checkpoint`, `claim`, `store`), where
//! a run starts (`start`, `resume`, `kept_binlog`), if the server's history is the one that was read (`lineage`), each
//! table's open batch (`tables`), the numbers of lines (`sequence`), the batches under way (`flow`), where lines go that the sink
//! does not take (`dead_letters`), what
//! leads from an event to them (`pipeline`), its numbers (`progress`), and the one loop (`agent`) that ties them together until a run
//! ends (`end`).

mod agent;
mod announce;
mod asker;
mod backfill;
mod checked_table;
mod checkpoint;
mod claim;
mod column_source;
mod dead_letters;
mod definition_code;
mod described;
mod end;
mod explain;
mod findings;
mod flow;
mod guard;
mod invalid_text;
mod kept_binlog;
mod layouts;
mod lineage;
mod listed;
mod new_tables;
mod objects;
mod open_lines;
mod packed;
mod pipeline;
mod prefix;
mod preflight;
mod progress;
mod reader;
mod refusals;
pub(crate) mod remedies;
mod resume;
mod retry;
mod sequence;
mod server;
mod server_columns;
mod start;
mod store;
mod stream;
mod table_folders;
mod tables;
mod versioned;

use std::future::{Future, ready};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use uuid::Uuid;

use crate::config::{self, Config};
use crate::signals::Signals;
use crate::sink::{self, Publishing, Sink};
use crate::{Error, Exit, Failure};

use agent::{Agent, unfinished};
pub(crate) use backfill::{
    Chunk, PartEnd, ScanRange, ScanReader, ScannedPart, TableProgress, TableScan,
};
pub(crate) use checked_table::CheckedTable;
pub use checkpoint::{Checkpoint, CheckpointStore};
pub use findings::{Finding, Findings};
pub(crate) use kept_binlog::has_gtids;
pub use layouts::AcceptedChange;
pub(crate) use layouts::KnownLayouts;
pub(crate) use new_tables::NewTables;
pub(crate) use pipeline::{Pipeline, table_names};
pub use preflight::Preflight;
pub(crate) use preflight::check_tables;
pub use progress::{AgentSummary, Progress};
pub use server::{Identity, Mark, Server};
pub(crate) use store::Onlooker;
use store::Store;
pub(crate) use table_folders::folders;

/// Where a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// Where the server stands when the run starts.
    Now,
    /// At a position.
    Position(crate::binlog::FilePosition),
    /// When these transactions are behind the reader.
    Gtids(crate::config::GtidText),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        use crate::config::{Start, parse_position};
        if text == "now" {
            return Ok(Self::Now);
        }
        match parse_position(text) {
            Some(Start::Position(position)) => Ok(Self::Position(position)),
            Some(Start::Gtids(gtids)) => Ok(Self::Gtids(gtids)),
            _ => Err("write now, a position such as binlog.000042:4, or a GTID set".to_owned()),
        }
    }
}

/// Runs the agent with a sink of the caller's choice, whatever the configuration names.
///
/// # Errors
/// What must be fixed before it can continue; see [`Error::exit`].
pub async fn run_to<S: Sink>(
    config: Config,
    sink: S,
    until: Option<Until>,
) -> Result<AgentSummary, Error> {
    let open = |_: &_, _: &_| ready(Ok(sink));
    run_with(config, until, &[], Signals::new()?, open).await
}

/// Runs the agent until `until`, a signal that stops it, or an error.
///
/// # Errors
/// What must be fixed before it can continue; see [`Error::exit`].
pub(crate) async fn run(
    config: Config,
    until: Option<Until>,
    accepted: &[AcceptedChange],
    signals: Signals,
) -> Result<(), Error> {
    let (sink, partitions) = (config.sink.clone(), config.partitions.clone());
    let sizes = (config.flush_interval, config.max_in_flight);
    let open = |checked: &Preflight, stored: &Stored| {
        let folders = folders(&sink, &partitions, &checked.tables);
        let owner = stored.owner;
        let mut sink = sink.clone();
        if let config::Sink::Firehose(firehose) = &mut sink {
            let streams = checked.listed.tables.iter();
            firehose.expected = streams.filter_map(|table| table.stream.clone()).collect();
        }
        async move { sink::open(&sink, folders, Some(owner), sizes).await }
    };
    let running = Box::pin(run_with(config, until, accepted, signals, open));
    let summary = running.await?;
    info!("{summary}");
    Ok(())
}

/// What runs before have left.
struct Stored {
    store: Arc<Store>,
    loaded: Option<Checkpoint>,
    /// Whose staged objects a sink has.
    owner: Uuid,
}

impl Stored {
    /// As [`CheckedTable::refuse_other_count`], of each table.
    fn check_counts(&self, tables: &[CheckedTable]) -> Result<(), Failure> {
        let written = self.loaded.as_ref().map(|loaded| &loaded.written);
        let mut tables = tables.iter();
        tables.try_for_each(|table| {
            let written = written.and_then(|written| written.get(&table.full_name()));
            table.refuse_other_count(written)
        })
    }

    /// Publishes what is committed and may not be visible yet, whatever is configured now.
    async fn finish(&self) -> Result<(), Failure> {
        let sealed = self.loaded.iter().flat_map(|loaded| &loaded.sealed);
        let mut publishing = Publishing::with_patience(Duration::ZERO);
        let mut left = 0;
        for object in sealed {
            publishing.begin(object.clone(), false);
            left += 1;
        }
        if left > 0 {
            info!("publishing {left} objects that were committed before this start");
        }
        for _ in 0..left {
            publishing.next().await?;
        }
        Ok(())
    }
}

/// The start, which a signal may end at any time, and the run. The sink is opened once the tables
/// are known.
async fn run_with<S: Sink, Opening: Future<Output = Result<S, Failure>>>(
    config: Config,
    until: Option<Until>,
    accepted: &[AcceptedChange],
    mut signals: Signals,
    open: impl FnOnce(&Preflight, &Stored) -> Opening,
) -> Result<AgentSummary, Error> {
    let is_job = until.is_some();
    let ended_early = || {
        if is_job {
            return Err(unfinished().into());
        }
        Ok(AgentSummary::default())
    };
    // What is wrong with the configuration or the server is to be known before the night in which it matters.
    let standing_by = async |checkpoint: Option<Checkpoint>| {
        Preflight::run(&config, checkpoint.as_ref()).await.map(drop)
    };
    let opening = Box::pin(Store::open(&config.checkpoint, config.lease, standing_by));
    let Some(opened) = signals.unless_stopped(opening).await else {
        return ended_early();
    };
    let (store, loaded) = opened?;
    let store = Arc::new(store);
    let kept = Arc::clone(&store);
    let starting = async {
        let owner = loaded.as_ref().and_then(|loaded| loaded.owner);
        let stored = Stored {
            store,
            owner: owner.unwrap_or_else(Uuid::new_v4),
            loaded,
        };
        // They are committed, whether or not there is a server to follow.
        stored.finish().await?;
        let mut checked = Preflight::run(&config, stored.loaded.as_ref()).await?;
        accept(&mut checked.tables, &mut checked.new_tables, accepted)?;
        stored.check_counts(&checked.tables)?;
        let sink = open(&checked, &stored).await?;
        let limit = sink.profile().limits.row_bytes;
        let letters = dead_letters::open(&config, &checked.tables, limit).await?;
        Agent::start(config, checked, stored, (sink, letters), until).await
    };
    let starting = Box::pin(async {
        tokio::select! {
            agent = starting => agent,
            lost = kept.keep() => Err(lost.into()),
        }
    });
    let outcome = match signals.unless_stopped(starting).await {
        Some(Ok(agent)) => agent.run(signals).await,
        Some(Err(error)) => Err(error),
        None => ended_early(),
    };
    kept.give_up().await;
    outcome
}

/// The server, and all tables that are followed on it now, also those that patterns mean.
///
/// # Errors
/// All that keeps an agent from following them.
pub(crate) async fn followed_tables(
    config: &Config,
    checkpoint: &Checkpoint,
) -> Result<(Server, Vec<CheckedTable>), Error> {
    let Preflight {
        mut server,
        mut tables,
        listed,
        ..
    } = Preflight::run(config, Some(checkpoint)).await?;
    let mut findings = Findings::default();
    let layouts = checkpoint.layouts();
    let more = check_tables(&mut server, &listed.tables, &layouts, &mut findings).await;
    tables.extend(findings.conclude(more)?);
    Ok((server, tables))
}

/// Tells the tables which of their changes the operator has accepted.
pub(crate) fn accept(
    tables: &mut [CheckedTable],
    new_tables: &mut NewTables,
    accepted: &[AcceptedChange],
) -> Result<(), Failure> {
    for change in accepted {
        let AcceptedChange { table: name, code } = change;
        let mut found = tables.iter_mut();
        match found.find(|table| table.full_name().eq_ignore_ascii_case(name)) {
            Some(table) => table.accepted.push(*code),
            None if new_tables.means(name) => new_tables.accepted.push(change.clone()),
            None => {
                return Err(Failure::definite(
                    Exit::Usage,
                    format!("--accept-change names {name}, which is not followed"),
                    "copy the option from the message that stopped the agent",
                ));
            }
        }
    }
    Ok(())
}
