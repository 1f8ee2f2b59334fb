//! What ends a run: a signal, or the end that was asked for.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::binlog::{Decoder, FilePosition, GtidSet};
use crate::{Exit, Failure};

use super::Until;
use super::server::{Mark, Server};

/// Where a run ends: at whichever of the two is reached first.
pub(super) struct End {
    position: Option<FilePosition>,
    gtids: Option<GtidSet>,
}

impl End {
    pub(super) async fn of(until: Until, server: &mut Server) -> Result<Self, Failure> {
        Ok(match until {
            Until::Now => {
                let Mark {
                    position, gtids, ..
                } = server.end_of_binlog().await?;
                Self { position, gtids }
            }
            Until::Position(position) => Self {
                position: Some(position),
                gtids: None,
            },
            Until::Gtids(text) => {
                let gtids = text.for_flavor(server.flavor).ok_or_else(|| {
                    Failure::definite(
                        Exit::Usage,
                        "--until is not a GTID set of this server's family",
                        "write a set as the server prints it",
                    )
                })?;
                Self {
                    position: None,
                    gtids: Some(gtids),
                }
            }
        })
    }

    /// Whether the decoder is there, and between two transactions.
    pub(super) fn is_reached(&self, decoder: &Decoder) -> bool {
        if decoder.transaction().is_some() {
            return false;
        }
        let by_position = match (decoder.committed(), &self.position) {
            (Some(committed), Some(end)) => committed >= end,
            _ => false,
        };
        let by_gtids = match (decoder.gtids(), &self.gtids) {
            (Some(read), Some(end)) => !end.is_empty() && read.contains(end),
            _ => false,
        };
        by_position || by_gtids
    }
}

/// What somebody asks for with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM or SIGINT, by name: deliver and end.
    Stop(&'static str),
    /// SIGUSR1: say how it goes.
    Progress,
}

/// The signals that the agent listens to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
}

impl Signals {
    /// Starts listening; from here on the signals do not end the process by themselves.
    pub(super) fn new() -> Result<Self, Failure> {
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
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.user1.recv() => Asked::Progress,
        }
    }
}
