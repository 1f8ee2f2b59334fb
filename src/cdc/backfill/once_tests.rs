//! Each row once, for random histories: what a server has executed, what of it is followed, and parts that are read in between.

use proptest::prelude::*;

use crate::binlog::ServerColumn;

use super::super::key::{Bound, Key};
use super::super::wrong_rules::{STEPS, ensure_told};
use super::*;

/// Keys are below it.
const KEYS: i128 = 24;

/// The rule of the seam, and some that look as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Right,
    /// A SELECT need not see all that was followed when its window was opened.
    SelectBehind,
    /// The window closes where the reader stands when the SELECT has ended, not where the binlog ends.
    CloseEarly,
    /// The range where new keys come is read when its turn comes. Right, but more keys have to be remembered.
    TopLast,
    /// A row that gets another key is gone.
    DropMoved,
    /// What a change in the window has touched is not written.
    DropTouched,
    /// What was delivered before the window is forgotten.
    ForgetGiven,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// The server executes a transaction; these are tried.
    Execute(Vec<Try>),
    /// The next transaction is followed.
    Follow,
    /// A window is opened, if one can be.
    Open,
    /// Up to so many rows are read in the oldest window without rows.
    Read(usize),
    /// What was read is written, if its window closes here.
    Write,
    /// All windows are given up.
    Discard,
}

#[derive(Debug, Clone)]
enum Try {
    Insert(i128),
    /// Behind all others.
    Append,
    Delete(i128),
    Touch(i128),
    Move(i128, i128),
    /// Where a row has moved to, another one takes its place.
    Replace(i128, i128),
}

impl Try {
    /// What it consists of.
    fn parts(self) -> Vec<Self> {
        match self {
            Self::Replace(from, to) => {
                vec![Self::Move(from, to), Self::Delete(to), Self::Insert(to)]
            }
            part => vec![part],
        }
    }
}

fn attempt() -> impl Strategy<Value = Try> {
    let key = 0..KEYS;
    prop_oneof![
        2 => key.clone().prop_map(Try::Insert),
        1 => Just(Try::Append),
        2 => key.clone().prop_map(Try::Delete),
        1 => key.clone().prop_map(Try::Touch),
        4 => (key.clone(), key.clone()).prop_map(|(from, to)| Try::Move(from, to)),
        2 => (key.clone(), key).prop_map(|(from, to)| Try::Replace(from, to)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(attempt(), 1..5).prop_map(Step::Execute),
        4 => Just(Step::Follow),
        3 => Just(Step::Open),
        3 => (1_usize..6).prop_map(Step::Read),
        3 => Just(Step::Write),
        1 => Just(Step::Discard),
    ]
}

/// A change, and the number of the row that it is of.
type Done = (Change, u32);

#[derive(Debug)]
struct Window {
    range: usize,
    since: u64,
    /// Transactions that were followed before.
    followed: usize,
    read: Option<Part>,
}

/// Rows that were read: key and number.
#[derive(Debug)]
struct Part {
    rows: Vec<(i128, u32)>,
    up_to: Option<Bound>,
    end: usize,
}

/// Server, reader and sink.
#[derive(Debug)]
struct World {
    rule: Rule,
    table: BTreeMap<i128, u32>,
    /// The table before each transaction.
    before: Vec<BTreeMap<i128, u32>>,
    next_row: u32,
    executed: Vec<Vec<Done>>,
    followed: usize,
    once: Once,
    progress: TableProgress,
    windows: Vec<Window>,
    delivered: Vec<u32>,
}

impl World {
    fn new(rule: Rule) -> Self {
        let id = ServerColumn {
            name: "id".to_owned(),
            data_type: "int".to_owned(),
            ..ServerColumn::default()
        };
        let key = Key::new("PRIMARY", &[&id]).unwrap();
        let table: BTreeMap<i128, u32> = (0..KEYS).step_by(2).zip(0..).collect();
        let bounds = [KEYS / 2, KEYS - 2].map(Bound::of_integer).to_vec();
        Self {
            rule,
            before: Vec::new(),
            next_row: u32::try_from(table.len()).unwrap(),
            table,
            executed: Vec::new(),
            followed: 0,
            once: Once::default(),
            progress: TableProgress::begin(&key, bounds, None),
            windows: Vec::new(),
            delivered: Vec::new(),
        }
    }

    fn line(row: u32) -> Box<[u8]> {
        row.to_le_bytes().into()
    }

    fn execute(&mut self, tries: Vec<Try>) {
        let mut done = Vec::new();
        self.before.push(self.table.clone());
        for attempt in tries.into_iter().flat_map(Try::parts) {
            match attempt {
                // Its parts are here.
                Try::Replace(..) => {}
                Try::Insert(_) | Try::Append => {
                    let last = self.table.keys().last().copied().unwrap_or(KEYS);
                    let key = if let Try::Insert(key) = attempt {
                        key
                    } else {
                        last.max(KEYS) + 1
                    };
                    if !self.table.contains_key(&key) {
                        self.table.insert(key, self.next_row);
                        done.push((Change::Inserted(key, key), self.next_row));
                        self.next_row += 1;
                    }
                }
                Try::Delete(key) => {
                    if let Some(row) = self.table.remove(&key) {
                        done.push((Change::Deleted(key, key), row));
                    }
                }
                Try::Touch(key) => {
                    if let Some(row) = self.table.get(&key) {
                        done.push((Change::Updated(key, key, Self::line(*row)), *row));
                    }
                }
                Try::Move(from, to) => {
                    if !self.table.contains_key(&to)
                        && let Some(row) = self.table.remove(&from)
                    {
                        self.table.insert(to, row);
                        done.push((Change::Updated(from, to, Self::line(row)), row));
                    }
                }
            }
        }
        self.executed.push(done);
    }

    fn follow(&mut self) {
        let Some(done) = self.executed.get_mut(self.followed) else {
            return;
        };
        self.followed += 1;
        let open: Vec<usize> = self.windows.iter().map(|window| window.range).collect();
        for (change, row) in std::mem::take(done) {
            if matches!(change, Change::Inserted(..)) {
                self.delivered.push(row);
            }
            let change = match change {
                Change::Updated(before, after, _)
                    if before != after && self.rule == Rule::DropMoved =>
                {
                    Change::Deleted(before, before)
                }
                change => change,
            };
            let room = self
                .once
                .note(change, self.progress.ranges(), !open.is_empty());
            assert_eq!(room, Room::There);
        }
        self.once.commit(&mut self.progress, &open);
    }

    fn open(&mut self) {
        let is_open = |index: usize| self.windows.iter().any(|window| window.range == index);
        let ranges = self.progress.ranges();
        let range = match self.progress.unread_end() {
            Some(end) if self.rule != Rule::TopLast => Some(end).filter(|end| !is_open(*end)),
            _ => (0..ranges.len()).find(|index| !ranges[*index].is_read && !is_open(*index)),
        };
        if let Some(range) = range {
            let since = self.once.touches();
            self.windows.push(Window {
                range,
                since,
                followed: self.followed,
                read: None,
            });
        }
    }

    fn read(&mut self, limit: usize) {
        let Some(window) = self.windows.iter_mut().find(|it| it.read.is_none()) else {
            return;
        };
        let range = &self.progress.ranges()[window.range];
        let table = if self.rule == Rule::SelectBehind && window.followed > 0 {
            &self.before[window.followed - 1]
        } else {
            &self.table
        };
        let rows = table.iter().filter(|(key, _)| range.has(**key));
        let rows: Vec<(i128, u32)> = rows.take(limit).map(|(key, row)| (*key, *row)).collect();
        let up_to = rows.last().filter(|_| rows.len() == limit);
        window.read = Some(Part {
            up_to: up_to.map(|(key, _)| Bound::of_integer(*key)),
            rows,
            end: if self.rule == Rule::CloseEarly {
                self.followed
            } else {
                self.executed.len()
            },
        });
    }

    fn write(&mut self) {
        let followed = self.followed;
        let is_due = |window: &Window| window.read.as_ref().is_some_and(|it| it.end <= followed);
        let Some(index) = self.windows.iter().position(is_due) else {
            return;
        };
        let window = self.windows.swap_remove(index);
        let part = window.read.unwrap();
        let nothing = Given::default();
        let given = match self.rule {
            Rule::ForgetGiven => &nothing,
            _ => &self.progress.given,
        };
        let range = self.progress.ranges()[window.range].up_to(part.up_to.as_ref());
        let mut came = self.once.came(given, window.since, &range);
        let row_of = |line: &[u8]| u32::from_le_bytes(line.try_into().unwrap());
        for (key, row) in part.rows {
            came.remove(&key);
            match self.once.read(key, given, window.since) {
                Read::Nothing => {}
                Read::Unchanged => self.delivered.push(row),
                Read::Line(_) if self.rule == Rule::DropTouched => {}
                Read::Line(line) => self.delivered.push(row_of(line)),
            }
        }
        if self.rule != Rule::DropTouched {
            self.delivered.extend(came.into_values().map(row_of));
        }
        self.progress.advance(window.range, part.up_to, 0);
        if self.windows.is_empty() {
            self.once.forget_touched();
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Execute(tries) => self.execute(tries),
            Step::Follow => self.follow(),
            Step::Open => self.open(),
            Step::Read(limit) => self.read(limit),
            Step::Write => self.write(),
            Step::Discard => {
                self.windows.clear();
                self.once.forget_touched();
            }
        }
    }
}

/// Whether each row was delivered once, whatever became of it.
fn check(rule: Rule, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(rule);
    for step in steps {
        world.take(step);
    }
    while world.followed < world.executed.len() {
        world.follow();
    }
    while !world.progress.is_done() {
        world.open();
        world.read(3);
        world.write();
    }
    let mut delivered = world.delivered.clone();
    delivered.sort_unstable();
    delivered.dedup();
    prop_assert_eq!(delivered.len(), world.delivered.len(), "a row came twice");
    for row in world.table.values() {
        prop_assert!(delivered.contains(row), "row {row} is missing");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn each_row_is_delivered_once(steps in prop::collection::vec(step(), 0..STEPS)) {
        check(Rule::Right, steps.clone())?;
        check(Rule::TopLast, steps)?;
    }
}

/// The histories are hard enough to tell wrong rules.
#[test]
fn wrong_rules_lose_or_double_rows() {
    let rules = [
        Rule::SelectBehind,
        Rule::CloseEarly,
        Rule::DropMoved,
        Rule::DropTouched,
        Rule::ForgetGiven,
    ];
    ensure_told(&rules, || step().boxed(), check);
}
