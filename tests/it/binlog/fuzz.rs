//! What the fuzzers start from, made by real servers and kept in `fuzz/seeds`, and what they assert, on
//! these seeds and on random changes of them.
//!
//! `HYDRANT_FUZZ_SEEDS=fuzz/seeds` has the seeds written anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hydrant::binlog::{Decoder, DecoderStart, Event, EventHeader, EventType, Step, WatchedTable};
use hydrant::{binlog, encode};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

#[path = "../../../fuzz/harness.rs"]
#[expect(unreachable_pub, reason = "the fuzzers' crate has it, too")]
mod harness;

/// The seeds of each harness, by file name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

const COMMON: &[&str] = &[
    "CREATE TABLE shop.t (i1 tinyint, i2 smallint unsigned, i3 mediumint, i4 int unsigned, i8 bigint, \
     f float, d double, dd double(10,2), n decimal(65,30), n2 decimal(9,2), y year, da date, \
     ti time(6), dt datetime(3), ts timestamp(1) NULL, c char(20), v varchar(300), \
     l varchar(20) character set latin1, u16 text character set utf16, b binary(5), vb varbinary(9), \
     bl blob, mb mediumblob, e enum('one', 'two, \"2\"', ''), s set('a', 'b', 'cd'), bi bit(17), \
     j json, g geometry)",
    "INSERT INTO shop.t VALUES (-128, 65535, -8388608, 4294967295, -9223372036854775808, 1.5, \
     -1e300, 3.14, -12345678901234567890.123456789, 1.25, 2016, '2016-03-04', '-838:59:58.999999', \
     '9999-12-31 23:59:59.999', '2016-03-04 05:06:07.8', 'char', 'a \"quoted\", text\\n', 'caf\u{e9}', \
     'wide \u{1f600}', x'00ff', x'2c22', 'blob', repeat('x', 300), 'two, \"2\"', 'a,cd', b'10101', \
     '{\"a\": [1, 2.5, null, true, \"x\"], \"bb\": {\"c\": {}}}', ST_GeomFromText('POINT(1 2)'))",
    "INSERT INTO shop.t (i1) VALUES (NULL), (0), (127)",
    "INSERT INTO shop.t SELECT * FROM shop.t",
    "CREATE TABLE shop.u (id int PRIMARY KEY, name varchar(10))",
    "BEGIN; INSERT INTO shop.u VALUES (1, 'one'), (2, NULL); SAVEPOINT s; \
     INSERT INTO shop.u VALUES (3, 'three'); ROLLBACK TO s; UPDATE shop.u SET name = 'eins' WHERE id = 1; \
     DELETE FROM shop.u WHERE id = 2; COMMIT",
    "ALTER TABLE shop.u ADD COLUMN more bigint unsigned",
    "INSERT INTO shop.u VALUES (9, 'nine', 18446744073709551615)",
    "RENAME TABLE shop.u TO shop.other",
];

const MYSQL: &[&str] = &[
    "CREATE TABLE shop.u (id int, v vector(3), j json)",
    "INSERT INTO shop.u VALUES (1, to_vector('[1, -0.5, 3e38]'), \
     JSON_ARRAY(CAST('12.340' AS DECIMAL(10,3)), DATE '2016-03-04', TIME '-12:00:00', x'00ff', -1, 70000))",
    "INSERT INTO shop.u (id, j) VALUES (3, '{\"a\": [1, 2, {\"b\": \"x\"}], \"long\": \"0123456789 0123456789 0123456789\"}')",
    "SET SESSION binlog_row_value_options = 'PARTIAL_JSON', binlog_row_image = 'MINIMAL'; \
     UPDATE shop.u SET j = JSON_SET(j, '$.a[2].b', 'y') WHERE id = 3",
    "SET SESSION binlog_transaction_compression = ON; INSERT INTO shop.u (id) VALUES (4), (5); \
     INSERT INTO shop.u (id, j) SELECT id, j FROM shop.u",
    "XA START 'x'; INSERT INTO shop.u (id) VALUES (6); XA END 'x'; XA COMMIT 'x' ONE PHASE",
    "XA START 'y'; INSERT INTO shop.u (id) VALUES (7); XA END 'y'; XA PREPARE 'y'; XA COMMIT 'y'",
    "SET SESSION gtid_next = 'AUTOMATIC:tag'; INSERT INTO shop.u (id) VALUES (8)",
    "SET SESSION binlog_rows_query_log_events = ON; INSERT INTO shop.u (id) VALUES (2)",
];

const MARIADB: &[&str] = &[
    "CREATE TABLE shop.u (id int, a4 inet4, a6 inet6, uu uuid)",
    "INSERT INTO shop.u VALUES (1, '10.0.0.1', '2001:db8::1', '123e4567-e89b-12d3-a456-426614174000')",
    "SET GLOBAL log_bin_compress = ON, log_bin_compress_min_len = 10",
    "INSERT INTO shop.u (id) VALUES (2), (3), (4), (5), (6), (7), (8), (9)",
    "UPDATE shop.u SET id = id + 1",
    "DELETE FROM shop.u WHERE id > 4",
    "XA START 'y'; INSERT INTO shop.u (id) VALUES (7); XA END 'y'; XA PREPARE 'y'; XA COMMIT 'y'",
    "XA START 'z'; INSERT INTO shop.u (id) VALUES (8); XA END 'z'; XA PREPARE 'z'; XA ROLLBACK 'z'",
    "CREATE TABLE shop.q (a_column_with_a_long_name int, another_column_with_a_long_name int)",
];

/// Documents whose binary form MySQL stores.
const DOCUMENTS: &[&str] = &[
    "null",
    "[]",
    r#"{"a": 1, "bb": [true, false, null, -32768, 65536, 1e300, "text"], "": {"x": {}}}"#,
    r#"["\u0001\u00e9 \"quoted\"", 18446744073709551615, -9223372036854775808, 0.1]"#,
];

/// GTID sets as people type them.
const SETS: &[&str] = &[
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7",
    "3E11FA47-71CA-11E1-9E33-C80AA9429562:1-5,\n 4E11FA47-71CA-11E1-9E33-C80AA9429562:1-3:tag:5-9",
    "0-1-100,7-2-18446744073709551615",
];

/// Events without checksums, from the first on.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    while let Ok(header) = EventHeader::parse(bytes) {
        let (event, rest) = bytes.split_at(header.event_size as usize);
        events.push(event);
        bytes = rest;
    }
    events
}

fn event_type(event: &[u8]) -> EventType {
    EventType::from_code(event[4])
}

/// A seed for each transaction, behind its file's description; that which follows an XA PREPARE ends it and
/// is in its seed.
fn add_events(seeds: &mut Seeds, kind: Kind, file: &[u8]) {
    let mut seed = Vec::new();
    let mut is_prepared = false;
    let mut number = 0;
    let events = split(file);
    let (description, events) = events.split_first().expect("a file has a description");
    for event in events {
        let begins = [EventType::Gtid, EventType::GtidTagged, EventType::MariaGtid];
        if begins.contains(&event_type(event)) && !seed.is_empty() && !is_prepared {
            let name = format!("{}-{number:02}", kind.name());
            let seed = std::mem::take(&mut seed);
            seeds.insert(("events", name), [*description, &seed[..]].concat());
            number += 1;
        }
        seed.extend_from_slice(event);
        is_prepared = event_type(event) == EventType::XaPrepare;
    }
    for event in events {
        let place = harness::GTID_EVENTS
            .iter()
            .position(|kind| *kind == event_type(event));
        if let Some(place) = place {
            let kind = u8::try_from(place).expect("there are few");
            let body = &event[EventHeader::LEN..];
            let name = format!("{}", event_type(event)).replace(' ', "-");
            seeds.insert(("gtid_binary", name), [&[kind][..], body].concat());
        }
    }
}

/// The JSON cells of a table with nothing else: behind a byte of NULLs and four of length.
fn add_json(seeds: &mut Seeds, file: &[u8]) -> Result<()> {
    let mut decoder = Decoder::new(
        DecoderStart::default(),
        &[WatchedTable::inserts("shop", "j")],
    )?;
    for event in split(file) {
        let header = EventHeader::parse(event)?;
        let body = &event[EventHeader::LEN..];
        if let Step::Rows { rows, .. } = decoder.event(&Event { header, body })? {
            let name = format!("{:02}", seeds.len());
            seeds.insert(("json", name), rows.images[5..].to_vec());
        }
    }
    Ok(())
}

fn captured(kind: Kind) -> Result<Seeds> {
    let server = Server::start(kind, &["--binlog-checksum=NONE", "--sql-mode="])?;
    server.sql("CREATE DATABASE shop")?;
    server.sql("FLUSH BINARY LOGS")?;
    let (own, json) = match kind {
        Kind::Mysql => (MYSQL, true),
        Kind::Mariadb | Kind::Mariadb11 => (MARIADB, false),
    };
    for statement in COMMON.iter().chain(own) {
        server.sql(statement)?;
    }
    // The one that is cut off.
    server.sql("CREATE TABLE shop.last (id int)")?;
    server.sql("FLUSH BINARY LOGS")?;
    if json {
        server.sql("CREATE TABLE shop.j (j json)")?;
        for document in DOCUMENTS {
            let document = document.replace('\\', "\\\\");
            server.sql(&format!("INSERT INTO shop.j VALUES ('{document}')"))?;
        }
    }
    server.sql("FLUSH BINARY LOGS")?;
    let files = binlogs(&server)?;
    let mut seeds = Seeds::new();
    for (index, set) in SETS.iter().enumerate() {
        seeds.insert(
            ("gtid_text", format!("set-{index}")),
            set.as_bytes().to_vec(),
        );
    }
    let file = fs::read(&files[1])?;
    add_events(&mut seeds, kind, &file[4..]);
    // Its list of GTIDs is longer.
    add_events(&mut seeds, kind, &fs::read(&files[3])?[4..]);
    if json {
        add_json(&mut seeds, &fs::read(&files[2])?[4..])?;
    }
    if let Some(folder) = std::env::var_os("HYDRANT_FUZZ_SEEDS") {
        for ((target, name), seed) in &seeds {
            let folder = Path::new(&folder).join(target);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(name), seed)?;
        }
    }
    Ok(seeds)
}

fn run(target: &str, input: &[u8]) {
    match target {
        "events" => drop(harness::events(input)),
        "json" => harness::json(input),
        "gtid_text" => harness::gtid_text(input),
        "gtid_binary" => harness::gtid_binary(input),
        other => panic!("no harness {other}"),
    }
}

/// Rows that a seed's events have, all of which can be decoded.
fn rows_of(seed: &[u8]) -> Result<usize> {
    let mut decoder = harness::decoder(None);
    let mut row_events = 0;
    for event in split(seed) {
        let header = EventHeader::parse(event)?;
        let body = &event[EventHeader::LEN..];
        if let Step::Rows { .. } = decoder.event(&Event { header, body })? {
            row_events += 1;
        }
    }
    Ok(row_events)
}

fn fresh_captures_are_seeds(kind: Kind) -> Result<()> {
    let mut row_events = 0;
    for ((target, name), seed) in captured(kind)? {
        if target == "events" {
            // What is undone stops a decoder that has handed rows out.
            row_events += rows_of(&seed).unwrap_or(0);
        }
        ensure!(seed.len() < 16 << 10, "{target}/{name} is large");
        run(target, &seed);
    }
    ensure!(row_events >= 5, "{row_events} row events");
    Ok(())
}

#[test]
fn fresh_captures_of_mysql_are_seeds() -> Result<()> {
    fresh_captures_are_seeds(Kind::Mysql)
}

#[test]
fn fresh_captures_of_mariadb_are_seeds() -> Result<()> {
    fresh_captures_are_seeds(Kind::Mariadb)
}

#[test]
fn fresh_captures_of_mariadb_11_are_seeds() -> Result<()> {
    fresh_captures_are_seeds(Kind::Mariadb11)
}

/// The seeds that are kept, and what a fuzzer once found.
fn kept() -> Result<Vec<(String, PathBuf)>> {
    let mut kept = Vec::new();
    for folder in ["fuzz/seeds", "fuzz/found"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for target in fs::read_dir(folder)? {
            let target = target?;
            for seed in fs::read_dir(target.path())? {
                let name = target.file_name().to_string_lossy().into_owned();
                kept.push((name, seed?.path()));
            }
        }
    }
    kept.sort();
    Ok(kept)
}

#[test]
fn what_fuzzers_assert_holds_for_the_seeds_and_random_changes_of_them() -> Result<()> {
    const CHANGES: usize = 2_000;
    let seed = match std::env::var("HYDRANT_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => rand::random(),
    };
    println!("HYDRANT_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let kept = kept()?;
    ensure!(kept.len() > 30, "{} seeds", kept.len());
    for (target, path) in kept {
        let seed = fs::read(&path)?;
        run(&target, &seed);
        for _ in 0..CHANGES {
            let mut changed = seed.clone();
            for _ in 0..random.random_range(1..4) {
                change(&mut changed, &mut random);
            }
            run(&target, &changed);
        }
    }
    Ok(())
}

/// One change of the kind that breaks parsers.
fn change(bytes: &mut Vec<u8>, random: &mut StdRng) {
    if bytes.is_empty() {
        return;
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..5) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xfb, 0xfc, 0xfe, 0xff][random.random_range(0..8)],
        2 => bytes.truncate(at),
        3 => drop(bytes.remove(at)),
        _ => bytes.insert(at, random.random()),
    }
}
