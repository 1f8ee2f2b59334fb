//! How fast `hydrant verify` compares a table with what was delivered of it, and whether it finds three rows among all.
//!
//! What lives here: sales that are delivered into a directory, the comparison, and the same with one changed cell, one missing
//! and one doubled row. What does not: false alarms while others write, which is a test (`tests/it/cdc/verify.rs`).

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use testkit::files::files_below;
use testkit::program::program;
use testkit::servers::Server;
use workloads::capture::MAX_BINLOG_SIZE;
use workloads::sales::{SALES, insert};
use workloads::watched::Watched;

/// Compares workload A with its objects.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows of workload A.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// How often they are compared.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Of a transaction of workload A.
const TRANSACTION_ROWS: u64 = 1_000;

fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let server = Server::mysql(&[MAX_BINLOG_SIZE])?;
    server.sql(SALES)?;
    insert(&server, arguments.rows, TRANSACTION_ROWS)?;
    let folder = tempfile::tempdir()?;
    configure(&server, folder.path())?;
    let drained = hydrant(folder.path(), &["cdc", "--until", "now"])?;
    ensure!(drained.code == Some(0), "{}", drained.log);
    println!(
        "| {} sales | seconds | rows/s | peak RSS, MiB |",
        arguments.rows
    );
    println!("| --- | --- | --- | --- |");
    for round in 1..=arguments.rounds {
        let run = verify(folder.path())?;
        ensure!(run.code == Some(0), "{}", run.log);
        told(&format!("equal, round {round}"), arguments.rows, &run);
    }
    let spoiled = spoil(&folder.path().join("objects"), arguments.rows)?;
    let run = verify(folder.path())?;
    ensure!(run.code == Some(65), "{}", run.log);
    let report: serde_json::Value = serde_json::from_str(&run.stdout)?;
    let found = report["tables"][0]["found"]
        .as_array()
        .context("nothing is found")?;
    ensure!(found.len() == spoiled.len(), "{report}");
    for (fault, id) in spoiled {
        let key = format!("InvoiceID={id}");
        let is_it = |it: &serde_json::Value| it["fault"] == fault && it["key"] == key.as_str();
        ensure!(found.iter().any(is_it), "{fault} {key}: {report}");
    }
    told(
        "one changed, one missing, one doubled: found by key",
        arguments.rows,
        &run,
    );
    Ok(())
}

fn configure(server: &Server, folder: &Path) -> Result<()> {
    let config = format!(
        "checkpoint.path = \"file:{0}/checkpoint.json\"\n[source]\nurl = \"{1}\"\nstart = \"earliest\"\n[[table]]\n\
         name = \"shop.Sales\"\nevents = [\"insert\", \"update\", \"delete\"]\nmetadata = [\"sequence\"]\n[sink]\npath = \"{0}/objects\"\n",
        folder.display(),
        server.url(),
    );
    Ok(fs::write(folder.join("hydrant.toml"), config)?)
}

/// How a command went.
struct Run {
    code: Option<i32>,
    stdout: String,
    log: String,
    watched: Watched,
}

fn hydrant(folder: &Path, arguments: &[&str]) -> Result<Run> {
    let path = |name: &str| folder.join(name);
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command
        .args(arguments)
        .arg("--config")
        .arg(path("hydrant.toml"))
        .stdin(Stdio::null())
        .stdout(File::create(path("out"))?)
        .stderr(File::create(path("log"))?);
    let (watched, status) = Watched::run_to_any_end(&mut command)?;
    Ok(Run {
        code: status.code(),
        stdout: fs::read_to_string(path("out"))?,
        log: fs::read_to_string(path("log"))?,
        watched,
    })
}

fn verify(folder: &Path) -> Result<Run> {
    hydrant(folder, &["verify", "--format", "json"])
}

fn told(what: &str, rows: u64, run: &Run) {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = rows as f64 / run.watched.seconds;
    println!(
        "| {what} | {:.1} | {rate:.0} | {} |",
        run.watched.seconds,
        run.watched.peak_kib.div_ceil(1024)
    );
}

/// Changes a cell, takes a row away and doubles one. Gives which.
fn spoil(objects: &Path, rows: u64) -> Result<[(&'static str, u64); 3]> {
    let [changed, missing, doubled] = [rows / 3, rows / 2, rows - 7];
    for path in files_below(objects, ".gz")? {
        let old = BufReader::new(MultiGzDecoder::new(File::open(&path)?));
        let mut new = GzEncoder::new(Vec::new(), Compression::fast());
        let mut is_spoiled = false;
        for line in old.lines() {
            let line = line?;
            let id = line.split(',').next().and_then(|id| id.parse().ok());
            is_spoiled |= [changed, missing, doubled].map(Some).contains(&id);
            if id == Some(changed) {
                let line = line.replacen(',', ",9", 1);
                writeln!(new, "{line}")?;
            } else if id == Some(doubled) {
                writeln!(new, "{line}\n{line}")?;
            } else if id != Some(missing) {
                writeln!(new, "{line}")?;
            }
        }
        if is_spoiled {
            fs::remove_file(&path)?;
            fs::write(&path, new.finish()?)?;
        }
    }
    Ok([
        ("differing", changed),
        ("missing", missing),
        ("doubled", doubled),
    ])
}
