//! Text that is not valid in its character set, which servers store: written with U+FFFD, or stopped at.

use anyhow::{Result, ensure};

use crate::setup::agent::{Workplace, config};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

/// Columns that take halves of surrogate pairs, their values, and the lines that come of them.
struct Case {
    columns: &'static str,
    rows: &'static [(&'static str, &'static str)],
    /// Cells in which something is replaced, once for each column but the last.
    replaced: usize,
}

const OF_MARIADB: Case = Case {
    columns: "id int, t varchar(40), u varchar(40) CHARACTER SET utf8mb3, c varchar(40) CHARACTER SET ucs2, \
              w varchar(40) CHARACTER SET utf32, p text COMPRESSED, e enum('a', x'42EDA0BD'), \
              s set('a', x'0041D83D') CHARACTER SET ucs2, j json",
    rows: &[
        (
            "1, concat('cut emoji ',x'EDA0BD'), concat(x'EDA0BD','end'), _ucs2 x'0041D83D', \
             _utf32 x'000000410000D83D', concat(repeat('x', 120), x'EDA0BD'), 2, 3, \
             json_object('a', _ucs2 x'D83D')",
            "1,cut emoji ?,?end,A?,A?,XXX?,B?,\"a,A?\",\"{\"\"a\"\": \"\"?\"\"}\"\n",
        ),
        (
            "2, concat(x'EDA0BDEDB88020', x'C3A9'), 'fine', 'fine', 'fine', 'fine', 1, 1, '{}'",
            "2,?? é,fine,fine,fine,fine,a,a,{}\n",
        ),
    ],
    replaced: 9,
};

const OF_MYSQL: Case = Case {
    columns: "id int, c varchar(40) CHARACTER SET ucs2, k json, j json",
    rows: &[
        (
            "1, _ucs2 x'0041D83D', json_object(_ucs2 x'D83D', 1), '{}'",
            "1,A?,\"{\"\"?\"\": 1}\",{}\n",
        ),
        ("2, _ucs2 x'D83DDE000042', '{}', '{}'", "2,??B,{},{}\n"),
    ],
    replaced: 3,
};

fn case(kind: Kind) -> &'static Case {
    match kind {
        Kind::Mysql => &OF_MYSQL,
        Kind::Mariadb | Kind::Mariadb11 => &OF_MARIADB,
    }
}

impl Case {
    fn server(&self, kind: Kind, metadata: &str) -> Result<Server> {
        let server = Server::start(kind, &[&format!("--binlog-row-metadata={metadata}")])?;
        let columns = self.columns;
        server.sql(&format!(
            "CREATE DATABASE shop; CREATE TABLE shop.T ({columns})"
        ))?;
        for (values, _) in self.rows {
            server.sql(&format!("INSERT INTO shop.T VALUES ({values})"))?;
        }
        Ok(server)
    }

    fn lines(&self) -> String {
        let lines: String = self.rows.iter().map(|(_, line)| *line).collect();
        let long = "x".repeat(120);
        lines.replace("XXX", &long).replace('?', "\u{fffd}")
    }
}

/// A workplace that writes the table to standard output.
fn workplace(server: &Server, keys: &str) -> Result<Workplace> {
    let table = format!("name = \"shop.T\"\n{keys}");
    Workplace::new(&config(server, &table, "type = \"stdout\""))
}

fn is_replaced(kind: Kind, metadata: &str) -> Result<()> {
    let case = case(kind);
    let server = case.server(kind, metadata)?;
    let workplace = workplace(&server, "")?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    assert_eq!(String::from_utf8(output.stdout)?, case.lines());
    let has_labels_from_server = metadata == "MINIMAL" && kind != Kind::Mysql;
    // The server's own words for labels have been made valid before.
    let replaced = case.replaced - if has_labels_from_server { 2 } else { 0 };
    ensure!(
        log.contains(&format!("{replaced} cells with invalid text")),
        "{log}"
    );
    let warnings = log.matches("is not valid in its character set").count();
    assert_eq!(warnings, replaced - 1, "{log}");
    ensure!(
        log.contains("table shop.T, column c, transaction at binlog.000001:"),
        "{log}"
    );
    ensure!(!log.contains("cut emoji"), "{log}");
    if metadata == "FULL" {
        let files = binlogs(&server)?;
        let table = ["--table", "shop.T", "--out", "-"];
        assert_eq!(replayed(&files, &table)?, case.lines());
    }
    Ok(())
}

#[test]
fn text_that_is_not_valid_is_replaced() -> Result<()> {
    for kind in Kind::ALL {
        is_replaced(kind, "FULL")?;
    }
    Ok(())
}

#[test]
fn text_that_is_not_valid_is_replaced_without_names_in_the_binlog() -> Result<()> {
    for kind in Kind::ALL {
        is_replaced(kind, "MINIMAL")?;
    }
    Ok(())
}

#[test]
fn text_that_is_not_valid_stops_the_agent_if_asked_to() -> Result<()> {
    for kind in Kind::ALL {
        let case = case(kind);
        let server = case.server(kind, "FULL")?;
        let workplace = workplace(
            &server,
            "columns = [\"id\", \"c\"]\ninvalid_text = \"stop\"",
        )?;
        server.sql("DELETE FROM shop.T WHERE id = 1")?;
        for _ in 0..2 {
            let output = workplace.run(&["--until", "now"])?;
            let log = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(65), "{log}");
            for said in [
                "column c",
                "not valid",
                "binlog.000001:",
                "invalid_text = \"replace\"",
            ] {
                ensure!(log.contains(said), "{said}: {log}");
            }
            ensure!(output.stdout.is_empty());
        }
        let text = std::fs::read_to_string(workplace.path("hydrant.toml"))?;
        std::fs::write(
            workplace.path("hydrant.toml"),
            text.replace("\"stop\"", "\"replace\""),
        )?;
        ensure!(workplace.drain()?.starts_with("1,A\u{fffd}\n2,"));
    }
    Ok(())
}

/// Whatever row of an event it is in, what came before is delivered.
#[test]
fn a_bad_row_behind_good_ones_stops_the_agent_after_those_of_before() -> Result<()> {
    for kind in Kind::ALL {
        let server = Server::start(kind, &["--sql-mode="])?;
        server.sql(
            "CREATE DATABASE shop; USE shop; \
             CREATE TABLE T (id int PRIMARY KEY, c varchar(20) CHARACTER SET ucs2); \
             INSERT INTO T VALUES (1, 'before'); INSERT INTO T VALUES (10, 'a'), (11, x'D83D'), (12, 'z')",
        )?;
        let keys = "name = \"shop.T\"\ninvalid_text = \"stop\"";
        let workplace = Workplace::new(&crate::setup::agent::config(
            &server,
            keys,
            "type = \"stdout\"",
        ))?;
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{kind:?}: {log}");
        let lines = String::from_utf8_lossy(&output.stdout);
        ensure!(
            lines.starts_with("1,before\n") && !lines.contains("11,"),
            "{lines}"
        );
    }
    Ok(())
}
