//! Random histories of rows and changes of tables: what comes out with stops and kills at any point is what
//! comes out without any, and what was inserted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::setup::agent::{Workplace, eventually, files_below, gunzip};
use testkit::servers::{Kind, Server};

/// Tables of each server and kind of metadata; each has a history of its own.
const TABLES: usize = 90;
/// After each round the agent that is never stopped has read everything.
const ROUNDS: usize = 4;

/// The lines of a table, by the row's id: each with the columns' names.
type Rows = BTreeMap<u64, BTreeMap<String, String>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// CSV whose columns never change; the table gets others beside them.
    Layout,
    /// JSON with all columns, in versions.
    Versions,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: &'static str,
}

/// A table, its columns at the moment, and what was inserted so far.
struct Table {
    name: String,
    kept: Kept,
    /// Whether it has columns that the server must be asked about even if table maps have names, so that
    /// there must be no two changes between which nobody has asked.
    has_doubles: bool,
    columns: Vec<Column>,
    inserted: Rows,
    next_id: u64,
    next_column: u32,
}

impl Table {
    fn new(index: usize) -> Self {
        let column = |(name, kind): (&str, &'static str)| Column {
            name: name.to_owned(),
            kind,
        };
        let has_doubles = index % 4 < 2;
        let third = if has_doubles {
            "double(12,2)"
        } else {
            "varchar(40)"
        };
        let columns = [("a", "varchar(40)"), ("b", "varchar(40)"), ("d", third)];
        Self {
            name: format!("T{index}"),
            kept: if index.is_multiple_of(2) {
                Kept::Layout
            } else {
                Kept::Versions
            },
            has_doubles,
            columns: columns.map(column).to_vec(),
            inserted: Rows::new(),
            next_id: 1,
            next_column: 0,
        }
    }

    fn create(&self) -> String {
        let mut columns = String::from("id bigint NOT NULL");
        for column in &self.columns {
            let _ = write!(columns, ", `{}` {}", column.name, column.kind);
        }
        format!("CREATE TABLE shop.{} ({columns});\n", self.name)
    }

    fn section(&self) -> String {
        let keys = match self.kept {
            Kept::Layout => "dialect = \"csv\"",
            Kept::Versions => "dialect = \"jsonl\"\non_schema_change = \"version\"",
        };
        format!("name = \"shop.{}\"\n{keys}", self.name)
    }

    /// Text tells which column of which row it is, so that one that has moved is seen.
    fn insert(&mut self, rng: &mut StdRng) -> String {
        let id = self.next_id;
        self.next_id += 1;
        let mut written = BTreeMap::from([("id".to_owned(), id.to_string())]);
        let (mut names, mut values) = ("id".to_owned(), id.to_string());
        for column in &self.columns {
            let (value, text) = match column.kind {
                "double(12,2)" => (format!("{id}.25"), format!("{id}.25")),
                "double" => (format!("{id}.0625"), format!("{id}.0625")),
                "int" | "bigint" => (id.to_string(), id.to_string()),
                _ => (
                    format!("'{}-{id}'", column.name),
                    format!("{}-{id}", column.name),
                ),
            };
            let _ = write!(names, ", `{}`", column.name);
            let _ = write!(values, ", {value}");
            written.insert(column.name.clone(), text);
        }
        if self.kept == Kept::Layout {
            written.retain(|name, _| ["id", "a", "b", "d"].contains(&name.as_str()));
        }
        self.inserted.insert(id, written);
        let statement = format!(
            "INSERT INTO shop.{} ({names}) VALUES ({values});\n",
            self.name
        );
        if rng.random_bool(0.2) {
            format!("BEGIN;\n{statement}COMMIT;\n")
        } else {
            statement
        }
    }

    fn place(&self, rng: &mut StdRng) -> String {
        match rng.random_range(0..3) {
            0 => " FIRST".to_owned(),
            1 => String::new(),
            _ => format!(
                " AFTER `{}`",
                self.columns.choose(rng).map_or("id", |column| &column.name)
            ),
        }
    }

    fn add(&mut self, rng: &mut StdRng) -> String {
        let kinds = ["varchar(40)", "int", "text", "double(12,2)", "double"];
        let kinds = if self.has_doubles {
            &kinds[..]
        } else {
            &kinds[..3]
        };
        let kind = *kinds.choose(rng).unwrap_or(&"int");
        self.next_column += 1;
        let name = format!("n{}", self.next_column);
        let place = self.place(rng);
        let statement = format!(
            "ALTER TABLE shop.{} ADD COLUMN {name} {kind}{place};\n",
            self.name
        );
        self.columns.push(Column { name, kind });
        statement
    }

    /// A change of the table that leaves rows alone, and with [`Kept::Layout`] the lines, too.
    fn change(&mut self, rng: &mut StdRng) -> String {
        let table = format!("shop.{}", self.name);
        let free: Vec<usize> = (0..self.columns.len())
            .filter(|index| {
                self.kept == Kept::Versions || self.columns[*index].name.starts_with('n')
            })
            .collect();
        let picked = free.choose(rng).copied();
        match (rng.random_range(0..9), picked) {
            (0 | 1, _) | (2..=4, None) => self.add(rng),
            (2, Some(index)) if self.columns.len() > 1 => {
                let column = self.columns.remove(index);
                format!("ALTER TABLE {table} DROP COLUMN `{}`;\n", column.name)
            }
            (3, Some(index)) => {
                self.next_column += 1;
                let name = format!("n{}", self.next_column);
                let old = std::mem::replace(&mut self.columns[index].name, name.clone());
                format!("ALTER TABLE {table} RENAME COLUMN `{old}` TO `{name}`;\n")
            }
            (4, Some(index)) => {
                let column = &mut self.columns[index];
                column.kind = match column.kind {
                    "double(12,2)" => "double",
                    "int" if self.has_doubles => "double(12,2)",
                    "int" => "bigint",
                    "bigint" => "int",
                    _ => "text",
                };
                format!(
                    "ALTER TABLE {table} MODIFY COLUMN `{}` {};\n",
                    column.name, column.kind
                )
            }
            (5 | 6, _) => {
                let column = self.columns.choose(rng).cloned();
                let place = self.place(rng);
                let column = column.filter(|column| !place.contains(&format!("`{}`", column.name)));
                column.map_or_else(String::new, |Column { name, kind }| {
                    format!("ALTER TABLE {table} MODIFY COLUMN `{name}` {kind}{place};\n")
                })
            }
            (7, _) => format!("ALTER TABLE {table} COMMENT = 'c{}';\n", self.next_id),
            _ => format!("ANALYZE TABLE {table};\nFLUSH TABLES;\n"),
        }
    }

    /// Rows, perhaps a change, and at least one row behind it. Without names in table maps the server must
    /// be asked between two changes.
    fn round(&mut self, may_change: bool, is_named: bool, rng: &mut StdRng) -> String {
        let mut text = String::new();
        let changes = match (may_change, is_named && !self.has_doubles) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => rng.random_range(0..4),
        };
        for _ in 0..changes {
            for _ in 0..rng.random_range(0..3) {
                text += &self.insert(rng);
            }
            text += &self.change(rng);
        }
        for _ in 0..rng.random_range(1..3) {
            text += &self.insert(rng);
        }
        text
    }
}

fn follow(server: &Server, tables: &[Table]) -> Result<Workplace> {
    let tables: Vec<String> = tables.iter().map(Table::section).collect();
    Workplace::into_directory(server, &tables, "flush_interval = \"20ms\"")
}

/// The lines that a table's objects have.
fn lines(workplace: &Workplace, table: &Table) -> Result<BTreeSet<String>> {
    let folder = workplace.path("data").join(format!("shop.{}", table.name));
    let mut lines = BTreeSet::new();
    if folder.exists() {
        for path in files_below(&folder, ".gz")? {
            let text = gunzip(&path)?;
            let version = version_of(&path);
            lines.extend(text.lines().map(|line| format!("{version}{line}")));
        }
    }
    Ok(lines)
}

fn version_of(path: &Path) -> String {
    let parts = path.iter().map(|part| part.to_string_lossy());
    let mut versions = parts.filter(|part| part.starts_with("v="));
    versions
        .next()
        .map_or_else(String::new, |version| format!("{version} "))
}

/// What the lines say, by their ids.
fn rows(table: &Table, lines: &BTreeSet<String>) -> Result<Rows> {
    let mut rows = Rows::new();
    for line in lines {
        let row: BTreeMap<String, String> = match table.kept {
            Kept::Layout => ["id", "a", "b", "d"]
                .iter()
                .zip(line.split(','))
                .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
                .collect(),
            Kept::Versions => {
                let (_, object) = line.split_once(' ').context("no version")?;
                let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(object)?;
                let text = |value: serde_json::Value| match value {
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                object
                    .into_iter()
                    .map(|(name, value)| (name, text(value)))
                    .collect()
            }
        };
        let id: u64 = row["id"].parse()?;
        let twice = rows.insert(id, row);
        ensure!(
            twice.is_none(),
            "{}: id {id} has two lines that differ",
            table.name
        );
    }
    Ok(rows)
}

fn has_all(workplace: &Workplace, tables: &[Table]) -> Result<bool> {
    for table in tables {
        if lines(workplace, table)?.len() < table.inserted.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Starts the agent again and again, and kills it after a moment; then lets it finish.
fn drain_with_kills(workplace: &Workplace, rng: &mut StdRng) -> Result<()> {
    for _ in 0..rng.random_range(0..4) {
        workplace.start_and_kill(0..1500)?;
    }
    workplace.drain().map(drop)
}

fn histories(kind: Kind, metadata: &str) -> Result<()> {
    let seed = crate::types::seed()?;
    let mut rng = StdRng::seed_from_u64(seed);
    let is_named = metadata == "FULL";
    let server = Server::start(
        kind,
        &["--sql-mode=", &format!("--binlog-row-metadata={metadata}")],
    )?;
    let mut tables: Vec<Table> = (0..TABLES).map(Table::new).collect();
    let create: String = tables.iter().map(Table::create).collect();
    server.sql(&format!("CREATE DATABASE shop;\n{create}"))?;
    let (steady, restless) = (follow(&server, &tables)?, follow(&server, &tables)?);
    let agent = steady.start()?;
    for round in 0..ROUNDS {
        let mut text = String::new();
        for table in &mut tables {
            text += &table.round(round > 0, is_named, &mut rng);
        }
        server.sql(&text)?;
        eventually("everything is delivered", || {
            Ok(has_all(&steady, &tables)?.then_some(()))
        })
        .with_context(|| agent.log())?;
        drain_with_kills(&restless, &mut rng)?;
        for table in &tables {
            let (one, other) = (lines(&steady, table)?, lines(&restless, table)?);
            ensure!(
                one == other,
                "{}: {:?}",
                table.name,
                one.symmetric_difference(&other)
            );
            let written = rows(table, &one)?;
            ensure!(
                written == table.inserted,
                "{}: {written:?} is not {:?}",
                table.name,
                table.inserted
            );
        }
    }
    ensure!(agent.terminate()?.success());
    Ok(())
}

#[test]
fn histories_of_mysql_do_not_depend_on_restarts() -> Result<()> {
    histories(Kind::Mysql, "FULL")
}

#[test]
fn histories_of_mysql_without_names_do_not_depend_on_restarts() -> Result<()> {
    histories(Kind::Mysql, "MINIMAL")
}

#[test]
fn histories_of_mariadb_do_not_depend_on_restarts() -> Result<()> {
    histories(Kind::Mariadb, "FULL")
}

#[test]
fn histories_of_mariadb_without_names_do_not_depend_on_restarts() -> Result<()> {
    histories(Kind::Mariadb, "NO_LOG")
}

#[test]
fn histories_of_mariadb_11_do_not_depend_on_restarts() -> Result<()> {
    histories(Kind::Mariadb11, "FULL")
}

#[test]
fn histories_of_mariadb_11_without_names_do_not_depend_on_restarts() -> Result<()> {
    histories(Kind::Mariadb11, "MINIMAL")
}
