//! The newest line of each key is the table as it is, for random histories of each kind of key, read back from
//! objects that an agent has written which was killed at random moments.

mod shapes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::setup::agent::{Workplace, files_below, gunzip};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use crate::types::oracle::{Field, NULL, split};
use shapes::{DEFAULTS, Table};
use testkit::servers::{Kind, Server};

/// Tables of each server and setting; each has a history of its own.
const TABLES: usize = 20;
/// Statements or transactions of each table.
const STEPS: usize = 24;
/// Connections that make the history, one after the other.
const CONNECTIONS: usize = 8;

type Row = Vec<Option<String>>;

/// How often each row is there.
type Rows = BTreeMap<Row, i64>;

/// A line as a reader has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    row: Row,
    operation: String,
    /// The number of the transaction, and that of the line in it and its table.
    place: (u64, u64),
    absent: Vec<String>,
}

/// The lines of a table, by their sequence.
type Lines = BTreeMap<i64, Line>;

fn follow(server: &Server, tables: &[Table]) -> Result<Workplace> {
    let section = |table: &Table| {
        format!(
            "name = \"shop.{}\"\nevents = [\"insert\", \"update\", \"delete\"]\ndialect = \"{}\"\n\
             before_image = {}\nmetadata = [\"position\", \"ordinal\", \"absent\", \"sequence\"]",
            table.name, table.dialect, table.has_before_image
        )
    };
    let tables: Vec<String> = tables.iter().map(section).collect();
    Workplace::into_directory(server, &tables, "flush_interval = \"5ms\"")
}

/// The fields of each line of a table's objects; those of a row that was delivered twice are there once.
fn fields(data: &Path, table: &Table) -> Result<BTreeSet<Row>> {
    let folder = data.join(format!("shop.{}", table.name));
    let mut lines = BTreeSet::new();
    if !folder.exists() {
        return Ok(lines);
    }
    for path in files_below(&folder, ".gz")? {
        let text = gunzip(&path)?;
        if table.dialect == "jsonl" {
            for line in text.lines() {
                lines.insert(json_fields(line, table)?);
            }
        } else {
            for record in split(text.as_bytes())? {
                let text = |field: Field| {
                    let is_null = field == NULL;
                    let text = String::from_utf8(field.text)?;
                    Ok::<_, anyhow::Error>((!is_null).then_some(text))
                };
                let record = record.into_iter().map(text);
                lines.insert(record.collect::<Result<Row>>()?);
            }
        }
    }
    Ok(lines)
}

fn json_fields(line: &str, table: &Table) -> Result<Row> {
    let mut object: BTreeMap<String, serde_json::Value> = serde_json::from_str(line)?;
    let metadata = ["operation", "position", "ordinal", "absent", "sequence"];
    let names = table.columns().into_iter().chain(metadata);
    let value = |name: &str| match object.remove(name).context("a key is missing")? {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(text)),
        other => Ok(Some(other.to_string())),
    };
    let row = names.map(value).collect::<Result<Row>>()?;
    ensure!(object.is_empty(), "{line}");
    Ok(row)
}

fn lines(fields: BTreeSet<Row>, table: &Table) -> Result<Lines> {
    let count = table.columns().len();
    let mut lines = Lines::new();
    for mut row in fields {
        ensure!(row.len() == count + 5, "{row:?}");
        let metadata = row.split_off(count);
        let [operation, position, ordinal, absent, sequence] = &metadata[..] else {
            anyhow::bail!("{metadata:?}");
        };
        let (position, ordinal) = (position.as_ref(), ordinal.as_ref());
        let number = position.and_then(|gtid| gtid.rsplit([':', '-']).next());
        let line = Line {
            row,
            operation: operation.clone().context("no operation")?,
            place: (
                number.context("no position")?.parse()?,
                ordinal.context("no ordinal")?.parse()?,
            ),
            absent: absent.as_ref().map_or_else(Vec::new, |names| {
                names.split(',').map(str::to_owned).collect()
            }),
        };
        let sequence = sequence.as_ref().context("no sequence")?.parse()?;
        let twice = lines.insert(sequence, line);
        ensure!(twice.is_none(), "{sequence} has two lines: {twice:?}");
    }
    Ok(lines)
}

/// Numbers are of one line each, over all tables, and grow as the binlog does.
fn are_in_order(tables: &[(&Table, Lines)]) -> Result<()> {
    let mut all = BTreeMap::new();
    for (table, lines) in tables {
        for (sequence, line) in lines {
            let twice = all.insert(*sequence, (line.place.0, &table.name, line.place.1));
            ensure!(twice.is_none(), "{sequence} has two lines");
        }
    }
    let (mut newest, mut ordinals) = (0, BTreeMap::new());
    for (transaction, table, ordinal) in all.into_values() {
        ensure!(transaction >= newest, "{transaction} behind {newest}");
        if transaction > newest {
            ordinals.clear();
        }
        newest = transaction;
        let expected = ordinals.entry(table).or_insert(0);
        ensure!(ordinal == *expected, "{table}: {ordinal} in {transaction}");
        *expected += 1;
    }
    Ok(())
}

/// Gives columns that are absent the values that docs/updates-and-deletes.md says they have: those of the row that was changed,
/// which is that of the line before if it was moved to another key; of an insert their defaults.
fn merge(lines: Lines, table: &Table) -> Result<Lines> {
    let columns = table.columns();
    let mut rows: BTreeMap<Row, Row> = BTreeMap::new();
    let mut deleted = None;
    let mut merged = Lines::new();
    for (sequence, mut line) in lines {
        let key = table.key_of(&line.row);
        let is_update = line.operation == "U";
        let before = match rows.remove(&key) {
            None if is_update => deleted.take(),
            before => before.filter(|_| table.has_key()),
        };
        deleted = None;
        for (index, name) in columns.iter().enumerate() {
            if !line.absent.iter().any(|absent| absent == name) {
                continue;
            }
            ensure!(line.row[index].is_none(), "{line:?}");
            line.row[index] = if line.operation == "I" {
                DEFAULTS
                    .iter()
                    .find(|(column, _)| column == name)
                    .and_then(|(_, value)| value.map(str::to_owned))
            } else {
                before.as_ref().with_context(|| format!("{line:?}"))?[index].clone()
            };
        }
        match line.operation.as_str() {
            "D" => deleted = before,
            "B" => drop(rows.insert(key, before.unwrap_or_else(|| line.row.clone()))),
            _ => drop(rows.insert(key, line.row.clone())),
        }
        merged.insert(sequence, line);
    }
    Ok(merged)
}

/// Of each key the row of the newest line, unless it was deleted.
fn latest(lines: &Lines, table: &Table) -> Rows {
    let mut newest: BTreeMap<Row, (i64, &Line)> = BTreeMap::new();
    for (sequence, line) in lines {
        let known = newest.entry(table.key_of(&line.row)).or_insert((0, line));
        if *sequence > known.0 {
            *known = (*sequence, line);
        }
    }
    let lines = newest.into_values().map(|(_, line)| line);
    let there = lines.filter(|line| line.operation != "D");
    there.map(|line| (line.row.clone(), 1)).collect()
}

/// Without a key: the rows that have come more often than they have gone.
fn counted(lines: &Lines) -> Rows {
    let mut rows = Rows::new();
    for line in lines.values() {
        let comes = matches!(line.operation.as_str(), "I" | "U");
        *rows.entry(line.row.clone()).or_default() += if comes { 1 } else { -1 };
    }
    rows.retain(|_, count| *count != 0);
    rows
}

fn selected(server: &Server, table: &Table) -> Result<Rows> {
    let columns = table.columns().join(", ");
    let text = server.sql(&format!("SELECT {columns} FROM shop.{}", table.name))?;
    let mut rows = Rows::new();
    for line in text.lines() {
        let field = |field: &str| (field != "NULL").then(|| field.to_owned());
        *rows
            .entry(line.split('\t').map(field).collect())
            .or_default() += 1;
    }
    Ok(rows)
}

/// Gives the fields of the table's lines.
fn check(server: &Server, table: &Table, log: &str, data: &Path) -> Result<BTreeSet<Row>> {
    let is_told = log.contains(&format!("shop.{}: no primary key is known", table.name));
    ensure!(is_told != table.has_key(), "{log}");
    let fields = fields(data, table)?;
    let lines = lines(fields.clone(), table)?;
    ensure!(lines.len() > STEPS / 4, "{} lines", lines.len());
    let merged = merge(lines, table)?;
    let found = if table.has_key() {
        latest(&merged, table)
    } else {
        counted(&merged)
    };
    let expected = selected(server, table)?;
    ensure!(
        found == expected,
        "{found:?} is not {expected:?}: {merged:#?}"
    );
    Ok(fields)
}

fn setting(
    server: &Server,
    number: usize,
    image: &str,
    metadata: &str,
    rng: &mut StdRng,
) -> Result<()> {
    server.sql(&format!(
        "SET GLOBAL binlog_row_image = '{image}'; SET GLOBAL binlog_row_metadata = '{metadata}'"
    ))?;
    let name = |index| format!("T{number}_{index}");
    let tables: Vec<Table> = (0..TABLES)
        .map(|index| Table::new(server.kind(), image, name(index), index))
        .collect();
    let create: String = tables.iter().map(Table::create).collect();
    server.sql(&format!("USE shop;\n{create}"))?;
    let scripts: Vec<String> = (0..CONNECTIONS)
        .map(|_| {
            let mut script = String::from("USE shop; SET time_zone = '+00:00';\n");
            for _ in 0..STEPS / CONNECTIONS {
                for table in &tables {
                    script += &table.step(rng);
                }
            }
            script
        })
        .collect();
    let restless = follow(server, &tables)?;
    restless.drain_with_kills(rng.random_range(1..4), 30..700, |_| {
        scripts
            .iter()
            .try_for_each(|script| server.sql(script).map(drop))
    })?;
    let steady = follow(server, &tables)?;
    let output = steady.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{log}");
    let replay = steady.path("replay");
    let config = steady.path("hydrant.toml").display().to_string();
    let out = replay.display().to_string();
    replayed(&binlogs(server)?, &["--config", &config, "--out", &out])?;
    let mut all = Vec::new();
    for table in &tables {
        let lines = check(server, table, &log, &steady.path("data"))
            .and_then(|once| {
                for other in [&restless.path("data"), &replay] {
                    let other = fields(other, table)?;
                    let differs = once.symmetric_difference(&other).next();
                    ensure!(differs.is_none(), "{differs:?}");
                }
                lines(once, table)
            })
            .with_context(|| format!("{image} {metadata} {}", table.create()))?;
        ensure!(image != "FULL" || lines.values().all(|line| line.absent.is_empty()));
        all.push((table, lines));
    }
    are_in_order(&all)
}

/// Each row image with each kind of metadata.
fn newest_lines_are_the_table(kind: Kind) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(crate::types::seed()?);
    let server = Server::start(kind, &[])?;
    server.sql("CREATE DATABASE shop")?;
    let least = match kind {
        Kind::Mysql | Kind::Mariadb11 => "MINIMAL",
        Kind::Mariadb => "NO_LOG",
    };
    let images = ["FULL", "NOBLOB", "MINIMAL"];
    let settings = images
        .iter()
        .flat_map(|image| [(image, "FULL"), (image, least)]);
    for (number, (image, metadata)) in settings.enumerate() {
        setting(&server, number, image, metadata, &mut rng)?;
    }
    Ok(())
}

#[test]
fn the_newest_lines_of_each_key_are_the_table_of_mysql() -> Result<()> {
    newest_lines_are_the_table(Kind::Mysql)
}

#[test]
fn the_newest_lines_of_each_key_are_the_table_of_mariadb() -> Result<()> {
    newest_lines_are_the_table(Kind::Mariadb)
}

#[test]
fn the_newest_lines_of_each_key_are_the_table_of_mariadb_11() -> Result<()> {
    newest_lines_are_the_table(Kind::Mariadb11)
}
