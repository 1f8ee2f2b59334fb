//! PURE. The counters of API calls, by operation.
//!
//! What lives here: how often each operation was called and what became of it. What does not:
//! what the calls did ([`super::account`], [`super::cloudwatch`]).

use std::collections::BTreeMap;

use serde::Serialize;

/// What became of the calls of one operation. The four add up to all calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallCounts {
    /// Answered with 200.
    pub answered: u64,
    /// Refused by a quota of calls: come back later.
    pub throttled: u64,
    /// Refused for any other reason.
    pub refused: u64,
    /// Left without an answer, by a fault or because the client went away before it.
    pub unanswered: u64,
}

impl CallCounts {
    /// All calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answered + self.throttled + self.refused + self.unanswered
    }
}

/// What became of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered with 200.
    Answered,
    /// Over a quota of calls.
    Throttled,
    /// An error of another kind.
    Refused,
    /// No answer at all.
    Unanswered,
}

/// The counters, and the codes of the errors that they saw.
///
/// Feed it with [`Calls::count`]; read [`Calls::by_action`] and [`Calls::errors`].
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By IAM's name of the operation, such as `ecs:DescribeClusters`.
    pub by_action: BTreeMap<&'static str, CallCounts>,
    /// By the error's name on the wire.
    pub errors: BTreeMap<&'static str, u64>,
}

impl Calls {
    /// Counts one call of `action`, which is `None` for an unknown operation.
    pub(super) fn count(
        &mut self,
        action: Option<&'static str>,
        outcome: Outcome,
        error: Option<&'static str>,
    ) {
        if let Some(action) = action {
            let counts = self.by_action.entry(action).or_default();
            match outcome {
                Outcome::Answered => counts.answered += 1,
                Outcome::Throttled => counts.throttled += 1,
                Outcome::Refused => counts.refused += 1,
                Outcome::Unanswered => counts.unanswered += 1,
            }
        }
        if let Some(error) = error {
            *self.errors.entry(error).or_default() += 1;
        }
    }
}

/// The action of this operation, if it is one of `actions`.
#[must_use]
pub(super) fn action_of(actions: &[&'static str], operation: &str) -> Option<&'static str> {
    let is_it = |action: &&&'static str| {
        action
            .split_once(':')
            .is_some_and(|(_, name)| name == operation)
    };
    actions.iter().find(is_it).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_add_up_and_unknown_operations_take_no_room() {
        let mut calls = Calls::default();
        calls.count(Some("ecs:A"), Outcome::Answered, None);
        calls.count(
            Some("ecs:A"),
            Outcome::Throttled,
            Some("ThrottlingException"),
        );
        calls.count(Some("ecs:A"), Outcome::Refused, Some("Other"));
        calls.count(Some("ecs:A"), Outcome::Unanswered, None);
        calls.count(None, Outcome::Refused, Some("Other"));
        assert_eq!(calls.by_action["ecs:A"].total(), 4);
        assert_eq!(calls.by_action.len(), 1);
        assert_eq!(calls.errors["Other"], 2);
    }

    #[test]
    fn an_operation_is_found_by_its_whole_name() {
        let actions = ["ecs:List", "ecs:ListServices"];
        assert_eq!(
            action_of(&actions, "ListServices"),
            Some("ecs:ListServices")
        );
        assert_eq!(action_of(&actions, "Services"), None);
    }
}
