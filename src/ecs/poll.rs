//! One poll of ECS: its attempts within the deadline, and how an error becomes a reason.
//!
//! What does not live here: what is asked and what an answer says ([`super::ask`]), and when to
//! poll ([`super::schedule`]).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::http::HttpResponse;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use tokio::time::{sleep, timeout_at};

use crate::aws::{CallError, Cause};

use super::account::GapReason;
use super::ask::{Answer, Ask};
use super::place::Limiter;

/// A broken connection or a failure of the service is tried again within the deadline.
const MOST_ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(40);

/// Why a whole poll failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PollError {
    pub(super) reason: GapReason,
    /// For people.
    pub(super) what: String,
}

/// How a poll went.
#[derive(Debug)]
pub(super) struct Polled {
    /// Requests that were sent.
    pub(super) attempts: u32,
    pub(super) took: Duration,
    /// For each target, in the order in which they were asked for.
    pub(super) answer: Result<Vec<Answer>, PollError>,
}

/// Asks until there is an answer, the deadline has come, or asking again is of no use.
pub(super) async fn poll(mut caller: Caller, ask: Ask, deadline: Instant) -> Polled {
    let started = Instant::now();
    let answer = timeout_at(deadline.into(), ask.send(&mut caller)).await;
    Polled {
        took: started.elapsed(),
        answer: answer.unwrap_or_else(|_| Err(PollError::deadline())),
        attempts: caller.attempts,
    }
}

/// Makes calls of one of ECS's buckets, and counts them.
#[derive(Debug)]
pub(super) struct Caller {
    client: Client,
    limiter: Arc<Limiter>,
    /// Whether a call waits when the share of the bucket is used up, or fails.
    waits: bool,
    /// Requests that were sent.
    pub(super) attempts: u32,
}

impl Caller {
    /// Whose calls fail as [`GapReason::Paced`] when the share is used up.
    pub(super) fn new(client: Client, limiter: Arc<Limiter>) -> Self {
        Self {
            client,
            limiter,
            waits: false,
            attempts: 0,
        }
    }

    /// Whose calls wait for their turn.
    pub(super) fn patient(self) -> Self {
        Self {
            waits: true,
            ..self
        }
    }

    /// Sends a request, again if the failure may pass at once.
    pub(super) async fn call<T, E, F>(
        &mut self,
        send: impl Fn(&Client) -> F,
    ) -> Result<T, PollError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut attempt = 1;
        loop {
            if self.waits {
                self.limiter.until_ready().await;
            } else if self.limiter.check().is_err() {
                return Err(PollError {
                    reason: GapReason::Paced,
                    what: "hydrant's share of the account's calls is used up".to_owned(),
                });
            }
            self.attempts += 1;
            let error = match send(&self.client).await {
                Ok(output) => return Ok(output),
                Err(error) => CallError::from(&error),
            };
            if attempt == MOST_ATTEMPTS || !may_pass_at_once(error.cause) {
                return Err(error.into());
            }
            attempt += 1;
            sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
        }
    }
}

impl PollError {
    pub(super) fn deadline() -> Self {
        Self {
            reason: GapReason::Deadline,
            what: "no answer in time".to_owned(),
        }
    }
}

fn may_pass_at_once(cause: Cause) -> bool {
    match cause {
        Cause::Unreachable | Cause::BrokenOff | Cause::Failed | Cause::Unavailable => true,
        Cause::NotBuilt
        | Cause::NoCredentials
        | Cause::NoAnswer
        | Cause::Throttled
        | Cause::Denied
        | Cause::Expired
        | Cause::BadCredentials
        | Cause::Gone
        | Cause::BadKey
        | Cause::Invalid
        | Cause::NotUnderstood
        | Cause::Other => false,
    }
}

impl From<CallError> for PollError {
    fn from(error: CallError) -> Self {
        let reason = match error.cause {
            Cause::NoAnswer => GapReason::Deadline,
            Cause::Throttled => GapReason::Throttled,
            // Of the calls about what is in a cluster.
            Cause::Gone => GapReason::Missing,
            Cause::NoCredentials | Cause::Denied | Cause::Expired | Cause::BadCredentials => {
                GapReason::Denied
            }
            Cause::NotBuilt
            | Cause::Unreachable
            | Cause::BrokenOff
            | Cause::Failed
            | Cause::Unavailable
            | Cause::BadKey
            | Cause::Invalid
            | Cause::NotUnderstood
            | Cause::Other => GapReason::Failed,
        };
        Self {
            reason,
            what: error.what,
        }
    }
}
