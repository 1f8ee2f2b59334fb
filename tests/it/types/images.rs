//! Updates and deletes, and row images that do not hold everything: a table that is made of the lines
//! must be the table that SELECT shows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::oracle::{Session, split};
use super::{columns, seed, server, short};
use crate::setup::agent::{Workplace, config};
use testkit::servers::{Kind, Server};

const EVENTS: &str = "events = [\"insert\", \"update\", \"delete\"]";

const COMPRESSION_OF_MARIADB: [&str; 2] = [
    "SET GLOBAL log_bin_compress_min_len = 10",
    "SET GLOBAL log_bin_compress = ON",
];

/// `hydrant cdc --until now` on one table, to standard output.
fn run(server: &Server, table: &str) -> Result<(Option<i32>, String, String)> {
    let workplace = Workplace::new(&config(server, table, "type = \"stdout\""))?;
    let output = workplace.run(&["--until", "now"])?;
    Ok((
        output.status.code(),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

fn delivered(server: &Server, table: &str) -> Result<String> {
    let (code, lines, log) = run(server, table)?;
    ensure!(code == Some(0), "{log}");
    Ok(lines)
}

/// The agent must stop with exit 65, and say where, why and what to do.
fn stops(server: &Server, table: &str, said: &[&str]) -> Result<()> {
    let (code, _, log) = run(server, table)?;
    ensure!(code == Some(65), "{code:?}: {log}");
    for word in said.iter().chain(&["binlog.0", "remedy: "]) {
        ensure!(log.contains(word), "{word}: {log}");
    }
    Ok(())
}

/// A field as it stands in the line.
fn raw(quoted: bool, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    if quoted {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

/// Applies lines of `names`, then operation and absent, to a table in memory, by their first field.
/// Gives its lines in the order of that field, and whether any column was absent.
fn replicated(lines: &str, names: &[String]) -> Result<(String, bool)> {
    let mut rows: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut before = None;
    let mut has_absent = false;
    for record in split(lines.as_bytes())? {
        let mut fields: Vec<String> = record.iter().map(|f| raw(f.quoted, &f.text)).collect();
        let absent = fields.pop().context("no field")?;
        let operation = fields.pop().context("no field")?;
        ensure!(fields.len() == names.len(), "{fields:?}");
        let key: u64 = fields[0].parse().context("no key")?;
        has_absent |= !absent.is_empty();
        let absent: Vec<&str> = absent.trim_matches('"').split(',').collect();
        let held = rows.get(&key);
        for (name, field) in names.iter().zip(&mut fields) {
            if absent.contains(&name.as_str()) {
                ensure!(field.is_empty(), "a value that is not there: {field}");
                let index = names.iter().position(|other| other == name);
                let held = held.and_then(|row| row.get(index?));
                field.clone_from(held.context("an insert left a column out")?);
            }
        }
        match operation.as_str() {
            "I" => ensure!(rows.insert(key, fields).is_none(), "{key} is there"),
            "B" => {
                ensure!(
                    held == Some(&fields),
                    "not what was there before: {fields:?}"
                );
                before = Some(key);
            }
            "U" => {
                ensure!(before.take() == Some(key), "no row before {key}");
                ensure!(rows.insert(key, fields).is_some(), "{key} was not there");
            }
            "D" => ensure!(rows.remove(&key) == Some(fields), "{key} was another"),
            other => anyhow::bail!("operation {other}"),
        }
    }
    let rows = rows.values().map(|row| row.join(",") + "\n");
    Ok((rows.collect(), has_absent))
}

/// Random changes of a table with a column of each type that can be written.
fn changes_make_the_table(kind: Kind, row_image: &str) -> Result<()> {
    changes_make_the_table_with(kind, row_image, &[])
}

/// The same after these statements.
fn changes_make_the_table_with(kind: Kind, row_image: &str, settings: &[&str]) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    for setting in settings {
        session.run(setting)?;
    }
    let all = columns::supported(kind);
    let definitions: Vec<String> = all.iter().map(columns::Column::definition).collect();
    session.run("CREATE DATABASE shop")?;
    session.run(&format!(
        "CREATE TABLE shop.Types (id bigint PRIMARY KEY, {})",
        definitions.join(", ")
    ))?;
    session.run(&format!("SET binlog_row_image = '{row_image}'"))?;
    let mut rng = StdRng::seed_from_u64(seed()?);
    let texts: Vec<Vec<String>> = all.iter().map(columns::Column::bounds).collect();
    let bounds: Vec<Vec<&str>> = texts.iter().map(|texts| short(texts)).collect();
    let value = |index: usize, rng: &mut StdRng| match rng.random_range(0..3) {
        0 => bounds[index][rng.random_range(0..bounds[index].len())].to_owned(),
        _ => all[index].random(&bounds[index], rng),
    };
    for number in 0..600 {
        let key = rng.random_range(0..60);
        session.run(&match rng.random_range(0..10) {
            0..3 => {
                let values: Vec<String> = (0..all.len()).map(|i| value(i, &mut rng)).collect();
                format!(
                    "INSERT IGNORE INTO shop.Types VALUES ({key}, {})",
                    values.join(", ")
                )
            }
            3 => format!("DELETE FROM shop.Types WHERE id IN ({key}, {})", key + 1),
            _ => {
                let index = rng.random_range(0..all.len());
                let other = (index + 1 + number % (all.len() - 1)) % all.len();
                format!(
                    "UPDATE IGNORE shop.Types SET `{}` = {}, `{}` = {} WHERE id BETWEEN {key} AND {}",
                    all[index].name,
                    value(index, &mut rng),
                    all[other].name,
                    value(other, &mut rng),
                    key + 5
                )
            }
        })?;
    }
    let mut names = vec!["id".to_owned()];
    names.extend(all.iter().map(|column| column.name.clone()));
    let lines = delivered(
        &server,
        &format!(
            "name = \"shop.Types\"\ncolumns = {names:?}\n{EVENTS}\nbefore_image = true\n\
             metadata = [\"absent\"]"
        ),
    )?;
    let (replica, has_absent) = replicated(&lines, &names)?;
    ensure!(has_absent == (row_image != "FULL"), "{row_image}");
    let row_count = session.compare("shop", "Types", Some(&names), replica.as_bytes())?;
    ensure!(row_count > 10, "{row_count}");
    Ok(())
}

#[test]
fn changes_make_the_table_on_mysql() -> Result<()> {
    changes_make_the_table(Kind::Mysql, "FULL")
}

#[test]
fn changes_make_the_table_on_mariadb() -> Result<()> {
    changes_make_the_table(Kind::Mariadb, "FULL")
}

#[test]
fn changes_make_the_table_on_mariadb_11() -> Result<()> {
    changes_make_the_table(Kind::Mariadb11, "FULL")
}

#[test]
fn minimal_images_make_the_table_on_mysql() -> Result<()> {
    changes_make_the_table(Kind::Mysql, "MINIMAL")
}

#[test]
fn minimal_images_make_the_table_on_mariadb() -> Result<()> {
    changes_make_the_table(Kind::Mariadb, "MINIMAL")
}

#[test]
fn minimal_images_make_the_table_on_mariadb_11() -> Result<()> {
    changes_make_the_table(Kind::Mariadb11, "MINIMAL")
}

#[test]
fn compressed_changes_make_the_table_on_mysql() -> Result<()> {
    let settings = ["SET binlog_transaction_compression = ON"];
    changes_make_the_table_with(Kind::Mysql, "MINIMAL", &settings)
}

#[test]
fn compressed_changes_make_the_table_on_mariadb() -> Result<()> {
    changes_make_the_table_with(Kind::Mariadb, "FULL", &COMPRESSION_OF_MARIADB)
}

#[test]
fn compressed_changes_make_the_table_on_mariadb_11() -> Result<()> {
    changes_make_the_table_with(Kind::Mariadb11, "FULL", &COMPRESSION_OF_MARIADB)
}

#[test]
fn images_without_blobs_make_the_table_on_mysql() -> Result<()> {
    changes_make_the_table(Kind::Mysql, "NOBLOB")
}

#[test]
fn images_without_blobs_make_the_table_on_mariadb() -> Result<()> {
    changes_make_the_table(Kind::Mariadb, "NOBLOB")
}

#[test]
fn images_without_blobs_make_the_table_on_mariadb_11() -> Result<()> {
    changes_make_the_table(Kind::Mariadb11, "NOBLOB")
}

/// `shop.T` with three rows, of which one is changed and one deleted.
fn small(kind: Kind, row_image: &str) -> Result<Server> {
    let server = server(kind)?;
    server.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, n int, note text); \
         INSERT INTO shop.T VALUES (1, 10, 'a'), (2, NULL, 'b'), (3, 30, NULL); \
         SET binlog_row_image = '{row_image}'; \
         UPDATE shop.T SET n = NULL WHERE id = 1; UPDATE shop.T SET note = '' WHERE id = 3; \
         DELETE FROM shop.T WHERE id = 2"
    ))?;
    Ok(server)
}

#[test]
fn an_operation_tells_what_happened_to_a_row() -> Result<()> {
    for kind in Kind::ALL {
        let server = small(kind, "FULL")?;
        let all = "1,10,a,I\n2,,b,I\n3,30,,I\n1,,a,U\n3,30,\"\",U\n2,,b,D\n";
        let table = |events: &str| format!("name = \"shop.T\"\n{events}");
        assert_eq!(delivered(&server, &table(EVENTS))?, all);
        let updates = "events = [\"update\"]\nbefore_image = true\nmetadata = [\"ordinal\"]";
        assert_eq!(
            delivered(&server, &table(updates))?,
            "1,10,a,B,0\n1,,a,U,1\n3,30,,B,0\n3,30,\"\",U,1\n"
        );
        let deletes = "events = [\"delete\"]\ncolumns = [\"id\"]\ndialect = \"jsonl\"";
        assert_eq!(
            delivered(&server, &table(deletes))?,
            "{\"id\":2,\"operation\":\"D\"}\n"
        );
        assert_eq!(
            delivered(&server, &table("events = [\"insert\"]"))?,
            "1,10,a\n2,,b\n3,30,\n"
        );
    }
    Ok(())
}

#[test]
fn a_column_that_is_absent_is_not_null() -> Result<()> {
    for kind in Kind::ALL {
        let server = small(kind, "MINIMAL")?;
        let table = format!("name = \"shop.T\"\n{EVENTS}");
        stops(
            &server,
            &table,
            &["shop.T", "columns note", "binlog_row_image=FULL"],
        )?;
        // Keys are in each image, be it the one before.
        let keys = format!("{table}\ncolumns = [\"id\"]");
        assert_eq!(delivered(&server, &keys)?, "1,I\n2,I\n3,I\n1,U\n3,U\n2,D\n");
        let marked = format!("{table}\nmetadata = [\"absent\"]");
        assert_eq!(
            delivered(&server, &marked)?,
            "1,10,a,I,\n2,,b,I,\n3,30,,I,\n1,,,U,note\n3,,\"\",U,n\n2,,,D,\"n,note\"\n"
        );
        let noblob = small(kind, "NOBLOB")?;
        stops(&noblob, &table, &["shop.T", "columns note"])?;
        let without = format!("{table}\ncolumns = [\"id\", \"n\"]");
        assert_eq!(
            delivered(&noblob, &without)?,
            "1,10,I\n2,,I\n3,30,I\n1,,U\n3,30,U\n2,,D\n"
        );
    }
    Ok(())
}

/// MariaDB 11.8 leaves them out of updates and deletes, whatever it is told.
#[test]
fn generated_columns_are_whole_or_told_to_be_absent() -> Result<()> {
    for kind in Kind::ALL {
        let server = server(kind)?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, n int, s int AS (n + 1) STORED, \
             v int AS (n + 2) VIRTUAL); \
             INSERT INTO shop.T (id, n) VALUES (1, 1); UPDATE shop.T SET n = 2; DELETE FROM shop.T",
        )?;
        let table = format!("name = \"shop.T\"\n{EVENTS}");
        if kind == Kind::Mariadb11 {
            stops(
                &server,
                &table,
                &["columns s,v", "11.8 leaves generated columns out"],
            )?;
        } else {
            assert_eq!(
                delivered(&server, &table)?,
                "1,1,2,3,I\n1,2,3,4,U\n1,2,3,4,D\n"
            );
        }
        let without = format!("{table}\ncolumns = [\"id\", \"n\"]");
        assert_eq!(delivered(&server, &without)?, "1,1,I\n1,2,U\n1,2,D\n");
    }
    Ok(())
}

/// A replica of MariaDB, too, keeps the old values then.
#[test]
fn what_mariadb_does_not_log_of_replace_is_warned_of() -> Result<()> {
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        let server = Server::start(kind, &["--binlog-row-image=MINIMAL"])?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, n int DEFAULT 7, note text); \
             INSERT INTO shop.T VALUES (1, 1, 'a'); REPLACE INTO shop.T (id, note) VALUES (1, 'b'); \
             REPLACE INTO shop.T (id, n, note) VALUES (1, 7, 'c')",
        )?;
        let table = format!("name = \"shop.T\"\n{EVENTS}");
        stops(
            &server,
            &table,
            &["columns n", "what REPLACE sets to a default"],
        )?;
        let marked = format!("{table}\nmetadata = [\"absent\"]");
        assert_eq!(
            delivered(&server, &marked)?,
            "1,1,a,I,\n1,,b,U,n\n1,7,c,U,\n"
        );
    }
    Ok(())
}

/// What an INSERT leaves to defaults is not in a minimal image: its value is nowhere in the binlog.
#[test]
fn a_default_that_is_not_in_the_image_is_not_made_up() -> Result<()> {
    for kind in Kind::ALL {
        let server = server(kind)?;
        server.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.T (id int AUTO_INCREMENT PRIMARY KEY, n int DEFAULT 7, \
             at timestamp DEFAULT CURRENT_TIMESTAMP, v int AS (n + 1) STORED); \
             SET binlog_row_image = 'MINIMAL', timestamp = 1457049600, time_zone = '+00:00'; \
             INSERT INTO shop.T (n) VALUES (1); INSERT INTO shop.T () VALUES ()",
        )?;
        let (code, lines, log) = run(&server, "name = \"shop.T\"")?;
        // MySQL leaves the second row's n out, MariaDB may write it: then it must be the default.
        match code {
            Some(0) => assert_eq!(
                lines,
                "1,1,2016-03-04 00:00:00,2\n2,7,2016-03-04 00:00:00,8\n"
            ),
            code => {
                ensure!(
                    code == Some(65) && log.contains("does not hold the columns"),
                    "{log}"
                );
                let marked = delivered(&server, "name = \"shop.T\"\nmetadata = [\"absent\"]")?;
                for (line, names) in split(marked.as_bytes())?.iter().zip(["1", "2"]) {
                    assert_eq!(line[0].text, names.as_bytes());
                    let absent = String::from_utf8_lossy(&line[4].text).into_owned();
                    for (name, field) in ["n", "at", "v"].iter().zip(&line[1..]) {
                        let is_absent = absent.split(',').any(|other| other == *name);
                        assert_eq!(is_absent, field.text.is_empty(), "{name} in {marked}");
                    }
                }
            }
        }
    }
    Ok(())
}

/// A change of a JSON document that MySQL may log as that change only.
fn json_change(rng: &mut StdRng) -> String {
    let value = match rng.random_range(0..6) {
        0 => "'short'".to_owned(),
        1 => rng.random_range(-70_000..70_000_i64).to_string(),
        2 => "CAST('[1, {\"k\": [true, null]}]' AS JSON)".to_owned(),
        3 => format!("REPEAT('ü\"', {})", rng.random_range(0..200)),
        4 => "CAST('2016-03-04 10:11:12.5' AS DATETIME(1))".to_owned(),
        _ => "CAST(1.50 AS DECIMAL(5,2))".to_owned(),
    };
    let paths = [
        "$.a",
        "$.a.b",
        "$.list[0]",
        "$.list[last]",
        "$.list[7]",
        "$.list[1].k[0]",
        "$.\"odd \\\\\"name\\\\\". [\"",
        "$.ünïcode",
        "$.list[last-1]",
        "$.new",
    ];
    let path = paths[rng.random_range(0..paths.len())];
    let column = ["d", "e"][rng.random_range(0..2)];
    let call = match rng.random_range(0..4) {
        0 => format!("JSON_SET({column}, '{path}', {value}, '$.z', 7)"),
        1 => format!("JSON_REPLACE({column}, '{path}', {value})"),
        2 => format!("JSON_REMOVE({column}, '{path}')"),
        _ => format!("JSON_SET(JSON_REMOVE({column}, '{path}'), '$.a', {value})"),
    };
    let key = rng.random_range(0..4);
    format!("UPDATE IGNORE shop.J SET {column} = {call}, n = n + 1 WHERE id >= {key}")
}

fn partial_json(row_image: &str) -> Result<Server> {
    let server = server(Kind::Mysql)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    session.run("CREATE TABLE shop.J (id int PRIMARY KEY, c json, n int, d json, e json)")?;
    session.run(&format!(
        "SET binlog_row_image = '{row_image}', binlog_row_value_options = 'PARTIAL_JSON'"
    ))?;
    for key in 0..6 {
        let document = format!(
            "JSON_OBJECT('a', JSON_OBJECT('b', {key}), 'list', JSON_ARRAY(1, JSON_OBJECT('k', \
             JSON_ARRAY('x')), NULL, 2.5), 'z', 0, 'odd \"name\". [', TRUE, 'filler', \
             REPEAT('filler ', {}))",
            [20, 20, 20, 20, 20, 10_000][key]
        );
        session.run(&format!(
            "INSERT INTO shop.J VALUES ({key}, '{{}}', 0, {document}, {document})"
        ))?;
    }
    let mut rng = StdRng::seed_from_u64(seed()?);
    for _ in 0..200 {
        session.run(&json_change(&mut rng))?;
    }
    let events = server.sql("SHOW BINLOG EVENTS IN 'binlog.000001'")?;
    ensure!(events.matches("Update_rows_partial").count() > 20);
    Ok(server)
}

#[test]
fn changes_of_json_documents_make_the_documents() -> Result<()> {
    let server = partial_json("FULL")?;
    let names = ["id", "c", "n", "d", "e"].map(str::to_owned).to_vec();
    let lines = delivered(
        &server,
        &format!("name = \"shop.J\"\n{EVENTS}\nbefore_image = true\nmetadata = [\"absent\"]"),
    )?;
    let (replica, has_absent) = replicated(&lines, &names)?;
    ensure!(!has_absent);
    let mut session = Session::open(&server)?;
    session.compare("shop", "J", Some(&names), replica.as_bytes())?;
    Ok(())
}

#[test]
fn changes_of_documents_that_nobody_knows_stop_the_agent() -> Result<()> {
    let server = partial_json("MINIMAL")?;
    let table = format!("name = \"shop.J\"\n{EVENTS}\nmetadata = [\"absent\"]");
    let (code, _, log) = run(&server, &table)?;
    ensure!(
        code == Some(65) && log.contains("changes of a JSON document") && log.contains("remedy"),
        "{log}"
    );
    let without = format!("{table}\ncolumns = [\"id\", \"n\"]");
    ensure!(delivered(&server, &without)?.contains(",U,"));
    Ok(())
}

/// As many columns as a table may have, with NULL in any of them.
fn as_many_columns_as_there_can_be(kind: Kind, column_count: usize) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    let names: Vec<String> = (0..column_count)
        .map(|number| format!("c{number}"))
        .collect();
    let definitions: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(index, name)| match index {
            0 => format!("{name} smallint PRIMARY KEY"),
            _ => format!(
                "{name} {}",
                ["tinyint", "char(1)", "tinyint unsigned"][index % 3]
            ),
        })
        .collect();
    // InnoDB takes no more than 1,017.
    session.run(&format!(
        "CREATE TABLE shop.Wide ({}) ENGINE = MyISAM CHARACTER SET latin1",
        definitions.join(", ")
    ))?;
    let value = |row: usize, column: usize| match row {
        0 => "NULL".to_owned(),
        1 => (column % 10).to_string(),
        row if (row + column).is_multiple_of(3) => "NULL".to_owned(),
        row => ((row * column) % 10).to_string(),
    };
    for row in 0..20 {
        let values: Vec<String> = (1..column_count).map(|column| value(row, column)).collect();
        session.run(&format!(
            "INSERT INTO shop.Wide VALUES ({row}, {})",
            values.join(", ")
        ))?;
    }
    session.run("UPDATE shop.Wide SET c2799 = NULL, c2048 = 9 WHERE c0 > 9")?;
    session.run("DELETE FROM shop.Wide WHERE c0 = 3")?;
    let table =
        format!("name = \"shop.Wide\"\n{EVENTS}\nbefore_image = true\nmetadata = [\"absent\"]");
    let (replica, _) = replicated(&delivered(&server, &table)?, &names)?;
    assert_eq!(
        session.compare("shop", "Wide", None, replica.as_bytes())?,
        19
    );
    Ok(())
}

#[test]
fn as_many_columns_as_there_can_be_come_from_mysql() -> Result<()> {
    as_many_columns_as_there_can_be(Kind::Mysql, 4096)
}

/// What it keeps of a table's columns may take 64 KiB, with some 23 bytes for each of these.
const MOST_COLUMNS_OF_MARIADB: usize = 2800;

#[test]
fn as_many_columns_as_there_can_be_come_from_mariadb() -> Result<()> {
    as_many_columns_as_there_can_be(Kind::Mariadb, MOST_COLUMNS_OF_MARIADB)
}

#[test]
fn as_many_columns_as_there_can_be_come_from_mariadb_11() -> Result<()> {
    as_many_columns_as_there_can_be(Kind::Mariadb11, MOST_COLUMNS_OF_MARIADB)
}
