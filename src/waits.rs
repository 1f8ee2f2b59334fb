//! PURE. How long to wait between attempts that go on until one succeeds.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The shortest wait. It doubles, and a random part of it is added.
pub(crate) const SHORTEST: Duration = Duration::from_millis(50);
/// The longest wait, without its random part.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// Waits without a last one, of which none is longer than this.
pub(crate) fn endless_up_to(longest: Duration, seed: u64) -> impl Iterator<Item = Duration> {
    endless(seed).map(move |wait| wait.min(longest))
}

/// Waits without a last one. Their random parts follow from the seed.
pub(crate) fn endless(seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(SHORTEST)
        .with_max_delay(LONGEST)
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let longest = Duration::from_millis(1_500);
        let waits: Vec<_> = endless_up_to(longest, 7).take(20).collect();
        assert!(waits[0] < 3 * SHORTEST, "{waits:?}");
        assert_eq!(waits.iter().max(), Some(&longest));
    }
}
