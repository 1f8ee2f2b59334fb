//! The database server: connecting, asking what it is, and where its binlog stands.
//!
//! Each question has a deadline ([`Server::ask`]), and no answer is believed to be of a certain type
//! ([`cell`]): what a server sends, its settings and its users can change.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Error, Opts, OptsBuilder, Params, Row, SslOpts};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::binlog::{FilePosition, Flavor, GtidSet, Lineage, PreparedXa};
use crate::config::{Source, Tls};
use crate::{Exit, Failure};

use super::backfill::BackfillProgress;
use super::explain::{REACH_SERVER, binlog_is_off, explain, is_server_error};
use super::server_columns::{ConfirmedIds, KnownColumns};

/// Which server a position is true of: MySQL's `server_uuid`, or MariaDB's domain and server id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(pub String);

/// A place between transactions from which a server can be asked to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Whose position it is.
    pub server: Identity,
    /// The position; `None` if only the GTIDs say where.
    pub position: Option<FilePosition>,
    /// All transactions before it, if known.
    pub gtids: Option<GtidSet>,
    /// The XA transactions that are prepared there.
    pub xa: PreparedXa,
    /// The server's answers about the followed tables, valid for the next rows.
    pub(crate) columns: Arc<KnownColumns>,
    /// For which numbers of tables that was confirmed.
    pub(crate) confirmed_ids: Arc<ConfirmedIds>,
    /// The newest number of the metadata column `sequence` up to there; 0 if no line was written.
    pub sequence: i64,
    /// What tells the history before it from others.
    pub lineage: Lineage,
    /// What has been read of tables whose rows were there before, and is written before it.
    pub(crate) backfill: Arc<BackfillProgress>,
}

impl Mark {
    /// A mark of which no more is known.
    #[must_use]
    pub fn new(server: Identity, position: Option<FilePosition>, gtids: Option<GtidSet>) -> Self {
        Self {
            server,
            position,
            gtids,
            xa: PreparedXa::default(),
            columns: Arc::default(),
            confirmed_ids: Arc::default(),
            sequence: 0,
            lineage: Lineage::default(),
            backfill: Arc::default(),
        }
    }

    /// From which position the server must send; `None` if only the GTIDs say where.
    #[must_use]
    pub fn read_from(&self) -> Option<&FilePosition> {
        self.xa.from.as_ref().or(self.position.as_ref())
    }

    /// Which transactions the server need not send, if it is asked by GTID.
    #[must_use]
    pub fn read_after(&self) -> Option<GtidSet> {
        let set = self.gtids.as_ref()?;
        let prepared = self.xa.gtids.as_deref();
        let prepared = prepared.and_then(|text| GtidSet::parse(Flavor::MySql, text).ok());
        Some(prepared.map_or_else(|| set.clone(), |prepared| set.without(&prepared)))
    }
}

/// The state of a session that answers depend on. Servers can give it other values, by their settings and
/// by `init_connect`.
const SESSION: [&str; 2] = [
    // Names and labels would come in another character set, or as question marks.
    "SET NAMES utf8mb4",
    // Lists would be cut off, and what is written would not be committed.
    "SET SESSION autocommit = 1, sql_mode = 'STRICT_TRANS_TABLES', \
     sql_select_limit = 18446744073709551615, wait_timeout = 28800",
];
/// The same of what not every server knows.
const SESSION_IF_KNOWN: [&str; 4] = [
    // Some messages are told apart by their text.
    "SET SESSION lc_messages = 'en_US'",
    "SET SESSION max_execution_time = 0",
    "SET SESSION max_statement_time = 0",
    // A table map has such a key, whether it is shown or not.
    "SET SESSION show_gipk_in_create_table_and_information_schema = ON",
];
/// How many times as long as another answer it may take the server to look through a binlog file.
const SCAN_PARTS: u32 = 10;
/// After this time without traffic, keepalive probes the peer.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A connection, and what the server at its other end says of itself.
#[derive(Debug)]
pub struct Server {
    pub(super) conn: Conn,
    /// The family.
    pub flavor: Flavor,
    /// Who it is.
    pub identity: Identity,
    variables: HashMap<String, String>,
    place: String,
    /// How long an answer may take.
    limit: Duration,
}

impl Server {
    /// Connects and asks for the server's settings, all of it within `source.connect_timeout`.
    ///
    /// # Errors
    /// If there is no answer in time, or the login or the certificate is refused.
    pub async fn connect(source: &Source) -> Result<Self, Failure> {
        let place = format!("{}:{}", source.host, source.port);
        let limit = source.connect_timeout;
        let (conn, variables) = within(limit, &place, Self::open(source))
            .await?
            .map_err(|error| explain(&place, &error))?;
        let get = |name: &str| variables.get(name).map_or("", String::as_str);
        let flavor =
            if get("version").contains("MariaDB") || variables.contains_key("gtid_domain_id") {
                Flavor::MariaDb
            } else {
                Flavor::MySql
            };
        let identity = Identity(match flavor {
            Flavor::MySql => get("server_uuid").to_owned(),
            Flavor::MariaDb => format!("{}-{}", get("gtid_domain_id"), get("server_id")),
        });
        Ok(Self {
            conn,
            flavor,
            identity,
            variables,
            place,
            limit,
        })
    }

    async fn open(source: &Source) -> Result<(Conn, HashMap<String, String>), Error> {
        let mut conn = Conn::new(options(source)).await?;
        for statement in SESSION {
            conn.query_drop(statement).await?;
        }
        for statement in SESSION_IF_KNOWN {
            match conn.query_drop(statement).await {
                Err(Error::Server(error)) => debug!("{statement}: {}", error.message),
                done => done?,
            }
        }
        let rows: Vec<Row> = conn.query("SHOW GLOBAL VARIABLES").await?;
        let text = |row: &Row, index| {
            let bytes: Option<Vec<u8>> = row.get_opt(index)?.ok()?;
            // A value can be in any character set; those that hydrant looks at are plain.
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let variables = rows
            .iter()
            .filter_map(|row| Some((text(row, 0)?, text(row, 1)?)));
        let variables = variables.collect();
        Ok((conn, variables))
    }

    /// The connection, for statements of the caller's own.
    #[cfg(feature = "load")]
    pub(crate) fn into_connection(self) -> Conn {
        self.conn
    }

    /// Logs out, so that the next connection is not one too many.
    pub(super) async fn close(self) {
        // Whatever comes of a goodbye, the connection is gone.
        let _ = within(self.limit, &self.place, self.conn.disconnect()).await;
    }

    /// A global variable; `None` if this server does not have it.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Host and port.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether its table maps have the names of columns.
    pub(super) fn logs_names(&self) -> bool {
        let metadata = self.variable("binlog_row_metadata");
        metadata.is_some_and(|metadata| metadata.eq_ignore_ascii_case("FULL"))
    }

    /// The statement that changes a global setting for good.
    pub(super) fn set_for_good(&self, assignment: &str) -> String {
        match self.flavor {
            Flavor::MySql => format!("SET PERSIST {assignment} (or in the parameter group)"),
            Flavor::MariaDb => {
                format!("SET GLOBAL {assignment}, and set it in the server's my.cnf")
            }
        }
    }

    /// The rows that answer a question, within `source.connect_timeout`.
    ///
    /// # Errors
    /// If the server refuses, or does not answer in time.
    pub(super) async fn ask(
        &mut self,
        statement: &str,
        parameters: impl Into<Params>,
    ) -> Result<Vec<Row>, Failure> {
        let answer = self.put(statement, parameters.into(), self.limit).await?;
        answer.map_err(|error| explain(&self.place, &error))
    }

    /// The same for a question that this server may not know or not allow; `None` if so.
    ///
    /// # Errors
    /// If the server does not answer in time.
    pub(super) async fn ask_if_allowed(
        &mut self,
        statement: &str,
    ) -> Result<Option<Vec<Row>>, Failure> {
        match self.put(statement, Params::Empty, self.limit).await? {
            Ok(rows) => Ok(Some(rows)),
            Err(Error::Server(error)) => {
                debug!("{statement}: {}", error.message);
                Ok(None)
            }
            Err(error) => Err(explain(&self.place, &error)),
        }
    }

    /// The same, with what the server says if it refuses.
    ///
    /// # Errors
    /// If the server does not answer in time.
    pub(super) async fn try_ask(
        &mut self,
        statement: &str,
        parameters: impl Into<Params>,
    ) -> Result<Result<Vec<Row>, Error>, Failure> {
        self.put(statement, parameters.into(), self.limit).await
    }

    /// Explains an error of this server.
    pub(super) fn explain(&self, error: &Error) -> Failure {
        explain(&self.place, error)
    }

    async fn put(
        &mut self,
        statement: &str,
        parameters: Params,
        limit: Duration,
    ) -> Result<Result<Vec<Row>, Error>, Failure> {
        let conn = &mut self.conn;
        let asking = async {
            match parameters {
                Params::Empty => conn.query(statement).await,
                parameters => conn.exec(statement, parameters).await,
            }
        };
        within(limit, &self.place, asking).await
    }

    /// Where the binlog ends now.
    ///
    /// # Errors
    /// If the user may not ask, or the binlog is off.
    pub async fn end_of_binlog(&mut self) -> Result<Mark, Failure> {
        const STATEMENT: &str = "SHOW BINARY LOG STATUS";
        let row = self.binlog_status().await?;
        let file: String = cell(&row, 0, STATEMENT)?;
        let offset: u64 = cell(&row, 1, STATEMENT)?;
        let text: Option<String> = match self.flavor {
            // File, position, two filters, and the set.
            Flavor::MySql if row.len() > 4 => cell(&row, 4, STATEMENT)?,
            Flavor::MySql => None,
            Flavor::MariaDb => self.mariadb_gtids_at(&file, offset).await?,
        };
        let gtids = text.and_then(|text| GtidSet::parse(self.flavor, &text).ok());
        Ok(Mark::new(
            self.identity.clone(),
            Some(FilePosition::new(file, offset)),
            gtids,
        ))
    }

    /// Where the binlog ends, and what is left out of it, as the server says it.
    pub(super) async fn binlog_status(&mut self) -> Result<Row, Failure> {
        // The statement was renamed in MySQL 8.2, and its old name is gone since 8.4.
        const STATEMENTS: [&str; 2] = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];
        let mut statement = STATEMENTS[0];
        let mut rows = self.put(statement, Params::Empty, self.limit).await?;
        if rows
            .as_ref()
            .is_err_and(|error| is_server_error(error, PARSE_ERROR))
        {
            statement = STATEMENTS[1];
            rows = self.put(statement, Params::Empty, self.limit).await?;
        }
        let rows = rows.map_err(|error| explain(&self.place, &error))?;
        rows.into_iter().next().ok_or_else(binlog_is_off)
    }

    /// The GTID state at a position, as far as MariaDB can tell.
    pub(super) async fn mariadb_gtids_at(
        &mut self,
        file: &str,
        offset: u64,
    ) -> Result<Option<String>, Failure> {
        const STATEMENT: &str = "SELECT BINLOG_GTID_POS(?, ?)";
        let limit = self.limit * SCAN_PARTS;
        let rows = self.put(STATEMENT, (file, offset).into(), limit).await?;
        let rows = rows.map_err(|error| explain(&self.place, &error))?;
        let state = rows.first().map(|row| cell(row, 0, STATEMENT));
        Ok(state.transpose()?.flatten())
    }

    /// The binlog files that the server still has, oldest first, and their sizes.
    ///
    /// # Errors
    /// If the user may not ask.
    pub(super) async fn binlog_files(&mut self) -> Result<Vec<(String, u64)>, Failure> {
        const STATEMENT: &str = "SHOW BINARY LOGS";
        let rows = self.ask(STATEMENT, ()).await?;
        let file = |row| Ok((cell(row, 0, STATEMENT)?, cell(row, 1, STATEMENT)?));
        rows.iter().map(file).collect()
    }

    /// Every transaction that the server has executed; `None` if it keeps no GTIDs.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn executed_gtids(&mut self) -> Result<Option<GtidSet>, Failure> {
        let statement = match self.flavor {
            Flavor::MySql => "SELECT @@GLOBAL.gtid_executed",
            Flavor::MariaDb => "SELECT @@GLOBAL.gtid_binlog_pos",
        };
        let rows = self.ask(statement, ()).await?;
        let text = rows
            .first()
            .map(|row| cell(row, 0, statement))
            .transpose()?;
        let text: Option<String> = text.flatten();
        Ok(text.and_then(|text| GtidSet::parse(self.flavor, &text).ok()))
    }

    /// The transactions that are being executed by a MySQL server. They may be in its binlog, and none of them can be seen.
    ///
    /// # Errors
    /// If the connection breaks, or the answer is not understood.
    pub(super) async fn gtids_under_way(&mut self) -> Result<GtidSet, Failure> {
        const STATEMENT: &str = "SELECT @@GLOBAL.gtid_owned";
        let rows = self.ask(STATEMENT, ()).await?;
        let text: Option<String> = rows
            .first()
            .map_or(Ok(None), |row| cell(row, 0, STATEMENT))?;
        owned_gtids(&text.unwrap_or_default()).ok_or_else(|| {
            Failure::uncertain(
                Exit::Unavailable,
                format!("the answer to {STATEMENT:?} is no GTID set"),
                "report this with the server's version",
            )
        })
    }
}

/// The GTIDs in MySQL's `gtid_owned`, where the number of a thread is behind each.
fn owned_gtids(text: &str) -> Option<GtidSet> {
    let mut plain = String::with_capacity(text.len());
    for (index, part) in text.split('#').enumerate() {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        plain.push_str(if index == 0 { part } else { &part[digits..] });
    }
    GtidSet::parse(Flavor::MySql, &plain).ok()
}

/// One value of an answer.
///
/// # Errors
/// If it is not there or of another type, which no server that is known does.
pub(super) fn cell<T: FromValue>(row: &Row, index: usize, statement: &str) -> Result<T, Failure> {
    let value = row.get_opt(index).and_then(Result::ok);
    value.ok_or_else(|| {
        Failure::uncertain(
            Exit::Unavailable,
            format!(
                "column {} of the answer to {statement:?} is not what it should be",
                index + 1
            ),
            "report this with the server's version; a proxy in between may be the cause",
        )
    })
}

/// Waits for the other end.
pub(super) async fn within<T>(
    limit: Duration,
    place: &str,
    answer: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, answer).await.map_err(|_| {
        Failure::transient(
            Exit::Unavailable,
            format!("no answer from {place} within {limit:?}"),
            REACH_SERVER,
        )
    })
}

const PARSE_ERROR: u16 = 1064;

fn options(source: &Source) -> Opts {
    let tls = match &source.tls {
        Tls::Off => None,
        Tls::Encrypt => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        Tls::Verify(None) => Some(SslOpts::default()),
        Tls::Verify(Some(authority)) => {
            Some(SslOpts::default().with_root_certs(vec![authority.clone().into()]))
        }
    };
    OptsBuilder::default()
        .ip_or_hostname(source.host.clone())
        .tcp_port(source.port)
        .user(Some(source.user.clone()))
        .pass(source.password.as_ref().map(crate::config::Secret::expose))
        .prefer_socket(Some(false))
        .tcp_keepalive(Some(KEEPALIVE))
        .ssl_opts(tls)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_gtids_lose_the_numbers_of_their_threads() {
        const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        for (owned, plain) in [
            (String::new(), String::new()),
            (format!("{UUID}:4#18"), format!("{UUID}:4")),
            (
                format!("{UUID}:4#18:5#7:tag:9#2,{UUID}:12#1"),
                format!("{UUID}:4-5:12:tag:9"),
            ),
        ] {
            let set = owned_gtids(&owned).map(|set| set.to_string());
            let wanted = GtidSet::parse(Flavor::MySql, &plain).unwrap();
            assert_eq!(set, Some(wanted.to_string()), "{owned}");
        }
        assert_eq!(owned_gtids("some"), None);
    }
}
