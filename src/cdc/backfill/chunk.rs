//! Rows of a table that were read at once, as the server has answered them.

use std::ops::Range;

use crate::binlog::ServerColumn;
use crate::cdc::end::End;
use crate::cdc::server::Identity;
use crate::spare::Buffer;

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

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}
