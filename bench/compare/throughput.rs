//! How fast a binlog that is there is read: every contender in turn, on the same bytes of the same server.
//!
//! What lives here: the workloads, the rounds, and the count of rows that each must have seen. What does not:
//! the contenders.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use serde::Serialize;

use crate::Budget;
use crate::binlog_start::BinlogStart;
use crate::contenders::{Contender, Tools};
use crate::inside::Inside;
use crate::process::{Cost, Running};
use testkit::servers::Server;
use workloads::capture::MAX_BINLOG_SIZE;
use workloads::sales::{SALES, insert};

/// How often a quick contender is run.
const ROUNDS: usize = 5;
/// A contender that has had so much time gets no further round.
const ENOUGH: Duration = Duration::from_secs(10);
/// A contender that takes longer is given up.
const LIMIT: Duration = Duration::from_mins(4);

pub(crate) const OUT_OF_TIME: &str = "the time of the run was over";

/// mysql-binlog-connector-rust cannot log in without a password.
const RIVAL_USER: &str =
    "CREATE USER rival@'127.0.0.1' IDENTIFIED BY 'rival'; GRANT ALL ON *.* TO rival@'127.0.0.1'";

/// Made-up sales in a binlog.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) rows: u64,
    pub(crate) transaction_rows: u64,
    /// Known once it was written.
    pub(crate) binlog_bytes: u64,
}

impl Workload {
    pub(crate) fn new(name: &'static str, rows: u64, transaction_rows: u64) -> Self {
        Self {
            name,
            rows,
            transaction_rows,
            binlog_bytes: 0,
        }
    }
}

/// What one contender has done with one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    contender: &'static str,
    version: String,
    /// Timed from its first row, and not from its start.
    from_first_row: bool,
    rounds: Vec<Cost>,
    /// Counted in what it wrote, or by itself. Row events for the raw stream, which knows no rows.
    rows_seen: u64,
    /// Why there are no rounds, or fewer: it could not be run, or did not do its work. Its rounds do not
    /// count then.
    missing: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    workload: Workload,
    entries: Vec<Entry>,
}

/// Writes the workload into a new server and lets everybody read it, the quick ones again until `share` of the
/// time is over.
pub(crate) fn run(
    mut workload: Workload,
    tools: &Tools,
    budget: &Budget,
    share: f64,
) -> Result<Outcome> {
    eprintln!("workload {}: starting MySQL", workload.name);
    let server = Server::mysql(&[MAX_BINLOG_SIZE])?;
    server.sql(SALES)?;
    server.sql(RIVAL_USER)?;
    let place = BinlogStart::here(&server, workload.rows)?;
    insert(&server, workload.rows, workload.transaction_rows)?;
    let binlog = server.binlog_dir().join(&place.file);
    workload.binlog_bytes = fs::metadata(binlog)?.len();

    let mut entries: Vec<Entry> = Contender::ALL.map(entry).into();
    for round in 0..ROUNDS {
        for (contender, entry) in Contender::ALL.into_iter().zip(&mut entries) {
            let taken: f64 = entry.rounds.iter().map(|cost| cost.seconds).sum();
            let enough = taken > ENOUGH.as_secs_f64() || budget.is_spent(share);
            if !contender.is_slow() && (round == 0 || !enough) {
                one_round(contender, &place, tools, budget, entry)?;
                tell(&workload, entry);
            }
        }
    }
    for (contender, entry) in Contender::ALL.into_iter().zip(&mut entries) {
        if contender.is_slow() {
            one_round(contender, &place, tools, budget, entry)?;
            tell(&workload, entry);
        }
    }
    Ok(Outcome { workload, entries })
}

fn is_ours(contender: Contender) -> bool {
    matches!(
        contender,
        Contender::HydrantDir
            | Contender::HydrantStdout
            | Contender::HydrantFirstStart
            | Contender::Inside(Inside::Decoder)
    )
}

fn entry(contender: Contender) -> Entry {
    Entry {
        contender: contender.title(),
        version: contender.version(),
        from_first_row: contender.prints_first(),
        rounds: Vec::new(),
        rows_seen: 0,
        missing: None,
    }
}

/// Runs it once more, or notes why not.
fn one_round(
    contender: Contender,
    place: &BinlogStart,
    tools: &Tools,
    budget: &Budget,
    entry: &mut Entry,
) -> Result<()> {
    if entry.missing.is_some() {
        return Ok(());
    }
    if budget.is_spent(1.0) {
        entry.missing = Some(OUT_OF_TIME.to_owned());
    } else if let Err(error) = read_all(contender, place, tools, entry) {
        // Without hydrant there is nothing to compare.
        ensure!(!is_ours(contender), "{}: {error:#}", contender.title());
        entry.missing = Some(format!("{error:#}"));
    }
    Ok(())
}

fn read_all(
    contender: Contender,
    place: &BinlogStart,
    tools: &Tools,
    entry: &mut Entry,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let command = contender.drain(place, tools, folder.path())?;
    let cost = Running::start(command, contender.reports_itself())?.finish(LIMIT)?;
    let rows_seen = match (cost.rows_said, contender.row_line()) {
        (Some(rows), _) => rows,
        // Counting is not timed, and one more run has the same rows.
        (None, Some(_)) if !entry.rounds.is_empty() => entry.rows_seen,
        (None, Some(beginning)) => {
            let folder = tempfile::tempdir()?;
            let command = contender.drain(place, tools, folder.path())?;
            count_printed(command, beginning)?
        }
        (None, None) => count_in_objects(&folder.path().join("objects"))?,
    };
    entry.rows_seen = rows_seen;
    ensure!(
        contender == Contender::Inside(Inside::Raw) || rows_seen == place.rows,
        "it saw {rows_seen} of {} rows",
        place.rows
    );
    entry.rounds.push(cost);
    Ok(())
}

fn count_printed(mut command: Command, beginning: &[u8]) -> Result<u64> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().context("no standard output")?;
    let count = count_lines(BufReader::new(out), beginning)?;
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(count)
}

fn count_lines(mut from: impl BufRead, beginning: &[u8]) -> Result<u64> {
    let mut line = Vec::new();
    let mut count = 0;
    while from.read_until(b'\n', &mut line)? > 0 {
        count += u64::from(line.starts_with(beginning));
        line.clear();
    }
    Ok(count)
}

/// The lines in all gzip objects of a folder. No value of a made-up sale has a line break.
pub(crate) fn count_in_objects(folder: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            count += count_in_objects(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "gz") {
            let object = MultiGzDecoder::new(fs::File::open(&path)?);
            count += count_lines(BufReader::new(object), b"")?;
        }
    }
    Ok(count)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn tell(workload: &Workload, entry: &Entry) {
    let what = &entry.contender;
    match (&entry.missing, entry.rounds.last()) {
        (Some(reason), _) => eprintln!("{}: {what}: LEFT OUT: {reason}", workload.name),
        (None, Some(cost)) => eprintln!(
            "{}: {what}: {:.3} M rows/s, {:.2} s CPU per million, {} MiB",
            workload.name,
            workload.rows as f64 / cost.seconds / 1e6,
            cost.cpu_seconds / workload.rows as f64 * 1e6,
            cost.peak_rss_kib / 1024,
        ),
        (None, None) => {}
    }
}
