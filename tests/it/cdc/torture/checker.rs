//! Whether what was delivered is what was committed: against the ledger of whoever wrote, the tables, another run over the whole
//! binlog, and DuckDB.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use csv::StringRecord;

use crate::setup::agent::{files_below, gunzip};
use crate::setup::duckdb;
use testkit::servers::Server;

use super::ledger::{A, B, C, Change, Ledger, TABLES};

/// The lines of one table, by `sequence`.
type Lines = BTreeMap<i64, StringRecord>;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    tables: [Lines; 3],
    pub(super) objects: usize,
    /// Lines beyond the first of each row.
    pub(super) copies: usize,
}

impl Delivered {
    fn add(&mut self, table: usize, line: StringRecord) -> Result<i64> {
        let sequence = line.get(line.len() - 1).unwrap_or_default();
        let sequence = sequence.parse().with_context(|| format!("{line:?}"))?;
        match self.tables[table].entry(sequence) {
            Entry::Vacant(entry) => {
                entry.insert(line);
            }
            Entry::Occupied(entry) => {
                let before = entry.get();
                ensure!(*before == line, "one number for {before:?} and {line:?}");
                self.copies += 1;
            }
        }
        Ok(sequence)
    }

    /// Reads the objects of all tables: `FOLDER/TABLE/…`. With `in_order` their names sort as their rows do, for each
    /// version of the lines.
    pub(super) fn read(folder: &Path, names: [&str; 3], in_order: bool) -> Result<Self> {
        let mut delivered = Self::default();
        for (table, name) in names.iter().enumerate() {
            let mut newest: BTreeMap<String, i64> = BTreeMap::new();
            for object in files_below(&folder.join(name), ".gz")? {
                delivered.objects += 1;
                let name = object.display().to_string();
                let version = name.split('/').find(|part| part.starts_with("v="));
                let newest = newest.entry(version.unwrap_or_default().to_owned());
                let newest = newest.or_insert(i64::MIN);
                for line in records(&gunzip(&object)?) {
                    let sequence = delivered.add(table, line?)?;
                    ensure!(
                        !in_order || sequence > *newest,
                        "{name}: {sequence} comes after {newest}"
                    );
                    *newest = sequence;
                }
            }
        }
        Ok(delivered)
    }

    /// That the lines are those which the ledger has, in its order.
    pub(super) fn is_all_of(&self, ledger: &Ledger) -> Result<()> {
        // Which columns the lines of each version have.
        let mut shapes = BTreeMap::new();
        for (table, name) in TABLES.iter().enumerate() {
            let expected: Vec<&Change> =
                ledger.lines.iter().filter(|it| it.table == table).collect();
            let found = &self.tables[table];
            let is = |(change, line): &(&&Change, &StringRecord)| is_of(change, line);
            if let Some((change, line)) = expected.iter().zip(found.values()).find(|it| !is(it)) {
                let ledger: BTreeSet<_> = expected.iter().map(|it| it.fields()).collect();
                let lines: BTreeSet<_> = found.values().map(|line| fields(line, table)).collect();
                let lost = ledger.difference(&lines).count();
                let strange = lines.difference(&ledger).count();
                bail!(
                    "{name}: {line:?} instead of {change:?}; {lost} lost, {strange} that nobody wrote"
                );
            }
            ensure!(
                found.len() == expected.len(),
                "{name}: {} lines instead of {}",
                found.len(),
                expected.len()
            );
            if table == B {
                for (change, line) in expected.iter().zip(found.values()) {
                    let version = line.get(line.len() - 2).unwrap_or_default().to_owned();
                    let shape = *shapes.entry(version).or_insert(change.shape());
                    ensure!(shape == change.shape(), "{line:?}");
                }
            }
        }
        Ok(())
    }

    /// That the newest line of each key is the table's row. Of `c` inserts are followed alone.
    pub(super) fn is_the_tables(&self, server: &Server, ledger: &Ledger) -> Result<()> {
        for (table, name) in TABLES.iter().enumerate() {
            let selected = server.sql(&format!("SELECT id, n FROM shop.{name} ORDER BY id"))?;
            let selected: Vec<&str> = selected.lines().collect();
            let known = &ledger.tables[table];
            let known: Vec<String> = known.iter().map(|(id, n)| format!("{id}\t{n}")).collect();
            ensure!(selected == known, "{name}: the ledger is not the table");
            if table == C {
                continue;
            }
            let mut newest: BTreeMap<u64, &str> = BTreeMap::new();
            for line in self.tables[table].values() {
                let id = line[0].parse()?;
                match operation(line, table) {
                    "D" => newest.remove(&id),
                    _ => newest.insert(id, &line[1]),
                };
            }
            let delivered = newest.iter().map(|(id, n)| format!("{id}\t{n}"));
            let delivered: Vec<String> = delivered.collect();
            ensure!(selected == delivered, "{name}: the lines are not the table");
        }
        Ok(())
    }

    /// That an agent which nobody has disturbed writes the same lines, with the same numbers.
    pub(super) fn is_of_one_run(&self, text: &str) -> Result<()> {
        let mut undisturbed = Lines::new();
        for line in records(text) {
            let line = line?;
            let sequence = line.get(line.len() - 1).unwrap_or_default().parse()?;
            ensure!(undisturbed.insert(sequence, line).is_none());
        }
        let own: Lines = self
            .tables
            .iter()
            .flatten()
            .map(|(at, line)| (*at, line.clone()))
            .collect();
        let pairs: Vec<_> = own.values().zip(undisturbed.values()).collect();
        let differs = pairs.iter().filter(|(own, other)| own != other).count();
        if let Some(first) = pairs.iter().position(|(own, other)| own != other) {
            let around = &pairs[first.saturating_sub(2)..pairs.len().min(first + 3)];
            bail!(
                "{differs} of {} lines differ from those of another run: {around:#?}",
                pairs.len()
            );
        }
        ensure!(own.len() == undisturbed.len());
        Ok(())
    }
}

/// What DuckDB reads from the objects is each row once, and the newest row of each key is the table's.
pub(super) fn duckdb_finds(folder: &Path, server: &Server, ledger: &Ledger) -> Result<()> {
    let objects = |columns: &str| {
        format!(
            "read_csv('shop.a/**/*.gz', auto_detect = false, header = false, delim = ',', quote = '\"', escape = '\"', \
             nullstr = '', allow_quoted_nulls = false, new_line = '\\n', hive_partitioning = false, \
             columns = {{{columns}}})"
        )
    };
    let a = objects(
        "'id': 'BIGINT', 'n': 'BIGINT', 'note': 'VARCHAR', 'operation': 'VARCHAR', 'sequence': 'BIGINT'",
    );
    let counted = duckdb::asked(
        folder,
        &[&format!(
            "SELECT count(*), count(DISTINCT sequence) FROM {a}"
        )],
    )?;
    let count = ledger.lines.iter().filter(|line| line.table == A).count();
    ensure!(
        counted == format!("{count}\t{count}\n"),
        "{counted} for {count} lines"
    );
    let newest = duckdb::asked(
        folder,
        &[&format!(
            "SELECT id, n, sha256(note) FROM (FROM {a} QUALIFY row_number() OVER (PARTITION BY id ORDER BY sequence DESC) = 1) \
             WHERE operation <> 'D' ORDER BY id"
        )],
    )?;
    let selected = server.sql("SELECT id, n, sha2(note, 256) FROM shop.a ORDER BY id")?;
    ensure!(newest == selected, "DuckDB finds another table");
    Ok(())
}

fn records(text: &str) -> impl Iterator<Item = Result<StringRecord>> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let records: Vec<_> = reader.into_records().collect();
    records.into_iter().map(|record| Ok(record?))
}

/// The number of metadata columns behind the operation.
fn behind(table: usize) -> usize {
    if table == B { 2 } else { 1 }
}

fn operation(line: &StringRecord, table: usize) -> &str {
    let at = line.len().checked_sub(behind(table) + 1);
    at.and_then(|at| line.get(at)).unwrap_or_default()
}

/// What is before the operation.
fn fields(line: &StringRecord, table: usize) -> Vec<String> {
    let count = line.len().saturating_sub(behind(table) + 1);
    line.iter().take(count).map(str::to_owned).collect()
}

fn is_of(change: &Change, line: &StringRecord) -> bool {
    operation(line, change.table) == change.operation
        && fields(line, change.table) == change.fields()
}
