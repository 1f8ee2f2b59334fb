//! What only the server knows of a table's columns, and for which rows that is true.
//!
//! Table maps without names leave out most of it; no table map has D of a DOUBLE(M,D), or tells INET6 from
//! BINARY(16). The server only knows the present table. So its answer is used for a row only if no change can
//! lie between the row and the asking; when one may, it is asked again, and what lies ahead in the binlog is
//! looked through for statements that explain the difference.
//!
//! What lives here: when to ask, and what an answer is worth. What does not: the asking (`asker`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::binlog::{
    Charset, Column, ColumnType, FilePosition, Flavor, HiddenType, Reload, ServerColumn,
    TableChange, TableMap,
};
pub(super) use crate::config::is_same_column as is_same;
use crate::encode::ChosenColumn;
use crate::{Exit, Failure};

use super::definition_code::DefinitionCode;

/// The columns of each table, `schema.table`, by the server's answer, as they hold at some place of the
/// binlog.
pub(crate) type KnownColumns = BTreeMap<String, Vec<ServerColumn>>;

/// The number that a server gave a table when it loaded its definition: of rows with this number it is confirmed
/// that the answer about the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfirmedId {
    pub(super) id: u64,
    /// A statement was logged since, which may have made the server load the table anew without a change.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) may_be_renewed: bool,
}

/// By table, `schema.table`.
pub(crate) type ConfirmedIds = BTreeMap<String, ConfirmedId>;

/// Takes what may have given tables other numbers.
pub(super) fn renew(ids: &mut Arc<ConfirmedIds>, reload: Reload) {
    match reload {
        Reload::ServerStarted if ids.is_empty() => {}
        Reload::ServerStarted => *ids = Arc::default(),
        Reload::Statement if ids.values().all(|id| id.may_be_renewed) => {}
        Reload::Statement => {
            let ids = Arc::make_mut(ids).values_mut();
            ids.for_each(|id| id.may_be_renewed = true);
        }
    }
}

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
    /// The server has loaded the table anew since that was confirmed, though nothing in the binlog is a reason.
    pub(super) is_renewed_unseen: bool,
    /// Where the table map ends.
    pub(super) at: FilePosition,
}

/// What the server and its binlog say.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The present columns; none if the table is gone.
    pub(super) columns: Vec<ServerColumn>,
    /// The statements between the question's place and the asking that may change the table. They need
    /// not be looked for unless [`Question::needs_changes`].
    pub(super) changes: Vec<TableChange>,
}

impl Answer {
    /// Whether there is no such table, though no statement has taken it away.
    pub(super) fn is_unseen(&self) -> bool {
        self.columns.is_empty() && self.changes.is_empty()
    }
}

impl Question {
    fn is_named(&self) -> bool {
        self.map.is_named()
    }

    /// Whether the server tells what was known.
    fn is_known(&self, columns: &[ServerColumn]) -> bool {
        let Some(known) = &self.known else {
            return false;
        };
        if !self.is_named() {
            return known == columns;
        }
        let told = |columns: &[ServerColumn], name: &str| {
            find(columns, name).map(|column| (scale(column), HiddenType::of(&column.data_type)))
        };
        let mut open = self.open.iter();
        open.all(|name| told(known, name).is_some_and(|it| Some(it) == told(columns, name)))
    }

    /// Whether it matters which changes lie between the question's place and the asking, as far as the columns tell. What
    /// the server tells may be what was known because an unseen change is undone further on.
    pub(super) fn needs_changes(&self, columns: &[ServerColumn]) -> bool {
        self.is_renewed_unseen || !self.is_known(columns)
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
    /// If this cannot be known.
    pub(super) fn settle(
        &self,
        answer: Answer,
        accepted: &[DefinitionCode],
    ) -> Result<Vec<ServerColumn>, Failure> {
        let Answer { columns, changes } = answer;
        let concerns = |change: &&TableChange| {
            !self.is_named() || !self.open.iter().all(|name| change.spares(name))
        };
        let changes: Vec<&TableChange> = changes.iter().filter(concerns).collect();
        let fits = self.fits(&columns);
        // Of several changes nobody can say which has done what.
        let is_accepted = accepted.contains(&self.code(&columns)) && changes.len() < 2;
        if !self.needs_changes(&columns) || (is_accepted && fits) {
            return Ok(columns);
        }
        if let Some(known) = &self.known {
            if !changes.is_empty() {
                let was_accepted = accepted.contains(&self.code(known));
                return if was_accepted || self.is_still_to_come(known, &columns, &changes) {
                    Ok(known.clone())
                } else {
                    Err(self.changed_before(known, &columns, &changes))
                };
            }
            return match (self.fits(known), fits) {
                _ if self.is_known(&columns) => Ok(columns),
                (false, true) if !self.is_named() => Ok(columns),
                (true, false) if !self.is_named() => Ok(known.clone()),
                _ => Err(self.changed_unseen(&columns)),
            };
        }
        if let (Some(first), Some(last)) = (changes.first(), changes.last()) {
            let is_one = changes.len() == 1;
            return Err(self.before_changes(
                &first.at,
                &last.at,
                (is_one && fits).then_some(&columns),
            ));
        }
        if !fits {
            return Err(self.changed_unseen(&columns));
        }
        Ok(columns)
    }

    /// Whether these changes, of which none is before the rows, are all that lies between what was known and what
    /// the server tells now.
    fn is_still_to_come(
        &self,
        known: &[ServerColumn],
        now: &[ServerColumn],
        changes: &[&TableChange],
    ) -> bool {
        let spared = |columns: &[ServerColumn]| -> Vec<_> {
            let is_relevant = |column: &&ServerColumn| {
                !self.is_named() || self.open.iter().any(|name| is_same(name, &column.name))
            };
            let is_spared = |column: &&ServerColumn| {
                let mut changes = changes.iter();
                changes.all(|change| change.spares(&column.name))
            };
            let told = columns.iter().filter(is_relevant).filter(is_spared);
            let told =
                told.map(|column| (column.name.clone(), column.data_type.clone(), scale(column)));
            told.collect()
        };
        let of_known = spared(known);
        let is_proven = !self.is_named() && of_known.len() == known.len();
        of_known == spared(now) && (is_proven || !self.is_renewed_unseen)
    }

    fn what(&self) -> String {
        let open = if self.is_named() {
            format!("all about the columns {}", self.open.join(", "))
        } else {
            "the names of columns".to_owned()
        };
        format!(
            "table {}.{} at {}: the binlog does not contain {open}",
            self.schema, self.name, self.at
        )
    }

    fn accept(&self, columns: &[ServerColumn]) -> String {
        let code = self.code(columns);
        accept_option(&format!("{}.{}", self.schema, self.name), code)
    }

    /// What helps whatever has happened, and takes nothing from other tables.
    fn leave_out(&self, until: &str) -> String {
        format!(
            "remove {}.{} from the configuration until the agent is past {until}, so that the other tables \
             continue; then add it again, and load its earlier rows from the table; and set \
             binlog_row_metadata=FULL on the server, so that its binlog describes its columns",
            self.schema, self.name
        )
    }

    fn changed_unseen(&self, columns: &[ServerColumn]) -> Failure {
        let what = format!(
            "{}, and the server's columns differ from before, although no statement in the binlog has changed \
             them (sql_log_bin = 0?)",
            self.what()
        );
        let leave_out = self.leave_out("this place");
        let remedy = if self.fits(columns) {
            format!(
                "if the rows from here on have the table's present columns, start once more with {}; otherwise \
                 {leave_out}",
                self.accept(columns)
            )
        } else {
            leave_out
        };
        Failure::definite(Exit::Data, what, remedy)
    }

    /// An unseen change may lie before the rows, and one that was logged behind them.
    fn changed_before(
        &self,
        known: &[ServerColumn],
        now: &[ServerColumn],
        changes: &[&TableChange],
    ) -> Failure {
        let (first, last) = match changes {
            [first, .., last] => (first.at.to_string(), last.at.to_string()),
            [only] => (only.at.to_string(), only.at.to_string()),
            [] => (String::new(), String::new()),
        };
        let what = format!(
            "{}, and the table may have been changed before its rows here without a statement in the binlog \
             (sql_log_bin = 0?); the statement before {first} changes the table too, so this cannot be checked",
            self.what()
        );
        let now = if self.fits(now) && changes.len() == 1 {
            format!(
                "; if they have its present columns, with {}",
                self.accept(now)
            )
        } else {
            String::new()
        };
        let remedy = format!(
            "if the rows from here on have the table's earlier columns, start once more with {}{now}; \
             otherwise {}",
            self.accept(known),
            self.leave_out(&last)
        );
        Failure::definite(Exit::Data, what, remedy)
    }

    /// `fitting` are the present columns, if they may be those of the rows.
    fn before_changes(
        &self,
        first: &FilePosition,
        last: &FilePosition,
        fitting: Option<&Vec<ServerColumn>>,
    ) -> Failure {
        let what = format!(
            "{}, and the server only knows the table as it is after the statement before {last}",
            self.what()
        );
        let leave_out = self.leave_out(&last.to_string());
        let remedy = match fitting {
            Some(columns) => format!(
                "if the statement before {first} has not changed what the binlog does not contain, start once \
                 more with {}, which reads the rows up to there with the present columns; otherwise {leave_out}",
                self.accept(columns)
            ),
            None => leave_out,
        };
        Failure::definite(Exit::Data, what, remedy)
    }
}

/// What people type to accept the definition of a table, as a shell takes it.
pub(super) fn accept_option(table: &str, code: DefinitionCode) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if table.chars().all(is_plain) {
        format!("--accept-change {table}={code}")
    } else {
        format!("--accept-change '{}={code}'", table.replace('\'', r"'\''"))
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

/// Whether a column, as the server tells it, may be one that even a named table map does not tell whole.
pub(super) fn is_open(column: &ServerColumn) -> bool {
    matches!(column.data_type.as_str(), "float" | "double")
        || HiddenType::of(&column.data_type).is_some()
}

/// The column to write, with what the server says about it.
pub(super) fn chosen(name: &str, columns: &[ServerColumn]) -> ChosenColumn {
    let told = find(columns, name);
    ChosenColumn {
        name: name.to_owned(),
        scale: told.and_then(scale),
        hidden_type: told.and_then(|column| HiddenType::of(&column.data_type)),
        mask: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{Event, EventHeader, EventType, LookAhead};

    fn told(name: &str, column_type: &str) -> ServerColumn {
        let (data_type, rest) = column_type.split_once('(').unwrap_or((column_type, ""));
        let scale = rest.strip_suffix(')').and_then(|rest| rest.split_once(','));
        ServerColumn {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            column_type: column_type.to_owned(),
            scale: scale.map(|(_, scale)| scale.parse().unwrap()),
            nullable: true,
            ..ServerColumn::default()
        }
    }

    fn question(names: [&str; 2], known: Option<Vec<ServerColumn>>) -> Question {
        let column = |name: &str| Column {
            name: name.to_owned(),
            kind: ColumnType::Double,
            nullable: true,
            unsigned: false,
            charset: None,
            labels: Vec::new(),
        };
        let map = TableMap {
            schema: "shop".into(),
            table: "T".into(),
            columns: names.map(column).to_vec(),
            has_signs: false,
            key: Vec::new(),
        };
        Question {
            table: 0,
            schema: "shop".into(),
            name: "T".into(),
            table_id: 9,
            definition: b"definition".to_vec(),
            open: names
                .iter()
                .filter(|name| !name.is_empty())
                .map(|name| (*name).to_owned())
                .collect(),
            map,
            known,
            is_renewed_unseen: false,
            at: FilePosition::new("b.000001", 100),
        }
    }

    /// What a look ahead finds in these statements.
    fn changes(statements: &[&str]) -> Vec<TableChange> {
        let mut look_ahead = LookAhead::new(vec![("shop".to_owned(), "T".to_owned())]);
        for statement in statements {
            let mut body = vec![0; 8];
            body.push(4);
            body.extend_from_slice(&[0; 4]);
            body.extend_from_slice(b"shop\0");
            body.extend_from_slice(statement.as_bytes());
            let header = EventHeader {
                timestamp: 0,
                type_code: EventType::Query.code(),
                server_id: 1,
                event_size: 50,
                log_pos: 500,
                flags: 0,
            };
            look_ahead
                .take(&Event {
                    header,
                    body: &body,
                })
                .unwrap();
        }
        look_ahead.into_changes()
    }

    fn settled(
        names: [&str; 2],
        known: Option<&[ServerColumn]>,
        columns: &[ServerColumn],
        statements: &[&str],
    ) -> Result<Vec<ServerColumn>, Failure> {
        let answer = Answer {
            columns: columns.to_vec(),
            changes: changes(statements),
        };
        question(names, known.map(<[_]>::to_vec)).settle(answer, &[])
    }

    const NAMED: [&str; 2] = ["a", "b"];
    const UNNAMED: [&str; 2] = ["", ""];

    #[test]
    fn what_is_told_is_taken_if_no_change_can_lie_in_between() {
        let now = [told("a", "double"), told("b", "double(10,2)")];
        for names in [NAMED, UNNAMED] {
            assert_eq!(settled(names, None, &now, &[]).unwrap(), now);
            assert_eq!(
                settled(names, Some(&now), &now, &["ALTER TABLE T ADD c int"]).unwrap(),
                now
            );
            for statement in [
                "ALTER TABLE T MODIFY a double",
                "DROP TABLE T",
                "RENAME TABLE x TO T",
            ] {
                let failure = settled(names, None, &now, &[statement]).unwrap_err();
                assert_eq!(failure.exit, Exit::Data, "{statement}");
                assert!(
                    failure.remedy.contains("--accept-change shop.T="),
                    "{statement}"
                );
            }
        }
        // Names tell that neither column is concerned.
        let statement = ["ALTER TABLE T ADD COLUMN c int"];
        assert_eq!(settled(NAMED, None, &now, &statement).unwrap(), now);
        assert!(settled(UNNAMED, None, &now, &statement).is_err());
    }

    #[test]
    fn what_was_known_holds_until_the_statement_that_changes_it() {
        let known = [told("a", "double"), told("b", "double(10,2)")];
        let now = [told("b", "double(10,2)"), told("a", "double(8,3)")];
        for names in [NAMED, UNNAMED] {
            let statement = ["ALTER TABLE T MODIFY a double(8,3) AFTER b"];
            assert_eq!(
                settled(names, Some(&known), &now, &statement).unwrap(),
                known
            );
            // Nobody has written down how it came to be.
            let failure = settled(names, Some(&known), &now, &[]).unwrap_err();
            assert!(
                failure.what.contains("no statement in the binlog"),
                "{}",
                failure.what
            );
        }
        // A table map can tell which of the two it is of.
        let other = [told("a", "int"), told("b", "int")];
        assert_eq!(settled(UNNAMED, Some(&other), &now, &[]).unwrap(), now);
        assert_eq!(settled(UNNAMED, Some(&known), &other, &[]).unwrap(), known);
    }

    #[test]
    fn what_was_loaded_anew_unseen_is_known_only_if_the_statements_leave_it_alone() {
        let known = [told("a", "double"), told("b", "double(10,2)")];
        let swapped = [told("b", "double(10,2)"), told("a", "double")];
        let more = [known.to_vec(), vec![told("c", "double")]].concat();
        let mut question = question(UNNAMED, Some(known.to_vec()));
        question.is_renewed_unseen = true;
        let settle = |question: &Question, columns: &[ServerColumn], statements: &[&str]| {
            let answer = Answer {
                columns: columns.to_vec(),
                changes: changes(statements),
            };
            question.settle(answer, &[]).ok()
        };
        assert_eq!(settle(&question, &known, &[]).unwrap(), known);
        let add = "ALTER TABLE T ADD COLUMN c double";
        assert_eq!(settle(&question, &more, &[add]).unwrap(), known);
        let swap = "ALTER TABLE T MODIFY a double AFTER b";
        for (now, statement) in [(&known, swap), (&known, "DROP TABLE T"), (&swapped, swap)] {
            assert!(
                settle(&question, now, &[statement]).is_none(),
                "{statement}"
            );
        }
        // The order of what the statement leaves alone tells, too.
        question.is_renewed_unseen = false;
        let swapped = [swapped.to_vec(), vec![told("c", "double")]].concat();
        assert!(settle(&question, &swapped, &[add]).is_none());
    }

    #[test]
    fn what_is_to_be_typed_is_quoted_if_a_shell_needs_it() {
        let code = "3f2a91c0".parse().unwrap();
        let option = |table| accept_option(table, code);
        assert_eq!(option("shop.Sales"), "--accept-change shop.Sales=3f2a91c0");
        assert_eq!(
            option("shop.My $t"),
            "--accept-change 'shop.My $t=3f2a91c0'"
        );
        assert_eq!(option("a.it's"), r"--accept-change 'a.it'\''s=3f2a91c0'");
    }

    #[test]
    fn somebody_can_accept_the_table_as_it_is_now() {
        let known = [told("a", "double"), told("b", "double(10,2)")];
        let now = [told("a", "double"), told("b", "double")];
        let question = question(NAMED, Some(known.to_vec()));
        let answer = || Answer {
            columns: now.to_vec(),
            changes: Vec::new(),
        };
        let failure = question.settle(answer(), &[]).unwrap_err();
        let code = question.code(&now);
        assert!(
            failure
                .remedy
                .contains(&format!("--accept-change shop.T={code}"))
        );
        assert_eq!(question.settle(answer(), &[code]).unwrap(), now);
        assert_ne!(code, question.code(&known));
    }
}
