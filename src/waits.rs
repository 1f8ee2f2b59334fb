//! PURE. How long to wait between attempts that go on until one succeeds.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The shortest wait. It doubles, and a random part of it is added.
pub(crate) const SHORTEST: Duration = Duration::from_millis(50);
/// The longest wait, without its random part.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

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
