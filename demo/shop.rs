//! The database: the server, the shop that `sql/` describes, its writers, and MySQL's answers.
//!
//! On a server that is already there the demo replaces only what it made itself, which it knows by
//! the comments on it.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use testkit::servers::{MYSQL_URL_VARIABLE, Server};

/// How many sessions insert at once.
pub(crate) const WRITER_COUNT: u64 = 4;
/// The most rows of one transaction.
pub(crate) const TRANSACTION_ROWS: u64 = 5;
/// Rows of one call, and how often each writer makes one: 2,000 rows a second in all, so that the
/// demo is slow enough to be watched.
const CALL_ROWS: u64 = 50;
const CALL_INTERVAL: Duration = Duration::from_millis(100);

const SCHEMA: &str = "shop";
const TABLE_COMMENT: &str = "made by hydrant's sql/sales.sql";
const USER: &str = "hydrant";
const USER_COMMENT: &str = "made by hydrant's demo";

/// A server with the shop in it.
#[derive(Debug)]
pub(crate) struct Shop {
    opts: Opts,
    conn: Conn,
    sql_dir: PathBuf,
    /// The server, if it is the demo's own. It ends with this value.
    server: Option<Server>,
}

/// How the agent logs in.
#[derive(Debug)]
pub(crate) struct Login {
    /// With a user, without a password.
    pub(crate) url: String,
    /// The password, for the agent's environment.
    pub(crate) password: String,
    /// What to write for `source.tls`.
    pub(crate) tls: &'static str,
}

impl Shop {
    /// Starts a server, or takes the one that HYDRANT_MYSQL_URL names.
    pub(crate) async fn open(project: &Path) -> Result<Self> {
        let theirs = env::var(MYSQL_URL_VARIABLE)
            .ok()
            .filter(|url| !url.is_empty());
        let server = match theirs {
            Some(_) => None,
            None => Some(spawn_blocking(|| Server::mysql(&[])).await??),
        };
        let url = theirs.unwrap_or_else(|| server.as_ref().map(Server::url).unwrap_or_default());
        // The error of a URL that cannot be parsed may hold its password.
        let opts = Opts::from_url(&url).ok().with_context(|| {
            format!("{MYSQL_URL_VARIABLE} is no mysql://USER:PASSWORD@HOST:PORT")
        })?;
        // TIMESTAMP columns have the days that were inserted only in one time zone.
        let opts = OptsBuilder::from_opts(opts)
            .prefer_socket(false)
            .init(vec!["SET time_zone = '+00:00'"]);
        let opts = Opts::from(opts);
        let conn = Conn::new(opts.clone())
            .await
            .with_context(|| format!("cannot log in to MySQL at {}", address(&opts)))?;
        let sql_dir = project.join("sql");
        Ok(Self {
            opts,
            conn,
            sql_dir,
            server,
        })
    }

    /// Its version and place, for people.
    pub(crate) async fn description(&mut self) -> Result<String> {
        let version: Option<String> = self.conn.query_first("SELECT VERSION()").await?;
        let address = address(&self.opts);
        let whose = if self.server.is_some() {
            ""
        } else {
            ", which was there already"
        };
        Ok(format!(
            "{} at {address}{whose}",
            version.unwrap_or_default()
        ))
    }

    /// Makes the table, the generator of sales, and the user for the agent.
    pub(crate) async fn set_up(&mut self) -> Result<Login> {
        self.clear().await?;
        self.run_file("sales.sql").await?;
        self.run_file("sales_generator.sql").await?;
        self.conn.query_drop(format!("USE {SCHEMA}")).await?;

        // In the worst case it is left behind on somebody's server, so it is nobody's guess.
        let password = format!("Hy-{}", uuid::Uuid::new_v4());
        let create_user = format!(
            "CREATE USER {USER}@'%' IDENTIFIED BY '{password}' COMMENT '{}'",
            USER_COMMENT.replace('\'', "''")
        );
        let created = self.conn.query_drop(create_user).await;
        created.with_context(|| format!("cannot create the user {USER}"))?;
        self.run_file("grants.sql").await?;
        let host = self.opts.ip_or_hostname();
        let is_loopback = host == "localhost" || host.starts_with("127.") || host == "::1";
        Ok(Login {
            url: format!("mysql://{USER}@{}", address(&self.opts)),
            password,
            tls: if is_loopback { "off" } else { "encrypt" },
        })
    }

    /// Removes what an earlier run left on a server that is not the demo's own, once it is clear that
    /// nothing there is anybody else's.
    async fn clear(&mut self) -> Result<()> {
        let place = address(&self.opts);
        let tables: Vec<(String, String)> = self
            .conn
            .exec(
                "SELECT table_name, table_comment FROM information_schema.tables WHERE table_schema = ?",
                (SCHEMA,),
            )
            .await?;
        let has_sales = tables
            .iter()
            .any(|(name, comment)| name == "Sales" && comment == TABLE_COMMENT);
        ensure!(
            has_sales || tables.is_empty(),
            "{place} has a schema {SCHEMA} with tables that the demo did not make; use another server"
        );
        let user_comment: Option<Option<String>> = self
            .conn
            .exec_first(
                "SELECT JSON_UNQUOTE(JSON_EXTRACT(attribute, '$.comment')) \
                 FROM information_schema.user_attributes WHERE user = ? AND host = '%'",
                (USER,),
            )
            .await
            .context("the demo needs MySQL 8.0.21 or later")?;
        let has_user = user_comment.is_some();
        ensure!(
            !has_user || user_comment.flatten().as_deref() == Some(USER_COMMENT),
            "{place} has a user {USER} that the demo did not make; use another server"
        );

        // Sales goes last: its comment is what says that the schema is the demo's.
        for (exists, statement) in [
            (has_user, format!("DROP USER {USER}@'%'")),
            (
                has_sales,
                format!("DROP PROCEDURE IF EXISTS {SCHEMA}.insert_sales"),
            ),
            (
                has_sales,
                format!("DROP TABLE IF EXISTS {SCHEMA}.date_dimension"),
            ),
            (has_sales, format!("DROP TABLE {SCHEMA}.Sales")),
        ] {
            if exists {
                self.conn.query_drop(statement).await?;
            }
        }
        Ok(())
    }

    /// Removes the agent's user.
    pub(crate) async fn drop_user(&mut self) -> Result<()> {
        Ok(self
            .conn
            .query_drop(format!("DROP USER {USER}@'%'"))
            .await?)
    }

    /// Makes and fills `date_dimension`.
    pub(crate) async fn build_date_dimension(&mut self) -> Result<()> {
        self.run_file("date_dimension.sql").await
    }

    /// The number of sales.
    pub(crate) async fn row_count(&mut self) -> Result<u64> {
        let count: Option<u64> = self.conn.query_first("SELECT COUNT(*) FROM Sales").await?;
        count.context("MySQL counted nothing")
    }

    /// The rows that the statement in a file of `sql/` gives.
    pub(crate) async fn answer<T>(&mut self, question: &str) -> Result<Vec<T>>
    where
        T: FromRow + Send + 'static,
    {
        let statement = self.file(&format!("{question}.sql"))?;
        Ok(self.conn.query(statement).await?)
    }

    fn file(&self, name: &str) -> Result<String> {
        let path = self.sql_dir.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    async fn run_file(&mut self, name: &str) -> Result<()> {
        let text = self.file(name)?;
        let ran = self.conn.query_drop(text).await;
        ran.with_context(|| format!("cannot run sql/{name}"))
    }
}

/// The sessions that insert. They end when dropped.
#[derive(Debug)]
pub(crate) struct Writers {
    tasks: JoinSet<Result<()>>,
    inserted: Arc<AtomicU64>,
}

impl Writers {
    /// Starts to insert so many sales, which must be a multiple of all writers' calls.
    pub(crate) fn start(shop: &Shop, row_count: u64) -> Self {
        let opts: Opts = OptsBuilder::from_opts(shop.opts.clone())
            .db_name(Some(SCHEMA))
            .into();
        let inserted = Arc::new(AtomicU64::new(0));
        let call_count = row_count / (WRITER_COUNT * CALL_ROWS);
        let tasks = (0..WRITER_COUNT)
            .map(|_| write(opts.clone(), call_count, Arc::clone(&inserted)))
            .collect();
        Self { tasks, inserted }
    }

    /// How many sales are in the table.
    pub(crate) fn inserted(&self) -> u64 {
        self.inserted.load(Ordering::Relaxed)
    }

    /// Fails if one of them has failed.
    pub(crate) fn ensure_well(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended?.context("a writer failed")?;
        }
        Ok(())
    }
}

async fn write(opts: Opts, call_count: u64, inserted: Arc<AtomicU64>) -> Result<()> {
    let mut conn = Conn::new(opts).await?;
    let mut ticks = interval(CALL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..call_count {
        ticks.tick().await;
        conn.query_drop(format!(
            "CALL insert_sales({CALL_ROWS}, {TRANSACTION_ROWS})"
        ))
        .await?;
        inserted.fetch_add(CALL_ROWS, Ordering::Relaxed);
    }
    conn.disconnect().await?;
    Ok(())
}

fn address(opts: &Opts) -> String {
    let host = opts.ip_or_hostname();
    let port = opts.tcp_port();
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
