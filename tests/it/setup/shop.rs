//! The table `shop.T` and an agent that follows it to its standard output.

use std::process::Output;

use anyhow::{Result, ensure};

use super::agent::Workplace;
use super::snapshot::Reports;
use testkit::servers::{Kind, Server};

pub(crate) fn config(server: &Server, sink: &str) -> String {
    let url = server.url();
    format!(
        "[source]\nurl = \"{url}\"\nstart = \"earliest\"\nheartbeat_interval = \"200ms\"\n\
         [[table]]\nname = \"shop.T\"\n[sink]\n{sink}\n"
    )
}

pub(crate) fn shop(kind: Kind, arguments: &[&str]) -> Result<Server> {
    let server = Server::start(kind, arguments)?;
    open_shop(&server)?;
    Ok(server)
}

/// Creates the table that [`config`] follows.
pub(crate) fn open_shop(server: &Server) -> Result<()> {
    let table = "CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note text)";
    server.sql(table).map(drop)
}

pub(crate) fn drain_to_stdout(server: &Server) -> Result<Output> {
    Workplace::new(&config(server, "type = \"stdout\""))?.run(&["--until", "now"])
}

/// The agent must stop with exit 65, a position and a remedy, and deliver nothing wrong.
pub(crate) fn stops(server: &Server, said: &str) -> Result<()> {
    let output = drain_to_stdout(server)?;
    let mut reports = Reports::default();
    reports.add(said, &output);
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert!(
        stderr.contains("binlog.00000") && stderr.contains("remedy: "),
        "{stderr}"
    );
    reports.assert(&format!("stops-{}", said.replace(' ', "-")));
    Ok(())
}

pub(crate) fn delivers(server: &Server, lines: &str) -> Result<()> {
    let output = drain_to_stdout(server)?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8(output.stdout)?, lines);
    Ok(())
}
