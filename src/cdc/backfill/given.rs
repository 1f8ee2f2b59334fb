//! PURE. Integers in intervals: the keys of rows that are delivered and stand where the table is not read yet.

use serde::{Deserialize, Serialize};

/// More intervals take too much of a checkpoint.
const MOST_INTERVALS: usize = 50_000;

/// A set of integers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given(
    /// Inclusive bounds, in order, with a gap between any two.
    Vec<(i128, i128)>,
);

impl Given {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it takes too much room.
    pub(super) fn is_too_large(&self) -> bool {
        self.0.len() > MOST_INTERVALS
    }

    /// The first interval that ends at a value or behind it.
    fn position(&self, value: i128) -> usize {
        self.0.partition_point(|(_, end)| *end < value)
    }

    pub(super) fn contains(&self, value: i128) -> bool {
        let interval = self.0.get(self.position(value));
        interval.is_some_and(|(start, _)| *start <= value)
    }

    pub(super) fn insert(&mut self, value: i128) {
        let at = self.position(value - 1);
        match self.0.get(at).copied() {
            Some((start, end)) if start <= value + 1 => {
                let end = end.max(value);
                self.0[at] = (start.min(value), end);
                if let Some((next, last)) = self.0.get(at + 1).copied()
                    && next == end + 1
                {
                    self.0[at].1 = last;
                    self.0.remove(at + 1);
                }
            }
            Some(_) | None => self.0.insert(at, (value, value)),
        }
    }

    /// Takes a value out. Says whether it was there.
    pub(super) fn remove(&mut self, value: i128) -> bool {
        let at = self.position(value);
        let Some((start, end)) = self.0.get(at).copied() else {
            return false;
        };
        if start > value {
            return false;
        }
        let left = (start < value).then_some((start, value - 1));
        let right = (value < end).then_some((value + 1, end));
        self.0.splice(at..=at, left.into_iter().chain(right));
        true
    }

    /// Takes all out that are greater than one value and not greater than another.
    pub(super) fn remove_between(&mut self, after: i128, up_to: i128) {
        if after >= up_to {
            return;
        }
        let kept = self.0.iter().flat_map(|&(start, end)| {
            let left = (start, end.min(after));
            let right = (start.max(up_to.saturating_add(1)), end);
            [left, right]
                .into_iter()
                .filter(|(start, end)| start <= end)
        });
        self.0 = kept.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(i8),
        Remove(i8),
        Between(i8, i8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<i8>().prop_map(|value| Step::Insert(value / 4)),
            2 => any::<i8>().prop_map(|value| Step::Remove(value / 4)),
            1 => any::<(i8, i8)>().prop_map(|(a, b)| Step::Between(a / 4, b / 4)),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec(step(), 0..60)) {
            let (mut given, mut set) = (Given::default(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(value) => {
                        given.insert(value.into());
                        set.insert(i128::from(value));
                    }
                    Step::Remove(value) => {
                        prop_assert_eq!(given.remove(value.into()), set.remove(&value.into()));
                    }
                    Step::Between(after, up_to) => {
                        let (after, up_to) = (i128::from(after.min(up_to)), i128::from(up_to.max(after)));
                        given.remove_between(after, up_to);
                        set.retain(|value| *value <= after || *value > up_to);
                    }
                }
                let all: Vec<i128> = given.0.iter().flat_map(|(start, end)| *start..=*end).collect();
                prop_assert_eq!(&all, &set.iter().copied().collect::<Vec<_>>());
                prop_assert!(given.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
                prop_assert_eq!(given.contains(3), set.contains(&3));
            }
        }
    }
}
