//! PURE. The hard edge of the quotas: what was sent in the last second.
//!
//! What lives here: a log of the requests of one second and a little more, and whether another
//! one fits into it. What does not: the even pace below this edge (see [`super::Pacer`]).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests, records, bytes.
pub(super) type Amounts = [u64; 3];

/// The time that has to hold a second's quota. It is longer than a second, because two requests
/// that left further apart can arrive within one second if the second travels faster; this much
/// faster does no harm.
pub(super) const SPAN: Duration = Duration::from_millis(1_012);

/// The requests that were sent within the last [`SPAN`].
///
/// Whatever the costs and times, no span of this length that begins or ends with a request holds
/// more than the caps that each of its requests was admitted under; so no second does, sliding or
/// aligned. Memory is bounded by the cap of requests.
#[derive(Debug, Default)]
pub(super) struct Window {
    sent: VecDeque<(Instant, Amounts)>,
    sum: Amounts,
}

impl Window {
    /// Takes in a request that is sent at `now` if it fits. One that is over a cap by itself fits
    /// when it is alone.
    ///
    /// # Errors
    /// How long to wait before asking again.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        cost: Amounts,
        caps: Amounts,
    ) -> Result<(), Duration> {
        while let Some((at, amounts)) = self.sent.front()
            && *at + SPAN <= now
        {
            self.sum = minus(self.sum, *amounts);
            self.sent.pop_front();
        }
        if self.sent.is_empty() || fits(self.sum, cost, caps) {
            self.sent.push_back((now, cost));
            self.sum = plus(self.sum, cost);
            return Ok(());
        }
        let mut sum = self.sum;
        for (at, amounts) in &self.sent {
            sum = minus(sum, *amounts);
            if fits(sum, cost, caps) {
                return Err(*at + SPAN - now);
            }
        }
        // It fits only alone: when the newest one has left.
        let newest = self.sent.back().map_or(now, |(at, _)| *at);
        Err(newest + SPAN - now)
    }
}

fn fits(sum: Amounts, cost: Amounts, caps: Amounts) -> bool {
    (0..3).all(|index| sum[index] + cost[index] <= caps[index])
}

fn plus(sum: Amounts, amounts: Amounts) -> Amounts {
    std::array::from_fn(|index| sum[index] + amounts[index])
}

fn minus(sum: Amounts, amounts: Amounts) -> Amounts {
    std::array::from_fn(|index| sum[index] - amounts[index])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_span_holds_more_than_the_caps_and_waiting_helps(
            costs in prop::collection::vec(([1_u64..2, 1..9, 1..400], 0_u64..300), 1..200),
        ) {
            const CAPS: Amounts = [20, 60, 2_000];
            let start = Instant::now();
            let mut window = Window::default();
            let mut now = start;
            let mut sent: Vec<(Instant, Amounts)> = Vec::new();
            for (cost, pause_ms) in costs {
                now += Duration::from_millis(pause_ms);
                if let Err(wait) = window.admit(now, cost, CAPS) {
                    prop_assert!(wait > Duration::ZERO && wait <= SPAN);
                    now += wait;
                    prop_assert_eq!(window.admit(now, cost, CAPS), Ok(()));
                }
                sent.push((now, cost));
            }
            for (first, (from, _)) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|(at, _)| *at < *from + SPAN);
                let sum = within.fold([0; 3], |sum, (_, cost)| plus(sum, *cost));
                prop_assert!(fits(sum, [0; 3], CAPS), "{sum:?}");
            }
        }
    }

    #[test]
    fn what_is_over_a_cap_goes_alone() {
        let start = Instant::now();
        let mut window = Window::default();
        let caps = [10, 10, 100];
        assert_eq!(window.admit(start, [1, 1, 10], caps), Ok(()));
        let later = start + SPAN / 2;
        assert_eq!(window.admit(later, [1, 1, 500], caps), Err(SPAN / 2));
        assert_eq!(window.admit(start + SPAN, [1, 1, 500], caps), Ok(()));
        let after = window.admit(start + SPAN, [1, 1, 1], caps);
        assert_eq!(after, Err(SPAN));
    }
}
