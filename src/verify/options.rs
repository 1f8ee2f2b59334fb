//! What can be typed behind `hydrant verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{self, LetterPlace};

use super::report::Format;

/// Options of `hydrant verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    hydrant verify --config hydrant.toml                     all tables, against the sink's objects\n  \
    hydrant verify --config hydrant.toml --table shop.Sales --sample 5\n  \
    hydrant verify --config hydrant.toml --table shop.Sales --objects s3://my-lake/firehose/sales\n\n\
    The agent goes on, and so do writers: a row that is changed meanwhile must be as it was at some\n\
    moment of the comparison. Nothing is locked, and nothing is written but temporary files in TMPDIR,\n\
    50 bytes for each row and each line. It needs the agent's privileges in the database, and may read\n\
    the objects and the checkpoint.\n\n\
    Exit codes: 0 equal, 64 usage, 65 rows are missing, extra, doubled or differ, or a table could not\n\
    be compared, 69 unavailable, 75 try again, 77 permission, 78 configuration.")]
pub struct Options {
    /// The agent's configuration file.
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Compare this table. May be given more than once; all followed tables if left out.
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub(super) table: Vec<String>,
    /// Where the lines of the table are, if not where the sink writes them: what Firehose has written
    /// below a prefix of a bucket, or a copy. A directory, or s3://BUCKET/PREFIX.
    #[arg(long, value_name = "PLACE", value_parser = place_of_objects)]
    pub(super) objects: Option<LetterPlace>,
    /// With Firehose: how long a stream buffers before it writes an object. Objects are read when this
    /// time has passed.
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = config::duration::parse_duration)]
    pub(super) buffer_interval: Duration,
    /// Compare about this percentage of the rows, chosen by a hash of the key. All is read anyway.
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    pub(super) sample: Option<f64>,
    /// Compare no rows of which there is no line: those from before the agent's start, if they were not
    /// backfilled. Rows that were lost are not found then.
    #[arg(long)]
    pub(super) only_delivered: bool,
    /// Rows of tables whose updates and deletes are not followed are never updated or deleted: what
    /// differs is wrong. Without this option such rows are counted, because lines cannot tell.
    #[arg(long)]
    pub(super) append_only: bool,
    /// How long the agent may take to deliver up to where a table was read.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = config::duration::parse_duration)]
    pub(super) wait: Duration,
    /// How the report is printed on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Show the values of rows that are not equal. Without this option their keys and the names of columns are shown.
    #[arg(long)]
    pub(super) show_values: bool,
}

fn place_of_objects(text: &str) -> Result<LetterPlace, String> {
    config::place_of_letters(text).map_err(|error| format!("{}: {}", error.what, error.remedy))
}

fn percentage(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches('%').parse().ok();
    let number = number.filter(|number| *number > 0.0 && *number <= 100.0);
    number.ok_or_else(|| "write a percentage above 0 and up to 100, such as 5".to_owned())
}
