//! The documentation: its statements for DuckDB, run as they are written over what `dir` has written, and its links.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config};
use crate::setup::duckdb::asked;
use crate::setup::sales::{SALES, sales_table};
use testkit::cache::project;
use testkit::servers::{Kind, Server};

const README: &str = include_str!("../../../README.md");
const UPDATES: &str = include_str!("../../../docs/updates-and-deletes.md");

/// The statement of a page that begins so.
fn statement(page: &'static str, beginning: &str) -> Result<&'static str> {
    let blocks = page.split("```sql\n").skip(1);
    let mut blocks = blocks.filter_map(|block| block.split("```").next());
    let found = blocks.find(|block| block.starts_with(beginning));
    found.with_context(|| format!("no {beginning} in the page"))
}

fn first_run() -> Result<&'static str> {
    statement(README, "SELECT * FROM read_csv(")
}

#[test]
fn the_statement_of_the_first_run_can_be_pasted() -> Result<()> {
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
        asked(folder.path(), &[first_run()?])?,
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
    let (options, _) = first_run()?.split_once("columns =").context("no columns")?;
    let changes = format!(
        "CREATE VIEW changes AS {options} columns = {{'id': 'INT', 'v': 'VARCHAR', 'operation': 'VARCHAR', \
         'sequence': 'BIGINT'}})"
    );
    let statement = statement(UPDATES, "SELECT * EXCLUDE (operation, sequence)")?;
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

/// The pages that people read.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "bench", "bench/runs", "crates/hydrant-binlog"] {
        for entry in fs::read_dir(project().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "md") {
                pages.push(path);
            }
        }
    }
    Ok(pages)
}

/// The names that GitHub gives to the headings of a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let mut broken = Vec::new();
    for path in pages()? {
        let page = fs::read_to_string(&path)?;
        let targets = page.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
        for target in targets.filter(|target| !target.contains("://") && !target.contains(' ')) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = path.parent().context("a page without a folder")?;
            let linked = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            let leads = linked.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&linked)?).contains(anchor));
            if !leads {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}
