//! What a QUERY event means for rows and columns.
//!
//! Only statements that are known to change no row pass without one; what a statement is says [`statement`]. What a
//! table looks like is said by its table map, not by the text of DDL, but that may tell when to ask again.

mod alter_table;
mod change;
mod parser;
mod statement;
mod table_name;
mod tokens;

use super::bytes::Cursor;
use super::xid::Xid;
use super::{Charset, Problem};

use alter_table::Rows;
pub(super) use change::{Change, may_mention};
use statement::Statement;
use table_name::TableName;
use tokens::{Tokens, Wide};

/// The kinds of statements, by their effect on rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Commit,
    Rollback,
    RollbackToSavepoint,
    XaStart,
    XaEnd,
    XaCommit,
    XaRollback,
    /// Rows were changed by a statement; they are not in the binlog.
    Dml,
    /// DDL of tables and schemas, which may change columns and take rows away.
    Ddl,
    /// It changes neither rows nor columns of a table.
    Harmless,
    /// It is unknown what it does.
    Unknown,
}

/// The statement of a QUERY event.
#[derive(Debug)]
pub(super) struct LoggedStatement<'a> {
    query: QueryBody<'a>,
    kind: Kind,
    /// As servers of different versions read it; empty if it is unreadable, and for most of what begins and ends
    /// transactions.
    readings: Vec<Reading>,
}

/// What one server takes the statement for.
#[derive(Debug)]
struct Reading {
    statement: Statement,
    /// The words and identifiers of an ALTER TABLE.
    words: Vec<Vec<u8>>,
}

/// The parts of a QUERY event's body that statements are judged by.
#[derive(Debug)]
struct QueryBody<'a> {
    /// The schema of names without one; may be empty.
    schema: &'a [u8],
    sql_mode: Option<u64>,
    wide: Wide,
    /// The statement is in UTF-8.
    is_utf8: bool,
    statement: &'a [u8],
}

impl<'a> QueryBody<'a> {
    /// Reads it; `more_len` bytes stand between the fixed fields of a QUERY event and those that vary in length.
    fn parse(body: &'a [u8], more_len: usize) -> Result<Self, Problem> {
        let mut cursor = Cursor(body);
        cursor.take(8)?; // thread id, execution time
        let schema_len = usize::from(cursor.u8()?);
        cursor.take(2)?; // error code
        let status_len = usize::from(cursor.u16()?);
        cursor.take(more_len)?;
        let status = cursor.take(status_len)?;
        let schema = cursor.take(schema_len)?;
        cursor.take(1)?;
        let mut query = Self {
            schema,
            sql_mode: None,
            wide: Wide::No,
            is_utf8: true,
            statement: cursor.0,
        };
        // With every transaction; nothing else of it matters.
        if !matches!(query.statement, b"BEGIN" | b"COMMIT") {
            query.read_status(Cursor(status))?;
        }
        Ok(query)
    }

    /// Reads the status variables that matter, which come before others.
    fn read_status(&mut self, mut cursor: Cursor<'_>) -> Result<(), Problem> {
        const FLAGS2: u8 = 0;
        const SQL_MODE: u8 = 1;
        const CATALOG: u8 = 2;
        const AUTO_INCREMENT: u8 = 3;
        const CHARSET: u8 = 4;
        const TIME_ZONE: u8 = 5;
        const CATALOG_WITHOUT_NUL: u8 = 6;
        while !cursor.0.is_empty() {
            match cursor.u8()? {
                SQL_MODE => self.sql_mode = Some(cursor.uint(8)?),
                CHARSET => {
                    let charset = Charset::from_collation(cursor.uint(2)?);
                    cursor.take(4)?; // collation_connection, collation_server
                    self.is_utf8 = charset == Charset::Utf8;
                    if let Charset::Other(name) = charset {
                        self.wide = Wide::named(&name);
                    }
                }
                FLAGS2 | AUTO_INCREMENT => drop(cursor.take(4)?),
                CATALOG => {
                    let len = usize::from(cursor.u8()?);
                    cursor.take(len + 1)?;
                }
                TIME_ZONE | CATALOG_WITHOUT_NUL => {
                    let len = usize::from(cursor.u8()?);
                    cursor.take(len)?;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Whether a table of the statement may be this one. Servers may compare names with or without case.
    fn may_be(&self, name: &TableName, schema: &str, table: &str) -> bool {
        let may_be_schema = |name| self.may_be_name(name, schema);
        name.schema.as_deref().is_none_or(may_be_schema) && self.may_be_name(&name.table, table)
    }

    fn may_be_name(&self, written: &[u8], name: &str) -> bool {
        if written.is_ascii() && name.is_ascii() {
            return written.eq_ignore_ascii_case(name.as_bytes());
        }
        // A letter of another alphabet can be the capital of one of ASCII.
        const DOT_ABOVE: char = '\u{307}';
        let folded = |name: &str| name.to_lowercase().replace(DOT_ABOVE, "");
        match std::str::from_utf8(written) {
            Ok(written) if self.is_utf8 => folded(written) == folded(name),
            Ok(_) | Err(_) => true,
        }
    }
}

impl<'a> LoggedStatement<'a> {
    /// Reads the body of a QUERY event.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        QueryBody::parse(body, 0).map(Self::of)
    }

    /// Reads the body of an EXECUTE_LOAD_QUERY event.
    pub(super) fn parse_load(body: &'a [u8]) -> Result<Self, Problem> {
        // The file's number, two places in the statement, and what becomes of duplicate rows.
        const MORE_LEN: usize = 4 + 4 + 4 + 1;
        QueryBody::parse(body, MORE_LEN).map(Self::of)
    }

    fn of(query: QueryBody<'a>) -> Self {
        let readings = match query.statement {
            // As servers write them, with every transaction.
            b"BEGIN" => return Self::alone(query, Kind::Begin),
            b"COMMIT" => return Self::alone(query, Kind::Commit),
            _ => readings(&query),
        };
        let kinds = readings.iter().map(|reading| kind(&reading.statement));
        let worse = |one, other| {
            // What one server takes for the begin of a transaction is nothing else for another.
            if one == other || harm(one) != harm(other) {
                std::cmp::max_by_key(one, other, |kind| harm(*kind))
            } else {
                Kind::Unknown
            }
        };
        let kind = kinds.reduce(worse).unwrap_or(Kind::Unknown);
        Self {
            query,
            kind,
            readings,
        }
    }

    fn alone(query: QueryBody<'a>, kind: Kind) -> Self {
        Self {
            query,
            kind,
            readings: Vec::new(),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// What servers may have taken the statement for.
    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.readings.iter().map(|reading| &reading.statement)
    }

    /// Whether all that the statement itself writes is certainly in tables of which `is_listed` (schema, table) is
    /// true. What triggers, views and functions write is not looked at.
    pub(super) fn writes_only(&self, is_listed: impl Fn(&str, &str) -> bool) -> bool {
        let is_listed = |name: &TableName| {
            let names = self.certain(name);
            names.is_some_and(|(schema, table)| is_listed(&schema, &table))
        };
        let mut statements = self.statements();
        !self.readings.is_empty()
            && statements.all(|statement| match statement {
                Statement::Dml(table) => table.as_ref().is_some_and(is_listed),
                Statement::CreateTable { table, .. } => is_listed(table),
                Statement::Empty | Statement::Harmless => true,
                _ => false,
            })
    }

    /// `schema.table` that the statement writes, as far as it is known.
    pub(super) fn written_table(&self) -> Option<String> {
        let written = |statement: &Statement| match statement {
            Statement::Dml(table) => table.clone(),
            Statement::CreateTable { table, .. } => Some(table.clone()),
            _ => None,
        };
        let TableName { schema, table } = self.statements().find_map(written)?;
        let schema = String::from_utf8(schema?).ok()?;
        Some(format!("{schema}.{}", String::from_utf8(table).ok()?))
    }

    /// Whether a table may be the one that the statement writes.
    pub(super) fn may_write(&self, schema: &str, table: &str) -> bool {
        let is_it = |name: &TableName| self.query.may_be(name, schema, table);
        self.statements().any(|statement| match statement {
            Statement::Dml(name) => name.as_ref().is_none_or(is_it),
            Statement::CreateTable { table, .. } => is_it(table),
            Statement::Unknown => true,
            _ => false,
        })
    }

    /// Whether rows may have come into a table that are in no event: exchanged with another table, or out of files.
    pub(super) fn may_bring_rows(&self, schema: &str, table: &str) -> bool {
        let is_it = |name: &TableName| self.query.may_be(name, schema, table);
        self.statements().any(|statement| {
            let Statement::AlterTable(alter) = statement else {
                return false;
            };
            let is_table = is_it(&alter.table);
            let is_other = alter.other.as_ref().is_some_and(is_it);
            let brings = match alter.rows {
                Rows::Stay | Rows::Go => false,
                Rows::SplitOff => is_other,
                Rows::Come => is_other || is_table,
            };
            brings || alter.is_unknown && (is_table || self.mentions(table))
        })
    }

    /// Whether rows of a table may have gone with the table, with its partitions, or by TRUNCATE.
    pub(super) fn may_empty(&self, schema: &str, table: &str) -> bool {
        let is_it = |name: &TableName| self.query.may_be(name, schema, table);
        self.statements().any(|statement| match statement {
            Statement::AlterTable(alter) => match alter.rows {
                Rows::Go | Rows::SplitOff => is_it(&alter.table),
                Rows::Stay | Rows::Come => false,
            },
            Statement::Truncate(table)
            | Statement::CreateTable {
                table,
                is_temporary: false,
                replaces: true,
                ..
            } => is_it(table),
            Statement::DropTables(tables) => tables.iter().any(is_it),
            Statement::DropSchema(name) => self.query.may_be_name(name, schema),
            _ => false,
        })
    }

    /// What the statement may have changed of the columns of a table. What is not known to leave them alone may
    /// have changed them. Names are compared without case.
    pub(super) fn change(&self, schema: &str, table: &str) -> Change {
        change::of(self, schema, table)
    }

    /// The names (schema, table) of tables that the statement defines, moves, empties or drops, as far as they are certain.
    pub(super) fn defined_tables(&self) -> Vec<(String, String)> {
        let named = |statement: &Statement| match statement {
            Statement::AlterTable(alter) => {
                let others = [&alter.other, &alter.renamed_to].into_iter();
                let others = others.flatten().cloned();
                std::iter::once(alter.table.clone()).chain(others).collect()
            }
            Statement::CreateTable {
                table,
                is_temporary: false,
                ..
            }
            | Statement::Truncate(table) => vec![table.clone()],
            Statement::DropTables(tables) => tables.clone(),
            Statement::RenameTables(pairs) => {
                let pairs = pairs.iter();
                pairs
                    .flat_map(|(from, to)| [from.clone(), to.clone()])
                    .collect()
            }
            _ => Vec::new(),
        };
        let tables = self.statements().flat_map(named);
        tables.filter_map(|table| self.certain(&table)).collect()
    }

    /// The old and new names of tables that the statement renames, as far as they are certain.
    pub(super) fn renamed_tables(&self) -> Vec<((String, String), (String, String))> {
        let renamed = |statement: &Statement| match statement {
            Statement::AlterTable(alter) => {
                let to = alter.renamed_to.iter().cloned();
                to.map(|to| (alter.table.clone(), to)).collect()
            }
            Statement::RenameTables(pairs) => pairs.clone(),
            _ => Vec::new(),
        };
        let pairs = self.statements().flat_map(renamed);
        let certain =
            |(from, to): (TableName, TableName)| Some((self.certain(&from)?, self.certain(&to)?));
        pairs.filter_map(certain).collect()
    }

    /// Schema and table, if their letters are known.
    fn certain(&self, name: &TableName) -> Option<(String, String)> {
        let certain = |name: &[u8]| {
            let is_certain = name.is_ascii() || self.query.is_utf8;
            String::from_utf8(name.to_vec()).ok().filter(|_| is_certain)
        };
        Some((certain(name.schema.as_deref()?)?, certain(&name.table)?))
    }

    /// The words of an ALTER TABLE that may give columns of a table other names; none if it gives none.
    pub(super) fn renaming(&self, schema: &str, table: &str) -> Vec<Vec<u8>> {
        let renames = |word: &Vec<u8>| {
            word.eq_ignore_ascii_case(b"CHANGE") || word.eq_ignore_ascii_case(b"RENAME")
        };
        let is_it = |reading: &&Reading| match &reading.statement {
            Statement::AlterTable(alter) => self.query.may_be(&alter.table, schema, table),
            _ => false,
        };
        let readings = self.readings.iter().filter(is_it);
        let words = readings.filter(|reading| reading.words.iter().any(renames));
        words.flat_map(|reading| reading.words.clone()).collect()
    }

    /// Whether the statement has a name in it as a word, whatever the case, be it by chance.
    fn mentions(&self, name: &str) -> bool {
        let is_part = |byte: Option<&u8>| {
            byte.is_some_and(|byte| {
                byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"_$".contains(byte)
            })
        };
        let statement = self.query.statement;
        // Such names may be written in another character set, or with their quotes doubled.
        if name.is_empty() || !name.is_ascii() || name.contains(['`', '"']) {
            return true;
        }
        let mut places = statement.windows(name.len()).enumerate();
        places.any(|(at, place)| {
            place.eq_ignore_ascii_case(name.as_bytes())
                && !is_part(statement.get(at.wrapping_sub(1)))
                && !is_part(statement.get(at + name.len()))
        })
    }
}

/// What servers of different versions take the statement for; nothing if this is unknown.
fn readings(query: &QueryBody<'_>) -> Vec<Reading> {
    let Ok(tokens) = Tokens::of(query) else {
        return Vec::new();
    };
    let readings = tokens.readings().unwrap_or_default();
    let read = |list: Vec<&tokens::Token<'_>>| {
        let statement = Statement::parse(&list, query.schema, tokens.is_cut);
        let words = match statement {
            Statement::AlterTable(_) => tokens::words(&list),
            _ => Vec::new(),
        };
        Reading { statement, words }
    };
    readings.into_iter().map(read).collect()
}

fn kind(statement: &Statement) -> Kind {
    match statement {
        Statement::Begin => Kind::Begin,
        Statement::Commit => Kind::Commit,
        Statement::Rollback => Kind::Rollback,
        Statement::RollbackToSavepoint => Kind::RollbackToSavepoint,
        Statement::XaStart => Kind::XaStart,
        Statement::XaEnd => Kind::XaEnd,
        Statement::XaCommit => Kind::XaCommit,
        Statement::XaRollback => Kind::XaRollback,
        Statement::Empty | Statement::Harmless => Kind::Harmless,
        Statement::Dml(_) | Statement::CreateTable { selects: true, .. } => Kind::Dml,
        Statement::AlterTable(_)
        | Statement::CreateTable { .. }
        | Statement::DropTables(_)
        | Statement::DropSchema(_)
        | Statement::RenameSchema
        | Statement::RenameTables(_)
        | Statement::Truncate(_) => Kind::Ddl,
        Statement::Unknown => Kind::Unknown,
    }
}

/// The worst that a server may have made of the statement is assumed.
fn harm(kind: Kind) -> u8 {
    match kind {
        Kind::Harmless => 0,
        Kind::Ddl => 1,
        Kind::Dml => 2,
        Kind::Begin
        | Kind::Commit
        | Kind::Rollback
        | Kind::RollbackToSavepoint
        | Kind::XaStart
        | Kind::XaEnd
        | Kind::XaCommit
        | Kind::XaRollback => 3,
        Kind::Unknown => 4,
    }
}

/// Whether an entry (schema, table) of a list means a table; `*` is every table of the schema.
pub(super) fn names_table(listed: &(String, String), schema: &str, table: &str) -> bool {
    let (listed_schema, listed_table) = listed;
    listed_schema.eq_ignore_ascii_case(schema)
        && (listed_table == "*" || listed_table.eq_ignore_ascii_case(table))
}

/// The statement of a QUERY event, which is what is compressed in a compressed one.
pub(super) fn statement_text(body: &[u8]) -> Result<&[u8], Problem> {
    QueryBody::parse(body, 0).map(|query| query.statement)
}

/// The XID in an XA statement, which servers write in one way.
pub(super) fn xid(body: &[u8]) -> Result<Xid, Problem> {
    let mut text = statement_text(body)?.trim_ascii();
    for _ in ["XA", "START, END, COMMIT or ROLLBACK"] {
        let is_letter = |byte: &&u8| byte.is_ascii_alphabetic();
        let len = text.iter().take_while(is_letter).count();
        text = text[len..].trim_ascii();
    }
    let text = std::str::from_utf8(text);
    text.map_err(|_| Problem::Malformed("the XID"))?.parse()
}

#[cfg(test)]
#[path = "query/query_tests.rs"]
mod tests;
