//! Values of each type, looked for in everything that is written.

use std::fs;

use anyhow::{Result, ensure};

use super::{ALL_EVENTS, SALT, everything};
use crate::setup::agent::Workplace;
use testkit::program::program;
use testkit::servers::{Kind, Server};

/// A column of each kind: its name and type, a value that is like no other, and how that may look.
type Marked = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const MARKED: &[Marked] = &[
    (
        "c_varchar",
        "varchar(60)",
        "'Grace Hopper 1'",
        &["race Hopper 1"],
    ),
    (
        "c_latin",
        "varchar(60) CHARACTER SET latin1",
        "'Zoë Ångström'",
        &["Ångström"],
    ),
    (
        "c_text",
        "longtext",
        "CONCAT('Ada \"L\", ', REPEAT('yz', 4000))",
        &["da \"L", "zyzyzyzy"],
    ),
    ("c_blob", "blob", "'Linus T'", &["inus T", "696E75732054"]),
    (
        "c_binary",
        "binary(9)",
        "'Barbara'",
        &["arbara", "726261726100"],
    ),
    ("c_int", "bigint", "-7345113377", &["7345113377"]),
    ("c_decimal", "decimal(30,4)", "993771122.5577", &["3771122"]),
    ("c_double", "double", "6622114.625", &["622114"]),
    ("c_fixed", "double(12,2)", "7722114.25", &["722114"]),
    ("c_date", "date", "'1977-11-23'", &["77-11-23"]),
    (
        "c_datetime",
        "datetime(6)",
        "'1966-10-29 01:02:03.456789'",
        &["66-10-29"],
    ),
    (
        "c_timestamp",
        "timestamp NULL",
        "'2001-12-27 11:22:33'",
        &["01-12-27"],
    ),
    ("c_time", "time", "'-123:45:56'", &["23:45:56"]),
    (
        "c_enum",
        "enum('x','Turing')",
        "'Turing'",
        &[",Turing", "\"Turing"],
    ),
    (
        "c_set",
        "set('u','Church','v')",
        "'u,Church'",
        &["u,Church"],
    ),
    ("c_bit", "bit(64)", "0x7B5AD33C99E1B27F", &["5AD33C99"]),
    (
        "c_json",
        "json",
        "'{\"who\": \"Emmy Noether\"}'",
        &["mmy Noether"],
    ),
];

/// Of MariaDB alone.
const MARIADBS: &[Marked] = &[
    ("c_inet6", "inet6", "'2001:db8:77::9a'", &["01:db8:77"]),
    (
        "c_packed",
        "text COMPRESSED",
        "'Kurt Gödel'",
        &["urt Gödel"],
    ),
];

fn marked(kind: Kind) -> Vec<Marked> {
    let more = if kind == Kind::Mysql { &[] } else { MARIADBS };
    [MARKED, more].concat()
}

/// Runs to the end, with a log of everything.
fn drain(workplace: &Workplace) -> Result<String> {
    let output = program(env!("CARGO_BIN_EXE_hydrant"))
        .args(["cdc", "--until", "now", "--config"])
        .arg(workplace.path("hydrant.toml"))
        .env("HYDRANT_LOG", "trace")
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {log}", output.status);
    Ok(log + &String::from_utf8_lossy(&output.stdout))
}

fn nowhere(written: &str, kind: Kind, told: &str) -> Result<()> {
    for (name, _, _, marks) in marked(kind) {
        for mark in marks {
            ensure!(!written.contains(mark), "{told}: {name} is written: {mark}");
        }
    }
    Ok(())
}

/// A table with all of these, a row that is changed in all ways, and one of NULLs.
fn fill(server: &Server) -> Result<Vec<&'static str>> {
    let columns = marked(server.kind());
    let types: Vec<String> = columns
        .iter()
        .map(|(name, sql_type, ..)| format!("{name} {sql_type}"))
        .collect();
    let values: Vec<&str> = columns.iter().map(|(_, _, value, _)| *value).collect();
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    server.sql(&format!(
        "SET NAMES utf8mb4; SET time_zone = '+00:00'; CREATE DATABASE shop; USE shop; \
         CREATE TABLE T (id int PRIMARY KEY, open varchar(40), {}); \
         INSERT INTO T (id, open, {names}) VALUES (1, 'to be seen', {values}); \
         INSERT INTO T (id, open) VALUES (2, 'nulls'); \
         UPDATE T SET open = 'seen again' WHERE id = 1; UPDATE T SET id = 3 WHERE id = 1; DELETE FROM T WHERE id = 3",
        types.join(", "),
        names = names.join(", "),
        values = values.join(", "),
    ))?;
    Ok(names)
}

#[test]
fn values_of_protected_columns_are_nowhere_in_what_is_written() -> Result<()> {
    for kind in Kind::ALL {
        for metadata in ["FULL", "MINIMAL"] {
            let server = Server::start(kind, &[&format!("--binlog-row-metadata={metadata}")])?;
            let names = fill(&server)?;
            for (index, dialect) in ["csv", "hive", "opencsv", "jsonl"].iter().enumerate() {
                let masks = ["sha256", "redact", "truncate:1", "excluded"];
                // Where names come from makes no difference to dialects.
                let masks = if metadata == "FULL" {
                    &masks[..]
                } else {
                    &masks[index..=index]
                };
                for mask in masks {
                    let masks: Vec<String> = names
                        .iter()
                        .map(|name| format!("{name} = \"{mask}\""))
                        .collect();
                    let keys = match *mask {
                        "excluded" => format!("exclude_columns = {names:?}"),
                        _ => format!("mask = {{ {} }}", masks.join(", ")),
                    };
                    let table = format!(
                        "name = \"shop.T\"\ndialect = \"{dialect}\"\nbefore_image = true\n{ALL_EVENTS}\n{keys}"
                    );
                    let workplace = Workplace::into_directory(&server, &[table], "")?;
                    if *mask == "sha256" {
                        let text = fs::read_to_string(workplace.path("hydrant.toml"))?;
                        fs::write(workplace.path("hydrant.toml"), format!("{text}{SALT}"))?;
                    }
                    let log = drain(&workplace)?;
                    let told = format!("{kind:?} {metadata} {dialect} {mask}");
                    fs::remove_file(workplace.path("hydrant.toml"))?;
                    let written = log + &everything(&workplace.path(""))?;
                    // It is looked for in the right place, and all of the row's changes are there.
                    ensure!(written.matches("to be seen").count() == 2, "{told}");
                    ensure!(written.matches("seen again").count() == 4, "{told}");
                    ensure!(!written.contains("4f1d2f8a55c1d0b7a9e3"), "{told}");
                    nowhere(&written, kind, &told)?;
                }
            }
            // Without protection they are found in this way.
            let table = format!("name = \"shop.T\"\n{ALL_EVENTS}");
            let workplace = Workplace::into_directory(&server, &[table], "")?;
            drain(&workplace)?;
            let lines = everything(&workplace.path("data"))?;
            for (name, _, _, marks) in marked(kind) {
                ensure!(
                    marks.iter().any(|mark| lines.contains(mark)),
                    "{kind:?}: {name} is not found without protection"
                );
            }
        }
    }
    Ok(())
}
