//! Random rows in large numbers, in tables that together have a column of each type: what the agent and
//! a replay write is what SELECT says, however the server logs the rows.

use anyhow::{Context as _, Result, bail, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::columns::{Column, numbers, temporals, texts};
use super::exact::exact;
use super::oracle::{Records, Session, shown};
use super::{insert_rows, interleaved, seed, server, table};
use crate::setup::agent::{Workplace, config};
use crate::setup::replay::replayed;
use crate::setup::servers::{binlogs, end_of_binlog};
use testkit::servers::{Kind, Server};

/// Of each table.
const ROWS: usize = 100_000;
/// Of these once more for each way in which a server can log them.
const ROWS_OF_A_COPY: usize = 20_000;
/// Columns that are written of a table; with more, its lines would take much memory.
const MOST_COLUMNS: usize = 20;

/// How a server can log rows otherwise.
struct Way {
    name: &'static str,
    /// Statements.
    on: &'static str,
    off: &'static str,
    /// Whether rows are filled by updates, whose images then do not hold all columns.
    updates: bool,
}

const IMAGE_OFF: &str = "SET binlog_row_image = 'FULL'";
const METADATA_OFF: &str = "SET GLOBAL binlog_row_metadata = 'FULL'";

fn ways(kind: Kind) -> Vec<Way> {
    let way = |name, on, off| Way {
        name,
        on,
        off,
        updates: off == IMAGE_OFF,
    };
    let mut ways = vec![
        way("Minimal", "SET binlog_row_image = 'MINIMAL'", IMAGE_OFF),
        way("NoBlob", "SET binlog_row_image = 'NOBLOB'", IMAGE_OFF),
        way(
            "Unnamed",
            "SET GLOBAL binlog_row_metadata = 'MINIMAL'",
            METADATA_OFF,
        ),
    ];
    match kind {
        Kind::Mysql => ways.push(way(
            "Compressed",
            "SET binlog_transaction_compression = ON",
            "SET binlog_transaction_compression = OFF",
        )),
        Kind::Mariadb | Kind::Mariadb11 => ways.extend([
            way(
                "Compressed",
                "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10",
                "SET GLOBAL log_bin_compress = OFF",
            ),
            way(
                "Silent",
                "SET GLOBAL binlog_row_metadata = 'NO_LOG'",
                METADATA_OFF,
            ),
        ]),
    }
    ways
}

/// A table whose rows are compared.
struct Subject {
    name: String,
    /// The columns that are written.
    written: Vec<String>,
}

impl Subject {
    /// An agent that begins at `start` and writes inserts or updates.
    fn workplace(&self, server: &Server, start: &str, updates: bool) -> Result<Workplace> {
        let events = if updates { "update" } else { "insert" };
        let table = table(&self.name, &self.written);
        let table = format!("{table}\nevents = [\"{events}\"]");
        let config = config(server, &table, "type = \"stdout\"");
        Workplace::new(&config.replace("earliest", start))
    }

    /// Tells the first difference between lines, without all that comes after it.
    fn ensure_same(&self, what: &str, lines: &str, expected: &str) -> Result<()> {
        if lines == expected {
            return Ok(());
        }
        let mut records = Records::of(lines.as_bytes());
        for (number, expected) in Records::of(expected.as_bytes()).enumerate() {
            let expected = expected?;
            let context = || format!("{what}: {number} lines and no more");
            let record = records.next().with_context(context)??;
            let mut fields = self.written.iter().zip(record.iter().zip(&expected));
            if let Some((column, (found, expected_field))) =
                fields.find(|(_, (found, expected))| found != expected)
            {
                bail!(
                    "{what}: line {number}, id {}, {column}: {} for {}",
                    shown(&expected[0]),
                    shown(found),
                    shown(expected_field)
                );
            }
        }
        bail!("{what}: more lines than there should be")
    }
}

/// All of one table's columns, in the agent's lines and a replay's, and some of the rows again in copies of
/// it that are logged otherwise.
fn check(
    server: &Server,
    session: &mut Session,
    name: &str,
    columns: Vec<Column>,
    rng: &mut StdRng,
) -> Result<()> {
    let (all, written) = interleaved(server.kind(), columns);
    let definitions: Vec<String> = all.iter().map(Column::definition).collect();
    let subject = Subject {
        name: format!("shop.{name}"),
        written,
    };
    session.run(&format!(
        "CREATE TABLE {} (id bigint PRIMARY KEY, {})",
        subject.name,
        definitions.join(", ")
    ))?;
    session.run("FLUSH BINARY LOGS")?;
    let start = end_of_binlog(server)?;
    let row_count = insert_rows(session, &subject.name, &all, ROWS, rng)?;

    let workplace = subject.workplace(server, &start, false)?;
    let lines = workplace.drain()?;
    let compared = session.compare("shop", name, Some(&subject.written), lines.as_bytes())?;
    ensure!(
        compared == row_count && row_count >= ROWS,
        "{compared} rows"
    );
    let config = workplace.path("hydrant.toml").display().to_string();
    let files = binlogs(server)?;
    let newest = &files[files.len() - 1..];
    let replayed = replayed(newest, &["--config", &config, "--out", "-"])?;
    subject.ensure_same("replay", &replayed, &lines)?;
    drop(replayed);
    check_read(server, &subject, &start, &lines)?;

    let mut copied = Records::of(lines.as_bytes());
    let copied_rows = copied.by_ref().take(ROWS_OF_A_COPY).count();
    ensure!(copied_rows == ROWS_OF_A_COPY);
    let expected = &lines[..copied.offset()];
    for way in ways(server.kind()) {
        check_copy(server, session, &subject, &way, &all, expected)?;
    }
    Ok(())
}

/// The same rows read from the table, in CSV and in another dialect, whose lines from the binlog are there to compare.
fn check_read(server: &Server, subject: &Subject, start: &str, lines: &str) -> Result<()> {
    const DIALECTS: [&str; 3] = ["hive", "opencsv", "jsonl"];
    let agent = |keys: &str, start: &str| {
        let table = table(&subject.name, &subject.written);
        let config = config(server, &format!("{table}\n{keys}"), "type = \"stdout\"");
        // Over one connection rows come in the order of the key, in which they were inserted.
        let config = format!("{config}[backfill]\nconnections = 1\n");
        Workplace::new(&config.replace("earliest", start))?.drain()
    };
    let read = agent("backfill = true", "latest")?;
    subject.ensure_same("read from the table", &read, lines)?;
    drop(read);
    let dialect = DIALECTS[subject.name.len() % DIALECTS.len()];
    let keys = format!("dialect = \"{dialect}\"");
    let followed = agent(&keys, start)?;
    let read = agent(&format!("{keys}\nbackfill = true"), "latest")?;
    let differing = followed.lines().zip(read.lines());
    let differing = differing.enumerate().find(|(_, (one, other))| one != other);
    ensure!(
        followed == read,
        "{dialect}: line {:?} is another when it is read from the table",
        differing.map(|(number, (line, read))| (number, shown_difference(line, read)))
    );
    Ok(())
}

/// Where two lines differ, and what stands there.
fn shown_difference(one: &str, other: &str) -> String {
    let mut at = one.bytes().zip(other.bytes());
    let at = at.position(|(one, other)| one != other).unwrap_or(0);
    let part = |line: &str| {
        let end = line.len().min(at + 40);
        String::from_utf8_lossy(&line.as_bytes()[at.saturating_sub(20)..end]).into_owned()
    };
    format!("{:?} and {:?}", part(one), part(other))
}

/// The first rows again, logged otherwise.
fn check_copy(
    server: &Server,
    session: &mut Session,
    subject: &Subject,
    way: &Way,
    columns: &[Column],
    expected: &str,
) -> Result<()> {
    let original = &subject.name;
    let copy = Subject {
        name: format!("{original}{}", way.name),
        written: subject.written.clone(),
    };
    let name = &copy.name;
    session.run(&format!("CREATE TABLE {name} LIKE {original}"))?;
    if way.updates {
        session.run(&format!(
            "INSERT INTO {name} (id) SELECT id FROM {original} WHERE id < {ROWS_OF_A_COPY}"
        ))?;
    }
    session.run(way.on)?;
    session.run("FLUSH BINARY LOGS")?;
    let start = end_of_binlog(server)?;
    session.run(&if way.updates {
        let columns = columns.iter().map(|column| &column.name);
        let values: Vec<String> = columns
            .map(|name| format!("c.`{name}` = o.`{name}`"))
            .collect();
        format!(
            "UPDATE {name} c JOIN {original} o USING (id) SET {}",
            values.join(", ")
        )
    } else {
        format!(
            "INSERT INTO {name} SELECT * FROM {original} WHERE id < {ROWS_OF_A_COPY} ORDER BY id"
        )
    })?;
    session.run(way.off)?;
    if way.name == "Compressed" {
        let file = start.split(':').next().unwrap_or_default();
        let events = server.sql(&format!("SHOW BINLOG EVENTS IN '{file}' LIMIT 20"))?;
        ensure!(events.contains("compress"), "{events}");
    }
    let lines = copy.workplace(server, &start, way.updates)?.drain()?;
    let expected = if way.updates {
        with_operation(expected)?
    } else {
        expected.to_owned()
    };
    copy.ensure_same(name, &lines, &expected)
}

/// The lines as updates.
fn with_operation(lines: &str) -> Result<String> {
    let mut updates = String::new();
    let mut records = Records::of(lines.as_bytes());
    let mut start = 0;
    while let Some(record) = records.next() {
        record?;
        let end = records.offset();
        updates.push_str(&lines[start..end - 1]);
        updates.push_str(",U\n");
        start = end;
    }
    Ok(updates)
}

/// As many tables as the columns fill.
fn random_rows(kind: Kind, name: &str, columns: Vec<Column>) -> Result<()> {
    let server = server(kind)?;
    let mut session = Session::open(&server)?;
    session.run("CREATE DATABASE shop")?;
    let seed = seed()?;
    let mut columns = columns.into_iter().peekable();
    let mut number = 0;
    while columns.peek().is_some() {
        let some = columns.by_ref().take(MOST_COLUMNS).collect();
        // Each table has its own rows, whatever columns those before it have.
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number));
        number += 1;
        check(
            &server,
            &mut session,
            &format!("{name}{number}"),
            some,
            &mut rng,
        )
        .with_context(|| format!("HYDRANT_TEST_SEED={seed}, {name}{number}"))?;
    }
    Ok(())
}

fn random_numbers(kind: Kind) -> Result<()> {
    let columns = numbers().into_iter().chain(temporals());
    random_rows(kind, "Numbers", columns.collect())
}

#[test]
fn random_numbers_and_times_of_mysql_are_what_select_says() -> Result<()> {
    random_numbers(Kind::Mysql)
}

#[test]
fn random_numbers_and_times_of_mariadb_are_what_select_says() -> Result<()> {
    random_numbers(Kind::Mariadb)
}

#[test]
fn random_numbers_and_times_of_mariadb_11_are_what_select_says() -> Result<()> {
    random_numbers(Kind::Mariadb11)
}

#[test]
fn random_texts_of_mysql_are_what_select_says() -> Result<()> {
    random_rows(Kind::Mysql, "Texts", texts())
}

#[test]
fn random_texts_of_mariadb_are_what_select_says() -> Result<()> {
    random_rows(Kind::Mariadb, "Texts", texts())
}

#[test]
fn random_texts_of_mariadb_11_are_what_select_says() -> Result<()> {
    random_rows(Kind::Mariadb11, "Texts", texts())
}

#[test]
fn random_values_of_other_types_of_mysql_are_what_select_says() -> Result<()> {
    random_rows(Kind::Mysql, "Exact", exact(Kind::Mysql))
}

#[test]
fn random_values_of_other_types_of_mariadb_are_what_select_says() -> Result<()> {
    random_rows(Kind::Mariadb, "Exact", exact(Kind::Mariadb))
}

#[test]
fn random_values_of_other_types_of_mariadb_11_are_what_select_says() -> Result<()> {
    random_rows(Kind::Mariadb11, "Exact", exact(Kind::Mariadb11))
}
