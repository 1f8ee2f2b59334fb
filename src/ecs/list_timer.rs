//! When a list is asked for again.
//!
//! What does not live here: the lists ([`super::directory`], [`super::roster`]).

use std::time::{Duration, Instant};

/// The least time between two lists of one kind, for each page of the one before.
pub(super) const LEAST_SPACING: Duration = Duration::from_secs(5);
/// The part of the calls that may be used which lists take at most.
pub(super) const LIST_PART: f64 = 0.1;
/// Before a list that failed is asked for again, if nothing hurries it.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// When a list is due.
#[derive(Debug)]
pub(super) struct ListTimer {
    /// None while it is under way.
    due_at: Option<Instant>,
    /// When it may be asked for.
    ready_at: Instant,
}

impl ListTimer {
    /// Due at a moment, and not before.
    pub(super) fn at(moment: Instant) -> Self {
        Self {
            due_at: Some(moment),
            ready_at: moment,
        }
    }

    /// When it is to be asked for; none while it is.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// The list is under way.
    pub(super) fn begin(&mut self) {
        self.due_at = None;
    }

    /// The list has ended: the next may come at `ready_at`, and comes at `due_at`.
    pub(super) fn end(&mut self, ready_at: Instant, due_at: Instant) {
        self.ready_at = ready_at;
        self.due_at = Some(due_at.max(ready_at));
    }

    /// Something may have changed.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due_at = self.due_at.map(|due| due.min(now.max(self.ready_at)));
    }
}
