//! What sampling and publishing share: the settings, where datums go, the books and the clocks'
//! histograms.

use std::time::{Duration, Instant};

use crate::config::Metrics;

use super::clients::RegionClients;
use super::core::account::Account;
use super::core::backlog::Backlog;
use super::target::TargetRegistry;
use super::timing::{Durations, Timings};

/// Where datums come from and go to.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) clients: RegionClients,
    pub(super) backlog: Backlog,
    /// Whether anything was ever accepted.
    pub(super) has_accepted: bool,
    /// When the failure that lasts was first seen.
    pub(super) failing_since: Option<Instant>,
}

/// What sampling and publishing share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Metrics,
    /// One for each of the configuration's groups, in their order.
    pub(super) outlets: Vec<Outlet>,
    pub(super) account: Account,
    pub(super) timings: Timings,
    /// The same since the last progress.
    pub(super) recent: Timings,
}

impl Shared {
    /// What targets of one region are registered in.
    pub(super) fn registry(&mut self, place: usize) -> TargetRegistry<'_> {
        TargetRegistry {
            config: &self.config,
            backlog: &mut self.outlets[place].backlog,
            account: &mut self.account,
        }
    }

    /// Adds a duration to its histograms.
    pub(super) fn time(
        &mut self,
        kind: impl Fn(&mut Timings) -> &mut Durations,
        duration: Duration,
    ) {
        kind(&mut self.timings).add(duration);
        kind(&mut self.recent).add(duration);
    }

    /// Metrics that are published now.
    pub(super) fn metric_count(&self) -> u32 {
        let counts = self.outlets.iter().map(|it| it.backlog.series_count());
        u32::try_from(counts.sum::<usize>()).unwrap_or(u32::MAX)
    }
}
