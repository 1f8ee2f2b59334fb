//! Rows of a table that were read at once, as the server has answered them.

use std::ops::Range;

use crate::binlog::ServerColumn;
use crate::cdc::end::End;
use crate::cdc::server::Identity;
use crate::encode::find_cells;
use crate::spare::Buffer;
use crate::{Exit, Failure};

use super::key::Bound;

/// Rows of one range, in the order of the key.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The server that was asked.
    pub(super) server: Identity,
    /// The table's columns when it was asked.
    pub(crate) columns: Vec<ServerColumn>,
    /// The columns that were selected, behind those of the key.
    pub(crate) selected: Vec<String>,
    /// Columns of the key.
    pub(crate) key_len: usize,
    /// The rows, one behind the other, as packets of the protocol's text form.
    pub(super) bytes: Buffer,
    /// Where each ends.
    pub(super) ends: Vec<usize>,
    /// The key of the last row; `None` if the range has no more.
    pub(super) up_to: Option<Bound>,
    /// Where the binlog ended afterwards.
    pub(super) end: End,
    /// When it was read, by the server's clock, in microseconds since 1970.
    pub(crate) read_at_us: i64,
}

impl Chunk {
    /// The rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let ranges = starts.zip(&self.ends).map(|(start, end)| Range {
            start: *start,
            end: *end,
        });
        ranges.map(|range| &self.bytes[range])
    }

    /// The key of the last row.
    ///
    /// # Errors
    /// If it has none.
    pub(super) fn last_key(&self) -> Result<Option<Bound>, Failure> {
        let mut cells = Vec::new();
        let Some(row) = self.rows().last() else {
            return Ok(None);
        };
        let found = find_cells(row, &mut cells).ok();
        let key = cells.get(..self.key_len).filter(|_| found.is_some());
        let key = key.and_then(|cells| {
            let cells = cells.iter().map(|cell| row.get(cell.clone()));
            cells.collect::<Option<Vec<&[u8]>>>()
        });
        let key = key.ok_or_else(|| {
            let what = "a row of a SELECT has no key";
            Failure::uncertain(
                Exit::Unavailable,
                what,
                "report this with the server's version",
            )
        })?;
        Ok(Some(Bound::of(key.into_iter())))
    }

    /// Whether its range, or the table, has no more.
    pub(crate) fn is_last(&self) -> bool {
        self.up_to.is_none()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}
