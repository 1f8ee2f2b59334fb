//! Which tables are read at a start, and by which key.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use crate::binlog::{Flavor, ServerColumn, Versioning};
use crate::cdc::checked_table::CheckedTable;
use crate::cdc::described::spelled;
use crate::cdc::findings::Findings;
use crate::cdc::kept_binlog::has_gtids;
use crate::cdc::server::{Mark, Server, cell};
use crate::cdc::server_columns::is_same;
use crate::config::Config;
use crate::encode::quoted_name;
use crate::{Error, Exit, Failure};

use super::estimate::Estimate;
use super::key::{Bound, Key};
use super::pause::warn_of_unknown;
use super::progress::TableProgress;
use super::reader::{lock, no_gtids};
use super::seam::Seam;

/// Begins to read the tables that are to be read and are not, as the mark knows them; what it knows of other tables is
/// kept. Gives nothing if there is nothing to read.
///
/// # Errors
/// All that is in the way.
pub(in crate::cdc) async fn begin(
    config: &Config,
    tables: &mut [CheckedTable],
    server: &mut Server,
    mark: &mut Mark,
    was_followed: impl Fn(&CheckedTable) -> bool,
) -> Result<Option<Box<Seam>>, Error> {
    let mut seam = Seam::default();
    let mut findings = Findings::default();
    let mut known = BTreeMap::clone(&mark.backfill);
    for (index, table) in tables.iter_mut().enumerate() {
        let before = known.get(&table.full_name());
        let is_done = before.is_some_and(TableProgress::is_done);
        if !table.backfill.is_wanted() || (is_done && !table.backfill.is_again()) {
            continue;
        }
        let begun = begin_table(config, table, before, server).await;
        if let Some((key, mut progress)) = findings.take(begun)? {
            if key.is_none() && before.is_none() {
                progress.begins_there = !was_followed(table);
            }
            table.is_read = true;
            if config.backfill.lock_tables && server.flavor == Flavor::MySql {
                findings.take(check_lock(server, table).await)?;
            }
            let estimate = estimate(server, table, progress.rows()).await?;
            tell_estimate(config, table, (&key, &progress), estimate);
            seam.begin(index, (key, is_once(table)), progress, estimate);
        }
    }
    let is_any = !seam.readings().is_empty();
    if is_any && !has_gtids(server) && !config.backfill.lock_tables {
        findings.refuse(no_gtids());
    }
    findings.conclude(Ok(()))?;
    if is_any {
        warn_of_unknown(server).await?;
    }
    for reading in seam.readings() {
        let name = tables[reading.table].full_name();
        known.insert(name, reading.progress.clone());
    }
    mark.backfill = Arc::new(known);
    Ok(is_any.then(|| Box::new(seam)))
}

async fn begin_table(
    config: &Config,
    table: &CheckedTable,
    before: Option<&TableProgress>,
    server: &mut Server,
) -> Result<(Key, TableProgress), Failure> {
    let name = table.full_name();
    let refused = |what: &str, remedy: &str| refused(table, what, remedy);
    refuse_unreadable(table, server)?;
    let spelled = spelled(server, &table.schema, &table.name).await?;
    let columns = spelled.map(|it| it.columns).unwrap_or_default();
    let mut keys = keys(server, table, &columns).await?;
    // Bounds are values, which the checkpoint has.
    let is_protected = |name: &str| {
        let mut protected = table.protection.columns();
        protected.any(|(column, _)| is_same(column, name))
    };
    keys.retain(|key| !key.names().any(is_protected));
    if is_once(table) {
        // On which side of a bound a row stands must be known without the server.
        keys.retain(Key::is_integer);
    }
    if let Some(before) = before.filter(|before| !before.is_done()) {
        let was_whole = before.key().is_empty();
        match keys.iter().find(|key| before.is_by(key)) {
            Some(key) => return Ok((key.clone(), before.clone())),
            None if was_whole && keys.is_empty() => return Ok((Key::none(), before.clone())),
            None if was_whole || table.backfill.is_again() => {}
            None => {
                let key = before.key().join(", ");
                return Err(refused(
                    &format!("it was read by ({key}), which is no key of it any more"),
                    &format!("start once with --backfill {name}, which reads it anew"),
                ));
            }
        }
    }
    let key = keys.into_iter().next().unwrap_or_else(Key::none);
    if key.is_none() || !has_gtids(server) {
        refuse_without_snapshots(table, server).await?;
    }
    let bounds = bounds(config, table, &key, server).await?;
    let progress = TableProgress::begin(&key, bounds, before);
    Ok((key, progress))
}

/// Rows of such engines change beside any snapshot.
async fn refuse_without_snapshots(
    table: &CheckedTable,
    server: &mut Server,
) -> Result<(), Failure> {
    const ENGINE: &str = "SELECT ENGINE, TRANSACTIONS FROM information_schema.TABLES \
         JOIN information_schema.ENGINES USING (ENGINE) WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let names = (table.schema.as_str(), table.name.as_str());
    let rows = server.ask(ENGINE, names).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let (engine, transactions): (String, Option<String>) =
        (cell(row, 0, ENGINE)?, cell(row, 1, ENGINE)?);
    if transactions.is_some_and(|it| it.eq_ignore_ascii_case("YES")) {
        return Ok(());
    }
    Err(refused(
        table,
        &format!("only a snapshot tells which changes it has, and its engine, {engine}, has none"),
        "ALTER TABLE ... ENGINE = InnoDB; or take `backfill` away from it and load its rows otherwise",
    ))
}

/// Locks the table for a moment, which is allowed, to know whether the user may.
async fn check_lock(server: &mut Server, table: &CheckedTable) -> Result<(), Failure> {
    let locked = lock(server, table).await;
    server.ask("UNLOCK TABLES", ()).await?;
    match locked {
        Err(failure) if failure.exit == Exit::Permission => Err(refused(
            table,
            &format!("backfill.lock_tables is set, and the user may not lock it: {failure}"),
            "GRANT LOCK TABLES ON its schema TO the user of source.url, or set backfill.lock_tables = false",
        )),
        // Somebody else is writing to it.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What keeps any row of the table from being read.
fn refuse_unreadable(table: &CheckedTable, server: &Server) -> Result<(), Failure> {
    let refused = |what: &str, remedy: &str| refused(table, what, remedy);
    if !table.operations.insert {
        return Err(refused(
            "its inserts are not followed",
            "add \"insert\" to the table's `events`, or take `backfill` away from it",
        ));
    }
    if let Some(image) = server.variable("binlog_row_image")
        && !image.eq_ignore_ascii_case("FULL")
    {
        let what = format!("the server has binlog_row_image = {image}");
        return Err(refused(
            &what,
            &server.set_for_good("binlog_row_image = 'FULL'"),
        ));
    }
    if !matches!(table.versioning, Versioning::Ordinary | Versioning::Unknown) {
        return Err(refused(
            "it is system-versioned",
            "take `backfill` away from it; its changes are followed",
        ));
    }
    Ok(())
}

fn refused(table: &CheckedTable, what: &str, remedy: &str) -> Failure {
    let name = table.full_name();
    Failure::definite(Exit::Config, format!("backfill of {name}: {what}"), remedy)
}

/// Whether each row is to be delivered once, because its updates are not followed.
fn is_once(table: &CheckedTable) -> bool {
    !table.operations.update
}

/// The keys by which a table can be read, the primary one first.
pub(super) async fn keys(
    server: &mut Server,
    table: &CheckedTable,
    columns: &[ServerColumn],
) -> Result<Vec<Key>, Failure> {
    const KEYS: &str = "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART, COLLATION \
         FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 \
         AND INDEX_TYPE = 'BTREE' \
         ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX";
    let rows = server
        .ask(KEYS, (table.schema.as_str(), table.name.as_str()))
        .await?;
    let mut found: Vec<(String, Option<Vec<&ServerColumn>>)> = Vec::new();
    for row in &rows {
        let index: String = cell(row, 0, KEYS)?;
        let column: Option<String> = cell(row, 1, KEYS)?;
        let part: Option<u64> = cell(row, 2, KEYS)?;
        let order: Option<String> = cell(row, 3, KEYS)?;
        let column = column.filter(|_| part.is_none() && order.as_deref() == Some("A"));
        let column =
            column.and_then(|name| columns.iter().find(|column| is_same(&column.name, &name)));
        if found.last().is_none_or(|(last, _)| *last != index) {
            found.push((index, Some(Vec::new())));
        }
        if let Some((_, known)) = found.last_mut() {
            match (known.as_mut(), column) {
                (Some(known), Some(column)) => known.push(column),
                _ => *known = None,
            }
        }
    }
    let keys = found.into_iter();
    Ok(keys
        .filter_map(|(index, columns)| Key::new(&index, &columns?))
        .collect())
}

/// Keys that divide the table for the connections to be used.
pub(super) async fn bounds(
    config: &Config,
    table: &CheckedTable,
    key: &Key,
    server: &mut Server,
) -> Result<Vec<Bound>, Failure> {
    let Some(column) = key.integer() else {
        return Ok(Vec::new());
    };
    let statement = format!(
        "SELECT CAST(MIN({0}) AS CHAR), CAST(MAX({0}) AS CHAR) FROM {1}.{2} {3}",
        quoted_name(column),
        quoted_name(&table.schema),
        quoted_name(&table.name),
        key.hint(),
    );
    let rows = server.ask(&statement, ()).await?;
    let number = |index| -> Result<Option<i128>, Failure> {
        let text: Option<String> = rows
            .first()
            .map_or(Ok(None), |row| cell(row, index, &statement))?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    let (Some(least), Some(greatest)) = (number(0)?, number(1)?) else {
        return Ok(Vec::new());
    };
    let parts = i128::from(config.backfill.connections);
    let bound = |part: i128| least + (greatest - least) * part / parts;
    let mut bounds: Vec<i128> = (1..parts).map(bound).collect();
    if is_once(table) {
        // What is added meanwhile stands behind it, where the table is read first.
        bounds.push(greatest);
    }
    bounds.dedup();
    Ok(bounds.into_iter().map(Bound::of_integer).collect())
}

/// The server's own guess, when so many rows are written.
pub(super) async fn estimate(
    server: &mut Server,
    table: &CheckedTable,
    rows_before: u64,
) -> Result<Estimate, Failure> {
    const SIZE: &str = "SELECT TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    if server.flavor == Flavor::MySql {
        // What MySQL keeps there may be a day old.
        server
            .ask_if_allowed("SET SESSION information_schema_stats_expiry = 0")
            .await?;
    }
    let names = (table.schema.as_str(), table.name.as_str());
    let rows = server.ask(SIZE, names).await?;
    let number = |index| -> Result<u64, Failure> {
        let number: Option<u64> = rows
            .first()
            .map_or(Ok(None), |row| cell(row, index, SIZE))?;
        Ok(number.unwrap_or(0))
    };
    Ok(Estimate {
        rows: number(0)?,
        bytes: number(1)?,
        rows_before,
    })
}

fn tell_estimate(
    config: &Config,
    table: &CheckedTable,
    (key, progress): (&Key, &TableProgress),
    estimate: Estimate,
) {
    let name = table.full_name();
    let Estimate {
        rows,
        bytes,
        rows_before,
    } = estimate;
    let done = if rows_before == 0 {
        String::new()
    } else {
        format!("{rows_before} of ")
    };
    let how = if key.is_none() {
        let from = if progress.begins_there {
            "; its changes are delivered from the place on as of which it is read"
        } else {
            ""
        };
        format!("whole, because no key divides it, and anew from its first row after a stop{from}")
    } else {
        let columns: Vec<&str> = key.names().collect();
        let unread = progress.ranges().iter().filter(|range| !range.is_read);
        let connections = unread.count().min(config.backfill.connections as usize);
        format!(
            "in parts by the key ({}) over {connections} connection(s)",
            columns.join(", ")
        )
    };
    info!(
        "backfill of {name}: {done}about {rows} rows ({}), {how}",
        bytesize::ByteSize(bytes),
    );
}
