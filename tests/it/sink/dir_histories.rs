//! What is in a directory stays there, whoever writes there next; and who may read it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config, files_below, gunzip_all};
use crate::setup::replay::{replay, replayed};
use crate::setup::servers::{binlogs, end_of_binlog, pair, replicate, reset_binlog, stop_replicating};
use testkit::servers::{Kind, Server};

const TABLE: &str = "name = \"shop.T\"";

fn create(server: &Server) -> Result<()> {
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int, v varchar(20))")?;
    Ok(())
}

/// All rows that the server has, delivered by an agent that knows of no other.
fn deliver(server: &Server, table: &str, data: &Path) -> Result<()> {
    let sink = format!("path = \"{}\"", data.display());
    Workplace::new(&config(server, table, &sink))?
        .drain()
        .map(drop)
}

fn lines(data: &Path) -> Result<Vec<String>> {
    let mut lines: Vec<String> = gunzip_all(data)?.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

/// File, offset and ordinal of each object.
fn places(data: &Path) -> Result<Vec<String>> {
    let place = |path: PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(name.split('-').take(3).collect::<Vec<_>>().join("-"))
    };
    let objects = files_below(data, ".gz")?;
    objects
        .into_iter()
        .map(|path| place(path).context("no name"))
        .collect()
}

/// The test is about objects that would have had one name.
fn ensure_one_place(data: &Path, objects: usize) -> Result<()> {
    let places = places(data)?;
    let distinct: BTreeSet<&String> = places.iter().collect();
    ensure!(places.len() == objects && distinct.len() == 1, "{places:?}");
    Ok(())
}

fn rows_of_every_history_are_there(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    create(&server)?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    for rows in [
        "(1, 'one'), (2, 'two')",
        "(3, 'one')",
        "(1, 'one'), (2, 'two')",
    ] {
        reset_binlog(&server)?;
        // MariaDB's commits have seconds; the third history is the first again.
        server.sql(&format!(
            "SELECT SLEEP(1); INSERT INTO shop.T VALUES {rows}"
        ))?;
        deliver(&server, TABLE, &data)?;
    }
    ensure_one_place(&data, 3)?;
    assert_eq!(lines(&data)?, ["1,one", "1,one", "2,two", "2,two", "3,one"]);
    Ok(())
}

#[test]
fn rows_of_every_history_of_mysql_are_there() -> Result<()> {
    rows_of_every_history_are_there(Kind::Mysql)
}

#[test]
fn rows_of_every_history_of_mariadb_are_there() -> Result<()> {
    rows_of_every_history_are_there(Kind::Mariadb)
}

#[test]
fn rows_of_every_history_of_mariadb_11_are_there() -> Result<()> {
    rows_of_every_history_are_there(Kind::Mariadb11)
}

/// Its files are numbered from 1, too.
fn rows_of_both_servers_are_there(kind: Kind) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    for rows in ["(1, 'one'), (2, 'two')", "(3, 'one')"] {
        let server = Server::start(kind, &[])?;
        create(&server)?;
        server.sql(&format!("INSERT INTO shop.T VALUES {rows}"))?;
        deliver(&server, TABLE, &data)?;
    }
    ensure_one_place(&data, 2)?;
    assert_eq!(lines(&data)?, ["1,one", "2,two", "3,one"]);
    Ok(())
}

#[test]
fn rows_of_two_mysqls_are_there() -> Result<()> {
    rows_of_both_servers_are_there(Kind::Mysql)
}

#[test]
fn rows_of_two_mariadbs_are_there() -> Result<()> {
    rows_of_both_servers_are_there(Kind::Mariadb)
}

#[test]
fn rows_of_two_mariadb_11s_are_there() -> Result<()> {
    rows_of_both_servers_are_there(Kind::Mariadb11)
}

/// The primary dies with a transaction that its replica never had, and the replica has another one there, behind
/// those that both have.
fn rows_that_a_failover_loses_stay_there(kind: Kind) -> Result<()> {
    let (primary, replica) = pair(kind)?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    create(&primary)?;
    let insert = |server: &Server, row| server.sql(&format!("INSERT INTO shop.T VALUES {row}"));
    insert(&primary, "(1, 'one')")?;
    replicate(&primary, &replica)?;
    stop_replicating(&replica)?;
    insert(&primary, "(2, 'two')")?;
    insert(&replica, "(3, 'one')")?;
    deliver(&primary, TABLE, &data)?;
    deliver(&replica, TABLE, &data)?;
    // The first transaction is the same one on both. A replica's GTID events are longer on MySQL, so that it stands elsewhere.
    match kind {
        Kind::Mysql => ensure!(places(&data)?.len() == 2),
        Kind::Mariadb | Kind::Mariadb11 => ensure_one_place(&data, 2)?,
    }
    assert_eq!(lines(&data)?, ["1,one", "1,one", "2,two", "3,one"]);
    Ok(())
}

#[test]
fn rows_that_a_failover_of_mysql_loses_stay_there() -> Result<()> {
    rows_that_a_failover_loses_stay_there(Kind::Mysql)
}

#[test]
fn rows_that_a_failover_of_mariadb_loses_stay_there() -> Result<()> {
    rows_that_a_failover_loses_stay_there(Kind::Mariadb)
}

#[test]
fn rows_that_a_failover_of_mariadb_11_loses_stay_there() -> Result<()> {
    rows_that_a_failover_loses_stay_there(Kind::Mariadb11)
}

fn later_runs_take_nothing_away(kind: Kind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    create(&server)?;
    let mut ends = Vec::new();
    for id in 1..=10 {
        server.sql(&format!("INSERT INTO shop.T VALUES ({id}, 'v{id}')"))?;
        ends.push(end_of_binlog(&server)?);
    }
    let files = binlogs(&server)?;
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let replay = |until: &str, columns: &str| {
        let out = out.display().to_string();
        let table = ["--table", "shop.T", "--columns", columns];
        replayed(
            &files,
            &[&table[..], &["--out", &out, "--until", until]].concat(),
        )
    };
    let row = |id: usize| format!("{id},v{id}");
    let mut expected: Vec<String> = (1..=3).map(row).collect();
    let (three, ten) = (&ends[2], &ends[9]);

    // Longer, shorter and the same again: the rows are there, and once.
    replay(three, "id, v")?;
    assert_eq!(lines(&out)?, expected);
    expected = (1..=10).map(row).collect();
    expected.sort();
    for until in [ten, three, ten] {
        replay(until, "id, v")?;
        assert_eq!(lines(&out)?, expected);
    }
    let objects = files_below(&out, ".gz")?;
    ensure!(objects.len() == 2, "{objects:?}");
    let before: Vec<Vec<u8>> = objects.iter().map(fs::read).collect::<Result<_, _>>()?;

    // Other columns: both are there.
    for _ in 0..2 {
        replay(ten, "v, id")?;
        let mut both = expected.clone();
        both.extend((1..=10).map(|id| format!("v{id},{id}")));
        both.sort();
        assert_eq!(lines(&out)?, both);
    }
    let now: Vec<Vec<u8>> = objects.iter().map(fs::read).collect::<Result<_, _>>()?;
    ensure!(now == before, "an object has changed");
    Ok(())
}

#[test]
fn later_runs_over_mysqls_files_take_nothing_away() -> Result<()> {
    later_runs_take_nothing_away(Kind::Mysql)
}

#[test]
fn later_runs_over_mariadbs_files_take_nothing_away() -> Result<()> {
    later_runs_take_nothing_away(Kind::Mariadb)
}

#[test]
fn later_runs_over_mariadb_11s_files_take_nothing_away() -> Result<()> {
    later_runs_take_nothing_away(Kind::Mariadb11)
}

#[test]
fn a_second_agent_with_other_columns_takes_nothing_away() -> Result<()> {
    let server = Server::mysql(&[])?;
    create(&server)?;
    server.sql("INSERT INTO shop.T VALUES (1, 'one'), (2, 'two')")?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let other = format!("{TABLE}\ncolumns = [\"v\"]");
    for table in [TABLE, &other, TABLE, &other] {
        deliver(&server, table, &data)?;
    }
    ensure_one_place(&data, 2)?;
    assert_eq!(lines(&data)?, ["1,one", "2,two", "one", "two"]);

    // Somebody who finds them there is told.
    let sink = format!("path = \"{}\"", data.display());
    let workplace = Workplace::new(&config(&server, &other, &sink))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{log}");
    ensure!(
        log.contains("WARN") && log.contains("has other rows, and keeps them"),
        "{log}"
    );
    Ok(())
}

#[test]
fn objects_have_the_mode_that_the_umask_gives() -> Result<()> {
    let server = Server::mysql(&[])?;
    create(&server)?;
    server.sql("INSERT INTO shop.T VALUES (1, 'one')")?;
    let files = binlogs(&server)?;
    for (umask, file_mode, folder_mode) in [("022", 0o644, 0o755), ("027", 0o640, 0o750)] {
        let folder = tempfile::tempdir()?;
        let out = folder.path().join("out");
        let output = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_hydrant"))
            .args(["replay", "--table", "shop.T", "--out"])
            .arg(&out)
            .arg("--binlog")
            .args(&files)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mode =
            |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.permissions().mode() & 0o777);
        let objects = files_below(&out, ".gz")?;
        ensure!(objects.len() == 1, "{objects:?}");
        for object in &objects {
            assert_eq!(mode(object)?, file_mode, "{umask}");
            for folder in object
                .ancestors()
                .skip(1)
                .take_while(|it| it.starts_with(&out))
            {
                assert_eq!(mode(folder)?, folder_mode, "{umask} {}", folder.display());
            }
        }
    }
    Ok(())
}

/// Where others may write, they could lead hydrant to files that only it may write. That the directory itself is a
/// link is its operator's choice.
#[test]
fn no_link_leads_what_is_unfinished_away() -> Result<()> {
    let server = Server::mysql(&[])?;
    create(&server)?;
    server.sql("INSERT INTO shop.T VALUES (1, 'one')")?;
    let folder = tempfile::tempdir()?;
    let [disk, data, away] = ["disk", "data", "away"].map(|it| folder.path().join(it));
    fs::create_dir(&disk)?;
    fs::create_dir(&away)?;
    symlink(&disk, &data)?;
    deliver(&server, TABLE, &data)?;
    assert_eq!(lines(&disk)?, ["1,one"]);

    fs::remove_dir_all(disk.join(".unfinished"))?;
    symlink(&away, disk.join(".unfinished"))?;
    fs::write(away.join("shop.T+another's"), "")?;
    let sink = format!("path = \"{}\"", data.display());
    let workplace = Workplace::new(&config(&server, TABLE, &sink))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(78), "{log}");
    ensure!(
        log.contains("is a symbolic link") && log.contains("remove it"),
        "{log}"
    );
    ensure!(files_below(&away, "")?.len() == 1);
    Ok(())
}

#[test]
fn a_column_with_the_name_of_a_folder_is_told() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int, dt date, HR int)")?;
    let folder = tempfile::tempdir()?;
    let data = format!("path = \"{}\"", folder.path().join("data").display());
    let chosen = format!("{TABLE}\ncolumns = [\"id\"]");
    for (table, sink, is_told) in [
        (TABLE, data.as_str(), true),
        (&chosen, data.as_str(), false),
        (TABLE, "type = \"stdout\"", false),
    ] {
        let workplace = Workplace::new(&config(&server, table, sink))?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{log}");
        let told = "WARN table shop.T: the objects' folders have the names of its columns dt, HR";
        let told: Vec<&str> = log.lines().filter(|line| line.contains(told)).collect();
        assert_eq!(told.len(), usize::from(is_told), "{log}");
        ensure!(
            told.iter()
                .all(|line| line.contains("hive_partitioning = false")),
            "{log}"
        );
    }
    Ok(())
}
