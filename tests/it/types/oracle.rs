//! What the server says a table holds, and whether the lines say the same.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

use testkit::servers::Server;

/// How many differences are told.
const TOLD: usize = 20;

/// Types whose values are bytes.
const BYTES: [&str; 13] = [
    "binary",
    "varbinary",
    "tinyblob",
    "blob",
    "mediumblob",
    "longblob",
    "bit",
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "geomcollection",
];

/// A field of a line: whether it was quoted, and its text without the quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) quoted: bool,
    pub(crate) text: Vec<u8>,
}

/// A connection in UTC and utf8mb4, without modes, so that every odd value can be stored.
pub(super) struct Session {
    runtime: tokio::runtime::Runtime,
    conn: Conn,
}

impl Session {
    pub(super) fn open(server: &Server) -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        let url = server.url();
        let conn = runtime.block_on(async { Conn::from_url(url).await })?;
        let mut session = Self { runtime, conn };
        session.run("SET NAMES utf8mb4, time_zone = '+00:00', sql_mode = ''")?;
        Ok(session)
    }

    pub(super) fn run(&mut self, sql: &str) -> Result<()> {
        let start: String = sql.chars().take(300).collect();
        self.runtime
            .block_on(self.conn.query_drop(sql))
            .context(start)
    }

    pub(super) fn rows(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.runtime
            .block_on(self.conn.query(sql))
            .context(sql.to_owned())
    }

    /// The table's columns, with how each of them is compared.
    fn columns(&mut self, schema: &str, table: &str) -> Result<Vec<(String, Rule)>> {
        let rows = self.rows(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = '{schema}' AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"
        ))?;
        let column = |row: Row| {
            let (name, data_type, column_type, precision, scale): ServerColumn =
                mysql_async::from_row(row);
            let rule = match (data_type.as_str(), scale) {
                _ if column_type.contains("zerofill") => Rule::Number,
                ("float", None) => Rule::Float,
                ("double", None) => Rule::Double,
                ("float" | "double", Some(_)) => Rule::Fixed,
                ("decimal", _) if precision.is_some_and(|most| most <= DOUBLES_DIGITS) => {
                    Rule::Fixed
                }
                ("date" | "datetime" | "timestamp", _) => Rule::ZeroIsNull,
                ("year", _) => Rule::Year,
                ("vector", _) => Rule::Vector,
                (kind, _) if BYTES.contains(&kind) => Rule::Hex,
                _ => Rule::Text,
            };
            (name, rule)
        };
        Ok(rows.into_iter().map(column).collect())
    }

    /// Compares the lines with what SELECT says of these columns (`None`: of all of them), in the
    /// order of the first of them. Gives the number of rows.
    pub(super) fn compare(
        &mut self,
        schema: &str,
        table: &str,
        chosen: Option<&[String]>,
        lines: &[u8],
    ) -> Result<usize> {
        self.compare_each(schema, table, chosen, Records::of(lines), Numbers::Text)
    }

    /// The same with lines that were read already.
    pub(super) fn compare_records(
        &mut self,
        schema: &str,
        table: &str,
        chosen: Option<&[String]>,
        records: &[Vec<Field>],
        numbers: Numbers,
    ) -> Result<usize> {
        self.compare_each(schema, table, chosen, records.iter().map(Ok), numbers)
    }

    /// The same with one line and one row at a time, so that neither all lines nor all rows are held.
    fn compare_each<R: AsRef<[Field]>>(
        &mut self,
        schema: &str,
        table: &str,
        chosen: Option<&[String]>,
        mut records: impl Iterator<Item = Result<R>>,
        numbers: Numbers,
    ) -> Result<usize> {
        let columns = self.chosen_columns(schema, table, chosen)?;
        let expressions: Vec<String> = columns
            .iter()
            .map(|(name, rule)| rule.expression(name))
            .collect();
        let query = format!(
            "SELECT {} FROM `{schema}`.`{table}` ORDER BY `{}`",
            expressions.join(", "),
            columns[0].0
        );
        let mut differences = Vec::new();
        let mut row_count = 0;
        self.runtime.block_on(async {
            let mut rows = self.conn.query_iter(query).await?;
            while let Some(row) = rows.next().await? {
                let record = records
                    .next()
                    .with_context(|| format!("{row_count} lines, and more rows"))??;
                let record = record.as_ref();
                ensure!(
                    record.len() == columns.len(),
                    "line {row_count}: {} fields",
                    record.len()
                );
                for (index, ((name, rule), field)) in columns.iter().zip(record).enumerate() {
                    if differences.len() < TOLD && !rule.agrees(field, &row[index], numbers) {
                        differences.push(format!(
                            "{schema}.{table}, line {row_count}, {} = {}, {name}: {} for {}",
                            columns[0].0,
                            row[0].as_sql(false),
                            shown(field),
                            row[index].as_sql(false)
                        ));
                    }
                }
                row_count += 1;
            }
            ensure!(records.next().is_none(), "{row_count} rows, and more lines");
            Ok(())
        })?;
        ensure!(
            differences.is_empty(),
            "differences, up to {TOLD} of them:\n{}",
            differences.join("\n")
        );
        Ok(row_count)
    }

    /// These columns, in their order (`None`: all of them), with how each of them is compared.
    fn chosen_columns(
        &mut self,
        schema: &str,
        table: &str,
        chosen: Option<&[String]>,
    ) -> Result<Vec<(String, Rule)>> {
        let columns = self.columns(schema, table)?;
        let Some(chosen) = chosen else {
            return Ok(columns);
        };
        let mut rules: HashMap<String, Rule> = columns.into_iter().collect();
        let rule = |name: &String| Some((name.clone(), rules.remove(name)?));
        chosen
            .iter()
            .map(rule)
            .collect::<Option<_>>()
            .context("no such column")
    }
}

pub(super) fn shown(field: &Field) -> String {
    let text = String::from_utf8_lossy(&field.text);
    if field.quoted {
        format!("{text:?}")
    } else {
        text.into_owned()
    }
}

/// Name, DATA_TYPE, COLUMN_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE.
type ServerColumn = (String, String, String, Option<u64>, Option<u64>);

/// Digits that a double keeps.
const DOUBLES_DIGITS: u64 = 15;

/// What a reader makes of numbers with a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// It leaves them text.
    Text,
    /// Doubles, as many readers of JSON do.
    Doubles,
}

/// How a column's text is held against SELECT's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Byte for byte.
    Text,
    /// Byte for byte, and a zero date is NULL.
    ZeroIsNull,
    /// The same digits, or the same f64 if that is what the reader has made of them.
    Fixed,
    /// Four digits; JSON has one zero for all of `0000`.
    Year,
    /// Byte for byte without zeros before it: the lines have no padding for the eye.
    Number,
    /// Two upper-case hexadecimal digits for each byte.
    Hex,
    /// The same f32s, as a JSON array.
    Vector,
    /// The same f32. SELECT prints six digits of it, which is not always enough, so it is asked for
    /// the double of the same value.
    Float,
    /// The same f64.
    Double,
}

impl Rule {
    fn expression(self, name: &str) -> String {
        match self {
            Self::Float => format!("`{name}` * 1e0"),
            _ => format!("`{name}`"),
        }
    }

    fn agrees(self, field: &Field, selected: &Value, numbers: Numbers) -> bool {
        let is_null = !field.quoted && field.text.is_empty();
        let Value::Bytes(selected) = selected else {
            return *selected == Value::NULL && is_null;
        };
        if is_null {
            let is_zero =
                selected.iter().all(|byte| b"0-: .".contains(byte)) && selected.len() >= 10;
            return self == Self::ZeroIsNull && is_zero;
        }
        let field = &field.text;
        if matches!(self, Self::Fixed | Self::Number) && numbers == Numbers::Doubles {
            return parsed::<f64>(field).is_some_and(|value| Some(value) == parsed(selected));
        }
        match self {
            Self::Text | Self::Fixed | Self::ZeroIsNull => field == selected,
            Self::Year => field == selected || (field == b"0" && selected == b"0000"),
            Self::Number => {
                let zeros = selected.iter().take_while(|byte| **byte == b'0').count();
                let rest = &selected[zeros..];
                let is_bare = rest.first().is_none_or(|byte| *byte == b'.');
                let zero: &[u8] = if is_bare { b"0" } else { b"" };
                *field == [zero, rest].concat()
            }
            Self::Hex => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                let hex = selected.iter();
                let hex = hex.flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
                hex.eq(field.iter().copied())
            }
            Self::Vector => {
                let numbers: Option<Vec<f32>> = serde_json::from_slice(field).ok();
                let bytes = numbers.map(|numbers| {
                    let bytes = numbers.into_iter().flat_map(f32::to_le_bytes);
                    bytes.collect::<Vec<u8>>()
                });
                bytes.as_ref() == Some(selected)
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it was widened from an f32"
            )]
            Self::Float => {
                parsed::<f32>(field).map(f32::to_bits)
                    == parsed::<f64>(selected).map(|value| (value as f32).to_bits())
            }
            Self::Double => {
                parsed::<f64>(field).map(f64::to_bits) == parsed::<f64>(selected).map(f64::to_bits)
            }
        }
    }
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Splits lines by RFC 4180 with `\n`, and forgives nothing: a quoted field must need its quotes, a
/// field that needs them must have them.
pub(crate) fn split(text: &[u8]) -> Result<Vec<Vec<Field>>> {
    Records::of(text).collect()
}

/// The same, one record at a time.
pub(super) struct Records<'t> {
    text: &'t [u8],
    at: usize,
    number: usize,
}

impl<'t> Records<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self {
            text,
            at: 0,
            number: 0,
        }
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    fn record(&mut self) -> Result<Vec<Field>> {
        let (text, at) = (self.text, &mut self.at);
        let mut record = Vec::new();
        loop {
            let field = if text.get(*at) == Some(&b'"') {
                quoted(text, at)?
            } else {
                bare(text, at)
            };
            let needed =
                field.text.is_empty() || field.text.iter().any(|byte| b",\"\n\r".contains(byte));
            ensure!(
                field.quoted == needed || field == NULL,
                "quotes are wrong in record {}: {}",
                self.number,
                shown(&field)
            );
            record.push(field);
            match text.get(*at) {
                Some(b',') => *at += 1,
                Some(b'\n') => break,
                other => bail!("{other:?} after a field of record {}", self.number),
            }
        }
        *at += 1;
        self.number += 1;
        Ok(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<Field>>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.text.len()).then(|| self.record())
    }
}

pub(crate) const NULL: Field = Field {
    quoted: false,
    text: Vec::new(),
};

fn bare(text: &[u8], at: &mut usize) -> Field {
    let rest = &text[*at..];
    let len = rest
        .iter()
        .position(|byte| b",\n".contains(byte))
        .unwrap_or(rest.len());
    *at += len;
    Field {
        quoted: false,
        text: rest[..len].to_vec(),
    }
}

fn quoted(text: &[u8], at: &mut usize) -> Result<Field> {
    let mut field = Vec::new();
    *at += 1;
    loop {
        let rest = &text[*at..];
        let len = rest
            .iter()
            .position(|byte| *byte == b'"')
            .context("a quote is not closed")?;
        field.extend_from_slice(&rest[..len]);
        *at += len + 1;
        if text.get(*at) != Some(&b'"') {
            return Ok(Field {
                quoted: true,
                text: field,
            });
        }
        field.push(b'"');
        *at += 1;
    }
}

#[test]
fn the_splitter_keeps_null_and_empty_apart_and_forgives_nothing() -> Result<()> {
    let field = |quoted, text: &str| Field {
        quoted,
        text: text.into(),
    };
    assert_eq!(
        split(b"a,,\"\",\"x\"\"\n,\"\n,b\n\n")?,
        [
            vec![
                field(false, "a"),
                NULL,
                field(true, ""),
                field(true, "x\"\n,")
            ],
            vec![NULL, field(false, "b")],
            vec![NULL],
        ]
        .map(|record| record)
    );
    for wrong in ["a", "a,", "\"a\"\n", "a\"b\n", "a\rb\n", "\"a", "\"a,\"b\n"] {
        assert!(split(wrong.as_bytes()).is_err(), "{wrong:?}");
    }
    Ok(())
}
