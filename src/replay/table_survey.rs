//! Whether what the database says about the tables holds for the rows that are decoded with it.
//!
//! It only knows the present tables. A statement in one of the files that may have changed a table behind such
//! rows makes it untrue, also if it is in a part of the files that is not replayed.

use std::collections::BTreeSet;

use crate::binlog::{Decoder, DecoderStart, Exemptions, FilePosition, TableChange};
use crate::cdc::CheckedTable;
use crate::error::Error;
use crate::{Exit, Failure};

use super::dump::{FileRange, survey};
use super::progress::ProgressLog;

/// Looks through all files, before anything is written: `parts` are replayed, `later` are not.
///
/// # Errors
/// If rows would be read with columns of later.
pub(super) fn check(
    (ranges, later): (&[FileRange], &[FileRange]),
    tables: &[CheckedTable],
    exemptions: &Exemptions,
    progress: &mut ProgressLog,
) -> Result<(), Error> {
    let mut table_survey = TableSurvey {
        tables,
        until: None,
        is_over: false,
        needed: vec![Needed::default(); tables.len()],
        between: None,
        changes: Vec::new(),
    };
    let followed: Vec<_> = tables.iter().map(CheckedTable::followed).collect();
    let mut before = Decoder::new(DecoderStart::default(), &followed)?;
    before.exempt(exemptions.clone());
    for (index, range) in ranges.iter().chain(later).enumerate() {
        table_survey.until = range.until;
        table_survey.is_over |= index >= ranges.len();
        let whole = FileRange {
            until: None,
            ..range.clone()
        };
        let look = |decoder: &mut Decoder| table_survey.look(decoder);
        let (surveyed, decoder) = survey(&whole, &before, progress, look);
        if surveyed.trouble.is_some() {
            // The replay tells, if it comes there.
            break;
        }
        before = decoder;
    }
    table_survey.outcome()
}

/// What the rows of all files need to know of their tables, and which changes come after them.
struct TableSurvey<'t> {
    tables: &'t [CheckedTable],
    /// Where the replay ends in the file at hand, if not at its end.
    until: Option<u64>,
    /// What comes is not replayed.
    is_over: bool,
    /// By table.
    needed: Vec<Needed>,
    /// The newest place between two transactions.
    between: Option<FilePosition>,
    /// The changes of what was needed before them, and where each begins.
    changes: Vec<(FilePosition, TableChange)>,
}

/// What the database was needed for about a table, for the rows so far.
#[derive(Debug, Clone, Default)]
struct Needed {
    /// The columns that are named, but not told whole.
    columns: BTreeSet<String>,
    names: bool,
}

impl TableSurvey<'_> {
    fn look(&mut self, decoder: &mut Decoder) {
        let is_between = decoder.transaction().is_none() && !decoder.is_in_payload();
        self.is_over |=
            is_between && (self.until).is_some_and(|until| decoder.position().offset >= until);
        if !self.is_over
            && let Some(mapped) = decoder.mapped()
        {
            let needed = &mut self.needed[mapped.index];
            needed.names |= !mapped.map.is_named();
            let open = self.tables[mapped.index].open(mapped.map, decoder.flavor());
            needed.columns.extend(open);
        }
        for change in decoder.take_changed() {
            if self.needed[change.table].is_changed_by(&change) {
                let begin = self.between.as_ref().unwrap_or(&change.at);
                self.changes.push((begin.clone(), change));
            }
        }
        if is_between {
            self.between = Some(decoder.position().clone());
        }
    }

    fn outcome(&self) -> Result<(), Error> {
        let (Some((begin, first)), Some((_, last))) = (self.changes.first(), self.changes.last())
        else {
            return Ok(());
        };
        let table = &self.tables[first.table];
        let what = format!(
            "table {}.{}: the binlog does not tell all about its columns, and the database only tells the table \
             of now, but the statement before {} may have changed it behind rows that need it",
            table.schema, table.name, first.at
        );
        let remedy = format!(
            "nothing is written; replay what is behind {last} with --start {last}, and what is before {begin} with --until \
             {begin}, --table {}.{} and --columns, which names the columns as they were then, with types \
             such as DOUBLE(10,2); and set binlog_row_metadata=FULL on the server, so that its binlogs tell more",
            table.schema,
            table.name,
            last = last.at,
        );
        Err(Failure::definite(Exit::Data, what, remedy).into())
    }
}

impl Needed {
    fn is_changed_by(&self, change: &TableChange) -> bool {
        self.names || !self.columns.iter().all(|column| change.spares(column))
    }
}
