//! What is written of the same binlogs stays the same, byte for byte, names of objects included: three servers' binlogs
//! with every type, every kind of row image and of transaction, in `tests/data/corpus`, and what each dialect makes of them.
//!
//! `HYDRANT_CORPUS=record` has the binlogs written anew by the servers, and what is made of them; `HYDRANT_CORPUS=lines` only the
//! latter. Who does so says in the commit why lines have changed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::columns::{Column, supported};
use super::oracle::Session;
use super::{interleaved, server, short};
use crate::setup::agent::{Workplace, files_below, gunzip};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use testkit::servers::Kind;

const WHOLE: &str = "csv";
const DIALECTS: [&str; 4] = [WHOLE, "hive", "opencsv", "jsonl"];
const KEYS: &str = "on_schema_change = \"version\"\nevents = [\"insert\", \"update\", \"delete\"]\nbefore_image = true\n\
     metadata = [\"operation\", \"commit_time\", \"position\", \"ordinal\", \"schema_version\", \"absent\", \"sequence\"]";
const RANDOM_ROWS: usize = 8;
const MOST_BOUNDS: usize = 40;
/// Characters of the longest literal.
const MOST_CHARACTERS: usize = 200;

/// Transactions of each kind, on a table with a key.
const COMMON: &[&str] = &[
    "CREATE TABLE shop.Kv (id int PRIMARY KEY, k varchar(20) UNIQUE, n int unsigned, t text)",
    "INSERT INTO shop.Kv VALUES (1, 'a', 1, 'one'), (2, 'b', 4294967295, NULL), (3, NULL, NULL, '')",
    "UPDATE shop.Kv SET id = id + 10 WHERE id < 3",
    "BEGIN; INSERT INTO shop.Kv VALUES (4, 'd', 4, 'four'); SAVEPOINT s; DELETE FROM shop.Kv WHERE id = 3; \
     ROLLBACK TO s; UPDATE shop.Kv SET t = 'vier' WHERE id = 4; COMMIT",
    "BEGIN; INSERT INTO shop.Kv VALUES (5, 'e', 5, 'five'); ROLLBACK",
    "SET SESSION binlog_row_image = 'MINIMAL'; UPDATE shop.Kv SET n = 7 WHERE id = 4; DELETE FROM shop.Kv WHERE id = 3; \
     INSERT INTO shop.Kv (id) VALUES (6); UPDATE shop.Kv SET id = 60 WHERE id = 6; SET SESSION binlog_row_image = 'FULL'",
    "SET SESSION binlog_row_image = 'NOBLOB'; UPDATE shop.Kv SET n = 8 WHERE id = 4; UPDATE shop.Kv SET t = 'x' WHERE id = 4; \
     SET SESSION binlog_row_image = 'FULL'",
    "XA START 'x'; INSERT INTO shop.Kv VALUES (7, 'x', 7, 'xa'); XA END 'x'; XA COMMIT 'x' ONE PHASE",
    "XA START 'y'; INSERT INTO shop.Kv VALUES (8, 'y', 8, 'xa'); XA END 'y'; XA PREPARE 'y'; XA COMMIT 'y'",
    "ALTER TABLE shop.Kv ADD COLUMN more bigint FIRST, DROP COLUMN n",
    "INSERT INTO shop.Kv VALUES (-9, 9, 'i', 'after')",
    "ALTER TABLE shop.Kv MODIFY COLUMN more double",
    "INSERT INTO shop.Kv VALUES (1.5, 10, 'j', 'again'); UPDATE shop.Kv SET more = NULL; DELETE FROM shop.Kv WHERE id = 9",
    "REPLACE INTO shop.Kv VALUES (2.5, 10, 'k', 'replaced')",
    "TRUNCATE TABLE shop.Kv",
];

const MYSQL: &[&str] = &[
    "CREATE TABLE shop.Doc (id int PRIMARY KEY, j json)",
    "INSERT INTO shop.Doc VALUES (1, '{\"a\": [1, 2, {\"b\": \"x\"}], \"long\": \"0123456789 0123456789 0123456789\"}')",
    "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'; UPDATE shop.Doc SET j = JSON_SET(j, '$.a[2].b', 'y'); \
     SET SESSION binlog_row_value_options = ''",
    "SET SESSION binlog_transaction_compression = ON; INSERT INTO shop.Doc VALUES (2, '[]'), (3, 'null'); \
     SET SESSION binlog_transaction_compression = OFF",
];

const MARIADB: &[&str] = &[
    "CREATE TABLE shop.Doc (id int PRIMARY KEY, j varchar(30)) WITH SYSTEM VERSIONING",
    "INSERT INTO shop.Doc VALUES (1, 'a'), (2, 'b')",
    "UPDATE shop.Doc SET j = 'c' WHERE id = 1; UPDATE shop.Doc SET id = 3 WHERE id = 2; DELETE FROM shop.Doc WHERE id = 1",
    "BEGIN; INSERT INTO shop.Doc VALUES (5, 'gone'); CREATE TEMPORARY TABLE shop.Tmp (id int); ROLLBACK",
    "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10; \
     INSERT INTO shop.Doc VALUES (6, REPEAT('z', 30)); SET GLOBAL log_bin_compress = OFF",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/corpus")
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Mysql => "mysql",
        Kind::Mariadb => "mariadb",
        Kind::Mariadb11 => "mariadb11",
    }
}

fn binlog(kind: Kind) -> PathBuf {
    folder().join(format!("{}-binlog.000001.gz", name(kind)))
}

/// All columns that are not passed over between others.
fn columns(kind: Kind) -> (Vec<Column>, Vec<String>) {
    interleaved(kind, supported(kind))
}

fn record(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    session.run("SET time_zone = '+00:00'")?;
    let (all, _) = columns(kind);
    let definitions: Vec<String> = all.iter().map(Column::definition).collect();
    session.run(&format!(
        "CREATE TABLE shop.Types (id bigint PRIMARY KEY, {})",
        definitions.join(", ")
    ))?;
    let is_repeated = |value: &String| value.to_ascii_lowercase().contains("repeat(");
    let is_short = |value: &String| value.len() <= MOST_CHARACTERS && !is_repeated(value);
    // An ENUM has hundreds.
    let bounds = |column: &Column| {
        let bounds = column.bounds().into_iter();
        bounds.filter(is_short).take(MOST_BOUNDS).collect()
    };
    let bounds: Vec<Vec<String>> = all.iter().map(bounds).collect();
    let bounds: Vec<Vec<&str>> = bounds.iter().map(|bounds| short(bounds)).collect();
    let bound_rows = bounds.iter().map(Vec::len).max().unwrap_or(0);
    let mut rng = StdRng::seed_from_u64(20_261_127);
    for number in 0..bound_rows + RANDOM_ROWS {
        let mut statement = format!("INSERT INTO shop.Types VALUES ({number}");
        for (column, bounds) in all.iter().zip(&bounds) {
            let value = match bounds.get(number) {
                Some(bound) => (*bound).to_owned(),
                None => match column.random(bounds, &mut rng) {
                    value if is_short(&value) => value,
                    _ => "NULL".to_owned(),
                },
            };
            write!(statement, ",{value}")?;
        }
        session.run(&format!("{statement})"))?;
    }
    let own = if kind == Kind::Mysql { MYSQL } else { MARIADB };
    for statements in COMMON.iter().chain(own) {
        for statement in statements.split("; ") {
            session
                .run(statement)
                .with_context(|| statement.to_owned())?;
        }
    }
    session.run("FLUSH BINARY LOGS")?;
    let files = binlogs(&server)?;
    let first = files.first().context("no binlog")?;
    let mut file = GzEncoder::new(File::create(binlog(kind))?, Compression::best());
    file.write_all(&fs::read(first)?)?;
    file.finish()?;
    Ok(())
}

/// The objects that a replay makes of the binlog, each behind its name: whole in CSV, of other dialects their length and
/// CRC32, as all of them would be large.
fn objects(kind: Kind, dialect: &str) -> Result<String> {
    let needs_type = |column: &&Column| {
        let mut unclear = ["float(", "double(", "inet", "uuid", "vector"].iter();
        unclear.any(|begin| column.sql_type.to_ascii_lowercase().starts_with(begin))
    };
    let (all, written) = columns(kind);
    let chosen: Vec<String> = written
        .iter()
        .map(
            |name| match all.iter().filter(needs_type).find(|it| it.name == *name) {
                Some(column) => format!("`{name}` {}", column.sql_type),
                None => name.clone(),
            },
        )
        .collect();
    let keys = format!("dialect = \"{dialect}\"\n{KEYS}");
    let workplace = Workplace::new(&format!(
        "[[table]]\nname = \"shop.Types\"\ncolumns = {chosen:?}\n{keys}\n\
         [[table]]\nname = \"shop.Kv\"\n{keys}\n[[table]]\nname = \"shop.Doc\"\n{keys}\n"
    ))?;
    // Objects are named after the file.
    let file = workplace.path("binlog.000001");
    let mut plain = Vec::new();
    GzDecoder::new(File::open(binlog(kind))?).read_to_end(&mut plain)?;
    fs::write(&file, plain)?;
    let (config, out) = (workplace.path("hydrant.toml"), workplace.path("out"));
    let (config, out_text) = (config.display().to_string(), out.display().to_string());
    replayed(
        &[file],
        &["--offline", "--config", &config, "--out", &out_text],
    )?;
    let mut text = String::new();
    for path in files_below(&out, ".gz")? {
        let (object, lines) = (path.strip_prefix(&out)?.display(), gunzip(&path)?);
        if dialect == WHOLE {
            write!(text, "== {object}\n{lines}")?;
        } else {
            let hash = crc32fast::hash(lines.as_bytes());
            writeln!(text, "{object} {} {hash:08x}", lines.len())?;
        }
    }
    Ok(text)
}

fn is_written_as_it_was(kind: Kind) -> Result<()> {
    let record_what = std::env::var("HYDRANT_CORPUS").ok();
    if record_what.as_deref() == Some("record") {
        fs::create_dir_all(folder())?;
        record(kind)?;
    }
    for dialect in DIALECTS {
        let path = folder().join(format!("{}-{dialect}.gz", name(kind)));
        let text = objects(kind, dialect)?;
        if record_what.is_some() {
            let mut file = GzEncoder::new(File::create(&path)?, Compression::best());
            file.write_all(text.as_bytes())?;
            file.finish()?;
        }
        let expected = gunzip(&path)?;
        ensure!(expected.contains("shop.Types"), "{}", path.display());
        for (number, (line, expected)) in (1..).zip(text.lines().zip(expected.lines())) {
            ensure!(
                line == expected,
                "{kind:?} {dialect}, line {number}:\n{line}\n{expected}"
            );
        }
        ensure!(
            text == expected,
            "{kind:?} {dialect}: other lines at the end"
        );
    }
    Ok(())
}

#[test]
fn mysqls_corpus_is_written_as_it_was() -> Result<()> {
    is_written_as_it_was(Kind::Mysql)
}

#[test]
fn mariadbs_corpus_is_written_as_it_was() -> Result<()> {
    is_written_as_it_was(Kind::Mariadb)
}

#[test]
fn mariadb_11s_corpus_is_written_as_it_was() -> Result<()> {
    is_written_as_it_was(Kind::Mariadb11)
}
