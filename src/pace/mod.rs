//! PURE. The client's side of quotas: when the next request may be sent.
//!
//! What lives here: the pace of one stream under its three quotas, and what a stream that says
//! "Slow down." makes of it. What does not: what is sent again, and when (see [`crate::sink`]).
//!
//! Three things decide together. Governor's token buckets make the pace even, a little below the
//! quota. The window (`window`) is the hard edge: whatever the buckets have saved up, no second
//! holds more than the quota, wherever it begins. The share (`aimd`) lowers both when the stream
//! gives less than its quota. All are told the time; none reads a clock.

mod aimd;
#[cfg(test)]
#[expect(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the figures of a simulation are small"
)]
mod simulation;
mod window;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::config::limits::{FIREHOSE_BATCH_BYTES, FIREHOSE_BILLED_BYTES, FirehoseQuota};

use aimd::{Aimd, Used};
use window::{Amounts, Window};

/// The even pace, as a part of the quota. The window's edge is just above it.
const EVEN_PACE: f64 = 0.985;
/// The part of a second's quota that may be caught up with after the program was held up. The
/// window sees to it that this is over no quota.
const BURST: f64 = 0.05;
/// Requests of this part of a second's quota leave little of it unused, and one that is refused
/// is little to send again.
const REQUEST_PART: u64 = 128;
/// The least bytes that are aimed at, so that records of wide rows do not waste what is billed.
const LEAST_REQUEST_BYTES: u64 = 3 * FIREHOSE_BILLED_BYTES as u64;
/// The part of a second's quota that whole requests should fill.
const FILLED: f64 = 0.985;

/// What one request takes from the quotas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Records.
    pub records: u32,
    /// Bytes before base64.
    pub bytes: u64,
}

impl Cost {
    /// What is left of it.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        Self {
            records: self.records.saturating_sub(part.records),
            bytes: self.bytes.saturating_sub(part.bytes),
        }
    }

    fn amounts(self) -> Amounts {
        [1, u64::from(self.records), self.bytes]
    }
}

/// Bytes that a request should have under a quota: about a hundredth of a second's, a multiple of
/// what is billed, and so that whole requests fill a second. If requests are rare in the quota,
/// they are larger, so that bytes and not requests are what runs out.
#[must_use]
pub fn request_bytes(quota: &FirehoseQuota) -> usize {
    let step = FIREHOSE_BILLED_BYTES as u64;
    let rare = 2 * quota.bytes / u64::from(quota.requests.max(1));
    let most = (quota.bytes / REQUEST_PART)
        .max(LEAST_REQUEST_BYTES)
        .max(rare)
        .min(FIREHOSE_BATCH_BYTES as u64);
    #[expect(clippy::cast_precision_loss, reason = "a part, not a count")]
    let filled = |bytes: &u64| (quota.bytes / bytes * bytes) as f64 / quota.bytes.max(1) as f64;
    let sizes = (1..=(most / step).max(1)).rev().map(|steps| steps * step);
    let bytes = sizes
        .clone()
        .find(|bytes| filled(bytes) >= FILLED)
        .or_else(|| sizes.max_by(|a, b| filled(a).total_cmp(&filled(b))));
    bytes.map_or(FIREHOSE_BILLED_BYTES, |bytes| {
        usize::try_from(bytes).unwrap_or(FIREHOSE_BATCH_BYTES)
    })
}

/// Admits one request after the other, below three quotas.
///
/// Contract: one dispatcher calls [`Pacer::admit`] for the request that is next, again after each
/// wait, until it is admitted; only then for another. What was already taken from a bucket for
/// that request is remembered, because the three cannot be taken together. Every answer is told
/// to [`Pacer::answered`]. `now` never goes back.
#[derive(Debug)]
pub struct Pacer {
    quota: Amounts,
    buckets: [Bucket; 3],
    window: Window,
    aimd: Aimd,
    clock: ToldClock,
    started: Instant,
    admitting: bool,
}

impl Pacer {
    /// Full buckets under `quota`, whose requests have up to `request_bytes`.
    #[must_use]
    pub fn new(quota: &FirehoseQuota, request_bytes: usize, now: Instant) -> Self {
        let clock = ToldClock::default();
        let amounts = [
            u64::from(quota.requests),
            u64::from(quota.records),
            quota.bytes,
        ];
        Self {
            quota: amounts.map(|amount| amount.max(1)),
            buckets: [
                Bucket::new(amounts[0], 1, 1, &clock),
                Bucket::new(amounts[1], 1, 1, &clock),
                // Counted one by one, bytes would round the bucket's interval and admit too many.
                Bucket::new(amounts[2], 1_024, request_bytes as u64, &clock),
            ],
            window: Window::default(),
            aimd: Aimd::new(now),
            clock,
            started: now,
            admitting: false,
        }
    }

    /// Admits the next request, which is sent at `now`.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub fn admit(&mut self, now: Instant, cost: Cost) -> Result<(), Duration> {
        self.clock.tell(now.saturating_duration_since(self.started));
        let share = self.aimd.share(now);
        if !self.admitting {
            self.admitting = true;
            for (bucket, amount) in self.buckets.iter_mut().zip(cost.amounts()) {
                bucket.owe(amount, share);
            }
        }
        for bucket in &mut self.buckets {
            bucket.pay()?;
        }
        let caps = self.quota.map(|quota| part_of(quota, share).max(1));
        self.window.admit(now, cost.amounts(), caps)?;
        self.admitting = false;
        Ok(())
    }

    /// Takes in what came of a request that was sent at `sent_at`: what the stream accepted, and
    /// whether it asked for a slower pace.
    pub fn answered(&mut self, sent_at: Instant, now: Instant, accepted: Cost, slow_down: bool) {
        let accepted = if accepted == Cost::default() {
            [0; 3]
        } else {
            accepted.amounts()
        };
        #[expect(clippy::cast_precision_loss, reason = "parts of a quota, not counts")]
        let used: Used =
            std::array::from_fn(|index| accepted[index] as f64 / self.quota[index] as f64);
        self.aimd.answered(sent_at, now, used, slow_down);
    }

    /// The share of the quotas that is used at `now`: 1, unless the stream gives less.
    pub fn share(&mut self, now: Instant) -> f64 {
        self.aimd.share(now)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a quota is far below 2^52"
)]
fn part_of(amount: u64, part: f64) -> u64 {
    (amount as f64 * part) as u64
}

/// One quota, in units of some of its things.
#[derive(Debug)]
struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, ToldClock, NoOpMiddleware<Duration>>,
    clock: ToldClock,
    unit: u64,
    burst: NonZeroU32,
    /// What the request that is being admitted has still to take.
    owed: u32,
    /// Less than a unit that was had and not paid for.
    debt: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "quotas are far below 2^52, and what is cast is positive and bounded"
)]
impl Bucket {
    fn new(per_second: u64, unit: u64, request: u64, clock: &ToldClock) -> Self {
        let units = (per_second as f64 / unit as f64).max(1e-6);
        // Two requests, so that a timer that wakes late costs nothing.
        let burst = (units * BURST).max(2.0 * request as f64 / unit as f64);
        let burst = NonZeroU32::new(burst.ceil() as u32).unwrap_or(NonZeroU32::MIN);
        let interval = Duration::try_from_secs_f64(1.0 / (units * EVEN_PACE));
        let interval = interval
            .unwrap_or(Duration::MAX)
            .max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self {
            limiter: RateLimiter::direct_with_clock(quota.allow_burst(burst), clock.clone()),
            clock: clock.clone(),
            unit,
            burst,
            owed: 0,
            debt: 0.0,
        }
    }

    /// Puts an amount on the bill. At a smaller share everything costs more, so that the limiter
    /// need not be built anew.
    fn owe(&mut self, amount: u64, share: f64) {
        let units = self.debt + amount as f64 / self.unit as f64 / share;
        self.owed = units as u32;
        self.debt = units - f64::from(self.owed);
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

/// The limiters' clock: it stands where the pacer was last told that it is.
#[derive(Debug, Clone, Default)]
struct ToldClock(Arc<AtomicU64>);

impl ToldClock {
    fn tell(&self, since_start: Duration) {
        let nanoseconds = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanoseconds, Ordering::Relaxed);
    }
}

impl Clock for ToldClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
