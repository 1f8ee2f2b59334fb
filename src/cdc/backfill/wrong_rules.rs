//! Whether random histories are hard enough to tell a wrong rule.

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRng, TestRunner};

/// Steps of a history at most.
pub(super) const STEPS: usize = 120;

/// Makes sure that a rule fails in one of many histories, which are the same in each run.
pub(super) fn ensure_told<Rule: Copy + Debug, Step: Debug>(
    rules: &[Rule],
    step: impl Fn() -> BoxedStrategy<Step>,
    check: impl Fn(Rule, Vec<Step>) -> Result<(), TestCaseError>,
) {
    for rule in rules {
        let config = Config {
            cases: 5_000,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        let histories = prop::collection::vec(step(), 0..STEPS);
        let found =
            TestRunner::new_with_rng(config, rng).run(&histories, |steps| check(*rule, steps));
        assert!(
            matches!(found, Err(TestError::Fail(..))),
            "no history tells {rule:?}: {found:?}"
        );
    }
}
