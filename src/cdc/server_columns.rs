//! What only the server knows of a table's columns, and for which rows that is true.
//!
//! Table maps without names leave out most of it; no table map has D of a DOUBLE(M,D), or tells INET6 from
//! BINARY(16). The server tells the table of now. So what it tells is taken for a row only if no change can
//! lie between the row and the asking; when one may, it is asked again, and what lies ahead in the binlog is
//! looked through for statements that explain the difference.
//!
//! What lives here: when to ask, and what an answer is worth. What does not: the asking (`asker`).

use std::collections::BTreeMap;

use crate::binlog::{
    Charset, Column, ColumnType, FilePosition, Flavor, ServerColumn, TableChange, TableMap,
};
use crate::encode::{Chosen, Disguise};
use crate::{Exit, Failure};

use super::layouts::DefinitionCode;

/// The columns that the server told of each table, `schema.table`, as they are true at some place of the
/// binlog.
pub(crate) type KnownColumns = BTreeMap<String, Vec<ServerColumn>>;

/// What is to be asked before rows of a table can be read.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// Index of the table.
    pub(super) table: usize,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) table_id: u64,
    /// Its newest table map.
    pub(super) map: TableMap,
    /// That as bytes.
    pub(super) definition: Vec<u8>,
    /// The columns of a named table map that it does not tell whole.
    pub(super) open: Vec<String>,
    /// What was known so far, if no statement may have changed it since.
    pub(super) known: Option<Vec<ServerColumn>>,
    /// Where the table map ends.
    pub(super) at: FilePosition,
}

/// What the server and its binlog say.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The columns of now; none if the table is gone.
    pub(super) columns: Vec<ServerColumn>,
    /// The statements between the question's place and the asking that may change the table. They need
    /// not be looked for if the columns are those that were known.
    pub(super) changes: Vec<TableChange>,
}

impl Question {
    fn is_named(&self) -> bool {
        self.map.is_named()
    }

    /// Whether the server tells what was known.
    pub(super) fn is_known(&self, columns: &[ServerColumn]) -> bool {
        let Some(known) = &self.known else {
            return false;
        };
        if !self.is_named() {
            return known == columns;
        }
        let told = |columns: &[ServerColumn], name: &str| {
            find(columns, name).map(|column| (scale(column), Disguise::of(&column.data_type)))
        };
        let mut open = self.open.iter();
        open.all(|name| told(known, name).is_some_and(|it| Some(it) == told(columns, name)))
    }

    fn fits(&self, columns: &[ServerColumn]) -> bool {
        if self.is_named() {
            tells_of(columns, &self.open)
        } else {
            self.map.complete(columns).is_ok()
        }
    }

    /// What people type to accept the table as the server has it now.
    fn code(&self, columns: &[ServerColumn]) -> DefinitionCode {
        definition_code(&self.definition, &self.map, &self.open, columns)
    }

    /// The columns with which the rows behind the table map are read.
    ///
    /// # Errors
    /// If nobody can tell.
    pub(super) fn settle(
        &self,
        answer: Answer,
        accepted: &[DefinitionCode],
    ) -> Result<Vec<ServerColumn>, Failure> {
        let Answer { columns, changes } = answer;
        if self.is_known(&columns) || accepted.contains(&self.code(&columns)) {
            return Ok(columns);
        }
        if let Some(known) = &self.known {
            // What is different is still to come.
            if !changes.is_empty() {
                return Ok(known.clone());
            }
            return match (self.fits(known), self.fits(&columns)) {
                (false, true) if !self.is_named() => Ok(columns),
                (true, false) if !self.is_named() => Ok(known.clone()),
                _ => Err(self.changed_unseen(&columns)),
            };
        }
        let concerns = |change: &&TableChange| {
            !self.is_named() || !self.open.iter().all(|name| change.spares(name))
        };
        if let Some(change) = changes.iter().find(concerns) {
            return Err(self.before_a_change(&change.at, &columns));
        }
        if !self.fits(&columns) {
            return Err(self.changed_unseen(&columns));
        }
        Ok(columns)
    }

    fn what(&self) -> String {
        let open = if self.is_named() {
            self.open.join(", ")
        } else {
            "any column".to_owned()
        };
        format!(
            "table {}.{} at {}: the binlog does not tell all of {open}",
            self.schema, self.name, self.at
        )
    }

    fn changed_unseen(&self, columns: &[ServerColumn]) -> Failure {
        Failure::definite(
            Exit::Data,
            format!(
                "{}, and the server tells other columns than before, though no statement in the binlog \
                 has changed them (sql_log_bin = 0?)",
                self.what()
            ),
            format!(
                "if the rows from here on are of the table as it is now, start once more with \
                 --accept-change {}.{}={}; and set binlog_row_metadata=FULL on the server, so that its \
                 binlog tells more",
                self.schema,
                self.name,
                self.code(columns)
            ),
        )
    }

    fn before_a_change(&self, at: &FilePosition, columns: &[ServerColumn]) -> Failure {
        Failure::definite(
            Exit::Data,
            format!(
                "{}, and the server only knows the table as it is after the statement before {at}",
                self.what()
            ),
            format!(
                "if that statement has left alone what the binlog does not tell, start once more with \
                 --accept-change {}.{}={}, which reads the rows from here on with the columns of now; \
                 otherwise load the rows up to {at} from the table itself and start there; and set \
                 binlog_row_metadata=FULL on the server, so that its binlog tells more",
                self.schema,
                self.name,
                self.code(columns)
            ),
        )
    }
}

/// Names the definition of a table: its table map, and what only the server tells beside it.
pub(super) fn definition_code(
    definition: &[u8],
    map: &TableMap,
    open: &[String],
    columns: &[ServerColumn],
) -> DefinitionCode {
    let is_part = |column: &&ServerColumn| {
        !map.is_named() || open.iter().any(|name| is_same(name, &column.name))
    };
    let told = columns.iter().filter(is_part);
    let told = told.flat_map(|column| [column.name.as_bytes(), column.column_type.as_bytes()]);
    DefinitionCode::of([definition].into_iter().chain(told))
}

/// The columns of a named table map that it does not tell whole.
pub(super) fn open_columns(map: &TableMap, flavor: Flavor) -> impl Iterator<Item = &Column> {
    // BINARY(4) may be an INET4, BINARY(16) an INET6 or UUID, VARBINARY a VECTOR.
    const DISGUISES: [u16; 3] = [0, 4, 16];
    let is_open = move |column: &&Column| match column.kind {
        ColumnType::Float | ColumnType::Double => true,
        ColumnType::String { padded_len, .. } => {
            flavor == Flavor::MariaDb
                && column.charset == Some(Charset::Binary)
                && DISGUISES.contains(&padded_len)
        }
        _ => false,
    };
    map.columns.iter().filter(is_open)
}

/// The column to write, with what the server tells of it.
pub(super) fn chosen(name: &str, columns: &[ServerColumn]) -> Chosen {
    let told = find(columns, name);
    Chosen {
        name: name.to_owned(),
        scale: told.and_then(scale),
        disguise: told.and_then(|column| Disguise::of(&column.data_type)),
    }
}

/// Only FLOAT(M,D) and DOUBLE(M,D) need theirs; integers have zero there.
fn scale(column: &ServerColumn) -> Option<u8> {
    let is_floating = matches!(column.data_type.as_str(), "float" | "double");
    let scale = column.scale.filter(|_| is_floating)?;
    u8::try_from(scale).ok()
}

/// Whether something was told of all these columns.
pub(super) fn tells_of(columns: &[ServerColumn], names: &[String]) -> bool {
    names.iter().all(|name| find(columns, name).is_some())
}

fn find<'c>(columns: &'c [ServerColumn], name: &str) -> Option<&'c ServerColumn> {
    columns.iter().find(|column| is_same(&column.name, name))
}

/// Names of columns are the same in upper and lower case.
pub(super) fn is_same(name: &str, other: &str) -> bool {
    name == other || name.to_lowercase() == other.to_lowercase()
}
