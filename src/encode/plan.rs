//! A table's plan: from a table map and the chosen columns to the steps that write one line.

use std::fmt;
use std::ops::Range;

use crate::binlog::{Charset, Column, ColumnType, RowOperation, TableMap};

use super::cell::{CellProblem, Writer};
use super::temporal::write_utc_micros;
use super::text::{Encoding, write_text};

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

impl fmt::Display for MetadataColumn {
    /// The name that the configuration has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operation => "operation",
            Self::CommitTime => "commit_time",
            Self::Position => "position",
            Self::Ordinal => "ordinal",
        })
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
    fields: Vec<u8>,
    ordinal: bool,
}

impl RowSuffix {
    /// Makes the fields of `columns`; `position` identifies the transaction.
    pub fn set(
        &mut self,
        columns: &[MetadataColumn],
        operation: RowOperation,
        commit_time_us: i64,
        position: &str,
    ) {
        self.fields.clear();
        self.ordinal = columns.contains(&MetadataColumn::Ordinal);
        if columns.contains(&MetadataColumn::Operation) {
            self.fields.extend_from_slice(match operation {
                RowOperation::Insert => b",I",
                RowOperation::Update => b",U",
                RowOperation::Delete => b",D",
            });
        }
        if columns.contains(&MetadataColumn::CommitTime) {
            self.fields.push(b',');
            // A time outside the calendar stays empty, which is NULL.
            let _ = write_utc_micros(commit_time_us, &mut self.fields);
        }
        if columns.contains(&MetadataColumn::Position) {
            self.fields.push(b',');
            write_text(position.as_bytes(), &mut self.fields);
        }
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
    pub fn compile(map: &TableMap, chosen: &[Chosen]) -> Result<Self, PlanError> {
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
        for (index, (writer, cell)) in self.outputs.iter().zip(&self.cells).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if *cell != NULL {
                writer
                    .write(&images[cell.clone()], out)
                    .map_err(|problem| self.error_at_output(index, problem))?;
            }
        }
        out.extend_from_slice(&suffix.fields);
        if suffix.ordinal {
            out.push(b',');
            out.extend_from_slice(itoa::Buffer::new().format(ordinal).as_bytes());
        }
        out.push(b'\n');
        Ok(end)
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

fn writer(column: &Column, chosen: &Chosen) -> Result<Writer, String> {
    let (unsigned, scale) = (column.unsigned, chosen.scale);
    Ok(match column.kind {
        ColumnType::Int(width) => Writer::Int { width, unsigned },
        ColumnType::Float => Writer::Float { scale },
        ColumnType::Double => Writer::Double { scale },
        ColumnType::Decimal { precision, scale } => Writer::Decimal { precision, scale },
        ColumnType::Year => Writer::Year,
        ColumnType::Date => Writer::Date,
        ColumnType::Time(digits) => Writer::Time { digits },
        ColumnType::DateTime(digits) => Writer::DateTime { digits },
        ColumnType::Timestamp(digits) => Writer::Timestamp { digits },
        ColumnType::String { padded_len, .. } => match (&column.charset, chosen.disguise) {
            (Some(Charset::Binary), Some(Disguise::Inet4)) => Writer::Inet4,
            (Some(Charset::Binary), Some(Disguise::Inet6)) => Writer::Inet6,
            (Some(Charset::Binary), Some(Disguise::Uuid)) => Writer::Uuid,
            (charset, _) => text_or_bytes(charset.as_ref(), padded_len)?,
        },
        ColumnType::Blob(_) => text_or_bytes(column.charset.as_ref(), 0)?,
        ColumnType::Enum(width) => {
            let labels = labels(column)?;
            Writer::Enum { width, labels }
        }
        ColumnType::Set(width) => {
            let labels = labels(column)?;
            Writer::Set { width, labels }
        }
        ColumnType::Json(_) => Writer::Json,
        ColumnType::Vector(_) => Writer::Vector,
        ColumnType::Bit(_) | ColumnType::Geometry(_) => Writer::Hex { padded_len: 0 },
        ColumnType::Compressed(_) | ColumnType::OldTemporal(_) | ColumnType::Unknown(_) => {
            return Err(column.kind.to_string());
        }
    })
}

/// What a table map calls a string; `padded_len` is that of a BINARY(N), otherwise zero.
fn text_or_bytes(charset: Option<&Charset>, padded_len: u16) -> Result<Writer, String> {
    match charset {
        Some(Charset::Binary) => Ok(Writer::Hex {
            padded_len: padded_len.into(),
        }),
        Some(charset) => encoding(charset).map(Writer::Text),
        None => Err("text without a known character set".to_owned()),
    }
}

fn encoding(charset: &Charset) -> Result<Encoding, String> {
    Encoding::of(charset).ok_or_else(|| format!("text in {charset}"))
}

/// The labels of an ENUM or SET, in UTF-8.
fn labels(column: &Column) -> Result<Vec<String>, String> {
    if column.labels.is_empty() {
        return Err(format!("{} without its labels", column.kind));
    }
    let encoding = match &column.charset {
        // Labels of a binary collation are bytes that the server's names are in.
        Some(Charset::Binary) | None => Encoding::Utf8,
        Some(charset) => encoding(charset)?,
    };
    let label = |label: &Vec<u8>| Ok(encoding.decode(label)?.into_owned());
    let labels: Result<Vec<String>, CellProblem> = column.labels.iter().map(label).collect();
    labels.map_err(|_| format!("{} with labels that are no text", column.kind))
}

/// Says why a chosen column cannot be written, from what `information_schema.COLUMNS` tells of
/// it (`DATA_TYPE` and `CHARACTER_SET_NAME`), or `None` if it can.
#[must_use]
pub fn unsupported(data_type: &str, charset: Option<&str>) -> Option<String> {
    match data_type.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "float" | "double" | "year"
        | "decimal" | "date" | "time" | "datetime" | "timestamp" | "bit" | "json" | "vector"
        | "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
        | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" | "inet4" | "inet6" | "uuid" => {
            None
        }
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            let charset = charset.unwrap_or("unknown");
            Encoding::named(charset)
                .is_none()
                .then(|| format!("{data_type} in character set {charset}"))
        }
        other => Some(other.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
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
        let mut plan = Plan::compile(&sales(), &wanted).unwrap();
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
        let mut plan = Plan::compile(&sales(), &[chosen("InvoiceID", None)]).unwrap();
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
    fn an_image_cut_anywhere_is_an_error_that_names_a_column() {
        let wanted = [chosen("Category", None)];
        let mut plan = Plan::compile(&sales(), &wanted).unwrap();
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
        let missing = Plan::compile(&sales(), &[chosen("Colour", None)]).unwrap_err();
        assert!(missing.to_string().contains("Colour"));
        let mut map = sales();
        map.columns[1].charset = Some(Charset::Other("gbk".into()));
        let refused = Plan::compile(&map, &[chosen("Category", None)]).unwrap_err();
        assert!(refused.to_string().contains("Category: text in gbk"));
        // A column that is not chosen need only be passed over.
        assert!(Plan::compile(&map, &[chosen("Price", None)]).is_ok());
        map.columns[0].kind = ColumnType::Unknown(141);
        assert!(Plan::compile(&map, &[chosen("Price", None)]).is_err());
    }

    #[test]
    fn information_schema_types_are_judged_like_table_maps() {
        assert_eq!(unsupported("double", None), None);
        assert_eq!(unsupported("varchar", Some("latin1")), None);
        let compressed = unsupported("blob compressed", None);
        assert_eq!(compressed, Some("BLOB COMPRESSED".into()));
        assert!(unsupported("varchar", Some("gbk")).unwrap().contains("gbk"));
    }
}
