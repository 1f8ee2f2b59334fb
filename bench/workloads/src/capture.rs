//! The binlog that the benches read: made once by a real server, then kept under `target/bench`.
//!
//! What lives here: how rows get into a server and a file, and the numbers that they are made of. What does not: the
//! rows, which are in `sales` and `tables`.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};

use anyhow::{Context, Result, ensure};

use testkit::cache::project;
use testkit::servers::Server;

/// Rows of a transaction, where nothing else is said.
pub const TRANSACTION_ROWS: u64 = 1_000;
const SEED: u64 = 2016;
/// How often progress is told.
const TOLD_ROWS: u64 = 200_000;
/// The file that a new server writes first.
pub const FIRST_BINLOG: &str = "binlog.000001";
/// MySQL's largest, so that all rows are in the first file.
pub const MAX_BINLOG_SIZE: &str = "--max-binlog-size=1073741824";

/// The binlog of this name, from `target/bench` or else from a server that is started and filled for it.
///
/// # Errors
/// When no server can be had, or it does not take the rows.
pub fn binlog(name: &str, fill: impl FnOnce(&Server) -> Result<()>) -> Result<Vec<u8>> {
    let dir = project().join("target/bench");
    let path = dir.join(format!("{name}.000001"));
    if !path.exists() {
        fs::create_dir_all(&dir)?;
        capture(&path, fill)?;
    }
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn capture(path: &Path, fill: impl FnOnce(&Server) -> Result<()>) -> Result<()> {
    eprintln!("capturing {}: starting MySQL", path.display());
    let mut server = Server::mysql(&[MAX_BINLOG_SIZE])?;
    fill(&server)?;
    server.stop()?;
    let binlog = server.binlog_dir().join(FIRST_BINLOG);
    ensure!(
        !server.binlog_dir().join("binlog.000002").exists(),
        "the rows of {} do not fit into one binlog file",
        path.display()
    );
    let unfinished = unfinished(path);
    fs::copy(binlog, &unfinished)?;
    fs::rename(unfinished, path)?;
    Ok(())
}

fn unfinished(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.unfinished", std::process::id()))
}

/// Inserts the rows of statements that `write_insert` writes, each of so many rows.
///
/// # Errors
/// When no server can be had, or it does not take the rows.
pub fn insert_with(
    server: &Server,
    row_count: u64,
    transaction_rows: u64,
    write_insert: impl FnMut(&mut Statements, u64, &mut SplitMix) -> Result<()>,
) -> Result<()> {
    let mut client = server
        .client("mysql")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run the mysql client")?;
    let input = client.stdin.take().context("the client has no input")?;
    let sql = BufWriter::new(input);
    let written = write_inserts(sql, row_count, transaction_rows, write_insert);
    // If the client has failed, writing to it has too: its own words are the better ones.
    let status = client.wait()?;
    ensure!(status.success(), "the mysql client failed: {status}");
    written
}

/// What the client reads.
pub type Statements = BufWriter<ChildStdin>;

fn write_inserts(
    mut sql: Statements,
    row_count: u64,
    transaction_rows: u64,
    mut write_insert: impl FnMut(&mut Statements, u64, &mut SplitMix) -> Result<()>,
) -> Result<()> {
    let mut random = SplitMix::new();
    // The moments of a TIMESTAMP are UTC's.
    writeln!(sql, "SET NAMES utf8mb4; SET time_zone = '+00:00';")?;
    let mut done = 0;
    while done < row_count {
        let rows = transaction_rows.min(row_count - done);
        write_insert(&mut sql, rows, &mut random)?;
        sql.write_all(b";\n")?;
        let told = done / TOLD_ROWS;
        done += rows;
        if done / TOLD_ROWS > told || done == row_count {
            eprintln!("inserting: {done} of {row_count} rows sent");
        }
    }
    sql.flush()?;
    Ok(())
}

/// SplitMix64 (Steele, Lea and Flood, 2014): a few lines that give the same numbers for ever.
#[derive(Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// The same numbers in each run.
    pub(crate) fn new() -> Self {
        Self(SEED)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of the values.
    pub(crate) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        let index = self.below(values.len() as u64);
        values[usize::try_from(index).unwrap_or(0)]
    }
}
