//! `hydrant cdc`: the agent.
//!
//! What lives here: the connection to the database and what must be true of it (`server`,
//! `preflight`, `reader`), the checkpoint (`checkpoint`) and where a run starts (`start`), each
//! table's open batch (`tables`), the numbers of lines (`sequence`), the batches under way (`flow`),
//! what leads from an event to them (`pipeline`), and the one loop (`agent`) that ties them together
//! until a run ends (`end`).

mod agent;
mod announce;
mod checked_table;
mod checkpoint;
mod end;
mod flow;
mod invalid_text;
mod open_lines;
mod packed;
mod pipeline;
mod preflight;
mod reader;
mod refusals;
mod remedies;
mod sequence;
mod server;
mod shapes;
mod start;
mod tables;
mod versioned;

use std::str::FromStr;

use tracing::info;

use crate::Error;
use crate::config::{Config, Sink as SinkConfig};
use crate::sink::{DirSink, FirehoseSink, Sink, StdoutSink};

use agent::Agent;
pub use agent::Summary;
pub(crate) use checked_table::CheckedTable;
pub use checkpoint::{Checkpoint, CheckpointStore};
pub(crate) use pipeline::{Pipeline, folders, table_names};
pub use preflight::Preflight;
pub(crate) use preflight::check_tables;
pub use server::{Identity, Mark, Server};
pub(crate) use shapes::KnownShapes;

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
/// As for [`run`].
pub async fn run_to<S: Sink>(
    config: Config,
    sink: S,
    until: Option<Until>,
) -> Result<Summary, Error> {
    let store = CheckpointStore::open(&config.checkpoint)?;
    let checked = Preflight::run(&config).await?;
    let agent = Agent::start(config, checked, store, sink, until).await?;
    agent.run().await
}

/// Runs the agent until `until`, SIGTERM, SIGINT or an error.
///
/// # Errors
/// Whatever must be mended before it can go on; see [`Error::exit`].
pub async fn run(config: Config, until: Option<Until>) -> Result<Summary, Error> {
    let store = CheckpointStore::open(&config.checkpoint)?;
    let checked = Preflight::run(&config).await?;
    let max_in_flight = config.max_in_flight;
    let summary = match config.sink.clone() {
        SinkConfig::Firehose(firehose) => {
            let sink = FirehoseSink::connect(&firehose).await?;
            Agent::start(config, checked, store, sink, until)
                .await?
                .run()
                .await
        }
        SinkConfig::Dir { path } => {
            let sink = DirSink::open(&path, folders(&checked.tables), max_in_flight)?;
            Agent::start(config, checked, store, sink, until)
                .await?
                .run()
                .await
        }
        SinkConfig::Stdout => {
            Agent::start(config, checked, store, StdoutSink, until)
                .await?
                .run()
                .await
        }
    }?;
    info!("{summary}");
    Ok(summary)
}
