//! Rows that were there before: however a table is changed while it is read, its newest lines are the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::torture::variable;
use crate::setup::agent::{Workplace, config, files_below, gunzip};
use crate::setup::backfill::{self, SOON, ensure_none_missing};
use testkit::servers::{Kind, Server};

/// Rows that are there before.
const ROWS: u32 = 12_000;
/// Connections that change the table.
const WRITERS: u64 = 4;

/// How the rows of a table are told apart.
pub(super) struct Shape {
    key: &'static str,
    columns: &'static str,
    /// The key of a row, by a number, and a condition for it.
    values: fn(u32) -> String,
}

pub(super) const SHAPES: [Shape; 3] = [
    Shape {
        key: "id",
        columns: "id BIGINT NOT NULL",
        values: |number| number.to_string(),
    },
    Shape {
        key: "name, id",
        columns: "name VARCHAR(20) CHARACTER SET latin1 NOT NULL, id INT NOT NULL",
        values: |number| {
            // As the collation has it, these are in another order than as bytes.
            let name = ["b", "A", "é", "a", "Z"][number as usize % 5];
            format!("'{name}{}', {number}", number / 1000)
        },
    },
    Shape {
        key: "id",
        columns: "id BINARY(4) NOT NULL",
        values: |number| format!("X'{:08X}'", number.wrapping_mul(0x9E37_79B1) & 0xFFFF_FF00),
    },
];

impl Shape {
    pub(super) fn create(&self, server: &Server) -> Result<()> {
        server.sql(&format!(
            "CREATE TABLE shop.T ({}, v VARCHAR(40), n INT NOT NULL, PRIMARY KEY ({}))",
            self.columns, self.key
        ))?;
        for from in (0..ROWS).step_by(1_000) {
            let rows: Vec<String> = (from..from + 1_000)
                .map(|number| format!("({}, 'before', {number})", (self.values)(number)))
                .collect();
            server.sql(&format!(
                "INSERT IGNORE INTO shop.T VALUES {}",
                rows.join(",")
            ))?;
        }
        Ok(())
    }

    fn is(&self, number: u32) -> String {
        format!("({}) = ({})", self.key, (self.values)(number))
    }

    fn moved(&self, number: u32) -> String {
        let values = (self.values)(number);
        let pairs = self.key.split(", ").zip(values.split(", "));
        let set: Vec<String> = pairs
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        set.join(", ")
    }

    /// A change, or some in one transaction.
    fn change(&self, rng: &mut StdRng, depth: u32) -> String {
        let mut number = || rng.random_range(0..ROWS * 11 / 10);
        let (one, other) = (number(), number());
        let value = rng.random_range(0..1_000_000);
        match rng.random_range(0..if depth == 0 { 10 } else { 7 }) {
            0 | 1 => format!("UPDATE shop.T SET n = {value} WHERE {};", self.is(one)),
            2 => format!("DELETE FROM shop.T WHERE {};", self.is(one)),
            3 | 4 => format!(
                "REPLACE INTO shop.T VALUES ({}, 'new, \"x\"', {value});",
                (self.values)(one)
            ),
            5 | 6 => format!(
                "UPDATE IGNORE shop.T SET {} WHERE {};",
                self.moved(other),
                self.is(one)
            ),
            end => {
                let changes: String = (0..rng.random_range(1..6))
                    .map(|_| self.change(rng, depth + 1))
                    .collect();
                let end = if end == 7 { "ROLLBACK" } else { "COMMIT" };
                format!("BEGIN; {changes} {end};")
            }
        }
    }
}

/// Changes the table until it is told to stop.
pub(super) fn write(server: &Server, shape: &Shape, seed: u64, stop: &AtomicBool) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let script: String = (0..20).map(|_| shape.change(&mut rng, 0)).collect();
        // A deadlock ends a script, and what it had open is rolled back.
        if let Err(error) = server.sql(&script) {
            ensure!(error.to_string().contains("eadlock"), "{error:#}");
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Newest {
    sequence: i64,
    operation: String,
    row: String,
}

/// The newest line of each key, and how many were read. None may have been read twice.
fn newest(data: &Path, key_len: usize) -> Result<(BTreeMap<String, Newest>, usize)> {
    let mut newest: BTreeMap<String, Newest> = BTreeMap::new();
    let (mut read, mut places) = (BTreeSet::new(), BTreeSet::new());
    for path in files_below(data, ".gz")? {
        let text = gunzip(&path)?;
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes());
        for record in reader.records() {
            let record = record?;
            let fields: Vec<&str> = record.iter().collect();
            let [row @ .., operation, position, ordinal, sequence] = &fields[..] else {
                anyhow::bail!("{record:?}");
            };
            let key = row[..key_len].join(",");
            let sequence: i64 = sequence.parse()?;
            let place = ((*position).to_owned(), (*ordinal).to_owned());
            ensure!(places.insert(place), "twice: {record:?}");
            if *operation == "R" {
                ensure!(read.insert(key.clone()), "read twice: {record:?}");
            }
            let line = Newest {
                sequence,
                operation: (*operation).to_owned(),
                row: row.join(","),
            };
            match newest.get(&key) {
                Some(known) if known.sequence > sequence => {}
                // What is read where a row was changed last is as that has left it.
                Some(known) if known.sequence == sequence => {
                    let is_read = [&known.operation, &line.operation]
                        .iter()
                        .any(|it| *it == "R");
                    ensure!(is_read && known.row == line.row, "{known:?} and {line:?}");
                }
                Some(_) | None => {
                    newest.insert(key, line);
                }
            }
        }
    }
    newest.retain(|_, line| line.operation != "D");
    Ok((newest, read.len()))
}

/// That the newest lines are the table. Gives how many rows were read.
fn ensure_equal(server: &Server, shape: &Shape, data: &Path) -> Result<usize> {
    let key: Vec<&str> = shape.key.split(", ").collect();
    let is_bytes = shape.columns.contains("BINARY");
    let shown = key.iter().map(|name| {
        if is_bytes {
            format!("HEX({name})")
        } else {
            (*name).to_owned()
        }
    });
    let columns: Vec<String> = shown.chain(["v".to_owned(), "n".to_owned()]).collect();
    let text = server.sql(&format!(
        "SET NAMES utf8mb4; SELECT CONCAT_WS(',', {}) FROM shop.T",
        columns.join(", ")
    ))?;
    let expected: BTreeSet<&str> = text.lines().collect();
    let (newest, read) = newest(data, key.len())?;
    let found: BTreeSet<&str> = newest.values().map(|line| line.row.as_str()).collect();
    let differing: Vec<_> = expected.symmetric_difference(&found).take(6).collect();
    ensure!(
        differing.is_empty(),
        "{} rows, {} found, {read} read: {differing:?}",
        expected.len(),
        found.len()
    );
    Ok(read)
}

pub(super) const CHANGED: &str = "name = \"shop.T\"\nbackfill = true\nevents = [\"insert\", \"update\", \"delete\"]\n\
                       metadata = [\"position\", \"ordinal\", \"sequence\"]";

/// Kills of each agent, in `make torture` a tenth of `TORTURE_KILLS`.
fn kills() -> Result<u32> {
    Ok(variable("TORTURE_KILLS")?.map_or(5, |kills: u32| kills / 10))
}

/// An agent that reads and follows a table into its directory `data`, so slowly that it is changed meanwhile and killed
/// so often.
pub(super) fn workplace(server: &Server, table: &str, kills: u32) -> Result<Workplace> {
    let rate = 40_000 / kills.max(5);
    backfill::workplace(server, table, SOON, &format!("rows_per_second = {rate}"))
}

/// Has all writers write, each with its number.
pub(super) fn write_beside(write: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let write = &write;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || write(writer)))
            .collect();
        for writer in writers {
            writer.join().ok().context("a writer panicked")??;
        }
        Ok(())
    })
}

fn a_table_is_read_while_it_changes(kind: Kind) -> Result<()> {
    let kills = kills()?;
    for (number, shape) in SHAPES.iter().enumerate() {
        let server = Server::start(kind, &[])?;
        server.sql("CREATE DATABASE shop")?;
        shape.create(&server)?;
        let workplace = workplace(&server, CHANGED, kills)?;
        let written = workplace.drain_with_kills(kills as usize, 100..900, |stop| {
            write_beside(|writer| write(&server, shape, number as u64 * 100 + writer, stop))
        });
        written?;
        let read = ensure_equal(&server, shape, &workplace.path("data"))?;
        ensure!(read > ROWS as usize / 10, "{read} rows were read");
    }
    Ok(())
}

#[test]
fn a_table_is_read_while_it_changes_on_mysql() -> Result<()> {
    a_table_is_read_while_it_changes(Kind::Mysql)
}

#[test]
fn a_table_is_read_while_it_changes_on_mariadb() -> Result<()> {
    a_table_is_read_while_it_changes(Kind::Mariadb)
}

#[test]
fn a_table_is_read_while_it_changes_on_mariadb_11() -> Result<()> {
    a_table_is_read_while_it_changes(Kind::Mariadb11)
}

/// The binlog has a transaction long before a SELECT sees it: what was followed must be waited for.
#[test]
fn a_select_waits_for_what_was_followed() -> Result<()> {
    let slow = ["--sync-binlog=0", "--binlog-group-commit-sync-delay=200000"];
    let server = Server::start(Kind::Mysql, &slow)?;
    server.sql("CREATE DATABASE shop")?;
    let shape = &SHAPES[0];
    shape.create(&server)?;
    let workplace = workplace(&server, CHANGED, 0)?;
    let agent = workplace.start()?;
    // Each part is touched while it is read: 1,600 rows a part, of 12,000.
    for round in 0..8 {
        server.sql(&format!(
            "UPDATE shop.T SET n = {round} WHERE id % 7 = {}",
            round % 7
        ))?;
    }
    ensure!(agent.terminate()?.success(), "it did not stop well");
    workplace.drain()?;
    let read = ensure_equal(&server, shape, &workplace.path("data"))?;
    ensure!(read > 0, "nothing was read");
    Ok(())
}

/// No lock but a reader's, and nothing written.
#[test]
fn reading_takes_no_lock_and_writes_nothing() -> Result<()> {
    const LOCKS: &str = "SELECT DISTINCT LOCK_TYPE FROM performance_schema.metadata_locks WHERE OBJECT_SCHEMA = 'shop' \
                         UNION SELECT LOCK_MODE FROM performance_schema.data_locks;";
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let (arguments, executed): (&[&str], _) = match kind {
            Kind::Mysql => (
                &["--performance-schema=ON"],
                "SELECT @@GLOBAL.gtid_executed",
            ),
            Kind::Mariadb | Kind::Mariadb11 => (&[], "SELECT @@GLOBAL.gtid_binlog_pos"),
        };
        let server = Server::start(kind, arguments)?;
        server.sql("CREATE DATABASE shop")?;
        SHAPES[0].create(&server)?;
        let before = server.sql(executed)?;
        let workplace = workplace(&server, CHANGED, 0)?;
        let mut seen = BTreeSet::new();
        let mut agent = workplace.start_with(&["--until", "now"])?;
        let status = loop {
            if let Some(status) = agent.status()? {
                break status;
            }
            if kind == Kind::Mysql {
                // Each is there for the milliseconds of one SELECT.
                let looks = server.sql(&LOCKS.repeat(200))?;
                seen.extend(looks.lines().map(str::to_owned));
            }
        };
        ensure!(status.success(), "{status}: {}", agent.log());
        ensure!(
            server.sql(executed)? == before,
            "{kind:?}: something was written"
        );
        let wanted: BTreeSet<String> = match kind {
            Kind::Mysql => ["SHARED_READ".to_owned()].into(),
            Kind::Mariadb | Kind::Mariadb11 => BTreeSet::new(),
        };
        ensure!(seen == wanted, "{seen:?}");
    }
    Ok(())
}

/// A change of a table whose rows have numbers of their own, which nothing changes.
fn change_of_numbered(rng: &mut StdRng, next: &mut u64, depth: u32) -> String {
    let mut id = || rng.random_range(0..ROWS * 2);
    let (one, other) = (id(), id());
    *next += 1;
    match rng.random_range(0..if depth == 0 { 12 } else { 9 }) {
        0 => format!("UPDATE shop.N SET n = n + 1 WHERE id = {one};"),
        1 => format!("DELETE FROM shop.N WHERE id = {one};"),
        2 | 3 => format!("INSERT IGNORE INTO shop.N VALUES ({one}, {next}, 0);"),
        4 => format!("INSERT INTO shop.N (birth, n) VALUES ({next}, 0);"),
        5 => format!(
            "INSERT IGNORE INTO shop.N VALUES ({one}, {next}, 1), ({other}, {next} + 500000000, 1);"
        ),
        6 => format!("UPDATE shop.N SET n = n + 1 WHERE id BETWEEN {one} AND {one} + 20;"),
        7 | 8 => format!("UPDATE IGNORE shop.N SET id = {other} WHERE id = {one};"),
        end => {
            let changes: String = (0..rng.random_range(1..6))
                .map(|_| change_of_numbered(rng, next, depth + 1))
                .collect();
            let end = if end == 9 { "ROLLBACK" } else { "COMMIT" };
            format!("BEGIN; {changes} {end};")
        }
    }
}

/// Changes the table until it is told to stop.
fn write_numbered(server: &Server, writer: u64, stop: &AtomicBool) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(writer);
    let mut next = (writer + 1) * BEFORE;
    while !stop.load(Ordering::Relaxed) {
        let changes = (0..20).map(|_| change_of_numbered(&mut rng, &mut next, 0));
        if let Err(error) = server.sql(&changes.collect::<String>()) {
            ensure!(error.to_string().contains("eadlock"), "{error:#}");
        }
    }
    Ok(())
}

/// Rows that are there before have smaller numbers.
const BEFORE: u64 = 1_000_000_000;

/// Of a table of which only inserts are followed, each row comes once, wherever it moves.
fn each_row_comes_once(kind: Kind) -> Result<()> {
    let kills = kills()?;
    let server = Server::start(kind, &[])?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.N (id BIGINT PRIMARY KEY AUTO_INCREMENT, birth BIGINT NOT NULL, n INT)",
    )?;
    for from in (0..ROWS).step_by(1_000) {
        let rows: Vec<String> = (from..from + 1_000)
            .map(|number| format!("({}, {number}, 0)", number * 2 + 1))
            .collect();
        server.sql(&format!("INSERT INTO shop.N VALUES {}", rows.join(",")))?;
    }
    let table = "name = \"shop.N\"\nbackfill = true\nmetadata = [\"operation\"]";
    let workplace = workplace(&server, table, kills)?;
    workplace.drain_with_kills(kills as usize, 100..900, |stop| {
        write_beside(|writer| write_numbered(&server, writer, stop))
    })?;
    let mut delivered: BTreeMap<u64, char> = BTreeMap::new();
    for path in files_below(&workplace.path("data"), ".gz")? {
        for line in gunzip(&path)?.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let birth: u64 = fields[1].parse()?;
            let operation = fields[3].chars().next().context("no operation")?;
            let twice = delivered.insert(birth, operation);
            ensure!(twice.is_none(), "{line} came before as {twice:?}");
            ensure!(
                (birth < BEFORE) == (operation == 'R') || operation == 'R',
                "{line}"
            );
        }
    }
    let alive = server.sql("SELECT birth FROM shop.N")?;
    ensure_none_missing(&alive, |birth| delivered.contains_key(&birth))?;
    let read = delivered.values().filter(|it| **it == 'R').count();
    ensure!(read > ROWS as usize / 4, "{read} rows were read");
    Ok(())
}

#[test]
fn each_row_comes_once_on_mysql() -> Result<()> {
    each_row_comes_once(Kind::Mysql)
}

#[test]
fn each_row_comes_once_on_mariadb() -> Result<()> {
    each_row_comes_once(Kind::Mariadb)
}

#[test]
fn each_row_comes_once_on_mariadb_11() -> Result<()> {
    each_row_comes_once(Kind::Mariadb11)
}

/// Values of masked and excluded columns are nowhere, and masked ones are as those of changes.
#[test]
fn what_is_masked_is_masked_when_it_is_read() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb, Kind::Mariadb11] {
        let server = Server::start(kind, &[])?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.P (id INT PRIMARY KEY, mail VARCHAR(40), phone VARCHAR(20), ssn CHAR(20), \
             kind ENUM('secretA', 'secretB')); INSERT INTO shop.P VALUES (1, 'marked@mail', 'marked555', 'marked-ssn', 'secretB'), \
             (2, NULL, '', NULL, NULL)",
        )?;
        let workplace = Workplace::new("")?;
        let sink = format!("path = \"{}\"", workplace.path("data").display());
        let section = "name = \"shop.P\"\nbackfill = true\nexclude_columns = [\"ssn\"]\n\
                       mask = { mail = \"sha256\", phone = \"redact\", kind = \"truncate:6\" }";
        let text = config(&server, section, &sink).replace("earliest", "latest");
        workplace.configure(&format!("mask.salt = \"0123456789abcdef0123\"\n{text}"))?;
        let output = workplace.run(&["--until", "now"])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // The same rows once more, as changes.
        server.sql("INSERT INTO shop.P SELECT id + 10, mail, phone, ssn, kind FROM shop.P")?;
        let output = workplace.run(&["--until", "now"])?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut lines: Vec<String> = Vec::new();
        for path in files_below(&workplace.path("data"), ".gz")? {
            lines.extend(gunzip(&path)?.lines().map(str::to_owned));
        }
        let of = |id: &str| {
            let line = lines
                .iter()
                .find(|line| line.starts_with(&format!("{id},")));
            line.map(|line| line[id.len()..].to_owned())
        };
        ensure!(
            lines.len() == 4 && of("1") == of("11") && of("2") == of("12"),
            "{lines:?}"
        );
        ensure!(
            of("1").is_some_and(|line| line.ends_with(",***,secret")),
            "{lines:?}"
        );
        let checkpoint = workplace.checkpoint()?.to_string();
        let all = format!(
            "{}{checkpoint}{}",
            lines.join(""),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(!all.contains("marked"), "{all}");
    }
    Ok(())
}
