//! A followed table, as the binlog shows it.

use super::super::table_map::TableMap;
use super::WatchedTable;

/// A followed table and the newest definition of it that the binlog has shown.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) definition: Vec<u8>,
    pub(super) map: Option<TableMap>,
    pub(super) generation: u64,
    pub(super) table: WatchedTable,
    /// The table id in the newest table map.
    pub(super) table_id: Option<u64>,
}

impl Followed {
    pub(super) fn new(table: WatchedTable) -> Self {
        Self {
            definition: Vec::new(),
            map: None,
            generation: 0,
            table,
            table_id: None,
        }
    }
}
