//! hydrant beside its rivals: on the same bytes of the same server, in one run.
//!
//! What lives here: what is measured in which order, and the file of results. What does not: the page that
//! people read, which `../table` makes of that file.

mod attach;
mod binlog_start;
mod contenders;
mod inside;
mod latency;
mod process;
mod throughput;
#[path = "../transcode.rs"]
mod transcode;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;

use contenders::{Runtime, Tools};
use inside::Inside;
use throughput::Workload;
use workloads::machine;

/// hydrant and its rivals on the same bytes: rates, CPU, memory, latency, and what watching costs MySQL.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows of workload A, in transactions of 1,000.
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// One-row transactions of workload B.
    #[arg(long, default_value_t = 300_000)]
    transactions: u64,
    /// Transactions a second while latency is measured.
    #[arg(long, default_value_t = 1_000)]
    latency_rate: u32,
    /// How long latency is measured for each contender.
    #[arg(long, default_value_t = 20)]
    latency_seconds: u64,
    /// How long the writers insert in each turn of the cost of watching.
    #[arg(long, default_value_t = 3)]
    watching_seconds: u64,
    /// Leave out the rivals that need this.
    #[arg(long, value_enum)]
    without: Vec<Runtime>,
    /// After so long nothing is repeated, and no further rival is begun.
    #[arg(long, default_value_t = 14.0)]
    minutes: f64,
    /// Where the results go: as DATE-compare.json.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    #[command(flatten)]
    inside: InsideArguments,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How this program runs itself as one of the rivals.
#[derive(Debug, clap::Args)]
struct InsideArguments {
    #[arg(long = "as", hide = true, requires_all = ["url", "file"])]
    contender: Option<Inside>,
    #[arg(long, hide = true)]
    url: Option<String>,
    #[arg(long, hide = true)]
    file: Option<String>,
}

/// The time of a whole run, of which each part may use its share.
pub(crate) struct Budget {
    started: Instant,
    length: Duration,
}

impl Budget {
    /// Whether this share of the time is over, counted from the start.
    pub(crate) fn is_spent(&self, share: f64) -> bool {
        self.started.elapsed() > self.length.mul_f64(share)
    }
}

#[derive(Debug, Serialize)]
struct Results {
    date: String,
    machine: String,
    cores: usize,
    memory_gib: u64,
    /// Of one minute, before anything was started.
    load_before: f64,
    revision: String,
    command: String,
    mysql: String,
    seconds: u64,
    throughput: Vec<throughput::Outcome>,
    latency: latency::Outcome,
    watching: watching::Outcome,
}

fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let inside = &arguments.inside;
    if let (Some(contender), Some(url), Some(file)) = (inside.contender, &inside.url, &inside.file)
    {
        return contender.run(url, file);
    }
    let results = measure(&arguments)?;
    let day = results.date.split(' ').next().unwrap_or("undated");
    fs::create_dir_all(&arguments.out)?;
    let path = arguments.out.join(format!("{day}-compare.json"));
    fs::write(
        &path,
        format!("{}\n", serde_json::to_string_pretty(&results)?),
    )
    .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Results> {
    let load_before = machine::load_average();
    let date = machine::date();
    let tools_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&tools_folder)?;
    let tools = Tools::prepare(&tools_folder, &arguments.without);
    let budget = Budget {
        started: Instant::now(),
        length: Duration::from_secs_f64(arguments.minutes * 60.0),
    };
    let workloads = [
        Workload::new("A", arguments.rows, 1_000),
        Workload::new("B", arguments.transactions, 1),
    ];
    // A and B may repeat quick contenders until a fifth and half of the time are over.
    let shares = [0.2, 0.5];
    let mut throughput = Vec::new();
    for (workload, share) in workloads.into_iter().zip(shares) {
        throughput.push(throughput::run(workload, &tools, &budget, share)?);
    }
    let latency = latency::run(
        arguments.latency_rate,
        arguments.latency_seconds,
        &tools,
        &budget,
    )?;
    let watching = watching::run(arguments.watching_seconds, &tools, &budget)?;
    Ok(Results {
        date,
        machine: machine::cpu(),
        cores: machine::cores(),
        memory_gib: machine::memory_gib(),
        load_before,
        revision: machine::revision(),
        command: command(),
        mysql: watching.mysql.clone(),
        seconds: budget.started.elapsed().as_secs(),
        throughput,
        latency,
        watching,
    })
}

/// As it was typed, or as `make compare` typed it.
fn command() -> String {
    let arguments = std::env::args().skip(1);
    let arguments: Vec<_> = arguments.filter(|argument| argument != "--bench").collect();
    let mut command = "cargo bench --bench compare".to_owned();
    if !arguments.is_empty() {
        command += " -- ";
        command += &arguments.join(" ");
    }
    command
}
