//! The question that is open, if there is one, beside the loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Failure;

use super::super::asker::{Asker, QueryOutcome};
use super::super::server::Mark;
use super::super::server_columns::Question;

/// A question under way, which gives back who asks.
type QuestionAsked =
    Pin<Box<dyn Future<Output = (Box<Asker>, Result<QueryOutcome, Failure>)> + Send>>;

/// The asker while no question is open; otherwise the open question.
pub(super) enum Asking {
    Idle(Box<Asker>),
    UnderWay(QuestionAsked),
    /// Between the two.
    Nobody,
}

impl Asking {
    /// Begins to ask.
    pub(super) fn begin(&mut self, question: Question, mark: Arc<Mark>) {
        if let Self::Idle(mut asker) = std::mem::replace(self, Self::Nobody) {
            *self = Self::UnderWay(Box::pin(async move {
                let told = asker.ask(&question, &mark).await;
                (asker, told)
            }));
        }
    }

    /// Waits for the answer; forever if no question is open.
    pub(super) async fn next(&mut self) -> Result<QueryOutcome, Failure> {
        let Self::UnderWay(asking) = self else {
            return std::future::pending().await;
        };
        let (asker, told) = asking.await;
        *self = Self::Idle(asker);
        told
    }

    pub(super) fn is_under_way(&self) -> bool {
        matches!(self, Self::UnderWay(_))
    }

    /// Positions may mean something else from here on.
    pub(super) fn forget(&mut self) {
        if let Self::Idle(asker) = self {
            asker.forget();
        }
    }
}
