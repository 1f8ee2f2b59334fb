//! Every dialect, read back by programs that are not ours and held against SELECT.
//!
//! What does not live here: the readers, which are in `tests/python/readers.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::oracle::{Field, NULL, Numbers, Session};
use super::{columns, fill_types, server, table};
use crate::setup::agent::{Workplace, config, files_below};
use testkit::cache::project;
use testkit::python::python_with_duckdb;
use testkit::servers::{Kind, Server};

const RANDOM_ROWS: usize = 300;

/// The dialects, and how their objects' names end.
const DIALECTS: [(&str, &str); 4] = [
    ("csv", ".csv.gz"),
    ("hive", ".txt.gz"),
    ("opencsv", ".csv.gz"),
    ("jsonl", ".jsonl.gz"),
];

/// What `readers.py` prints: for each reader its rows, with `None` for NULL.
type Found = BTreeMap<String, Vec<Vec<Option<String>>>>;

fn deliver(server: &Server, written: &[String], dialect: &str, folder: &Path) -> Result<()> {
    let table = format!("{}\ndialect = \"{dialect}\"", table("shop.Types", written));
    let sink = format!("type = \"dir\"\npath = \"{}\"", folder.display());
    Workplace::new(&config(server, &table, &sink))?.drain()?;
    Ok(())
}

fn read_back(data: &Path, written: &[String]) -> Result<Found> {
    fs::write(data.join("columns.json"), serde_json::to_string(written)?)?;
    let project = project();
    let output = Command::new(python_with_duckdb()?)
        .arg(project.join("tests/python/readers.py"))
        .arg(data)
        .arg(project.join("docs/types-and-dialects.md"))
        .output()?;
    ensure!(
        output.status.success(),
        "readers.py: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("readers.py printed no rows")
}

fn every_dialect_reads_back(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    let columns = columns::supported(kind);
    let written: Vec<String> = ["id"]
        .into_iter()
        .chain(columns.iter().map(|column| column.name.as_str()))
        .map(str::to_owned)
        .collect();
    fill_types(&mut session, &columns, RANDOM_ROWS)?;
    let data = tempfile::tempdir()?;
    for (dialect, ending) in DIALECTS {
        let folder = data.path().join(dialect);
        deliver(&server, &written, dialect, &folder)?;
        ensure!(!files_below(&folder, ending)?.is_empty(), "no *{ending}");
    }
    let found = read_back(data.path(), &written)?;
    ensure!(found.len() == 7, "{:?}", found.keys());
    for (reader, rows) in found {
        let field = |value: Option<String>| match value {
            None => NULL,
            Some(text) => Field {
                quoted: true,
                text: text.into_bytes(),
            },
        };
        let records: Vec<Vec<Field>> = rows
            .into_iter()
            .map(|row| row.into_iter().map(field).collect())
            .collect();
        let numbers = match reader.as_str() {
            "jsonl by DuckDB" => Numbers::Doubles,
            _ => Numbers::Text,
        };
        let row_count = session
            .compare_records("shop", "Types", Some(&written), &records, numbers)
            .context(reader)?;
        ensure!(row_count >= RANDOM_ROWS);
    }
    Ok(())
}

#[test]
fn every_dialect_of_mysqls_rows_reads_back() -> Result<()> {
    every_dialect_reads_back(Kind::Mysql)
}

#[test]
fn every_dialect_of_mariadbs_rows_reads_back() -> Result<()> {
    every_dialect_reads_back(Kind::Mariadb)
}

#[test]
fn every_dialect_of_mariadb_11s_rows_reads_back() -> Result<()> {
    every_dialect_reads_back(Kind::Mariadb11)
}

/// Readers of JSON take one of two values of the same name, without a word.
#[test]
fn a_metadata_column_is_no_second_key() -> Result<()> {
    let server = server(Kind::Mariadb)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    session.run("CREATE TABLE shop.Jobs (id int, `Position` text)")?;
    session.run("INSERT INTO shop.Jobs VALUES (1, 'clerk')")?;
    let run = |more: &str| {
        let table = format!("name = \"shop.Jobs\"\nmetadata = [\"position\"]\n{more}");
        let workplace = Workplace::new(&config(&server, &table, "type = \"stdout\""))?;
        workplace.run(&["--until", "now"])
    };
    let refused = run("dialect = \"jsonl\"")?;
    let report = String::from_utf8(refused.stderr)?;
    ensure!(refused.status.code() == Some(78), "{report}");
    ensure!(report.contains("metadata column position"), "{report}");
    ensure!(refused.stdout.is_empty());
    ensure!(run("dialect = \"csv\"")?.status.success());
    ensure!(
        run("dialect = \"jsonl\"\ncolumns = [\"id\"]")?
            .status
            .success()
    );
    Ok(())
}
