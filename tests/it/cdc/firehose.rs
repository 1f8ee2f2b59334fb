//! The whole agent against MySQL and a Firehose endpoint: what arrives, at which pace, and what
//! happens when the endpoint says no, is away, or is too slow.

mod dead_letters;
mod faults;
mod patterns;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use hydrant::sim::{Accounts, Counts, Options, Simulator};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::setup::agent::{Workplace, eventually, files_below, gunzip_all};
use crate::setup::simulator;
use testkit::servers::Server;

const DATA: i32 = 65;
/// Firehose's limit of one record, and with it of one line.
const RECORD_LIMIT: usize = 1_024_000;

/// A simulator that can go away and come back at the same address.
struct Endpoint {
    runtime: Runtime,
    options: Options,
    simulator: Option<Simulator>,
    folder: TempDir,
}

impl Endpoint {
    /// With these streams, whose objects begin with their names; no quota unless `adjust` sets one.
    fn start(streams: &[&str], adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = simulator::options(folder.path(), streams)?;
        adjust(&mut options);
        let mut endpoint = Self {
            runtime: Runtime::new()?,
            options,
            simulator: None,
            folder,
        };
        endpoint.start_again()?;
        Ok(endpoint)
    }

    fn start_again(&mut self) -> Result<()> {
        let simulator = self
            .runtime
            .block_on(Simulator::start(self.options.clone()))?;
        self.options.listen = simulator.addr();
        self.simulator = Some(simulator);
        Ok(())
    }

    /// Stops listening once everything that was acknowledged is an object.
    fn stop(&mut self) -> Result<Accounts> {
        let simulator = self.simulator.take().context("it is stopped already")?;
        Ok(self.runtime.block_on(simulator.shutdown())?)
    }

    fn total(&self, stream: &str) -> Result<Counts> {
        let simulator = self.simulator.as_ref().context("it is stopped")?;
        Ok(simulator.accounts().streams[stream].total)
    }

    fn address(&self) -> SocketAddr {
        self.options.listen
    }

    /// The keys of a stream's objects, sorted.
    fn keys(&self, stream: &str) -> Result<Vec<String>> {
        let folder = self.folder.path();
        let key = |path: &std::path::PathBuf| {
            Ok(path.strip_prefix(folder)?.to_string_lossy().into_owned())
        };
        files_below(&folder.join(stream), "")?
            .iter()
            .map(key)
            .collect()
    }

    /// All lines of a stream's objects.
    fn text(&self, stream: &str) -> Result<String> {
        gunzip_all(&self.folder.path().join(stream))
    }

    /// How often each line is there.
    fn lines(&self, stream: &str) -> Result<BTreeMap<String, usize>> {
        let mut lines = BTreeMap::new();
        for line in self.text(stream)?.lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        Ok(lines)
    }
}

/// A configuration that follows tables from the oldest event on, each to its stream.
fn config(server: &Server, tables: &[(&str, &str)], endpoint: &Endpoint, sink: &str) -> String {
    let table = |(table, stream): &(&str, &str)| {
        format!("[[table]]\nname = \"{table}\"\nstream = \"{stream}\"\n")
    };
    let tables: Vec<String> = tables.iter().map(table).collect();
    let tables = tables.concat();
    format!(
        "[source]\nurl = \"{}\"\nstart = \"earliest\"\n{tables}[sink]\ntype = \"firehose\"\n\
         endpoint = \"http://{}\"\n{sink}\n",
        server.url(),
        endpoint.address()
    )
}

const T: &[(&str, &str)] = &[("shop.T", "T")];

/// A server with an empty `shop.T`.
fn shop() -> Result<Server> {
    let server = Server::mysql(&[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.T (id int PRIMARY KEY, note longtext)")?;
    Ok(server)
}

/// Inserts rows `ids` into `shop.T` in one transaction, each with a text of this length.
fn insert(server: &Server, ids: std::ops::Range<u32>, text_len: usize) -> Result<()> {
    server.sql(&format!(
        "SET cte_max_recursion_depth = 1000000; INSERT INTO shop.T WITH RECURSIVE n (id) AS \
         (SELECT {} UNION ALL SELECT id + 1 FROM n WHERE id + 1 < {}) \
         SELECT id, RPAD(CONCAT('row ', id, ' '), {text_len}, 'abcdefghij') FROM n",
        ids.start, ids.end
    ))?;
    Ok(())
}

/// The lines of all rows of `shop.T`, once each.
fn lines_of(server: &Server) -> Result<BTreeMap<String, usize>> {
    let lines = server.sql("SELECT CONCAT(id, ',', note) FROM shop.T")?;
    Ok(lines.lines().map(|line| (line.to_owned(), 1)).collect())
}

/// Each row is there at least once, nothing else is; tells how many are there again.
fn nothing_is_lost(server: &Server, endpoint: &Endpoint) -> Result<usize> {
    let (rows, lines) = (lines_of(server)?, endpoint.lines("T")?);
    let missing = rows.keys().filter(|row| !lines.contains_key(*row)).count();
    ensure!(missing == 0, "{missing} of {} rows are missing", rows.len());
    ensure!(
        lines.len() == rows.len(),
        "{} lines are no rows",
        lines.len() - rows.len()
    );
    Ok(lines.values().map(|count| count - 1).sum())
}

#[test]
fn rows_arrive_byte_for_byte_in_objects_with_firehoses_names() -> Result<()> {
    let server = shop()?;
    server.sql("INSERT INTO shop.T VALUES (1, 'plain'), (2, NULL), (3, ''), (4, 'a, \"b\"\\nc\\r\\\\N'), (5, 'Grüße 🚒')")?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new(&config(&server, T, &endpoint, ""))?;
    assert_eq!(workplace.drain()?, "");
    endpoint.stop()?;
    assert_eq!(
        endpoint.text("T")?,
        "1,plain\n2,\n3,\"\"\n4,\"a, \"\"b\"\"\nc\r\\N\"\n5,Grüße 🚒\n"
    );
    let keys = endpoint.keys("T")?;
    let [key] = &keys[..] else { bail!("{keys:?}") };
    // T/2026/11/23/21/T-1-2026-11-23-21-04-05-3e11fa47-71ca-11e1-9e33-c80aa9429562.gz
    let (time, id) = key
        .trim_end_matches(".gz")
        .split_at_checked(37)
        .context(key.clone())?;
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    assert_eq!(shape, "T/9999/99/99/99/T-9-9999-99-99-99-99-", "{key}");
    assert!(
        id.len() == "99-".len() + 36 && uuid::Uuid::parse_str(&id[3..]).is_ok(),
        "{key}"
    );
    Ok(())
}

#[test]
fn several_tables_go_to_their_own_streams() -> Result<()> {
    let server = shop()?;
    server.sql(
        "CREATE TABLE shop.U (id int, flag bool); \
         BEGIN; INSERT INTO shop.T VALUES (1, 'one'); INSERT INTO shop.U VALUES (1, TRUE), (2, NULL); \
         INSERT INTO shop.T VALUES (2, 'two'); COMMIT; INSERT INTO shop.U VALUES (3, FALSE)",
    )?;
    let mut endpoint = Endpoint::start(&["T", "U"], |_| {})?;
    let tables = [("shop.U", "U"), ("shop.T", "T")];
    Workplace::new(&config(&server, &tables, &endpoint, ""))?.drain()?;
    endpoint.stop()?;
    assert_eq!(endpoint.text("T")?, "1,one\n2,two\n");
    assert_eq!(endpoint.text("U")?, "1,1\n2,\n3,0\n");
    Ok(())
}

/// They share its quota, too.
#[test]
fn tables_whose_lines_name_them_may_share_a_stream() -> Result<()> {
    const BYTES: u64 = 256 * 1024;
    let server = shop()?;
    insert(&server, 0..350, 1_000)?;
    server.sql("CREATE TABLE shop.U LIKE shop.T; INSERT INTO shop.U SELECT * FROM shop.T")?;
    let mut endpoint = Endpoint::start(&["S"], |options| options.quota_bytes = Some(BYTES))?;
    let tables = [("shop.T", "S"), ("shop.U", "S")];
    let quota = format!("bytes_per_second = \"{BYTES} B\"");
    let separate = config(&server, &tables, &endpoint, &quota);
    let output = Workplace::new(&separate)?.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{log}");
    ensure!(log.contains("metadata = [\"schema\", \"table\"]"), "{log}");
    let shared = separate.replace(
        "stream = \"S\"",
        "stream = \"S\"\ndialect = \"jsonl\"\nmetadata = [\"table\", \"schema\"]",
    );
    Workplace::new(&shared)?.drain()?;
    let accounts = endpoint.stop()?;
    let total = accounts.streams["S"].total;
    ensure!(
        total.refused_records * 10 <= total.admitted_records,
        "{total:?}"
    );
    let mut lines = BTreeMap::<(String, String), usize>::new();
    for line in endpoint.text("S")?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        ensure!(line["id"].is_u64(), "{line}");
        *lines.entry((text("schema"), text("table"))).or_default() += 1;
    }
    let of = |table: &str| (("shop".to_owned(), table.to_owned()), 350);
    assert_eq!(lines, BTreeMap::from([of("T"), of("U")]));
    Ok(())
}

/// Delivers rows under a quota that both sides know, each row once.
fn hardly_refused(
    requests: u32,
    records: u32,
    bytes: u64,
    rows: u32,
    text_len: usize,
) -> Result<()> {
    let server = shop()?;
    insert(&server, 0..rows, text_len)?;
    let mut endpoint = Endpoint::start(&["T"], |options| {
        options.quota_requests = Some(requests.into());
        options.quota_records = Some(records.into());
        options.quota_bytes = Some(bytes);
    })?;
    let quota = format!(
        "requests_per_second = {requests}\nrecords_per_second = {records}\nbytes_per_second = \"{bytes} B\""
    );
    let workplace = Workplace::new(&config(&server, T, &endpoint, &quota))?;
    workplace.drain()?;
    let accounts = endpoint.stop()?;
    let account = &accounts.streams["T"];
    let total = account.total;
    // Paced requests can still arrive together after a machine's hiccup, so a few may be refused;
    // without pacing it is most of them.
    ensure!(
        total.refused_records * 10 <= total.admitted_records,
        "{total:?}"
    );
    ensure!(
        total.refused_requests * 10 <= total.admitted_requests,
        "{total:?}"
    );
    ensure!(
        account.seconds.len() > 2,
        "the quota was not felt: {:?}",
        account.seconds
    );
    assert_eq!(endpoint.lines("T")?, lines_of(&server)?);
    Ok(())
}

#[test]
fn a_client_paced_to_few_bytes_is_hardly_refused() -> Result<()> {
    hardly_refused(1_000, 1_000, 256 * 1024, 700, 1_000)
}

#[test]
fn a_client_paced_to_few_records_is_hardly_refused() -> Result<()> {
    // Each row is over half of a record.
    hardly_refused(1_000, 20, 10 << 20, 70, 60_000)
}

#[test]
fn a_client_paced_to_few_requests_is_hardly_refused() -> Result<()> {
    // Each row is over half of a record, and each record a request.
    hardly_refused(10, 1_000, 1 << 20, 35, 120_000)
}

#[test]
fn a_client_that_is_not_paced_is_refused_and_delivers_every_row_once() -> Result<()> {
    let server = shop()?;
    insert(&server, 0..1_000, 1_000)?;
    let mut endpoint = Endpoint::start(&["T"], |options| options.quota_bytes = Some(300 * 1024))?;
    let workplace = Workplace::new(&config(&server, T, &endpoint, "paced = false"))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{log}");
    let total = endpoint.stop()?.streams["T"].total;
    ensure!(total.refused_records > 0, "{total:?}");
    ensure!(log.contains("records refused; trying again"), "{log}");
    ensure!(
        log.contains(&format!("{} records sent again", total.refused_records)),
        "{log}"
    );
    assert_eq!(endpoint.lines("T")?, lines_of(&server)?);
    Ok(())
}

#[test]
fn a_row_of_exactly_the_limit_is_delivered_and_one_byte_more_stops_the_agent() -> Result<()> {
    let server = shop()?;
    // `1,` before the text and a line feed behind it.
    let text_len = RECORD_LIMIT - 3;
    server.sql(&format!(
        "INSERT INTO shop.T VALUES (1, REPEAT('x', {text_len}))"
    ))?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new(&config(&server, T, &endpoint, ""))?;
    workplace.drain()?;
    // Rows before it, also in its own transaction, and behind it.
    server.sql(&format!(
        "INSERT INTO shop.T VALUES (2, 'before'); \
         BEGIN; INSERT INTO shop.T VALUES (3, 'with'); INSERT INTO shop.T VALUES (4, REPEAT('x', {})); COMMIT; \
         INSERT INTO shop.T VALUES (5, 'after')",
        text_len + 1
    ))?;
    for _ in 0..2 {
        let output = workplace.run(&["--until", "now"])?;
        let report = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(DATA), "{report}");
        for part in [
            "shop.T",
            "a row of 1024001 bytes",
            "1024000",
            "binlog.000001:",
            "remedy: ",
            "`columns`",
        ] {
            ensure!(report.contains(part), "{part:?} is not in: {report}");
        }
        ensure!(!report.contains("xxx"), "a cell's value is told");
        // The checkpoint is where the report says that the transaction starts, or before it.
        let (_, position) = report
            .rsplit_once("binlog.000001:")
            .context("no position")?;
        let digits = position.split(|c: char| !c.is_ascii_digit()).next();
        let position: u64 = digits.context("no offset")?.parse()?;
        let checkpoint = workplace.checkpoint()?;
        let stored = checkpoint["position"]["offset"]
            .as_u64()
            .context("no offset")?;
        ensure!(stored <= position, "{checkpoint} is behind {position}");
    }
    // Somebody decides to leave the row out: what is around it arrives.
    let narrow =
        config(&server, T, &endpoint, "").replace("stream =", "columns = [\"id\"]\nstream =");
    workplace.configure(&narrow)?;
    workplace.drain()?;
    endpoint.stop()?;
    let lines = endpoint.lines("T")?;
    ensure!(
        lines.get(&format!("1,{}", "x".repeat(text_len))) == Some(&1),
        "the first row is not whole"
    );
    ensure!(
        lines.get("2,before") == Some(&1),
        "what came before was not delivered once"
    );
    let ids: Vec<&str> = lines
        .keys()
        .map(String::as_str)
        .filter(|line| line.len() == 1)
        .collect();
    assert_eq!(ids, ["3", "4", "5"]);
    Ok(())
}

#[test]
fn an_endpoint_that_goes_away_and_comes_back_loses_nothing() -> Result<()> {
    let server = shop()?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new(&config(&server, T, &endpoint, "flush_interval = \"20ms\""))?;
    let agent = workplace.start()?;
    for round in 0..3 {
        let before = endpoint.total("T")?.admitted_records;
        insert(&server, round * 1_000..round * 1_000 + 500, 100)?;
        eventually("rows arrive", || {
            Ok((endpoint.total("T")?.admitted_records > before).then_some(()))
        })?;
        endpoint.stop()?;
        insert(&server, round * 1_000 + 500..round * 1_000 + 1_000, 100)?;
        eventually("the agent misses the endpoint", || {
            let failures = agent.log().matches("trying again").count();
            Ok((failures > round as usize).then_some(()))
        })?;
        endpoint.start_again()?;
        eventually("the agent goes on", || {
            let recoveries = agent.log().matches("delivering again after").count();
            Ok((recoveries > round as usize).then_some(()))
        })?;
    }
    ensure!(agent.log().contains("cannot send"), "{}", agent.log());
    let log = workplace.path("agent.log");
    ensure!(
        agent.terminate()?.success(),
        "{}",
        fs::read_to_string(&log)?
    );
    endpoint.stop()?;
    let copies = nothing_is_lost(&server, &endpoint)?;
    println!("{copies} rows came twice");
    // Everything is behind the checkpoint.
    endpoint.start_again()?;
    workplace.drain()?;
    ensure!(endpoint.stop()?.streams["T"].total.admitted_records == 0);
    Ok(())
}

/// The most memory that a process has had, in KiB.
fn peak_kib(process_id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Bytes of the binlog that wait in the agent's socket, unread.
fn unread_bytes(server: &Server) -> Result<u64> {
    const ESTABLISHED: &str = "01";
    let mut unread = 0;
    for line in fs::read_to_string("/proc/net/tcp")?.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let remote = format!("0100007F:{:04X}", server.port());
        if let [_, _, there, ESTABLISHED, queues, ..] = fields[..]
            && there == remote
        {
            let (_, receive) = queues.split_once(':').context("no queues")?;
            unread += u64::from_str_radix(receive, 16)?;
        }
    }
    Ok(unread)
}

#[test]
fn memory_stays_bounded_while_the_endpoint_is_away() -> Result<()> {
    const ROWS: u32 = 50_000;
    const TEXT_LEN: usize = 1_000;
    const PEAK_KIB: u64 = 100 * 1024;
    let server = shop()?;
    let mut endpoint = Endpoint::start(&["T"], |_| {})?;
    let workplace = Workplace::new(&config(
        &server,
        T,
        &endpoint,
        "paced = false\nmax_in_flight = \"4 MiB\"",
    ))?;
    let agent = workplace.start()?;
    eventually("the agent follows", || {
        Ok(agent.log().contains("following from").then_some(()))
    })?;
    endpoint.stop()?;
    // One large transaction, then smaller ones.
    insert(&server, 0..ROWS / 2, TEXT_LEN)?;
    for first in (ROWS / 2..ROWS).step_by(1_000) {
        insert(&server, first..first + 1_000, TEXT_LEN)?;
    }
    // Not reading looks like this: bytes wait in the socket, and as many a second later.
    let mut samples = Vec::new();
    let unread = eventually("the agent stops reading", || {
        let unread = unread_bytes(&server)?;
        samples.retain(|sample| *sample == unread);
        samples.push(unread);
        Ok((unread > 0 && samples.len() > 50).then_some(unread))
    })?;
    ensure!(agent.log().contains("cannot send"), "{}", agent.log());
    let peak = peak_kib(agent.process_id())?;
    println!("{peak} KiB at most, {unread} bytes unread");
    ensure!(peak < PEAK_KIB, "{peak} KiB");

    endpoint.start_again()?;
    let all_bytes = lines_of(&server)?
        .keys()
        .map(|line| line.len() as u64 + 1)
        .sum::<u64>();
    eventually("everything arrives", || {
        Ok((endpoint.total("T")?.admitted_bytes >= all_bytes).then_some(()))
    })?;
    let peak = peak_kib(agent.process_id())?;
    println!("{peak} KiB at most in the end");
    ensure!(peak < PEAK_KIB, "{peak} KiB");
    ensure!(agent.terminate()?.success());
    endpoint.stop()?;
    assert_eq!(nothing_is_lost(&server, &endpoint)?, 0);
    Ok(())
}
