//! Where a reader begins.

use anyhow::{Context, Result};

use testkit::servers::Server;

/// A server, and what is to be read from it.
pub(crate) struct BinlogStart<'a> {
    pub(crate) server: &'a Server,
    /// The binlog that has the rows, and nothing but them.
    pub(crate) file: String,
    /// What was executed before.
    pub(crate) gtids: String,
    pub(crate) rows: u64,
}

impl<'a> BinlogStart<'a> {
    /// The beginning of a new binlog file of `server`.
    pub(crate) fn here(server: &'a Server, rows: u64) -> Result<Self> {
        let status = server.sql("FLUSH BINARY LOGS; SHOW BINARY LOG STATUS;")?;
        let file = status.split('\t').next().context("no binlog")?.to_owned();
        let gtids = server.sql("SELECT @@global.gtid_executed")?;
        let gtids = gtids.replace("\\n", "").trim().to_owned();
        Ok(Self {
            server,
            file,
            gtids,
            rows,
        })
    }

    pub(crate) fn position(&self) -> String {
        format!("{}:4", self.file)
    }

    pub(crate) fn position_and_gtids(&self) -> String {
        format!("{}:4:{}", self.file, self.gtids)
    }

    pub(crate) fn port(&self) -> String {
        self.server.port().to_string()
    }
}
