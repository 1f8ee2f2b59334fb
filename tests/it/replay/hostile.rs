//! Files that are large, that lie about lengths, or that lack what nobody can make up.

use std::fs;
use std::io::Write as _;

use anyhow::{Result, ensure};

use super::{History, TABLE, refused};
use crate::setup::agent::{Workplace, config};
use crate::setup::replay::replayed;
use crate::setup::servers::{binlogs, end_of_binlog};
use testkit::servers::{Kind, Server};

/// With minimal images MySQL writes no column at all of a row that is all defaults, and no byte of it.
#[test]
fn a_row_of_which_nothing_is_in_the_binlog_is_not_passed_over() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int DEFAULT 5); \
         INSERT INTO shop.T VALUES (1); SET SESSION binlog_row_image = 'MINIMAL'; \
         INSERT INTO shop.T () VALUES ()",
    )?;
    let (rows, report) = refused(&binlogs(&server)?, &[], 65)?;
    assert_eq!(rows, "1\n");
    ensure!(
        report.contains("table shop.T: the row image holds no column"),
        "{report}"
    );
    let workplace = Workplace::new(&config(&server, "name = \"shop.T\"", "type = \"stdout\""))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(65) && log.contains("holds no column"),
        "{log}"
    );
    assert_eq!(String::from_utf8(output.stdout)?, "1\n");
    Ok(())
}

/// Events without checksums: their ends in the file, modulo 2^32, are all that has to fit.
fn moved(events: &[u8], by: u64) -> Vec<u8> {
    let mut moved = events.to_vec();
    let mut at = 0;
    while at < moved.len() {
        let number = |at: usize| {
            u32::from_le_bytes([moved[at], moved[at + 1], moved[at + 2], moved[at + 3]])
        };
        let (size, end) = (number(at + 9), number(at + 13));
        let end = u64::from(end) + by;
        moved[at + 13..at + 17].copy_from_slice(&end.to_le_bytes()[..4]);
        at += size as usize;
    }
    moved
}

/// A real file with more than 4 GiB of events between its transactions, that nobody needs to know.
#[test]
fn a_file_may_have_more_than_four_gibibytes() -> Result<()> {
    const FILLER_BYTES: usize = 32 << 20;
    const FILLERS: u64 = 129;
    let server = Server::mysql(&["--binlog-checksum=NONE"])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
    server.sql("INSERT INTO shop.T VALUES (1)")?;
    let end = |server: &Server| -> Result<u64> {
        let position = end_of_binlog(server)?;
        Ok(position.rsplit(':').next().unwrap_or_default().parse()?)
    };
    let middle = end(&server)?;
    server.sql("INSERT INTO shop.T VALUES (2)")?;
    let third = end(&server)?;
    server.sql("INSERT INTO shop.T VALUES (3)")?;
    let bytes = fs::read(&binlogs(&server)?[0])?;
    let (before, after) = bytes.split_at(usize::try_from(middle)?);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("binlog.000001.zst");
    let mut archive = zstd::Encoder::new(fs::File::create(&path)?, 1)?;
    archive.write_all(before)?;
    let mut filler = vec![0; FILLER_BYTES];
    filler[4] = 28; // IGNORABLE
    filler[9..13].copy_from_slice(&u32::try_from(FILLER_BYTES)?.to_le_bytes());
    for number in 1..=FILLERS {
        let end = middle + number * FILLER_BYTES as u64;
        filler[13..17].copy_from_slice(&end.to_le_bytes()[..4]);
        archive.write_all(&filler)?;
    }
    let by = FILLERS * FILLER_BYTES as u64;
    let after = moved(after, by);
    // The file ends within its last transaction.
    archive.write_all(&after[..after.len() - 1])?;
    archive.finish()?;
    let (rows, report) = refused(
        std::slice::from_ref(&path),
        &["--start", &format!("binlog.000001:{}", middle + by)],
        65,
    )?;
    assert_eq!(rows, "2\n");
    ensure!(
        report.contains(&format!("all up to binlog.000001:{}", third + by)),
        "{report}"
    );
    let until = format!("binlog.000001:{}", third + by);
    let all = replayed(&[path], &[&TABLE[..], &["--until", &until]].concat())?;
    assert_eq!(all, "1\n2\n");
    Ok(())
}

#[test]
fn a_length_that_is_not_there_is_no_reason_to_wait_or_to_ask_for_memory() -> Result<()> {
    let history = History::new(Kind::Mysql)?;
    let end: usize = history.positions[1]
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse()?;
    for (size, said) in [
        (18_u32, "the event's size is malformed"),
        (1 << 30, "the event ends in the middle of a field"),
        ((1 << 30) + (1 << 20) + 1, "the event's size is malformed"),
        (u32::MAX, "the event's size is malformed"),
    ] {
        let file = history.changed(1, |bytes| {
            bytes[end + 9..end + 13].copy_from_slice(&size.to_le_bytes());
            let event_end = (end as u64 + u64::from(size)).to_le_bytes();
            bytes[end + 13..end + 17].copy_from_slice(&event_end[..4]);
        })?;
        let (rows, report) = refused(&[file], &[], 65)?;
        assert_eq!(rows, "1\n");
        ensure!(
            report.contains(said) && report.contains(&history.positions[1]),
            "{report}"
        );
    }
    Ok(())
}
