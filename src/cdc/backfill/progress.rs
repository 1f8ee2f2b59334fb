//! PURE. How much of a table has been read, as marks and the checkpoint have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::given::Given;
use super::key::{Bound, Key};

/// By table, `schema.table`.
pub(crate) type BackfillProgress = BTreeMap<String, TableProgress>;

/// Ranges that a checkpoint can have.
const MOST_RANGES: usize = 10_000;

/// A run's number in the numbers of its lines.
const RUN_SHIFT: u32 = 32;
const MOST_RUNS: u64 = 1 << 20;
/// Lines of rows that were read are numbered from here on, so that none has the number of a transaction's. All of them are
/// exact as a double.
const FIRST_ORDINAL: u64 = 1 << 52;

/// What is known of one table whose rows are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableProgress {
    /// How often its reading was begun anew.
    generation: u32,
    /// The columns of the key by which it is read.
    key: Vec<String>,
    /// Together they are the table; none before they are known.
    ranges: Vec<KeyRange>,
    /// Parts that are written.
    parts: u64,
    /// Rows that are written.
    rows: u64,
    /// Starts since it began.
    runs: u32,
    /// Keys of rows that are delivered and stand where it is not read, of tables of which only inserts are followed.
    #[serde(default, skip_serializing_if = "Given::is_empty")]
    pub(super) given: Given,
    /// Changes before the place as of which it is read are not written: it is followed from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) begins_there: bool,
}

/// The rows behind one key, up to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRange {
    /// Moves on with what is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Bound>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_read: bool,
}

impl KeyRange {
    /// Whether a key that is an integer is in it and not read.
    pub(super) fn has(&self, key: i128) -> bool {
        if self.is_read {
            return false;
        }
        let (after, to) = self.integers();
        after < key && key <= to
    }

    /// Its bounds as integers.
    fn integers(&self) -> (i128, i128) {
        let of = |bound: &Option<Bound>| bound.as_ref().and_then(Bound::integer);
        (
            of(&self.after).unwrap_or(i128::MIN),
            of(&self.to).unwrap_or(i128::MAX),
        )
    }

    /// The part of it up to a key; all of it if there is none.
    pub(super) fn up_to(&self, key: Option<&Bound>) -> Self {
        Self {
            to: key.cloned().or_else(|| self.to.clone()),
            ..self.clone()
        }
    }
}

impl TableProgress {
    /// Nothing is read yet; `before` is what was read of the table before it is read once more.
    pub(super) fn begin(key: &Key, bounds: Vec<Bound>, before: Option<&Self>) -> Self {
        let mut ranges = Vec::with_capacity(bounds.len() + 1);
        let mut after = None;
        for bound in bounds.into_iter().map(Some).chain([None]) {
            ranges.push(KeyRange {
                after: std::mem::replace(&mut after, bound.clone()),
                to: bound,
                is_read: false,
            });
        }
        Self {
            generation: before.map_or(0, |before| before.generation + 1),
            key: key.names().map(str::to_owned).collect(),
            ranges,
            runs: before.map_or(0, |before| before.runs),
            ..Self::default()
        }
    }

    /// Whether it is of this key.
    pub(super) fn is_by(&self, key: &Key) -> bool {
        self.key.iter().map(String::as_str).eq(key.names())
    }

    /// The columns of the key by which it is read.
    pub(super) fn key(&self) -> &[String] {
        &self.key
    }

    /// Whether all rows are written.
    pub(crate) fn is_done(&self) -> bool {
        self.ranges.iter().all(|range| range.is_read)
    }

    /// Whether its rows were read before, so that some may be there twice.
    pub(crate) fn is_again(&self) -> bool {
        self.generation > 0
    }

    /// Rows that are written.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether it knows more than another, or as much.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        (self.generation, self.parts) >= (other.generation, other.parts)
    }

    /// A run begins that goes on with it.
    pub(super) fn begin_run(&mut self) {
        self.runs = self.runs.saturating_add(1);
    }

    /// The ordinal of the line with this number in the run; unique in the table's history.
    pub(super) fn ordinal(&self, number: u64) -> u64 {
        let run = u64::from(self.runs) % MOST_RUNS;
        FIRST_ORDINAL + (run << RUN_SHIFT) + number % (1 << RUN_SHIFT)
    }

    /// Whether a key stands where it is not read.
    pub(super) fn is_unread(&self, key: i128) -> bool {
        self.ranges.iter().any(|range| range.has(key))
    }

    /// A row with this key is delivered. Says whether that is to be remembered.
    pub(super) fn give(&mut self, key: i128) -> bool {
        let is_unread = self.is_unread(key);
        if is_unread {
            self.given.insert(key);
        }
        is_unread
    }

    /// A row has come to where it is read, and is not delivered. Ranges with these indices are being read.
    pub(super) fn read_again(&mut self, key: i128, open: &[usize]) {
        let to = Some(Bound::of_integer(key));
        let last = self.ranges.len().saturating_sub(1);
        if let Some(range) = self.ranges.get_mut(last)
            && !range.is_read
            && !open.contains(&last)
            && range.integers().1 == key - 1
        {
            range.to = to;
            return;
        }
        self.ranges.push(KeyRange {
            after: Some(Bound::of_integer(key - 1)),
            to,
            is_read: false,
        });
    }

    /// Whether too much is to be remembered.
    pub(super) fn is_too_large(&self) -> bool {
        self.given.is_too_large() || self.ranges.len() > MOST_RANGES
    }

    /// The index of the range behind which there is nothing, unless it is read.
    pub(super) fn unread_end(&self) -> Option<usize> {
        let mut ranges = self.ranges.iter();
        ranges.position(|range| range.to.is_none() && !range.is_read)
    }

    pub(super) fn ranges(&self) -> &[KeyRange] {
        &self.ranges
    }

    /// So many rows of a range are written, up to a key; all of it if there is none.
    pub(super) fn advance(&mut self, range: usize, up_to: Option<Bound>, rows: u64) {
        if let Some(range) = self.ranges.get_mut(range) {
            if !self.given.is_empty() {
                let (after, to) = range.up_to(up_to.as_ref()).integers();
                self.given.remove_between(after, to);
            }
            range.is_read = up_to.is_none();
            range.after = up_to.or_else(|| range.after.take());
        }
        self.parts += 1;
        self.rows += rows;
        if self.is_done() {
            // Keys are values of the table, and of no use any more.
            self.ranges.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::ServerColumn;

    fn key() -> Key {
        let id = ServerColumn {
            name: "id".to_owned(),
            data_type: "int".to_owned(),
            ..ServerColumn::default()
        };
        Key::new("PRIMARY", &[&id]).unwrap()
    }

    #[test]
    fn ranges_cover_the_table_and_shrink() {
        let bounds = [10, 20].map(Bound::of_integer).to_vec();
        let mut progress = TableProgress::begin(&key(), bounds, None);
        let ends: Vec<_> = progress
            .ranges()
            .iter()
            .map(|range| (range.after.clone(), range.to.clone()))
            .collect();
        let bound = |value| Some(Bound::of_integer(value));
        assert_eq!(
            ends,
            [(None, bound(10)), (bound(10), bound(20)), (bound(20), None)]
        );
        assert!(progress.is_by(&key()) && !progress.is_done());
        let before = progress.clone();
        progress.advance(1, bound(13), 3);
        assert_eq!(progress.ranges()[1].after, bound(13));
        assert!(progress.includes(&before) && !before.includes(&progress));
        for range in 0..3 {
            assert!(!progress.is_done());
            progress.advance(range, None, 1);
        }
        assert!(progress.is_done());
        assert_eq!(progress.rows(), 6);
        let again = TableProgress::begin(&key(), Vec::new(), Some(&progress));
        assert!(again.includes(&progress) && !progress.includes(&again) && !again.is_done());
    }

    #[test]
    fn no_two_runs_number_a_line_alike() {
        let mut progress = TableProgress::begin(&key(), Vec::new(), None);
        progress.begin_run();
        let first = [0, 1, u64::from(u32::MAX)].map(|number| progress.ordinal(number));
        progress.begin_run();
        let second = [0, 1, u64::from(u32::MAX)].map(|number| progress.ordinal(number));
        assert!(first.iter().max() < second.iter().min());
        assert!(second.iter().all(|ordinal| *ordinal < 1 << 53));
    }

    #[test]
    fn what_is_stored_is_read() {
        let mut progress = TableProgress::begin(&key(), vec![Bound::of_integer(10)], None);
        progress.advance(0, Some(Bound::of_integer(4)), 4);
        let stored = serde_json::to_string(&progress).unwrap();
        let read: TableProgress = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, progress);
    }
}
