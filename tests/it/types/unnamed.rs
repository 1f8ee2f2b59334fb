//! Table maps that do not name their columns (`binlog_row_metadata` MINIMAL and NO_LOG): the server
//! tells what they leave out, and what does not fit stops the agent.

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::columns::Column;
use super::oracle::Session;
use super::{columns, interleaved, lines, seed, short, table};
use crate::agent::{Workplace, eventually};
use crate::sales::config;
use crate::support::program::program;
use crate::support::servers::{Kind, Server};

const ROWS: usize = 500;

const SILENT: [(Kind, &str); 4] = [
    (Kind::Mysql, "MINIMAL"),
    (Kind::Mariadb, "MINIMAL"),
    (Kind::Mariadb, "NO_LOG"),
    (Kind::Mariadb11, "NO_LOG"),
];

fn server(kind: Kind, metadata: &str) -> Result<Server> {
    let metadata = format!("--binlog-row-metadata={metadata}");
    Server::start(kind, &["--sql-mode=", &metadata])
}

fn types_without_names(kind: Kind, metadata: &str) -> Result<()> {
    let server = server(kind, metadata)?;
    let mut session = Session::open(&server)?;
    let (all, written) = interleaved(kind, columns::supported(kind));
    let definitions: Vec<String> = all.iter().map(Column::definition).collect();
    session.run("CREATE DATABASE shop")?;
    session.run(&format!(
        "CREATE TABLE shop.Types (id bigint unsigned NOT NULL, {}, \
         odd enum('it''s', 'a,b', 'back\\\\slash', 'Größe', '(x)') character set latin1, \
         many set({}), shout varchar(30) AS (CONCAT(id, '!')) VIRTUAL, secret int DEFAULT 7 INVISIBLE)",
        definitions.join(", "),
        (0..33).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
    ))?;
    let mut rng = StdRng::seed_from_u64(seed()?);
    let bounds: Vec<Vec<String>> = all.iter().map(Column::bounds).collect();
    for number in 0..ROWS {
        let mut values = vec![number.to_string()];
        for (column, bounds) in all.iter().zip(&bounds) {
            let bound = bounds.get(number).cloned();
            values.push(bound.unwrap_or_else(|| column.random(&short(bounds), &mut rng)));
        }
        let odd = [
            "'it''s'",
            "'a,b'",
            "'back\\\\slash'",
            "'Größe'",
            "'(x)'",
            "NULL",
        ];
        let values = values.join(", ");
        session.run(&format!(
            "INSERT INTO shop.Types VALUES ({values}, {}, '7,32', DEFAULT)",
            odd[number % odd.len()]
        ))?;
    }
    let mut written = written;
    written.extend(["odd", "many", "shout", "secret"].map(str::to_owned));
    let lines = lines(&server, &table("shop.Types", &written))?;
    let row_count = session.compare("shop", "Types", Some(&written), lines.as_bytes())?;
    ensure!(row_count == ROWS);
    Ok(())
}

#[test]
fn types_of_mysql_are_known_without_names() -> Result<()> {
    types_without_names(Kind::Mysql, "MINIMAL")
}

#[test]
fn types_of_mariadb_are_known_without_names() -> Result<()> {
    types_without_names(Kind::Mariadb, "MINIMAL")
}

#[test]
fn types_of_mariadb_11_are_known_without_names() -> Result<()> {
    types_without_names(Kind::Mariadb11, "MINIMAL")
}

#[test]
fn types_of_mariadb_are_known_without_anything() -> Result<()> {
    types_without_names(Kind::Mariadb, "NO_LOG")
}

#[test]
fn types_of_mariadb_11_are_known_without_anything() -> Result<()> {
    types_without_names(Kind::Mariadb11, "NO_LOG")
}

fn shop(kind: Kind, metadata: &str) -> Result<Server> {
    let server = server(kind, metadata)?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, a varchar(9), b varchar(9))")?;
    Ok(server)
}

fn following(server: &Server) -> Result<Workplace> {
    Workplace::new(&config(server, "name = \"shop.T\"", "type = \"stdout\""))
}

fn stops(workplace: &Workplace, said: &[&str]) -> Result<String> {
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(65),
        "{:?}: {log}",
        output.status
    );
    for word in said.iter().chain(&["binlog.0", "remedy: "]) {
        ensure!(log.contains(word), "{word}: {log}");
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_table_map_that_does_not_fit_stops_the_agent() -> Result<()> {
    for (kind, metadata) in SILENT {
        for (change, said) in [
            ("ADD COLUMN c int", "has 3 columns, the server's table 4"),
            ("MODIFY COLUMN id bigint", "column 1 is INT"),
            ("MODIFY COLUMN a text", "column 2 is CHAR, VARCHAR"),
            (
                "MODIFY COLUMN b varchar(9) NOT NULL",
                "column 3 is CHAR, VARCHAR",
            ),
            ("MODIFY COLUMN b varchar(300)", "column 3 is CHAR, VARCHAR"),
        ] {
            let server = shop(kind, metadata)?;
            server.sql(&format!(
                "USE shop; INSERT INTO T VALUES (1, 'a', 'b'); ALTER TABLE T {change}"
            ))?;
            let lines = stops(&following(&server)?, &["shop.T", said])?;
            ensure!(lines.is_empty(), "{lines}");
        }
    }
    // What the table map does tell is held against the server, too.
    let server = shop(Kind::Mysql, "MINIMAL")?;
    server.sql(
        "USE shop; INSERT INTO T VALUES (1, 'a', 'b'); ALTER TABLE T MODIFY COLUMN id int unsigned",
    )?;
    stops(
        &following(&server)?,
        &["column 1 is INT NOT NULL", "int unsigned NOT NULL"],
    )?;
    Ok(())
}

/// No table map tells that two columns have changed places.
#[test]
fn a_change_that_nobody_can_see_stops_the_agent() -> Result<()> {
    for (kind, metadata) in SILENT {
        let server = shop(kind, metadata)?;
        let workplace = Workplace::new("")?;
        let data = workplace.path("data");
        let sink = format!("path = \"{}\"\nflush_interval = \"20ms\"", data.display());
        workplace.configure(&config(&server, "name = \"shop.T\"", &sink))?;
        let mut agent = workplace.start()?;
        server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b')")?;
        eventually("the row is delivered", || {
            Ok(data
                .exists()
                .then(|| crate::agent::gunzip_all(&data))
                .transpose()?
                .filter(|lines| !lines.is_empty()))
        })?;
        server.sql("USE shop; ALTER TABLE T MODIFY COLUMN a varchar(9) AFTER b; INSERT INTO T VALUES (2, 'b', 'a')")?;
        let status = agent.wait()?;
        let log = agent.log();
        ensure!(
            status.code() == Some(65) && log.contains("may have changed the table's columns"),
            "{log}"
        );
        // A new start asks again, and goes on behind the change.
        workplace.drain()?;
        let lines = crate::agent::gunzip_all(&data)?;
        let mut lines: Vec<&str> = lines.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["1,a,b", "2,b,a"]);
        // From before the change on, it is too late to know.
        stops(&following(&server)?, &["may have changed table T"])?;
    }
    Ok(())
}

#[test]
fn replay_without_a_database_needs_names() -> Result<()> {
    let server = shop(Kind::Mysql, "MINIMAL")?;
    server.sql("INSERT INTO shop.T VALUES (1, 'a', 'b'); FLUSH BINARY LOGS")?;
    let output = program(env!("CARGO_BIN_EXE_hydrant"))
        .args(["replay", "--table", "shop.T", "--out", "-", "--binlog"])
        .arg(server.binlog_dir().join("binlog.000001"))
        .output()
        .context("cannot run hydrant")?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(65) && log.contains("no column names"),
        "{log}"
    );
    ensure!(
        log.contains("--config") && log.contains("[source]") && log.contains("--columns"),
        "{log}"
    );
    Ok(())
}

/// Without a database the names can be given; what else the binlog does not tell is refused.
#[test]
fn columns_name_those_of_a_binlog_without_names() -> Result<()> {
    for (kind, metadata, is_enough) in [
        (Kind::Mysql, "MINIMAL", true),
        (Kind::Mariadb, "MINIMAL", true),
        (Kind::Mariadb11, "MINIMAL", true),
        (Kind::Mariadb, "NO_LOG", false),
        (Kind::Mariadb11, "NO_LOG", false),
    ] {
        let server = server(kind, metadata)?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id INT UNSIGNED, `a,b` VARCHAR(9), c DOUBLE(8,2), \
             d VARBINARY(9)); INSERT INTO shop.T VALUES (4294967295, 'größe', 1.5, x'00ff'); \
             CREATE TABLE shop.E (id INT, e ENUM('x')); INSERT INTO shop.E VALUES (1, 'x'); \
             FLUSH BINARY LOGS",
        )?;
        let run = |table: &str, columns: &str| -> Result<(Option<i32>, String, String)> {
            let output = program(env!("CARGO_BIN_EXE_hydrant"))
                .args([
                    "replay",
                    "--table",
                    table,
                    "--out",
                    "-",
                    "--columns",
                    columns,
                    "--binlog",
                ])
                .arg(server.binlog_dir().join("binlog.000001"))
                .output()?;
            let text = |bytes| String::from_utf8(bytes);
            Ok((
                output.status.code(),
                text(output.stdout)?,
                text(output.stderr)?,
            ))
        };
        let (code, rows, log) = run("shop.T", "id, `a,b`, c DOUBLE(8,2), d")?;
        if !is_enough {
            ensure!(
                code == Some(65) && log.contains("with or without a sign"),
                "{log}"
            );
            ensure!(log.contains("--config") && log.contains("FULL"), "{log}");
            continue;
        }
        ensure!(code == Some(0), "{log}");
        assert_eq!(rows, "4294967295,größe,1.50,00FF\n", "{}", kind.name());
        let (code, rows, log) = run("shop.T", "id, d")?;
        ensure!(
            code == Some(65) && log.contains("it has 4 columns, and 2 are named"),
            "{log}"
        );
        ensure!(rows.is_empty() && log.contains("in its order"), "{log}");
        let (code, _, log) = run("shop.E", "id, e")?;
        ensure!(
            code == Some(65) && log.contains("column 2, e, is an ENUM"),
            "{log}"
        );
    }
    Ok(())
}
