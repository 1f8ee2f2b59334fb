//! What an operator has decided to pass over, and what the decoder has to say without stopping.

use std::collections::BTreeSet;
use std::fmt;

use super::super::query::{LoggedStatement, names_table};
use super::super::{EventType, FilePosition, Problem};
use super::followed::Followed;
use super::{Decoder, Step};

/// What the operator allows to be passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemptions {
    /// Tables (schema, table) whose changes by statements need no rows. `*` is every table of the schema.
    pub statements: Vec<(String, String)>,
    /// Where the events start that are passed over, each alone.
    pub events: BTreeSet<FilePosition>,
}

/// A warning that is no reason to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An event with a problem was passed over, as was asked for.
    PassedOver {
        /// Where it starts.
        position: FilePosition,
        /// What it would have stopped with.
        problem: Problem,
    },
    /// Rows of a table whose deletes are followed have gone by a statement.
    Emptied {
        /// Where the statement's event starts.
        position: FilePosition,
        /// `schema.table`.
        table: String,
    },
    /// A table that was not followed has got a name under which it is.
    RenamedInto {
        /// Where the statement's event starts.
        position: FilePosition,
        /// `schema.table`.
        table: String,
    },
    /// The first event of a type that is not known, and that readers may pass over.
    UnknownType {
        /// Where it starts.
        position: FilePosition,
        /// The type's number.
        code: u8,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PassedOver { position, problem } => {
                write!(
                    f,
                    "passed over the event at {position}, as asked for with --pass-over: {problem}"
                )
            }
            Self::Emptied { position, table } => write!(
                f,
                "the statement at {position} (TRUNCATE, DROP or the like) has removed rows of {table}: no D lines \
                 are written for them, because the binlog does not hold them"
            ),
            Self::RenamedInto { position, table } => write!(
                f,
                "the statement at {position} has given a table that was not followed the name {table}: it is \
                 followed from there on; its rows from before are not delivered, load them from the table"
            ),
            Self::UnknownType { position, code } => write!(
                f,
                "passing over events of type {code}, which is not known; the first is at {position}. The server \
                 marks them as of no importance, and none belongs to a followed table's rows"
            ),
        }
    }
}

impl Decoder {
    /// Sets what is passed over.
    pub fn exempt(&mut self, exemptions: Exemptions) {
        self.exemptions = exemptions;
    }

    /// What there is to say since the last call. Call it after each input.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Events of unknown types that were passed over.
    #[must_use]
    pub fn unknown_events(&self) -> u64 {
        self.unknown.values().sum()
    }

    /// Takes the newest event, which has a problem, for one that changes nothing, if it may be and
    /// the operator allows it.
    pub(super) fn pass_over<'e>(
        &mut self,
        event_type: EventType,
        problem: Problem,
    ) -> Result<Step<'e>, Problem> {
        let position = self.failed(Problem::Truncated).position;
        if !problem.may_be_passed_over() || !self.exemptions.events.contains(&position) {
            return Err(problem);
        }
        self.notes.push(Note::PassedOver { position, problem });
        let transaction = self.transaction.as_ref();
        let begun = transaction.is_none_or(|transaction| transaction.begun);
        match event_type {
            // It is a transaction of its own.
            EventType::Query | EventType::ExecuteLoadQuery | EventType::Incident if !begun => {
                self.commit()
            }
            EventType::Query | EventType::ExecuteLoadQuery => {
                self.end_of_statement(self.transaction.is_some())
            }
            _ => self.between_transactions(),
        }
    }

    /// An event of a type that is not known. Behind the table map of a followed table it may hold rows of it.
    pub(super) fn unknown_event<'e>(
        &mut self,
        code: u8,
        is_ignorable: bool,
    ) -> Result<Step<'e>, Problem> {
        let is_among_rows = self.tables.values().any(Option::is_some);
        if is_among_rows || !is_ignorable {
            let begun = self.transaction.is_some();
            return self.unread_rows(Problem::UnknownEvent(code), begun);
        }
        let count = self.unknown.entry(code).or_default();
        *count += 1;
        if *count == 1 {
            let position = self.failed(Problem::Truncated).position;
            self.notes.push(Note::UnknownType { position, code });
        }
        self.between_transactions()
    }

    /// Whether a statement of DML writes nothing but what may be passed over. RDS writes a heartbeat and settings
    /// into the schema `mysql`.
    pub(super) fn is_ignored(&self, logged: &LoggedStatement<'_>) -> bool {
        let may_write = |(schema, table): (&str, &str)| logged.may_write(schema, table);
        !self.followed_names().any(may_write)
            && logged.writes_only(|schema, table| {
                let mut listed = self.exemptions.statements.iter();
                schema.eq_ignore_ascii_case("mysql")
                    || listed.any(|listed| names_table(listed, schema, table))
            })
    }

    /// Tells of followed tables whose deletes are followed, too, and that the statement may have emptied.
    pub(super) fn note_emptied(&mut self, logged: &LoggedStatement<'_>) {
        let position = self.failed(Problem::Truncated).position;
        for Followed { table, .. } in &self.followed {
            if table.operations.delete && logged.may_empty(&table.schema, &table.name) {
                self.notes.push(Note::Emptied {
                    position: position.clone(),
                    table: format!("{}.{}", table.schema, table.name),
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "exempt_tests.rs"]
mod tests;
