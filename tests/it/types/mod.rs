//! Truth is what SELECT says: every supported type, at its bounds and at random, on each server.

mod allocations;
mod charsets;
mod columns;
mod corpus;
mod exact;
mod hidden;
mod images;
mod json;
pub(crate) mod oracle;
mod random;
mod readers;
mod text;
mod unnamed;

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::columns::Column;
use self::oracle::Session;
use crate::setup::agent::{Workplace, config, gunzip_all};
use crate::setup::replay::replayed;
use crate::setup::servers::binlogs;
use testkit::servers::{Kind, Server};

/// Of the table with all columns; `random.rs` has many more.
const RANDOM_ROWS: usize = 500;
const STATEMENT_BYTES: usize = 4 << 20;

/// A server that takes odd dates, and rows of more than 16 MiB.
fn server(kind: Kind) -> Result<Server> {
    Server::start(kind, &["--sql-mode=", "--max-allowed-packet=64M"])
}

/// `name` and `columns` of a `[[table]]`.
fn table(name: &str, columns: &[String]) -> String {
    format!("name = \"{name}\"\ncolumns = {columns:?}")
}

/// Delivers all of one table to standard output, which a replay of the server's files does alike.
fn lines(server: &Server, table: &str) -> Result<String> {
    let workplace = Workplace::new(&config(server, table, "type = \"stdout\""))?;
    let lines = workplace.drain()?;
    let config = workplace.path("hydrant.toml").display().to_string();
    let replayed = replayed(&binlogs(server)?, &["--config", &config, "--out", "-"])?;
    ensure!(replayed == lines, "a replay writes other lines");
    Ok(lines)
}

/// A seed for the random rows, printed so that a failure can be had again with `HYDRANT_TEST_SEED`.
pub(crate) fn seed() -> Result<u64> {
    let seed = match std::env::var("HYDRANT_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => rand::random(),
    };
    println!("HYDRANT_TEST_SEED={seed}");
    Ok(seed)
}

/// Columns that are written with columns that must be passed over between them, before and behind.
/// Gives all of them, and the names of those that are written.
fn interleaved(kind: Kind, columns: Vec<Column>) -> (Vec<Column>, Vec<String>) {
    const WRITTEN_IN_A_ROW: usize = 4;
    let mut passed = columns::passed(kind).into_iter();
    let mut all = Vec::new();
    let mut written = vec!["id".to_owned()];
    for (index, column) in columns.into_iter().enumerate() {
        if index % WRITTEN_IN_A_ROW == 0 {
            all.extend(passed.next());
        }
        written.push(column.name.clone());
        all.push(column);
    }
    all.extend(passed);
    (all, written)
}

/// Rows that have each column's bounds, one after the other, then random ones; gives how many. What a statement takes at
/// once depends on the length of its rows, which can be some of 100 KB.
fn insert_rows(
    session: &mut Session,
    table: &str,
    columns: &[Column],
    random_rows: usize,
    rng: &mut StdRng,
) -> Result<usize> {
    let bounds: Vec<Vec<String>> = columns.iter().map(Column::bounds).collect();
    let short_bounds: Vec<Vec<&str>> = bounds.iter().map(|bounds| short(bounds)).collect();
    let bound_rows = bounds.iter().map(Vec::len).max().unwrap_or(0);
    let start = format!("INSERT INTO {table} VALUES ");
    let mut statement = start.clone();
    for number in 0..bound_rows + random_rows {
        let separator = if statement.len() > start.len() {
            ","
        } else {
            ""
        };
        // Writing to a string cannot fail.
        let _ = write!(statement, "{separator}({number}");
        for (column, (bounds, short_bounds)) in columns.iter().zip(bounds.iter().zip(&short_bounds))
        {
            statement.push(',');
            match bounds.get(number) {
                Some(bound) => statement.push_str(bound),
                None => statement.push_str(&column.random(short_bounds, rng)),
            }
        }
        statement.push(')');
        if statement.len() >= STATEMENT_BYTES {
            session.run(&statement)?;
            statement.truncate(start.len());
        }
    }
    if statement.len() > start.len() {
        session.run(&statement)?;
    }
    Ok(bound_rows + random_rows)
}

/// Those that many rows may have.
fn short(bounds: &[String]) -> Vec<&str> {
    const MOST_CHARACTERS: usize = 2_000;
    let bounds = bounds.iter().map(String::as_str);
    bounds
        .filter(|bound| bound.len() <= MOST_CHARACTERS)
        .collect()
}

/// Makes the table `shop.Types` of these columns behind an `id`, and fills it.
fn fill_types(session: &mut Session, columns: &[Column], random_rows: usize) -> Result<()> {
    let definitions: Vec<String> = columns.iter().map(Column::definition).collect();
    session.run("CREATE DATABASE shop")?;
    session.run(&format!(
        "CREATE TABLE shop.Types (id bigint, {})",
        definitions.join(", ")
    ))?;
    let mut rng = StdRng::seed_from_u64(seed()?);
    insert_rows(session, "shop.Types", columns, random_rows, &mut rng)?;
    Ok(())
}

fn every_type_is_written_as_select_prints_it(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    let (all, written) = interleaved(kind, columns::supported(kind));
    fill_types(&mut session, &all, RANDOM_ROWS)?;
    let lines = lines(&server, &table("shop.Types", &written))?;
    let row_count = session.compare("shop", "Types", Some(&written), lines.as_bytes())?;
    ensure!(row_count >= RANDOM_ROWS);
    Ok(())
}

#[test]
fn every_type_is_written_as_mysqls_select_prints_it() -> Result<()> {
    every_type_is_written_as_select_prints_it(Kind::Mysql)
}

#[test]
fn every_type_is_written_as_mariadbs_select_prints_it() -> Result<()> {
    every_type_is_written_as_select_prints_it(Kind::Mariadb)
}

#[test]
fn every_type_is_written_as_mariadb_11s_select_prints_it() -> Result<()> {
    every_type_is_written_as_select_prints_it(Kind::Mariadb11)
}

/// A table with a column of each collation that the server has.
fn every_collation_is_understood(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    // MariaDB names the collations that several character sets share without the set.
    let name = match kind {
        Kind::Mysql => "COLLATION_NAME",
        Kind::Mariadb | Kind::Mariadb11 => "FULL_COLLATION_NAME",
    };
    let collations = session.rows(&format!(
        "SELECT {name}, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
         WHERE CHARACTER_SET_NAME != 'binary' ORDER BY 1"
    ))?;
    let collations: Vec<(String, String)> =
        collations.into_iter().map(mysql_async::from_row).collect();
    ensure!(collations.len() > 100, "{} collations", collations.len());
    session.run("CREATE DATABASE shop")?;
    for (number, some) in collations.chunks(80).enumerate() {
        let columns: Vec<String> = some
            .iter()
            .map(|(collation, charset)| {
                format!("`{collation}` varchar(20) character set {charset} collate {collation}")
            })
            .collect();
        session.run(&format!(
            "CREATE TABLE shop.Texts{number} (id bigint, {})",
            columns.join(", ")
        ))?;
        let values: Vec<&str> = some
            .iter()
            .map(|(_, charset)| match charset.as_str() {
                unicode if unicode.starts_with('u') && unicode != "ujis" => "'Grüße, 価格 '",
                "gbk" | "gb2312" | "gb18030" | "big5" | "euckr" | "sjis" | "cp932" | "ujis"
                | "eucjpms" => "'価格、a '",
                "latin1" => "_latin1 x'80E920'",
                _ => "x'2CE920'",
            })
            .collect();
        session.run(&format!(
            "INSERT INTO shop.Texts{number} VALUES (1, {})",
            values.join(", ")
        ))?;
        let lines = lines(&server, &format!("name = \"shop.Texts{number}\""))?;
        session.compare("shop", &format!("Texts{number}"), None, lines.as_bytes())?;
    }
    Ok(())
}

#[test]
fn every_collation_of_mysql_is_understood() -> Result<()> {
    every_collation_is_understood(Kind::Mysql)
}

#[test]
fn every_collation_of_mariadb_is_understood() -> Result<()> {
    every_collation_is_understood(Kind::Mariadb)
}

#[test]
fn every_collation_of_mariadb_11_is_understood() -> Result<()> {
    every_collation_is_understood(Kind::Mariadb11)
}

/// Types that have a character set or a sign in one family's table maps and not in the other's must
/// not shift those of the columns behind them.
fn charsets_stay_with_their_columns(kind: Kind) -> Result<()> {
    // Mostly one character set, for which the server sends a default and exceptions; then as many
    // of each, for which it sends a list.
    let mostly = ["utf8mb4", "utf8mb4", "utf8mb4", "latin1", "utf8mb4"];
    let mixed = ["latin1", "utf8mb4", "utf8mb3"];
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    for (name, charsets) in [("Mostly", &mostly[..]), ("Mixed", &mixed)] {
        let mut written = vec!["id".to_owned()];
        let mut definitions = vec!["id bigint unsigned".to_owned()];
        let mut values = vec!["~0".to_owned()];
        for (index, column) in columns::odd(kind).iter().enumerate() {
            let charset = charsets[index % charsets.len()];
            let (sign, value) = [("", "-1"), ("unsigned", "255")][index % 2];
            definitions.push(column.definition());
            definitions.push(format!("text_{index} text character set {charset}"));
            definitions.push(format!("number_{index} tinyint {sign}"));
            values.push(column.bounds()[0].clone());
            values.push(format!("'Größe {index}', {value}"));
            written.extend([format!("text_{index}"), format!("number_{index}")]);
        }
        session.run(&format!(
            "CREATE TABLE shop.{name} ({})",
            definitions.join(", ")
        ))?;
        session.run(&format!(
            "INSERT INTO shop.{name} VALUES ({})",
            values.join(", ")
        ))?;
        let lines = lines(&server, &table(&format!("shop.{name}"), &written))?;
        let row_count = session.compare("shop", name, Some(&written), lines.as_bytes())?;
        assert_eq!(row_count, 1);
    }
    Ok(())
}

#[test]
fn charsets_stay_with_their_columns_on_mysql() -> Result<()> {
    charsets_stay_with_their_columns(Kind::Mysql)
}

#[test]
fn charsets_stay_with_their_columns_on_mariadb() -> Result<()> {
    charsets_stay_with_their_columns(Kind::Mariadb)
}

#[test]
fn charsets_stay_with_their_columns_on_mariadb_11() -> Result<()> {
    charsets_stay_with_their_columns(Kind::Mariadb11)
}

fn three_hundred_columns(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    let names: Vec<String> = (0..300).map(|number| format!("c{number}")).collect();
    let definitions: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            format!(
                "{name} {}",
                ["int", "varchar(9)", "double", "tinyint unsigned"][index % 4]
            )
        })
        .collect();
    session.run(&format!(
        "CREATE TABLE shop.Wide ({})",
        definitions.join(", ")
    ))?;
    for row in 0..200 {
        // A NULL wanders through the columns and through the bytes of the bitmap.
        let value = |column: usize| {
            if (column + row).is_multiple_of(7) {
                "NULL".to_owned()
            } else {
                format!("{}", (row + column) % 128)
            }
        };
        let values: Vec<String> = (0..300).map(value).collect();
        session.run(&format!(
            "INSERT INTO shop.Wide VALUES ({row}, {})",
            values[1..].join(", ")
        ))?;
    }
    let all = lines(&server, "name = \"shop.Wide\"")?;
    assert_eq!(session.compare("shop", "Wide", None, all.as_bytes())?, 200);
    // All of them again, from the last to the first but for the order; then a few.
    let mut reversed: Vec<String> = names.iter().rev().cloned().collect();
    reversed.insert(0, names[0].clone());
    reversed.pop();
    let some = ["c0", "c299", "c7", "c8", "c150"]
        .map(str::to_owned)
        .to_vec();
    for chosen in [reversed, some] {
        let lines = lines(&server, &table("shop.Wide", &chosen))?;
        assert_eq!(
            session.compare("shop", "Wide", Some(&chosen), lines.as_bytes())?,
            200
        );
    }
    Ok(())
}

#[test]
fn three_hundred_columns_come_in_any_order_from_mysql() -> Result<()> {
    three_hundred_columns(Kind::Mysql)
}

#[test]
fn three_hundred_columns_come_in_any_order_from_mariadb() -> Result<()> {
    three_hundred_columns(Kind::Mariadb)
}

#[test]
fn three_hundred_columns_come_in_any_order_from_mariadb_11() -> Result<()> {
    three_hundred_columns(Kind::Mariadb11)
}

/// Generated and invisible columns are columns like others; those that the server hides from
/// everybody are in the binlog all the same, and are passed over.
fn columns_that_nobody_inserts(kind: Kind, definitions: &str, hidden: &str) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    session.run(&format!(
        "CREATE TABLE shop.Made (id int, a varchar(20), \
         shout varchar(30) AS (CONCAT(a, '!')) VIRTUAL, len int AS (CHAR_LENGTH(a)) STORED, \
         secret int DEFAULT 7 INVISIBLE, z double{definitions}) {hidden}"
    ))?;
    session.run("INSERT INTO shop.Made (id, a, z) VALUES (1, 'one', 1.5), (2, NULL, NULL), (3, 'a, \"b\"', -2)")?;
    let lines = lines(&server, "name = \"shop.Made\"")?;
    assert_eq!(
        session.compare("shop", "Made", None, lines.as_bytes())?,
        3,
        "{lines}"
    );
    Ok(())
}

#[test]
fn generated_invisible_and_hidden_columns_of_mysql_do_not_disturb() -> Result<()> {
    columns_that_nobody_inserts(Kind::Mysql, ", KEY ((LOWER(a))), KEY ((z * 2))", "")
}

#[test]
fn generated_and_invisible_columns_of_mariadb_do_not_disturb() -> Result<()> {
    columns_that_nobody_inserts(Kind::Mariadb, ", long_text text, UNIQUE (long_text)", "")
}

#[test]
fn generated_and_invisible_columns_of_mariadb_11_do_not_disturb() -> Result<()> {
    columns_that_nobody_inserts(Kind::Mariadb11, ", long_text text, UNIQUE (long_text)", "")
}

#[test]
fn mariadbs_hidden_versioning_columns_do_not_disturb() -> Result<()> {
    columns_that_nobody_inserts(Kind::Mariadb, "", "WITH SYSTEM VERSIONING")
}

#[test]
fn mariadb_11s_hidden_versioning_columns_do_not_disturb() -> Result<()> {
    columns_that_nobody_inserts(Kind::Mariadb11, "", "WITH SYSTEM VERSIONING")
}

/// A row's end is the last second that the server has: of 2038, or of 2106.
#[test]
fn mariadbs_visible_versioning_columns_are_written() -> Result<()> {
    let versioning = ", `from` timestamp(6) GENERATED ALWAYS AS ROW START, \
        `to` timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (`from`, `to`)";
    for kind in [Kind::Mariadb, Kind::Mariadb11] {
        columns_that_nobody_inserts(kind, versioning, "WITH SYSTEM VERSIONING")?;
    }
    Ok(())
}

/// More than fits into one packet of the protocol, which is cut and put together again on the way.
fn a_value_of_twenty_megabytes(kind: Kind) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    session.run("CREATE TABLE shop.Large (id int, t longtext character set utf8mb4, u longtext character set latin1)")?;
    session.run("INSERT INTO shop.Large VALUES (1, REPEAT('é\"', 7000000), 'é'), (2, 'small', REPEAT(_latin1 x'E9', 100000))")?;
    let workplace = Workplace::into_directory(&server, &["name = \"shop.Large\""], "")?;
    let folder = workplace.path("data");
    workplace.drain()?;
    let lines = gunzip_all(&folder)?;
    assert_eq!(session.compare("shop", "Large", None, lines.as_bytes())?, 2);
    Ok(())
}

#[test]
fn a_value_of_twenty_megabytes_comes_whole_from_mysql() -> Result<()> {
    a_value_of_twenty_megabytes(Kind::Mysql)
}

#[test]
fn a_value_of_twenty_megabytes_comes_whole_from_mariadb() -> Result<()> {
    a_value_of_twenty_megabytes(Kind::Mariadb)
}

#[test]
fn a_value_of_twenty_megabytes_comes_whole_from_mariadb_11() -> Result<()> {
    a_value_of_twenty_megabytes(Kind::Mariadb11)
}

/// As MySQL before 5.6 and MariaDB before 10.1 stored them.
fn temporals_in_the_old_format(kind: Kind) -> Result<()> {
    let old = ["--sql-mode=", "--mysql56-temporal-format=OFF"];
    let server = Server::start(kind, &old)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    let columns = columns::without_fractions();
    let definitions: Vec<String> = columns.iter().map(Column::definition).collect();
    session.run(&format!(
        "CREATE TABLE shop.Old (id bigint, {}, behind text DEFAULT 'behind')",
        definitions.join(", ")
    ))?;
    let mut rng = StdRng::seed_from_u64(seed()?);
    insert_rows(
        &mut session,
        "shop.Old (id, date, time_0, datetime_0, timestamp_0)",
        &columns,
        1_000,
        &mut rng,
    )?;
    let lines = lines(&server, "name = \"shop.Old\"")?;
    let row_count = session.compare("shop", "Old", None, lines.as_bytes())?;
    ensure!(row_count >= 1_000);
    // The binlog does not carry the width of those with fractional digits.
    session.run("CREATE TABLE shop.Fine (id int, at datetime(3), of_day time(0))")?;
    session.run("INSERT INTO shop.Fine VALUES (1, '2016-03-04 01:02:03.004', '01:02:03')")?;
    let id = table("shop.Fine", &["id".to_owned()]);
    let workplace = Workplace::new(&config(&server, &id, "type = \"stdout\""))?;
    let output = workplace.run(&["--until", "now"])?;
    let report = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(78) && output.stdout.is_empty(),
        "{report}"
    );
    ensure!(
        report.contains("10.1: at\n") && report.contains("mysql56_temporal_format"),
        "{report}"
    );
    Ok(())
}

#[test]
fn temporals_in_mariadbs_old_format() -> Result<()> {
    temporals_in_the_old_format(Kind::Mariadb)
}

#[test]
fn temporals_in_mariadb_11s_old_format() -> Result<()> {
    temporals_in_the_old_format(Kind::Mariadb11)
}
