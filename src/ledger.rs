//! PURE. What is on its way, and up to where everything is acknowledged.

use std::collections::VecDeque;

/// Keeps, for each batch that is not acknowledged, the commit before its first row.
///
/// Contract: [`Ledger::open`] when the first row of a batch is written, with the newest commit
/// before that row; [`Ledger::acknowledge`] once the sink has it for good. [`Ledger::safe`] is
/// then a commit from which reading again loses nothing.
///
/// Commits never go backwards, so the oldest open batch has the oldest mark, and one mark per
/// batch is enough: memory does not grow with the number of transactions.
#[derive(Debug)]
pub struct Ledger<M> {
    next_id: u64,
    open: VecDeque<Entry<M>>,
}

#[derive(Debug)]
struct Entry<M> {
    id: u64,
    before: M,
    acknowledged: bool,
}

impl<M> Default for Ledger<M> {
    fn default() -> Self {
        Self {
            next_id: 0,
            open: VecDeque::new(),
        }
    }
}

impl<M> Ledger<M> {
    /// Enters a batch whose first row comes after the commit `before`, and numbers it.
    pub fn open(&mut self, before: M) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.open.push_back(Entry {
            id,
            before,
            acknowledged: false,
        });
        id
    }

    /// Notes that a batch has arrived. A number that is not open is ignored.
    pub fn acknowledge(&mut self, id: u64) {
        let found = self.open.binary_search_by_key(&id, |entry| entry.id);
        if let Ok(index) = found
            && let Some(entry) = self.open.get_mut(index)
        {
            entry.acknowledged = true;
        }
        while self.open.front().is_some_and(|entry| entry.acknowledged) {
            self.open.pop_front();
        }
    }

    /// The commit before the oldest row that is not acknowledged, or `None` if every row is.
    #[must_use]
    pub fn safe(&self) -> Option<&M> {
        self.open.front().map(|entry| &entry.before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_mark_waits_for_the_oldest_batch() {
        let mut ledger = Ledger::default();
        let first = ledger.open(10);
        let second = ledger.open(20);
        let third = ledger.open(30);
        ledger.acknowledge(second);
        assert_eq!(ledger.safe(), Some(&10));
        ledger.acknowledge(first);
        assert_eq!(ledger.safe(), Some(&30));
        ledger.acknowledge(third);
        ledger.acknowledge(third);
        assert_eq!(ledger.safe(), None);
    }

    proptest! {
        #[test]
        fn no_unacknowledged_batch_is_ever_passed(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200)
        ) {
            let mut ledger = Ledger::default();
            let mut outstanding: Vec<(u64, usize)> = Vec::new();
            for (commit, (open, pick)) in steps.into_iter().enumerate() {
                if open || outstanding.is_empty() {
                    outstanding.push((ledger.open(commit), commit));
                } else {
                    let (id, _) = outstanding.remove(pick.index(outstanding.len()));
                    ledger.acknowledge(id);
                }
                let oldest = outstanding.iter().map(|(_, before)| before).min();
                prop_assert_eq!(ledger.safe(), oldest);
            }
        }
    }
}
