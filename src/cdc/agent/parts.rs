//! Parts of tables whose rows were there before, in the loop.

use std::time::Instant;

use crate::Failure;
use crate::error::Error;
use crate::sink::Sink;

use super::super::backfill::{Backfill, Chunk};
use super::Agent;

impl<S: Sink> Agent<S> {
    /// Writes the parts of tables whose windows close here, and asks for others.
    pub(super) fn go_on_with_backfill(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let Some(backfill) = &mut self.backfill else {
            return Ok(());
        };
        while let Some(table) = self.pipeline.write_due(now)? {
            backfill.tell_written(self.pipeline.seam.as_deref(), table);
            if !self.pipeline.has_room() {
                return Ok(());
            }
        }
        if self.pipeline.decoder.transaction().is_some() {
            return Ok(());
        }
        let Some(mut seam) = self.pipeline.seam.take() else {
            return Ok(());
        };
        if backfill.may_ask(now) {
            let (processed, safe) = (self.pipeline.newest_commit(), self.pipeline.safe_commit());
            backfill.ask(&mut seam, now, (&processed, &safe));
        }
        if seam.is_done() {
            self.backfill = None;
        } else {
            self.pipeline.seam = Some(seam);
        }
        Ok(())
    }

    /// A part was read, or could not be.
    pub(super) fn on_part(&mut self, (window, chunk): (u64, Option<Chunk>)) {
        if let Some(seam) = &mut self.pipeline.seam {
            seam.arrived(window, chunk);
        }
    }
}

/// Waits for the next part of a table that is read, whose window has this number; for ever if there is none.
pub(super) async fn next_part(
    backfill: &mut Option<Box<Backfill>>,
) -> Result<(u64, Option<Chunk>), Failure> {
    match backfill {
        Some(backfill) => backfill.next().await,
        None => std::future::pending().await,
    }
}
