//! What must be true before the first event is read. All that is not is found in one look.

use std::collections::BTreeSet;

use crate::binlog::{Flavor, Operations, ServerColumn};
use crate::config::{self, Config, Tls};
use crate::encode::{self, ChosenColumn};
use crate::{Error, Exit, Failure};

use super::checked_table::{CheckedTable, MERGED_KEY_REMEDY, merged_key};
use super::checkpoint::Checkpoint;
use super::described::{hashes, spelled};
use super::explain::binlog_is_off;
use super::findings::Findings;
use super::layouts::{KnownLayouts, TableLayouts};
use super::listed::{Listed, list};
use super::new_tables::NewTables;
use super::refusals;
use super::server::{Server, cell};
use super::server_columns::is_same;
use super::versioned::versioning;

/// A server that can be followed.
#[derive(Debug)]
pub struct Preflight {
    /// The connection that was used; it becomes the binlog stream.
    pub server: Server,
    /// The tables, in the configuration's order.
    pub tables: Vec<CheckedTable>,
    /// The tables that patterns mean.
    pub(super) listed: Listed,
    /// Those that they mean from now on.
    pub(super) new_tables: NewTables,
}

impl Preflight {
    /// Connects and checks. What the checkpoint knows of a table may be gone.
    ///
    /// # Errors
    /// All that is wrong.
    pub async fn run(config: &Config, checkpoint: Option<&Checkpoint>) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let checked = Self::look(config, checkpoint, &mut findings).await;
        Ok(findings.conclude(checked)?)
    }

    /// Connects and adds what is wrong to the findings. Only if none of them is a refusal is it a server that can be
    /// followed.
    ///
    /// # Errors
    /// If there is no connection, or it breaks.
    async fn look(
        config: &Config,
        checkpoint: Option<&Checkpoint>,
        findings: &mut Findings,
    ) -> Result<Self, Failure> {
        if config.source.tls == Tls::Encrypt {
            findings.warn(
                "source.tls = \"encrypt\": the server's certificate is not verified",
                "",
            );
        }
        let mut server = Server::connect(&config.source).await?;
        check_settings(&server, findings);
        warn_of_row_image(&server, findings);
        warn_of_row_metadata(&server, findings);
        let retention = check_retention(&mut server, findings).await;
        findings.take(retention)?;
        let layouts = checkpoint.map(Checkpoint::layouts).unwrap_or_default();
        let tables = check_tables(&mut server, &config.tables, &layouts, findings).await?;
        // What is gone cannot be asked about.
        for table in tables.iter().filter(|table| !table.definition.is_empty()) {
            let checked = refusals::check_table(&mut server, &table.schema, &table.name).await;
            findings.take(checked)?;
        }
        let folds = server.variable("lower_case_table_names") != Some("0");
        let patterns = config.patterns.clone().folding(folds);
        let mut new_tables = NewTables::of(patterns, config.partitions.clone());
        let listed = list(&mut server, &config.tables, &mut new_tables, findings).await?;
        let schemas = tables.iter().map(|table| table.schema.as_str());
        let listed_schemas = listed.tables.iter().map(|table| table.schema.as_str());
        let schemas: BTreeSet<&str> = schemas.chain(listed_schemas).collect();
        refusals::check_server(&mut server, schemas.into_iter(), findings).await?;
        Ok(Self {
            server,
            tables,
            listed,
            new_tables,
        })
    }
}

/// Looks up the tables' columns. Finds tables and columns that are not there, and types that cannot be written.
///
/// # Errors
/// If the connection breaks.
pub(crate) async fn check_tables(
    server: &mut Server,
    wanted: &[config::Table],
    layouts: &KnownLayouts,
    findings: &mut Findings,
) -> Result<Vec<CheckedTable>, Failure> {
    let mut tables = Vec::with_capacity(wanted.len());
    for table in wanted {
        let name = format!("{}.{}", table.schema, table.name);
        let checked = check_table(server, table, layouts.get(&name), findings).await;
        tables.extend(findings.take(checked)?);
    }
    Ok(tables)
}

fn check_settings(server: &Server, findings: &mut Findings) {
    let on = |name| {
        server
            .variable(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("ON"))
    };
    if !on("log_bin") {
        findings.refuse(binlog_is_off());
    }
    // A server that knows no other format has no such variable.
    let format = server.variable("binlog_format");
    if let Some(format) = format.filter(|format| !format.eq_ignore_ascii_case("ROW")) {
        findings.refuse(Failure::definite(
            Exit::Config,
            format!("the server has binlog_format = {format}"),
            format!(
                "{}; then reconnect the applications, because sessions keep their own",
                server.set_for_good("binlog_format = 'ROW'")
            ),
        ));
    }
}

/// Names then come from the server, which only knows the table of today.
fn warn_of_row_metadata(server: &Server, findings: &mut Findings) {
    if !server.logs_names() {
        let metadata = server.variable("binlog_row_metadata").unwrap_or("NO_LOG");
        findings.warn(
            format!(
                "the binlog does not name columns (binlog_row_metadata = {metadata}): the server is asked for \
                 them. It only knows the present tables, so rows between two changes stop the agent if they were \
                 not read in time"
            ),
            server.set_for_good("binlog_row_metadata = 'FULL'"),
        );
    }
}

/// Rows may still be whole: inserts often are, and sessions can choose for themselves.
fn warn_of_row_image(server: &Server, findings: &mut Findings) {
    let row_image = server.variable("binlog_row_image");
    if let Some(row_image) = row_image.filter(|value| !value.eq_ignore_ascii_case("FULL")) {
        let of_replace = match server.flavor {
            Flavor::MySql => "",
            Flavor::MariaDb => {
                " (MariaDB also leaves out what REPLACE sets to a default, so that such a line does not describe \
                 the row)"
            }
        };
        findings.warn(
            format!(
                "the server has binlog_row_image = {row_image}: a written column that a row image does \
                 not hold stops the agent, unless the table's `metadata` has \"absent\"{of_replace}"
            ),
            server.set_for_good("binlog_row_image = 'FULL'"),
        );
    }
}

/// A binlog that is purged while the agent is away is rows that are lost.
async fn check_retention(server: &mut Server, findings: &mut Findings) -> Result<(), Failure> {
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
        findings.warn(
            "not allowed to see how long the binlogs are kept",
            "check it with CALL mysql.rds_show_configuration",
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
            let hours = kept / HOUR;
            findings.warn(
                format!("the server keeps its binlogs for {hours} h only"),
                remedy,
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn check_table(
    server: &mut Server,
    wanted: &config::Table,
    layouts: Option<&TableLayouts>,
    findings: &mut Findings,
) -> Result<CheckedTable, Failure> {
    // What was followed before with these columns is in the binlog, even if it is gone by now.
    let (columns, protection) = (wanted.columns.as_deref(), &wanted.protection);
    let is_known = layouts.is_some_and(|layouts| layouts.is_choice(columns, protection));
    let table = format!("{}.{}", wanted.schema, wanted.name);
    let Some(found) = spelled(server, &wanted.schema, &wanted.name).await? else {
        if !is_known {
            return Err(no_such_table(server, wanted).await);
        }
        findings.warn(
            format!(
                "there is no table {table} any more, or the user may not see it; what the binlog has of it is \
                 delivered"
            ),
            "",
        );
        return Ok(CheckedTable::unchecked(wanted));
    };
    let definition = found.columns;
    for name in wanted.columns.iter().flatten() {
        if !definition.iter().any(|column| is_same(&column.name, name)) {
            if is_known {
                findings.warn(format!("table {table} has no column {name} any more"), "");
            } else {
                findings.refuse(no_such_column(&table, name, &definition));
            }
        }
    }
    check_protected(wanted, &table, &definition, layouts, findings);
    let is_wanted = |column: &&ServerColumn| {
        let names = wanted.columns.as_ref();
        names.is_none_or(|names| names.iter().any(|name| is_same(name, &column.name)))
            && !protection.excludes(&column.name)
    };
    let refused: Vec<String> = definition
        .iter()
        .filter(is_wanted)
        .filter_map(|column| {
            let why = encode::unsupported(&column.data_type, column.charset.as_deref())?;
            Some(format!("{} ({why})", column.name))
        })
        .collect();
    if !refused.is_empty() {
        findings.refuse(Failure::definite(
            Exit::Config,
            format!(
                "table {table}: columns of types that are not supported as yet: {}",
                refused.join(", ")
            ),
            "name the columns to write, without these, in the table's `columns`",
        ));
    }
    let chosen = chosen(wanted, &definition);
    let mut checked = CheckedTable::new(wanted, found.schema, found.name, chosen);
    let wanted_columns = definition.iter().filter(is_wanted);
    let names = wanted_columns.map(|column| column.name.as_str());
    findings.take(checked.refuse_double_keys(&names))?;
    checked.versioning = versioning(server, &checked.schema, &checked.name).await?;
    checked.definition = definition;
    checked.definition.extend(checked.versioning.unlisted());
    let hashes = hashes(server, &checked.schema, &checked.name).await?;
    checked.definition.extend(hashes);
    Ok(checked)
}

/// A name that is mistyped protects nothing. One that the table had may be that of rows which are still to be read.
fn check_protected(
    wanted: &config::Table,
    table: &str,
    definition: &[ServerColumn],
    layouts: Option<&TableLayouts>,
    findings: &mut Findings,
) {
    let is_gone = |name: &str| layouts.is_some_and(|layouts| layouts.knows(name));
    for (name, how) in wanted.protection.columns() {
        if definition.iter().any(|column| is_same(&column.name, name)) {
            continue;
        }
        if is_gone(name) {
            let what = format!("table {table} has no column {name} any more, which is {how}");
            findings.warn(what, "");
        } else {
            findings.refuse(no_such_column(table, name, definition));
        }
    }
    let is_written = |column: &ServerColumn| !wanted.protection.excludes(&column.name);
    if !definition.iter().any(is_written) {
        findings.refuse(Failure::definite(
            Exit::Config,
            format!("table {table}: exclude_columns leaves none of its columns"),
            "write one of them, or do not follow the table",
        ));
    }
    let keys = definition.iter().filter(|column| column.is_key);
    for column in keys.filter(|column| wanted.protection.merges(&column.name)) {
        let what = format!("table {table}: {}", merged_key(&column.name));
        if wanted.operations == Operations::INSERTS {
            findings.warn(
                format!(
                    "table {table}: the column {} of the primary key is masked so that several rows have the same value",
                    column.name
                ),
                "",
            );
        } else {
            findings.refuse(Failure::definite(Exit::Config, what, MERGED_KEY_REMEDY));
        }
    }
}

/// The columns that the configuration chose, as the server spells them.
fn chosen(wanted: &config::Table, definition: &[ServerColumn]) -> Option<Vec<ChosenColumn>> {
    let names = wanted.columns.as_ref()?;
    let column = |name: &String| {
        let mut columns = definition.iter();
        let found = columns.find(|column| is_same(&column.name, name));
        ChosenColumn::named(found.map_or(name, |column| &column.name))
    };
    Some(names.iter().map(column).collect())
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
