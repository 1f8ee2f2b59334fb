//! What can be wrong with a cell.

/// What can be wrong with a cell. Never holds its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellProblem {
    /// The cell's length runs past the end of the event.
    #[error("the cell runs past the end of the event")]
    Truncated,
    /// A date or time has a part that no calendar or clock has.
    #[error("the cell holds no valid date or time")]
    Temporal,
    /// Text that is not in the column's character set.
    #[error("the cell's text is not valid in its character set")]
    Text,
    /// A number that its format does not allow.
    #[error("the cell holds no valid number")]
    Number,
    /// A JSON document that its format does not allow.
    #[error("the cell holds no valid JSON document")]
    Json,
    /// An update tells a JSON document by what it has changed of it, and not what it was before.
    #[error(
        "the update holds changes of a JSON document, and the row image before does not hold the \
         document"
    )]
    NoDocument,
    /// A member of an ENUM or SET that the table map does not have.
    #[error("the cell has a member that its column does not have")]
    Label,
    /// A compressed cell that cannot be unpacked.
    #[error("the cell's compressed value is damaged")]
    Compressed,
    /// The table is system-versioned, and the image does not hold the column that tells a row's history from it.
    #[error(
        "the row image does not hold it, so it is unknown whether the row belongs to the table's history"
    )]
    NoRowEnd,
    /// The cell may say that the table is system-versioned.
    #[error(
        "the cell is the highest TIMESTAMP, as in ROW END of a system-versioned table, and it is unknown whether \
         the column is ROW END"
    )]
    MaybeRowEnd,
    /// The cell has another width than its type.
    #[error("the cell has the wrong width")]
    Width,
}
