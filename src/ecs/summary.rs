//! What a run of the poller did, as a person reads it.

use std::fmt;

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
    /// What was timed.
    pub timings: Timings,
}

impl fmt::Display for PollerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {}; {}: ${:.3} a day at this rate",
            self.ticks, self.datums, self.calls, self.usd_per_day
        )
    }
}
