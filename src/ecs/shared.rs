//! What sampling and publishing share: the settings, where datums go, the books and the clocks'
//! histograms.

use std::time::{Duration, Instant};

use tracing::info;

use crate::Failure;
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
    /// Whether it was said that the budget makes changes wait.
    pub(super) has_said_wait: bool,
    /// When the failure that lasts was first seen.
    pub(super) failing_since: Option<Instant>,
    /// Why ECS could not be asked at the start, until it can.
    pub(super) refused_by_ecs: Option<Failure>,
    /// Why CloudWatch has not accepted anything yet, if that will not pass by itself.
    pub(super) refused_by_cloudwatch: Option<Failure>,
}

impl Outlet {
    /// To which nothing was sent yet.
    pub(super) fn new(clients: RegionClients, backlog: Backlog) -> Self {
        Self {
            clients,
            backlog,
            has_accepted: false,
            has_said_wait: false,
            failing_since: None,
            refused_by_ecs: None,
            refused_by_cloudwatch: None,
        }
    }

    /// Says once that changes are not sent at once any more.
    pub(super) fn say_wait(&mut self, now: Instant) {
        if self.has_said_wait {
            return;
        }
        if let Some(until) = self.backlog.changes_wait_until(now) {
            self.has_said_wait = true;
            info!(
                region = self.clients.label,
                "values that have changed in {} wait {:.0?} for the next publish: metrics.budget_usd_per_day has no request left for them now; this is said once",
                self.clients.label,
                until - now
            );
        }
    }

    fn refusal(&self) -> Option<&Failure> {
        let by_ecs = self.refused_by_ecs.as_ref();
        by_ecs.or(self.refused_by_cloudwatch.as_ref())
    }
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

    /// One group that is refused does not keep the others from being sampled; all of them end the poller.
    ///
    /// # Errors
    /// The first refusal, if every group is refused.
    pub(super) fn go_on_with_others(&self) -> Result<(), Failure> {
        match first_of_all(self.outlets.iter().map(Outlet::refusal)) {
            Some(first) => Err(first.clone()),
            None => Ok(()),
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

/// The first refusal, if there is one of every group, and a group at all.
fn first_of_all<'a>(refusals: impl Iterator<Item = Option<&'a Failure>>) -> Option<&'a Failure> {
    let refusals: Option<Vec<_>> = refusals.collect();
    refusals?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    #[test]
    fn the_first_refusal_ends_the_poller_when_no_group_is_left() {
        let [one, two] = ["one", "two"].map(|it| Failure::definite(Exit::Permission, it, "x"));
        let of = |refusals: &[Option<&Failure>]| {
            first_of_all(refusals.iter().copied()).map(|it| it.what.clone())
        };
        assert_eq!(of(&[Some(&one), Some(&two)]).as_deref(), Some("one"));
        assert_eq!(of(&[Some(&one), None, Some(&two)]), None);
        assert_eq!(of(&[None]), None);
        assert_eq!(of(&[]), None);
    }
}
