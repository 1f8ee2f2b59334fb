//! PURE. Tables of which only inserts are followed: each row is delivered once, as an insert or as a row that was read.
//!
//! Rows that are delivered and stand where the table is not read yet are remembered by their keys. Where a row comes from there
//! to where the table is read, it is read once more. The key is one integer, so that it is known without the server on
//! which side a row stands.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use super::given::Given;
use super::progress::{KeyRange, TableProgress};

/// Bytes that changes of a transaction may take.
const MOST_BYTES: usize = 32 << 20;
/// Of a change, beside its line.
const CHANGE_BYTES: usize = 96;
/// Rows that windows may know as touched.
const MOST_TOUCHED: usize = 100_000;

/// What a change has made of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Rows with these keys and all between.
    Inserted(i128, i128),
    Deleted(i128, i128),
    /// The line of the row as it is now, without its end.
    Updated(i128, i128, Box<[u8]>),
}

/// Whether the changes of a transaction fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    There,
    /// There is if windows are given up.
    WithoutWindows,
    None,
}

/// What an open window must know of a row.
#[derive(Debug)]
enum Touched {
    /// It is gone, or delivered.
    Gone,
    /// It is as this line says.
    Row(Box<[u8]>),
}

/// What becomes of the rows of a table.
#[derive(Debug, Default)]
pub(crate) struct Once {
    /// Those of the open transaction.
    changes: Vec<Change>,
    bytes: usize,
    /// Changes before the newest savepoint, which nothing may be added to.
    kept: usize,
    /// A row has got another key in it.
    has_moves: bool,
    /// Since windows are open, with the number of the touch.
    touched: HashMap<i128, (u64, Touched)>,
    touches: u64,
}

/// What a transaction has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Committed {
    /// Other keys are given, or other ranges to be read, than before.
    pub(super) is_changed: bool,
    /// It has touched more than windows can know.
    pub(super) is_too_much: bool,
}

/// What is to be written of a row that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// Nothing: it is delivered, or gone.
    Nothing,
    /// The row as it was read.
    Unchanged,
    /// This line.
    Line(&'a [u8]),
}

impl Once {
    /// A change of the open transaction.
    pub(super) fn note(&mut self, change: Change, ranges: &[KeyRange], has_windows: bool) -> Room {
        let is_unread = |key: i128| ranges.iter().any(|range| range.has(key));
        let is_of_no_matter = match &change {
            Change::Inserted(key, _) | Change::Deleted(key, _) => !is_unread(*key),
            Change::Updated(before, after, _) => {
                before == after && !(has_windows && is_unread(*after))
            }
        };
        // Where a row moves to will be read again, whatever stands there now.
        if is_of_no_matter && !self.has_moves {
            return Room::There;
        }
        let last = self
            .changes
            .get_mut(self.kept..)
            .and_then(<[Change]>::last_mut);
        match (last, &change) {
            (Some(Change::Inserted(_, to)), Change::Inserted(key, _))
            | (Some(Change::Deleted(_, to)), Change::Deleted(key, _))
                if *key == *to + 1 =>
            {
                *to = *key;
                return Room::There;
            }
            (_, Change::Updated(before, after, line)) => {
                self.bytes += line.len();
                self.has_moves |= before != after;
            }
            _ => {}
        }
        self.bytes += CHANGE_BYTES;
        self.changes.push(change);
        if self.bytes <= MOST_BYTES {
            return Room::There;
        }
        if self.kept > 0 {
            return Room::None;
        }
        // Only windows need lines.
        let is_move = |change: &Change| !matches!(change, Change::Updated(before, after, _) if before == after);
        self.changes.retain(is_move);
        for change in &mut self.changes {
            if let Change::Updated(_, _, line) = change {
                *line = Box::default();
            }
        }
        self.bytes = self.changes.len() * CHANGE_BYTES;
        if self.bytes <= MOST_BYTES {
            Room::WithoutWindows
        } else {
            Room::None
        }
    }

    /// Whether the open transaction has changes.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// A savepoint: the changes of the open transaction before it.
    pub(super) fn savepoint(&mut self) -> usize {
        self.kept = self.changes.len();
        self.kept
    }

    /// Only so many changes of the open transaction are left.
    pub(super) fn undo_to(&mut self, noted: usize) {
        self.changes.truncate(noted);
        self.kept = noted;
        if self.changes.is_empty() {
            self.end_transaction();
        }
    }

    fn end_transaction(&mut self) {
        self.bytes = 0;
        self.kept = 0;
        self.has_moves = false;
    }

    pub(super) fn touches(&self) -> u64 {
        self.touches
    }

    /// No window is open.
    pub(super) fn forget_touched(&mut self) {
        self.touched = HashMap::new();
    }

    /// The open transaction is committed. Windows are open for ranges with these indices.
    pub(super) fn commit(&mut self, progress: &mut TableProgress, open: &[usize]) -> Committed {
        let has_windows = !open.is_empty();
        let mut is_changed = false;
        self.end_transaction();
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Inserted(from, to) => {
                    for key in from..=to {
                        is_changed |= progress.give(key);
                    }
                    self.touch(from..=to, has_windows);
                }
                Change::Deleted(from, to) => {
                    for key in from..=to {
                        is_changed |= progress.given.remove(key);
                    }
                    self.touch(from..=to, has_windows);
                }
                Change::Updated(before, after, line) => {
                    let is_given = progress.given.remove(before);
                    let is_delivered = is_given || !progress.is_unread(before);
                    is_changed |= is_given;
                    if before != after {
                        self.touch(before..=before, has_windows);
                    }
                    if is_delivered {
                        is_changed |= progress.give(after);
                        self.touch(after..=after, has_windows);
                    } else if progress.is_unread(after) {
                        self.touch_row(after, line, has_windows);
                    } else {
                        progress.read_again(after, open);
                        is_changed = true;
                    }
                }
            }
        }
        Committed {
            is_changed,
            is_too_much: self.touched.len() > MOST_TOUCHED,
        }
    }

    /// Rows are gone, or delivered.
    fn touch(&mut self, keys: RangeInclusive<i128>, has_windows: bool) {
        self.touches += 1;
        if has_windows {
            let room = MOST_TOUCHED + 1;
            let keys = keys.take(room.saturating_sub(self.touched.len()));
            let touched = keys.map(|key| (key, (self.touches, Touched::Gone)));
            self.touched.extend(touched);
        }
    }

    /// A row is as its line says.
    fn touch_row(&mut self, key: i128, line: Box<[u8]>, has_windows: bool) {
        self.touches += 1;
        if has_windows {
            self.touched.insert(key, (self.touches, Touched::Row(line)));
        }
    }

    /// What is to be written of a row with this key, which was read in a window that was opened after so many touches.
    pub(super) fn read(&self, key: i128, given: &Given, since: u64) -> Read<'_> {
        if given.contains(key) {
            return Read::Nothing;
        }
        match self.touched.get(&key) {
            Some((number, Touched::Gone)) if *number > since => Read::Nothing,
            Some((number, Touched::Row(line))) if *number > since => Read::Line(line),
            Some(_) | None => Read::Unchanged,
        }
    }

    /// The lines of rows that have come into a range since then, by their keys.
    pub(super) fn came(
        &self,
        given: &Given,
        since: u64,
        range: &KeyRange,
    ) -> BTreeMap<i128, &[u8]> {
        let rows = self.touched.iter();
        let rows = rows.filter_map(|(key, (number, touched))| match touched {
            Touched::Row(line) if *number > since => Some((*key, &**line)),
            Touched::Row(_) | Touched::Gone => None,
        });
        rows.filter(|(key, _)| range.has(*key) && !given.contains(*key))
            .collect()
    }
}

#[cfg(test)]
#[path = "once_tests.rs"]
mod tests;
