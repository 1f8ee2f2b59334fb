//! What must be true before the first event is read, each with its remedy.

use mysql_async::Row;
use tracing::warn;

use crate::binlog::ServerColumn;
use crate::config::{self, Config, Tls};
use crate::encode::{self, Chosen, Disguise};
use crate::{Exit, Failure};

use super::checked_table::CheckedTable;
use super::explain::binlog_is_off;
use super::refusals;
use super::server::{Server, cell};
use super::versioned::versioning;

/// A server that can be followed.
#[derive(Debug)]
pub struct Preflight {
    /// The connection that was used; it becomes the binlog stream.
    pub server: Server,
    /// The tables, in the configuration's order.
    pub tables: Vec<CheckedTable>,
}

impl Preflight {
    /// Connects and checks.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn run(config: &Config) -> Result<Self, Failure> {
        if config.source.tls == Tls::Encrypt {
            warn!("source.tls = \"encrypt\": the server's certificate is not verified");
        }
        let mut server = Server::connect(&config.source).await?;
        check_settings(&server)?;
        warn_of_row_image(&server);
        warn_of_row_metadata(&server);
        check_retention(&mut server).await?;
        let end = server.end_of_binlog().await?;
        let mut tables = check_tables(&mut server, &config.tables).await?;
        for table in &tables {
            refusals::check_table(&mut server, &table.schema, &table.name).await?;
        }
        let schemas = tables.iter().map(|table| table.schema.as_str());
        refusals::check_server(&mut server, schemas).await?;
        for table in &mut tables {
            table.described_at.clone_from(&end.position);
        }
        Ok(Self { server, tables })
    }
}

/// Looks up the tables' columns.
///
/// # Errors
/// If a table or a column is not there, or a column's type cannot be written.
pub(crate) async fn check_tables(
    server: &mut Server,
    wanted: &[config::Table],
) -> Result<Vec<CheckedTable>, Failure> {
    let mut tables = Vec::with_capacity(wanted.len());
    for table in wanted {
        tables.push(check_table(server, table).await?);
    }
    Ok(tables)
}

fn check_settings(server: &Server) -> Result<(), Failure> {
    let on = |name| {
        server
            .variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("ON"))
    };
    if !on("log_bin") {
        return Err(binlog_is_off());
    }
    // A server that knows no other format has no such variable.
    let format = server.variable("binlog_format");
    if let Some(format) = format.filter(|format| !format.eq_ignore_ascii_case("ROW")) {
        return Err(Failure::definite(
            Exit::Config,
            format!("the server has binlog_format = {format}"),
            format!(
                "{}; then reconnect the applications, because sessions keep their own",
                server.set_for_good("binlog_format = 'ROW'")
            ),
        ));
    }
    Ok(())
}

/// Names then come from the server, which only knows the table of today.
fn warn_of_row_metadata(server: &Server) {
    let metadata = server.variable("binlog_row_metadata").unwrap_or("NO_LOG");
    if !metadata.eq_ignore_ascii_case("FULL") {
        warn!(
            "the binlog does not name columns (binlog_row_metadata = {metadata}): they are taken from \
             the tables as they are now, so that rows from before a change may not be read, and a \
             change stops the agent; {}",
            server.set_for_good("binlog_row_metadata = 'FULL'")
        );
    }
}

/// Rows may still be whole: inserts often are, and sessions can choose for themselves.
fn warn_of_row_image(server: &Server) {
    let row_image = server.variable("binlog_row_image");
    if let Some(row_image) = row_image.filter(|value| !value.eq_ignore_ascii_case("FULL")) {
        warn!(
            "the server has binlog_row_image = {row_image}: a written column that a row image does \
             not hold stops the agent, unless the table's `metadata` has \"absent\"; {}",
            server.set_for_good("binlog_row_image = 'FULL'")
        );
    }
}

/// A binlog that is purged while the agent is away is rows that are lost.
async fn check_retention(server: &mut Server) -> Result<(), Failure> {
    const RDS_REMEDY: &str = "CALL mysql.rds_set_configuration('binlog retention hours', 168)";
    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;
    // MariaDB prints both with a fraction, and keeps them in step.
    let whole = |name| {
        let value = server
            .variable(name)
            .and_then(|value| value.split('.').next());
        value
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let seconds = whole("binlog_expire_logs_seconds");
    let mut kept = seconds.max(whole("expire_logs_days") * DAY);
    // RDS and Aurora purge by a setting of their own, whatever the variables say.
    const HOURS: &str =
        "SELECT value FROM mysql.rds_configuration WHERE name = 'binlog retention hours'";
    let hours = server.ask_if_allowed(HOURS).await?;
    let mut on_rds = server
        .variable("basedir")
        .is_some_and(|folder| folder.contains("rdsdb"));
    if on_rds && hours.is_none() {
        warn!(
            "not allowed to see how long the binlogs are kept; check it with CALL \
             mysql.rds_show_configuration"
        );
    }
    if let Some(row) = hours.iter().flatten().next() {
        on_rds = true;
        let hours: Option<String> = cell(row, 0, HOURS)?;
        match hours.and_then(|hours| hours.parse::<u64>().ok()) {
            Some(hours) => kept = hours * HOUR,
            None => {
                return Err(Failure::definite(
                    Exit::Config,
                    "the server purges its binlogs as soon as it can ('binlog retention hours' \
                     is NULL)",
                    RDS_REMEDY,
                ));
            }
        }
    }
    let remedy = if on_rds {
        RDS_REMEDY.to_owned()
    } else {
        server.set_for_good("binlog_expire_logs_seconds = 604800")
    };
    match kept {
        // Zero is for ever.
        1..HOUR => Err(Failure::definite(
            Exit::Config,
            format!("the server keeps its binlogs for {kept} s only"),
            remedy,
        )),
        HOUR..DAY => {
            warn!(
                "the server keeps its binlogs for {} h only; {remedy}",
                kept / HOUR
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn check_table(server: &mut Server, wanted: &config::Table) -> Result<CheckedTable, Failure> {
    let table = format!("{}.{}", wanted.schema, wanted.name);
    let rows = server
        .ask(COLUMNS_OF_TABLE, (&wanted.schema, &wanted.name))
        .await?;
    let Some(first) = rows.first() else {
        return Err(no_such_table(server, wanted).await);
    };
    let schema = cell(first, 0, COLUMNS_OF_TABLE)?;
    let name = cell(first, 1, COLUMNS_OF_TABLE)?;
    let definition: Vec<ServerColumn> = rows.iter().map(server_column).collect::<Result<_, _>>()?;
    refuse_unknown_widths(&table, &definition)?;
    let chosen: Vec<&ServerColumn> = match &wanted.columns {
        None => definition.iter().collect(),
        Some(names) => names
            .iter()
            .map(|name| {
                let found = definition
                    .iter()
                    .find(|column| column.name.eq_ignore_ascii_case(name));
                found.ok_or_else(|| no_such_column(&table, name, &definition))
            })
            .collect::<Result<_, _>>()?,
    };
    let refused: Vec<String> = chosen
        .iter()
        .filter_map(|column| {
            let why = encode::unsupported(&column.data_type, column.charset.as_deref())?;
            Some(format!("{} ({why})", column.name))
        })
        .collect();
    if !refused.is_empty() {
        return Err(Failure::definite(
            Exit::Config,
            format!(
                "table {table}: columns of types that are not supported as yet: {}",
                refused.join(", ")
            ),
            "name the columns to write, without these, in the table's `columns`",
        ));
    }
    let columns: Vec<Chosen> = chosen
        .into_iter()
        .map(|column| Chosen {
            name: column.name.clone(),
            // Only FLOAT(M,D) and DOUBLE(M,D) need theirs; integers have zero here.
            scale: matches!(column.data_type.as_str(), "float" | "double")
                .then(|| column.scale.and_then(|scale| u8::try_from(scale).ok()))
                .flatten(),
            disguise: Disguise::of(&column.data_type),
        })
        .collect();
    let mut checked = CheckedTable::new(wanted, schema, name, Some(columns));
    checked.versioning = versioning(server, &checked.schema, &checked.name).await?;
    checked.definition = definition;
    checked.definition.extend(checked.versioning.unlisted());
    checked.refuse_double_keys()?;
    Ok(checked)
}

const COLUMNS_OF_TABLE: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, \
            CHARACTER_SET_NAME, CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, \
            DATETIME_PRECISION, IS_NULLABLE \
     FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? \
     ORDER BY ORDINAL_POSITION";

/// One row of that answer; servers differ in the types of its numbers.
fn server_column(row: &Row) -> Result<ServerColumn, Failure> {
    // Labels of MariaDB may hold surrogates.
    let text = |index| cell(row, index, COLUMNS_OF_TABLE).map(encode::valid_utf8);
    let number = |index| cell::<Option<u64>>(row, index, COLUMNS_OF_TABLE);
    Ok(ServerColumn {
        name: text(2)?,
        data_type: text(3)?,
        column_type: text(4)?,
        charset: cell(row, 5, COLUMNS_OF_TABLE)?,
        octets: number(6)?,
        precision: number(7)?,
        scale: number(8)?,
        fraction: number(9)?,
        nullable: text(10)? == "YES",
    })
}

/// The binlog does not say how many bytes these take, so that not even columns behind them can be read.
fn refuse_unknown_widths(table: &str, columns: &[ServerColumn]) -> Result<(), Failure> {
    // MariaDB marks this format in a comment of the type and nowhere else.
    let is_old = |column: &&ServerColumn| {
        column.column_type.contains("mariadb-5.3") && column.fraction.is_some_and(|it| it > 0)
    };
    let old: Vec<&str> = columns
        .iter()
        .filter(is_old)
        .map(|column| column.name.as_str())
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    Err(Failure::definite(
        Exit::Config,
        format!(
            "table {table}: columns with fractional seconds in the format of before MariaDB 10.1: {}",
            old.join(", ")
        ),
        "SET GLOBAL mysql56_temporal_format = ON, then ALTER TABLE ... FORCE; start behind that",
    ))
}

async fn no_such_table(server: &mut Server, wanted: &config::Table) -> Failure {
    const NAMES: &str = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?";
    let rows = match server.ask(NAMES, (&wanted.schema,)).await {
        Ok(rows) => rows,
        Err(failure) => return failure,
    };
    let names: Vec<String> = rows
        .iter()
        .filter_map(|row| cell(row, 0, NAMES).ok())
        .collect();
    let nearest = nearest(&wanted.name, names.iter().map(String::as_str));
    let hint = match nearest {
        Some(name) => Some(format!("did you mean {}.{name}? otherwise ", wanted.schema)),
        None if wanted.name.contains('.') => Some(
            "if the schema's name has a point, write it in backticks: name = \"`my.db`.Sales\"; otherwise "
                .to_owned(),
        ),
        None => None,
    };
    Failure::definite(
        Exit::Config,
        format!(
            "there is no table {}.{}, or the user may not see it",
            wanted.schema, wanted.name
        ),
        format!(
            "{}correct table.name, or GRANT SELECT on the table to the user of source.url",
            hint.unwrap_or_default()
        ),
    )
}

fn no_such_column(table: &str, wanted: &str, columns: &[ServerColumn]) -> Failure {
    let names = columns.iter().map(|column| column.name.as_str());
    let remedy = match nearest(wanted, names.clone()) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("the table has {}", names.collect::<Vec<_>>().join(", ")),
    };
    Failure::definite(
        Exit::Config,
        format!("table {table} has no column {wanted}"),
        remedy,
    )
}

fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    const ALIKE: f64 = 0.75;
    let word = word.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
