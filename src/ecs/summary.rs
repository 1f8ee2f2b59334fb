//! What a run of the poller did, as a person reads it.

use std::fmt;

use tracing::info;

use super::core::account::{Calls, Coverage, DatumCounts};
use super::timing::Timings;

/// The books of a run.
#[derive(Debug, Clone)]
pub struct PollerSummary {
    /// Ticks of all clusters by how they ended.
    pub ticks: Coverage,
    /// Datums by what became of them.
    pub datums: DatumCounts,
    /// Requests that were sent.
    pub calls: Calls,
    /// Dollars a day at the rate of the counted requests.
    pub usd_per_day: f64,
    /// Whether what is published was only printed.
    pub is_dry_run: bool,
    /// Whether a signal ended it, and not the end of the time that was asked for.
    pub was_stopped: bool,
    /// What was timed.
    pub timings: Timings,
}

impl PollerSummary {
    /// Writes it to the log: as fields, too, which JSON shows.
    pub(super) fn log(&self, timings: &Timings) {
        info!(
            ticks = self.ticks.settled(),
            sampled = self.ticks.sampled(),
            gaps = self.ticks.gaps(),
            datums = self.datums.offered,
            published = self.datums.published,
            pending = self.datums.pending(),
            dropped = self.datums.dropped(),
            calls = self.calls.total(),
            usd_per_day = self.usd_per_day,
            "{self}; {timings}"
        );
    }
}

impl fmt::Display for PollerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_dry_run {
            f.write_str("dry run, as if CloudWatch had got what was printed: ")?;
        }
        write!(
            f,
            "{}; {}; {}: ${:.3} a day at this rate",
            self.ticks, self.datums, self.calls, self.usd_per_day
        )
    }
}
