//! What rows of an event are written with, beside themselves.

use std::time::Instant;

use crate::binlog::{Decoder, FilePosition, Flavor, Gtid, TableMap, TransactionKey};

/// The table and the transaction of the rows at hand.
#[derive(Debug)]
pub(in super::super) struct RowContext<'a> {
    pub(super) map: &'a TableMap,
    /// A number that grows whenever `map` is another one.
    pub(super) generation: u64,
    /// The table map as bytes.
    pub(super) definition: &'a [u8],
    pub(super) flavor: Flavor,
    pub(super) key: TransactionKey,
    /// Where the transaction starts: the file and the offset.
    pub(super) file: &'a str,
    pub(super) start: u64,
    pub(super) gtid: Option<Gtid>,
    pub(super) commit_time_us: i64,
    /// The time that orders its rows; see [`crate::binlog::Transaction::order_time_us`].
    pub(super) order_time_us: i64,
    /// Its rows may be taken back.
    pub(super) may_be_undone: bool,
    pub(super) now: Instant,
}

impl<'a> RowContext<'a> {
    /// That of rows of the table with this index, which the decoder has just handed out; `None` outside a
    /// transaction.
    pub(in super::super) fn of(decoder: &'a Decoder, table: usize, now: Instant) -> Option<Self> {
        let (map, generation) = decoder.table(table)?;
        let transaction = decoder.transaction()?;
        Some(Self {
            map,
            generation,
            definition: decoder.definition(table),
            flavor: decoder.flavor(),
            key: decoder.transaction_key()?,
            file: &decoder.position().file,
            start: transaction.start,
            gtid: transaction.gtid,
            commit_time_us: transaction.commit_time_us,
            order_time_us: transaction.order_time_us(),
            may_be_undone: decoder.may_be_undone(),
            now,
        })
    }

    /// Where its transaction starts.
    pub(super) fn place(&self) -> FilePosition {
        FilePosition::new(self.file, self.start)
    }
}
