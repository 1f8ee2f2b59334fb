//! What tests ask of servers and make them do, in the words of each kind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::agent::eventually;
use testkit::servers::{Kind, Server};

pub(crate) fn end_of_binlog(server: &Server) -> Result<String> {
    let statement = match server.kind() {
        Kind::Mysql => "SHOW BINARY LOG STATUS",
        Kind::Mariadb | Kind::Mariadb11 => "SHOW MASTER STATUS",
    };
    let row = server.sql(statement)?;
    let mut fields = row.split_whitespace();
    let file = fields.next().context("no file")?;
    Ok(format!("{file}:{}", fields.next().context("no offset")?))
}

pub(crate) fn gtids(server: &Server) -> Result<String> {
    let variable = match server.kind() {
        Kind::Mysql => "gtid_executed",
        Kind::Mariadb | Kind::Mariadb11 => "gtid_binlog_pos",
    };
    Ok(server
        .sql(&format!("SELECT @@GLOBAL.{variable}"))?
        .trim()
        .replace("\\n", ""))
}

/// The binlog files of a server, in order.
pub(crate) fn binlogs(server: &Server) -> Result<Vec<PathBuf>> {
    let index = fs::read_to_string(server.binlog_dir().join("binlog.index"))?;
    let names = index.lines().filter_map(|line| Path::new(line).file_name());
    Ok(names.map(|name| server.binlog_dir().join(name)).collect())
}

/// Begins another history, in files of the same names.
pub(crate) fn reset_binlog(server: &Server) -> Result<()> {
    let reset = match server.kind() {
        Kind::Mysql => "RESET BINARY LOGS AND GTIDS",
        Kind::Mariadb | Kind::Mariadb11 => "RESET MASTER",
    };
    server.sql(reset).map(drop)
}

/// Options of a server that compresses whatever it writes.
pub(crate) fn compression(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Mysql => &["--binlog-transaction-compression=ON"],
        Kind::Mariadb | Kind::Mariadb11 => {
            &["--log-bin-compress=ON", "--log-bin-compress-min-len=10"]
        }
    }
}

/// A primary, and a replica that writes a binlog of its own.
pub(crate) fn pair(kind: Kind) -> Result<(Server, Server)> {
    let log_updates = match kind {
        Kind::Mysql => "--log-replica-updates=ON",
        Kind::Mariadb | Kind::Mariadb11 => "--log-slave-updates=ON",
    };
    let primary = Server::start(kind, &["--server-id=11", log_updates])?;
    let replica = Server::start(kind, &["--server-id=12", log_updates])?;
    Ok((primary, replica))
}

/// Makes `replica` follow `primary` until it has everything.
pub(crate) fn replicate(primary: &Server, replica: &Server) -> Result<()> {
    let port = primary.port();
    let start = match primary.kind() {
        Kind::Mysql => format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
             SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; \
             START REPLICA"
        ),
        Kind::Mariadb | Kind::Mariadb11 => format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
             MASTER_USER = 'root', MASTER_USE_GTID = slave_pos; START SLAVE"
        ),
    };
    replica.sql(&start)?;
    let wanted = gtids(primary)?;
    eventually("the replica has caught up", || {
        Ok((gtids(replica)? == wanted).then_some(()))
    })
}

/// Makes a primary of it.
pub(crate) fn stop_replicating(replica: &Server) -> Result<()> {
    let stop = match replica.kind() {
        Kind::Mysql => "STOP REPLICA; RESET REPLICA ALL",
        Kind::Mariadb | Kind::Mariadb11 => "STOP SLAVE; RESET SLAVE ALL",
    };
    replica.sql(stop).map(drop)
}
