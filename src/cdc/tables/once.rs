//! The changes of a table of which only inserts are followed, while its rows are read.

use crate::binlog::{RowOperation, RowsEvent};
use crate::encode::{Dialect, Image, LineNumber, RowSuffix};
use crate::error::Error;
use crate::{Exit, Failure};

use super::super::backfill::{Change, Reading};
use super::super::open_lines::Outlet;
use super::selected::{images_of, integer, unreadable, write_key};
use super::{RowContext, TableWriter, index_of};

impl TableWriter {
    /// Tells a reading what an event has made of rows.
    ///
    /// # Errors
    /// If the rows cannot be read, or are too many.
    pub(super) fn note_changes(
        &mut self,
        rows: &RowsEvent<'_>,
        context: &RowContext<'_>,
        reading: &mut Reading,
        outlet: &mut impl Outlet,
    ) -> Result<(), Error> {
        // What is known of the table is of a place behind it.
        if self.written_before(context, outlet) == u64::MAX {
            return Ok(());
        }
        self.prepare_keys(context, reading)?;
        let Some(((_, keys), (_, plan))) = self.keys.as_mut().zip(self.plan.as_mut()) else {
            return Ok(());
        };
        keys.begin(rows);
        if plan.begin(rows) {
            self.absent = [Image::Before, Image::After].map(|image| plan.absent(image));
            self.is_suffix_stale = true;
        }
        let is_whole = self.absent[index_of(Image::After)].is_empty();
        let dialect = self.definition.checked.dialect;
        let (mut key, mut at) = (Vec::new(), 0);
        while at < rows.images.len() {
            let found = keys.find_row(rows.images, at);
            let next = found.map_err(|error| unreadable(context, &error))?;
            let mut values = [None; 2];
            for image in images_of(rows.operation) {
                if keys.absent(*image).is_empty() {
                    write_key(keys, rows.images, *image, context, &mut key)?;
                    values[index_of(*image)] = integer(&key);
                }
            }
            let [before, after] = values;
            let change = match (rows.operation, before, after) {
                (RowOperation::Insert, _, Some(key)) => Change::Inserted(key, key),
                (RowOperation::Delete, Some(key), _) => Change::Deleted(key, key),
                (RowOperation::Update, Some(before), after) => {
                    let after = after.unwrap_or(before);
                    if !is_whole && before == after {
                        // It is read again as it is then.
                        reading.discard();
                        at = next;
                        continue;
                    }
                    if !is_whole {
                        return Err(not_whole(context).into());
                    }
                    let found = plan.find_row(rows.images, at);
                    found.map_err(|error| unreadable(context, &error))?;
                    let mut line = Vec::new();
                    let (suffix, number) = (RowSuffix::new(dialect), LineNumber::default());
                    plan.write_line(rows.images, Image::After, &suffix, number, &mut line)
                        .map_err(|error| unreadable(context, &error))?;
                    line.truncate(line.len() - end_of_line(dialect));
                    Change::Updated(before, after, line.into())
                }
                _ => return Err(not_whole(context).into()),
            };
            if !reading.note(change) {
                return Err(too_many(context).into());
            }
            at = next;
        }
        Ok(())
    }
}

/// Bytes of what ends a line behind its last value.
fn end_of_line(dialect: Dialect) -> usize {
    if dialect.has_keys() { 2 } else { 1 }
}

fn place(context: &RowContext<'_>) -> String {
    let (schema, table) = (&context.map.schema, &context.map.table);
    format!(
        "backfill of {schema}.{table}, transaction at {}",
        context.place()
    )
}

fn not_whole(context: &RowContext<'_>) -> Failure {
    Failure::definite(
        Exit::Data,
        format!(
            "{}: the row image does not hold all columns",
            place(context)
        ),
        "set binlog_row_image=FULL on the server and in every session; to continue past these rows, take `backfill` away from \
         the table, and load its earlier rows otherwise",
    )
}

fn too_many(context: &RowContext<'_>) -> Failure {
    Failure::definite(
        Exit::Data,
        format!(
            "{}: too many rows are changed where the table is not read yet to tell them from those that are delivered",
            place(context)
        ),
        "add \"update\" to the table's `events`, so that a row may come twice and its newest line counts; or take `backfill` \
         away from it",
    )
}
