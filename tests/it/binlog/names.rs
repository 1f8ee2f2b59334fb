//! Names with characters that mean something elsewhere: points, commas, backticks, ends of lines.

use anyhow::Result;

use crate::setup::agent::{Workplace, gunzip_all};
use crate::setup::replay::{replay, replayed};
use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

#[test]
fn names_are_quoted_as_in_sql() -> Result<()> {
    for kind in [Kind::Mysql, Kind::Mariadb] {
        let server = Server::start(kind, &["--binlog-row-image=MINIMAL"])?;
        server.sql(
            "CREATE DATABASE `my.db`; CREATE DATABASE `my`; \
             CREATE TABLE `my.db`.Sales (id INT PRIMARY KEY, `a,b` INT DEFAULT 5, `c``d` INT DEFAULT 6, e INT DEFAULT 7); \
             CREATE TABLE `my`.`db.Sales` (id INT PRIMARY KEY); \
             INSERT INTO my.`db.Sales` VALUES (9); INSERT INTO `my.db`.Sales (id) VALUES (1)",
        )?;
        let url = server.url();
        let workplace = Workplace::new(&format!(
            "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\nname = \"`my.db`.Sales\"\n\
             metadata = [\"absent\"]\n[sink]\ntype = \"stdout\"\n"
        ))?;
        // A list of names must be one that can be split again.
        assert_eq!(workplace.drain()?, "1,,,,\"`a,b`,`c``d`,e\"\n");

        let unquoted = Workplace::new(&format!(
            "source.url = \"{url}\"\ntable = [{{ name = \"no.db.Orders\" }}]\n"
        ))?;
        let output = unquoted.run(&["--until", "now"])?;
        let log = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(78), "{log}");
        assert!(log.contains("in backticks"), "{log}");

        server.sql("FLUSH BINARY LOGS")?;
        let files = binlogs(&server)?;
        let arguments = |columns| {
            [
                "--table",
                "`my.db`.Sales",
                "--columns",
                columns,
                "--out",
                "-",
            ]
        };
        let output = replay(&files, &arguments("id,`a,b`"))?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains("does not hold the columns `a,b`\n"), "{log}");
        assert_eq!(replayed(&files, &arguments("`id`"))?, "1\n");
        let other = ["--table", "my.db.Sales", "--columns", "id", "--out", "-"];
        assert_eq!(replayed(&files, &other)?, "9\n");
    }
    Ok(())
}

#[test]
fn a_name_cannot_write_lines_of_the_log() -> Result<()> {
    let server = Server::mysql(&[])?;
    let name = "T\nERROR forged\u{1b}[2J";
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.`{name}` (`a\nWARN b` INT PRIMARY KEY); \
         INSERT INTO shop.`{name}` VALUES (1)"
    ))?;
    let url = server.url();
    let config = format!(
        "[source]\nurl = \"{url}\"\nstart = \"earliest\"\n[[table]]\nname = \"shop.`T\\nERROR forged\\u001b[2J`\"\n\
         columns = [\"a\\nWARN b\"]\n[sink]\npath = \"OUT\"\n"
    );
    let workplace = Workplace::new("")?;
    let folder = workplace.path("out");
    let config = config.replace("OUT", &folder.display().to_string());
    workplace.configure(&config)?;
    for format in [
        &["--until", "now"][..],
        &["--until", "now", "--log-format", "json"],
    ] {
        let output = workplace.run(format)?;
        let log = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{log}");
        let is_hostile = |character: char| character.is_control() && character != '\n';
        assert!(!log.contains(is_hostile), "{log:?}");
        assert!(log.contains("forged"), "{log}");
        let forged = |line: &str| line.starts_with("ERROR") || line.starts_with("WARN");
        assert!(!log.lines().any(forged), "{log}");
    }
    assert_eq!(gunzip_all(&folder)?, "1\n");
    // And in the last line of a run that fails.
    workplace.configure(&config.replace("WARN b", "WARN c"))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(78), "{log}");
    let report = log
        .split_once("hydrant: ")
        .map(|(_, report)| report)
        .unwrap_or_default();
    assert_eq!(report.trim_end().lines().count(), 2, "{log}");
    assert!(report.contains(r"T\nERROR forged\u{1b}"), "{log}");
    Ok(())
}

#[test]
fn a_replay_needs_to_be_told_a_table() -> Result<()> {
    let output = replay(&["binlog.000001".into()], &["--out", "-"])?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    assert!(log.contains("--table") && log.contains("--config"), "{log}");
    let both = replay(
        &["binlog.000001".into()],
        &["--out", "-", "--table", "a.b", "--config", "x.toml"],
    )?;
    assert_eq!(both.status.code(), Some(64));
    Ok(())
}
