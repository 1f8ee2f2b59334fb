//! When to try again after the stream is lost, and when to give up. Time is an argument.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::Failure;
use crate::binlog::FilePosition;
use crate::error::Fault;

use super::checkpoint::Checkpoint;
use super::server::Mark;

/// How long a running agent retries failures that may or may not pass: a password that is
/// being changed, or a replica that has not caught up with what was read from its source.
pub(super) const PATIENCE: Duration = Duration::from_mins(10);
const SHORTEST_DELAY: Duration = Duration::from_millis(100);
/// The longest time between two attempts.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A connection that has lived this long and has delivered something is replaced at once.
const SETTLED: Duration = Duration::from_secs(10);

/// The attempts since the stream has moved last.
///
/// Contract: [`Retry::going_on_from`] when the stream is lost, then [`Retry::failed`] for that failure
/// and for each attempt that fails.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    /// Delays since then.
    delays: usize,
    /// From where the newest stream was asked for.
    asked_from: PositionAndGtids,
    /// A stream has moved or lived; until then this is still the start, which does not wait.
    has_followed: bool,
    uncertain_since: Option<Instant>,
    at_once: bool,
}

/// Position and GTIDs.
type PositionAndGtids = (Option<FilePosition>, Option<String>);

impl Retry {
    /// None since a start at this mark.
    pub(super) fn new(start: &Mark) -> Self {
        let gtids = start.gtids.as_ref().map(ToString::to_string);
        Self {
            delays: 0,
            asked_from: (start.position.clone(), gtids),
            has_followed: false,
            uncertain_since: None,
            at_once: true,
        }
    }

    /// Whether a stream that has `lived` so long is the first one, and has brought nothing yet.
    pub(super) fn is_start(&self, lived: Duration) -> bool {
        !self.has_followed && lived < SETTLED
    }

    /// The stream was lost after it `lived` so long, and continues from this checkpoint.
    pub(super) fn going_on_from(&mut self, checkpoint: &Checkpoint, lived: Duration) {
        let place = (checkpoint.position.clone(), checkpoint.gtids.clone());
        self.has_followed |= lived >= SETTLED;
        if self.asked_from == place {
            return;
        }
        self.asked_from = place;
        self.has_followed = true;
        self.delays = 0;
        self.uncertain_since = None;
        self.at_once = lived >= SETTLED;
    }

    /// How long to wait before the next attempt.
    ///
    /// # Errors
    /// The failure, if it will not pass or has lasted too long.
    pub(super) fn failed(&mut self, failure: &Failure, now: Instant) -> Result<Duration, Failure> {
        match failure.fault {
            Fault::Definite => return Err(failure.clone()),
            Fault::Uncertain if !self.has_followed => return Err(failure.clone()),
            Fault::Uncertain => {
                let since = *self.uncertain_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= PATIENCE {
                    return Err(failure.clone());
                }
            }
            Fault::Transient => {}
        }
        if std::mem::take(&mut self.at_once) {
            return Ok(Duration::ZERO);
        }
        let delay = delays().nth(self.delays).unwrap_or(LONGEST_DELAY);
        if delay < LONGEST_DELAY {
            self.delays += 1;
        }
        Ok(delay)
    }
}

/// How long to wait before each attempt; it never ends.
pub(super) fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(SHORTEST_DELAY)
        .with_max_delay(LONGEST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::super::layouts::KnownLayouts;
    use super::super::server::Identity;
    use super::*;
    use crate::Exit;

    fn mark(offset: u64) -> Mark {
        let position = FilePosition::new("b.000001", offset);
        Mark::new(Identity("x".into()), Some(position), None)
    }

    fn checkpoint(offset: u64) -> Checkpoint {
        Checkpoint::at(&mark(offset), KnownLayouts::default())
    }

    fn broken() -> Failure {
        Failure::transient(Exit::Unavailable, "cut off", "wait")
    }

    #[test]
    fn a_stream_that_does_not_move_is_asked_for_ever_more_rarely() {
        let (mut retry, now) = (Retry::new(&mark(4)), Instant::now());
        let mut waited = Duration::ZERO;
        for _ in 0..10 {
            retry.going_on_from(&checkpoint(4), Duration::from_millis(1));
            waited += retry.failed(&broken(), now).unwrap();
        }
        assert!(waited > Duration::from_secs(20), "{waited:?}");
        retry.going_on_from(&checkpoint(500), Duration::from_millis(1));
        let first = retry.failed(&broken(), now).unwrap();
        assert!(
            (SHORTEST_DELAY..SHORTEST_DELAY * 2 + SHORTEST_DELAY).contains(&first),
            "{first:?}"
        );
        retry.going_on_from(&checkpoint(900), SETTLED);
        assert_eq!(retry.failed(&broken(), now), Ok(Duration::ZERO));
        assert!(retry.failed(&broken(), now).unwrap() >= SHORTEST_DELAY);
    }

    #[test]
    fn what_may_not_pass_is_borne_for_a_while() {
        let (mut retry, start) = (Retry::new(&mark(4)), Instant::now());
        let denied = Failure::uncertain(Exit::Permission, "denied", "check the password");
        let mended = Failure::definite(Exit::Config, "same id", "choose another");
        retry.going_on_from(&checkpoint(4), SETTLED);
        assert!(retry.failed(&broken(), start).is_ok());
        assert!(retry.failed(&denied, start + PATIENCE).is_ok());
        assert!(retry.failed(&broken(), start + PATIENCE * 2).is_ok());
        assert_eq!(
            retry.failed(&denied, start + PATIENCE * 2),
            Err(denied.clone())
        );
        // Who has gone on meanwhile begins anew.
        retry.going_on_from(&checkpoint(500), SETTLED);
        assert!(retry.failed(&denied, start + PATIENCE * 2).is_ok());
        assert_eq!(retry.failed(&mended, start), Err(mended.clone()));
        // A start tells at once.
        let mut retry = Retry::new(&mark(4));
        retry.going_on_from(&checkpoint(4), Duration::from_secs(1));
        assert_eq!(retry.failed(&denied, start), Err(denied.clone()));
    }
}
