//! The services behind one endpoint, the faults before them, and the count of their calls.
//!
//! What lives here: which service a call is for, how its answer or error looks to
//! [`super::http`], and what is counted once that is known to have gone out or not. What does not:
//! what the call does ([`super::firehose`], [`super::ecs`], [`super::cloudwatch`]) and which faults
//! it meets ([`super::faults`]).

use std::sync::{Arc, Mutex};

use super::account::Accounts;
use super::calls::{Calls, Outcome, action_of};
use super::cloudwatch::{self, CloudWatch, CloudWatchError, Encoding, Protocol};
use super::ecs::{self, Ecs, EcsError};
use super::faults::{CallFaults, End, Faults};
use super::faults_error::CallError;
use super::firehose::wire::{ApiError, Code, stream_of};
use super::firehose::{self, Admitted, Firehose};
use super::{Clock, lock};

/// Most bytes of a body. The largest valid one is 4 MiB in base64 and JSON, about 5.7 MiB; the
/// rest lets what is somewhat too large get the error that AWS gives it.
pub(super) const MAX_BODY_BYTES: usize = 16 << 20;

const AMZ_JSON: &str = "application/x-amz-json-1.1";

/// What is called, as the request says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api<'a> {
    /// In JSON: service and operation are in `X-Amz-Target`. A target of no known service gets
    /// Firehose's error.
    Json {
        /// The header.
        target: &'a str,
    },
    /// CloudWatch's operation in its path, in CBOR.
    Cbor {
        /// From the path.
        operation: &'a str,
    },
    /// The same in another protocol: there is none.
    OtherProtocol {
        /// From the path.
        operation: &'a str,
    },
}

/// A request, in the terms of HTTP. Only CloudWatch takes packed bodies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// What is called.
    pub api: Api<'a>,
    /// Whether it has a signature.
    pub is_signed: bool,
    /// How the body is packed.
    pub encoding: Encoding,
    /// None if it was too large.
    pub body: Option<&'a [u8]>,
}

/// Whose operation it is.
#[derive(Debug, Clone, Copy)]
enum Callee<'a> {
    Firehose(&'a str),
    Ecs(&'a str),
    CloudWatch(Protocol, &'a str),
    Nobody(&'a str),
}

impl<'a> Request<'a> {
    fn callee(&self) -> Callee<'a> {
        match self.api {
            Api::Json { target } => {
                if let Some(operation) = target.strip_prefix(cloudwatch::TARGET_PREFIX) {
                    Callee::CloudWatch(Protocol::Json, operation)
                } else if let Some(operation) = target.strip_prefix(ecs::TARGET_PREFIX) {
                    Callee::Ecs(operation)
                } else {
                    let operation = target.strip_prefix(firehose::TARGET_PREFIX);
                    Callee::Firehose(operation.unwrap_or_default())
                }
            }
            Api::Cbor { operation } => Callee::CloudWatch(Protocol::Cbor, operation),
            Api::OtherProtocol { operation } => Callee::Nobody(operation),
        }
    }
}

impl Callee<'_> {
    /// IAM's name, if it is a known operation.
    fn action(self) -> Option<&'static str> {
        match self {
            Self::Firehose(operation) => action_of(&firehose::ACTIONS, operation),
            Self::Ecs(operation) => action_of(&ecs::ACTIONS, operation),
            Self::CloudWatch(_, operation) | Self::Nobody(operation) => {
                action_of(&cloudwatch::ACTIONS, operation)
            }
        }
    }
}

/// An answer, in the terms of HTTP.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Its type; none without a body.
    pub content_type: Option<&'static str>,
    /// Whether the protocol is Smithy's RPC v2 CBOR.
    pub is_cbor: bool,
    /// The error's name in the query protocol, for clients that ask for it.
    pub query_error: Option<&'static str>,
}

/// What a call has left behind, of which its client does not know before it has the answer.
#[derive(Debug)]
enum Stored {
    Nothing,
    Records(Admitted),
    Data(u64),
}

/// A call that was carried out or refused and not answered yet.
///
/// Contract: [`PendingCall::finish`] gives the reply that goes out. A call that is dropped before is
/// counted as one without an answer, whoever is to blame for it.
#[derive(Debug)]
pub(super) struct PendingCall {
    services: Arc<Services>,
    action: Option<&'static str>,
    outcome: Outcome,
    error: Option<&'static str>,
    reply: Option<Reply>,
    stored: Stored,
    /// Whether the reply tells the client what was stored.
    confirms: bool,
}

impl PendingCall {
    /// The reply, which is counted as sent.
    #[must_use]
    pub(super) fn finish(mut self) -> Option<Reply> {
        self.reply.take()
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        let is_answered = self.reply.is_none();
        if !is_answered {
            (self.outcome, self.error) = (Outcome::Unanswered, None);
        }
        // The call is counted last: whoever sees it finds what it left behind counted too.
        if !(is_answered && self.confirms) {
            self.services.count_unconfirmed(&self.stored);
        }
        self.services.count(self.action, self.outcome, self.error);
    }
}

/// The counters of all services.
#[derive(Debug, Default)]
struct ServiceCounters {
    calls: Calls,
    unconfirmed_data: u64,
}

/// All services.
#[derive(Debug)]
pub(super) struct Services {
    /// Streams.
    pub firehose: Firehose,
    /// Clusters.
    pub ecs: Ecs,
    /// Metrics.
    pub cloudwatch: CloudWatch,
    faults: Mutex<Faults>,
    clock: Clock,
    counted: Mutex<ServiceCounters>,
}

impl Services {
    /// These services, with nothing counted.
    #[must_use]
    pub(super) fn new(
        firehose: Firehose,
        ecs: Ecs,
        cloudwatch: CloudWatch,
        faults: Faults,
        clock: Clock,
    ) -> Self {
        Self {
            firehose,
            ecs,
            cloudwatch,
            faults: Mutex::new(faults),
            clock,
            counted: Mutex::default(),
        }
    }

    /// What the faults have in store for a request. Ask once.
    pub(super) fn plan(&self, request: &Request<'_>) -> CallFaults {
        let Some(action) = request.callee().action() else {
            return CallFaults::default();
        };
        let elapsed = self.clock.now().duration_since(self.clock.started_at);
        let stream = || stream_of(request.body?);
        lock(&self.faults).plan(action, stream, elapsed)
    }

    /// Counts a call that ended without being looked at.
    pub(super) fn drop_call(&self, request: &Request<'_>) {
        self.count(request.callee().action(), Outcome::Unanswered, None);
    }

    /// Answers a request as the plan says, as far as that is a matter of what is said.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: &Request<'_>,
        plan: &CallFaults,
    ) -> PendingCall {
        let callee = request.callee();
        let (answer, stored) = match callee {
            Callee::Firehose(operation) => self.answer_firehose(operation, request, plan),
            Callee::Ecs(operation) => (self.answer_ecs(operation, request, plan), Stored::Nothing),
            Callee::CloudWatch(protocol, operation) => {
                self.answer_cloudwatch(protocol, operation, request, plan)
            }
            Callee::Nobody(_) => (
                of_cloudwatch(Protocol::Cbor, Err(CloudWatchError::UnknownOperation)),
                Stored::Nothing,
            ),
        };
        let (outcome, error, reply) = match plan.end {
            End::Error(error) if answer.0 == Outcome::Answered => injected(callee, error),
            _ => answer,
        };
        PendingCall {
            services: Arc::clone(self),
            action: callee.action(),
            outcome,
            error,
            reply: Some(reply),
            stored,
            confirms: plan.end == End::Answer,
        }
    }

    fn answer_firehose(
        &self,
        operation: &str,
        request: &Request<'_>,
        plan: &CallFaults,
    ) -> (Answered, Stored) {
        let Some(body) = request.body else {
            return (of_firehose(Err(too_large())), Stored::Nothing);
        };
        match self
            .firehose
            .answer(operation, request.is_signed, body, plan)
        {
            Ok(answer) => {
                let stored = answer.admitted.map_or(Stored::Nothing, Stored::Records);
                (of_firehose(Ok(answer.body)), stored)
            }
            Err(error) => (of_firehose(Err(error)), Stored::Nothing),
        }
    }

    fn answer_ecs(&self, operation: &str, request: &Request<'_>, plan: &CallFaults) -> Answered {
        let Some(body) = request.body else {
            return of_firehose(Err(too_large()));
        };
        of_ecs(self.ecs.answer(operation, request.is_signed, body, plan))
    }

    fn answer_cloudwatch(
        &self,
        protocol: Protocol,
        operation: &str,
        request: &Request<'_>,
        plan: &CallFaults,
    ) -> (Answered, Stored) {
        let answer = request.body.ok_or(CloudWatchError::TooLarge);
        let answer = answer.and_then(|body| {
            let request = cloudwatch::Request {
                protocol,
                operation,
                is_signed: request.is_signed,
                encoding: request.encoding,
                body,
            };
            self.cloudwatch.answer(&request, plan)
        });
        let stored = answer.as_ref().map_or(0, |answer| answer.stored_data);
        let answer = answer.map(|answer| answer.body);
        (of_cloudwatch(protocol, answer), Stored::Data(stored))
    }

    fn count(&self, action: Option<&'static str>, outcome: Outcome, error: Option<&'static str>) {
        lock(&self.counted).calls.count(action, outcome, error);
    }

    fn count_unconfirmed(&self, stored: &Stored) {
        match stored {
            Stored::Nothing => {}
            Stored::Records(admitted) => admitted.count_unconfirmed(),
            Stored::Data(count) => lock(&self.counted).unconfirmed_data += count,
        }
    }

    #[must_use]
    pub(super) fn stored_data(&self) -> u64 {
        self.cloudwatch.stored_data()
    }

    /// A copy of all accounts.
    #[must_use]
    pub(super) fn accounts(&self) -> Accounts {
        let streams = self.firehose.accounts();
        let metrics = self.cloudwatch.accounts();
        let faults = lock(&self.faults).accounts();
        let counted = lock(&self.counted);
        Accounts {
            streams,
            metrics,
            faults,
            errors: counted.calls.errors.clone(),
            calls: counted.calls.by_action.clone(),
            unconfirmed_data: counted.unconfirmed_data,
        }
    }
}

/// What became of a call, the error's name, and the reply.
type Answered = (Outcome, Option<&'static str>, Reply);

/// A fault's error as the answer of this service.
fn injected(callee: Callee<'_>, error: CallError) -> Answered {
    match callee {
        Callee::Firehose(_) => of_firehose(Err(ApiError::injected(error))),
        Callee::Ecs(_) => of_ecs(Err(EcsError::Injected(error))),
        Callee::CloudWatch(protocol, _) => {
            of_cloudwatch(protocol, Err(CloudWatchError::Injected(error)))
        }
        Callee::Nobody(_) => of_cloudwatch(Protocol::Cbor, Err(CloudWatchError::Injected(error))),
    }
}

fn of_firehose(answer: Result<Vec<u8>, ApiError>) -> Answered {
    match answer {
        Ok(body) => (Outcome::Answered, None, json(200, body)),
        Err(error) => {
            let outcome = match error.code {
                Code::ServiceUnavailable => Outcome::Throttled,
                Code::Injected(error) if error.is_throttle() => Outcome::Throttled,
                _ => Outcome::Refused,
            };
            let reply = json(error.code.status(), error.body());
            (outcome, Some(error.code.name()), reply)
        }
    }
}

fn of_ecs(answer: Result<Vec<u8>, EcsError>) -> Answered {
    match answer {
        Ok(body) => (Outcome::Answered, None, json(200, body)),
        Err(error) => {
            let outcome = match error {
                EcsError::Throttled => Outcome::Throttled,
                EcsError::Injected(error) if error.is_throttle() => Outcome::Throttled,
                _ => Outcome::Refused,
            };
            (
                outcome,
                Some(error.name()),
                json(error.status(), error.body()),
            )
        }
    }
}

fn of_cloudwatch(protocol: Protocol, answer: Result<Vec<u8>, CloudWatchError>) -> Answered {
    let outcome = match &answer {
        Ok(_) => Outcome::Answered,
        Err(CloudWatchError::Throttled) => Outcome::Throttled,
        Err(CloudWatchError::Injected(error)) if error.is_throttle() => Outcome::Throttled,
        Err(_) => Outcome::Refused,
    };
    let query_error = answer.as_ref().err().map(|error| error.name());
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err(error) => (error.status(), protocol.refusal(error)),
    };
    let reply = Reply {
        status,
        content_type: (!body.is_empty()).then_some(protocol.content_type()),
        body,
        is_cbor: protocol == Protocol::Cbor,
        query_error,
    };
    (outcome, query_error, reply)
}

fn json(status: u16, body: Vec<u8>) -> Reply {
    Reply {
        status,
        body,
        content_type: Some(AMZ_JSON),
        is_cbor: false,
        query_error: None,
    }
}

fn too_large() -> ApiError {
    let most = MAX_BODY_BYTES;
    let message = format!("The body is larger than {most} bytes");
    ApiError::new(Code::RequestEntityTooLarge, message)
}
