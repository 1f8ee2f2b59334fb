//! What somebody asks a running command for: to end, or how it goes.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{Exit, Failure};

/// What somebody asks for with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM or SIGINT, by name: deliver and end.
    Stop(&'static str),
    /// SIGUSR1: say how it goes.
    Progress,
}

/// The signals that a long run listens to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
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
            user1: listen(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.user1.recv() => Asked::Progress,
        }
    }
}
