//! How much memory `hydrant cdc` takes while it drains one huge transaction, plain and compressed, or with
//! another one prepared, and one huge row.
//!
//! What lives here: the transactions, and the memory of the agent, which runs as a process of its own, as
//! users run it, with its defaults and a directory or a bucket as its sink. What does not: how fast it is (`compare`).

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use testkit::program::program;
use testkit::servers::Server;
use workloads::bucket::Bucket;
use workloads::watched::Watched;

/// Drains transactions and rows that are larger than the memory it may take.
#[derive(Debug, Parser)]
struct Arguments {
    /// MiB of rows in the transactions.
    #[arg(long, default_value_t = 2048)]
    transaction_mib: u64,
    /// MiB of the one row.
    #[arg(long, default_value_t = 64)]
    row_mib: u64,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the agent may take, whatever it reads.
const LIMIT_MIB: u64 = 96;
/// Besides, for each byte of the largest row.
const ROW_FACTOR: u64 = 4;
/// Besides, for rows of XA transactions that are prepared.
const PREPARED_LIMIT_MIB: u64 = 16;
/// As many as fit.
const PREPARED_MIB: u64 = 15;
const ROW_LEN: u64 = 1_000;

#[expect(clippy::too_many_lines, reason = "a table")]
fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let rows = arguments.transaction_mib * (1 << 20) / ROW_LEN;
    // A tenth of a row is random, so that it compresses to about an eighth.
    let insert = |id: &str, rows: u64| {
        format!(
            "INSERT INTO shop.T WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT {id}, CONCAT(HEX(RANDOM_BYTES(50)), REPEAT('wood ', 180)) FROM n"
        )
    };
    let transaction = insert("i", rows);
    let prepared = insert("-i", PREPARED_MIB * (1 << 20) / ROW_LEN);
    let beside_prepared =
        format!("XA START 'kept'; {prepared}; XA END 'kept'; XA PREPARE 'kept'; {transaction}");
    let row_len = arguments.row_mib << 20;
    let row = format!("INSERT INTO shop.T VALUES (1, REPEAT('stone ', {row_len} DIV 6))");
    let row_limit_mib = LIMIT_MIB + ROW_FACTOR * arguments.row_mib;
    println!("| one transaction of | binlog, MiB | seconds | peak RSS, MiB | at most |");
    println!("| --- | --- | --- | --- | --- |");
    let size = arguments.transaction_mib;
    let mut within = true;
    let bucket = Bucket::start()?;
    let dir = None;
    for (what, compression, statement, rows, limit_mib, bucket) in [
        (
            format!("{size} MiB"),
            "OFF",
            &transaction,
            rows,
            LIMIT_MIB,
            dir,
        ),
        (
            format!("{size} MiB, into a bucket"),
            "OFF",
            &transaction,
            rows,
            LIMIT_MIB,
            Some(&bucket),
        ),
        (
            format!("{size} MiB, compressed"),
            "ON",
            &transaction,
            rows,
            LIMIT_MIB,
            dir,
        ),
        (
            format!("{size} MiB, beside {PREPARED_MIB} MiB that XA has prepared"),
            "OFF",
            &beside_prepared,
            rows,
            LIMIT_MIB + PREPARED_LIMIT_MIB,
            dir,
        ),
        (
            format!("one row of {} MiB", arguments.row_mib),
            "OFF",
            &row,
            1,
            row_limit_mib,
            dir,
        ),
        (
            format!("one row of {} MiB, compressed", arguments.row_mib),
            "ON",
            &row,
            1,
            row_limit_mib,
            dir,
        ),
    ] {
        let server = server_with(compression, statement)?;
        let binlog_mib = binlog_len(&server)? >> 20;
        let (seconds, peak_mib) = drain(&server, rows, bucket)?;
        println!("| {what} | {binlog_mib} | {seconds:.1} | {peak_mib} | {limit_mib} |");
        within &= peak_mib <= limit_mib;
    }
    ensure!(within, "more memory than is allowed");
    Ok(())
}

/// A server whose binlog is that of one statement.
fn server_with(compression: &str, statement: &str) -> Result<Server> {
    let server = Server::mysql(&[
        &format!("--binlog-transaction-compression={compression}"),
        "--max-allowed-packet=1G",
        "--innodb-buffer-pool-size=256M",
        "--innodb-redo-log-capacity=512M",
    ])?;
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note longtext); \
         SET cte_max_recursion_depth = 4294967295; {statement}"
    ))?;
    Ok(server)
}

fn binlog_len(server: &Server) -> Result<u64> {
    let files = server.sql("SHOW BINARY LOGS")?;
    let lens = files.lines().filter_map(|line| line.split('\t').nth(1));
    Ok(lens.map(str::parse::<u64>).sum::<Result<_, _>>()?)
}

/// Seconds, and the most MiB that the agent had in memory.
fn drain(server: &Server, rows: u64, bucket: Option<&Bucket>) -> Result<(f64, u64)> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "checkpoint.path = \"file:{}\"\n[source]\nurl = \"{}\"\nstart = \"earliest\"\n[[table]]\n\
         name = \"shop.T\"\n[sink]\n{}\n",
        path("checkpoint.json"),
        server.url(),
        match bucket {
            Some(bucket) => bucket.sink("memory", ""),
            None => format!("path = \"{}\"", path("data")),
        }
    );
    fs::write(path("hydrant.toml"), config)?;
    let mut agent = program(env!("CARGO_BIN_EXE_hydrant"));
    agent
        .args(["cdc", "--until", "now", "--config", &path("hydrant.toml")])
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(path("log"))?);
    let watched = Watched::run(&mut agent);
    let watched = watched.with_context(|| fs::read_to_string(path("log")).unwrap_or_default())?;
    let log = fs::read_to_string(path("log"))?;
    ensure!(
        log.contains(&format!("{rows} rows (")),
        "not all rows: {log}"
    );
    Ok((watched.seconds, watched.peak_kib.div_ceil(1024)))
}
