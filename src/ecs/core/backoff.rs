//! PURE. When the next request may be sent to a service that throttles or is away.
//!
//! What lives here: the space between requests, and the wait after a failure. What does not: what
//! is sent. Chance is an argument, as time is.

use std::time::{Duration, Instant};

/// The space between requests while all is well: 20 a second, a twenty-fifth of CloudWatch's
/// quota of 500 PutMetricData a second, which others in the account need too.
pub const LEAST_SPACING: Duration = Duration::from_millis(50);
/// The most space between requests, however often they are throttled.
pub const MOST_SPACING: Duration = Duration::from_secs(10);
/// The wait after one failure; it doubles with each that follows.
pub const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Doublings after which [`LONGEST_WAIT`] is reached in any case.
const MOST_DOUBLINGS: u32 = 6;

/// The pace of requests to one service.
///
/// Contract: send when [`Backoff::ready_at`] has come and say so with [`Backoff::sent`]; then one
/// of [`Backoff::succeeded`], [`Backoff::failed`] and [`Backoff::throttled`] for each request, in
/// any order.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    spacing: Duration,
    /// The space after the last request is over.
    spaced_at: Option<Instant>,
    /// The wait after the last failure is over.
    retry_at: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            failures: 0,
            spacing: LEAST_SPACING,
            spaced_at: None,
            retry_at: None,
        }
    }
}

impl Backoff {
    /// When the next request may be sent; `None` is at once.
    #[must_use]
    pub fn ready_at(&self) -> Option<Instant> {
        self.spaced_at.max(self.retry_at)
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The space between requests.
    #[must_use]
    pub fn spacing(&self) -> Duration {
        self.spacing
    }

    /// A request is on its way.
    pub fn sent(&mut self, now: Instant) {
        self.spaced_at = self.spaced_at.max(Some(now + self.spacing));
    }

    /// The service has done what was asked, or said no for a reason of the request's own.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
        self.spacing = (self.spacing * 7 / 8).max(LEAST_SPACING);
    }

    /// The service could not be reached, failed, or did not answer. `chance` is random, from 0
    /// to 1: the wait is half fixed, half random, so that pollers do not come back together.
    pub fn failed(&mut self, now: Instant, chance: f64) {
        let doublings = self.failures.min(MOST_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let wait = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
        let wait = wait.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        self.retry_at = self.retry_at.max(Some(now + wait));
    }

    /// The service is there but wants fewer requests: a failure that also leaves more space
    /// between the requests that succeed.
    pub fn throttled(&mut self, now: Instant, chance: f64) {
        self.spacing = (self.spacing * 2).min(MOST_SPACING);
        self.failed(now, chance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            backoff.retry_at = None;
            backoff.failed(now, 1.0);
            waits.push((backoff.ready_at().unwrap() - now).as_millis());
        }
        let doubled = [
            500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
        ];
        assert_eq!(waits, doubled);
        backoff.succeeded();
        assert_eq!((backoff.ready_at(), backoff.failures()), (None, 0));
        backoff.failed(now, 0.0);
        assert_eq!(backoff.ready_at(), Some(now + FIRST_WAIT / 2));
    }

    #[test]
    fn throttling_leaves_space_that_successes_close_again() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.throttled(now, 0.5);
        }
        assert_eq!(backoff.spacing(), MOST_SPACING);
        backoff.succeeded();
        backoff.sent(now);
        assert!(backoff.ready_at().unwrap() > now + LEAST_SPACING * 100);
        for _ in 0..50 {
            backoff.succeeded();
        }
        assert_eq!(backoff.spacing(), LEAST_SPACING);
    }
}
