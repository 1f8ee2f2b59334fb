//! Rows that were read from the table, among the lines of its changes.

use std::ops::Range;
use std::time::Instant;

use crate::binlog::{
    FilePosition, Flavor, RowOperation, RowsEvent, ServerColumn, TableMap, TransactionKey,
};
use crate::encode::{
    ChosenColumn, Dialect, Image, LineFacts, LineNumber, LineOperation, Plan, RowError, RowSuffix,
    find_cells,
};
use crate::error::Error;
use crate::{Exit, Failure};

use super::super::backfill::{Chunk, Due, Read, Reading};
use super::super::open_lines::Outlet;
use super::super::server_columns::{chosen, is_same};
use super::{RowContext, TableWriter, index_of};

/// What a line is made of.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowSource<'a> {
    /// The row that the plan has found.
    Image(&'a [u8], Image),
    /// A row of an answer, and the cells of the written columns.
    Selected(&'a [u8], &'a [Range<usize>]),
    /// A line without its end.
    Line(&'a [u8]),
}

/// How rows of a table with these columns are written.
#[derive(Debug)]
pub(super) struct SelectedRows {
    columns: Vec<ServerColumn>,
    selected: Vec<String>,
    version: usize,
    pub(super) plan: Plan,
    /// By written column, its place among the selected ones.
    places: Vec<usize>,
    /// Of the key.
    key: Plan,
}

/// A place between two transactions at which rows are written.
#[derive(Debug, Clone)]
pub(in super::super) struct Boundary {
    pub(in super::super) position: FilePosition,
    pub(in super::super) flavor: Flavor,
    /// The newest number of a line.
    pub(in super::super) sequence: i64,
    pub(in super::super) now: Instant,
}

impl Boundary {
    /// What rows of a table are written with there, that are as of a place.
    fn context<'a>(
        &self,
        (map, definition): (&'a TableMap, &'a [u8]),
        (start, as_of): (&'a FilePosition, &FilePosition),
        time_us: i64,
    ) -> RowContext<'a> {
        RowContext {
            map,
            generation: u64::MAX,
            definition,
            flavor: self.flavor,
            key: TransactionKey::Start(as_of.clone()),
            file: &start.file,
            start: start.offset,
            gtid: None,
            commit_time_us: time_us,
            order_time_us: time_us,
            may_be_undone: false,
            now: self.now,
        }
    }
}

/// No transaction begins within another's last byte, so that names of objects that begin there sort behind its own and before
/// those of the next.
fn within_last_byte(position: &FilePosition) -> FilePosition {
    FilePosition::new(position.file.clone(), position.offset.saturating_sub(1))
}

impl TableWriter {
    /// Tells a reading which of its rows an event touches, whose lines are written.
    ///
    /// # Errors
    /// If the rows cannot be read.
    pub(in super::super) fn touch(
        &mut self,
        rows: &RowsEvent<'_>,
        context: &RowContext<'_>,
        reading: &mut Reading,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        if reading.is_watching() {
            reading.note_transaction(&context.place());
            return Ok(());
        }
        if reading.is_once() {
            return self.note_changes(rows, context, reading, outlet);
        }
        // A line that does not tell all of a row is no substitute for it.
        let is_whole = self.absent[index_of(Image::After)].is_empty();
        if rows.operation != RowOperation::Delete && !is_whole {
            reading.discard();
            return Ok(());
        }
        self.prepare_keys(context, reading)?;
        let Some((_, plan)) = &mut self.keys else {
            return Ok(());
        };
        plan.begin(rows);
        let (mut key, mut at) = (Vec::new(), 0);
        while at < rows.images.len() {
            let found = plan.find_row(rows.images, at);
            at = found.map_err(|error| unreadable(context, &error))?;
            for image in images_of(rows.operation) {
                // What an image leaves out is as in the other one.
                if plan.absent(*image).is_empty() {
                    write_key(plan, rows.images, *image, context, &mut key)?;
                    reading.touch(&key);
                }
            }
        }
        Ok(())
    }

    /// Compiles the plan of the key again if the table map is another one.
    pub(super) fn prepare_keys(
        &mut self,
        context: &RowContext<'_>,
        reading: &Reading,
    ) -> Result<(), Error> {
        let known = self.keys.as_ref().map(|(known, _)| *known);
        if known != Some(context.generation) {
            let plan = self.definition.key_plan(context, reading.key.names())?;
            self.keys = Some((context.generation, plan));
        }
        Ok(())
    }

    /// Writes the rows of a part that no change has touched since its window was opened. Gives the number of
    /// lines.
    ///
    /// # Errors
    /// If a row cannot be written.
    pub(in super::super) fn write_selected(
        &mut self,
        due: &Due,
        reading: &Reading,
        boundary: &Boundary,
        outlet: &mut impl Outlet,
    ) -> Result<u64, Error> {
        let chunk = &due.chunk;
        let map = self.declared(chunk)?;
        let definition = format!("{:?}", chunk.columns);
        let start = within_last_byte(&boundary.position);
        let table = (&map, definition.as_bytes());
        let (here, sequence) = (&boundary.position, boundary.sequence);
        let as_of = reading.place().map(|it| (&it.position, it.sequence));
        let (as_of, sequence) = as_of.unwrap_or((here, sequence));
        let context = boundary.context(table, (&start, as_of), chunk.read_at_us);
        self.prepare_selected(chunk, reading, &context, outlet)?;
        // All of a part is written, or nothing.
        self.lines.doubt(true);
        self.is_within_part = true;
        let written = self.write_rows(due, reading, (&context, sequence), outlet);
        self.is_within_part = reading.place().is_some() && !chunk.is_last();
        if written.is_err() {
            let begin = self.lines.begin();
            self.lines.undo_to(begin, self.limits.step_bytes, outlet);
        }
        self.lines.commit(outlet);
        written
    }

    fn write_rows(
        &mut self,
        due: &Due,
        reading: &Reading,
        (context, sequence): (&RowContext<'_>, i64),
        outlet: &mut impl Outlet,
    ) -> Result<u64, Error> {
        let (mut cells, mut written, mut key) = (Vec::new(), Vec::new(), Vec::new());
        let is_untouched = reading.is_untouched(due) && !reading.is_once();
        let odd = odd_answer(&self.definition.name());
        let mut came = reading.came(due);
        let mut number = LineNumber {
            ordinal: reading.ordinal(),
            sequence,
        };
        for row in due.chunk.rows() {
            find_cells(row, &mut cells).map_err(|_| odd.clone())?;
            let Some(selected) = &self.selected else {
                return Err(odd.into());
            };
            let (of_key, of_row) = cells
                .split_at_checked(due.chunk.key_len)
                .ok_or_else(|| odd.clone())?;
            let mut source = None;
            if !is_untouched {
                key.clear();
                let (suffix, none) = (RowSuffix::default(), LineNumber::default());
                let named = selected
                    .key
                    .write_selected(row, of_key, &suffix, none, &mut key);
                named.map_err(|error| self.row_error(context, &error))?;
                if reading.is_once() {
                    let key = integer(&key).ok_or_else(|| odd.clone())?;
                    came.remove(&key);
                    match reading.read(due, key) {
                        Read::Nothing => continue,
                        Read::Unchanged => {}
                        Read::Line(line) => source = Some(RowSource::Line(line)),
                    }
                } else if reading.is_touched(due, &key) {
                    continue;
                }
            }
            written.clear();
            for place in &selected.places {
                let cell = of_row.get(*place).ok_or_else(|| odd.clone())?;
                written.push(cell.clone());
            }
            let source = source.unwrap_or(RowSource::Selected(row, &written));
            self.write_line(source, number, context, outlet)?;
            number.ordinal += 1;
        }
        for line in came.into_values() {
            self.write_line(RowSource::Line(line), number, context, outlet)?;
            number.ordinal += 1;
        }
        Ok(number.ordinal - reading.ordinal())
    }

    /// The table map of a table as the server has described it with a part of its rows.
    fn declared(&self, chunk: &Chunk) -> Result<TableMap, Failure> {
        let checked = &self.definition.checked;
        let map = TableMap::declared(&checked.schema, &checked.name, &chunk.columns);
        map.map_err(|column| {
            let table = self.definition.name();
            Failure::definite(
                Exit::Data,
                format!("backfill of {table}: the type of its column {column} is not known"),
                "choose the columns to write, without it, in the table's `columns`",
            )
        })
    }

    fn prepare_selected(
        &mut self,
        chunk: &Chunk,
        reading: &Reading,
        context: &RowContext<'_>,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        let version = self.definition.layouts().version();
        let is_same_as_before = self.selected.as_ref().is_some_and(|known| {
            known.columns == chunk.columns
                && known.selected == chunk.selected
                && known.version == version
        });
        if !is_same_as_before {
            let before = self.plan.as_ref().map(|(_, plan)| plan);
            let before = before.or(self.selected.as_ref().map(|known| &known.plan));
            let is_first = before.is_none();
            let planned = self
                .definition
                .plan_declared(context, &chunk.columns, before)?;
            let (plan, begins_layout) = planned;
            if begins_layout {
                self.begin_layout(is_first, outlet)?;
            }
            let place = |(name, _): &(String, _)| {
                let mut selected = chunk.selected.iter();
                selected.position(|it| is_same(it, name))
            };
            let places: Option<Vec<usize>> = plan.shape().iter().map(place).collect();
            let places = places.ok_or_else(|| odd_answer(&self.definition.name()))?;
            let names = reading.key.names();
            let key: Vec<ChosenColumn> = names.map(|name| chosen(name, &chunk.columns)).collect();
            let key = Plan::compile(context.map, &key, Dialect::Csv);
            let key = key.map_err(|error| {
                Failure::definite(
                    Exit::Data,
                    error.to_string(),
                    "read the table by another key",
                )
            })?;
            self.selected = Some(Box::new(SelectedRows {
                columns: chunk.columns.clone(),
                selected: chunk.selected.clone(),
                version: self.definition.layouts().version(),
                plan,
                places,
                key,
            }));
        }
        self.set_suffix(context);
        Ok(())
    }

    fn set_suffix(&mut self, context: &RowContext<'_>) {
        let position = context.key.to_string();
        let facts = LineFacts {
            schema: &self.definition.checked.schema,
            table: &self.definition.checked.name,
            operation: LineOperation::Backfill,
            commit_time_us: context.commit_time_us,
            position: &position,
            schema_version: self.definition.layouts().version(),
            absent: "",
        };
        let metadata = &self.definition.checked.metadata;
        self.read_suffix.set(metadata, &facts);
    }
}

/// The images that a change of this kind has.
pub(super) fn images_of(operation: RowOperation) -> &'static [Image] {
    match operation {
        RowOperation::Insert => &[Image::After],
        RowOperation::Update => &[Image::Before, Image::After],
        RowOperation::Delete => &[Image::Before],
    }
}

/// Writes the key of the row that its plan has found, as one line.
pub(super) fn write_key(
    plan: &Plan,
    images: &[u8],
    image: Image,
    context: &RowContext<'_>,
    key: &mut Vec<u8>,
) -> Result<(), Error> {
    key.clear();
    let (suffix, number) = (RowSuffix::default(), LineNumber::default());
    plan.write_line(images, image, &suffix, number, key)
        .map(drop)
        .map_err(|error| unreadable(context, &error))
}

/// The key that a line has, if it is one integer.
pub(super) fn integer(line: &[u8]) -> Option<i128> {
    let digits = line.strip_suffix(b"\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn odd_answer(table: &str) -> Failure {
    Failure::uncertain(
        Exit::Unavailable,
        format!("backfill of {table}: the answer to a SELECT is not what it should be"),
        "report this with the server's version; a proxy in between may be the cause",
    )
}

pub(super) fn unreadable(context: &RowContext<'_>, error: &RowError) -> Error {
    let what = format!(
        "backfill of {}.{}, transaction at {}: the key of a changed row: {error}",
        context.map.schema,
        context.map.table,
        context.place()
    );
    Failure::definite(Exit::Data, what, super::remedies::of_cell(error.problem)).into()
}
