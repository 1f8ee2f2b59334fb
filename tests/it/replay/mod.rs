//! `hydrant replay` on the files that real servers have written.

mod hostile;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::setup::agent::{Workplace, config, gunzip_all};
use crate::setup::replay::{replay, replayed};
use crate::setup::sales::{SALES, sales_table};
use crate::setup::servers::{binlogs, compression, end_of_binlog};
use crate::setup::snapshot::Reports;
use testkit::servers::{Kind, Server};

const INSERT: &str = "INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, \
    DestinationState, ShippingType, Referral) VALUES ";

/// Sales in three files: transactions of several rows and statements, other tables' rows, a
/// transaction that was rolled back, updates, deletes and DDL among them.
fn sell(server: &Server) -> Result<()> {
    server.sql(SALES)?;
    server.sql("SET time_zone = '+00:00'; CREATE TABLE shop.Other (id int)")?;
    for file in 0..3 {
        for item in 0..5 {
            let row = |quantity| {
                format!(
                    "({item}, 'Pots, \"large\"', {quantity}.5, {quantity}, '2016-03-04', NULL, '', 'é\\n')"
                )
            };
            server.sql(&format!(
                "SET time_zone = '+00:00'; BEGIN; {INSERT}{}; INSERT INTO shop.Other VALUES ({item}); \
                 {INSERT}{},{}; COMMIT; BEGIN; {INSERT}{}; ROLLBACK; \
                 UPDATE shop.Sales SET Price = {file} WHERE ItemID = {item}",
                row(1), row(2), row(3), row(4)
            ))?;
        }
        if file < 2 {
            server.sql("FLUSH BINARY LOGS")?;
        }
    }
    Ok(())
}

const COLUMNS: &str = "ItemID, Category, Price DOUBLE(10,2), Quantity, OrderDate, \
    DestinationState, ShippingType, Referral";

/// The same file in another wrapping.
fn archived(file: &Path, folder: &Path, extension: &str) -> Result<PathBuf> {
    let bytes = fs::read(file)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(extension);
    let path = folder.join(name);
    let bytes = match extension {
        ".gz" => {
            // Two members, as `cat a.gz b.gz` makes them.
            let (first, second) = bytes.split_at(bytes.len() / 2);
            let mut archive = Vec::new();
            for part in [first, second] {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(&mut archive, level);
                encoder.write_all(part)?;
                encoder.finish()?;
            }
            archive
        }
        ".zst" => zstd::encode_all(&bytes[..], 1)?,
        _ => bytes,
    };
    fs::write(&path, bytes)?;
    Ok(path)
}

fn files_give_the_agents_rows(kind: Kind, options: &[&str]) -> Result<()> {
    let server = Server::start(kind, options)?;
    sell(&server)?;
    let workplace = Workplace::new(&config(&server, sales_table(), "type = \"stdout\""))?;
    let delivered = workplace.drain()?;
    ensure!(delivered.matches("Pots").count() == 45, "{delivered}");
    let files = binlogs(&server)?;
    ensure!(files.len() == 3, "{files:?}");
    let config_path = workplace.path("hydrant.toml").display().to_string();
    assert_eq!(
        replayed(&files, &["--config", &config_path, "--out", "-"])?,
        delivered
    );
    // Without asking the server.
    let archives = tempfile::tempdir()?;
    for extension in ["", ".gz", ".zst"] {
        let files: Vec<PathBuf> = files
            .iter()
            .map(|file| archived(file, archives.path(), extension))
            .collect::<Result<_>>()?;
        let table = ["--table", "shop.Sales", "--columns", COLUMNS];
        let to_stdout = [&table[..], &["--out", "-"]].concat();
        assert_eq!(replayed(&files, &to_stdout)?, delivered, "{extension:?}");
        let out = archives.path().join("out").display().to_string();
        let to_dir = [&table[..], &["--out", &out]].concat();
        for _ in 0..2 {
            assert_eq!(replayed(&files, &to_dir)?, "");
            assert_eq!(gunzip_all(Path::new(&out))?, delivered, "{extension:?}");
        }
    }
    Ok(())
}

#[test]
fn files_of_mysql_give_the_agents_rows() -> Result<()> {
    files_give_the_agents_rows(Kind::Mysql, &[])
}

#[test]
fn compressed_files_of_mysql_give_the_agents_rows() -> Result<()> {
    files_give_the_agents_rows(Kind::Mysql, compression(Kind::Mysql))
}

#[test]
fn files_of_mariadb_give_the_agents_rows() -> Result<()> {
    files_give_the_agents_rows(Kind::Mariadb, &[])
}

#[test]
fn files_of_mariadb_11_give_the_agents_rows() -> Result<()> {
    files_give_the_agents_rows(Kind::Mariadb11, &[])
}

#[test]
fn compressed_files_of_mariadb_give_the_agents_rows() -> Result<()> {
    files_give_the_agents_rows(Kind::Mariadb, compression(Kind::Mariadb))
}

#[test]
fn compressed_files_of_mariadb_11_give_the_agents_rows() -> Result<()> {
    files_give_the_agents_rows(Kind::Mariadb11, compression(Kind::Mariadb11))
}

/// The files of a small history: one row a transaction, 1 to 3 in the first file, then 4 to 6.
struct History {
    server: Server,
    /// Where each transaction of the first file starts, and where the last ends.
    positions: Vec<String>,
    folder: TempDir,
}

impl History {
    fn new(kind: Kind) -> Result<Self> {
        let server = Server::start(kind, &[])?;
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY)")?;
        let mut positions = vec![end_of_binlog(&server)?];
        for id in 1..=3 {
            server.sql(&format!("INSERT INTO shop.T VALUES ({id})"))?;
            positions.push(end_of_binlog(&server)?);
        }
        for id in 4..=6 {
            server.sql(&format!(
                "FLUSH BINARY LOGS; INSERT INTO shop.T VALUES ({id})"
            ))?;
        }
        server.sql("FLUSH BINARY LOGS")?;
        Ok(Self {
            server,
            positions,
            folder: tempfile::tempdir()?,
        })
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        binlogs(&self.server)
    }

    /// A changed copy of the file with this number.
    fn changed(&self, number: usize, change: impl FnOnce(&mut Vec<u8>)) -> Result<PathBuf> {
        let file = &self.files()?[number - 1];
        let mut bytes = fs::read(file)?;
        change(&mut bytes);
        let path = self
            .folder
            .path()
            .join(file.file_name().unwrap_or_default());
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

const TABLE: [&str; 4] = ["--table", "shop.T", "--out", "-"];

/// Standard output, and what was said about a run that ended with this exit code.
fn refused(files: &[PathBuf], arguments: &[&str], exit: i32) -> Result<(String, String)> {
    let output = replay(files, &[&TABLE[..], arguments].concat())?;
    let report = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(exit),
        "{}: {report}",
        output.status
    );
    ensure!(report.contains("remedy: "), "{report}");
    Ok((String::from_utf8(output.stdout)?, report))
}

fn part_of_the_files_is_chosen(kind: Kind) -> Result<()> {
    let history = History::new(kind)?;
    let files = history.files()?;
    let chosen = |arguments: &[&str]| replayed(&files, &[&TABLE[..], arguments].concat());
    assert_eq!(chosen(&[])?, "1\n2\n3\n4\n5\n6\n");
    let [before_1, before_2, _, after_3] = &history.positions[..] else {
        anyhow::bail!("{:?}", history.positions);
    };
    assert_eq!(chosen(&["--start", before_1, "--until", before_2])?, "1\n");
    assert_eq!(chosen(&["--start", before_2])?, "2\n3\n4\n5\n6\n");
    let end_of_2 = fs::metadata(&files[1])?.len();
    let until = format!("binlog.000002:{end_of_2}");
    assert_eq!(chosen(&["--start", after_3, "--until", &until])?, "4\n");
    assert_eq!(chosen(&["--start", "binlog.000003:4"])?, "5\n6\n");
    Ok(())
}

#[test]
fn part_of_mysqls_files_is_chosen() -> Result<()> {
    part_of_the_files_is_chosen(Kind::Mysql)
}

#[test]
fn part_of_mariadbs_files_is_chosen() -> Result<()> {
    part_of_the_files_is_chosen(Kind::Mariadb)
}

fn what_is_not_in_the_files_is_refused(kind: Kind) -> Result<()> {
    let mut reports = Reports::default();
    let history = History::new(kind)?;
    let files = history.files()?;
    let (first, second) = (&history.positions[0], &history.positions[1]);
    let end_of_2 = fs::metadata(&files[1])?.len();
    let past_2 = format!("binlog.000002:{}", end_of_2 + 1);
    let is_past = |option: &str| {
        format!(
            "binlog.000002: {option} {past_2} is past the end of the file, which is at {end_of_2}\n"
        )
    };
    for (arguments, exit, rows, said) in [
        (
            vec!["--start", "binlog.000001:5"],
            64,
            "",
            "no event starts at --start binlog.000001:5",
        ),
        (vec!["--start", &past_2], 65, "", &is_past("--start")),
        (
            vec!["--until", &past_2],
            65,
            "1\n2\n3\n4\n",
            &is_past("--until"),
        ),
        (
            vec!["--until", first, "--start", second],
            64,
            "",
            "is not behind --start",
        ),
        (
            vec!["--until", first, "--start", first],
            64,
            "",
            "is not behind --start",
        ),
        (
            vec!["--until", first, "--start", "binlog.000002:4"],
            64,
            "",
            "is not behind --start",
        ),
        (
            vec!["--until", "binlog.000009:4"],
            64,
            "",
            "--until binlog.000009:4 is in none of the files",
        ),
        (
            vec!["--start", "binlog.000009:4"],
            64,
            "",
            "--start binlog.000009:4 is in none of the files",
        ),
        (
            vec!["--pass-over", "binlog.000009:4"],
            64,
            "",
            "--pass-over binlog.000009:4 is in none of the files",
        ),
    ] {
        let (written, report) = refused(&files, &arguments, exit)?;
        assert_eq!(written, rows, "{arguments:?}");
        ensure!(report.contains(said), "{said}: {report}");
        reports.add_log(&arguments.join(" "), &exit.to_string(), &report);
    }
    reports.assert("replay-positions");
    Ok(())
}

#[test]
fn what_is_not_in_mysqls_files_is_refused() -> Result<()> {
    what_is_not_in_the_files_is_refused(Kind::Mysql)
}

#[test]
fn what_is_not_in_mariadbs_files_is_refused() -> Result<()> {
    what_is_not_in_the_files_is_refused(Kind::Mariadb)
}

fn a_gap_is_seen(kind: Kind) -> Result<()> {
    let mut reports = Reports::default();
    let history = History::new(kind)?;
    let files = history.files()?;
    let file = |number: usize| files[number - 1].clone();
    // By number.
    for (files, written) in [
        (vec![file(1), file(3)], "1\n2\n3\n"),
        (vec![file(2), file(1)], "4\n"),
        (vec![file(2), file(2)], "4\n"),
    ] {
        let (rows, report) = refused(&files, &[], 65)?;
        assert_eq!(rows, written);
        ensure!(
            report.contains("the next file must have number"),
            "{report}"
        );
        reports.add_log("files that do not follow each other", "65", &report);
    }
    // By what the next file says was before it, if names do not tell.
    let renamed = history.folder.path().join("three");
    fs::copy(file(3), &renamed)?;
    let (rows, report) = refused(&[file(1), renamed], &[], 65)?;
    reports.add_log("a file of another name", "65", &report);
    assert_eq!(rows, "1\n2\n3\n");
    ensure!(
        report.contains("that are in none of the files before it"),
        "{report}"
    );
    // A file that is cut off between two transactions is whole events, but not all of them.
    let [_, _, before_3, _] = &history.positions[..] else {
        anyhow::bail!("{:?}", history.positions);
    };
    let end: usize = before_3.rsplit(':').next().unwrap_or_default().parse()?;
    let cut = history.changed(1, |bytes| bytes.truncate(end))?;
    let (rows, report) = refused(&[cut.clone(), file(2)], &[], 65)?;
    reports.add_log("a file that was cut off", "65", &report);
    assert_eq!(rows, "1\n2\n");
    ensure!(
        report.contains("that are in none of the files before it"),
        "{report}"
    );
    // By itself it is like one that its server still writes to.
    assert_eq!(replayed(&[cut], &TABLE)?, "1\n2\n");
    // Whole events are missing in the middle.
    let position = |index: usize| -> Result<usize> {
        let position = history.positions[index].rsplit(':').next();
        Ok(position.unwrap_or_default().parse()?)
    };
    let hole = position(1)?..position(2)?;
    let file = history.changed(1, |bytes| drop(bytes.drain(hole)))?;
    let (rows, report) = refused(&[file], &[], 65)?;
    reports.add_log("a hole in a file", "65", &report);
    assert_eq!(rows, "1\n");
    ensure!(
        report.contains(&history.positions[1]) && report.contains("bytes before it are missing"),
        "{report}"
    );
    reports.assert(&format!("replay-gaps-{}", kind.name()));
    Ok(())
}

#[test]
fn a_gap_between_mysqls_files_is_seen() -> Result<()> {
    a_gap_is_seen(Kind::Mysql)
}

#[test]
fn a_gap_between_mariadbs_files_is_seen() -> Result<()> {
    a_gap_is_seen(Kind::Mariadb)
}

#[test]
fn files_that_are_no_binlogs_are_refused_by_name() -> Result<()> {
    let mut reports = Reports::default();
    let history = History::new(Kind::Mysql)?;
    let files = history.files()?;
    let index = history.server.binlog_dir().join("binlog.index");
    let encrypted = history.changed(1, |bytes| bytes[0] = 0xfd)?;
    let relay_log = history.changed(2, |bytes| {
        // The flag in the format description's header, and the checksum with it.
        let size = u32::from_le_bytes([bytes[13], bytes[14], bytes[15], bytes[16]]) as usize;
        bytes[4 + 17] |= 0x40;
        bytes[4 + 17] &= !1;
        let sum = crc32fast::hash(&bytes[4..4 + size - 4]).to_le_bytes();
        bytes[size..4 + size].copy_from_slice(&sum);
    })?;
    let empty = history.changed(3, Vec::clear)?;
    let damaged = history.folder.path().join("binlog.000004.gz");
    let mut archive = fs::read(archived(&files[0], history.folder.path(), ".gz")?)?;
    // Behind the header of gzip: a type of block that there is not, which is seen whatever the file holds.
    archive[10] |= 0b110;
    fs::write(&damaged, archive)?;
    let missing = history.folder.path().join("binlog.000099");
    let folder = history.folder.path().to_owned();
    for (file, exit, said) in [
        (index, 65, "the file is not a binlog"),
        (encrypted, 65, "the file is encrypted"),
        (relay_log, 65, "the file is a relay log"),
        (empty, 65, "the file is not a binlog"),
        (damaged, 65, "binlog.000004.gz"),
        (missing, 64, "cannot read"),
        (folder, 64, "no regular file"),
    ] {
        let (rows, report) = refused(std::slice::from_ref(&file), &[], exit)?;
        assert_eq!(rows, "", "{}", file.display());
        ensure!(report.contains(said), "{said}: {report}");
        ensure!(report.contains(&file.display().to_string()), "{report}");
        reports.add_log(said, &exit.to_string(), &report);
    }
    reports.assert("replay-files");
    Ok(())
}

#[test]
fn a_table_that_is_nowhere_is_told() -> Result<()> {
    let history = History::new(Kind::Mariadb)?;
    let output = replay(&history.files()?, &["--table", "shop.t", "--out", "-"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.success() && log.contains("nothing of a table shop.t"),
        "{log}"
    );
    let output = replay(&history.files()?, &["--out", "-"])?;
    ensure!(output.status.code() == Some(64), "{}", output.status);
    Ok(())
}
