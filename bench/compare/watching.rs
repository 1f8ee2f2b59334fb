//! What being watched costs MySQL: four writers insert as fast as they can, with nobody watching, with the
//! blog's trigger, with Debezium and with hydrant on the same machine.
//!
//! What lives here: the writers, the order of turns, and what the server itself spent. What does not: how a
//! watcher is attached.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use serde::Serialize;

use crate::Budget;
use crate::attach::attach;
use crate::binlog_start::BinlogStart;
use crate::contenders::{Sink, Tools, hydrant};
use crate::latency::{Percentiles, histogram};
use crate::process::{Cost, Running, cpu_seconds_of};
use crate::throughput::count_in_objects;
use testkit::servers::Server;
use workloads::sales::{SALES, statements};

const TRIGGER: &str = include_str!("../blog_trigger.sql");
const NO_TRIGGER: &str = "DROP TRIGGER IF EXISTS shop.TR_Sales_CDC;
    DROP PROCEDURE IF EXISTS shop.CDC_TO_FIREHOSE; DROP PROCEDURE IF EXISTS shop.lambda_async;";
const WRITERS: usize = 4;
/// Rows of a statement.
const STATEMENT_ROWS: [u64; 2] = [1, 200];
/// Different statements of a writer, sent over and over.
const STATEMENTS: u64 = 50;
const ROUNDS: usize = 4;
/// A watcher may need so long to end.
const STOP_LIMIT: Duration = Duration::from_mins(2);
/// More than the tests' servers have: enough for tables of some seconds.
const SETTINGS: [&str; 2] = [
    "--innodb-buffer-pool-size=512M",
    "--innodb-redo-log-capacity=1G",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Nobody,
    Trigger,
    Debezium,
    Hydrant,
}

const VARIANTS: [Variant; 4] = [
    Variant::Nobody,
    Variant::Trigger,
    Variant::Debezium,
    Variant::Hydrant,
];

impl Variant {
    fn title(self) -> &'static str {
        match self {
            Self::Nobody => "nobody watches",
            Self::Trigger => "the blog's trigger and procedure, without Lambda",
            Self::Debezium => "Debezium engine attached, SourceRecords, dropped",
            Self::Hydrant => "hydrant attached, gzip objects in a directory",
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// The server's version.
    pub(crate) mysql: String,
    writers: usize,
    seconds: u64,
    variants: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    variant: &'static str,
    rounds: Vec<Round>,
    missing: Option<String>,
}

/// One turn of a variant.
#[derive(Debug, Serialize)]
struct Round {
    loads: Vec<Load>,
    /// Of all rows of this turn, so many had come to the watcher when the writers were done and it was asked
    /// to stop. Nobody and a trigger have no such number.
    rows_seen: Option<u64>,
    watcher: Option<Cost>,
}

/// What the writers got done.
#[derive(Debug, Serialize)]
struct Load {
    statement_rows: u64,
    statements_per_second: f64,
    rows_per_second: f64,
    latency_ms: Percentiles,
    rows: u64,
    /// Of the MySQL process.
    server_cpu_seconds: f64,
}

/// All variants in turn, some rounds, each round beginning with another.
pub(crate) fn run(seconds: u64, tools: &Tools, budget: &Budget) -> Result<Outcome> {
    eprintln!("cost of watching: starting MySQL");
    let server = Server::mysql(&SETTINGS)?;
    server.sql(SALES)?;
    let mut entries = VARIANTS.map(|variant| Entry {
        variant: variant.title(),
        rounds: Vec::new(),
        missing: None,
    });
    for round in 0..ROUNDS {
        for turn in 0..VARIANTS.len() {
            let index = (round + turn) % VARIANTS.len();
            let entry = &mut entries[index];
            if entry.missing.is_some() || round > 0 && budget.is_spent(1.0) {
                continue;
            }
            let title = entry.variant;
            match take_turn(&server, VARIANTS[index], seconds, tools) {
                Ok(round) => {
                    for load in &round.loads {
                        eprintln!(
                            "cost of watching: {title}: {} rows a statement: {:.0} rows/s, p99 {:.2} ms",
                            load.statement_rows, load.rows_per_second, load.latency_ms.p99
                        );
                    }
                    entry.rounds.push(round);
                }
                Err(error) => {
                    eprintln!("cost of watching: {title}: LEFT OUT: {error:#}");
                    entry.missing = Some(format!("{error:#}"));
                }
            }
        }
    }
    let version = server.sql("SELECT VERSION()")?;
    Ok(Outcome {
        mysql: version.trim().to_owned(),
        writers: WRITERS,
        seconds,
        variants: entries.into(),
    })
}

fn take_turn(server: &Server, variant: Variant, seconds: u64, tools: &Tools) -> Result<Round> {
    server.sql(NO_TRIGGER)?;
    server.sql("TRUNCATE TABLE shop.Sales")?;
    if variant == Variant::Trigger {
        server.sql(TRIGGER)?;
    }
    let folder = tempfile::tempdir()?;
    let mut watcher = watcher(server, variant, tools, folder.path())?;
    let mut loads = Vec::new();
    for statement_rows in STATEMENT_ROWS {
        loads.push(load(server, statement_rows, seconds)?);
    }
    let mut rows_seen = None;
    let mut cost = None;
    if let Some(watcher) = &mut watcher {
        watcher.ask_to_stop(variant == Variant::Hydrant)?;
        let end = watcher.finish(Duration::from_secs(2 * seconds) + STOP_LIMIT)?;
        rows_seen = match variant {
            Variant::Hydrant => Some(count_in_objects(&folder.path().join("objects"))?),
            _ => end.rows_said,
        };
        cost = Some(end);
    }
    Ok(Round {
        loads,
        rows_seen,
        watcher: cost,
    })
}

fn watcher(
    server: &Server,
    variant: Variant,
    tools: &Tools,
    folder: &Path,
) -> Result<Option<Running>> {
    let place = BinlogStart::here(server, u64::MAX)?;
    let command = match variant {
        Variant::Nobody | Variant::Trigger => return Ok(None),
        Variant::Debezium => {
            let rows = i64::MAX.to_string();
            tools.debezium("records", &place, "latest", &rows, folder)?
        }
        Variant::Hydrant => hydrant(&place, "latest", Sink::Dir, folder)?,
    };
    attach(server, command, variant == Variant::Debezium).map(Some)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn load(server: &Server, statement_rows: u64, seconds: u64) -> Result<Load> {
    let statements = statements(STATEMENTS, statement_rows)?;
    let process = server.process_id().context("the server is stopped")?;
    let cpu_before = cpu_seconds_of(process)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let url = server.url();
    let started = Instant::now();
    let deadline = started + Duration::from_secs(seconds);
    let latency = runtime.block_on(async {
        let writers = (0..WRITERS).map(|_| write_until(&url, &statements, deadline));
        let shares = futures_util::future::try_join_all(writers).await?;
        let mut all = histogram();
        for share in shares {
            all.add(share)?;
        }
        anyhow::Ok(all)
    })?;
    let elapsed = started.elapsed().as_secs_f64();
    let rows = latency.len() * statement_rows;
    Ok(Load {
        statement_rows,
        statements_per_second: latency.len() as f64 / elapsed,
        rows_per_second: rows as f64 / elapsed,
        latency_ms: Percentiles::of(&latency),
        rows,
        server_cpu_seconds: cpu_seconds_of(process)? - cpu_before,
    })
}

async fn write_until(
    url: &str,
    statements: &[String],
    deadline: Instant,
) -> Result<hdrhistogram::Histogram<u64>> {
    let mut conn = Conn::new(Opts::from_url(url)?).await?;
    let mut took = histogram();
    for statement in statements.iter().cycle() {
        let sent = Instant::now();
        if sent >= deadline {
            break;
        }
        conn.query_drop(statement.as_str()).await?;
        took.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
    }
    conn.disconnect().await?;
    Ok(took)
}
