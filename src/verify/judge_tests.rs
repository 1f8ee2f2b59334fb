//! Random histories and random times at which a table is read, against a fold that keeps everything.

use proptest::prelude::*;

use super::*;

const CHANGES: Rules = Rules {
    knows_updates: true,
    knows_deletes: true,
    is_exactly_once: true,
    only_delivered: false,
    without_key: false,
    is_read_again: false,
    has_order: true,
    knows_copies: true,
};
const INSERTS: Rules = Rules {
    knows_updates: false,
    knows_deletes: false,
    ..CHANGES
};
const KEYS: u64 = 4;

/// One line or row.
fn record(key: u64, kind: Kind, order: i64, data: u64) -> Record {
    Record {
        key: [key, 0],
        order: if kind == Kind::Source {
            i64::MIN
        } else {
            order
        },
        kind,
        part: if kind == Kind::Source {
            u32::from(key % 2 == 1)
        } else {
            0
        },
        number: 0,
        identity: order.cast_unsigned() | 1 << 63,
        data,
        variant: 0,
    }
}

/// A history: at each step one key gets a value or loses its own; and when both parts are read, and their windows.
#[derive(Debug, Clone)]
struct History {
    steps: Vec<(u64, Option<u64>)>,
    read_at: [usize; 2],
    windows: Vec<Window>,
}

impl History {
    fn any() -> impl Strategy<Value = Self> {
        let step = (0..KEYS, prop::option::weighted(0.7, 0..3_u64));
        let steps = prop::collection::vec(step, 0..40);
        (
            steps,
            [0..100_usize, 0..100_usize],
            [(0..6_i64, 0..6_i64), (0..6_i64, 0..6_i64)],
        )
            .prop_map(|(steps, at, around)| {
                let read_at = at.map(|at| at * (steps.len() + 1) / 100);
                let windows = read_at.iter().zip(around).map(|(at, (before, behind))| {
                    let at = i64::try_from(*at).unwrap();
                    Window {
                        low: at - before,
                        high: at + behind,
                    }
                });
                let windows = windows.collect();
                Self {
                    steps,
                    read_at,
                    windows,
                }
            })
    }

    /// The value of a key after so many steps.
    fn value(&self, key: u64, steps: usize) -> Option<u64> {
        let newest = self.steps[..steps]
            .iter()
            .rev()
            .find(|(changed, _)| *changed == key);
        newest.and_then(|(_, value)| *value)
    }

    /// The lines, numbered from 1 on.
    fn lines(&self) -> Vec<Record> {
        let mut lines = Vec::new();
        for (step, (key, value)) in self.steps.iter().enumerate() {
            let order = i64::try_from(step).unwrap() + 1;
            match (self.value(*key, step), value) {
                (None, None) => {}
                (Some(before), None) => lines.push(record(*key, Kind::Away, order, before)),
                (_, Some(value)) => lines.push(record(*key, Kind::Row, order, *value)),
            }
        }
        lines
    }

    /// The rows as they were read.
    fn rows(&self) -> Vec<Record> {
        let part = |key: u64| self.read_at[usize::from(key % 2 == 1)];
        let row = |key: u64| Some(record(key, Kind::Source, 0, self.value(key, part(key))?));
        (0..KEYS).filter_map(row).collect()
    }

    fn widest(&self) -> Window {
        Window {
            low: self.windows.iter().map(|it| it.low).min().unwrap(),
            high: self.windows.iter().map(|it| it.high).max().unwrap(),
        }
    }

    /// What is wrong with a key, by all of its states.
    fn fault(&self, key: u64, lines: &[Record], rows: &[Record]) -> Option<Fault> {
        let row = rows.iter().find(|row| row.key[0] == key);
        let window = row.map_or_else(|| self.widest(), |row| self.windows[row.part as usize]);
        let of_key: Vec<&Record> = lines
            .iter()
            .filter(|line| line.key[0] == key && line.order <= window.high)
            .collect();
        let mut states = Vec::new();
        for end in 0..=of_key.len() {
            let is_visible = |line: &&Record| line.order <= window.low;
            if end < of_key.len() && is_visible(&of_key[end]) {
                continue;
            }
            let newest = end.checked_sub(1).map(|at| of_key[at]);
            states.push(
                newest
                    .filter(|line| line.kind != Kind::Away)
                    .map(|line| line.data),
            );
        }
        if states.contains(&row.map(|row| row.data)) {
            return None;
        }
        let newest = of_key.last().filter(|line| line.kind != Kind::Away);
        Some(match (row, newest) {
            (None, _) => Fault::Extra,
            (Some(_), None) => Fault::Missing,
            (Some(_), Some(_)) => Fault::Differing,
        })
    }
}

/// Judges, and gives the faults by key.
fn judged(rules: Rules, windows: &[Window], records: &[&[Record]]) -> (Vec<(u64, Fault)>, Counts) {
    let mut all: Vec<Record> = records.concat();
    all.sort_unstable();
    let mut judge = Judge::new(rules, windows, 0, 1_000);
    for record in &all {
        judge.take(record);
    }
    judge.conclude();
    let mut faults: Vec<_> = judge
        .findings
        .iter()
        .map(|it| (it.key[0], it.fault))
        .collect();
    faults.sort_unstable();
    (faults, judge.counts)
}

proptest! {
    #[test]
    fn what_was_delivered_is_equal_whenever_it_is_read(history in History::any()) {
        let (rows, lines) = (history.rows(), history.lines());
        let (faults, counts) = judged(CHANGES, &history.windows, &[&rows, &lines]);
        prop_assert_eq!(faults, []);
        prop_assert_eq!(counts.equal, rows.len() as u64);
        prop_assert_eq!(counts.lines + counts.later_lines, lines.len() as u64);
    }

    #[test]
    fn what_is_lost_added_changed_or_doubled_is_found(
        history in History::any(), at in 0..100_usize, what in 0..4_u8,
    ) {
        let (rows, mut lines) = (history.rows(), history.lines());
        prop_assume!(!lines.is_empty());
        let at = at * lines.len() / 100;
        match what {
            0 => drop(lines.remove(at)),
            1 => lines[at].data ^= 7,
            2 => lines[at].kind = if lines[at].kind == Kind::Away { Kind::Row } else { Kind::Away },
            _ => lines.insert(at, lines[at]),
        }
        let (faults, counts) = judged(CHANGES, &history.windows, &[&rows, &lines]);
        let mut expected: Vec<(u64, Fault)> = Vec::new();
        if what == 3 {
            let doubled = lines.remove(at);
            expected.push((doubled.key[0], Fault::Doubled));
        }
        expected.extend((0..KEYS).filter_map(|key| Some((key, history.fault(key, &lines, &rows)?))));
        expected.sort_unstable();
        prop_assert_eq!(counts.faults.iter().sum::<u64>(), expected.len() as u64);
        prop_assert_eq!(faults, expected);
    }

    /// Of tables of which inserts are followed alone, rows that never change are proven.
    #[test]
    fn rows_that_never_change_are_each_there(mut keys in prop::collection::btree_set(0..1_000_u64, 1..30), lost in any::<prop::sample::Index>()) {
        let windows = [Window { low: 500, high: 500 }; 2];
        let line = |key: &u64| record(*key, Kind::Row, i64::try_from(*key).unwrap(), key * 3);
        let lines: Vec<Record> = keys.iter().map(line).collect();
        keys.retain(|key| *key <= 500);
        let rows: Vec<Record> = keys.iter().map(|key| record(*key, Kind::Source, 0, key * 3)).collect();
        for rules in [INSERTS, Rules { knows_updates: true, knows_deletes: true, ..INSERTS }] {
            let (faults, counts) = judged(rules, &windows, &[&rows, &lines]);
            prop_assert_eq!(faults, []);
            prop_assert_eq!(counts.equal, rows.len() as u64);
            if !rows.is_empty() {
                let key = rows[lost.index(rows.len())].key;
                let left: Vec<Record> = lines.iter().copied().filter(|line| line.key != key).collect();
                let (faults, _) = judged(rules, &windows, &[&rows, &left]);
                prop_assert_eq!(faults, [(key[0], Fault::Missing)]);
            }
        }
    }
}

fn once(data: u64, number: u32) -> Record {
    Record {
        identity: 0,
        number,
        ..record(1, Kind::Row, 0, data)
    }
}

const NO_WINDOW: [Window; 2] = [Window { low: 9, high: 9 }; 2];

#[test]
fn without_numbers_a_second_line_is_a_copy() {
    let row = [record(1, Kind::Source, 0, 5)];
    let rules = Rules {
        has_order: false,
        knows_copies: false,
        ..INSERTS
    };
    let (faults, counts) = judged(rules, &NO_WINDOW, &[&row, &[once(5, 0), once(5, 1)]]);
    assert_eq!((faults, counts.equal), (vec![(1, Fault::Doubled)], 1));
    let at_least_once = Rules {
        is_exactly_once: false,
        ..rules
    };
    let (faults, counts) = judged(
        at_least_once,
        &NO_WINDOW,
        &[&row, &[once(5, 0), once(5, 1)]],
    );
    assert_eq!((faults, counts.repeated), (vec![], 1));
}

#[test]
fn what_lines_cannot_tell_is_counted_apart() {
    let line = [record(1, Kind::Row, 3, 5)];
    let changed = [record(1, Kind::Source, 0, 6)];
    let (faults, counts) = judged(INSERTS, &NO_WINDOW, &[&changed, &line]);
    assert_eq!((faults, counts.changed_since, counts.equal), (vec![], 1, 0));
    let (faults, counts) = judged(INSERTS, &NO_WINDOW, &[&line]);
    assert_eq!((faults, counts.gone_since), (vec![], 1));
    let again = [record(1, Kind::Row, 4, 6)];
    let (faults, counts) = judged(INSERTS, &NO_WINDOW, &[&changed, &line, &again]);
    assert_eq!((faults, counts.repeated, counts.equal), (vec![], 1, 1));
    let only = Rules {
        only_delivered: true,
        ..CHANGES
    };
    let (faults, counts) = judged(only, &NO_WINDOW, &[&changed]);
    assert_eq!((faults, counts.not_delivered), (vec![], 1));
}

#[test]
fn rows_without_a_key_are_counted() {
    let rules = Rules {
        without_key: true,
        ..CHANGES
    };
    let rows = |count: usize| vec![record(1, Kind::Source, 0, 5); count];
    let lines: Vec<Record> = (1..=3)
        .map(|order| record(1, Kind::Row, order, 5))
        .collect();
    for (count, expected) in [
        (2, vec![(1, Fault::Extra)]),
        (3, vec![]),
        (4, vec![(1, Fault::Missing)]),
    ] {
        let (faults, counts) = judged(rules, &NO_WINDOW, &[&rows(count), &lines]);
        assert_eq!((faults, counts.rows), (expected, count as u64));
    }
    let gone = [record(1, Kind::Away, 4, 5)];
    let (faults, _) = judged(rules, &NO_WINDOW, &[&rows(2), &lines, &gone]);
    assert_eq!(faults, vec![]);
    // The third one came, or went, while the table was read.
    let windows = [Window { low: 2, high: 9 }; 2];
    for count in 2..=3 {
        let (faults, _) = judged(rules, &windows, &[&rows(count), &lines]);
        assert_eq!(faults, vec![]);
    }
}
