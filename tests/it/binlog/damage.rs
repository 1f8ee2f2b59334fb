//! Binlog files that are cut off or changed at every byte: only rows of whole transactions come out,
//! and never other ones.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use hydrant::batch::{BatchLimits, SealedBatch};
use hydrant::cli::{Cli, Command};
use hydrant::sink::{Attempted, Sink, SinkProfile};
use hydrant::{Error, Exit, replay};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::setup::servers::{binlogs, compression, end_of_binlog};
use testkit::servers::{Kind, Server};

/// Lines by table, in the configuration's order.
type Lines = [String; 2];

/// Keeps what it is given, in batches of a few lines.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Lines>>);

impl Sink for Memory {
    fn profile(&self) -> SinkProfile {
        SinkProfile::new(BatchLimits::one_record(64), 1)
    }

    async fn attempt(&self, batch: &SealedBatch, _records: &[usize]) -> Attempted {
        let lines = String::from_utf8_lossy(batch.bytes());
        self.0.lock().unwrap()[batch.table].push_str(&lines);
        Ok(Vec::new()).into()
    }
}

/// A transaction: where it ends, and the lines of all up to it.
struct Transaction {
    end: usize,
    lines: Lines,
}

/// A small file, and what a server says of it.
struct Capture {
    bytes: Vec<u8>,
    /// Where it may be cut off unnoticed: outside of transactions.
    ends: Vec<usize>,
    transactions: Vec<Transaction>,
    folder: TempDir,
    runtime: Runtime,
}

impl Capture {
    fn new(kind: Kind, options: &[&str]) -> Result<Self> {
        let server = Server::start(kind, options)?;
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.Other (id int)")?;
        server.sql("FLUSH BINARY LOGS")?;
        let mut lines = Lines::default();
        let mut transactions = vec![Transaction {
            end: offset(&server)?,
            lines: lines.clone(),
        }];
        let start = transactions[0].end;
        for (sql, added) in STATEMENTS {
            server.sql(sql)?;
            for (all, added) in lines.iter_mut().zip(added) {
                all.push_str(added);
            }
            transactions.push(Transaction {
                end: offset(&server)?,
                lines: lines.clone(),
            });
        }
        server.sql("FLUSH BINARY LOGS")?;
        let file = binlogs(&server)?.remove(1);
        let bytes = fs::read(&file)?;
        // What is before the first transaction are single events. MariaDB writes checkpoints whenever it has the time.
        let events = server.sql("SHOW BINLOG EVENTS IN 'binlog.000002'")?;
        let mut ends = Vec::new();
        for event in events.lines() {
            let mut columns = event.split('\t').skip(2);
            let kind = columns.next().context("no Event_type")?;
            let end: usize = columns.nth(1).context("no End_log_pos")?.parse()?;
            // MariaDB 11.8 says 0 for those within transactions.
            let is_alone = (1..=start).contains(&end) || kind == "Binlog_checkpoint";
            if is_alone || end == bytes.len() {
                ends.push(end);
            }
        }
        ends.extend(transactions.iter().map(|transaction| transaction.end));
        // A file without any event.
        ends.push(4);
        let folder = tempfile::tempdir()?;
        let config = "[[table]]\nname = \"shop.A\"\n[[table]]\nname = \"shop.B\"\n";
        fs::write(folder.path().join("replay.toml"), config)?;
        Ok(Self {
            bytes,
            ends,
            transactions,
            folder,
            runtime: Runtime::new()?,
        })
    }

    /// The lines of these bytes, and how their replay ended.
    fn replay(&self, bytes: &[u8]) -> Result<(Lines, Result<(), Error>)> {
        let path = self.folder.path().join("binlog.000002");
        fs::write(&path, bytes)?;
        self.replay_file(&path)
    }

    fn replay_file(&self, path: &Path) -> Result<(Lines, Result<(), Error>)> {
        let arguments: [&std::ffi::OsStr; 8] = [
            "hydrant".as_ref(),
            "replay".as_ref(),
            "--binlog".as_ref(),
            path.as_ref(),
            "--out=-".as_ref(),
            "--config".as_ref(),
            &self.folder.path().join("replay.toml").into_os_string(),
            "--offline".as_ref(),
        ];
        let Command::Replay(options) = Cli::try_parse_from(arguments)?.command else {
            bail!("another command");
        };
        let memory = Memory::default();
        let replaying = replay::run_to(&options, memory.clone());
        let (_, outcome) = self.runtime.block_on(replaying)?;
        let lines = memory.0.lock().unwrap().clone();
        Ok((lines, outcome))
    }

    /// The lines of what ends at or before this offset.
    fn lines_before(&self, offset: usize) -> Lines {
        let whole = self.transactions.iter().rev();
        let mut whole = whole.skip_while(|transaction| transaction.end > offset);
        whole
            .next()
            .map(|last| last.lines.clone())
            .unwrap_or_default()
    }
}

fn offset(server: &Server) -> Result<usize> {
    let position = end_of_binlog(server)?;
    let offset = position.rsplit(':').next().unwrap_or_default();
    Ok(offset.parse()?)
}

/// Each is one transaction, with the lines that it adds to shop.A and shop.B.
const STATEMENTS: [(&str, [&str; 2]); 9] = [
    ("CREATE TABLE shop.A (id int, name varchar(40))", ["", ""]),
    ("CREATE TABLE shop.B (id int, price decimal(6,2))", ["", ""]),
    ("INSERT INTO shop.A VALUES (1, 'one')", ["1,one\n", ""]),
    (
        "BEGIN; INSERT INTO shop.A VALUES (2, 'a \"quoted\" name'), (3, NULL); \
         INSERT INTO shop.Other VALUES (1); INSERT INTO shop.B VALUES (1, 1.25); \
         INSERT INTO shop.A VALUES (4, ''); COMMIT",
        ["2,\"a \"\"quoted\"\" name\"\n3,\n4,\"\"\n", "1,1.25\n"],
    ),
    ("INSERT INTO shop.Other VALUES (2), (3)", ["", ""]),
    ("ALTER TABLE shop.B ADD COLUMN more int", ["", ""]),
    (
        "INSERT INTO shop.B VALUES (5, -0.5, 7), (6, NULL, NULL), (7, 9999.99, 1), (8, 0, 0)",
        ["", "5,-0.50\n6,\n7,9999.99\n8,0.00\n"],
    ),
    ("DELETE FROM shop.B WHERE id > 6", ["", ""]),
    (
        "INSERT INTO shop.A VALUES (9, 'two\\nlines')",
        ["9,\"two\nlines\"\n", ""],
    ),
];

fn a_file_cut_off_anywhere_gives_whole_transactions(kind: Kind, options: &[&str]) -> Result<()> {
    let capture = Capture::new(kind, options)?;
    for len in 0..=capture.bytes.len() {
        let (lines, outcome) = capture.replay(&capture.bytes[..len])?;
        ensure!(lines == capture.lines_before(len), "{len}: {lines:?}");
        match outcome {
            Ok(()) => ensure!(capture.ends.contains(&len), "{len} is no end"),
            Err(error) => {
                ensure!(!capture.ends.contains(&len), "{len}: {error}");
                check_report(&error, len)?;
            }
        }
    }
    let all = capture.transactions.last().context("none")?;
    ensure!(all.lines[0].matches('\n').count() == 6, "{:?}", all.lines);
    Ok(())
}

/// The error says where: not behind the damage, and at an event before it.
fn check_report(error: &Error, damage: usize) -> Result<()> {
    ensure!(error.exit() == Exit::Data, "{damage}: {error}");
    let report = error.report(hydrant::log_format::LogFormat::Text);
    let position = report.split("binlog event at binlog.000002:").nth(1);
    let digits = position.and_then(|rest| rest.split([':', ',']).next());
    let offset: usize = digits.context(report.clone())?.parse()?;
    ensure!(offset <= damage, "{damage}: {report}");
    Ok(())
}

#[test]
fn a_file_of_mysql_cut_off_anywhere_gives_whole_transactions() -> Result<()> {
    a_file_cut_off_anywhere_gives_whole_transactions(Kind::Mysql, &[])
}

#[test]
fn a_file_of_mariadb_cut_off_anywhere_gives_whole_transactions() -> Result<()> {
    a_file_cut_off_anywhere_gives_whole_transactions(Kind::Mariadb, &[])
}

#[test]
fn a_file_of_mariadb_11_cut_off_anywhere_gives_whole_transactions() -> Result<()> {
    a_file_cut_off_anywhere_gives_whole_transactions(Kind::Mariadb11, &[])
}

fn a_flipped_bit_anywhere_is_caught(kind: Kind, options: &[&str]) -> Result<()> {
    /// The mark of a file that is open, in the format description's flags, is in no checksum.
    const OPEN_MARK: (usize, u8) = (4 + 17, 1);
    /// The format description up to the lengths of events, which says how all others are to be read: each of its bits.
    const BEGIN_LEN: usize = 4 + 19 + 57;
    let capture = Capture::new(kind, options)?;
    let seed = match std::env::var("HYDRANT_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => rand::random(),
    };
    println!("HYDRANT_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut bytes = capture.bytes.clone();
    let flips = (0..bytes.len()).flat_map(|index| {
        let bits = if index < BEGIN_LEN {
            0..8
        } else {
            let bit = random.random_range(0..8);
            bit..bit + 1
        };
        bits.map(move |bit| (index, 1_u8 << bit))
    });
    for (index, mask) in flips {
        bytes[index] ^= mask;
        let (lines, outcome) = capture.replay(&bytes)?;
        bytes[index] ^= mask;
        if (index, mask) == OPEN_MARK {
            outcome?;
            continue;
        }
        ensure!(
            lines == capture.lines_before(index),
            "{index}, {mask:#04x}: {lines:?}"
        );
        match outcome {
            Ok(()) => bail!("{index}, {mask:#04x}: unnoticed"),
            Err(error) => check_report(&error, index)?,
        }
    }
    Ok(())
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_of_mysql_is_caught() -> Result<()> {
    a_flipped_bit_anywhere_is_caught(Kind::Mysql, &[])
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_of_mariadb_is_caught() -> Result<()> {
    a_flipped_bit_anywhere_is_caught(Kind::Mariadb, &[])
}

#[test]
fn a_flipped_bit_anywhere_in_a_file_of_mariadb_11_is_caught() -> Result<()> {
    a_flipped_bit_anywhere_is_caught(Kind::Mariadb11, &[])
}

#[test]
fn a_compressed_file_of_mysql_cut_off_anywhere_gives_whole_transactions() -> Result<()> {
    a_file_cut_off_anywhere_gives_whole_transactions(Kind::Mysql, compression(Kind::Mysql))
}

#[test]
fn a_flipped_bit_anywhere_in_a_compressed_file_of_mysql_is_caught() -> Result<()> {
    a_flipped_bit_anywhere_is_caught(Kind::Mysql, compression(Kind::Mysql))
}

#[test]
fn a_compressed_file_of_mariadb_cut_off_anywhere_gives_whole_transactions() -> Result<()> {
    a_file_cut_off_anywhere_gives_whole_transactions(Kind::Mariadb, compression(Kind::Mariadb))
}

#[test]
fn a_flipped_bit_anywhere_in_a_compressed_file_of_mariadb_is_caught() -> Result<()> {
    a_flipped_bit_anywhere_is_caught(Kind::Mariadb, compression(Kind::Mariadb))
}
