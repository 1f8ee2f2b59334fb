//! What was written, as whoever wrote it knows it: rows, transactions that are open, and the lines that each commit must give.

use std::collections::{BTreeMap, BTreeSet};

/// The tables. Of `a` some columns are followed, of `b` all, in versions, and of `c` inserts.
pub(super) const TABLES: [&str; 3] = ["a", "b", "c"];
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
pub(super) const C: usize = 2;

pub(super) const CREATE: &str = "CREATE DATABASE shop; USE shop; \
    CREATE TABLE a (id bigint PRIMARY KEY, n bigint, note text); \
    CREATE TABLE b (id bigint PRIMARY KEY, n bigint, note text); \
    CREATE TABLE c (id bigint PRIMARY KEY, n bigint, note text)";

/// Columns that come and go, in their order: name, definition, and the value that each row has. Of `b` they are followed.
pub(super) const PASSING: [(&str, &str, &str); 2] = [
    ("extra", "int DEFAULT 7 AFTER note", "7"),
    ("more", "varchar(9) DEFAULT 'm'", "m"),
];

/// One line that the agent must write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: usize,
    /// As the lines call it.
    pub(super) operation: &'static str,
    pub(super) id: u64,
    /// The statement that wrote the row: the newest that is in it.
    pub(super) n: u64,
    /// Which of the passing columns the table had.
    shape: [bool; 2],
}

impl Change {
    /// The fields of its line before those of the metadata.
    pub(super) fn fields(&self) -> Vec<String> {
        let mut fields = vec![
            self.id.to_string(),
            self.n.to_string(),
            note(self.n).unwrap_or_default(),
        ];
        let passing = PASSING.iter().zip(self.shape).filter(|(_, has)| *has);
        fields.extend(passing.map(|((.., value), _)| (*value).to_owned()));
        fields
    }

    /// The columns of its line.
    pub(super) fn shape(&self) -> [bool; 2] {
        self.shape
    }
}

/// The text that a statement writes; none is NULL.
fn note(n: u64) -> Option<String> {
    match n % 6 {
        0 => None,
        1 => Some(format!("a, \"b\"\n{n}")),
        2 => Some(format!("日本 'q' {n}")),
        _ => Some("x".repeat(1 + usize::try_from(n % 300).unwrap_or_default())),
    }
}

pub(super) fn note_literal(n: u64) -> String {
    note(n).map_or_else(
        || "NULL".to_owned(),
        |text| format!("'{}'", text.replace('\'', "''")),
    )
}

/// All that was committed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The lines of all tables in the order of commits.
    pub(super) lines: Vec<Change>,
    /// What each table has: by key, the statement that wrote the row.
    pub(super) tables: [BTreeMap<u64, u64>; 3],
    /// What was done, by name.
    pub(super) counts: BTreeMap<&'static str, usize>,
}

/// What a statement has done to a row: the statements that had written it before and have after.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) table: usize,
    pub(super) id: u64,
    pub(super) before: Option<u64>,
    pub(super) after: Option<u64>,
    /// It has another key now, or had another one before.
    pub(super) is_of_moved_row: bool,
    pub(super) shape: [bool; 2],
}

impl Effect {
    /// The line that the agent must write of it.
    pub(super) fn line(&self) -> Option<Change> {
        let (operation, n) = match (self.before, self.after) {
            (None, Some(n)) => ("I", n),
            (Some(_), Some(n)) => ("U", n),
            (Some(n), None) => ("D", n),
            (None, None) => return None,
        };
        let is_followed = self.table != C || (operation == "I" && !self.is_of_moved_row);
        is_followed.then_some(Change {
            table: self.table,
            operation,
            id: self.id,
            n,
            shape: self.shape,
        })
    }
}

/// A transaction that has neither been committed nor rolled back.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Its name if it is an XA transaction, and whether it is prepared.
    pub(super) xa: Option<String>,
    pub(super) is_prepared: bool,
    pub(super) effects: Vec<Effect>,
    /// The rows that it has changed as they are now, by table and key.
    pub(super) rows: BTreeMap<(usize, u64), Option<u64>>,
    /// What nobody else may touch.
    pub(super) locked: BTreeSet<(usize, u64)>,
    /// The number of effects before each savepoint.
    pub(super) savepoints: Vec<usize>,
}

impl Transaction {
    pub(super) fn add(&mut self, effect: Effect) {
        let row = (effect.table, effect.id);
        self.rows.insert(row, effect.after);
        self.locked.insert(row);
        self.effects.push(effect);
    }

    /// Goes back to a savepoint, counted from 1. Rows stay locked.
    pub(super) fn go_back(&mut self, savepoint: usize) {
        self.savepoints.truncate(savepoint);
        self.effects.truncate(self.savepoints[savepoint - 1]);
        let rows = self.effects.iter();
        self.rows = rows.map(|it| ((it.table, it.id), it.after)).collect();
    }

    pub(super) fn has_touched(&self, table: usize) -> bool {
        let of_table = (table, 0)..=(table, u64::MAX);
        self.locked.range(of_table).next().is_some()
    }
}
