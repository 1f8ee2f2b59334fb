//! `hydrant metrics`: ECS clusters sampled on a grid of whole seconds, and published as
//! CloudWatch metrics.
//!
//! What lives here: cores, which are PURE, and the loop around them. [`schedule`] says when to
//! poll and what became of every tick, [`cadence`] lays many polls out over time, [`metric`]
//! names what is published, [`series`] knows each metric's seconds, [`backlog`] keeps datums until
//! CloudWatch has them, [`backoff`] spaces requests, [`account`] counts, [`price`] turns counts
//! into dollars. Not PURE: `clock` reads the clocks, `place` has the clients of a region and role
//! and their pace, `ask` says what is asked and what an answer means, `poll` and `publish` make
//! one request each, `directory` lists what is in a cluster, `target` has the books of what is
//! sampled, `unit` one poll that is repeated, `sampler` all of them, `own` the poller's own
//! numbers, `timing` the histograms, `poller` the loop. [`templates`] prints alarms and a
//! dashboard.
//!
//! ```text
//! clocks ─ Schedule ─ poll ─ Backlog ─ PutMetricData
//!              └─ gaps ─ Account ◄─ dropped ┘
//! ```

pub mod account;
mod ask;
pub mod backlog;
pub mod backoff;
pub mod cadence;
mod clock;
mod directory;
mod dry_run;
pub mod metric;
mod own;
mod place;
mod poll;
mod poller;
pub mod price;
mod publish;
mod sampler;
pub mod schedule;
pub mod series;
mod shared;
mod summary;
mod target;
pub mod templates;
mod timing;
mod unit;

#[cfg(test)]
mod simulation;

use std::time::Duration;

use tracing::{info, warn};

use crate::config::Metrics;
use crate::signals::Signals;
use crate::{Error, Exit, Failure};

use poller::Poller;
pub use summary::Summary;
pub(crate) use target::{LAUNCH_TYPE_DIMENSION, PROVIDER_DIMENSION, SERVICE_DIMENSION};
pub use timing::{Durations, Timings};

/// Runs the poller until a signal that stops it, the end of `length`, or an error. With `dry_run` it
/// prints on standard output what it would publish.
///
/// # Errors
/// Whatever must be mended before it can start, or datums that could not be published in time
/// at the end.
pub(crate) async fn run(
    config: Metrics,
    dry_run: bool,
    length: Option<Duration>,
    mut signals: Signals,
) -> Result<(), Error> {
    let starting = Box::pin(Poller::start(config, dry_run, length, None));
    match signals.unless_stopped(starting).await {
        Some(poller) => follow(poller?, signals).await.map(drop),
        None => Ok(()),
    }
}

/// The same with credentials of the caller's, if there are any, whatever the environment has.
#[cfg(feature = "load")]
pub(crate) async fn run_as(
    config: Metrics,
    signals: Signals,
    length: Option<Duration>,
    credentials: Option<aws_credential_types::provider::SharedCredentialsProvider>,
) -> Result<Summary, Error> {
    let poller = Poller::start(config, false, length, credentials).await?;
    follow(poller, signals).await
}

async fn follow(poller: Poller, signals: Signals) -> Result<Summary, Error> {
    let summary = poller.run(signals).await?;
    info!("{summary}");
    info!("{}", summary.timings);
    let unsent = summary.datums.pending();
    if unsent > 0 {
        warn!("{unsent} datums are lost: they were only in memory");
        return Err(Error::Failure(Failure::transient(
            Exit::Temporary,
            format!("{unsent} datums could not be published before the end"),
            "check that CloudWatch can be reached from here; raise shutdown_grace",
        )));
    }
    Ok(summary)
}
