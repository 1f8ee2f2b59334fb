//! The client's side of quotas: when the next request may be sent.
//!
//! What lives here: token buckets for requests, records and bytes of one stream. What does not:
//! what to do about a stream that says "Slow down." all the same (see [`crate::sink`]).

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::config::limits::FirehoseQuota;

/// The share of a second's quota that may be used at once: small, so that no second is over its
/// quota, and large enough that requests are not tiny.
const BURST_SHARE: u64 = 20;

/// What one request takes from the quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Records.
    pub records: u32,
    /// Bytes before base64.
    pub bytes: u64,
}

/// Bytes that a request should have under a quota, so that it fits into one burst.
#[must_use]
pub fn request_bytes(quota: &FirehoseQuota) -> u64 {
    quota.bytes / BURST_SHARE
}

/// Admits one request after the other, below three quotas.
///
/// Contract: one dispatcher calls [`Pacer::admit`] for the request that is next, again after each
/// wait, until it is admitted; only then for another. What was already taken from a bucket for
/// that request is remembered, because the three cannot be taken together.
///
/// The clock is the limiters' own; tests give one that they move.
#[derive(Debug)]
pub struct Pacer<C: Clock = DefaultClock> {
    requests: Bucket<C>,
    records: Bucket<C>,
    kibibytes: Bucket<C>,
    admitting: bool,
}

impl Pacer {
    /// Full buckets under `quota`, whose requests have up to `request_bytes`.
    #[must_use]
    pub fn new(quota: &FirehoseQuota, request_bytes: usize) -> Self {
        Self::with_clock(quota, request_bytes, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Pacer<C> {
    fn with_clock(quota: &FirehoseQuota, request_bytes: usize, clock: &C) -> Self {
        let kibibytes = u32::try_from(quota.bytes / 1024).unwrap_or(u32::MAX);
        let request_kibibytes = u32::try_from(request_bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        Self {
            requests: Bucket::new(quota.requests, 1, clock),
            records: Bucket::new(quota.records, 1, clock),
            // Counted one by one, bytes would round the bucket's interval and admit too many.
            kibibytes: Bucket::new(kibibytes, request_kibibytes, clock),
            admitting: false,
        }
    }

    /// Admits the next request.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn admit(&mut self, cost: Cost) -> Result<(), Duration> {
        if !self.admitting {
            self.admitting = true;
            self.requests.owed = 1;
            self.records.owed = cost.records;
            self.kibibytes.owed = u32::try_from(cost.bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        }
        for bucket in [&mut self.requests, &mut self.records, &mut self.kibibytes] {
            bucket.pay()?;
        }
        self.admitting = false;
        Ok(())
    }
}

/// One quota.
#[derive(Debug)]
struct Bucket<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    burst: NonZeroU32,
    /// What the request that is being admitted has still to take.
    owed: u32,
}

impl<C: Clock + Clone> Bucket<C> {
    /// Rate and burst together are the quota of one second, so that no window of a second can be
    /// over it, wherever it begins.
    fn new(per_second: u32, least_burst: u32, clock: &C) -> Self {
        let share = per_second / u32::try_from(BURST_SHARE).unwrap_or(u32::MAX);
        let burst = share
            .max(least_burst)
            .clamp(1, per_second.div_ceil(2).max(1));
        let rate = NonZeroU32::new(per_second.saturating_sub(burst)).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock: clock.clone(),
            burst,
            owed: 0,
        }
    }

    /// Takes what is owed, in parts that fit the burst.
    fn pay(&mut self) -> Result<(), Duration> {
        while let Some(part) = NonZeroU32::new(self.owed.min(self.burst.get())) {
            match self.limiter.check_n(part) {
                Ok(Ok(())) => self.owed -= part.get(),
                Ok(Err(not_until)) => {
                    return Err(not_until.wait_time_from(self.clock.now()));
                }
                // A part is never over the burst; should it be, waiting would never end.
                Err(_) => self.owed = 0,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const QUOTA: FirehoseQuota = FirehoseQuota {
        requests: 1_000,
        records: 100_000,
        bytes: 1024 * 1024,
    };

    #[test]
    fn no_second_admits_more_than_its_quota_and_little_is_wasted() {
        let clock = FakeRelativeClock::default();
        let mut pacer = Pacer::with_clock(&QUOTA, 60 * 1024, &clock);
        let mut now = Duration::ZERO;
        let mut admitted_at = Vec::new();
        while now < Duration::from_secs(10) {
            match pacer.admit(Cost {
                records: 1,
                bytes: 60 * 1024,
            }) {
                Ok(()) => admitted_at.push(now),
                Err(wait) => {
                    clock.advance(wait);
                    now += wait;
                }
            }
        }
        for (index, start) in admitted_at.iter().enumerate() {
            let within = admitted_at[index..].iter();
            let requests = within
                .take_while(|at| **at < *start + Duration::from_secs(1))
                .count();
            assert!(
                requests * 60 <= 1024,
                "{requests} requests in the second from {start:?}"
            );
        }
        assert!(
            admitted_at.len() * 60 >= 9 * 1024,
            "{} requests in 10 s",
            admitted_at.len()
        );
    }

    #[test]
    fn a_request_over_the_burst_is_paid_in_parts() {
        let mut pacer = Pacer::new(&QUOTA, 60 * 1024);
        let wait = pacer
            .admit(Cost {
                records: 1,
                bytes: 1_000 * 1024,
            })
            .unwrap_err();
        assert!(wait > Duration::ZERO);
        assert!(pacer.kibibytes.owed < 1_000);
    }
}
