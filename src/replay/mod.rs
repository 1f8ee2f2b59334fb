//! `hydrant replay`: the agent's decoding, from binlog files instead of a server.
//!
//! What lives here: the command (`Options`), files and their order (`file`, `dump`), what is known of
//! the tables (`tables`), whether that is true of their rows (`table_survey`), and the loop over all files (`drive`); and the delivery of
//! dead letters (`dead_letters`). What does not: decoding and writing, which are the agent's own.
//!
//! Each file is read twice. A transaction's rows come before its commit, and a file may end, or be
//! damaged, between them; so a first look finds the last commit, and the second writes the rows up to
//! there. If a database was asked about the tables, all files are looked through before, for changes of them.

mod dead_letters;
mod drive;
mod dump;
mod file;
mod progress;
mod table_survey;
mod tables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args};
use tracing::info;

use crate::binlog::{DecodeError, FilePosition, Problem};
use crate::cdc::remedies;
use crate::cdc::{AcceptedChange, CheckedTable, NewTables, accept, folders};
use crate::config::{self, LetterPlace, Replay};
use crate::error::Error;
use crate::sink::{self, Sink};
use crate::{Exit, Failure};

use dump::FileRange;
use progress::ProgressLog;

pub use drive::ReplaySummary;

/// Options of `hydrant replay`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("tables").required(true))]
#[command(after_help = "Examples:\n  \
    hydrant replay --binlog binlog.000007 binlog.000008 --config hydrant.toml --out ./replayed\n  \
    hydrant replay --binlog backup/binlog.*.gz --table shop.Sales --out - \\\n    \
    --columns 'ItemID, Category, Price DOUBLE(10,2)'\n  \
    hydrant replay --dead-letter s3://my-lake/dead --out ./replayed\n\n\
    Files are read as one stream, in the order given; they must be of one server and follow each\n\
    other. They may be compressed with gzip or zstd. Each is read twice, or three times with\n\
    a database.\n\n\
    Only rows of transactions whose commit is in the files are written. A damaged or cut-off file\n\
    ends the replay with its name and position; all earlier transactions are written. A replay into a\n\
    directory can be repeated: the same files give the same objects.\n\n\
    With --config, hydrant asks the database of [source] for what a binlog does not contain: D of\n\
    DOUBLE(M,D), and on MariaDB which BINARY is an INET4, INET6 or UUID, and which VARBINARY is a\n\
    VECTOR. The database only knows its present tables: if a statement in the files may have changed\n\
    a table after rows that need the answer, nothing is written. With --offline, or without [source],\n\
    the database is not asked; give the types of such columns with --columns.\n\n\
    Exit codes: 0 done, 64 usage, 65 a file that cannot be read on, 69 unavailable,\n\
    77 permission, 78 configuration.")]
pub struct Options {
    /// The binlog files, in order.
    #[arg(long, value_name = "FILE", required_unless_present = "dead_letter", num_args = 1..)]
    binlog: Vec<PathBuf>,
    /// Write the lines of the dead letters of this place, a directory or s3://BUCKET/PREFIX, instead
    /// of binlog files. Each is marked as delivered once it is in the directory of --out, and is
    /// not written again. Nothing is marked with --out -.
    #[arg(long, value_name = "PLACE", group = "tables", value_parser = place_of_letters,
        conflicts_with_all = ["binlog", "on_schema_change", "accept_change", "start", "pass_over", "until"])]
    dead_letter: Option<LetterPlace>,
    /// A configuration file, whose tables are written. Its sink and checkpoint are not used.
    #[arg(long, value_name = "FILE", group = "tables")]
    config: Option<PathBuf>,
    /// Do not ask the configuration's database.
    #[arg(long, requires = "config")]
    offline: bool,
    /// Write this table, without a configuration.
    #[arg(long, value_name = "SCHEMA.TABLE", group = "tables")]
    table: Option<String>,
    /// The columns to write, in this order; all if left out. If the binlog does not name columns
    /// (binlog_row_metadata = MINIMAL), list all columns of the table in its order. Put a name with
    /// a comma, a blank or a parenthesis into backticks.
    #[arg(
        long,
        value_name = "COLUMNS",
        requires = "table",
        conflicts_with = "config"
    )]
    columns: Option<String>,
    /// A directory for gzip objects, or - for standard output.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to do when a written column changes its type or is dropped, or a column is added.
    /// Replaces the configuration's `on_schema_change`.
    #[arg(long, value_enum)]
    on_schema_change: Option<config::SchemaChange>,
    /// Accept a change of a table: from the change on, lines have the table's new columns. The
    /// message that stops the replay, or reports a new column, contains the code.
    #[arg(long, value_name = "TABLE=CODE")]
    accept_change: Vec<AcceptedChange>,
    /// Start at this position in one of the files, such as binlog.000042:1234. A transaction must
    /// begin there. Earlier files are not read.
    #[arg(long, value_name = "FILE:OFFSET")]
    start: Option<FilePosition>,
    /// Pass over the one event at this position. The message of the last replay offers this option
    /// if it applies. May be given more than once.
    #[arg(long, value_name = "FILE:OFFSET")]
    pass_over: Vec<FilePosition>,
    /// Stop at this position, or after the transaction that contains it. Later files are not read.
    #[arg(long, value_name = "FILE:OFFSET")]
    until: Option<FilePosition>,
}

/// Writes the rows of binlog files.
///
/// # Errors
/// What ended it early; what came before is written.
pub async fn run(options: Options) -> Result<(), Error> {
    let out = match options.out.as_os_str() {
        out if out == "-" => config::Sink::Stdout,
        _ => config::Sink::Dir {
            path: options.out.clone(),
        },
    };
    if let Some(place) = &options.dead_letter {
        return Ok(dead_letters::deliver(place, &out).await?);
    }
    let mut job = Job::of(&options)?;
    let tables = job.tables(&options.accept_change).await?;
    let sink = sink::open(
        &out,
        folders(&out, &job.config.partitions, &tables.0),
        None,
        (Duration::ZERO, job.config.max_in_flight),
    )
    .await?;
    let (summary, outcome) = job.write(tables, sink).await;
    info!("{summary}");
    outcome
}

fn place_of_letters(text: &str) -> Result<LetterPlace, String> {
    config::place_of_letters(text).map_err(|error| format!("{}: {}", error.what, error.remedy))
}

/// Writes them to a sink of the caller's choice, whatever `--out` names, and tells what was written
/// beside how it ended.
///
/// # Errors
/// What kept it from beginning.
pub async fn run_to<S: Sink>(
    options: &Options,
    sink: S,
) -> Result<(ReplaySummary, Result<(), Error>), Error> {
    let mut job = Job::of(options)?;
    let tables = job.tables(&options.accept_change).await?;
    Ok(job.write(tables, sink).await)
}

struct Job {
    config: Replay,
    ranges: Vec<FileRange>,
    /// The files behind those, which are not read for their rows.
    later: Vec<FileRange>,
    progress: ProgressLog,
}

impl Job {
    fn of(options: &Options) -> Result<Self, Error> {
        let mut config = match (&options.config, &options.table) {
            (Some(path), _) => config::load_replay(path, options.offline)?,
            (None, table) => {
                let columns = options.columns.as_deref().map(tables::split);
                config::table_named(table.clone().unwrap_or_default(), columns)?
            }
        };
        config
            .exemptions
            .events
            .extend(options.pass_over.iter().cloned());
        if let Some(on_schema_change) = options.on_schema_change {
            let set = |table: &mut config::Table| table.on_schema_change = on_schema_change;
            let patterns = config.patterns.iter_mut().map(|pattern| &mut pattern.table);
            config.tables.iter_mut().chain(patterns).for_each(set);
        }
        let (ranges, later) = ranges(options)?;
        let mut bytes = 2 * bytes_of(&ranges)?;
        if config.source.is_some() {
            bytes += bytes_of(&ranges)? + bytes_of(&later)?;
        }
        Ok(Self {
            config,
            ranges,
            later,
            progress: ProgressLog::new(bytes),
        })
    }

    /// The tables as they are described, if that is true of the files' rows.
    async fn tables(
        &mut self,
        accepted: &[AcceptedChange],
    ) -> Result<(Vec<CheckedTable>, NewTables), Error> {
        let (mut tables, mut new_tables) = tables::checked(&self.config).await?;
        accept(&mut tables, &mut new_tables, accepted)?;
        if self.config.source.is_some() {
            let exemptions = &self.config.exemptions;
            let files = (&self.ranges[..], &self.later[..]);
            table_survey::check(files, &tables, exemptions, &mut self.progress)?;
        }
        Ok((tables, new_tables))
    }

    async fn write<S: Sink>(
        &mut self,
        tables: (Vec<CheckedTable>, NewTables),
        sink: S,
    ) -> (ReplaySummary, Result<(), Error>) {
        let max_in_flight = self.config.max_in_flight;
        let exemptions = std::mem::take(&mut self.config.exemptions);
        let limits = (max_in_flight, exemptions);
        drive::replay(&self.ranges, tables, sink, limits, &mut self.progress).await
    }
}

/// The files between the two positions, those included, and the files behind them.
fn ranges(options: &Options) -> Result<(Vec<FileRange>, Vec<FileRange>), Failure> {
    let mut ranges: Vec<FileRange> = options
        .binlog
        .iter()
        .map(|path| FileRange {
            path: path.clone(),
            name: file::binlog_name(path),
            start: None,
            until: None,
        })
        .collect();
    let names: Vec<String> = ranges.iter().map(|range| range.name.clone()).collect();
    let find = |option: &str, position: &FilePosition| {
        let found = names.iter().position(|name| *name == position.file);
        found.ok_or_else(|| {
            Failure::definite(
                Exit::Usage,
                format!("{option} {position} is in none of the files"),
                "name one of the files given to --binlog, without its folder",
            )
        })
    };
    for position in &options.pass_over {
        find("--pass-over", position)?;
    }
    let (mut first, mut end) = (0, ranges.len());
    if let Some(position) = &options.start {
        first = find("--start", position)?;
        ranges[first].start =
            Some(position.offset).filter(|offset| *offset > FilePosition::FIRST_OFFSET);
    }
    if let Some(position) = &options.until {
        let last = find("--until", position)?;
        end = last + 1;
        let start = ranges[last].start;
        if last < first || start.is_some_and(|start| position.offset <= start) {
            return Err(Failure::definite(
                Exit::Usage,
                format!("--until {position} is not behind --start"),
                "name two positions with a transaction between them",
            ));
        }
        ranges[last].until = Some(position.offset);
    }
    let later = ranges.split_off(end);
    ranges.drain(..first);
    Ok((ranges, later))
}

fn bytes_of(ranges: &[FileRange]) -> Result<u64, Error> {
    let mut bytes = 0;
    for range in ranges {
        let metadata = std::fs::metadata(&range.path)
            .map_err(|error| file::cannot_read(&range.path, None, &error))?;
        if !metadata.is_file() {
            let what = format!("{} is no regular file", range.path.display());
            let remedy = "save it to a file first: it is read more than once";
            return Err(Failure::definite(Exit::Usage, what, remedy).into());
        }
        bytes += metadata.len();
    }
    Ok(bytes)
}

/// A problem with a file: where it is, and what the user can do.
fn explained(path: &Path, error: &DecodeError) -> Error {
    let remedy = match &error.problem {
        Problem::Truncated | Problem::Unfinished => {
            "what came before is written; copy the file again, whole (after FLUSH BINARY LOGS if \
             its server still writes to it), and repeat the replay"
                .to_owned()
        }
        Problem::NotSeenPrepared(_) => {
            "what came before is written; give the files before these, too, \
             back to the one with its XA PREPARE"
                .to_owned()
        }
        Problem::NoColumnNames | Problem::Misnamed(_) => {
            "name all of the table's columns in its order: --table with --columns 'a, b'; or give the tables \
             with --config and let [source] name a database that has them; set \
             binlog_row_metadata=FULL on the server, so that its binlogs name them"
                .to_owned()
        }
        problem if problem.may_be_passed_over() => remedies::of_problem(problem, &format!(
            "repeat the replay with `--pass-over {}`, which passes over this one event, and load the rows that \
             it has changed from the table",
            error.position
        )),
        problem => remedies::of_problem(problem,
            "continue with --start at a later transaction, and load the rows in between from the table",
        ),
    };
    Failure::definite(Exit::Data, format!("{}: {error}", path.display()), remedy).into()
}
