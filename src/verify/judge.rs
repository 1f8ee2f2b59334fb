//! PURE. Whether the lines of a table are its rows: folds the lines of one key after the other, and judges.
//!
//! A part of the table was read at some moment of its window. A line at or before the window's low end was visible to whoever
//! read, and none behind its high end was. So a row that no line in the window has touched must be as the last line before
//! it says, and one that was touched must be as it was at some moment of the window.
//!
//! What does not live here: reading either side, and the order of records ([`super::record`]).

use serde::Serialize;

use super::record::{Kind, Record};

/// What was visible when a part of the table was read, as numbers in `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// All lines up to this one were.
    pub(super) low: i64,
    /// No line behind this one was.
    pub(super) high: i64,
}

/// What lines can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub(super) struct Rules {
    /// Rows that differ differ for no reason: updates are followed, or there are none.
    pub(super) knows_updates: bool,
    /// Rows that are gone are gone for no reason: deletes are followed, or there are none.
    pub(super) knows_deletes: bool,
    /// A line that is there twice is one too many.
    pub(super) is_exactly_once: bool,
    /// Rows of which there is no line are not compared.
    pub(super) only_delivered: bool,
    /// Rows that are alike cannot be told apart, because lines have no key.
    pub(super) without_key: bool,
    /// Rows were read more than once, so that their lines may come again.
    pub(super) is_read_again: bool,
    /// Lines have numbers in `sequence`.
    pub(super) has_order: bool,
    /// Lines have something by which a copy is told from a row that came again.
    pub(super) knows_copies: bool,
}

/// What is wrong with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fault {
    /// It is in the table, and in no line.
    Missing,
    /// It is in a line, and not in the table.
    Extra,
    /// It has other values in the table than in its newest line.
    Differing,
    /// A line is there more than once.
    Doubled,
}

impl Fault {
    pub(super) const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::Differing, Self::Doubled];

    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Differing => "differing",
            Self::Doubled => "doubled",
        }
    }
}

/// A row that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    pub(super) key: [u64; 2],
    /// The row of the table, if there is one.
    pub(super) source: Option<Place>,
    /// The line that says something else, or that is there twice.
    pub(super) line: Option<Place>,
    /// The other one of two.
    pub(super) other: Option<Place>,
}

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) part: u32,
    pub(super) number: u32,
}

impl Place {
    fn of(record: &Record) -> Self {
        Self {
            part: record.part,
            number: record.number,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows of the table.
    pub(super) rows: u64,
    /// Lines up to where the table was read.
    pub(super) lines: u64,
    /// Lines behind that.
    pub(super) later_lines: u64,
    /// Rows that are as their lines say.
    pub(super) equal: u64,
    /// Of those, rows of which not all columns could be compared.
    pub(super) partly: u64,
    /// Of the equal ones, rows that were changed while they were read.
    pub(super) touched: u64,
    /// Faults, as [`Fault::ALL`] has them.
    pub(super) faults: [u64; 4],
    /// Rows that were changed after they were delivered, or were not delivered as they were; lines cannot tell.
    pub(super) changed_since: u64,
    /// Rows that were deleted after they were delivered, or never were; lines cannot tell.
    pub(super) gone_since: u64,
    /// Rows that came again after they were deleted, or were delivered more than once; lines cannot tell.
    pub(super) repeated: u64,
    /// Rows of which there is no line, and that were not compared.
    pub(super) not_delivered: u64,
    /// Lines that an at-least-once sink has more than once.
    pub(super) copies: u64,
}

/// Judges one key after the other.
///
/// Contract: [`Judge::take`] for each record in their order, then [`Judge::conclude`].
#[derive(Debug)]
pub(super) struct Judge<'w> {
    rules: Rules,
    /// By part of the table.
    windows: &'w [Window],
    /// Of what is in no part.
    widest: Window,
    /// The variant in which all columns are compared.
    whole: u8,
    /// Findings that are kept of each kind.
    most: usize,
    pub(super) counts: Counts,
    pub(super) findings: Vec<Finding>,
    key: Option<[u64; 2]>,
    /// The newest that was judged.
    concluded: [u64; 2],
    group: Group,
}

/// What is known of the key at hand.
#[derive(Debug, Default)]
struct Group {
    window: Option<Window>,
    /// The row, once for each variant; of rows that are alike, one.
    sources: Vec<Record>,
    /// Rows.
    count: i64,
    /// The newest line up to the window's low end.
    base: Option<Record>,
    /// The newest line up to its high end.
    newest: Option<Record>,
    /// How many rows there were, up to its low end.
    balance: i64,
    /// The fewest and the most that there were in the window.
    range: (i64, i64),
    has_lines: bool,
    is_in_window: bool,
    /// In the window the row was once as it is in the table, or not there.
    was_equal: Option<u8>,
    was_away: bool,
    /// Any line says what the table says.
    is_told: Option<u8>,
    /// Lines with rows, and the first of them.
    rows: u64,
    first: Option<Record>,
    /// Lines with the same number.
    alike: Vec<Record>,
}

impl<'w> Judge<'w> {
    /// `whole` is the variant of all columns; of each kind of fault, so many are kept.
    pub(super) fn new(rules: Rules, windows: &'w [Window], whole: u8, most: usize) -> Self {
        let low = windows.iter().map(|window| window.low).min();
        let high = windows.iter().map(|window| window.high).max();
        Self {
            rules,
            windows,
            widest: Window {
                low: low.unwrap_or(i64::MAX),
                high: high.unwrap_or(i64::MAX),
            },
            whole,
            most,
            counts: Counts::default(),
            findings: Vec::new(),
            key: None,
            concluded: [0; 2],
            group: Group::default(),
        }
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, record: &Record) {
        if self.key != Some(record.key) {
            self.conclude();
            self.key = Some(record.key);
        }
        if record.kind == Kind::Source {
            let mut known = self.group.sources.iter();
            if !known.any(|known| known.variant == record.variant) {
                self.group.sources.push(*record);
            }
            if record.variant == self.whole {
                self.group.count += 1;
                self.counts.rows += 1;
            }
            return;
        }
        let window = match self.group.window {
            Some(window) => window,
            None => {
                let source = self.group.sources.first();
                let of_part = source.and_then(|source| self.windows.get(source.part as usize));
                // Rows that are alike may be in any part.
                let of_part = of_part.filter(|_| !self.rules.without_key);
                *self.group.window.insert(*of_part.unwrap_or(&self.widest))
            }
        };
        if self.is_copy(record) {
            return;
        }
        if record.order > window.high {
            self.counts.later_lines += 1;
            return;
        }
        self.counts.lines += 1;
        self.group.take(record, record.order > window.low);
    }

    /// Whether the same line was there before.
    fn is_copy(&mut self, record: &Record) -> bool {
        let first = self.group.alike.first();
        if self.rules.has_order && first.is_some_and(|first| first.order != record.order) {
            self.group.alike.clear();
        }
        let is_same =
            |other: &&Record| other.identity == record.identity && other.kind == record.kind;
        let other = self.group.alike.iter().find(is_same).copied();
        if record.identity == 0 {
            return false;
        }
        let Some(other) = other else {
            self.group.alike.push(*record);
            return false;
        };
        if !self.rules.is_exactly_once {
            self.counts.copies += 1;
        } else if record.kind == Kind::Read && self.rules.is_read_again {
            self.counts.repeated += 1;
        } else {
            self.find(Finding {
                fault: Fault::Doubled,
                key: record.key,
                source: None,
                line: Some(Place::of(record)),
                other: Some(Place::of(&other)),
            });
        }
        true
    }

    /// Judges the last key.
    pub(super) fn conclude(&mut self) {
        let Some(key) = self.key.take() else {
            return;
        };
        self.concluded = key;
        let mut group = std::mem::take(&mut self.group);
        group.close();
        let finding = if self.rules.without_key {
            self.compare_counts(&group)
        } else {
            self.compare(&group)
        };
        if let Some(fault) = finding {
            let source = group.sources.iter().find(|it| it.variant == self.whole);
            self.find(Finding {
                fault,
                key,
                source: source.map(Place::of),
                line: group.newest.as_ref().map(Place::of),
                other: None,
            });
        }
        group.sources.clear();
        group.alike.clear();
        // Their memory is used again.
        self.group.sources = group.sources;
        self.group.alike = group.alike;
    }

    fn compare(&mut self, group: &Group) -> Option<Fault> {
        if !self.rules.knows_deletes && group.rows > 1 {
            self.note_repeated(group);
        }
        let counts = &mut self.counts;
        if group.sources.is_empty() {
            if group.was_away || !group.has_lines {
                return None;
            }
            if self.rules.knows_deletes {
                return Some(Fault::Extra);
            }
            counts.gone_since += 1;
            return None;
        }
        let told = group.is_told.filter(|_| !self.rules.knows_updates);
        if let Some(variant) = group.was_equal.or(told) {
            counts.equal += 1;
            counts.partly += u64::from(variant != self.whole);
            counts.touched += u64::from(group.is_in_window);
            return None;
        }
        if !group.has_lines && self.rules.only_delivered {
            counts.not_delivered += 1;
            return None;
        }
        if group.newest.is_none_or(|line| line.kind == Kind::Away) {
            return Some(Fault::Missing);
        }
        if self.rules.knows_updates {
            return Some(Fault::Differing);
        }
        counts.changed_since += 1;
        None
    }

    /// There are several lines of a row whose deletes are not known.
    fn note_repeated(&mut self, group: &Group) {
        if self.rules.knows_copies || !self.rules.is_exactly_once {
            self.counts.repeated += group.rows - 1;
            return;
        }
        self.find(Finding {
            fault: Fault::Doubled,
            key: self.concluded,
            source: None,
            line: group.newest.as_ref().map(Place::of),
            other: group.first.as_ref().map(Place::of),
        });
    }

    /// Of rows without a key, how many are alike.
    fn compare_counts(&mut self, group: &Group) -> Option<Fault> {
        let rows = group.count;
        let (least, most) = group.range;
        let found = rows.min(most).max(0);
        let counts = &mut self.counts;
        counts.equal += found.cast_unsigned();
        if rows > most {
            if self.rules.only_delivered && !group.has_lines {
                counts.not_delivered += rows.cast_unsigned();
                return None;
            }
            return Some(Fault::Missing);
        }
        if rows < least {
            if self.rules.knows_deletes && self.rules.knows_updates {
                return Some(Fault::Extra);
            }
            counts.gone_since += (least - rows).cast_unsigned();
        }
        None
    }

    fn find(&mut self, finding: Finding) {
        let count = &mut self.counts.faults[finding.fault as usize];
        *count += 1;
        if *count <= self.most as u64 {
            self.findings.push(finding);
        }
    }
}

impl Group {
    /// Takes a line up to the window's high end.
    fn take(&mut self, record: &Record, is_in_window: bool) {
        if is_in_window && !self.is_in_window {
            self.open();
        }
        self.has_lines = true;
        self.is_in_window |= is_in_window;
        self.newest = Some(*record);
        let is_away = record.kind == Kind::Away;
        if !is_away {
            self.rows += 1;
            self.first.get_or_insert(*record);
        }
        self.balance += if is_away { -1 } else { 1 };
        let variant = self.matching(record);
        self.is_told = self.is_told.or(variant);
        if is_in_window {
            self.range.0 = self.range.0.min(self.balance);
            self.range.1 = self.range.1.max(self.balance);
            self.was_away |= is_away;
            self.was_equal = self.was_equal.or(variant);
        } else {
            self.base = Some(*record);
        }
    }

    /// The row as it was at the window's low end.
    fn open(&mut self) {
        self.range = (self.balance, self.balance);
        match self.base {
            Some(base) if base.kind != Kind::Away => self.was_equal = self.matching(&base),
            _ => self.was_away = true,
        }
    }

    fn close(&mut self) {
        if !self.is_in_window {
            self.open();
        }
    }

    /// The columns in which a line says what the table says, if it does.
    fn matching(&self, line: &Record) -> Option<u8> {
        let is_it = |source: &Record| source.variant == line.variant && source.data == line.data;
        let is_equal = line.kind != Kind::Away && self.sources.iter().any(is_it);
        is_equal.then_some(line.variant)
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
