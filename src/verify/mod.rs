//! `hydrant verify`: whether what was delivered is what the tables have, while both go on.
//!
//! What lives here: the command (`options`), one table after the other (`table`), its rows (`source`) and the objects
//! (`objects`), how far the agent is (`watch`); fields and shapes of lines (`fields`, `shape`), the order in which both sides are
//! compared (`record`, `spill`), the judgement (`judge`), and what is told of it (`second_look`, `report`). What does not: how a
//! table is read and a row is written, which are the agent's own.

mod fields;
mod judge;
mod objects;
mod options;
mod record;
mod report;
mod second_look;
mod shape;
mod source;
mod spill;
mod table;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::cdc::{CheckedTable, Onlooker, TableScan, followed_tables};
use crate::config;
use crate::printing::print;
use crate::{Error, Exit, Failure};

pub use options::Options;
use record::Record;
use report::{Outcome, Report, TableReport};
use shape::Shapes;
use spill::Spill;
use table::Verifier;
use watch::Watch;

/// How often the log tells how it goes.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// One table that is being compared.
struct Job {
    scan: TableScan,
    shapes: Shapes,
    spill: Arc<Spill>,
    watch: Arc<Watch>,
    tally: Tally,
    /// Lines have numbers that order them.
    is_numbered: bool,
    /// Rows whose key's hash is above it are left out.
    sampled_up_to: u64,
    /// How long the agent may take.
    wait: Duration,
}

impl Job {
    /// When a wait that begins now is over.
    fn until(&self) -> Instant {
        Instant::now() + self.wait
    }

    fn is_sampled(&self, record: &Record) -> bool {
        record.key[0] <= self.sampled_up_to
    }
}

/// How far it is.
#[derive(Debug, Default)]
struct Tally {
    rows: AtomicU64,
    lines: AtomicU64,
    objects: AtomicU64,
}

/// Compares the tables.
///
/// # Errors
/// If a table is not equal to what was delivered, or that could not be found out.
pub async fn run(options: Options) -> Result<(), Error> {
    let config = config::load(&options.config)?;
    let onlooker = Onlooker::open(&config.checkpoint).await?;
    let Some(checkpoint) = onlooker.look().await? else {
        return Err(Failure::definite(
            Exit::Config,
            format!("there is no checkpoint at {}", config.checkpoint),
            "start the agent first: its checkpoint says how far it has delivered; or correct checkpoint.path",
        )
        .into());
    };
    let (server, tables) = followed_tables(&config, &checkpoint).await?;
    let tables = chosen(tables, &options)?;
    let watch = Arc::new(Watch::begin(onlooker, &server, &checkpoint));
    let mut verifier = Verifier::new(config, options, server, watch).await?;
    let mut report = Report::default();
    for table in &tables {
        let compared = verifier.compare(table).await;
        let compared = compared.unwrap_or_else(|failure| {
            warn!("verify: {}: {failure}", table.full_name());
            TableReport::not_compared(table.full_name(), failure)
        });
        info!("verify: {}", compared.summary());
        report.tables.push(compared);
    }
    print(report.shown(verifier.options.format, verifier.options.show_values))?;
    conclude(&report)
}

/// Those that are to be compared.
fn chosen(tables: Vec<CheckedTable>, options: &Options) -> Result<Vec<CheckedTable>, Failure> {
    for name in &options.table {
        if !tables.iter().any(|table| table.full_name() == *name) {
            let known: Vec<String> = tables
                .iter()
                .map(CheckedTable::full_name)
                .take(20)
                .collect();
            return Err(Failure::definite(
                Exit::Usage,
                format!("--table {name}: no followed table has this name"),
                format!("name one of {}", known.join(", ")),
            ));
        }
    }
    let is_chosen = |table: &CheckedTable| {
        options.table.is_empty() || options.table.contains(&table.full_name())
    };
    let chosen: Vec<CheckedTable> = tables.into_iter().filter(is_chosen).collect();
    if chosen.is_empty() {
        let what = "there is no table to compare";
        return Err(Failure::definite(
            Exit::Config,
            what,
            "add [[table]], or create one that a pattern means",
        ));
    }
    Ok(chosen)
}

fn conclude(report: &Report) -> Result<(), Error> {
    let of = |is: fn(&Outcome) -> bool| {
        let tables = report.tables.iter().filter(|table| is(&table.outcome));
        tables.map(|table| table.name.clone()).collect::<Vec<_>>()
    };
    let different = of(|outcome| matches!(outcome, Outcome::Different));
    if !different.is_empty() {
        return Err(Failure::definite(
            Exit::Data,
            format!("what was delivered is not what is in {}", different.join(", ")),
            "the report names rows by key. What is missing can be delivered again: hydrant cdc --backfill, or hydrant replay \
             from the binlog; an object that is damaged or was changed must be replaced",
        )
        .into());
    }
    let mut failures = report
        .tables
        .iter()
        .filter_map(|table| match &table.outcome {
            Outcome::NotCompared(failure) => Some((&table.name, failure)),
            Outcome::Equal | Outcome::Different => None,
        });
    match failures.next() {
        None => Ok(()),
        Some((name, failure)) => Err(Failure {
            what: format!("{name} could not be compared: {}", failure.what),
            ..failure.clone()
        }
        .into()),
    }
}
