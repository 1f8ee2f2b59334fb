//! The name of a table in a statement.

/// The name of a table, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableName {
    /// `None` if the statement leaves it to the default schema, and has none.
    pub(super) schema: Option<Vec<u8>>,
    pub(super) table: Vec<u8>,
}
