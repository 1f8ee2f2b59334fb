//! The database server: connecting, asking what it is, and where its binlog stands.

use std::collections::HashMap;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use serde::{Deserialize, Serialize};

use crate::binlog::{FilePosition, Flavor, GtidSet, PreparedXa};
use crate::config::{Source, Tls};
use crate::error::root_cause;
use crate::{Exit, Failure};

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
    /// The newest number of the metadata column `sequence` up to there; 0 if no line was written.
    pub sequence: i64,
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
            sequence: 0,
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

/// A connection, and what the server at its other end says of itself.
#[derive(Debug)]
pub struct Server {
    pub(super) conn: Conn,
    /// The family.
    pub flavor: Flavor,
    /// Who it is.
    pub identity: Identity,
    variables: HashMap<String, String>,
}

impl Server {
    /// Connects and asks for the server's settings.
    ///
    /// # Errors
    /// If nobody answers in time, or the login or the certificate is refused.
    pub async fn connect(source: &Source) -> Result<Self, Failure> {
        let place = format!("{}:{}", source.host, source.port);
        let connecting = Conn::new(options(source));
        let mut conn = match tokio::time::timeout(source.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| explain(&place, &error))?,
            Err(_) => {
                return Err(Failure::transient(
                    Exit::Unavailable,
                    format!("no answer from {place} within {:?}", source.connect_timeout),
                    REACH_SERVER,
                ));
            }
        };
        let rows: Vec<(String, String)> = conn
            .query("SHOW GLOBAL VARIABLES")
            .await
            .map_err(|error| explain(&place, &error))?;
        let variables: HashMap<String, String> = rows.into_iter().collect();
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
        })
    }

    /// The connection, for statements of the caller's own.
    pub(crate) fn into_connection(self) -> Conn {
        self.conn
    }

    /// A global variable; `None` if this server does not have it.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
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

    /// Where the binlog ends now.
    ///
    /// # Errors
    /// If the user may not ask, or the binlog is off.
    pub async fn end_of_binlog(&mut self) -> Result<Mark, Failure> {
        let row = self.binlog_status().await?;
        let file: String = row.get(0).ok_or_else(binlog_is_off)?;
        let offset: u64 = row.get(1).ok_or_else(binlog_is_off)?;
        let text: Option<String> = match self.flavor {
            Flavor::MySql => row.get("Executed_Gtid_Set"),
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
    pub(super) async fn binlog_status(&mut self) -> Result<mysql_async::Row, Failure> {
        // The statement was renamed in MySQL 8.2, and its old name is gone since 8.4.
        let mut row: Result<Option<mysql_async::Row>, _> =
            self.conn.query_first("SHOW BINARY LOG STATUS").await;
        if row
            .as_ref()
            .is_err_and(|error| is_server_error(error, PARSE_ERROR))
        {
            row = self.conn.query_first("SHOW MASTER STATUS").await;
        }
        row.map_err(|error| self.explain(&error))?
            .ok_or_else(binlog_is_off)
    }

    /// The GTID state at a position, as far as MariaDB can tell.
    pub(super) async fn mariadb_gtids_at(
        &mut self,
        file: &str,
        offset: u64,
    ) -> Result<Option<String>, Failure> {
        let answer: Result<Option<Option<String>>, _> = self
            .conn
            .exec_first("SELECT BINLOG_GTID_POS(?, ?)", (file, offset))
            .await;
        answer
            .map(Option::flatten)
            .map_err(|error| self.explain(&error))
    }

    /// The names of the binlog files that the server still has, oldest first.
    ///
    /// # Errors
    /// If the user may not ask.
    pub async fn binlog_files(&mut self) -> Result<Vec<String>, Failure> {
        let rows: Result<Vec<mysql_async::Row>, _> = self.conn.query("SHOW BINARY LOGS").await;
        let rows = rows.map_err(|error| self.explain(&error))?;
        Ok(rows.iter().filter_map(|row| row.get(0)).collect())
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
        let text: Result<Option<String>, _> = self.conn.query_first(statement).await;
        let text = text.map_err(|error| self.explain(&error))?;
        Ok(text.and_then(|text| GtidSet::parse(self.flavor, &text).ok()))
    }

    /// Explains an error of this server.
    pub(super) fn explain(&self, error: &mysql_async::Error) -> Failure {
        explain(
            &format!(
                "{}:{}",
                self.conn.opts().ip_or_hostname(),
                self.conn.opts().tcp_port()
            ),
            error,
        )
    }
}

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
        .ssl_opts(tls)
        .into()
}

const PARSE_ERROR: u16 = 1064;
pub(super) const ACCESS_DENIED: u16 = 1045;

pub(super) const REACH_SERVER: &str = "check source.url, that the server is up, and that nothing between \
                            here and there drops the connection";

/// The privileges that hydrant needs, as a statement to copy.
pub(super) const GRANTS: &str = "grant what hydrant needs: GRANT REPLICATION SLAVE, REPLICATION \
                                 CLIENT ON *.* TO its user, and GRANT SELECT on each table";

pub(super) fn is_server_error(error: &mysql_async::Error, code: u16) -> bool {
    matches!(error, mysql_async::Error::Server(server) if server.code == code)
}

pub(super) fn binlog_is_off() -> Failure {
    Failure::definite(
        Exit::Config,
        "the server's binlog is off",
        "start the server with log_bin, or on RDS and Aurora set binlog_format=ROW in the \
         parameter group and reboot",
    )
}

/// What to do about an error of the database, by its number.
pub(super) fn explain(place: &str, error: &mysql_async::Error) -> Failure {
    match error {
        mysql_async::Error::Server(server) => {
            let what = format!("{place}: {} (error {})", server.message, server.code);
            match server.code {
                // Not allowed to log in: by password, host or account state.
                ACCESS_DENIED | 1044 | 1130 | 1698 | 1862 | 3118 | 3955 => Failure::definite(
                    Exit::Permission,
                    what,
                    "check the user in source.url, source.password, and from which hosts the \
                     user may connect",
                ),
                // Not allowed to ask.
                1227 | 1142 | 1143 | 1370 => Failure::definite(Exit::Permission, what, GRANTS),
                1236 if server.message.contains("same server_uuid/server_id") => Failure::definite(
                    Exit::Config,
                    what,
                    "set source.server_id to a number that no other replica of the server \
                         has, or leave it out",
                ),
                // The dump thread cannot send what was asked for.
                1236 => Failure::definite(
                    Exit::Data,
                    what,
                    "the binlog from the checkpoint on is not there any more, or not as it was: \
                     load the missing rows from the table, then delete the checkpoint and choose \
                     source.start; and keep binlogs longer (binlog_expire_logs_seconds, on RDS \
                     'binlog retention hours')",
                ),
                // Too many connections, shutting down, or killed: it may pass.
                1040 | 1053 | 1077 | 1129 | 1158..=1161 | 1203 | 1205 | 1213 | 1317 | 3169 => {
                    Failure::transient(Exit::Unavailable, what, REACH_SERVER)
                }
                _ => Failure::definite(
                    Exit::Unavailable,
                    what,
                    "look the error up in the server's manual; `hydrant cdc` can be started \
                     again at any time",
                ),
            }
        }
        // MySQL 9 answers an unknown user with the name of a plugin that nobody has.
        mysql_async::Error::Driver(mysql_async::DriverError::UnknownAuthPlugin { name }) => {
            Failure::definite(
                Exit::Permission,
                format!(
                    "{place}: access denied: the server asks for the authentication plugin {name}"
                ),
                "check the user in source.url (MySQL 9 answers unknown users so), source.password, and from \
                 which hosts the user may connect; if the user has that plugin: ALTER USER ... IDENTIFIED \
                 WITH caching_sha2_password (MariaDB: mysql_native_password)",
            )
        }
        mysql_async::Error::Io(error) if is_tls(error) => Failure::definite(
            Exit::Config,
            format!("{place}: TLS: {}", root_cause(error)),
            "give the authority that signed the server's certificate in source.tls_ca (on RDS \
             and Aurora the region's bundle), and use the host name that the certificate is for",
        ),
        mysql_async::Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => {
            Failure::definite(
                Exit::Config,
                format!("{place}: the server does not offer TLS"),
                "enable TLS on the server, or set source.tls = \"off\" if the network is safe",
            )
        }
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => Failure::transient(
            Exit::Unavailable,
            format!("{place}: {}", root_cause(error)),
            REACH_SERVER,
        ),
        mysql_async::Error::Other(_) | mysql_async::Error::Url(_) => {
            Failure::definite(Exit::Unavailable, format!("{place}: {error}"), REACH_SERVER)
        }
    }
}

/// A refused certificate comes as invalid data of the connection below.
fn is_tls(error: &mysql_async::IoError) -> bool {
    match error {
        mysql_async::IoError::Tls(_) => true,
        mysql_async::IoError::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
    }
}
