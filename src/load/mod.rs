//! `hydrant load`: load tests with an open loop, and their reports.
//!
//! What lives here: what a stream, a database or an account takes, found out by sending at a planned
//! rate. `firehose` sends rows to a stream, `mysql` inserts rows into a database with the agent behind it,
//! `metrics` runs the poller. `measure` (PURE) is what happened, by the second, and what it means; `report`
//! writes that as text and pages. All runs share `session` (the clock and the counters), `machine` and `live`
//! (which look at this process and show it), `rows` (PURE, what is sent) and `target` (what takes it). What does not
//! live here: the client that is judged ([`crate::sink`]) and the simulator ([`crate::sim`]).
//!
//! ```text
//! RatePlan ─ RowSchedule ─ RowMaker ─ Batch ─ Delivery ─ Watched ─ FirehoseSink ─ target
//!       intended times │                        │ acknowledged        │ counted
//!                      └───────── Recorder ◄────┴─────────────────────┘
//!                                    └─ verdict, knee, price ─ Report
//! ```

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of rows and bytes become rates and shares here, all far below 2^53"
)]

pub mod firehose;
mod live;
mod machine;
pub mod measure;
mod metrics;
pub mod mysql;
mod options;
pub mod report;
pub mod rows;
mod session;
mod target;

use crate::Error;

pub use options::{
    CompareOptions, FirehoseOptions, KneeOptions, LoadCommand, MetricsLoadOptions,
    MysqlLoadOptions, MysqlSink, OutOptions, PlanOptions, Target, TargetOptions,
};

/// Runs a load test to its end.
///
/// # Errors
/// Whatever keeps it from being made; see [`Error::exit`].
pub async fn run(command: LoadCommand) -> Result<(), Error> {
    match command {
        LoadCommand::Firehose(options) => firehose::run(*options).await,
        LoadCommand::Mysql(options) => mysql::run(&options).await,
        LoadCommand::Metrics(options) => Box::pin(metrics::run(&options)).await,
        LoadCommand::Compare(options) => Ok(report::comparison::run(&options)?),
    }
}
