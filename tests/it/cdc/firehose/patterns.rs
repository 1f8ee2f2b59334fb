//! Streams of tables that a pattern means: their names are templates, and none of them is created.

use anyhow::{Result, ensure};
use testkit::servers::Server;

use super::Endpoint;
use crate::setup::agent::Workplace;

fn configured(server: &Server, endpoint: &Endpoint, keys: &str) -> String {
    format!(
        "[source]\nurl = \"{}\"\nstart = \"earliest\"\n[[table]]\nname = \"shop.*\"\n{keys}\n[sink]\ntype = \"firehose\"\n\
         endpoint = \"http://{}\"\n",
        server.url(),
        endpoint.address()
    )
}

#[test]
fn each_stream_that_is_missing_is_named_and_no_row_is_lost() -> Result<()> {
    let mut endpoint = Endpoint::start(&["cdc-shop-a", "cdc-shop-d"], |_| ())?;
    endpoint.stop()?;
    let missing = endpoint.options.streams.pop();
    endpoint.start_again()?;
    let server = Server::mysql(&["--binlog-row-metadata=FULL"])?;
    server.sql("CREATE DATABASE shop; USE shop; CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int)")?;
    let template = "stream = \"cdc-{schema}-{table}\"";
    let workplace = Workplace::new(&configured(&server, &endpoint, template))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{log}");
    ensure!(
        log.contains("cdc-shop-b") && log.contains("cdc-shop-c"),
        "{log}"
    );
    ensure!(!log.contains("stream cdc-shop-a"), "{log}");

    // A stream that is missing later stops the agent before the checkpoint passes its rows.
    server.sql("USE shop; DROP TABLE b, c; INSERT INTO a VALUES (1)")?;
    workplace.drain()?;
    server.sql("USE shop; CREATE TABLE d (id int); INSERT INTO d VALUES (7)")?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && log.contains("cdc-shop-d"),
        "{log}"
    );
    endpoint.stop()?;
    endpoint.options.streams.extend(missing);
    endpoint.start_again()?;
    workplace.configure(&configured(&server, &endpoint, template))?;
    workplace.drain()?;
    endpoint.stop()?;
    ensure!(endpoint.text("cdc-shop-a")? == "1\n" && endpoint.text("cdc-shop-d")? == "7\n");
    Ok(())
}

#[test]
fn tables_of_a_pattern_share_a_stream_only_if_their_lines_name_them() -> Result<()> {
    let mut endpoint = Endpoint::start(&["all"], |_| ())?;
    let server = Server::mysql(&["--binlog-row-metadata=FULL"])?;
    server
        .sql("CREATE DATABASE shop; USE shop; CREATE TABLE a (id int); INSERT INTO a VALUES (1)")?;
    let workplace = Workplace::new(&configured(&server, &endpoint, "stream = \"all\""))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(78) && log.contains("cannot be told apart"),
        "{log}"
    );
    let keys = "stream = \"all\"\ndialect = \"jsonl\"\nmetadata = [\"schema\", \"table\"]";
    workplace.configure(&configured(&server, &endpoint, keys))?;
    workplace.drain()?;
    server.sql("USE shop; CREATE TABLE b (id int); INSERT INTO b VALUES (2)")?;
    workplace.drain()?;
    endpoint.stop()?;
    let text = endpoint.text("all")?;
    ensure!(
        text.contains("\"table\":\"a\"") && text.contains("\"table\":\"b\""),
        "{text}"
    );
    Ok(())
}
