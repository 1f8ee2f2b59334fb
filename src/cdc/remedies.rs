//! What an operator can do about a binlog that cannot be read on, and about rows that cannot be written.

use crate::binlog::{DecodeError, EventType, Problem};
use crate::encode::CellProblem;

/// Of a line that is too long.
pub(super) const OVERSIZE: &str = "set oversize = \"dead-letter\" for the table, which keeps such rows elsewhere; leave the large \
                                   column out of the table's `columns`; or send the table to a sink without such a limit";

/// Of columns that are not in the row image.
pub(super) const ABSENT: &str = "set binlog_row_image=FULL on the server and in every session (MariaDB 11.8 leaves \
                                 generated columns out even then); to continue past these rows, leave the \
                                 columns out of the table's `columns`, or add \"absent\" to its `metadata`, \
                                 which then lists them in each such line";

/// Of one cell.
pub(super) fn of_cell(problem: CellProblem) -> &'static str {
    match problem {
        CellProblem::NoDocument => {
            "set binlog_row_image=FULL or binlog_row_value_options='' on the server and in every session; to \
             continue past these rows, leave the column out of the table's \
             `columns`"
        }
        CellProblem::Text => {
            "set invalid_text = \"replace\" for the table to write U+FFFD for each invalid sequence, or \
             leave the column out of the table's `columns`"
        }
        CellProblem::NoRowEnd => {
            "set binlog_row_image=FULL on the server and in every session, and load these rows from the table"
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

/// Of a place at which an agent cannot read on.
pub(crate) fn of_decode_error(error: &DecodeError) -> String {
    let start_again = if error.problem.may_be_passed_over() {
        format!(
            "start with `--pass-over {}`, which passes over this one event, and load the rows that it has \
             changed from the table",
            error.position
        )
    } else {
        "set `source.start` past this position, delete the checkpoint, and load the rows in between from \
         the table"
            .to_owned()
    };
    of_problem(&error.problem, &start_again)
}

/// Remedy for a binlog that cannot be read further; `start_again` says how to continue after the problem.
#[expect(
    clippy::too_many_lines,
    reason = "each problem has its remedy here, and none is left to a catch-all"
)]
pub(crate) fn of_problem(problem: &Problem, start_again: &str) -> String {
    match problem {
        Problem::Truncated | Problem::Malformed(_) | Problem::Checksum | Problem::Misplaced => {
            format!(
                "check the file with `mysqlbinlog --verify-binlog-checksum`; if it is damaged, \
             use an undamaged copy or a replica; otherwise {start_again}"
            )
        }
        Problem::NotABinlog => {
            "name binlog files only, such as binlog.000042 or binlog.000042.gz: no index, \
             no text of mysqlbinlog, no dump"
                .to_owned()
        }
        Problem::Encrypted => {
            "have the server decrypt it: mysqlbinlog --read-from-remote-server --raw".to_owned()
        }
        Problem::RelayLog => "take the binlogs of the server that the replica follows, or the \
                           replica's own (log_replica_updates=ON)"
            .to_owned(),
        Problem::UnknownCompression(_) | Problem::Unsupported(EventType::Unknown) => {
            "report this message and the server's version; a newer hydrant may know it".to_owned()
        }
        Problem::UnknownEvent(_) => format!(
            "report this message and the server's version: a newer hydrant may know it; or {start_again}"
        ),
        Problem::NotSeenPrepared(_) => format!(
            "start before its XA PREPARE (delete the checkpoint, and rows in between are delivered \
             again); or {start_again}"
        ),
        Problem::PreparedTwice(_) => format!(
            "compare the table with what was delivered, and do not end XA transactions with \
             sql_log_bin=0; then {start_again}"
        ),
        Problem::TooMuchPrepared => format!(
            "end XA transactions that were forgotten (XA RECOVER lists them), and write in smaller ones, or with XA \
             COMMIT ... ONE PHASE; then {start_again}; that must also be past the XA COMMIT of each that is prepared here \
             (SHOW BINLOG EVENTS lists them)"
        ),
        Problem::Unsupported(_) => {
            format!("find the setting or session that writes such events, then {start_again}")
        }
        Problem::Incident => {
            format!("see the server's error log for what was lost; {start_again}")
        }
        Problem::StatementDml(_) => format!(
            "set binlog_format=ROW on the server and in every session, or list a table that is not \
             followed in source.ignore_statements; to continue, {start_again}"
        ),
        Problem::RowEventTooLarge(_) => {
            format!("write smaller values, or fewer rows with one statement; then {start_again}")
        }
        Problem::UnknownStatement => format!(
            "see what it does (SHOW BINLOG EVENTS, mysqlbinlog), and report its kind; {start_again}"
        ),
        Problem::RowsMoved(_) => {
            format!("decide how these rows are to be delivered; {start_again}")
        }
        Problem::Undone(_) | Problem::Unfinished => {
            format!("compare the table's newest rows with what was delivered, then {start_again}")
        }
        Problem::NoTableMap(_) | Problem::RowsOutsideTransaction => {
            "start from a position that begins a transaction".to_owned()
        }
        Problem::EmptyImage => {
            format!(
                "set binlog_row_image=FULL on the server and in every session, then {start_again}"
            )
        }
        Problem::Misfit(_) => format!(
            "if the table was changed after this position, its old columns are not known any more: \
             {start_again}; set binlog_row_metadata=FULL on the server, so that it cannot happen \
             again"
        ),
        Problem::ReadWithLaterColumns(_) => format!(
            "if the columns were different, correct the rows that were delivered from before this position; \
             then {start_again}; set binlog_row_metadata=FULL on the server, so that it cannot happen \
             again"
        ),
        Problem::NoColumnNames | Problem::Misnamed(_) => {
            format!("set binlog_row_metadata=FULL on the server, then {start_again}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::FilePosition;

    #[test]
    fn what_may_be_passed_over_names_the_option_and_the_place() {
        let remedy = |problem| {
            let error = DecodeError {
                position: FilePosition::new("b.000007", 42),
                table: None,
                problem,
            };
            of_decode_error(&error)
        };
        assert!(remedy(Problem::UnknownStatement).contains("--pass-over b.000007:42"));
        assert!(!remedy(Problem::Truncated).contains("--pass-over"));
    }

    /// The next of all problems; the compiler finds one that was forgotten.
    fn after(problem: &Problem) -> Option<Problem> {
        let name = || "shop.Sales".to_owned();
        Some(match problem {
            Problem::Truncated => Problem::Malformed("a length"),
            Problem::Malformed(_) => Problem::Checksum,
            Problem::Checksum => Problem::NotABinlog,
            Problem::NotABinlog => Problem::Encrypted,
            Problem::Encrypted => Problem::RelayLog,
            Problem::RelayLog => Problem::Misplaced,
            Problem::Misplaced => Problem::UnknownEvent(99),
            Problem::UnknownEvent(_) => Problem::Unsupported(EventType::Unknown),
            Problem::Unsupported(EventType::Unknown) => {
                Problem::Unsupported(EventType::PreGaWriteRows)
            }
            Problem::Unsupported(_) => Problem::RowEventTooLarge(1 << 31),
            Problem::RowEventTooLarge(_) => Problem::UnknownCompression(7),
            Problem::UnknownCompression(_) => Problem::Incident,
            Problem::Incident => Problem::StatementDml(None),
            Problem::StatementDml(None) => Problem::StatementDml(Some(name())),
            Problem::StatementDml(Some(_)) => Problem::UnknownStatement,
            Problem::UnknownStatement => Problem::RowsMoved(name()),
            Problem::RowsMoved(_) => Problem::Undone("ROLLBACK"),
            Problem::Undone(_) => Problem::NotSeenPrepared("'x'".to_owned()),
            Problem::NotSeenPrepared(_) => Problem::PreparedTwice("'x'".to_owned()),
            Problem::PreparedTwice(_) => Problem::TooMuchPrepared,
            Problem::TooMuchPrepared => Problem::Unfinished,
            Problem::Unfinished => Problem::NoTableMap(108),
            Problem::NoTableMap(_) => Problem::RowsOutsideTransaction,
            Problem::RowsOutsideTransaction => Problem::EmptyImage,
            Problem::EmptyImage => Problem::NoColumnNames,
            Problem::NoColumnNames => Problem::ReadWithLaterColumns(name()),
            // The two between are made of columns of a server and a table map, which tests with servers have.
            Problem::Misfit(_) | Problem::Misnamed(_) | Problem::ReadWithLaterColumns(_) => {
                return None;
            }
        })
    }

    #[test]
    fn each_problem_is_told_with_its_remedy() {
        let mut told = String::new();
        let mut next = Some(Problem::Truncated);
        while let Some(problem) = next {
            next = after(&problem);
            let error = DecodeError {
                position: FilePosition::new("binlog.000007", 42),
                table: None,
                problem,
            };
            let remedy = of_decode_error(&error);
            told = format!("{told}{error}\n  remedy: {remedy}\n\n");
        }
        insta::assert_snapshot!("decode-errors", told);
    }

    #[test]
    fn each_problem_of_a_cell_is_told_with_its_remedy() {
        let problems = [
            CellProblem::NoDocument,
            CellProblem::Text,
            CellProblem::NoRowEnd,
            CellProblem::MaybeRowEnd,
            CellProblem::Truncated,
            CellProblem::Temporal,
            CellProblem::Number,
            CellProblem::Json,
            CellProblem::Label,
            CellProblem::Compressed,
            CellProblem::Width,
        ];
        let told = problems.map(|problem| format!("{problem}\n  remedy: {}\n", of_cell(problem)));
        insta::assert_snapshot!("cell-errors", told.join("\n"));
    }
}
