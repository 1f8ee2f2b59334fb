//! The README's statements for DuckDB, run as they stand there over what `dir` has written.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config};
use crate::setup::sales::{SALES, sales_table};
use testkit::python::python_with_duckdb;
use testkit::servers::{Kind, Server};

const README: &str = include_str!("../../../README.md");

/// The statement that begins so.
fn statement(beginning: &str) -> Result<&'static str> {
    let blocks = README.split("```sql\n").skip(1);
    let mut blocks = blocks.filter_map(|block| block.split("```").next());
    let found = blocks.find(|block| block.starts_with(beginning));
    found.with_context(|| format!("no {beginning} in the README"))
}

/// What the last of the statements finds in a folder: a line for each row, with tabs.
fn asked(folder: &Path, statements: &[&str]) -> Result<String> {
    const SCRIPT: &str = "import duckdb, sys\n\
        for statement in sys.argv[1:]: found = duckdb.execute(statement)\n\
        for row in found.fetchall(): print(*('NULL' if it is None else it for it in row), sep='\\t')\n";
    let output = Command::new(python_with_duckdb()?)
        .args(["-c", SCRIPT])
        .args(statements)
        .current_dir(folder)
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    Ok(String::from_utf8(output.stdout)?)
}

fn quick_tour() -> Result<&'static str> {
    statement("SELECT * FROM read_csv(")
}

#[test]
fn the_statement_of_the_quick_tour_can_be_pasted() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    server.sql(
        "INSERT INTO shop.Sales VALUES \
         (1, 7, 'Pots, \"large\"', 0.5, 1, '2016-12-31 23:59:59', NULL, '', 'Online Ad')",
    )?;
    let folder = tempfile::tempdir()?;
    let sink = format!("path = \"{}\"", folder.path().join("objects").display());
    Workplace::new(&config(&server, sales_table(), &sink))?.drain()?;
    assert_eq!(
        asked(folder.path(), &[quick_tour()?])?,
        "7\tPots, \"large\"\t0.5\t1\t2016-12-31 23:59:59\tNULL\t\tOnline Ad\n"
    );
    Ok(())
}

/// The statement for the present state, over objects of an agent that was killed.
fn the_present_state_is_the_table(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.kv (id int PRIMARY KEY, v varchar(20))")?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("");
    let table = "name = \"shop.kv\"\nevents = [\"insert\", \"update\", \"delete\"]\nmetadata = [\"sequence\"]";
    let path = folder.join("objects");
    let sink = format!("path = \"{}\"\nflush_interval = \"5ms\"", path.display());
    workplace.configure(&config(&server, table, &sink))?;
    workplace.drain_with_kills(3, 20..500, |_| {
        for n in 0..40 {
            let (one, other, third) = (n % 13, n * 7 % 13, n * 5 % 13);
            server.sql(&format!(
                "USE shop; INSERT IGNORE INTO kv VALUES ({one}, 'a{n}'), ({other}, NULL), ({third}, ''); \
                 UPDATE kv SET v = 'b{n}' WHERE id = {third}; UPDATE IGNORE kv SET id = {other} WHERE id = {one}; \
                 REPLACE INTO kv VALUES ({other}, 'c{n}'); DELETE FROM kv WHERE id = {third}; \
                 INSERT INTO kv VALUES ({other}, 'd') ON DUPLICATE KEY UPDATE v = 'e{n}'; \
                 BEGIN; UPDATE kv SET id = -1 WHERE id = {one}; UPDATE IGNORE kv SET id = {one} WHERE id = {other}; \
                 UPDATE IGNORE kv SET id = {other} WHERE id = -1; COMMIT; UPDATE kv SET id = id + 1 ORDER BY id DESC"
            ))?;
        }
        Ok(())
    })?;
    let (options, _) = quick_tour()?
        .split_once("columns =")
        .context("no columns")?;
    let changes = format!(
        "CREATE VIEW changes AS {options} columns = {{'id': 'INT', 'v': 'VARCHAR', 'operation': 'VARCHAR', \
         'sequence': 'BIGINT'}})"
    );
    let statement = statement("SELECT * EXCLUDE (operation, sequence)")?;
    let found = asked(&folder, &[&changes, statement])?;
    let mut found: Vec<&str> = found.lines().collect();
    let selected = server.sql("SELECT * FROM shop.kv")?;
    let mut expected: Vec<&str> = selected.lines().collect();
    found.sort_unstable();
    expected.sort_unstable();
    ensure!(expected.len() > 3, "{expected:?}");
    assert_eq!(found, expected);
    Ok(())
}

#[test]
fn the_present_state_is_mysqls_table() -> Result<()> {
    the_present_state_is_the_table(Kind::Mysql)
}

#[test]
fn the_present_state_is_mariadbs_table() -> Result<()> {
    the_present_state_is_the_table(Kind::Mariadb)
}

#[test]
fn the_present_state_is_mariadb_11s_table() -> Result<()> {
    the_present_state_is_the_table(Kind::Mariadb11)
}
