//! PURE. The key by which a table is read in parts: bounds as SQL, and as the checkpoint has them.
//!
//! What lives here: which columns can be a key, and conditions over them. What does not: which parts are read
//! ([`super::progress`]), and asking.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::binlog::ServerColumn;
use crate::encode::quoted_name;

/// How a value of a key's column is written in SQL, so that it compares as the column does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Literal {
    /// INT and DECIMAL: bare digits.
    Number,
    /// Text of this character set, whose collation is the column's.
    Text(String),
    /// BINARY and VARBINARY.
    Bytes,
    /// Dates, times, UUID and addresses: quoted text.
    Quoted,
}

/// One column of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyColumn {
    name: String,
    literal: Literal,
    is_integer: bool,
}

/// The key by which a table is read: its primary key, or a unique one without NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The index's name.
    index: String,
    columns: Vec<KeyColumn>,
}

/// A bound: the cells of the key's first columns as a server has answered them, as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound(Vec<String>);

impl Bound {
    /// Of cells as they were answered.
    pub(super) fn of<'c>(cells: impl Iterator<Item = &'c [u8]>) -> Self {
        Self(cells.map(hex).collect())
    }

    /// The value, if it is of one integer.
    pub(super) fn integer(&self) -> Option<i128> {
        let [cell] = &self.0[..] else {
            return None;
        };
        let digits = unhex(cell)?;
        std::str::from_utf8(&digits).ok()?.parse().ok()
    }

    /// Of one integer.
    pub(super) fn of_integer(value: i128) -> Self {
        Self::of([value.to_string().as_bytes()].into_iter())
    }
}

fn hex(cell: &[u8]) -> String {
    let mut text = String::with_capacity(2 * cell.len());
    for byte in cell {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    rest.is_empty().then_some(())?;
    pairs.iter().map(byte).collect()
}

impl Key {
    /// The key over these columns; `None` if bounds over them cannot be told exactly in SQL.
    pub(super) fn new(index: &str, columns: &[&ServerColumn]) -> Option<Self> {
        let column = |column: &&ServerColumn| {
            let literal = match column.data_type.to_ascii_lowercase().as_str() {
                "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
                    Literal::Number
                }
                "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
                    Literal::Text(column.charset.clone()?)
                }
                "binary" | "varbinary" => Literal::Bytes,
                "date" | "time" | "datetime" | "timestamp" | "uuid" | "inet4" | "inet6" => {
                    Literal::Quoted
                }
                // FLOAT and DOUBLE do not compare with their text, ENUM and SET do not sort by it.
                _ => return None,
            };
            let is_nullable = column.nullable;
            (!is_nullable).then(|| KeyColumn {
                name: column.name.clone(),
                is_integer: column.data_type.to_ascii_lowercase().ends_with("int"),
                literal,
            })
        };
        Some(Self {
            index: index.to_owned(),
            columns: columns.iter().map(column).collect::<Option<_>>()?,
        })
        .filter(|key| !key.columns.is_empty())
    }

    /// No key: the table is read whole.
    pub(super) fn none() -> Self {
        Self {
            index: String::new(),
            columns: Vec::new(),
        }
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        self.columns.is_empty()
    }

    /// The names of its columns.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The column that its rows can be divided by evenly, if there is one.
    pub(super) fn integer(&self) -> Option<&str> {
        let first = self.columns.first();
        let first = first.filter(|column| column.is_integer);
        first.map(|column| column.name.as_str())
    }

    /// Whether it is one integer.
    pub(super) fn is_integer(&self) -> bool {
        self.columns.len() == 1 && self.integer().is_some()
    }

    /// Rows of a table from the key's index alone, in its order: what stands behind the table's name, with this condition.
    pub(super) fn clauses(&self, condition: &str) -> String {
        if self.is_none() {
            return String::new();
        }
        let names: Vec<String> = self.names().map(quoted_name).collect();
        format!(
            " {} WHERE {condition} ORDER BY {}",
            self.hint(),
            names.join(", ")
        )
    }

    /// Which index the server is to read.
    pub(super) fn hint(&self) -> String {
        format!("FORCE INDEX ({})", quoted_name(&self.index))
    }

    /// The condition for rows behind `after`, up to `to`; `None` if a bound is not one of this key.
    pub(super) fn condition(&self, after: Option<&Bound>, to: Option<&Bound>) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(after) = after {
            parts.push(self.compared(after, Side::After)?);
        }
        if let Some(to) = to {
            parts.push(self.compared(to, Side::UpTo)?);
        }
        Some(if parts.is_empty() {
            "TRUE".to_owned()
        } else {
            parts.join(" AND ")
        })
    }

    /// A bound on the first column alone lets the server use the index, whatever it makes of the rest.
    fn compared(&self, bound: &Bound, side: Side) -> Option<String> {
        if bound.0.is_empty() || bound.0.len() > self.columns.len() {
            return None;
        }
        let columns = self.columns.iter().zip(&bound.0);
        let pairs = columns.map(|(column, cell)| {
            let literal = column.literal(&unhex(cell)?)?;
            Some((quoted_name(&column.name), literal))
        });
        let pairs: Vec<(String, String)> = pairs.collect::<Option<_>>()?;
        let (first, literal) = pairs.first()?;
        let strict = side.nested(&pairs);
        Some(if pairs.len() == 1 {
            strict
        } else {
            format!("{first} {} {literal} AND ({strict})", side.loose())
        })
    }
}

/// Which rows a bound keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    After,
    UpTo,
}

impl Side {
    fn loose(self) -> &'static str {
        match self {
            Self::After => ">=",
            Self::UpTo => "<=",
        }
    }

    /// `a > x OR (a = x AND (b > y))`; the bound itself is one of the rows up to it.
    fn nested(self, pairs: &[(String, String)]) -> String {
        match pairs {
            [] => "TRUE".to_owned(),
            [(name, literal)] => {
                let last = match self {
                    Self::After => ">",
                    Self::UpTo => "<=",
                };
                format!("{name} {last} {literal}")
            }
            [(name, literal), rest @ ..] => {
                let beyond = match self {
                    Self::After => ">",
                    Self::UpTo => "<",
                };
                let rest = self.nested(rest);
                format!("{name} {beyond} {literal} OR ({name} = {literal} AND ({rest}))")
            }
        }
    }
}

impl KeyColumn {
    /// `None` if the cell is none of this column.
    fn literal(&self, cell: &[u8]) -> Option<String> {
        let is_digits = |extra: &[u8]| {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || extra.contains(byte);
            !cell.is_empty() && cell.iter().all(is_part)
        };
        let text = || String::from_utf8(cell.to_vec()).ok();
        match &self.literal {
            Literal::Number if is_digits(b"-.") => text(),
            Literal::Quoted if is_digits(b"-.: ") => Some(format!("'{}'", text()?)),
            Literal::Number | Literal::Quoted => None,
            Literal::Text(charset) => Some(format!("_{charset} X'{}'", hex(cell))),
            Literal::Bytes => Some(format!("X'{}'", hex(cell))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, data_type: &str) -> ServerColumn {
        ServerColumn {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            charset: data_type.contains("char").then(|| "latin1".to_owned()),
            ..ServerColumn::default()
        }
    }

    fn key(types: &[&str]) -> Option<Key> {
        let names = ["a", "b", "c"];
        let columns: Vec<_> = names
            .iter()
            .zip(types)
            .map(|(name, data_type)| column(name, data_type))
            .collect();
        Key::new("PRIMARY", &columns.iter().collect::<Vec<_>>())
    }

    fn bound(cells: &[&str]) -> Bound {
        Bound::of(cells.iter().map(|cell| cell.as_bytes()))
    }

    #[test]
    fn bounds_are_lexical_over_all_columns() {
        let key = key(&["bigint", "varchar", "binary"]).unwrap();
        let after = bound(&["-7", "it's", "\0x"]);
        let to = bound(&["9"]);
        assert_eq!(
            key.condition(Some(&after), Some(&to)).unwrap(),
            "`a` >= -7 AND (`a` > -7 OR (`a` = -7 AND (`b` > _latin1 X'69742773' OR (`b` = _latin1 X'69742773' AND \
             (`c` > X'0078'))))) AND `a` <= 9"
        );
        assert_eq!(key.condition(None, None).unwrap(), "TRUE");
        assert_eq!(
            key.condition(None, Some(&bound(&["1", "b"]))).unwrap(),
            "`a` <= 1 AND (`a` < 1 OR (`a` = 1 AND (`b` <= _latin1 X'62')))"
        );
    }

    #[test]
    fn a_bound_that_is_none_of_the_key_is_refused() {
        let number = key(&["int"]).unwrap();
        for cells in [&["1 OR 1=1"][..], &["'"], &[""], &[], &["1", "2"]] {
            assert_eq!(number.condition(Some(&bound(cells)), None), None);
        }
        let time = key(&["datetime"]).unwrap();
        assert_eq!(
            time.condition(Some(&bound(&["2016-03-04 00:00:00.5"])), None),
            Some("`a` > '2016-03-04 00:00:00.5'".to_owned())
        );
        assert_eq!(time.condition(Some(&bound(&["' OR '"])), None), None);
    }

    #[test]
    fn types_that_do_not_compare_with_their_text_are_no_key() {
        for data_type in [
            "float", "double", "enum", "set", "bit", "json", "blob", "point",
        ] {
            assert_eq!(key(&["int", data_type]), None, "{data_type}");
        }
        assert_eq!(key(&[]), None);
        let nullable = ServerColumn {
            nullable: true,
            ..column("a", "int")
        };
        assert_eq!(Key::new("k", &[&nullable]), None);
    }

    #[test]
    fn bounds_are_stored() {
        let stored = serde_json::to_string(&bound(&["7", "ä"])).unwrap();
        assert_eq!(stored, r#"["37","C3A4"]"#);
        assert_eq!(
            serde_json::from_str::<Bound>(&stored).unwrap(),
            bound(&["7", "ä"])
        );
        assert_eq!(Bound::of_integer(-3), bound(&["-3"]));
    }
}
