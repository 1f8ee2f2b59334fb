//! `hydrant load`: load tests with an open loop, and their reports.
//!
//! What lives here: what a stream, a database or an account takes, found out by sending at a planned
//! rate. PURE are `plan` and `schedule` (which row is meant for when), `rows` (what is sent),
//! `record` (what happened, by the second), `verdict`, `knee`, `price`, `answers` and `compare` (what it
//! means), `report`, `text`, `chart`, `plots` and `page` (how it is told). Around them, `drive` is the loop, `session` its
//! clock and books, `watch` counts at the sink, `target` is who takes the rows, `machine` and
//! `live` look at this process and show it, `output` writes files. `metrics` loads the poller
//! instead, and `mysql` a database with the agent behind it: `sales_writer` inserts, `markers` sees
//! rows at the sink and on disk, `follow` (PURE) knows them. What does not live here: the client that is judged
//! ([`crate::sink`]) and the simulator ([`crate::sim`]).
//!
//! ```text
//! RatePlan ─ Schedule ─ RowMaker ─ Batch ─ Delivery ─ Watched ─ FirehoseSink ─ target
//!    intended times │                        │ acknowledged        │ counted
//!                   └───────── Recorder ◄────┴─────────────────────┘
//!                                 └─ verdict, knee, price ─ Report
//! ```

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of rows and bytes become rates and shares here, all far below 2^53"
)]

pub mod answers;
pub mod chart;
pub mod compare;
mod comparison;
mod drive;
mod firehose;
pub mod follow;
pub mod knee;
mod live;
mod machine;
mod markers;
mod metrics;
mod mysql;
mod options;
mod output;
pub mod page;
pub mod plan;
pub mod plots;
pub mod price;
pub mod record;
pub mod report;
pub mod rows;
mod sales_writer;
pub mod schedule;
mod session;
mod target;
pub mod text;
pub mod verdict;
mod watch;

use crate::Error;

pub use options::{
    CompareOptions, FirehoseOptions, KneeOptions, LoadCommand, MetricsLoadOptions,
    MysqlLoadOptions, MysqlSink, PlanOptions, Target, TargetOptions,
};

/// Runs a load test to its end.
///
/// # Errors
/// Whatever keeps it from being made; see [`Error::exit`].
pub async fn run(command: LoadCommand) -> Result<(), Error> {
    match command {
        LoadCommand::Firehose(options) => firehose::run(*options).await,
        LoadCommand::Mysql(options) => mysql::run(&options).await,
        LoadCommand::Metrics(options) => metrics::run(&options).await,
        LoadCommand::Compare(options) => Ok(comparison::run(&options)?),
    }
}
