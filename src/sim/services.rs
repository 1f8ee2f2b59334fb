//! The services behind one endpoint, and the count of their calls.
//!
//! What lives here: which service a call is for, and how its answer or error looks to
//! [`super::http`]. What does not: what the call does ([`super::firehose`], [`super::ecs`],
//! [`super::cloudwatch`]).

use std::sync::Mutex;

use super::account::Accounts;
use super::calls::{Calls, Outcome, action_of};
use super::cloudwatch::{self, CloudWatch, CloudWatchError, Encoding, Protocol};
use super::ecs::{self, Ecs, EcsError};
use super::firehose::{self, Firehose};
use super::lock;
use super::wire::{ApiError, Code};

const AMZ_JSON: &str = "application/x-amz-json-1.1";

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

/// All services.
#[derive(Debug)]
pub(super) struct Services {
    /// Streams.
    pub firehose: Firehose,
    /// Clusters.
    pub ecs: Ecs,
    /// Metrics.
    pub cloudwatch: CloudWatch,
    calls: Mutex<Calls>,
}

impl Services {
    /// These services, with nothing counted.
    #[must_use]
    pub(super) fn new(firehose: Firehose, ecs: Ecs, cloudwatch: CloudWatch) -> Self {
        Self {
            firehose,
            ecs,
            cloudwatch,
            calls: Mutex::default(),
        }
    }

    /// Answers a call whose service and operation are in `X-Amz-Target`; `body` is none if it
    /// was too large. A target of no known service gets Firehose's error. Only CloudWatch takes
    /// packed bodies.
    pub(super) fn answer_target(
        &self,
        target: &str,
        is_signed: bool,
        encoding: Encoding,
        body: Option<&[u8]>,
    ) -> Reply {
        if let Some(operation) = target.strip_prefix(cloudwatch::TARGET_PREFIX) {
            self.answer_cloudwatch(Protocol::Json, operation, is_signed, encoding, body)
        } else if let Some(operation) = target.strip_prefix(ecs::TARGET_PREFIX) {
            self.answer_ecs(operation, is_signed, body)
        } else {
            self.answer_firehose(target, is_signed, body)
        }
    }

    fn answer_firehose(&self, target: &str, is_signed: bool, body: Option<&[u8]>) -> Reply {
        let answer = match body {
            Some(body) => self.firehose.answer(target, is_signed, body),
            None => Err(too_large()).inspect_err(|error| self.firehose.count(error)),
        };
        let operation = target
            .strip_prefix(firehose::TARGET_PREFIX)
            .unwrap_or_default();
        // Firehose counts its errors by itself.
        let outcome = match &answer {
            Ok(_) => Outcome::Answered,
            Err(error) if error.code == Code::ServiceUnavailable => Outcome::Throttled,
            Err(_) => Outcome::Refused,
        };
        let action = action_of(&firehose::ACTIONS, operation);
        lock(&self.calls).count(action, outcome, None);
        match answer {
            Ok(body) => json(200, body),
            Err(error) => json(error.code.status(), error.body()),
        }
    }

    fn answer_ecs(&self, operation: &str, is_signed: bool, body: Option<&[u8]>) -> Reply {
        let Some(body) = body else {
            let error = too_large();
            self.firehose.count(&error);
            return json(error.code.status(), error.body());
        };
        let answer = self.ecs.answer(operation, is_signed, body);
        let outcome = match &answer {
            Ok(_) => Outcome::Answered,
            Err(EcsError::Throttled) => Outcome::Throttled,
            Err(_) => Outcome::Refused,
        };
        let name = answer.as_ref().err().map(|error| error.name());
        lock(&self.calls).count(action_of(&ecs::ACTIONS, operation), outcome, name);
        match answer {
            Ok(body) => json(200, body),
            Err(error) => json(error.status(), error.body()),
        }
    }

    /// Answers a call to CloudWatch's path for CBOR in another protocol: there is none.
    pub(super) fn answer_other_protocol(&self, operation: &str) -> Reply {
        let error = CloudWatchError::UnknownOperation;
        self.reply_of_cloudwatch(Protocol::Cbor, operation, Err(error))
    }

    /// Answers a call of CloudWatch.
    pub(super) fn answer_cloudwatch(
        &self,
        protocol: Protocol,
        operation: &str,
        is_signed: bool,
        encoding: Encoding,
        body: Option<&[u8]>,
    ) -> Reply {
        let answer = body.ok_or(CloudWatchError::TooLarge).and_then(|body| {
            self.cloudwatch
                .answer(protocol, operation, is_signed, encoding, body)
        });
        self.reply_of_cloudwatch(protocol, operation, answer)
    }

    /// Counts an answer and puts it in the terms of HTTP.
    fn reply_of_cloudwatch(
        &self,
        protocol: Protocol,
        operation: &str,
        answer: Result<Vec<u8>, CloudWatchError>,
    ) -> Reply {
        let outcome = match &answer {
            Ok(_) => Outcome::Answered,
            Err(CloudWatchError::Throttled) => Outcome::Throttled,
            Err(_) => Outcome::Refused,
        };
        let query_error = answer.as_ref().err().map(|error| error.name());
        lock(&self.calls).count(
            action_of(&cloudwatch::ACTIONS, operation),
            outcome,
            query_error,
        );
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(error) => (error.status(), error.body(protocol)),
        };
        Reply {
            status,
            content_type: (!body.is_empty()).then_some(protocol.content_type()),
            body,
            is_cbor: protocol == Protocol::Cbor,
            query_error,
        }
    }

    /// A copy of all accounts.
    #[must_use]
    pub(super) fn accounts(&self) -> Accounts {
        let mut accounts = self.firehose.accounts();
        accounts.metrics = self.cloudwatch.accounts();
        let calls = lock(&self.calls);
        accounts.calls = calls.by_action.clone();
        for (&error, &count) in &calls.errors {
            *accounts.errors.entry(error).or_default() += count;
        }
        accounts
    }
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
    let most = super::http::MAX_BODY_BYTES;
    let message = format!("The body is larger than {most} bytes");
    ApiError::new(Code::RequestEntityTooLarge, message)
}
