#![doc = include_str!("../README.md")]
//!
//! # Facts
//!
//! The facts are from the MySQL source documentation, "Binlog event structures", and MariaDB's
//! "Replication protocol" pages. Every number read from the wire is treated as input: lengths
//! are checked before they are used, and whatever does not add up stops with a position.

mod bytes;
mod column_type;
mod decoder;
mod definition;
pub mod encode;
mod error;
mod event;
mod event_type;
mod file;
mod fragments;
pub mod gtid;
mod gtid_event;
mod inflate;
mod lineage;
mod logical;
mod look_ahead;
mod payload;
mod position;
mod query;
mod rows;
mod server_column;
mod table_map;
mod versioned;
mod xid;

pub use column_type::{ColumnType, HiddenType};
pub use decoder::{
    Decoder, DecoderStart, Exemptions, Input, KeptEvent, MappedTable, Note, PreparedXa, Reload,
    Step, TableChange, TableChooser, Transaction, TransactionKey, UndoneParts, WatchedTable,
};
pub use error::{DecodeError, Misfit, Misnamed, Problem};
pub use event::{Checksum, Event, EventHeader, EventStream};
pub use event_type::EventType;
pub use file::{EventFile, FILE_MAGIC, FileFrames};
pub use gtid::{Gtid, GtidSet};
pub use inflate::Inflater;
pub use lineage::{LastTransaction, Lineage, fingerprint};
pub use logical::{LogicalType, MaskKind, UnknownType};
pub use look_ahead::LookAhead;
pub use payload::{Payload, Unpacked};
pub use position::{FilePosition, PositionError};
pub use rows::{Operations, RowOperation, RowsEvent};
pub use server_column::ServerColumn;
pub use table_map::{Charset, Column, HASH_PREFIX, TableMap};
pub use versioned::{VersionedColumns, Versioning};
pub(crate) use versioned::{is_end_of_time, operation_seen};

/// The two families of servers, which differ in GTIDs, in some event types and in commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL, Percona Server, Aurora MySQL and RDS for MySQL.
    MySql,
    /// MariaDB and RDS for MariaDB.
    MariaDb,
}

impl Flavor {
    /// Reads the family off a FORMAT_DESCRIPTION event's body. It holds a byte for each event
    /// type there is, and MariaDB's own types begin at 160; the version's text can be configured.
    fn of_format_description(body: &[u8]) -> Self {
        const VERSIONS_AND_TIME: usize = 2 + 50 + 4 + 1;
        const MARIADB_TYPES: usize = 160;
        if body.len() > VERSIONS_AND_TIME + MARIADB_TYPES {
            Self::MariaDb
        } else {
            Self::MySql
        }
    }
}
