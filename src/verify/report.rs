//! PURE. What is told of a comparison, to people and to programs.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use crate::Failure;
use crate::error::printable;

use super::judge::{Counts, Fault, Rules};

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What was found of all tables.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) tables: Vec<TableReport>,
}

/// Whether a table is equal to what was delivered.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Equal,
    Different,
    NotCompared(Failure),
}

/// What was found of one table.
#[derive(Debug)]
pub(super) struct TableReport {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) counts: Counts,
    rules: Option<Rules>,
    pub(super) objects: u64,
    pub(super) seconds: f64,
    pub(super) sample: Option<f64>,
    pub(super) key: Vec<String>,
    pub(super) compared: Vec<String>,
    pub(super) not_compared: Vec<String>,
    pub(super) was_backfilled: bool,
    told: Vec<Told>,
}

/// A row that is not equal.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told {
    pub(super) fault: Fault,
    /// As lines have it.
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<Where>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) other: Option<Where>,
    /// The columns that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) columns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delivered: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
}

/// Where a line is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Where {
    pub(super) object: String,
    /// From 1 on.
    pub(super) line: u64,
}

impl TableReport {
    pub(super) fn new(name: String, counts: Counts, rules: Rules, told: Vec<Told>) -> Self {
        let is_equal = counts.faults.iter().all(|count| *count == 0);
        Self {
            outcome: if is_equal {
                Outcome::Equal
            } else {
                Outcome::Different
            },
            counts,
            rules: Some(rules),
            told,
            ..Self::not_compared_yet(name)
        }
    }

    /// Of a table that could not be compared.
    pub(super) fn not_compared(name: String, failure: Failure) -> Self {
        Self {
            outcome: Outcome::NotCompared(failure),
            ..Self::not_compared_yet(name)
        }
    }

    fn not_compared_yet(name: String) -> Self {
        Self {
            name,
            outcome: Outcome::Equal,
            counts: Counts::default(),
            rules: None,
            objects: 0,
            seconds: 0.0,
            sample: None,
            key: Vec::new(),
            compared: Vec::new(),
            not_compared: Vec::new(),
            was_backfilled: false,
            told: Vec::new(),
        }
    }

    fn result(&self) -> &'static str {
        match self.outcome {
            Outcome::Equal => "equal",
            Outcome::Different => "different",
            Outcome::NotCompared(_) => "not compared",
        }
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        let Counts {
            rows, equal, lines, ..
        } = self.counts;
        match &self.outcome {
            Outcome::NotCompared(failure) => format!("{}: not compared: {failure}", self.name),
            Outcome::Equal => format!(
                "{}: equal: {equal} of {rows} rows, {lines} lines in {} objects",
                self.name, self.objects
            ),
            Outcome::Different => {
                let faults = Fault::ALL
                    .iter()
                    .zip(self.counts.faults)
                    .filter(|(_, count)| *count > 0);
                let faults: Vec<String> = faults
                    .map(|(fault, count)| format!("{count} {}", fault.name()))
                    .collect();
                format!(
                    "{}: DIFFERENT: {}; {equal} of {rows} rows are equal, {lines} lines in {} objects",
                    self.name,
                    faults.join(", "),
                    self.objects
                )
            }
        }
    }

    /// What follows from the counts, in sentences.
    fn notes(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut notes = Vec::new();
        let mut note = |count: u64, text: &str| {
            if count > 0 {
                notes.push(format!("{count} {text}"));
            }
        };
        note(
            counts.touched,
            "of the equal rows were written while the table was read, and are as they were at some moment of that",
        );
        note(
            counts.partly,
            "of the equal rows have lines of an older layout, and were compared in the columns that it shares with the table",
        );
        note(
            counts.changed_since,
            "rows differ: updates of this table are not followed, so that they may have been changed since they were delivered",
        );
        note(
            counts.gone_since,
            "lines have no row: deletes of this table are not followed, so that the rows may have been deleted since",
        );
        note(
            counts.repeated,
            "rows came more than once, as rows do that are deleted and inserted again, or read again",
        );
        note(counts.copies, "lines are copies, as the sink may make them");
        note(
            counts.not_delivered,
            "rows were NOT compared, because there is no line of them (--only-delivered)",
        );
        if let Some(sample) = self.sample {
            notes.push(format!(
                "only about {sample} % of the rows were compared, chosen by a hash of the key"
            ));
        }
        if !self.not_compared.is_empty() {
            notes.push(format!(
                "not compared, because no line has them as they are now: {}",
                self.not_compared.join(", ")
            ));
        }
        if self.rules.is_some_and(|rules| rules.without_key) {
            notes.push("lines have no key: rows were compared as a whole, and counted where they are alike".to_owned());
        }
        if counts.faults[Fault::Missing as usize] > 0 && !self.was_backfilled {
            notes.push(
                "the table was not backfilled: rows from before the agent's start are missing. Deliver them with hydrant cdc --backfill, or \
                 compare without them (--only-delivered)"
                    .to_owned(),
            );
        }
        notes
    }

    fn text(&self, show_values: bool) -> String {
        let mut text = format!("{}\n", self.summary());
        for note in self.notes() {
            let _ = writeln!(text, "  {note}");
        }
        for told in &self.told {
            let _ = writeln!(text, "  {}", told.text());
            for (side, line) in [("delivered", &told.delivered), ("table", &told.source)] {
                if let Some(line) = line.as_ref().filter(|_| show_values) {
                    let _ = writeln!(text, "    {side}: {}", printable(line));
                }
            }
        }
        for (fault, count) in Fault::ALL.iter().zip(self.counts.faults) {
            let told = self.told.iter().filter(|told| told.fault == *fault).count() as u64;
            if count > told {
                let _ = writeln!(text, "  and {} more {}", count - told, fault.name());
            }
        }
        text
    }

    fn json(&self, show_values: bool) -> serde_json::Value {
        let faults = Fault::ALL.iter().zip(self.counts.faults);
        let faults: serde_json::Map<_, _> = faults
            .map(|(fault, count)| (fault.name().to_owned(), count.into()))
            .collect();
        let told = self.told.iter().cloned().map(|told| {
            if show_values {
                told
            } else {
                told.without_values()
            }
        });
        let told: Vec<Told> = told.collect();
        let counts = &self.counts;
        let failure = match &self.outcome {
            Outcome::NotCompared(failure) => Some(serde_json::json!({
                "what": failure.what, "remedy": failure.remedy, "exit_code": failure.exit as u8
            })),
            Outcome::Equal | Outcome::Different => None,
        };
        serde_json::json!({
            "table": self.name,
            "result": self.result(),
            "failure": failure,
            "rows": counts.rows,
            "equal": counts.equal,
            "equal_partly": counts.partly,
            "equal_touched": counts.touched,
            "faults": faults,
            "changed_since": counts.changed_since,
            "gone_since": counts.gone_since,
            "repeated": counts.repeated,
            "not_delivered": counts.not_delivered,
            "copies": counts.copies,
            "lines": counts.lines,
            "later_lines": counts.later_lines,
            "objects": self.objects,
            "key": self.key,
            "columns": self.compared,
            "columns_not_compared": self.not_compared,
            "sample_percent": self.sample,
            "seconds": self.seconds,
            "notes": self.notes(),
            "found": told,
        })
    }
}

impl Told {
    fn without_values(self) -> Self {
        Self {
            delivered: None,
            source: None,
            ..self
        }
    }

    fn text(&self) -> String {
        let mut text = self.fault.name().to_owned();
        if let Some(key) = &self.key {
            let _ = write!(text, " {}", printable(key));
        }
        if !self.columns.is_empty() {
            let _ = write!(text, " in {}", self.columns.join(", "));
        }
        for (word, at) in [("in", &self.line), ("and in", &self.other)] {
            if let Some(at) = at {
                let _ = write!(text, "; {word} {} line {}", printable(&at.object), at.line);
            }
        }
        text
    }
}

impl Report {
    /// As it is printed.
    pub(super) fn shown(&self, format: Format, show_values: bool) -> String {
        match format {
            Format::Text => self
                .tables
                .iter()
                .map(|table| table.text(show_values))
                .collect(),
            Format::Json => {
                let tables: Vec<_> = self
                    .tables
                    .iter()
                    .map(|table| table.json(show_values))
                    .collect();
                format!("{}\n", serde_json::json!({ "tables": tables }))
            }
        }
    }
}
