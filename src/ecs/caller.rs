//! Calls of one of ECS's buckets: how many a second, tried again or not, and counted.
//!
//! What does not live here: which calls ([`super::poll_query`], [`super::directory`]), and with which credentials
//! ([`super::clients`]).

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::http::HttpResponse;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::sleep;

use crate::aws::{CallError, Cause};

use super::core::account::GapReason;
use super::core::cadence::{
    CLUSTER_READS_PER_SECOND, CLUSTER_RESOURCE_READS_PER_SECOND, SERVICE_READS_PER_SECOND,
};

/// A broken connection or a failure of the service is tried again within the deadline.
const MOST_ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(40);

/// Admits calls of one bucket.
pub(super) type Limiter = DefaultDirectRateLimiter;

/// One of ECS's buckets of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallBucket {
    /// ListClusters and DescribeClusters.
    Clusters,
    /// ListServices and DescribeServices.
    Services,
    /// ListContainerInstances and DescribeContainerInstances.
    Instances,
}

impl CallBucket {
    pub(super) const ALL: [Self; 3] = [Self::Clusters, Self::Services, Self::Instances];

    /// Calls a second that an account has.
    pub(super) fn per_second(self) -> f64 {
        match self {
            Self::Clusters => CLUSTER_READS_PER_SECOND,
            Self::Services => SERVICE_READS_PER_SECOND,
            Self::Instances => CLUSTER_RESOURCE_READS_PER_SECOND,
        }
    }

    /// The call that samples, and what it samples.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Clusters => ("DescribeClusters", "clusters"),
            Self::Services => ("DescribeServices", "services"),
            Self::Instances => ("DescribeContainerInstances", "capacity providers"),
        }
    }
}

/// Why a call, and with it the whole poll, failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PollError {
    pub(super) reason: GapReason,
    /// Of the call that failed, if it is that.
    pub(super) cause: Option<Cause>,
    /// For people.
    pub(super) what: String,
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
                    cause: None,
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
            cause: None,
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
        | Cause::RoleDenied
        | Cause::Expired
        | Cause::BadCredentials
        | Cause::BadSignature
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
            Cause::NoCredentials
            | Cause::Denied
            | Cause::RoleDenied
            | Cause::Expired
            | Cause::BadCredentials
            | Cause::BadSignature => GapReason::Denied,
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
            cause: Some(error.cause),
            what: error.what,
        }
    }
}

/// What is planned stays under the rate by itself; this is for attempts after a failure. A second's
/// calls come close together, so that many are admitted at once.
pub(super) fn limiter(per_second: f64) -> Limiter {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 20"
    )]
    let at_once = per_second.ceil() as u32;
    let at_once = NonZeroU32::MIN.saturating_add(at_once);
    let quota = Quota::with_period(Duration::from_secs_f64(1.0 / per_second));
    // The shares that the configuration takes have periods above zero.
    let quota = quota.unwrap_or(Quota::per_second(NonZeroU32::MIN));
    RateLimiter::direct(quota.allow_burst(at_once))
}
