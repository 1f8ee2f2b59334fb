//! Why decoding stops: the problem, and where it is.

use super::{EventType, FilePosition};

/// A problem at a place in the binlog. Decoding does not continue after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// Where the event starts.
    pub position: FilePosition,
    /// `schema.table`, where one is concerned.
    pub table: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "binlog event at {}", self.position)?;
        if let Some(table) = &self.table {
            write!(f, ", table {table}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for DecodeError {}

/// What can be wrong with an event. Never holds a cell's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A length points past the end of the event.
    #[error("the event ends in the middle of a field")]
    Truncated,
    /// A field has a value that the format does not allow.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// The CRC32 at the end of the event does not fit its bytes.
    #[error("the checksum does not match: the bytes were changed on disk or on the way")]
    Checksum,
    /// The file does not start like a binlog.
    #[error("the file is not a binlog")]
    NotABinlog,
    /// The file was encrypted by its server.
    #[error("the file is encrypted")]
    Encrypted,
    /// The file is a replica's relay log.
    #[error("the file is a relay log, whose positions are another server's")]
    RelayLog,
    /// An event that says it ends elsewhere than it does.
    #[error(
        "the event is not at the offset that it states: bytes before it are missing or were added"
    )]
    Misplaced,
    /// An event type that no version of the formats known to hydrant has.
    #[error("unknown event type {0}")]
    UnknownEvent(u8),
    /// A known event type that carries data hydrant cannot decode.
    #[error("{0} events are not supported")]
    Unsupported(EventType),
    /// A row event in fragments that is larger than what is put together.
    #[error("a row event of {0} bytes, in fragments; at most 1 GiB are read")]
    RowEventTooLarge(u64),
    /// Events were compressed in a way that hydrant does not know.
    #[error("compressed by algorithm {0}, which is not known")]
    UnknownCompression(u64),
    /// The server lost events.
    #[error("the server reports an incident: events before this position were lost")]
    Incident,
    /// DML was logged as a statement, so its rows are not in the binlog.
    #[error(
        "a data change{} was logged as a statement, so its rows are not in the binlog",
        .0.as_ref().map(|table| format!(" of table {table}")).unwrap_or_default()
    )]
    StatementDml(Option<String>),
    /// A statement of which it is unknown whether it changes rows.
    #[error("a statement was logged, and hydrant does not know whether it changes rows")]
    UnknownStatement,
    /// Rows came into a followed table by a statement.
    #[error(
        "a statement has brought rows into table {0} that no binlog event contains (EXCHANGE or CONVERT \
         PARTITION, IMPORT TABLESPACE, or an unknown statement)"
    )]
    RowsMoved(String),
    /// A transaction whose followed rows were handed out turned out to be undone.
    #[error("a transaction ended in {0} after changing followed tables")]
    Undone(&'static str),
    /// XA COMMIT of a transaction whose XA PREPARE was not read.
    #[error(
        "XA COMMIT of {0}, which was prepared before the start: it is unknown which rows it has changed"
    )]
    NotSeenPrepared(String),
    /// An XID was prepared while it was prepared, and has followed rows.
    #[error(
        "XA PREPARE of {0}, which is prepared already: its end is not in the binlog, so it is unknown whether \
         its rows were committed"
    )]
    PreparedTwice(String),
    /// XA transactions have more rows than are kept.
    #[error(
        "the rows of XA transactions that have not been committed are more than the 16 MiB that are kept"
    )]
    TooMuchPrepared,
    /// A file ended inside a transaction whose followed rows were handed out.
    #[error("the file ends inside a transaction")]
    Unfinished,
    /// A row event without the table map that describes it.
    #[error("row event for table id {0} without its table map")]
    NoTableMap(u64),
    /// A row event outside any transaction.
    #[error("row event outside a transaction")]
    RowsOutsideTransaction,
    /// No column is in the row image.
    #[error("the row image holds no column, so its rows cannot be counted")]
    EmptyImage,
    /// The table map does not name its columns, and no other source does.
    #[error("the table map carries no column names")]
    NoColumnNames,
    /// The table map does not name its columns, and is not of the table that the server has.
    #[error("the table map carries no column names, and the server's do not fit: {0}")]
    Misfit(Box<Misfit>),
    /// The table map does not name its columns, and names that were given do not fit it.
    #[error("the table map carries no column names, and those that were given do not fit: {0}")]
    Misnamed(Box<Misnamed>),
    /// Table maps did not name their columns, and those that the server told are of later.
    #[error(
        "this statement may have changed table {0}, and rows before it were read with the columns that \
         the table has had since"
    )]
    ReadWithLaterColumns(String),
}

impl Problem {
    /// Whether rows of the open transaction that were handed out may not be real.
    #[must_use]
    pub fn is_doubt_of_open_rows(&self) -> bool {
        matches!(self, Self::Undone(_) | Self::Unfinished)
    }

    /// Whether the event can be taken for one that changes nothing, if the operator decides so: it is whole and
    /// understood as far as those after it need it.
    #[must_use]
    pub fn may_be_passed_over(&self) -> bool {
        match self {
            Self::StatementDml(_)
            | Self::UnknownStatement
            | Self::RowsMoved(_)
            | Self::UnknownEvent(_)
            | Self::Incident
            | Self::NotSeenPrepared(_) => true,
            Self::Truncated
            | Self::Malformed(_)
            | Self::Checksum
            | Self::NotABinlog
            | Self::Encrypted
            | Self::RelayLog
            | Self::Misplaced
            | Self::Unsupported(_)
            | Self::UnknownCompression(_)
            | Self::RowEventTooLarge(_)
            | Self::Undone(_)
            | Self::PreparedTwice(_)
            | Self::TooMuchPrepared
            | Self::Unfinished
            | Self::NoTableMap(_)
            | Self::RowsOutsideTransaction
            | Self::EmptyImage
            | Self::NoColumnNames
            | Self::Misfit(_)
            | Self::Misnamed(_)
            | Self::ReadWithLaterColumns(_) => false,
        }
    }
}

/// Given names do not make a table map complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misnamed {
    /// Another number of columns.
    #[error("it has {in_map} columns, and {given} are named")]
    Count {
        /// In the table map.
        in_map: usize,
        /// Names that were given.
        given: usize,
    },
    /// A name alone does not say what a column's bytes mean.
    #[error("its column {number}, {name}, is {what}, which the binlog does not say")]
    NotEnough {
        /// From 1 on.
        number: usize,
        /// The name that was given.
        name: String,
        /// What is missing.
        what: &'static str,
    },
}

/// A table map that does not fit the server's table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Another number of columns.
    #[error("it has {in_map} columns, the server's table {on_server}")]
    Count {
        /// In the table map.
        in_map: usize,
        /// In `information_schema`.
        on_server: usize,
    },
    /// A column of another type.
    #[error("its column {number} is {in_map}, the server's column {name} {on_server}")]
    Column {
        /// From 1 on.
        number: usize,
        /// The name that the server has for it.
        name: String,
        /// The type in the table map.
        in_map: String,
        /// The type as it was declared.
        on_server: String,
    },
}
