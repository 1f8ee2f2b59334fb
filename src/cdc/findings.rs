//! What is wrong with a server and its tables, or could be: all of it from one look, each with its remedy.
//!
//! What does not live here: what is looked at ([`super::preflight`], [`super::refusals`]).

use tracing::warn;

use crate::Failure;
use crate::error::{Failures, Fault};

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The agent starts anyway.
    Warning {
        /// What there is, and what follows from it.
        what: String,
        /// What to do; empty if that is up to the operator.
        remedy: String,
    },
    /// The agent does not start.
    Refusal(Failure),
}

/// What was found, in the order in which it was looked at.
///
/// Contract: checks add what they find; `take` makes a finding of a check's failure, so that the next check can be
/// made; `conclude` ends it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds what does not keep the agent from starting.
    pub(super) fn warn(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        let (what, remedy) = (what.into(), remedy.into());
        self.add(Finding::Warning { what, remedy });
    }

    /// Adds what does.
    pub(super) fn refuse(&mut self, failure: Failure) {
        self.add(Finding::Refusal(failure));
    }

    /// Several checks may meet the same fault.
    fn add(&mut self, finding: Finding) {
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Adds a check's failure; `None` if there was one.
    ///
    /// # Errors
    /// A failure that may pass: the connection is gone, and nothing more can be asked over it.
    pub(super) fn take<T>(&mut self, checked: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match checked {
            Ok(checked) => Ok(Some(checked)),
            Err(failure) if failure.fault == Fault::Transient => Err(failure),
            Err(failure) => {
                self.refuse(failure);
                Ok(None)
            }
        }
    }

    /// Logs the warnings and gives what was checked if nothing keeps the agent from starting. `checked` is a
    /// failure if not everything could be looked at.
    ///
    /// # Errors
    /// All that keeps it from starting.
    pub(crate) fn conclude<T>(mut self, checked: Result<T, Failure>) -> Result<T, Failures> {
        let checked = checked.map_err(|failure| self.refuse(failure)).ok();
        let mut refusals = Vec::new();
        for finding in self.0 {
            match finding {
                Finding::Warning { what, remedy } if remedy.is_empty() => warn!("{what}"),
                Finding::Warning { what, remedy } => warn!("{what}; {remedy}"),
                Finding::Refusal(failure) => refusals.push(failure),
            }
        }
        let mut refusals = refusals.into_iter();
        match (refusals.next(), checked) {
            (None, Some(checked)) => Ok(checked),
            (Some(first), _) => Err(Failures {
                first,
                others: refusals.collect(),
            }),
            (None, None) => unreachable!("a failure was added above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exit;

    fn refusal(what: &str) -> Failure {
        Failure::definite(Exit::Config, what, "correct it")
    }

    #[test]
    fn all_refusals_are_told_once_in_their_order() {
        let mut findings = Findings::default();
        findings.warn("nearly", "look at it");
        assert_eq!(findings.take(Ok(7)), Ok(Some(7)));
        for what in ["b", "a", "b"] {
            assert_eq!(findings.take::<()>(Err(refusal(what))), Ok(None));
        }
        let failures = findings.conclude(Ok(())).unwrap_err();
        assert_eq!(failures.first, refusal("b"));
        assert_eq!(failures.others, [refusal("a")]);
    }

    #[test]
    fn warnings_keep_nothing_from_starting() {
        let mut findings = Findings::default();
        findings.warn("nearly", "");
        assert_eq!(findings.conclude(Ok(7)), Ok(7));
    }

    #[test]
    fn a_connection_that_breaks_ends_the_look_and_is_told_last() {
        let broken = Failure::transient(Exit::Unavailable, "gone", "start again");
        let mut findings = Findings::default();
        findings.refuse(refusal("a"));
        let ended = findings.take::<()>(Err(broken.clone()));
        assert_eq!(ended, Err(broken.clone()));
        let failures = findings.conclude(ended).unwrap_err();
        assert_eq!(failures.first, refusal("a"));
        assert_eq!(failures.others, [broken]);
    }
}
