//! One poll of ECS, within its deadline.
//!
//! What does not live here: what is asked and what an answer says ([`super::poll_query`]), attempts and errors
//! ([`super::caller`]), and when to poll ([`super::core::schedule`]).

use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::caller::{Caller, PollError};
use super::core::account::GapReason;
use super::poll_query::{Answer, PollQuery};

/// How a poll went.
#[derive(Debug)]
pub(super) struct Polled {
    /// Requests that were sent.
    pub(super) attempts: u32,
    pub(super) took: Duration,
    /// For each target, in the order in which they were asked for.
    pub(super) answer: Result<Vec<Answer>, PollError>,
}

impl Polled {
    /// Whether ECS has answered that there are too many calls.
    pub(super) fn is_throttled(&self) -> bool {
        let error = self.answer.as_ref().err();
        error.is_some_and(|error| error.reason == GapReason::Throttled)
    }
}

/// Asks until there is an answer, the deadline has come, or asking again is of no use.
pub(super) async fn poll(mut caller: Caller, query: PollQuery, deadline: Instant) -> Polled {
    let started = Instant::now();
    let answer = timeout_at(deadline.into(), query.send(&mut caller)).await;
    Polled {
        took: started.elapsed(),
        answer: answer.unwrap_or_else(|_| Err(PollError::deadline())),
        attempts: caller.attempts,
    }
}
