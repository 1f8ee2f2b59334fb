//! One poll of ECS: its attempts within the deadline, and how an error becomes a reason.
//!
//! What does not live here: what is asked and what an answer says ([`super::ask`]), and when to
//! poll ([`super::schedule`]).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::http::HttpResponse;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use tokio::time::{sleep, timeout_at};

use crate::error::root_cause;

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
            match send(&self.client).await {
                Ok(output) => return Ok(output),
                Err(error) if attempt < MOST_ATTEMPTS && may_pass_at_once(&error) => {
                    attempt += 1;
                    sleep(PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
                }
                Err(error) => return Err(classify(&error)),
            }
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

fn may_pass_at_once<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        SdkError::ResponseError(_) => true,
        SdkError::ServiceError(service) => service.raw().status().is_server_error(),
        _ => false,
    }
}

fn classify<E>(error: &SdkError<E, HttpResponse>) -> PollError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let service = match error {
        SdkError::ServiceError(service) => service.err(),
        SdkError::TimeoutError(_) => return PollError::deadline(),
        other => {
            let first: &(dyn std::error::Error + 'static) = other;
            let mut causes = std::iter::successors(Some(first), |cause| cause.source());
            let unsigned = causes.any(<dyn std::error::Error>::is::<CredentialsError>);
            return PollError {
                reason: if unsigned {
                    GapReason::Denied
                } else {
                    GapReason::Failed
                },
                what: format!("cannot ask: {}", root_cause(other)),
            };
        }
    };
    let code = service.code().unwrap_or("unknown error");
    let reason = match code {
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded" => GapReason::Throttled,
        // Of the calls about what is in a cluster.
        "ClusterNotFoundException" => GapReason::Missing,
        "AccessDeniedException"
        | "AccessDenied"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "MissingAuthenticationTokenException" => GapReason::Denied,
        _ => GapReason::Failed,
    };
    let message = service.message().unwrap_or("no message");
    PollError {
        reason,
        what: format!("{code}: {message}"),
    }
}
