//! The two clocks, read as one moment.
//!
//! What does not live here: what follows from them ([`super::core::schedule`]).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::core::schedule::Now;

/// Between two readings of the monotonic clock around one of the wall clock.
const READING: Duration = Duration::from_millis(1);
const MOST_READINGS: u32 = 10;

/// Both clocks, read close together.
pub(super) fn now() -> Now {
    let mut readings = 0;
    loop {
        let monotonic = Instant::now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let us = since.unwrap_or_default().as_micros();
        readings += 1;
        if monotonic.elapsed() <= READING || readings == MOST_READINGS {
            let utc_us = i64::try_from(us).unwrap_or(i64::MAX);
            return Now { monotonic, utc_us };
        }
    }
}
