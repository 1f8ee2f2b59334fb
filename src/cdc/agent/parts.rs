//! Parts of tables whose rows were there before, in the loop.

use std::time::Instant;

use crate::Failure;
use crate::error::Error;
use crate::sink::Sink;

use super::super::backfill::{Arrival, Backfill};
use super::Agent;

impl<S: Sink> Agent<S> {
    /// Writes the parts of tables whose windows close here, and asks for others.
    pub(super) fn go_on_with_backfill(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let Some(backfill) = &mut self.backfill else {
            return Ok(());
        };
        if let Some(settled) = self.pipeline.settle_snapshot(now) {
            let seam = self.pipeline.seam.as_deref();
            let reading = seam.and_then(|seam| seam.reading(settled.0));
            backfill.settled(settled, reading.and_then(|it| it.place()))?;
        }
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
        backfill.ask_for_more(&mut seam, now);
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

    /// What was asked for has come, or could not.
    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        let Some(seam) = &mut self.pipeline.seam else {
            return;
        };
        match arrival {
            Arrival::Part(window, chunk) => seam.arrived(window, chunk),
            Arrival::Opened(opened) => seam.opened(opened, Instant::now()),
        }
    }
}

/// Waits for what comes next of tables that are read; for ever if nothing will.
pub(super) async fn next_arrival(backfill: &mut Option<Box<Backfill>>) -> Result<Arrival, Failure> {
    match backfill {
        Some(backfill) => backfill.next().await,
        None => std::future::pending().await,
    }
}
