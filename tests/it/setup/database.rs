//! SQL over a connection of our own, for tests that can share a server with others.

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use tokio::runtime::Runtime;

use testkit::servers::mysql_for_tests;

/// A schema on the MySQL server that `HYDRANT_MYSQL_URL` names, or on a throw-away one; dropped
/// at the end.
pub(crate) struct Schema {
    runtime: Runtime,
    conn: Option<Conn>,
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Schema {
    pub(crate) fn create() -> Result<Self> {
        let url = mysql_for_tests()?.url().to_owned();
        let runtime = Runtime::new()?;
        let conn = runtime
            .block_on(Conn::new(Opts::from_url(&url)?))
            .context("cannot connect")?;
        let name = format!("hydrant_test_{:08x}", rand::random::<u32>());
        let mut schema = Self {
            runtime,
            conn: Some(conn),
            url,
            name,
        };
        schema.sql(&format!(
            "CREATE DATABASE {0}; USE {0}",
            schema.name.clone()
        ))?;
        Ok(schema)
    }

    /// Runs statements.
    pub(crate) fn sql(&mut self, statements: &str) -> Result<()> {
        let conn = self.conn.as_mut().context("no connection")?;
        Ok(self.runtime.block_on(conn.query_drop(statements))?)
    }

    /// The first column of the first row.
    pub(crate) fn value(&mut self, query: &str) -> Result<String> {
        let conn = self.conn.as_mut().context("no connection")?;
        let value: Option<String> = self.runtime.block_on(conn.query_first(query))?;
        value.context("no row")
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        let drop = format!("DROP DATABASE IF EXISTS {}", self.name);
        // A throw-away server goes anyway.
        let _ = self.runtime.block_on(async {
            conn.query_drop(drop).await?;
            conn.disconnect().await
        });
    }
}
