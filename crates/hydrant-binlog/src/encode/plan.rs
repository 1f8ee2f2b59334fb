//! A table's plan: from a table map and the chosen columns to the steps that write one line.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::{
    Column, LogicalType, RowOperation, RowsEvent, TableMap, VersionedColumns, is_end_of_time,
    operation_seen,
};

use super::cell::Writer;
use super::chosen::{ChosenColumn, quoted_name};
use super::column::writer;
use super::dialect::{Csv, Dialect, Hive, Jsonl, OpenCsv, Syntax, write_bare, write_text_as};
use super::image::{Cells, CutOff, Image, NULL};
use super::invalid_text::InvalidText;
use super::metadata::{LineOperation, MetadataColumn};
use super::problem::CellProblem;
use super::temporal::write_utc_micros;

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

/// What one transaction adds to the end of each of its lines, made once for all that are alike.
#[derive(Debug, Clone, Default)]
pub struct RowSuffix {
    dialect: Dialect,
    /// Before the ordinal.
    fields: Vec<u8>,
    ordinal: bool,
    /// After it.
    last_fields: Vec<u8>,
    sequence: bool,
}

/// The numbers of one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineNumber {
    /// Within its transaction and table, from 0.
    pub ordinal: u64,
    /// Over all tables, in the order of the binlog.
    pub sequence: i64,
}

/// What a [`RowSuffix`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct LineFacts<'a> {
    /// The table's schema.
    pub schema: &'a str,
    /// The table.
    pub table: &'a str,
    /// What the lines are.
    pub operation: LineOperation,
    /// When it was committed, in microseconds since 1970.
    pub commit_time_us: i64,
    /// Identifies the transaction.
    pub position: &'a str,
    /// The number of the shape of the lines.
    pub schema_version: usize,
    /// The columns that are not in the image, with commas between their names.
    pub absent: &'a str,
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

    /// Makes the fields of `columns`.
    pub fn set(&mut self, columns: &[MetadataColumn], facts: &LineFacts<'_>) {
        match self.dialect {
            Dialect::Csv => self.set_as::<Csv>(columns, facts),
            Dialect::Hive => self.set_as::<Hive>(columns, facts),
            Dialect::OpenCsv => self.set_as::<OpenCsv>(columns, facts),
            Dialect::Jsonl => self.set_as::<Jsonl>(columns, facts),
        }
    }

    fn set_as<S: Syntax>(&mut self, columns: &[MetadataColumn], facts: &LineFacts<'_>) {
        self.fields.clear();
        self.last_fields.clear();
        self.ordinal = columns.contains(&MetadataColumn::Ordinal);
        self.sequence = columns.contains(&MetadataColumn::Sequence);
        for (column, name) in [
            (MetadataColumn::Schema, facts.schema),
            (MetadataColumn::Table, facts.table),
        ] {
            if columns.contains(&column) {
                start_field::<S>(column, &mut self.fields);
                write_text_as::<S>(name.as_bytes(), &mut self.fields);
            }
        }
        if columns.contains(&MetadataColumn::Operation) {
            start_field::<S>(MetadataColumn::Operation, &mut self.fields);
            write_text_as::<S>(&[facts.operation.letter()], &mut self.fields);
        }
        if columns.contains(&MetadataColumn::CommitTime) {
            start_field::<S>(MetadataColumn::CommitTime, &mut self.fields);
            // A time outside the calendar is NULL.
            let _ = write_bare::<S>(&mut self.fields, |out| {
                let start = out.len();
                let written = write_utc_micros(facts.commit_time_us, out);
                written.or_else(|_| {
                    out.truncate(start);
                    Ok(())
                })
            });
        }
        if columns.contains(&MetadataColumn::Position) {
            start_field::<S>(MetadataColumn::Position, &mut self.fields);
            write_text_as::<S>(facts.position.as_bytes(), &mut self.fields);
        }
        if columns.contains(&MetadataColumn::SchemaVersion) {
            start_field::<S>(MetadataColumn::SchemaVersion, &mut self.last_fields);
            let version = facts.schema_version.to_string();
            self.last_fields.extend_from_slice(version.as_bytes());
        }
        if columns.contains(&MetadataColumn::Absent) {
            start_field::<S>(MetadataColumn::Absent, &mut self.last_fields);
            if facts.absent.is_empty() {
                self.last_fields.extend_from_slice(S::NULL);
            } else {
                write_text_as::<S>(facts.absent.as_bytes(), &mut self.last_fields);
            }
        }
    }
}

impl RowSuffix {
    /// Ends a line that was written with an empty suffix and cut behind its last value.
    pub fn finish(&self, number: LineNumber, out: &mut Vec<u8>) {
        match self.dialect {
            Dialect::Csv => self.append::<Csv>(number, out),
            Dialect::Hive => self.append::<Hive>(number, out),
            Dialect::OpenCsv => self.append::<OpenCsv>(number, out),
            Dialect::Jsonl => self.append::<Jsonl>(number, out),
        }
    }

    /// Ends a line.
    #[inline]
    pub(super) fn append<S: Syntax>(&self, number: LineNumber, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.fields);
        if self.ordinal {
            start_field::<S>(MetadataColumn::Ordinal, out);
            out.extend_from_slice(itoa::Buffer::new().format(number.ordinal).as_bytes());
        }
        out.extend_from_slice(&self.last_fields);
        if self.sequence {
            start_field::<S>(MetadataColumn::Sequence, out);
            out.extend_from_slice(itoa::Buffer::new().format(number.sequence).as_bytes());
        }
        out.extend_from_slice(if S::IS_JSON { b"}\n" } else { b"\n" });
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

/// The compiled way from one table map to lines.
///
/// Contract: [`Plan::begin`] with each row event whose table map the plan was compiled from, then
/// [`Plan::find_row`] at increasing offsets until its images are used up, and after each of them
/// [`Plan::write_line`] for each image that is to be seen.
#[derive(Debug)]
pub struct Plan {
    cells: Cells,
    pub(super) outputs: Vec<Writer>,
    pub(super) dialect: Dialect,
    pub(super) invalid_text: InvalidText,
    /// By output, what stands before its value where the dialect has names; otherwise nothing.
    keys: Vec<Vec<u8>>,
    /// Of the written columns, by output.
    pub(super) output_names: Vec<String>,
    /// Of all columns, in the table's order.
    names: Vec<String>,
    /// The outputs of the key's columns, if changes of the key are requested.
    key: Vec<usize>,
    /// The output of ROW END, of a system-versioned table, and its name.
    row_end: Option<(usize, String)>,
    /// The outputs of columns that may be ROW END, and their names.
    suspects: Vec<(usize, String)>,
}

impl Plan {
    /// Compiles a plan.
    ///
    /// # Errors
    /// If a chosen column is missing or a column's type is not supported.
    pub fn compile(
        map: &TableMap,
        chosen: &[ChosenColumn],
        dialect: Dialect,
    ) -> Result<Self, PlanError> {
        let table = || format!("{}.{}", map.schema, map.table);
        let unsupported = |column: &Column, kind: String| PlanError::UnsupportedColumn {
            table: table(),
            column: column.name.clone(),
            kind,
        };
        let by_name: HashMap<String, &Column> = map
            .columns
            .iter()
            .map(|column| (column.name.to_lowercase(), column))
            .collect();
        let mut outputs = Vec::with_capacity(chosen.len());
        let mut output_by_name = HashMap::with_capacity(chosen.len());
        for (index, wanted) in chosen.iter().enumerate() {
            let name = wanted.name.to_lowercase();
            let column = by_name.get(&name);
            let column = column.ok_or_else(|| PlanError::MissingColumn {
                table: table(),
                column: wanted.name.clone(),
            })?;
            let writer = writer(column, wanted).map_err(|kind| unsupported(column, kind))?;
            outputs.push(writer);
            output_by_name.insert(name, index);
        }
        let columns = map.columns.iter().map(|column| {
            let output = output_by_name.get(&column.name.to_lowercase());
            (column.kind, output.copied())
        });
        let cells = Cells::new(columns, outputs.len()).map_err(|index| {
            let column = &map.columns[index];
            unsupported(column, column.kind.to_string())
        })?;
        let name = |column: &Column| column.name.clone();
        Ok(Self {
            cells,
            outputs,
            dialect,
            invalid_text: InvalidText::Stop,
            keys: if dialect.has_keys() {
                keys(chosen)
            } else {
                Vec::new()
            },
            output_names: chosen.iter().map(|column| column.name.clone()).collect(),
            names: map.columns.iter().map(name).collect(),
            key: Vec::new(),
            row_end: None,
            suspects: Vec::new(),
        })
    }

    /// Has [`Plan::changes_key`] look at these columns of the table map.
    #[must_use]
    pub fn with_key(mut self, columns: &[usize]) -> Self {
        let watched = columns.iter().map(|index| self.cells.watch(*index));
        self.key = watched.collect::<Option<Vec<usize>>>().unwrap_or_default();
        self
    }

    /// Whether the update that was found in `images` changes the key, byte by byte.
    #[must_use]
    pub fn changes_key(&self, images: &[u8]) -> bool {
        let mut key = self.key.iter();
        key.any(|output| self.cells.differs(*output, images))
    }

    /// Has [`Plan::operation_seen`] look at the columns of a system-versioned table.
    #[must_use]
    pub fn with_versioned(mut self, columns: &VersionedColumns) -> Self {
        let mut watch = |index: usize| {
            let name = self.names.get(index).cloned().unwrap_or_default();
            self.cells.watch(index).map(|output| (output, name))
        };
        self.row_end = columns.row_end.and_then(&mut watch);
        self.suspects = columns.suspects.iter().copied().filter_map(watch).collect();
        self
    }

    /// Whether the table is system-versioned, or may be.
    #[must_use]
    pub fn may_be_versioned(&self) -> bool {
        self.row_end.is_some() || !self.suspects.is_empty()
    }

    /// What an event has done, as the application sees it, to the row that was found in `images`; `None` concerns
    /// the table's history only.
    ///
    /// # Errors
    /// If the images do not tell.
    #[inline]
    pub fn operation_seen(
        &self,
        operation: RowOperation,
        images: &[u8],
    ) -> Result<Option<RowOperation>, RowError> {
        if !self.may_be_versioned() {
            return Ok(Some(operation));
        }
        self.operation_of_versioned(operation, images)
    }

    fn operation_of_versioned(
        &self,
        operation: RowOperation,
        images: &[u8],
    ) -> Result<Option<RowOperation>, RowError> {
        let cell = |image: Image, output: usize| {
            let cell = self.cells.of(image)[output].clone();
            images.get(cell)
        };
        let error = |column: &String, problem: CellProblem| RowError {
            column: column.clone(),
            problem,
        };
        for (output, column) in &self.suspects {
            let is_image = |image: Image| cell(image, *output).is_some_and(is_end_of_time);
            let is_written = operation != RowOperation::Delete && is_image(Image::After);
            if is_written || (operation != RowOperation::Insert && is_image(Image::Before)) {
                return Err(error(column, CellProblem::MaybeRowEnd));
            }
        }
        let Some((output, column)) = &self.row_end else {
            return Ok(Some(operation));
        };
        let is_present = |image: Image| {
            let cell = cell(image, *output);
            cell.map(is_end_of_time)
                .ok_or_else(|| error(column, CellProblem::NoRowEnd))
        };
        let is_before = operation != RowOperation::Insert && is_present(Image::Before)?;
        let is_after = operation != RowOperation::Delete && is_present(Image::After)?;
        Ok(operation_seen(operation, is_before, is_after))
    }

    /// Chooses what is done with text that is not valid; a new plan refuses it.
    #[must_use]
    pub fn with_invalid_text(self, invalid_text: InvalidText) -> Self {
        Self {
            invalid_text,
            ..self
        }
    }

    /// The name of a written column.
    #[must_use]
    pub fn output_name(&self, output: usize) -> &str {
        self.output_names.get(output).map_or("", String::as_str)
    }

    /// The written columns: each one's name and type. Two plans with the same of
    /// these write lines that no reader can tell apart.
    #[must_use]
    pub fn shape(&self) -> Vec<(String, LogicalType)> {
        let names = self.output_names.iter().cloned();
        names
            .zip(self.outputs.iter().map(Writer::logical_type))
            .collect()
    }

    /// Takes the next row event. Gives whether its images hold other columns than those of the
    /// event before.
    pub fn begin(&mut self, rows: &RowsEvent<'_>) -> bool {
        self.cells.begin(rows)
    }

    /// The written columns whose value the event does not tell in this image, with commas between
    /// their names. What an update leaves out of the image after it has not touched, so that the
    /// image before tells its value if it has it.
    #[must_use]
    pub fn absent(&self, image: Image) -> String {
        let names = self.cells.absent(image);
        let names = names.filter(|output| *output < self.outputs.len());
        let names = names.map(|output| listed(&self.output_names[output]));
        names.collect::<Vec<_>>().join(",")
    }

    /// Finds the row that starts at `images[at]` and returns where the next one starts.
    ///
    /// # Errors
    /// If the image does not fit the table map.
    pub fn find_row(&mut self, images: &[u8], at: usize) -> Result<usize, RowError> {
        self.cells
            .find(images, at)
            .map_err(|CutOff { column }| RowError {
                column: self.names.get(column).cloned().unwrap_or_default(),
                problem: CellProblem::Truncated,
            })
    }

    /// Appends the row that was found in `images` as one line. Gives the written columns, by
    /// [`Plan::output_name`], in whose text something was replaced.
    ///
    /// # Errors
    /// If a cell does not fit its type; `out` may then end in a part of the line.
    pub fn write_line(
        &self,
        images: &[u8],
        image: Image,
        suffix: &RowSuffix,
        number: LineNumber,
        out: &mut Vec<u8>,
    ) -> Result<Vec<usize>, RowError> {
        match self.dialect {
            Dialect::Csv => self.write_as::<Csv>(images, image, suffix, number, out),
            Dialect::Hive => self.write_as::<Hive>(images, image, suffix, number, out),
            Dialect::OpenCsv => self.write_as::<OpenCsv>(images, image, suffix, number, out),
            Dialect::Jsonl => self.write_as::<Jsonl>(images, image, suffix, number, out),
        }
    }

    fn write_as<S: Syntax>(
        &self,
        images: &[u8],
        image: Image,
        suffix: &RowSuffix,
        number: LineNumber,
        out: &mut Vec<u8>,
    ) -> Result<Vec<usize>, RowError> {
        let mut replaced = Vec::new();
        for (index, (writer, cell)) in self.outputs.iter().zip(self.cells.of(image)).enumerate() {
            self.begin_value::<S>(index, out);
            if *cell == NULL {
                out.extend_from_slice(S::NULL);
                continue;
            }
            let start = out.len();
            let is_change = self.cells.is_change(image, index);
            let written = if is_change {
                let changes = &images[cell.clone()];
                self.write_changed::<S>(index, images, changes, InvalidText::Stop, out)
            } else {
                writer.write::<S>(images, cell.clone(), out)
            };
            if let Err(problem) = written {
                out.truncate(start);
                let cell = &images[cell.clone()];
                self.replace_invalid::<S>(problem, index, (images, cell, is_change), out)?;
                replaced.push(index);
            }
        }
        suffix.append::<S>(number, out);
        Ok(replaced)
    }

    /// What stands before the value of a written column.
    #[inline]
    pub(super) fn begin_value<S: Syntax>(&self, output: usize, out: &mut Vec<u8>) {
        if S::IS_JSON {
            out.extend_from_slice(self.keys.get(output).map_or(&[], Vec::as_slice));
        } else if output > 0 {
            out.push(b',');
        }
    }

    /// Writes a cell that was refused once more, if only its text is not valid and that may be replaced.
    #[cold]
    fn replace_invalid<S: Syntax>(
        &self,
        problem: CellProblem,
        output: usize,
        (images, cell, is_change): (&[u8], &[u8], bool),
        out: &mut Vec<u8>,
    ) -> Result<(), RowError> {
        let may_be_replaced = self.invalid_text == InvalidText::Replace;
        let written = match problem {
            CellProblem::Text if may_be_replaced && is_change => {
                self.write_changed::<S>(output, images, cell, InvalidText::Replace, out)
            }
            CellProblem::Text if may_be_replaced => {
                self.outputs[output].write_replacing::<S>(cell, out)
            }
            problem => Err(problem),
        };
        written.map_err(|problem| RowError {
            column: self.output_names[output].clone(),
            problem,
        })
    }

    /// Writes a JSON document that the image after tells by what has changed of it.
    #[cold]
    fn write_changed<S: Syntax>(
        &self,
        output: usize,
        images: &[u8],
        changes: &[u8],
        invalid: InvalidText,
        out: &mut Vec<u8>,
    ) -> Result<(), CellProblem> {
        if !self.cells.has_before(output) {
            return Err(CellProblem::NoDocument);
        }
        let before = self.cells.of(Image::Before)[output].clone();
        let before = images.get(before).ok_or(CellProblem::Json)?;
        self.outputs[output].write_changed::<S>(before, changes, invalid, out)
    }
}

/// What stands before each value of a JSON object.
fn keys(chosen: &[ChosenColumn]) -> Vec<Vec<u8>> {
    let key = |(index, column): (usize, &ChosenColumn)| {
        let mut key = if index == 0 { b"{" } else { b"," }.to_vec();
        write_text_as::<Jsonl>(column.name.as_bytes(), &mut key);
        key.push(b':');
        key
    };
    chosen.iter().enumerate().map(key).collect()
}

/// A name in a list with commas; one that would be taken for two is in backticks, as in SQL.
fn listed(name: &str) -> Cow<'_, str> {
    if name.contains([',', '`']) {
        Cow::Owned(quoted_name(name))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
