//! What the specifications of an ALTER TABLE do to columns and rows.

use super::parser::Parser;
use super::table_name::TableName;

/// The columns of the table that an ALTER TABLE may change: names, types, signs, nullability, labels or character
/// sets, or which there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Columns {
    /// None.
    None,
    /// Those that it mentions.
    Mentioned,
    /// Any.
    Any,
}

/// What becomes of the table's rows without events of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rows {
    /// They stay.
    Stay,
    /// Some are deleted, with their partitions.
    Go,
    /// Some go into another table, which is created.
    SplitOff,
    /// Some come in, exchanged with another table or out of files.
    Come,
}

/// What an ALTER TABLE does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AlterTable {
    pub(super) table: TableName,
    pub(super) columns: Columns,
    /// A specification is not known.
    pub(super) is_unknown: bool,
    pub(super) rows: Rows,
    /// The other table that rows come from or go to.
    pub(super) other: Option<TableName>,
    pub(super) renamed_to: Option<TableName>,
}

/// Options that have to do with storage only, and take a value.
const STORAGE_OPTIONS: &[&str] = &[
    "ALGORITHM",
    "AUTOEXTEND_SIZE",
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "COMMENT",
    "COMPRESSION",
    "CONNECTION",
    "DELAY_KEY_WRITE",
    "ENCRYPTED",
    "ENCRYPTION",
    "ENCRYPTION_KEY_ID",
    "ENGINE",
    "ENGINE_ATTRIBUTE",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "LOCK",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "PASSWORD",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "TABLESPACE",
    "TABLE_CHECKSUM",
    "TRANSACTIONAL",
    "UNION",
];

impl AlterTable {
    /// Reads the specifications behind the table's name.
    pub(super) fn parse(table: TableName, parser: &mut Parser<'_, '_>) -> Self {
        let mut alter = Self {
            table,
            columns: Columns::None,
            is_unknown: false,
            rows: Rows::Stay,
            other: None,
            renamed_to: None,
        };
        if parser.word("WAIT") {
            parser.skip();
        } else {
            parser.word("NOWAIT");
        }
        while !parser.is_at_end() {
            if !parser.punct(b',') && !alter.specification(parser) {
                alter.is_unknown = true;
                alter.columns = Columns::Any;
                alter.rows = Rows::Come;
                parser.skip_past_comma();
            }
        }
        if parser.is_cut() {
            alter.is_unknown = true;
            alter.columns = Columns::Any;
        }
        alter
    }

    /// Reads one specification, or an option; says whether it is known.
    fn specification(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        if parser.any_word(STORAGE_OPTIONS) {
            return storage_value(parser);
        }
        let is_known = if parser.word("ADD") {
            self.add(parser)
        } else if parser.word("DROP") {
            self.drop(parser)
        } else if parser.word("ALTER") {
            self.alter(parser)
        } else if parser.word("RENAME") {
            return self.rename(parser);
        } else if parser.word("CONVERT") {
            return self.convert(parser);
        } else if parser.any_word(&["MODIFY", "CHANGE"]) {
            self.change(Columns::Mentioned)
        } else if parser.any_word(&["DEFAULT", "CHARACTER", "CHARSET", "COLLATE"]) {
            // Of columns that are added later or by this statement.
            self.change(Columns::Mentioned)
        } else if parser.any_word(&["DISABLE", "ENABLE"]) {
            return parser.word("KEYS");
        } else if parser.any_word(&["DATA", "INDEX"]) {
            return parser.word("DIRECTORY") && storage_value(parser);
        } else if parser.any_word(&["WITH", "WITHOUT"]) {
            return parser.word("VALIDATION");
        } else if parser.any_word(&["REMOVE", "UPGRADE"]) {
            return parser.word("PARTITIONING");
        } else if parser.any_word(&["FORCE", "SECONDARY_LOAD", "SECONDARY_UNLOAD"]) {
            return true;
        } else {
            return self.of_partitions(parser);
        };
        // A definition of partitions has no comma before it.
        is_known && (parser.is_at_comma_or_end() || parser.skip_to_comma())
    }

    fn change(&mut self, columns: Columns) -> bool {
        self.columns = self.columns.max(columns);
        true
    }

    fn add(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        const KEYS: &[&str] = &[
            "INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK",
        ];
        if parser.any_word(KEYS)
            || parser.words(&["VECTOR", "INDEX"])
            || parser.words(&["VECTOR", "KEY"])
        {
            return true;
        }
        if parser.word("PARTITION") {
            return rest_is_partitions(parser);
        }
        if parser.word("CONSTRAINT") {
            // A primary key makes its columns NOT NULL.
            if parser.specification_has(&["PRIMARY"]) {
                self.change(Columns::Mentioned);
            }
            return true;
        }
        if parser.any_word(&["SYSTEM", "PERIOD"]) {
            return self.change(Columns::Any);
        }
        self.change(Columns::Mentioned)
    }

    fn drop(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        if parser.any_word(&["INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK"]) {
            return true;
        }
        if parser.word("PARTITION") {
            self.rows = Rows::Go;
            return rest_is_partitions(parser);
        }
        if parser.any_word(&["SYSTEM", "PERIOD"]) {
            return self.change(Columns::Any);
        }
        self.change(Columns::Mentioned)
    }

    fn alter(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        if parser.any_word(&["INDEX", "KEY", "CHECK", "CONSTRAINT"]) {
            return true;
        }
        parser.word("COLUMN");
        parser.words(&["IF", "EXISTS"]);
        if parser.name().is_some()
            && (parser.words(&["SET", "DEFAULT"]) || parser.words(&["DROP", "DEFAULT"]))
        {
            return true;
        }
        self.change(Columns::Mentioned)
    }

    fn rename(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        if parser.any_word(&["INDEX", "KEY"]) {
            return parser.skip_to_comma();
        }
        if parser.word("COLUMN") {
            self.change(Columns::Mentioned);
            return parser.skip_to_comma();
        }
        let _is_said = parser.any_word(&["TO", "AS"]) || parser.punct(b'=');
        self.renamed_to = parser.table();
        self.change(Columns::Any);
        self.renamed_to.is_some()
    }

    fn convert(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        if parser.word("PARTITION") {
            // ... p TO TABLE t
            self.rows = Rows::SplitOff;
            parser.skip_to_word("TABLE");
            self.other = parser.table();
            return self.other.is_some() && rest_is_partitions(parser);
        }
        if parser.word("TABLE") {
            // ... t TO PARTITION p
            self.rows = Rows::Come;
            self.other = parser.table();
            return self.other.is_some() && rest_is_partitions(parser);
        }
        self.change(Columns::Any);
        parser.word("TO") && parser.skip_to_comma()
    }

    /// What is said of partitions comes last.
    fn of_partitions(&mut self, parser: &mut Parser<'_, '_>) -> bool {
        const KEEP_ROWS: &[&str] = &[
            "REORGANIZE",
            "COALESCE",
            "ANALYZE",
            "CHECK",
            "OPTIMIZE",
            "REBUILD",
            "REPAIR",
        ];
        if parser.words(&["PARTITION", "BY"]) || parser.words(&["ORDER", "BY"]) {
            return rest_is_partitions(parser);
        }
        if parser.any_word(KEEP_ROWS) {
            return parser.word("PARTITION") && rest_is_partitions(parser);
        }
        if parser.word("TRUNCATE") {
            self.rows = Rows::Go;
            return parser.word("PARTITION") && rest_is_partitions(parser);
        }
        let is_import = parser.word("IMPORT");
        if is_import || parser.word("DISCARD") {
            self.rows = if is_import { Rows::Come } else { Rows::Go };
            return parser.word("TABLESPACE")
                || parser.word("PARTITION") && rest_is_partitions(parser);
        }
        if parser.words(&["EXCHANGE", "PARTITION"]) {
            self.rows = Rows::Come;
            parser.skip_to_word("TABLE");
            self.other = parser.table();
            return self.other.is_some() && rest_is_partitions(parser);
        }
        false
    }
}

/// Takes in all that is left, if that cannot be about columns.
fn rest_is_partitions(parser: &mut Parser<'_, '_>) -> bool {
    const OTHERS: &[&str] = &[
        "ADD", "DROP", "MODIFY", "CHANGE", "RENAME", "ALTER", "CONVERT", "EXCHANGE", "IMPORT",
    ];
    let is_known = !parser.rest_has(OTHERS);
    if is_known {
        parser.skip_all();
    }
    is_known
}

/// `= value`, of whatever kind.
fn storage_value(parser: &mut Parser<'_, '_>) -> bool {
    parser.punct(b'=');
    parser.value()
}
