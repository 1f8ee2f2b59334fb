//! The end of a run that was asked for.

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
