//! Clusters that ECS has not listed yet: how many patterns match is not known, so their seconds are gaps of one target.
//!
//! What does not live here: the list ([`super::roster`]).

use std::time::Instant;

use super::core::account::GapReason;
use super::core::schedule::{Event, Interval, Now, Schedule, Settled};
use super::target::{Target, TargetRegistry, add_gaps, add_skipped};

/// What patterns match, before the first list.
#[derive(Debug)]
pub(super) struct UnlistedClusters {
    schedule: Schedule,
    targets: [Target; 1],
    /// Why the newest list failed.
    pub(super) reason: GapReason,
}

impl UnlistedClusters {
    /// Whose first gap is the first whole second from `now` on, or multiple of the interval.
    pub(super) fn new(target: Target, interval: Interval, reason: GapReason, now: Now) -> Self {
        Self {
            schedule: Schedule::new(interval, now),
            targets: [target],
            reason,
        }
    }

    /// When there is more to count.
    pub(super) fn wake_at(&self) -> Instant {
        self.schedule.wake_at()
    }

    /// Counts the ticks that have come.
    pub(super) fn advance(&mut self, now: Now, registry: &mut TargetRegistry<'_>) {
        let account = &mut *registry.account;
        while let Some(event) = self.schedule.advance(now) {
            match event {
                Event::Poll(tick) => {
                    let settled = self.schedule.settle(tick, now.monotonic, Err(self.reason));
                    if let Some(Settled::Gap(gap)) = settled {
                        add_gaps(account, &self.targets, gap);
                    }
                }
                Event::Gap(gap) => add_gaps(account, &self.targets, gap),
                Event::Stepped(step) => add_skipped(account, &self.targets, step.skipped),
            }
        }
    }

    /// Counts them for the last time.
    pub(super) fn end(mut self, now: Now, registry: &mut TargetRegistry<'_>) {
        self.advance(now, registry);
        let [target] = &self.targets;
        registry.close(target);
    }
}
