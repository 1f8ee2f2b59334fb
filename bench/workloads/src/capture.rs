//! The binlog that the benches read: made once by a real server, then kept under `target/bench`.
//!
//! What lives here: how rows get into a server and a file; workload A, the made-up sales. What does not: other
//! tables (`workloads.rs`), and anything that is timed.

#![allow(dead_code, reason = "each bench takes only the part it needs")]

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};

use anyhow::{Context, Result, ensure};
use hydrant::encode::Chosen;

use testkit::servers::Server;

pub(crate) const SALES: &str = include_str!("../sql/sales.sql");
pub(crate) const TRANSACTION_ROWS: u64 = 1_000;
const SEED: u64 = 2016;
/// How often progress is told.
const TOLD_ROWS: u64 = 200_000;
/// The file that a new server writes first.
pub(crate) const FIRST_BINLOG: &str = "binlog.000001";
/// MySQL's largest, so that all rows are in the first file.
pub(crate) const MAX_BINLOG_SIZE: &str = "--max-binlog-size=1073741824";

/// The binlog of workload A: `row_count` sales in transactions of 1,000 rows, the same in every capture.
pub(crate) fn workload_a(row_count: u64) -> Result<Vec<u8>> {
    let name = format!("workload-a-{row_count}");
    binlog(&name, |server| {
        server.sql(SALES)?;
        insert(server, row_count, TRANSACTION_ROWS)
    })
}

/// The blog's columns of a sale.
pub(crate) fn sales_columns() -> Vec<Chosen> {
    let columns = [
        ("ItemID", None),
        ("Category", None),
        ("Price", Some(2)),
        ("Quantity", None),
        ("OrderDate", None),
        ("DestinationState", None),
        ("ShippingType", None),
        ("Referral", None),
    ];
    let chosen = |(name, scale): (&str, _)| Chosen {
        name: name.to_owned(),
        scale,
        disguise: None,
    };
    columns.map(chosen).into()
}

/// The binlog of this name, from `target/bench` or else from a server that is started and filled for it.
pub(crate) fn binlog(name: &str, fill: impl FnOnce(&Server) -> Result<()>) -> Result<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
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

/// Inserts made-up sales, always the same ones, into the table of `sql/sales.sql`: one client, one connection,
/// one statement of so many rows for each transaction.
pub(crate) fn insert(server: &Server, row_count: u64, transaction_rows: u64) -> Result<()> {
    insert_with(server, row_count, transaction_rows, write_insert)
}

/// Inserts the rows of statements that `write_insert` writes, each of so many rows.
pub(crate) fn insert_with(
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
pub(crate) type Statements = BufWriter<ChildStdin>;

fn write_inserts(
    mut sql: Statements,
    row_count: u64,
    transaction_rows: u64,
    mut write_insert: impl FnMut(&mut Statements, u64, &mut SplitMix) -> Result<()>,
) -> Result<()> {
    let mut random = SplitMix(SEED);
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

/// Statements of so many made-up sales each, for a writer to send over and over.
pub(crate) fn statements(count: u64, rows: u64) -> Result<Vec<String>> {
    let mut random = SplitMix(SEED);
    let statement = |_| {
        let mut sql = Vec::new();
        write_insert(&mut sql, rows, &mut random)?;
        Ok(String::from_utf8(sql)?)
    };
    (0..count).map(statement).collect()
}

fn write_insert(sql: &mut impl Write, rows: u64, random: &mut SplitMix) -> Result<()> {
    sql.write_all(
        b"INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState, \
          ShippingType, Referral) VALUES ",
    )?;
    for row in 0..rows {
        if row > 0 {
            sql.write_all(b",")?;
        }
        write_sale(sql, random)?;
    }
    Ok(())
}

const STATES: [&str; 50] = [
    "AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DE", "FL", "GA", "HI", "ID", "IL", "IN", "IA", "KS",
    "KY", "LA", "ME", "MD", "MA", "MI", "MN", "MS", "MO", "MT", "NE", "NV", "NH", "NJ", "NM", "NY",
    "NC", "ND", "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VT", "VA", "WA", "WV",
    "WI", "WY",
];

/// The blog's values, with cents in the price.
fn write_sale(sql: &mut impl Write, random: &mut SplitMix) -> Result<()> {
    const CATEGORIES: [&str; 4] = ["Garden", "Kitchen", "Office", "Household"];
    const SHIPPING: [&str; 3] = ["Free", "3-Day", "2-Day"];
    const REFERRALS: [&str; 4] = ["Other", "Friend/Colleague", "Repeat Customer", "Online Ad"];
    write!(
        sql,
        "({},'{}',{}.{:02},{},'2016-01-01' + INTERVAL {} DAY,'{}','{}','{}')",
        1 + random.below(100),
        random.of(&CATEGORIES),
        1 + random.below(99),
        random.below(100),
        1 + random.below(4),
        random.below(366),
        random.of(&STATES),
        random.of(&SHIPPING),
        random.of(&REFERRALS),
    )?;
    Ok(())
}

/// SplitMix64 (Steele, Lea and Flood, 2014): a few lines that give the same numbers for ever.
pub(crate) struct SplitMix(u64);

impl SplitMix {
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

    pub(crate) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        let index = self.below(values.len() as u64);
        values[usize::try_from(index).unwrap_or(0)]
    }
}
