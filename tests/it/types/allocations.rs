//! Finding and writing a row allocates nothing, whatever is in it and however it is masked, once the batch has room for
//! it; and a mask gets the text that would be written.
//!
//! COMPRESSED columns of MariaDB are left out: they are unpacked into memory of their own.

use std::fs;

use anyhow::{Result, ensure};
use hydrant::binlog::{
    Decoder, DecoderStart, EventFile, FilePosition, HiddenType, RowsEvent, Step, WatchedTable,
};
use hydrant::encode::{ChosenColumn, Dialect, Image, LineNumber, Mask, MaskKey, Plan, RowSuffix};

use super::columns::Column;
use super::oracle::Session;
use super::{columns, fill_types, server};
use crate::setup::servers::binlogs;
use testkit::servers::Kind;

const RANDOM_ROWS: usize = 100;
const WHOLE: Mask = Mask::Truncate(u32::MAX);
const DIALECTS: [Dialect; 4] = [
    Dialect::Csv,
    Dialect::Hive,
    Dialect::OpenCsv,
    Dialect::Jsonl,
];

/// The column as the server's answers would have it chosen, with digits wherever a type can have them.
fn chosen(column: &Column) -> ChosenColumn {
    let is_fixed = column.sql_type.starts_with("float(") || column.sql_type.starts_with("double(");
    let name_of_type = column.sql_type.split('(').next().unwrap_or_default();
    ChosenColumn {
        name: column.name.clone(),
        scale: is_fixed.then_some(2),
        hidden_type: HiddenType::of(name_of_type),
        mask: None,
    }
}

/// The same columns, all of them masked.
fn masked(chosen: &[ChosenColumn], mask: Option<&Mask>) -> Vec<ChosenColumn> {
    let mask = |column: &ChosenColumn| ChosenColumn {
        mask: mask.cloned(),
        ..column.clone()
    };
    chosen.iter().map(mask).collect()
}

/// A mask that keeps all of each text changes no line, where text has no quotes of its own.
fn masks_get_what_is_written(
    plain: &mut Plan,
    masked: &mut Plan,
    rows: &RowsEvent<'_>,
    dialect: Dialect,
) -> Result<()> {
    let suffix = RowSuffix::new(dialect);
    plain.begin(rows);
    masked.begin(rows);
    let mut at = 0;
    while at < rows.images.len() {
        let end = plain.find_row(rows.images, at)?;
        ensure!(masked.find_row(rows.images, at)? == end);
        let line = |plan: &Plan| {
            let (mut line, number) = (Vec::new(), LineNumber::default());
            plan.write_line(rows.images, Image::After, &suffix, number, &mut line)?;
            anyhow::Ok(line)
        };
        ensure!(line(plain)? == line(masked)?, "another line in {dialect:?}");
        at = end;
    }
    Ok(())
}

/// Writes the event's rows twice, the second time into the room of the first. Gives their number.
fn write(plan: &mut Plan, rows: &RowsEvent<'_>, suffix: &RowSuffix) -> Result<usize> {
    let mut out = Vec::new();
    let mut row_count = 0;
    plan.begin(rows);
    let mut at = 0;
    while at < rows.images.len() {
        let end = plan.find_row(rows.images, at)?;
        out.clear();
        plan.write_line(
            rows.images,
            Image::After,
            suffix,
            LineNumber::default(),
            &mut out,
        )?;
        out.clear();
        let mut written = Ok(0);
        let allocated = allocation_counter::measure(|| {
            written = plan.find_row(rows.images, at);
            let line = plan.write_line(
                rows.images,
                Image::After,
                suffix,
                LineNumber::default(),
                &mut out,
            );
            written = written.clone().and_then(|end| line.map(|_| end));
        });
        ensure!(written == Ok(end));
        ensure!(
            allocated.count_total == 0,
            "{} times for row {row_count} of an event",
            allocated.count_total
        );
        at = end;
        row_count += 1;
    }
    Ok(row_count)
}

fn rows_are_written_without_allocating(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    let mut columns = columns::supported(kind);
    columns.retain(|column| !column.sql_type.contains("compressed"));
    fill_types(&mut session, &columns, RANDOM_ROWS)?;
    session.run("FLUSH BINARY LOGS")?;

    let chosen: Vec<ChosenColumn> = columns.iter().map(chosen).collect();
    let masks = [
        None,
        Some(Mask::Sha256(MaskKey::new(b"a secret for tests"))),
        Some(Mask::Redact),
        Some(Mask::Truncate(3)),
    ];
    let mut row_count = 0;
    for path in binlogs(&server)? {
        let bytes = fs::read(path)?;
        let mut events = EventFile::open("binlog.000001", &bytes)?;
        let start = FilePosition::new("binlog.000001", FilePosition::FIRST_OFFSET);
        let table = WatchedTable::inserts("shop", "Types");
        let mut decoder = Decoder::new(DecoderStart::at(start), &[table])?;
        while let Some(event) = events.next()? {
            let Step::Rows { table, rows } = decoder.event(&event)? else {
                continue;
            };
            let Some((map, _)) = decoder.table(table) else {
                continue;
            };
            for dialect in DIALECTS {
                // Masks do not depend on the dialect, but may be quoted.
                let is_looked_at =
                    |mask: &&Option<Mask>| mask.is_none() || dialect == Dialect::Jsonl;
                for mask in masks.iter().filter(is_looked_at) {
                    let chosen = masked(&chosen, mask.as_ref());
                    let mut plan = Plan::compile(map, &chosen, dialect)?;
                    row_count += write(&mut plan, &rows, &RowSuffix::new(dialect))?;
                }
            }
            for dialect in [Dialect::Csv, Dialect::Hive] {
                let mut plain = Plan::compile(map, &chosen, dialect)?;
                let mut whole = Plan::compile(map, &masked(&chosen, Some(&WHOLE)), dialect)?;
                masks_get_what_is_written(&mut plain, &mut whole, &rows, dialect)?;
            }
        }
    }
    ensure!(row_count > (DIALECTS.len() + masks.len() - 1) * RANDOM_ROWS);
    Ok(())
}

#[test]
fn rows_of_mysql_are_written_without_allocating() -> Result<()> {
    rows_are_written_without_allocating(Kind::Mysql)
}

#[test]
fn rows_of_mariadb_are_written_without_allocating() -> Result<()> {
    rows_are_written_without_allocating(Kind::Mariadb11)
}
