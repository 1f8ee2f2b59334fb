//! Transactions that take rows back, made by hand and at random: whoever reads, and however often, gets the rows
//! that are left.

use proptest::prelude::*;

use super::super::EventType;
use super::super::tests::{decoder, feed, gtid, query, rewind, table_map, write_rows};
use super::*;

/// What a transaction does.
#[derive(Debug, Clone, PartialEq)]
enum Act {
    Insert,
    Savepoint(&'static str),
    RollbackTo(&'static str),
}

/// Acts, and whether they end in a commit.
type Script = (Vec<Act>, bool);

type Events = Vec<(EventType, Vec<u8>)>;

/// The events of some transactions, and the rows that they leave.
fn events(scripts: &[Script]) -> (Events, Vec<i32>) {
    let mut events = Vec::new();
    let mut left = Vec::new();
    let mut id = 0;
    for (number, (acts, is_committed)) in (1..).zip(scripts) {
        events.push((EventType::Gtid, gtid(number)));
        events.push((EventType::Query, query("BEGIN")));
        events.push((EventType::TableMap, table_map(9)));
        let mut rows: Vec<i32> = Vec::new();
        let mut savepoints: Vec<(&str, usize)> = Vec::new();
        for act in acts {
            match act {
                Act::Insert => {
                    id += 1;
                    rows.push(id);
                    events.push((EventType::WriteRows, write_rows(9, &[id])));
                }
                Act::Savepoint(name) => {
                    savepoints.retain(|(other, _)| other != name);
                    savepoints.push((name, rows.len()));
                    events.push((EventType::Query, query(&format!("SAVEPOINT `{name}`"))));
                }
                Act::RollbackTo(name) => {
                    let Some(at) = savepoints.iter().position(|(other, _)| other == name) else {
                        continue;
                    };
                    savepoints.truncate(at + 1);
                    rows.truncate(savepoints[at].1);
                    let statement = format!("ROLLBACK TO `{}`", name.to_uppercase());
                    events.push((EventType::Query, query(&statement)));
                }
            }
        }
        events.push(if *is_committed {
            left.extend(rows);
            (EventType::Xid, vec![0; 8])
        } else {
            (EventType::Query, query("ROLLBACK"))
        });
    }
    (events, left)
}

fn of_mariadb() -> Decoder {
    let mut decoder = decoder();
    decoder.flavor = Flavor::MariaDb;
    decoder
}

/// A reader that holds rows back, and gives up on a transaction that has more than `most` of them.
#[derive(Default)]
struct Reader {
    delivered: Vec<i32>,
    open: Vec<i32>,
    marks: Vec<(u64, usize)>,
    most: usize,
    readings: usize,
}

impl Reader {
    fn take(&mut self, decoder: &mut Decoder, event: &(EventType, Vec<u8>)) {
        match feed(decoder, event.0, &event.1).unwrap() {
            Step::Nothing => {}
            Step::Rows { rows, .. } => {
                let id = rows.images[1..5].try_into().unwrap();
                self.open.push(i32::from_le_bytes(id));
                if decoder.may_be_undone() && self.open.len() > self.most {
                    self.open.clear();
                    self.marks.clear();
                    decoder.give_up_open_transaction();
                }
            }
            Step::Savepoint { id, gone } => {
                self.marks.retain(|(other, _)| Some(*other) != gone);
                self.marks.push((id, self.open.len()));
            }
            Step::RolledBackTo(id) => {
                let at = self.marks.iter().position(|(mark, _)| *mark == id).unwrap();
                self.marks.truncate(at + 1);
                self.open.truncate(self.marks[at].1);
            }
            Step::RolledBack => {
                self.open.clear();
                self.marks.clear();
            }
            Step::Commit => {
                self.delivered.append(&mut self.open);
                self.marks.clear();
            }
        }
    }

    /// Reads all events; a transaction that must be read again is sent again.
    fn read(&mut self, decoder: &mut Decoder, events: &[(EventType, Vec<u8>)]) {
        let mut at = 0;
        let mut committed_at = 0;
        while at < events.len() {
            self.take(decoder, &events[at]);
            at += 1;
            if decoder.must_read_again() {
                self.readings += 1;
                let start = decoder.committed().cloned();
                rewind(decoder, start);
                at = committed_at;
            } else if decoder.transaction().is_none() {
                committed_at = at;
            }
        }
    }
}

fn read(events: &[(EventType, Vec<u8>)], most: usize) -> (Vec<i32>, usize) {
    let mut decoder = of_mariadb();
    let mut reader = Reader {
        most,
        ..Reader::default()
    };
    reader.read(&mut decoder, events);
    assert_eq!(decoder.committed(), Some(decoder.position()));
    (reader.delivered, reader.readings)
}

/// As a replay reads a file: what is undone is known before.
fn replayed(events: &[(EventType, Vec<u8>)]) -> Vec<i32> {
    let mut surveyor = of_mariadb();
    surveyor.survey();
    for (event_type, body) in events {
        let step = feed(&mut surveyor, *event_type, body).unwrap();
        assert!(matches!(step, Step::Nothing | Step::Commit));
    }
    let mut decoder = of_mariadb();
    decoder.know_undone(surveyor.surveyed());
    let mut reader = Reader::default();
    reader.read(&mut decoder, events);
    reader.delivered
}

fn insert_and(acts: &[Act]) -> Vec<Act> {
    let insert = [Act::Insert];
    acts.iter()
        .flat_map(|act| [&insert[..], std::slice::from_ref(act)].concat())
        .collect()
}

#[test]
fn what_is_undone_is_taken_back() {
    use Act::{Insert, RollbackTo, Savepoint};
    let acts = insert_and(&[Savepoint("a"), Savepoint("b"), RollbackTo("a"), Insert]);
    let (events, left) = events(&[(acts.clone(), true), (acts, false), (vec![Insert], true)]);
    assert_eq!(left, [1, 4, 5, 11]);
    assert_eq!(read(&events, 100), (left.clone(), 0));
    // The first is read twice; of the second there is nothing to read.
    assert_eq!(read(&events, 1), (left.clone(), 1));
    assert_eq!(replayed(&events), left);
}

#[test]
fn a_savepoint_that_is_not_known_stops_the_reader() {
    for (savepoint, back) in [("`a`", "`b`"), ("`\u{e4}`", "`a`"), ("`a`", "`\u{e4}`")] {
        let mut decoder = of_mariadb();
        let (events, _) = events(&[(vec![Act::Insert], true)]);
        for (event_type, body) in &events[..events.len() - 1] {
            feed(&mut decoder, *event_type, body).unwrap();
        }
        let set = query(&format!("SAVEPOINT {savepoint}"));
        feed(&mut decoder, EventType::Query, &set).unwrap();
        let back = query(&format!("ROLLBACK TO {back}"));
        let error = feed(&mut decoder, EventType::Query, &back).unwrap_err();
        assert_eq!(error.problem, Problem::Undone("ROLLBACK TO SAVEPOINT"));
    }
}

#[test]
fn there_is_a_bound_for_savepoints() {
    let mut savepoints = Savepoints::default();
    for number in 0..MOST_SAVEPOINTS + 2 {
        let (id, gone) = savepoints.set(number.to_string().into_bytes(), 0);
        assert_eq!(id, number as u64);
        let oldest = number.checked_sub(MOST_SAVEPOINTS);
        assert_eq!(gone, oldest.map(|oldest| oldest as u64));
    }
    assert_eq!(savepoints.go_back_to(b"1"), None);
    assert_eq!(savepoints.go_back_to(b"2").map(|found| found.id), Some(2));
}

#[test]
fn another_server_makes_the_end_unknown_again() {
    let mut decoder = of_mariadb();
    let (events, _) = events(&[(vec![Act::Insert, Act::Insert], true)]);
    for (event_type, body) in &events {
        feed(&mut decoder, *event_type, body).unwrap();
        if decoder.may_be_undone() {
            decoder.give_up_open_transaction();
        }
    }
    assert!(decoder.must_read_again());
    decoder.server_changed();
    let start = decoder.committed().cloned();
    rewind(&mut decoder, start);
    feed(&mut decoder, events[0].0, &events[0].1).unwrap();
    assert!(decoder.may_be_undone());
}

#[test]
fn names_are_taken_out_of_statements() {
    for (statement, expected) in [
        ("ROLLBACK TO `a`", "a"),
        ("ROLLBACK TO \"A b\"", "a b"),
        ("rollback work to savepoint x", "x"),
        ("ROLLBACK TO `it``s `", "it`s"),
        ("ROLLBACK TO savepoint", "savepoint"),
        ("ROLLBACK TO `savepoint`", "savepoint"),
    ] {
        let name = rolled_back_name(statement.as_bytes());
        assert_eq!(name.as_deref(), Some(expected.as_bytes()), "{statement}");
    }
    assert_eq!(savepoint_name(b"SAVEPOINT `A`").as_deref(), Some(&b"a"[..]));
    for statement in ["SAVEPOINTS `a`", "DO 1", "SAVEPOINT", "ROLLBACK", ""] {
        assert_eq!(savepoint_name(statement.as_bytes()), None, "{statement}");
    }
    for statement in [
        "ROLLBACK",
        "ROLLBACK TO",
        "ROLLBACK TO `",
        "ROLLBACK AND CHAIN",
    ] {
        assert_eq!(rolled_back_name(statement.as_bytes()), None, "{statement}");
    }
}

fn script() -> impl Strategy<Value = Script> {
    let name = prop::sample::select(&["a", "b", "c"][..]);
    let act = prop_oneof![
        3 => Just(Act::Insert),
        1 => name.clone().prop_map(Act::Savepoint),
        1 => name.prop_map(Act::RollbackTo),
    ];
    (prop::collection::vec(act, 0..12), prop::bool::weighted(0.7))
}

proptest! {
    #[test]
    fn each_row_that_is_left_comes_once(
        scripts in prop::collection::vec(script(), 0..8),
        most in 0_usize..6,
    ) {
        let (events, left) = events(&scripts);
        prop_assert_eq!(&read(&events, usize::MAX).0, &left);
        prop_assert_eq!(&read(&events, most).0, &left);
        prop_assert_eq!(&replayed(&events), &left);
    }

    #[test]
    fn parts_stay_in_order(ends in prop::collection::vec((0_u64..50, 1_u64..20), 0..20)) {
        let mut parts = UndoneParts::default();
        let mut undone = std::collections::BTreeSet::new();
        let mut to = 0_u64;
        for (back, forward) in ends {
            // Not into what is undone, which has no savepoints any more.
            let mut from = to.saturating_sub(back);
            while from < to && undone.contains(&from) && undone.contains(&from.saturating_sub(1)) {
                from += 1;
            }
            to += forward;
            parts.add(from, to).unwrap();
            undone.extend(from..to);
        }
        for offset in 0..to + 5 {
            prop_assert_eq!(parts.has(offset), undone.contains(&offset));
        }
    }
}
