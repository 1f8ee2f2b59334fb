//! Contenders that follow a server which is being written to, for `latency.rs` and `watching.rs`.
//!
//! What lives here: how to know that they do. What does not: what is measured then.

use std::collections::HashSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::process::Running;
use testkit::servers::Server;

/// A runtime takes some seconds to start.
const ATTACH_LIMIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// Starts it, and returns once the server sends it a binlog.
pub(crate) fn attach(server: &Server, command: Command, reads_lines: bool) -> Result<Running> {
    // A server notices late that a reader has gone, so that only new ones count.
    let before = binlog_readers(server)?;
    let running = Running::start(command, reads_lines)?;
    let deadline = Instant::now() + ATTACH_LIMIT;
    while binlog_readers(server)?.is_subset(&before) {
        ensure!(
            Instant::now() < deadline,
            "it did not ask for the binlog in {} s",
            ATTACH_LIMIT.as_secs()
        );
        thread::sleep(POLL);
    }
    Ok(running)
}

/// The ids of the connections that a binlog is sent to.
fn binlog_readers(server: &Server) -> Result<HashSet<String>> {
    let list = server.sql("SHOW PROCESSLIST")?;
    let readers = list.lines().filter(|line| line.contains("\tBinlog Dump"));
    let id = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    Ok(readers.map(id).collect())
}
