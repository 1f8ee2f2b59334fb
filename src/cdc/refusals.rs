//! Servers and tables that can be followed and never deliver: a server that leaves the table's changes out of
//! its binlog, and what has no rows there. Each is refused before anything is stored.

use mysql_async::Row;
use mysql_async::prelude::FromValue;

use crate::binlog::Flavor;
use crate::config::is_system_schema;
use crate::encode::quoted_name;
use crate::{Exit, Failure};

use super::explain::is_server_error;
use super::findings::Findings;
use super::server::Server;

/// The types of tables that have rows of their own.
const TABLES: &[&str] = &["BASE TABLE", "SYSTEM VERSIONED"];

/// Storage engines whose rows change by this server's statements alone, each of which writes them into the
/// binlog. (BLACKHOLE keeps no rows, but what is inserted is logged.) Rows of FEDERATED, CONNECT, SPIDER and
/// MRG_MYISAM also change elsewhere, NDB logs updates in a way of its own, and Columnstore logs no rows.
const ENGINES: &[&str] = &[
    "InnoDB",
    "MyISAM",
    "Aria",
    "MEMORY",
    "CSV",
    "ARCHIVE",
    "BLACKHOLE",
    "ROCKSDB",
    "TokuDB",
];

/// Whether a table of this type has rows of its own.
pub(super) fn has_rows(table_type: &str) -> bool {
    TABLES.contains(&table_type.to_ascii_uppercase().as_str())
}

/// Whether all changes of a table of this engine are in the server's binlog.
pub(super) fn logs_rows(engine: &str) -> bool {
    let mut engines = ENGINES.iter();
    engines.any(|known| known.eq_ignore_ascii_case(engine))
}

const NO_SUCH_TABLE_IS_SEEN: u16 = 1142;
const NO_SUCH_COLUMN_IS_SEEN: u16 = 1143;
const NOT_ALLOWED: u16 = 1227;
const PARSE_ERROR: u16 = 1064;

/// Finds whether the server's binlog has nothing of these schemas' tables: because it is filtered out, or because the server
/// is a replica that writes nothing of what it receives.
///
/// # Errors
/// If the connection breaks.
pub(super) async fn check_server<'s>(
    server: &mut Server,
    schemas: impl Iterator<Item = &'s str>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let checked = check_replica(server, findings).await;
    findings.take(checked)?;
    let status = server.binlog_status().await;
    let Some(status) = findings.take(status)? else {
        return Ok(());
    };
    let filter = Filter {
        only: list(&status, "Binlog_Do_DB"),
        not: list(&status, "Binlog_Ignore_DB"),
        has_case: server.variable("lower_case_table_names") == Some("0"),
    };
    filter.check(schemas, findings);
    Ok(())
}

/// A comma-separated list in a column; empty if there is no such column.
fn list(row: &Row, column: &str) -> Vec<String> {
    let text = text(row, column).unwrap_or_default();
    let names = text.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What a column of that name says; `None` if it is not there or NULL.
pub(super) fn text(row: &Row, column: &str) -> Option<String> {
    let column = row
        .columns_ref()
        .iter()
        .position(|other| other.name_str().eq_ignore_ascii_case(column))?;
    Option::<String>::from_value_opt(row.as_ref(column)?.clone()).ok()?
}

/// What a server's `binlog_do_db` and `binlog_ignore_db` leave out. Of row changes they look at the
/// table's schema, of statements at the session's.
struct Filter {
    only: Vec<String>,
    not: Vec<String>,
    has_case: bool,
}

impl Filter {
    fn check<'s>(&self, schemas: impl Iterator<Item = &'s str>, findings: &mut Findings) {
        for schema in schemas {
            if let Some(option) = self.leaves_out(schema) {
                findings.refuse(Failure::definite(
                    Exit::Config,
                    format!("the server leaves the schema {schema} out of its binlog ({option})"),
                    "remove the schema from binlog_ignore_db, or add a binlog_do_db line for it, in \
                     the server's my.cnf, and restart it; rows from before are not in the binlog: load \
                     them from the table",
                ));
            } else if self.only.len() > 1 {
                findings.warn(
                    format!(
                        "the server has binlog_do_db = {}: if one option names several schemas with commas, it \
                         is taken as one name, and {schema} is not in the binlog",
                        self.only.join(",")
                    ),
                    "give each schema an option of its own",
                );
            }
        }
        if !self.only.is_empty() || !self.not.is_empty() {
            findings.warn(
                "the server leaves statements out of its binlog by the session's schema (binlog_do_db, \
                 binlog_ignore_db): what such a session changes with binlog_format = STATEMENT is not \
                 delivered, and what it ALTERs is not seen",
                "remove these options",
            );
        }
    }

    /// The option that leaves a schema out. As the server does, `binlog_ignore_db` is not looked at if
    /// there is any `binlog_do_db`.
    fn leaves_out(&self, schema: &str) -> Option<String> {
        let is_same = |name: &&String| {
            name.as_str() == schema
                || (!self.has_case && name.to_lowercase() == schema.to_lowercase())
        };
        if self.only.is_empty() {
            let ignored = self.not.iter().find(is_same)?;
            return Some(format!("binlog_ignore_db = {ignored}"));
        }
        if self.only.iter().any(|name| is_same(&name)) {
            return None;
        }
        Some(format!("binlog_do_db = {}", self.only.join(",")))
    }
}

/// A replica that does not write what it receives into its own binlog has none of its source's rows.
async fn check_replica(server: &mut Server, findings: &mut Findings) -> Result<(), Failure> {
    let log_updates = ["log_replica_updates", "log_slave_updates"]
        .into_iter()
        .find_map(|name| server.variable(name).map(|value| (name, value.to_owned())));
    // A server without the setting writes them.
    let muted = log_updates.filter(|(_, value)| !value.eq_ignore_ascii_case("ON"));
    let sources = match replica_status(server).await? {
        Ok(sources) => sources,
        Err(error) if is_server_error(&error, NOT_ALLOWED) => {
            if let Some((name, _)) = muted {
                let privilege = match server.flavor {
                    Flavor::MySql => "REPLICATION CLIENT",
                    Flavor::MariaDb => "REPLICA MONITOR",
                };
                findings.warn(
                    format!(
                        "not allowed to see whether the server is a replica: if it is, nothing that it \
                         receives is delivered, because it has {name} = OFF"
                    ),
                    format!("GRANT {privilege} ON *.* to hydrant's user"),
                );
            }
            return Ok(());
        }
        Err(error) => return Err(server.explain(&error)),
    };
    let Some(source) = sources.first() else {
        return Ok(());
    };
    let host = text(source, "Source_Host").or_else(|| text(source, "Master_Host"));
    let host = host.unwrap_or_default();
    if let Some((name, _)) = muted {
        return Err(Failure::definite(
            Exit::Config,
            format!(
                "the server is a replica of {host} and does not write what it receives into its own \
                 binlog ({name} = OFF)"
            ),
            format!(
                "start it with {name} = ON, or follow {host} itself; if it is no replica any more, \
                 RESET REPLICA ALL"
            ),
        ));
    }
    for source in &sources {
        warn_of_filters(source, findings);
    }
    Ok(())
}

/// What a replica passes over is not in its binlog.
fn warn_of_filters(source: &Row, findings: &mut Findings) {
    for column in source.columns_ref() {
        let name = column.name_str();
        let is_filter = name.to_ascii_lowercase().starts_with("replicate_")
            && (name.contains("_Do_") || name.contains("_Ignore_") || name.contains("_Rewrite_"))
            && !name.contains("Server_Ids");
        let value = text(source, &name).filter(|value| is_filter && !value.is_empty());
        if let Some(value) = value {
            findings.warn(
                format!(
                    "the server is a replica with {name} = {value}: what that leaves out is not in its binlog, \
                     and not delivered"
                ),
                "remove the filter, or follow the server it replicates from",
            );
        }
    }
}

/// A row for each server that this one replicates from.
///
/// # Errors
/// If the server does not answer in time.
pub(super) async fn replica_status(
    server: &mut Server,
) -> Result<Result<Vec<Row>, mysql_async::Error>, Failure> {
    // The names changed in MySQL 8.0.22; MariaDB has several sources.
    let statements = match server.flavor {
        Flavor::MySql => ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"],
        Flavor::MariaDb => ["SHOW ALL SLAVES STATUS", "SHOW SLAVE STATUS"],
    };
    match server.try_ask(statements[0], ()).await? {
        Err(error) if is_server_error(&error, PARSE_ERROR) => {
            server.try_ask(statements[1], ()).await
        }
        answer => Ok(answer),
    }
}

/// Refuses what has no rows in the binlog.
///
/// # Errors
/// If it is no table, or one whose rows change without the binlog, or one of which the user does not see
/// all columns.
pub(super) async fn check_table(
    server: &mut Server,
    schema: &str,
    name: &str,
) -> Result<(), Failure> {
    let refused = |why: String, remedy: &str| {
        Err(Failure::definite(
            Exit::Config,
            format!("{schema}.{name} cannot be followed: {why}"),
            remedy,
        ))
    };
    if is_system_schema(schema) {
        let why = "the server does not write the changes of its own schemas as rows";
        return refused(
            why.to_owned(),
            "name a table of an application in table.name",
        );
    }
    const KIND: &str = "SELECT TABLE_TYPE, ENGINE FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let kind = server.ask(KIND, (schema, name)).await?;
    let Some(kind) = kind.first() else {
        // It was there a moment ago.
        return refused(
            "it is gone".to_owned(),
            "start again, or correct table.name",
        );
    };
    let table_type = text(kind, "TABLE_TYPE").unwrap_or_default();
    if !has_rows(&table_type) {
        return refused(
            format!("it is not a table (its type is {table_type}) and has no rows in the binlog"),
            "name the table that the rows are in",
        );
    }
    let engine = text(kind, "ENGINE").unwrap_or_else(|| "none".to_owned());
    if !ENGINES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(&engine))
    {
        return refused(
            format!("its rows can change without this server's binlog (its engine is {engine})"),
            "follow the table that the rows are in, on the server that has it; or move them into InnoDB",
        );
    }
    check_privilege(server, schema, name).await
}

/// With a grant on columns the others are not there for the user. The statement is allowed to who has a
/// privilege on the whole table, and takes no lock that keeps others waiting.
async fn check_privilege(server: &mut Server, schema: &str, name: &str) -> Result<(), Failure> {
    let table = format!("{}.{}", quoted_name(schema), quoted_name(name));
    let statement = format!("SHOW CREATE TABLE {table}");
    match server.try_ask(&statement, ()).await? {
        Ok(_) => Ok(()),
        Err(error)
            if is_server_error(&error, NO_SUCH_TABLE_IS_SEEN)
                || is_server_error(&error, NO_SUCH_COLUMN_IS_SEEN) =>
        {
            Err(Failure::definite(
                Exit::Permission,
                format!(
                    "the user has a privilege on columns of {schema}.{name} and not on the table, so it cannot \
                     see all columns"
                ),
                format!("GRANT SELECT ON {table} to the user of source.url"),
            ))
        }
        Err(error) => Err(server.explain(&error)),
    }
}

/// A text as SQL has it.
pub(super) fn sql_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(only: &[&str], not: &[&str], has_case: bool) -> Filter {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Filter {
            only: owned(only),
            not: owned(not),
            has_case,
        }
    }

    #[test]
    fn a_schema_is_left_out_as_the_server_leaves_it_out() {
        for (filter, schema, is_out) in [
            (filter(&[], &[], true), "shop", false),
            (filter(&["shop"], &[], true), "shop", false),
            (filter(&["other", "shop"], &[], true), "shop", false),
            (filter(&["other"], &[], true), "shop", true),
            (filter(&["Shop"], &[], true), "shop", true),
            (filter(&["Shop"], &[], false), "shop", false),
            (filter(&[], &["shop"], true), "shop", true),
            (filter(&[], &["other"], true), "shop", false),
            (filter(&[], &["SHOP"], false), "shop", true),
            (filter(&["shop"], &["shop"], true), "shop", false),
        ] {
            let mut findings = Findings::default();
            filter.check([schema].into_iter(), &mut findings);
            assert_eq!(
                findings.conclude(Ok(())).is_err(),
                is_out,
                "{:?} {:?} {schema}",
                filter.only,
                filter.not
            );
        }
    }
}
