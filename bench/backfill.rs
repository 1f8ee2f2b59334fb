//! How fast `hydrant cdc` reads a table that was there before, beside programs that read tables.
//!
//! What lives here: one table in one server, which all contenders read in turns. What does not: changes (`compare`), and
//! whether what was read is right (the tests).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use testkit::cache::project;
use testkit::program::program;
use testkit::servers::Server;
use workloads::debezium;
use workloads::sales::{SALES, insert};
use workloads::watched::Watched;

/// Reads a table of sales, again and again.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows of the table; what is inserted is doubled until there are so many.
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// How often each contender reads them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Rows after which Debezium is stopped. It reads them once.
    #[arg(long, default_value_t = 4_000_000)]
    debezium_rows: u64,
    /// Contenders that are left out.
    #[arg(long, value_name = "NAME")]
    without: Vec<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The most MiB that hydrant may take.
const LIMIT_MIB: u64 = 96;
const TRANSACTION_ROWS: u64 = 1_000;
/// Rows that are inserted before they are doubled.
const FEW: u64 = 2_000_000;
const COLUMNS: &str =
    "ItemID, Category, Price, Quantity, OrderDate, DestinationState, ShippingType, Referral";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Client,
    /// With so many connections, and whether into objects.
    Hydrant(u32, bool),
    Debezium,
}

const CONTENDERS: [Contender; 6] = [
    Contender::Client,
    Contender::Hydrant(1, false),
    Contender::Hydrant(1, true),
    Contender::Hydrant(2, false),
    Contender::Hydrant(2, true),
    Contender::Debezium,
];

impl Contender {
    fn name(self) -> String {
        let into = |objects| {
            if objects {
                "gzip objects"
            } else {
                "stdout, dropped"
            }
        };
        match self {
            Self::Client => "mysql --quick, dropped".to_owned(),
            Self::Hydrant(connections, objects) => {
                format!("hydrant, {connections} connections, {}", into(objects))
            }
            Self::Debezium => "Debezium engine, snapshot, SourceRecords, dropped".to_owned(),
        }
    }

    /// Seconds for so many rows, and the most memory.
    fn run(self, server: &Server, arguments: &Arguments, folder: &Path) -> Result<Watched> {
        let rows = arguments.rows;
        let mut command = match self {
            Self::Client => {
                let mut client = server.client("mysql");
                let select = format!("SELECT InvoiceID, {COLUMNS} FROM shop.Sales");
                client.args(["--quick", "--batch", "-e", &select]);
                client.stdout(Stdio::null());
                client
            }
            Self::Hydrant(connections, objects) => {
                return hydrant(server, rows, (connections, objects), folder);
            }
            Self::Debezium => return snapshot(server, arguments.debezium_rows, folder),
        };
        Watched::run(&mut command)
    }

    fn rows(self, arguments: &Arguments) -> u64 {
        match self {
            Self::Debezium => arguments.debezium_rows,
            Self::Client | Self::Hydrant(..) => arguments.rows,
        }
    }
}

fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let server = Server::mysql(&[
        "--innodb-buffer-pool-size=4G",
        "--innodb-redo-log-capacity=1G",
    ])?;
    let rows = fill(&server, arguments.rows)?;
    let arguments = Arguments { rows, ..arguments };
    let contenders: Vec<Contender> = CONTENDERS
        .into_iter()
        .filter(|it| {
            !arguments
                .without
                .iter()
                .any(|name| it.name().contains(name))
        })
        .collect();
    let mut runs: Vec<Vec<Watched>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            if *contender == Contender::Debezium && round > 0 {
                continue;
            }
            let folder = tempfile::tempdir()?;
            let run = contender.run(&server, &arguments, folder.path());
            match run.with_context(|| contender.name()) {
                Ok(run) => runs.push(run),
                // There may be no JDK.
                Err(error) if *contender == Contender::Debezium => eprintln!("{error:#}"),
                Err(error) => return Err(error),
            }
        }
    }
    println!("{rows} sales, {} rounds", arguments.rounds);
    println!("| | rows/s, median | of mysql's rate | peak RSS, MiB | rounds, s |");
    println!("| --- | --- | --- | --- | --- |");
    let rate = |contender: &Contender, runs: &[Watched]| {
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let rows = contender.rows(&arguments) as f64;
        rows / median(runs)
    };
    let reference = rate(&contenders[0], &runs[0]);
    let mut within = true;
    for (contender, runs) in contenders.iter().zip(&runs) {
        let rate = rate(contender, runs);
        let peak = runs.iter().map(|run| run.peak_kib.div_ceil(1024)).max();
        let peak = peak.unwrap_or(0);
        within &= !matches!(contender, Contender::Hydrant(..)) || peak <= LIMIT_MIB;
        let seconds = runs.iter().map(|run| format!("{:.1}", run.seconds));
        println!(
            "| {} | {rate:.0} | {:.0} % | {peak} | {} |",
            contender.name(),
            rate / reference * 100.0,
            seconds.collect::<Vec<_>>().join(" ")
        );
    }
    ensure!(within, "more memory than {LIMIT_MIB} MiB");
    Ok(())
}

fn median(runs: &[Watched]) -> f64 {
    let mut seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// At least so many sales. Gives how many there are.
fn fill(server: &Server, rows: u64) -> Result<u64> {
    server.sql(SALES)?;
    let mut there = rows.min(FEW);
    insert(server, there, TRANSACTION_ROWS)?;
    while there < rows {
        let more = there.min(rows - there);
        server.sql(&format!(
            "SET sql_log_bin = 0; INSERT INTO shop.Sales ({COLUMNS}) SELECT {COLUMNS} FROM shop.Sales LIMIT {more}"
        ))?;
        there += more;
        eprintln!("inserting: {there} of {rows} rows");
    }
    server.sql("ANALYZE TABLE shop.Sales")?;
    Ok(there)
}

fn hydrant(
    server: &Server,
    rows: u64,
    (connections, objects): (u32, bool),
    folder: &Path,
) -> Result<Watched> {
    let path = |name: &str| folder.join(name).display().to_string();
    let sink = if objects {
        format!("path = \"{}\"", path("data"))
    } else {
        "type = \"stdout\"".to_owned()
    };
    let columns = COLUMNS.replace(", ", "\", \"");
    let config = format!(
        "checkpoint.path = \"file:{}\"\n[source]\nurl = \"{}\"\nstart = \"latest\"\n[[table]]\nname = \"shop.Sales\"\n\
         backfill = true\ncolumns = [\"InvoiceID\", \"{columns}\"]\n[sink]\n{sink}\n[backfill]\nconnections = {connections}\n",
        path("checkpoint.json"),
        server.url(),
    );
    fs::write(path("hydrant.toml"), config)?;
    let mut agent = program(env!("CARGO_BIN_EXE_hydrant"));
    agent
        .args(["cdc", "--until", "now", "--config", &path("hydrant.toml")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("log"))?);
    let watched = Watched::run(&mut agent);
    let log = fs::read_to_string(path("log"))?;
    let watched = watched.with_context(|| log.clone())?;
    ensure!(
        log.contains(&format!("{rows} rows (")),
        "not all rows: {log}"
    );
    Ok(watched)
}

/// Debezium's snapshot from its first row until it has so many.
fn snapshot(server: &Server, rows: u64, folder: &Path) -> Result<Watched> {
    let class_path = debezium::class_path(&project().join("target/bench"))?;
    let (port, rows) = (server.port().to_string(), rows.to_string());
    let mut engine = debezium::engine(&class_path, ("records", &port, "snapshot", &rows), folder);
    let mut engine = engine
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(folder.join("log"))?)
        .spawn()?;
    let output = engine.stdout.take().context("no output")?;
    let mut first = None;
    let mut seen = String::new();
    for line in BufReader::new(output).lines() {
        seen = line?;
        if seen == "first" {
            first = Some(Instant::now());
        }
    }
    let seconds = first.map(|first| first.elapsed().as_secs_f64());
    let status = engine.wait()?;
    let words = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    ensure!(status.success(), "{status}: {}", words());
    ensure!(seen.starts_with("rows "), "it did not end: {}", words());
    Ok(Watched {
        seconds: seconds.context("no row")?,
        peak_kib: 0,
    })
}
