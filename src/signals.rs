//! Requests to a running command by signal: to stop, or to log its counters.

use std::future::Future;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::{Exit, Failure};

/// A request by signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    /// SIGTERM, SIGINT or SIGHUP, by name: deliver and end.
    Stop(&'static str),
    /// SIGUSR1: say how it goes.
    Progress,
}

/// The signals that a long run listens to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was started to ignore it, as by nohup.
    hangup: Option<Signal>,
    user1: Signal,
}

impl Signals {
    /// Starts listening; from here on the signals do not end the process by themselves.
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::definite(
                    Exit::Unavailable,
                    format!("cannot listen for signals: {error}"),
                    "check the limits of the process",
                )
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: if ignores_hangup() {
                None
            } else {
                Some(listen(SignalKind::hangup())?)
            },
            user1: listen(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.terminate.recv() => SignalRequest::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalRequest::Stop("SIGINT"),
            () = received(&mut self.hangup) => SignalRequest::Stop("SIGHUP"),
            _ = self.user1.recv() => SignalRequest::Progress,
        }
    }

    /// Runs the part before a command's own loop; `None` if a stop is requested meanwhile.
    pub(crate) async fn unless_stopped<T>(
        &mut self,
        starting: impl Future<Output = T>,
    ) -> Option<T> {
        let mut starting = pin!(starting);
        loop {
            tokio::select! {
                biased;
                asked = self.next() => match asked {
                    SignalRequest::Stop(signal) => {
                        info!("{signal}: stopping before the start is done");
                        return None;
                    }
                    SignalRequest::Progress => info!("starting"),
                },
                started = &mut starting => return Some(started),
            }
        }
    }
}

/// Waits for a signal that may not be listened to; for ever if it is not.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP was ignored when the process was started. Linux tells; elsewhere it is taken not to be.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of signal 1.
    ignored.is_some_and(|mask| mask & 1 != 0)
}
