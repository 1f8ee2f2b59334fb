//! `hydrant metrics`: ECS clusters sampled on a grid of whole seconds, and published as
//! CloudWatch metrics.
//!
//! What lives here: the cores ([`core`]), which are PURE, and the loop around them. `clock` reads the clocks,
//! `caller` makes calls of one of ECS's buckets, `clients` has the clients of a region and role and their
//! pace, `answered` says whether it was CloudWatch that answered, `poll_query` what is asked and what an answer
//! means, `poll` and `publish` make one request each, `roster` has the clusters and looks for those that patterns match, `unlisted` counts the seconds before the first list,
//! `directory` lists what is in a cluster, `list_timer` says when, `target` registers what
//! is sampled, `scheduled_poll` has one poll that is repeated, `sampler` all of them, `own` the poller's own numbers, `timing` the histograms,
//! `estimate` what it costs, `poller` the loop, `exposition` what the status server shows. [`templates`] prints alarms and a dashboard.
//!
//! ```text
//! clocks ─ Schedule ─ poll ─ Backlog ─ PutMetricData
//!              └─ gaps ─ Account ◄─ dropped ┘
//! ```

mod answered;
mod caller;
mod clients;
mod clock;
pub mod core;
mod directory;
mod dry_run;
mod estimate;
mod exposition;
mod list_timer;
mod own;
mod poll;
mod poll_query;
mod poller;
mod publish;
mod roster;
mod sampler;
mod scheduled_poll;
mod shared;
mod summary;
mod target;
pub mod templates;
mod timing;
mod unlisted;

use std::time::Duration;

use tracing::warn;

use crate::config::Metrics;
use crate::signals::Signals;
use crate::{Error, Exit, Failure};

#[cfg(feature = "load")]
pub(crate) use directory::list_spacing;
#[cfg(feature = "load")]
pub(crate) use poll_query::{CLUSTERS_A_CALL, SERVICES_A_CALL};
use poller::Poller;
pub use summary::PollerSummary;
pub use timing::{Durations, Timings};

/// Runs the poller until a signal that stops it, the end of `length`, or an error. With `dry_run` it
/// prints on standard output what it would publish.
///
/// # Errors
/// What must be fixed before it can start, or datums that could not be published in time
/// at the end, or that nothing was sampled until the end of `length`.
pub(crate) async fn run(
    config: Metrics,
    dry_run: bool,
    length: Option<Duration>,
    mut signals: Signals,
) -> Result<(), Error> {
    let starting = Box::pin(Poller::start(config, dry_run, length, None));
    match signals.unless_stopped(starting).await {
        Some(poller) => {
            let summary = follow(poller?, signals).await?;
            if summary.ticks.sampled() == 0 && !summary.was_stopped {
                return Err(Error::Failure(no_sample(&summary)));
            }
            Ok(())
        }
        None => Ok(()),
    }
}

pub(crate) fn no_sample(summary: &PollerSummary) -> Failure {
    Failure::transient(
        Exit::Unavailable,
        format!("nothing was sampled: {}", summary.ticks),
        "check that ECS can be reached from here, that the clusters exist, that patterns match some, and that --for is longer than metrics.interval",
    )
}

/// The same with credentials of the caller's, if there are any, whatever the environment has.
#[cfg(feature = "load")]
pub(crate) async fn run_as(
    config: Metrics,
    signals: Signals,
    length: Option<Duration>,
    credentials: Option<aws_credential_types::provider::SharedCredentialsProvider>,
) -> Result<PollerSummary, Error> {
    let poller = Poller::start(config, false, length, credentials).await?;
    follow(poller, signals).await
}

async fn follow(poller: Poller, signals: Signals) -> Result<PollerSummary, Error> {
    let summary = poller.run(signals).await?;
    summary.log(&summary.timings);
    let unsent = summary.datums.pending();
    if unsent > 0 {
        warn!(unsent, "{unsent} datums are lost: they were only in memory");
        return Err(Error::Failure(Failure::transient(
            Exit::Temporary,
            format!("{unsent} datums could not be published before the end"),
            "check that CloudWatch can be reached from here; raise shutdown_grace",
        )));
    }
    Ok(summary)
}
