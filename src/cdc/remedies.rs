//! What an operator can do about rows that cannot be written.

use crate::encode::CellProblem;

/// Of a line that is too long.
pub(super) const OVERSIZE: &str = "leave the large column out of the table's `columns`, or send the table to a sink without such a limit";

/// Of columns that are not in the row image.
pub(super) const ABSENT: &str = "set binlog_row_image=FULL on the server and in every session (MariaDB 11.8 leaves \
                                 generated columns out all the same); to go on past these rows, leave the \
                                 columns out of the table's `columns`, or add \"absent\" to its `metadata`, \
                                 which then names them in each such line";

/// Of one cell.
pub(super) fn of_cell(problem: CellProblem) -> &'static str {
    match problem {
        CellProblem::NoDocument => {
            "set binlog_row_image=FULL or binlog_row_value_options='' on the server and in \
             every session; to go on past these rows, leave the column out of the table's \
             `columns`"
        }
        CellProblem::Text => {
            "set invalid_text = \"replace\" for the table to write U+FFFD for each bad sequence, or \
             leave the column out of the table's `columns`"
        }
        CellProblem::NoRowEnd => {
            "set binlog_row_image=FULL on the server and in every session, and load these rows from the \
             table itself"
        }
        CellProblem::MaybeRowEnd => {
            "start hydrant again, which asks the server whether the table is system-versioned; a replay \
             asks if it is given a --config with [source]"
        }
        CellProblem::Truncated
        | CellProblem::Temporal
        | CellProblem::Number
        | CellProblem::Json
        | CellProblem::Label
        | CellProblem::Compressed
        | CellProblem::Width => {
            "check the binlog with `mysqlbinlog --verify-binlog-checksum`; if it is whole, \
             report the column's type and the server's version"
        }
    }
}
