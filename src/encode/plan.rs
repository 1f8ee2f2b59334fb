//! A table's plan: from a table map and the chosen columns to the steps that write one line.

use std::fmt;
use std::ops::Range;

use crate::binlog::{RowOperation, TableMap};

use super::cell::{CellProblem, Writer};
use super::column::writer;
use super::dialect::{Csv, Dialect, Hive, Jsonl, OpenCsv, Syntax, write_bare, write_text_as};
use super::temporal::write_utc_micros;

/// A column that the configuration chose, in the order in which it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The column's name.
    pub name: String,
    /// D of a FLOAT(M,D) or DOUBLE(M,D). The binlog does not carry it; the server's
    /// `information_schema.COLUMNS.NUMERIC_SCALE` does.
    pub scale: Option<u8>,
    /// A type that table maps show as BINARY.
    pub disguise: Option<Disguise>,
}

/// Types of MariaDB that table maps show as BINARY; `information_schema.COLUMNS.DATA_TYPE` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disguise {
    /// INET4.
    Inet4,
    /// INET6.
    Inet6,
    /// UUID.
    Uuid,
}

impl Disguise {
    /// The type of this name, if it is one of them.
    #[must_use]
    pub fn of(data_type: &str) -> Option<Self> {
        Some(match data_type.to_ascii_lowercase().as_str() {
            "inet4" => Self::Inet4,
            "inet6" => Self::Inet6,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }
}

/// Columns about the change, written after the table's own, always in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetadataColumn {
    /// `I` for an insert.
    Operation,
    /// When the transaction was committed: `YYYY-MM-DD HH:MM:SS.ffffff`, UTC.
    CommitTime,
    /// The transaction: its GTID, else the `file:offset` at which it starts.
    Position,
    /// The row's number within its transaction and table, from 0.
    Ordinal,
}

impl MetadataColumn {
    /// The name that the configuration has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::CommitTime => "commit_time",
            Self::Position => "position",
            Self::Ordinal => "ordinal",
        }
    }
}

impl fmt::Display for MetadataColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The chosen column is not in the table map.
    #[error("table {table} has no column {column} at this point of the binlog")]
    MissingColumn {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
    },
    /// The column's type cannot be written, or cannot even be passed over.
    #[error("table {table}, column {column}: {kind} is not supported")]
    UnsupportedColumn {
        /// `schema.table`.
        table: String,
        /// The column.
        column: String,
        /// The type, or the type and its character set.
        kind: String,
    },
}

/// A row image that does not fit its table map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct RowError {
    /// The column.
    pub column: String,
    /// What is wrong with the cell.
    pub problem: CellProblem,
}

/// What one transaction adds to the end of each of its lines, made once for all of them.
#[derive(Debug, Clone, Default)]
pub struct RowSuffix {
    dialect: Dialect,
    fields: Vec<u8>,
    ordinal: bool,
}

impl RowSuffix {
    /// An empty one, for lines of this dialect.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            ..Self::default()
        }
    }

    /// Makes the fields of `columns`; `position` identifies the transaction.
    pub fn set(
        &mut self,
        columns: &[MetadataColumn],
        operation: RowOperation,
        commit_time_us: i64,
        position: &str,
    ) {
        match self.dialect {
            Dialect::Csv => self.set_as::<Csv>(columns, operation, commit_time_us, position),
            Dialect::Hive => self.set_as::<Hive>(columns, operation, commit_time_us, position),
            Dialect::OpenCsv => {
                self.set_as::<OpenCsv>(columns, operation, commit_time_us, position);
            }
            Dialect::Jsonl => self.set_as::<Jsonl>(columns, operation, commit_time_us, position),
        }
    }

    fn set_as<S: Syntax>(
        &mut self,
        columns: &[MetadataColumn],
        operation: RowOperation,
        commit_time_us: i64,
        position: &str,
    ) {
        self.fields.clear();
        self.ordinal = columns.contains(&MetadataColumn::Ordinal);
        if columns.contains(&MetadataColumn::Operation) {
            start_field::<S>(MetadataColumn::Operation, &mut self.fields);
            let letter = match operation {
                RowOperation::Insert => b"I",
                RowOperation::Update => b"U",
                RowOperation::Delete => b"D",
            };
            write_text_as::<S>(letter, &mut self.fields);
        }
        if columns.contains(&MetadataColumn::CommitTime) {
            start_field::<S>(MetadataColumn::CommitTime, &mut self.fields);
            // A time outside the calendar is NULL.
            let _ = write_bare::<S>(&mut self.fields, |out| {
                let start = out.len();
                let written = write_utc_micros(commit_time_us, out);
                written.or_else(|_| {
                    out.truncate(start);
                    Ok(())
                })
            });
        }
        if columns.contains(&MetadataColumn::Position) {
            start_field::<S>(MetadataColumn::Position, &mut self.fields);
            write_text_as::<S>(position.as_bytes(), &mut self.fields);
        }
    }
}

/// What stands between the table's columns and one about the change.
fn start_field<S: Syntax>(column: MetadataColumn, out: &mut Vec<u8>) {
    out.push(b',');
    if S::IS_JSON {
        write_text_as::<S>(column.name().as_bytes(), out);
        out.push(b':');
    }
}

/// How to pass over one column of the image, and where its cell is wanted.
#[derive(Debug, Clone, Copy)]
struct Step {
    fixed: usize,
    prefix: usize,
    output: Option<usize>,
}

/// The compiled way from one table map to lines.
///
/// Contract: [`Plan::write_row`] once for each row of an event whose table map the plan was
/// compiled from, at increasing offsets, until the images are used up.
#[derive(Debug)]
pub struct Plan {
    steps: Vec<Step>,
    outputs: Vec<Writer>,
    dialect: Dialect,
    /// By output, what stands before its value where the dialect has names; otherwise nothing.
    keys: Vec<Vec<u8>>,
    names: Vec<String>,
    /// The cells of the row at hand, by output; empty ranges at `usize::MAX` are NULL.
    cells: Vec<Range<usize>>,
}

const NULL: Range<usize> = usize::MAX..usize::MAX;

impl Plan {
    /// Compiles a plan.
    ///
    /// # Errors
    /// If a chosen column is missing or a column's type is not supported.
    pub fn compile(map: &TableMap, chosen: &[Chosen], dialect: Dialect) -> Result<Self, PlanError> {
        let table = || format!("{}.{}", map.schema, map.table);
        let mut steps = Vec::with_capacity(map.columns.len());
        let mut outputs = vec![None; chosen.len()];
        for column in &map.columns {
            let unsupported = |kind: String| PlanError::UnsupportedColumn {
                table: table(),
                column: column.name.clone(),
                kind,
            };
            let layout = column
                .kind
                .layout()
                .ok_or_else(|| unsupported(column.kind.to_string()))?;
            let output = chosen
                .iter()
                .position(|c| c.name.eq_ignore_ascii_case(&column.name));
            if let Some(index) = output {
                outputs[index] = Some(writer(column, &chosen[index]).map_err(unsupported)?);
            }
            let (fixed, prefix) = (layout.fixed as usize, usize::from(layout.prefix));
            steps.push(Step {
                fixed,
                prefix,
                output,
            });
        }
        let outputs = outputs
            .into_iter()
            .zip(chosen)
            .map(|(writer, column)| {
                writer.ok_or_else(|| PlanError::MissingColumn {
                    table: table(),
                    column: column.name.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            steps,
            cells: vec![NULL; outputs.len()],
            outputs,
            dialect,
            keys: if dialect.has_keys() {
                keys(chosen)
            } else {
                Vec::new()
            },
            names: map
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
        })
    }

    /// Whether this plan writes lines of the same columns and types as `other`.
    #[must_use]
    pub fn writes_like(&self, other: &Self) -> bool {
        self.outputs.len() == other.outputs.len()
            && self
                .outputs
                .iter()
                .zip(&other.outputs)
                .all(|(this, other)| this.writes_like(other))
    }

    /// Appends the row that starts at `images[at]` as one line and returns where the next starts.
    ///
    /// # Errors
    /// If the image does not fit the table map; `out` may then end in a part of the line.
    pub fn write_row(
        &mut self,
        images: &[u8],
        at: usize,
        suffix: &RowSuffix,
        ordinal: u64,
        out: &mut Vec<u8>,
    ) -> Result<usize, RowError> {
        let end = self.find_cells(images, at)?;
        match self.dialect {
            Dialect::Csv => self.write_line::<Csv>(images, suffix, ordinal, out)?,
            Dialect::Hive => self.write_line::<Hive>(images, suffix, ordinal, out)?,
            Dialect::OpenCsv => self.write_line::<OpenCsv>(images, suffix, ordinal, out)?,
            Dialect::Jsonl => self.write_line::<Jsonl>(images, suffix, ordinal, out)?,
        }
        Ok(end)
    }

    /// Writes the cells that were found.
    fn write_line<S: Syntax>(
        &self,
        images: &[u8],
        suffix: &RowSuffix,
        ordinal: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        for (index, (writer, cell)) in self.outputs.iter().zip(&self.cells).enumerate() {
            if S::IS_JSON {
                out.extend_from_slice(self.keys.get(index).map_or(&[], Vec::as_slice));
            } else if index > 0 {
                out.push(b',');
            }
            if *cell == NULL {
                out.extend_from_slice(S::NULL);
            } else {
                writer
                    .write::<S>(&images[cell.clone()], out)
                    .map_err(|problem| self.error_at_output(index, problem))?;
            }
        }
        out.extend_from_slice(&suffix.fields);
        if suffix.ordinal {
            start_field::<S>(MetadataColumn::Ordinal, out);
            out.extend_from_slice(itoa::Buffer::new().format(ordinal).as_bytes());
        }
        out.extend_from_slice(if S::IS_JSON { b"}\n" } else { b"\n" });
        Ok(())
    }

    /// Walks one row image and notes where the wanted cells are.
    fn find_cells(&mut self, images: &[u8], start: usize) -> Result<usize, RowError> {
        let truncated = |names: &[String], index: usize| RowError {
            column: names.get(index).cloned().unwrap_or_default(),
            problem: CellProblem::Truncated,
        };
        let bitmap_end = start + self.steps.len().div_ceil(8);
        let nulls = images
            .get(start..bitmap_end)
            .ok_or_else(|| truncated(&self.names, 0))?;
        let mut at = bitmap_end;
        for (index, step) in self.steps.iter().enumerate() {
            if nulls[index / 8] >> (index % 8) & 1 == 1 {
                if let Some(output) = step.output {
                    self.cells[output] = NULL;
                }
                continue;
            }
            let mut from = at;
            let mut len = step.fixed;
            if step.prefix > 0 {
                let prefix = images.get(at..at + step.prefix);
                let prefix = prefix.ok_or_else(|| truncated(&self.names, index))?;
                len = prefix
                    .iter()
                    .rev()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                from += step.prefix;
            }
            at = from + len;
            if at > images.len() {
                return Err(truncated(&self.names, index));
            }
            if let Some(output) = step.output {
                self.cells[output] = from..at;
            }
        }
        Ok(at)
    }

    fn error_at_output(&self, output: usize, problem: CellProblem) -> RowError {
        let index = self
            .steps
            .iter()
            .position(|step| step.output == Some(output));
        let column = index
            .and_then(|index| self.names.get(index))
            .cloned()
            .unwrap_or_default();
        RowError { column, problem }
    }
}

/// What stands before each value of a JSON object.
fn keys(chosen: &[Chosen]) -> Vec<Vec<u8>> {
    let key = |(index, column): (usize, &Chosen)| {
        let mut key = if index == 0 { b"{" } else { b"," }.to_vec();
        write_text_as::<Jsonl>(column.name.as_bytes(), &mut key);
        key.push(b':');
        key
    };
    chosen.iter().enumerate().map(key).collect()
}

#[cfg(test)]
mod tests {
    use crate::binlog::{Charset, Column, ColumnType};

    use super::*;

    fn column(name: &str, kind: ColumnType, charset: Option<Charset>) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            nullable: true,
            unsigned: false,
            charset,
            labels: Vec::new(),
        }
    }

    fn sales() -> TableMap {
        let text = || Some(Charset::Utf8);
        TableMap {
            schema: "shop".into(),
            table: "Sales".into(),
            columns: vec![
                column("InvoiceID", ColumnType::Int(4), None),
                column(
                    "Category",
                    ColumnType::String {
                        prefix: 2,
                        padded_len: 0,
                    },
                    text(),
                ),
                column("Price", ColumnType::Double, None),
            ],
        }
    }

    fn chosen(name: &str, scale: Option<u8>) -> Chosen {
        Chosen {
            name: name.into(),
            scale,
            disguise: None,
        }
    }

    fn image(nulls: u8, category: &[u8]) -> Vec<u8> {
        let mut image = vec![nulls];
        image.extend_from_slice(&7_u32.to_le_bytes());
        if nulls & 2 == 0 {
            image.extend_from_slice(&u16::try_from(category.len()).unwrap().to_le_bytes());
            image.extend_from_slice(category);
        }
        image.extend_from_slice(&12.5_f64.to_le_bytes());
        image
    }

    #[test]
    fn columns_are_written_in_the_chosen_order() {
        let wanted = [chosen("Price", Some(2)), chosen("category", None)];
        let mut plan = Plan::compile(&sales(), &wanted, Dialect::Csv).unwrap();
        let mut images = image(0, b"Garden");
        images.extend(image(2, b""));
        let mut out = Vec::new();
        let suffix = RowSuffix::default();
        let next = plan.write_row(&images, 0, &suffix, 0, &mut out).unwrap();
        let end = plan.write_row(&images, next, &suffix, 1, &mut out).unwrap();
        assert_eq!(end, images.len());
        assert_eq!(String::from_utf8(out).unwrap(), "12.50,Garden\n12.50,\n");
    }

    #[test]
    fn metadata_follows_the_columns_in_its_own_order() {
        let mut plan = Plan::compile(&sales(), &[chosen("InvoiceID", None)], Dialect::Csv).unwrap();
        let mut suffix = RowSuffix::default();
        let all = [
            MetadataColumn::Ordinal,
            MetadataColumn::Position,
            MetadataColumn::CommitTime,
            MetadataColumn::Operation,
        ];
        suffix.set(&all, RowOperation::Insert, 1_457_049_600_000_001, "0-1-7");
        let mut out = Vec::new();
        plan.write_row(&image(0, b"x"), 0, &suffix, 3, &mut out)
            .unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line, "7,I,2016-03-04 00:00:00.000001,0-1-7,3\n");
    }

    #[test]
    fn each_dialect_has_its_lines() {
        let wanted = ["InvoiceID", "Category", "Price"].map(|name| chosen(name, None));
        let all = [
            MetadataColumn::Operation,
            MetadataColumn::CommitTime,
            MetadataColumn::Position,
            MetadataColumn::Ordinal,
        ];
        for (dialect, metadata, expected) in [
            (Dialect::Csv, &all[..0], "7,\"a,\\\",12.5\n7,,12.5\n"),
            (Dialect::Hive, &all[..0], "7,a\\,\\\\,12.5\n7,\\N,12.5\n"),
            (
                Dialect::OpenCsv,
                &all[..0],
                "7,\"a,\\\\\",12.5\n7,\\N,12.5\n",
            ),
            (
                Dialect::Jsonl,
                &all[..0],
                "{\"InvoiceID\":7,\"Category\":\"a,\\\\\",\"Price\":12.5}\n\
                 {\"InvoiceID\":7,\"Category\":null,\"Price\":12.5}\n",
            ),
            (
                Dialect::Hive,
                &all,
                "7,a\\,\\\\,12.5,U,1970-01-01 00:00:00.000001,a:1\\,2,0\n\
                 7,\\N,12.5,U,1970-01-01 00:00:00.000001,a:1\\,2,1\n",
            ),
            (
                Dialect::OpenCsv,
                &all,
                "7,\"a,\\\\\",12.5,\"U\",1970-01-01 00:00:00.000001,\"a:1,2\",0\n\
                 7,\\N,12.5,\"U\",1970-01-01 00:00:00.000001,\"a:1,2\",1\n",
            ),
            (
                Dialect::Jsonl,
                &all[1..],
                "{\"InvoiceID\":7,\"Category\":\"a,\\\\\",\"Price\":12.5,\
                 \"commit_time\":\"1970-01-01 00:00:00.000001\",\"position\":\"a:1,2\",\"ordinal\":0}\n\
                 {\"InvoiceID\":7,\"Category\":null,\"Price\":12.5,\
                 \"commit_time\":\"1970-01-01 00:00:00.000001\",\"position\":\"a:1,2\",\"ordinal\":1}\n",
            ),
        ] {
            let mut plan = Plan::compile(&sales(), &wanted, dialect).unwrap();
            let mut suffix = RowSuffix::new(dialect);
            suffix.set(metadata, RowOperation::Update, 1, "a:1,2");
            let images = [image(0, b"a,\\"), image(2, b"")].concat();
            let mut out = Vec::new();
            let next = plan.write_row(&images, 0, &suffix, 0, &mut out).unwrap();
            plan.write_row(&images, next, &suffix, 1, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn names_are_escaped_in_keys() {
        let mut map = sales();
        map.columns[0].name = "a \"b\"".into();
        let wanted = [chosen("a \"b\"", None)];
        let mut plan = Plan::compile(&map, &wanted, Dialect::Jsonl).unwrap();
        let mut out = Vec::new();
        let suffix = RowSuffix::new(Dialect::Jsonl);
        plan.write_row(&image(0, b"x"), 0, &suffix, 0, &mut out)
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a \\\"b\\\"\":7}\n");
    }

    #[test]
    fn an_image_cut_anywhere_is_an_error_that_names_a_column() {
        let wanted = [chosen("Category", None)];
        let mut plan = Plan::compile(&sales(), &wanted, Dialect::Csv).unwrap();
        let whole = image(0, b"Garden");
        for len in 0..whole.len() {
            let error = plan
                .write_row(&whole[..len], 0, &RowSuffix::default(), 0, &mut Vec::new())
                .unwrap_err();
            assert_eq!(error.problem, CellProblem::Truncated, "{len}");
            assert!(!error.column.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_by_name() {
        let compile = |map: &TableMap, column: &str| {
            Plan::compile(map, &[chosen(column, None)], Dialect::Csv)
        };
        let missing = compile(&sales(), "Colour").unwrap_err();
        assert!(missing.to_string().contains("Colour"));
        let mut map = sales();
        map.columns[1].charset = Some(Charset::Other("gbk".into()));
        let refused = compile(&map, "Category").unwrap_err();
        assert!(refused.to_string().contains("Category: text in gbk"));
        // A column that is not chosen need only be passed over.
        assert!(compile(&map, "Price").is_ok());
        map.columns[0].kind = ColumnType::Unknown(141);
        assert!(compile(&map, "Price").is_err());
    }
}
