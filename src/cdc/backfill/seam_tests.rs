//! The newest lines are the table, for random histories: what a server has executed, what of it is followed, and parts that are
//! read in between.

use proptest::prelude::*;

use crate::binlog::ServerColumn;
use crate::cdc::end::End;

use super::super::wrong_rules::{STEPS, ensure_told};
use super::*;

/// Keys are below it.
const KEYS: i128 = 16;

/// The rule of the seam, and some that look as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Right,
    /// A SELECT need not see all that was followed when its window was opened.
    SelectBehind,
    /// The window closes where the reader stands when the SELECT has ended, not where the binlog ends.
    CloseEarly,
    /// What was touched in the window is written all the same.
    KeepTouched,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// The server sets rows, or deletes them.
    Execute(Vec<(i128, bool)>),
    /// The next transaction is followed.
    Follow,
    /// A window is opened, if one can be.
    Open,
    /// Up to so many rows are read in the oldest window without rows.
    Read(usize),
    /// What was read is written, if its window closes here.
    Write,
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0..KEYS, prop::bool::weighted(0.7)), 1..4).prop_map(Step::Execute),
        4 => Just(Step::Follow),
        3 => Just(Step::Open),
        3 => (1_usize..6).prop_map(Step::Read),
        3 => Just(Step::Write),
        1 => Just(Step::Discard),
    ]
}

/// The value that each row has.
type Rows = BTreeMap<i128, u32>;

/// Rows that were read in a window, and how many transactions there were.
#[derive(Debug)]
struct Selected {
    rows: Vec<(i128, u32)>,
    is_whole: bool,
    end: usize,
}

/// Server, reader and sink.
#[derive(Debug)]
struct World {
    rule: Rule,
    table: Rows,
    /// The table before each transaction.
    before: Vec<Rows>,
    next_value: u32,
    executed: Vec<Vec<(i128, Option<u32>)>>,
    followed: usize,
    seam: Seam,
    /// By window: transactions that were followed when it was opened, and what was read since.
    selected: BTreeMap<u64, (usize, Option<Selected>)>,
    newest: Rows,
    /// The table as of what was followed.
    known: Rows,
    /// A key whose newest line was not that when its part was written.
    wrong: Option<i128>,
}

impl World {
    fn new(rule: Rule) -> Self {
        let id = ServerColumn {
            name: "id".to_owned(),
            data_type: "int".to_owned(),
            ..ServerColumn::default()
        };
        let key = Key::new("PRIMARY", &[&id]).unwrap();
        let bounds = [KEYS / 2, KEYS - 2].map(Bound::of_integer).to_vec();
        let progress = TableProgress::begin(&key, bounds, None);
        let mut seam = Seam::default();
        seam.begin(0, (key, false), progress, Estimate::default());
        let table: Rows = (0..KEYS).step_by(2).zip(0..).collect();
        Self {
            rule,
            next_value: u32::try_from(table.len()).unwrap(),
            table: table.clone(),
            before: Vec::new(),
            executed: Vec::new(),
            followed: 0,
            seam,
            selected: BTreeMap::new(),
            newest: Rows::new(),
            known: table,
            wrong: None,
        }
    }

    fn execute(&mut self, changes: Vec<(i128, bool)>) {
        self.before.push(self.table.clone());
        let mut done = Vec::new();
        for (key, is_set) in changes {
            if is_set {
                self.table.insert(key, self.next_value);
                done.push((key, Some(self.next_value)));
                self.next_value += 1;
            } else if self.table.remove(&key).is_some() {
                done.push((key, None));
            }
        }
        self.executed.push(done);
    }

    fn follow(&mut self) {
        let Some(done) = self.executed.get_mut(self.followed) else {
            return;
        };
        self.followed += 1;
        for (key, value) in std::mem::take(done) {
            if let Some(reading) = self.seam.open(0) {
                reading.touch(&key.to_be_bytes());
            }
            for rows in [&mut self.newest, &mut self.known] {
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
        }
    }

    fn open(&mut self) {
        if let Some(part) = self.seam.open_window(true) {
            self.selected.insert(part.window, (self.followed, None));
        }
    }

    fn read(&mut self, limit: usize) {
        let reading = &self.seam.readings[0];
        let open = reading.windows.iter().find(|window| {
            let selected = self.selected.get(&window.id);
            selected.is_some_and(|(_, selected)| selected.is_none())
        });
        let Some(Window { id, range, .. }) = open else {
            return;
        };
        let range = &reading.progress.ranges()[*range];
        let (followed, selected) = self.selected.get_mut(id).unwrap();
        let table = if self.rule == Rule::SelectBehind && *followed > 0 {
            &self.before[*followed - 1]
        } else {
            &self.table
        };
        let rows = table.iter().filter(|(key, _)| range.has(**key));
        let rows: Vec<(i128, u32)> = rows
            .take(limit)
            .map(|(key, value)| (*key, *value))
            .collect();
        *selected = Some(Selected {
            is_whole: rows.len() < limit,
            rows,
            end: if self.rule == Rule::CloseEarly {
                self.followed
            } else {
                self.executed.len()
            },
        });
    }

    fn write(&mut self) {
        let reading = &mut self.seam.readings[0];
        let due = reading.windows.iter().position(|window| {
            let selected = self.selected.get(&window.id);
            let selected = selected.and_then(|(_, selected)| selected.as_ref());
            selected.is_some_and(|selected| selected.end <= self.followed)
        });
        let Some(index) = due else {
            return;
        };
        let window = reading.windows.swap_remove(index);
        let selected = self.selected.remove(&window.id).and_then(|(_, it)| it);
        let selected = selected.unwrap();
        let last = selected.rows.last().filter(|_| !selected.is_whole);
        let due = Due {
            table: 0,
            range: window.range,
            since: window.since,
            chunk: Box::new(Chunk {
                server: Identity(String::new()),
                columns: Vec::new(),
                selected: Vec::new(),
                key_len: 1,
                bytes: Vec::new().into(),
                ends: Vec::new(),
                up_to: last.map(|(key, _)| Bound::of_integer(*key)),
                end: End::default(),
                read_at_us: 0,
            }),
        };
        let mut lines = 0;
        for (key, value) in selected.rows {
            if self.rule == Rule::KeepTouched || !reading.is_touched(&due, &key.to_be_bytes()) {
                self.newest.insert(key, value);
                lines += 1;
            }
        }
        let range = &reading.progress.ranges()[due.range];
        let range = range.up_to(due.chunk.up_to.as_ref());
        let mut keys = (0..KEYS).filter(|key| range.has(*key));
        let wrong = keys.find(|key| self.newest.get(key) != self.known.get(key));
        self.wrong = self.wrong.or(wrong);
        self.seam.written(due, lines);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Execute(changes) => self.execute(changes),
            Step::Follow => self.follow(),
            Step::Open => self.open(),
            Step::Read(limit) => self.read(limit),
            Step::Write => self.write(),
            Step::Discard => {
                self.seam.discard();
                self.selected.clear();
            }
        }
    }
}

/// Whether the newest lines of each part are the table where it was written, and those of all at the end.
fn check(rule: Rule, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut world = World::new(rule);
    for step in steps {
        world.take(step);
    }
    while world.followed < world.executed.len() {
        world.follow();
    }
    while !world.seam.is_done() {
        world.open();
        world.read(3);
        world.write();
    }
    prop_assert_eq!(world.wrong, None);
    prop_assert_eq!(world.newest, world.table);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn newest_lines_are_the_table(steps in prop::collection::vec(step(), 0..STEPS)) {
        check(Rule::Right, steps)?;
    }
}

/// The histories are hard enough to tell wrong rules.
#[test]
fn wrong_rules_leave_another_table() {
    let rules = [Rule::SelectBehind, Rule::CloseEarly, Rule::KeepTouched];
    ensure_told(&rules, || step().boxed(), check);
}
