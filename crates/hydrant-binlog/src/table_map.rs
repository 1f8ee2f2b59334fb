//! TABLE_MAP events: what the rows that follow look like.

use mysql_common::collations::{Collation, CollationId};

use super::bytes::Cursor;
use super::column_type::ColumnType;
use super::{Flavor, Problem};

/// How the names of the hidden columns begin that MariaDB has for unique keys of TEXT, BLOB or long VARCHAR, behind all
/// others. They can be NULL if a column of their key can; nothing tells which is of which key.
pub const HASH_PREFIX: &str = "DB_ROW_HASH_";

/// Columns of the widest table (`MAX_FIELDS` of both families).
const MOST_COLUMNS: usize = 4096;

/// The shape of a table at one moment of the binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The schema's name, as the server spells it.
    pub schema: String,
    /// The table's name, as the server spells it.
    pub table: String,
    /// The columns in the table's order, generated and invisible ones included.
    pub columns: Vec<Column>,
    /// Whether it says which columns are UNSIGNED; [`Column::unsigned`] is valid only then.
    pub has_signs: bool,
    /// The columns of the primary key, by their index; none if there is no such key, or it is unknown.
    pub key: Vec<usize>,
}

/// One column of a [`TableMap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name; empty unless the server has `binlog_row_metadata=FULL`.
    pub name: String,
    /// The type as far as it shapes the bytes.
    pub kind: ColumnType,
    /// Whether the column may be NULL.
    pub nullable: bool,
    /// Whether an integer, decimal or floating column is UNSIGNED.
    pub unsigned: bool,
    /// The character set of CHAR, VARCHAR, TEXT, BINARY, VARBINARY, BLOB, ENUM and SET columns.
    pub charset: Option<Charset>,
    /// The labels of an ENUM or SET, in its character set; sent with
    /// `binlog_row_metadata=FULL` only.
    pub labels: Vec<Vec<u8>>,
}

impl Column {
    /// Whether it looks like a hidden column that MariaDB has for a unique key (see [`HASH_PREFIX`]).
    #[must_use]
    pub fn may_be_hash(&self) -> bool {
        self.kind == ColumnType::Int(8) && self.name.starts_with(HASH_PREFIX)
    }
}

/// Character sets, as far as hydrant treats them differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charset {
    /// utf8mb4 and utf8mb3: the bytes are UTF-8.
    Utf8,
    /// MySQL's latin1, which is Windows-1252 with C1 controls in its gaps.
    Latin1,
    /// No text at all: BINARY, VARBINARY, BLOB.
    Binary,
    /// Another one, by name or collation number.
    Other(String),
}

impl std::fmt::Display for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "utf8mb4",
            Self::Latin1 => "latin1",
            Self::Binary => "binary",
            Self::Other(name) => name,
        })
    }
}

impl Charset {
    /// Collations that MariaDB numbers by itself: 32 from each of these numbers on
    /// (`MY_PAGE2_COLLATION_ID_UTF8` and similar numbers), and 256 for each character set from 2048 on for
    /// UCA 14.0.0 (`sql/ctype-uca1400.h`).
    fn of_mariadb(id: u64) -> Option<Self> {
        let charset = match id {
            576..640 | 2048..2560 => return Some(Self::Utf8),
            640..672 | 2560..2816 => "ucs2",
            672..704 | 2816..3072 => "utf16",
            736..768 | 3072..3328 => "utf32",
            _ => return None,
        };
        Some(Self::Other(charset.to_owned()))
    }

    pub(super) fn from_collation(id: u64) -> Self {
        const NO_PAD: std::ops::Range<u64> = 1024..2048; // 1024 above those that pad (`MY_NOPAD_ID`)
        let id = if NO_PAD.contains(&id) {
            id - NO_PAD.start
        } else {
            id
        };
        if let Some(charset) = Self::of_mariadb(id) {
            return charset;
        }
        let known = u16::try_from(id).map_or(CollationId::UNKNOWN_COLLATION_ID, CollationId::from);
        if known == CollationId::UNKNOWN_COLLATION_ID {
            return Self::Other(format!("collation {id}"));
        }
        Self::named(Collation::from(known).charset())
    }

    /// The character set of this name.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "utf8mb4" | "utf8mb3" | "utf8" => Self::Utf8,
            "latin1" => Self::Latin1,
            "binary" => Self::Binary,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The part of a TABLE_MAP event that is read for every statement.
pub(super) struct TableMapHead<'a> {
    pub(super) table_id: u64,
    /// The names as they stand in the event: length, schema, 0, length, table, 0.
    pub(super) names: &'a [u8],
    /// All but the table id, which changes without the table changing.
    pub(super) definition: &'a [u8],
}

/// The key under which [`TableMapHead::names`] finds a table.
pub(super) fn names_key(schema: &str, table: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(schema.len() + table.len() + 4);
    for name in [schema, table] {
        // Names of more than 64 characters cannot exist, so the length always fits.
        key.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        key.extend_from_slice(name.as_bytes());
        key.push(0);
    }
    key
}

impl<'a> TableMapHead<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor(body);
        let table_id = cursor.uint(6)?;
        let definition = cursor.0;
        cursor.take(2)?;
        let from_names = cursor.0;
        for _ in 0..2 {
            let len = usize::from(cursor.u8()?);
            cursor.take(len + 1)?;
        }
        let names = &from_names[..from_names.len() - cursor.0.len()];
        Ok(Self {
            table_id,
            names,
            definition,
        })
    }
}

impl TableMap {
    /// Reads a [`TableMapHead::definition`] of a server of this family.
    pub(super) fn parse(definition: &[u8], flavor: Flavor) -> Result<Self, Problem> {
        let mut cursor = Cursor(definition);
        cursor.take(2)?;
        let schema = name(&mut cursor)?;
        let table = name(&mut cursor)?;
        let column_count = cursor.lenenc_len()?;
        // Rows of no columns would have no end.
        if !(1..=MOST_COLUMNS).contains(&column_count) {
            return Err(Problem::Malformed("the table map's column count"));
        }
        let codes = cursor.take(column_count)?;
        let metadata_len = cursor.lenenc_len()?;
        let mut metadata = Cursor(cursor.take(metadata_len)?);
        let kinds = codes
            .iter()
            .map(|code| ColumnType::parse(*code, &mut metadata))
            .collect::<Result<Vec<_>, _>>()?;
        if !metadata.is_empty()
            && !kinds
                .iter()
                .any(|kind| matches!(kind, ColumnType::Unknown(_)))
        {
            return Err(Problem::Malformed("the table map's column metadata"));
        }
        let nullable = cursor.take(column_count.div_ceil(8))?;
        let mut columns: Vec<Column> = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| Column {
                name: String::new(),
                kind: *kind,
                nullable: bit(nullable, index),
                unsigned: false,
                charset: None,
                labels: Vec::new(),
            })
            .collect();
        let mut key = Vec::new();
        let has_signs = optional_metadata(cursor, &mut columns, &mut key, flavor)?;
        Ok(Self {
            schema,
            table,
            columns,
            has_signs,
            key,
        })
    }
}

fn name(cursor: &mut Cursor<'_>) -> Result<String, Problem> {
    let len = usize::from(cursor.u8()?);
    let text = cursor.take(len)?;
    cursor.take(1)?;
    utf8(text)
}

fn utf8(text: &[u8]) -> Result<String, Problem> {
    String::from_utf8(text.to_vec()).map_err(|_| Problem::Malformed("a name"))
}

/// Bit `index` of a bitmap whose first byte holds the first eight, lowest bit first.
pub(super) fn bit(bitmap: &[u8], index: usize) -> bool {
    let byte = bitmap.get(index / 8);
    byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// The fields of `Table_map_event::Optional_metadata_field_type` that shape text output. Gives
/// whether signs are among them.
#[expect(clippy::too_many_lines, reason = "each field has its arm")]
fn optional_metadata(
    mut cursor: Cursor<'_>,
    columns: &mut [Column],
    key: &mut Vec<usize>,
    flavor: Flavor,
) -> Result<bool, Problem> {
    const SIGNEDNESS: u8 = 1;
    const DEFAULT_CHARSET: u8 = 2;
    const COLUMN_CHARSET: u8 = 3;
    const COLUMN_NAME: u8 = 4;
    const SET_STR_VALUE: u8 = 5;
    const ENUM_STR_VALUE: u8 = 6;
    const SIMPLE_PRIMARY_KEY: u8 = 8;
    const PRIMARY_KEY_WITH_PREFIX: u8 = 9;
    const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
    const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;

    let mut seen = [false; 256];
    let mut has_signs = false;
    while !cursor.is_empty() {
        let field_type = cursor.u8()?;
        if std::mem::replace(&mut seen[usize::from(field_type)], true) {
            return Err(Problem::Malformed("the table map's list of fields"));
        }
        let len = cursor.lenenc_len()?;
        let mut field = Cursor(cursor.take(len)?);
        match field_type {
            SIGNEDNESS => {
                has_signs = true;
                let numeric = columns.iter_mut().filter(|column| column.kind.is_numeric());
                for (index, column) in numeric.enumerate() {
                    // This bitmap alone starts at the highest bit of each byte.
                    let byte = field.0.get(index / 8).ok_or(Problem::Truncated)?;
                    column.unsigned = byte >> (7 - index % 8) & 1 == 1;
                }
            }
            DEFAULT_CHARSET | COLUMN_CHARSET => {
                let character = columns
                    .iter_mut()
                    .filter(|column| column.kind.is_character(flavor));
                read_charsets(field, field_type == DEFAULT_CHARSET, character)?;
            }
            ENUM_AND_SET_DEFAULT_CHARSET | ENUM_AND_SET_COLUMN_CHARSET => {
                let is_default = field_type == ENUM_AND_SET_DEFAULT_CHARSET;
                let labelled = columns.iter_mut().filter(|column| column.kind.has_labels());
                read_charsets(field, is_default, labelled)?;
            }
            SET_STR_VALUE | ENUM_STR_VALUE => {
                let is_set = field_type == SET_STR_VALUE;
                let wanted = columns.iter_mut().filter(|column| {
                    column.kind.has_labels() && matches!(column.kind, ColumnType::Set(_)) == is_set
                });
                for column in wanted {
                    for _ in 0..field.lenenc_len()? {
                        let len = field.lenenc_len()?;
                        column.labels.push(field.take(len)?.to_vec());
                    }
                }
            }
            COLUMN_NAME => {
                for column in columns.iter_mut() {
                    let len = field.lenenc_len()?;
                    column.name = utf8(field.take(len)?)?;
                }
            }
            SIMPLE_PRIMARY_KEY | PRIMARY_KEY_WITH_PREFIX => {
                while !field.is_empty() {
                    let index = field.lenenc_len()?;
                    if index >= columns.len() {
                        return Err(Problem::Malformed("the table map's primary key"));
                    }
                    key.push(index);
                    // Of a column of which only the beginning is in the key, its length.
                    if field_type == PRIMARY_KEY_WITH_PREFIX {
                        field.lenenc()?;
                    }
                }
            }
            // Geometry types, visibility and dimensions do not change what is written.
            _ => {}
        }
    }
    Ok(has_signs)
}

/// A list of collations: one for each column, or a default and those that differ.
fn read_charsets<'c>(
    mut field: Cursor<'_>,
    is_default: bool,
    columns: impl Iterator<Item = &'c mut Column>,
) -> Result<(), Problem> {
    let mut columns: Vec<&mut Column> = columns.collect();
    if !is_default {
        for column in columns {
            column.charset = Some(Charset::from_collation(field.lenenc()?));
        }
        if !field.is_empty() {
            return Err(Problem::Malformed("the table map's list of collations"));
        }
        return Ok(());
    }
    let default = Charset::from_collation(field.lenenc()?);
    for column in &mut columns {
        column.charset = Some(default.clone());
    }
    while !field.is_empty() {
        let index = field.lenenc_len()?;
        let charset = Charset::from_collation(field.lenenc()?);
        let column = columns
            .get_mut(index)
            .ok_or(Problem::Malformed("the table map's list of collations"))?;
        column.charset = Some(charset);
    }
    Ok(())
}

#[cfg(test)]
#[path = "table_map_tests.rs"]
mod tests;
