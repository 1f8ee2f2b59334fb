//! One reading of a statement: what kind it is, and which tables it names.
//!
//! What lives here: lists of what is known. What does not: whether that matters.

use super::alter_table::AlterTable;
use super::parser::{Parser, ascii_parts, is, is_qualified};
use super::table_name::TableName;
use super::tokens::Token;

/// What a statement is, as far as it matters to rows or columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// Nothing but comments.
    Empty,
    Begin,
    Commit,
    Rollback,
    RollbackToSavepoint,
    XaStart,
    XaEnd,
    XaCommit,
    XaRollback,
    /// It changes no row and no column of a table.
    Harmless,
    AlterTable(Box<AlterTable>),
    CreateTable {
        table: TableName,
        is_temporary: bool,
        /// A table that was there may be dropped.
        replaces: bool,
        /// It is filled by a query.
        selects: bool,
    },
    DropTables(Vec<TableName>),
    /// DROP DATABASE, or CREATE OR REPLACE DATABASE.
    DropSchema(Vec<u8>),
    /// ALTER DATABASE that gives it another name.
    RenameSchema,
    /// Pairs of old and new names.
    RenameTables(Vec<(TableName, TableName)>),
    Truncate(TableName),
    /// Rows are changed; the table if it is certain that the statement itself writes no other one.
    Dml(Option<TableName>),
    /// In no list.
    Unknown,
}

/// Statements of which no variant changes a row, by their first word.
const HARMLESS: &[&str] = &[
    "FLUSH",
    "GRANT",
    "INSTALL",
    "RELEASE",
    "REVOKE",
    "SAVEPOINT",
    "UNINSTALL",
];

/// Care for tables. With other words behind it, MariaDB's ANALYZE executes a statement.
const CARE: &[&str] = &["ANALYZE", "CHECK", "CHECKSUM", "OPTIMIZE", "REPAIR"];

/// Objects other than tables and schemas that are created, altered and dropped. What routines, triggers and
/// events do is not done by that.
const OTHER_OBJECTS: &[&str] = &[
    "COMPRESSION_DICTIONARY",
    "EVENT",
    "FUNCTION",
    "INDEX",
    "INSTANCE",
    "LIBRARY",
    "LOGFILE",
    "PACKAGE",
    "PROCEDURE",
    "RESOURCE",
    "ROLE",
    "SEQUENCE",
    "SERVER",
    "TABLESPACE",
    "TRIGGER",
    "USER",
    "VIEW",
];

impl Statement {
    /// Reads a statement, with the schema that names without one are of.
    pub(super) fn parse(tokens: &[&Token<'_>], default_schema: &[u8], is_cut: bool) -> Self {
        let mut parser = Parser {
            tokens,
            at: 0,
            default_schema,
            is_cut,
        };
        let statement = parser.statement();
        match statement {
            // Several statements are none of those that servers write.
            Self::Dml(_) | Self::Unknown => statement,
            _ if parser.has_another() => Self::Unknown,
            _ => statement,
        }
    }
}

impl Parser<'_, '_> {
    fn statement(&mut self) -> Statement {
        if self.is_at_end() {
            return Statement::Empty;
        }
        if self.words(&["SET", "STATEMENT"]) {
            // Its variables are set for one statement.
            return if self.skip_to_word("FOR") {
                self.statement()
            } else {
                Statement::Unknown
            };
        }
        if let Some(control) = self.control() {
            return control;
        }
        if self.any_word(HARMLESS) {
            return Statement::Harmless;
        }
        let is_analyze = self.clone().word("ANALYZE");
        if self.any_word(CARE) {
            self.any_word(&["LOCAL", "NO_WRITE_TO_BINLOG"]);
            return if self.any_word(&["TABLE", "TABLES", "VIEW"]) {
                Statement::Harmless
            } else if is_analyze {
                Statement::Dml(None)
            } else {
                Statement::Unknown
            };
        }
        if self.word("SET") {
            return self.set();
        }
        if self.word("CREATE") {
            return self.create();
        }
        if self.word("ALTER") {
            return self.alter();
        }
        if self.word("DROP") {
            return self.drop();
        }
        if self.word("RENAME") {
            return self.rename();
        }
        if self.word("TRUNCATE") {
            self.word("TABLE");
            return self.table().map_or(Statement::Unknown, Statement::Truncate);
        }
        self.dml()
    }

    /// What begins and ends transactions.
    fn control(&mut self) -> Option<Statement> {
        if self.word("BEGIN") {
            self.word("WORK");
            return Some(self.if_at_end(Statement::Begin));
        }
        if self.words(&["START", "TRANSACTION"]) {
            return Some(Statement::Begin);
        }
        if self.word("COMMIT") {
            return Some(Statement::Commit);
        }
        if self.word("ROLLBACK") {
            self.word("WORK");
            return Some(if self.word("TO") {
                Statement::RollbackToSavepoint
            } else {
                Statement::Rollback
            });
        }
        if self.word("XA") {
            return Some(if self.any_word(&["START", "BEGIN"]) {
                Statement::XaStart
            } else if self.word("END") {
                Statement::XaEnd
            } else if self.word("COMMIT") {
                Statement::XaCommit
            } else if self.word("ROLLBACK") {
                Statement::XaRollback
            } else {
                Statement::Unknown
            });
        }
        None
    }

    /// A function in an expression may change rows.
    fn set(&mut self) -> Statement {
        let is_of_accounts =
            self.any_word(&["PASSWORD", "ROLE"]) || self.words(&["DEFAULT", "ROLE"]);
        if is_of_accounts || !self.tokens[self.at..].contains(&&Token::Punct(b'(')) && !self.is_cut
        {
            Statement::Harmless
        } else {
            Statement::Unknown
        }
    }

    /// Passes over what can stand between CREATE, ALTER or DROP and the kind of object; says whether it is to be
    /// replaced and whether it is temporary.
    fn modifiers(&mut self) -> (bool, bool) {
        const SINGLE: &[&str] = &[
            "AGGREGATE",
            "FULLTEXT",
            "IGNORE",
            "OFFLINE",
            "ONLINE",
            "UNDO",
            "UNIQUE",
        ];
        let (mut replaces, mut is_temporary) = (false, false);
        loop {
            if self.words(&["OR", "REPLACE"]) {
                replaces = true;
            } else if self.word("TEMPORARY") {
                is_temporary = true;
            } else if self.words(&["SQL", "SECURITY"]) {
                self.skip();
            } else if self.word("DEFINER") {
                self.punct(b'=');
                self.account();
            } else if self.word("ALGORITHM") {
                self.punct(b'=');
                self.skip();
            } else if !self.any_word(SINGLE) {
                return (replaces, is_temporary);
            }
        }
    }

    /// `user`, `user@host`, `CURRENT_USER` or `CURRENT_USER()`.
    fn account(&mut self) {
        self.skip();
        if self.punct(b'(') {
            self.punct(b')');
        }
        if self.punct(b'@') {
            self.skip();
        }
    }

    fn other_object(&mut self) -> bool {
        self.words(&["SPATIAL", "REFERENCE", "SYSTEM"])
            || self.words(&["SPATIAL", "INDEX"])
            || self.words(&["VECTOR", "INDEX"])
            || self.words(&["JSON", "DUALITY", "VIEW"])
            || self.words(&["JSON", "RELATIONAL", "DUALITY", "VIEW"])
            || self.any_word(OTHER_OBJECTS)
    }

    fn create(&mut self) -> Statement {
        let (replaces, is_temporary) = self.modifiers();
        if self.any_word(&["DATABASE", "SCHEMA"]) {
            return match (replaces, self.name()) {
                (true, Some(name)) => Statement::DropSchema(name),
                (true, None) => Statement::Unknown,
                (false, _) => Statement::Harmless,
            };
        }
        if !self.word("TABLE") {
            return self.if_other_object();
        }
        self.words(&["IF", "NOT", "EXISTS"]);
        let selects = self.selects();
        let Some(table) = self.table() else {
            return Statement::Unknown;
        };
        if self.is_cut && !selects {
            return Statement::Unknown;
        }
        // What is left has no second statement in it.
        Statement::CreateTable {
            table,
            is_temporary,
            replaces,
            selects,
        }
    }

    /// Whether a query fills the table that is created. Such words are reserved: as names they have quotes, or
    /// stand behind the name that they belong to.
    fn selects(&self) -> bool {
        let tokens = &self.tokens[self.at..];
        tokens.iter().enumerate().any(|(at, token)| {
            let Token::Word(word) = token else {
                return false;
            };
            let next = |keyword: &str| {
                matches!(tokens.get(at + 1), Some(Token::Word(next)) if is(next, keyword))
            };
            if is_qualified(tokens, at) {
                return false;
            }
            ascii_parts(word).any(|part| {
                is(part, "SELECT")
                    || is(part, "TABLE")
                    || is(part, "VALUES") && !next("LESS") && !next("IN")
                    || is(part, "WITH") && !next("PARSER") && !next("SYSTEM")
            })
        })
    }

    fn alter(&mut self) -> Statement {
        self.modifiers();
        if self.any_word(&["DATABASE", "SCHEMA"]) {
            return if self.rest_has(&["UPGRADE"]) {
                Statement::RenameSchema
            } else {
                Statement::Harmless
            };
        }
        if !self.word("TABLE") {
            return self.if_other_object();
        }
        self.words(&["IF", "EXISTS"]);
        let Some(table) = self.table() else {
            return Statement::Unknown;
        };
        Statement::AlterTable(Box::new(AlterTable::parse(table, self)))
    }

    fn if_other_object(&mut self) -> Statement {
        if self.other_object() {
            // Bodies of routines have statements of their own.
            self.skip_all();
            Statement::Harmless
        } else {
            Statement::Unknown
        }
    }

    fn drop(&mut self) -> Statement {
        let (_, is_temporary) = self.modifiers();
        if self.any_word(&["DATABASE", "SCHEMA"]) {
            self.words(&["IF", "EXISTS"]);
            return self
                .name()
                .map_or(Statement::Unknown, Statement::DropSchema);
        }
        if !self.any_word(&["TABLE", "TABLES"]) {
            return self.if_other_object();
        }
        self.words(&["IF", "EXISTS"]);
        let mut tables = Vec::new();
        loop {
            let Some(table) = self.table() else {
                return Statement::Unknown;
            };
            tables.push(table);
            if !self.punct(b',') {
                break;
            }
        }
        if self.is_cut {
            return Statement::Unknown;
        }
        if is_temporary {
            return Statement::Harmless;
        }
        Statement::DropTables(tables)
    }

    fn rename(&mut self) -> Statement {
        if self.word("USER") {
            return Statement::Harmless;
        }
        if !self.any_word(&["TABLE", "TABLES"]) {
            return Statement::Unknown;
        }
        self.words(&["IF", "EXISTS"]);
        let mut pairs = Vec::new();
        loop {
            let from = self.table();
            if self.word("WAIT") {
                self.skip();
            } else {
                self.word("NOWAIT");
            }
            let to = if self.word("TO") { self.table() } else { None };
            let (Some(from), Some(to)) = (from, to) else {
                return Statement::Unknown;
            };
            pairs.push((from, to));
            if !self.punct(b',') {
                break;
            }
        }
        if self.is_cut {
            return Statement::Unknown;
        }
        Statement::RenameTables(pairs)
    }

    fn dml(&mut self) -> Statement {
        const OTHERS: &[&str] = &[
            "CALL", "DO", "EXECUTE", "HANDLER", "IMPORT", "SELECT", "TABLE", "VALUES", "WITH",
        ];
        if self.any_word(&["INSERT", "REPLACE"]) {
            while self.any_word(&["LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE"]) {}
            self.word("INTO");
            return Statement::Dml(self.table());
        }
        if self.word("UPDATE") {
            while self.any_word(&["LOW_PRIORITY", "IGNORE"]) {}
            let table = self.table();
            return Statement::Dml(table.filter(|_| self.is_alone(&["SET"])));
        }
        if self.word("DELETE") {
            while self.any_word(&["LOW_PRIORITY", "QUICK", "IGNORE"]) {}
            if !self.word("FROM") {
                return Statement::Dml(None);
            }
            let table = self.table();
            let is_alone = self.is_alone(&["WHERE", "ORDER", "LIMIT", "RETURNING"]);
            return Statement::Dml(table.filter(|_| is_alone));
        }
        if self.word("LOAD") {
            return Statement::Dml(self.loaded_table());
        }
        if self.any_word(OTHERS) {
            return Statement::Dml(None);
        }
        Statement::Unknown
    }

    /// `LOAD DATA ... INFILE 'file' [REPLACE | IGNORE] INTO TABLE t`
    fn loaded_table(&mut self) -> Option<TableName> {
        if !self.any_word(&["DATA", "XML"]) {
            return None;
        }
        while self.any_word(&["LOW_PRIORITY", "CONCURRENT", "LOCAL"]) {}
        if !self.word("INFILE") || !self.text() {
            return None;
        }
        self.any_word(&["REPLACE", "IGNORE"]);
        if self.words(&["INTO", "TABLE"]) {
            self.table()
        } else {
            None
        }
    }

    /// Whether the table just read is the only one up to one of these words or the end.
    fn is_alone(&mut self, words: &[&str]) -> bool {
        if self.word("PARTITION") && !self.parenthesised() {
            return false;
        }
        if self.at_end_or_word(words) {
            return true;
        }
        self.word("AS");
        self.name().is_some() && self.at_end_or_word(words)
    }

    fn at_end_or_word(&self, words: &[&str]) -> bool {
        self.is_at_end() && !self.is_cut || self.clone().any_word(words)
    }

    fn if_at_end(&self, statement: Statement) -> Statement {
        if self.is_at_end() {
            statement
        } else {
            Statement::Unknown
        }
    }

    /// Whether a semicolon follows, with more behind it.
    fn has_another(&self) -> bool {
        let rest = &self.tokens[self.at..];
        let is_end = |token: &&Token<'_>| *token == &Token::Punct(b';');
        let Some(end) = rest.iter().position(is_end) else {
            return false;
        };
        !rest[end..].iter().all(is_end)
    }
}
