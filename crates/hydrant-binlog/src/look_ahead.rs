//! What lies ahead in the binlog, for a reader that has asked a server what only it knows: the statements that
//! may change a followed table between a row and the asking.
//!
//! What lives here: those statements, from events that are not decoded yet. What does not: rows, whose
//! time has not come, and whatever else an event says.

use super::decoder::TableChange;
use super::inflate::inflate;
use super::query::{Change, LoggedStatement};
use super::{Event, EventType, FilePosition, Problem};

/// Bytes of statements of which it is known what they concern. Further ones may concern anything.
const LIMIT_BYTES: usize = 1 << 20;

/// Looks through events in the order of the binlog.
#[derive(Debug)]
pub struct LookAhead {
    tables: Vec<(String, String)>,
    position: FilePosition,
    /// The body of a compressed event.
    plain: Vec<u8>,
    kept_bytes: usize,
    changes: Vec<TableChange>,
}

impl LookAhead {
    /// Looks for changes of `tables` (schema, table).
    #[must_use]
    pub fn new(tables: Vec<(String, String)>) -> Self {
        Self {
            tables,
            position: FilePosition::new("", FilePosition::FIRST_OFFSET),
            plain: Vec::new(),
            kept_bytes: 0,
            changes: Vec::new(),
        }
    }

    /// Where the next event starts.
    #[must_use]
    pub fn position(&self) -> &FilePosition {
        &self.position
    }

    /// Takes in the next event of the binlog itself. What a compressed transaction holds is no DDL.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn take(&mut self, event: &Event<'_>) -> Result<(), Problem> {
        let event_type = EventType::from_code(event.header.type_code);
        self.position.pass(event_type, &event.header);
        let body = match event_type {
            EventType::Rotate => {
                self.position = FilePosition::of_rotate(event.body)?;
                return Ok(());
            }
            EventType::Query => event.body,
            EventType::MariaQueryCompressed => inflate(event, &mut self.plain)?.body,
            _ => return Ok(()),
        };
        let logged = LoggedStatement::parse(body)?;
        for (table, (schema, name)) in self.tables.iter().enumerate() {
            let change = logged.change(schema, name);
            if change.is_possible() {
                self.kept_bytes += body.len();
                self.changes.push(TableChange {
                    table,
                    at: self.position.clone(),
                    change: match self.kept_bytes {
                        ..=LIMIT_BYTES => change,
                        _ => Change::Any,
                    },
                    renaming: Vec::new(),
                });
            }
        }
        Ok(())
    }

    /// What was found.
    #[must_use]
    pub fn into_changes(self) -> Vec<TableChange> {
        self.changes
    }
}
