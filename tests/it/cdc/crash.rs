//! Kill -9 at random moments under load: no committed row may be missing afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config, gunzip_all};
use crate::setup::bucket::Bucket;
use crate::setup::sales::SALES;
use testkit::servers::{Kind, Server};

const KILLS: usize = 30;

pub(super) const TABLE: &str = "name = \"shop.Sales\"\ncolumns = [\"InvoiceID\", \"Referral\"]\n\
                     metadata = [\"position\", \"ordinal\"]";

/// Inserts until it is told to stop: single rows and transactions of many, some with text that
/// needs quotes.
pub(super) fn write_sales(server: &Server, stop: &AtomicBool) -> Result<()> {
    let row = |text: &str| format!("(1, 'Garden', 2, 3, '2016-03-04', 'WA', 'Free', '{text}')");
    let columns = "ItemID, Category, Price, Quantity, OrderDate, DestinationState, ShippingType, \
                   Referral";
    let one = format!("INSERT INTO Sales ({columns}) VALUES {};", row("Other"));
    let many = vec![row("a, \"b\"\nc"); 200].join(",");
    let many = format!("INSERT INTO Sales ({columns}) VALUES {many};");
    let script = format!("USE shop; {} {many}", one.repeat(50));
    while !stop.load(Ordering::Relaxed) {
        server.sql(&script)?;
    }
    Ok(())
}

/// The same in XA transactions, of which some are always prepared, and every third is undone.
fn write_xa_sales(server: &Server, stop: &AtomicBool) -> Result<()> {
    let row = "(1, 'Garden', 2, 3, '2016-03-04', 'WA', 'Free', 'Other')";
    let insert = format!(
        "INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState, \
         ShippingType, Referral) VALUES {}",
        vec![row; 50].join(",")
    );
    let mut prepared = VecDeque::new();
    for number in 0_u64.. {
        let done = stop.load(Ordering::Relaxed);
        if !done {
            server.sql(&format!(
                "{insert}; XA START '{number}'; {insert}; {insert}; XA END '{number}'; \
                 XA PREPARE '{number}'"
            ))?;
            prepared.push_back(number);
        }
        while prepared.len() > if done { 0 } else { 4 } {
            // Not always the oldest.
            prepared.rotate_left(usize::from(number % 5 == 0 && prepared.len() > 1));
            let Some(ended) = prepared.pop_front() else {
                break;
            };
            let end = if ended % 3 == 0 { "ROLLBACK" } else { "COMMIT" };
            server.sql(&format!("XA {end} '{ended}'"))?;
        }
        if done {
            break;
        }
    }
    Ok(())
}

/// That no row is missing, and that the metadata columns tell copies from rows. Gives the number of copies beyond the first.
pub(super) fn check_delivered(server: &Server, text: &str) -> Result<usize> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut delivered: BTreeMap<u64, usize> = BTreeMap::new();
    let mut places = BTreeSet::new();
    for record in reader.records() {
        let record = record?;
        ensure!(record.len() == 4, "{record:?}");
        *delivered.entry(record[0].parse()?).or_default() += 1;
        places.insert((
            record[2].to_owned(),
            record[3].parse::<u64>()?,
            record[0].to_owned(),
        ));
    }
    let committed: Vec<u64> = server
        .sql("SELECT InvoiceID FROM shop.Sales ORDER BY InvoiceID")?
        .lines()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let copies: usize = delivered.values().sum();
    eprintln!("{} rows committed, {copies} delivered", committed.len());
    ensure!(committed.len() > 1_000, "the writer hardly wrote");
    ensure!(
        delivered.keys().copied().eq(committed.iter().copied()),
        "rows differ"
    );
    // One place for each row: (position, ordinal) is a key.
    ensure!(places.len() == committed.len(), "{} places", places.len());
    let keys: BTreeSet<_> = places
        .iter()
        .map(|(position, ordinal, _)| (position, ordinal))
        .collect();
    ensure!(keys.len() == committed.len(), "{} keys", keys.len());
    Ok(copies - committed.len())
}

fn dir(kind: Kind, write: fn(&Server, &AtomicBool) -> Result<()>) -> Result<()> {
    let server = Server::start(kind, &[])?;
    server.sql(SALES)?;
    let workplace = Workplace::into_directory(&server, &[TABLE], "flush_interval = \"30ms\"")?;
    let folder = workplace.path("data");
    workplace.drain_with_kills(KILLS, 20..600, |stop| write(&server, stop))?;
    let doubled = check_delivered(&server, &gunzip_all(&folder.join("shop.Sales"))?)?;
    ensure!(doubled == 0, "{doubled} rows twice");
    ensure!(
        is_empty(&folder.join(".unfinished"))?,
        "unfinished objects are left"
    );
    Ok(())
}

fn is_empty(folder: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

#[test]
fn no_row_is_lost_to_dir_from_mysql() -> Result<()> {
    dir(Kind::Mysql, write_sales)
}

#[test]
fn no_row_is_lost_to_dir_from_mariadb() -> Result<()> {
    dir(Kind::Mariadb, write_sales)
}

#[test]
fn no_row_is_lost_to_dir_from_mariadb_11() -> Result<()> {
    dir(Kind::Mariadb11, write_sales)
}

#[test]
fn no_row_of_xa_transactions_is_lost_to_dir_from_mysql() -> Result<()> {
    dir(Kind::Mysql, write_xa_sales)
}

#[test]
fn no_row_of_xa_transactions_is_lost_to_dir_from_mariadb() -> Result<()> {
    dir(Kind::Mariadb, write_xa_sales)
}

#[test]
fn no_row_of_xa_transactions_is_lost_to_dir_from_mariadb_11() -> Result<()> {
    dir(Kind::Mariadb11, write_xa_sales)
}

/// Lines that are passed over after a crash are counted.
#[test]
fn settings_by_which_lines_are_counted_cannot_change_within_a_transaction() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let workplace = Workplace::into_directory(&server, &[TABLE], "")?;
    workplace.drain()?;
    let mut checkpoint = workplace.checkpoint()?;
    checkpoint["written"] = serde_json::json!({ "shop.Sales": {
        "commits": [{ "server": checkpoint["server"], "position": checkpoint["position"] }],
        "begun": [{
            "transaction": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1",
            "lines": 3,
            "counted": { "events": { "insert": true, "update": true, "delete": false }, "before_image": false, "key_change": "split" },
        }],
    }});
    std::fs::write(
        workplace.path("checkpoint.json"),
        serde_json::to_string(&checkpoint)?,
    )?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(78), "{log}");
    ensure!(log.contains("take the change back"), "{log}");
    Ok(())
}

#[test]
fn no_row_is_lost_to_firehose() -> Result<()> {
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let workplace = Workplace::new("")?;
    let folder = workplace.path("objects");
    let runtime = tokio::runtime::Runtime::new()?;
    let options = hydrant::sim::Options {
        listen: "127.0.0.1:0".parse()?,
        data: folder.clone(),
        streams: vec!["Sales".parse().map_err(anyhow::Error::msg)?],
        ..Default::default()
    };
    let simulator = runtime.block_on(hydrant::sim::Simulator::start(options))?;
    let endpoint = simulator.endpoint_url();
    let sink = format!("stream = \"Sales\"\nendpoint = \"{endpoint}\"\nflush_interval = \"30ms\"");
    workplace.configure(&config(&server, TABLE, &sink))?;
    workplace.drain_with_kills(KILLS, 20..600, |stop| write_sales(&server, stop))?;
    runtime.block_on(simulator.shutdown())?;
    check_delivered(&server, &gunzip_all(&folder)?)?;
    Ok(())
}

/// A loader takes objects away all the time, so that a key is free again at once.
fn s3(kind: Kind, write: fn(&Server, &AtomicBool) -> Result<()>) -> Result<()> {
    let server = Server::start(kind, &[])?;
    server.sql(SALES)?;
    let bucket = Bucket::start()?;
    let workplace = Workplace::new("")?;
    workplace.configure(&config(
        &server,
        TABLE,
        &bucket.sink("flush_interval = \"30ms\""),
    ))?;
    let is_done = AtomicBool::new(false);
    let mut lines = std::thread::scope(|scope| {
        let loader = scope.spawn(|| {
            let mut lines = String::new();
            while !is_done.load(Ordering::Relaxed) {
                lines.push_str(&bucket.load()?);
            }
            Ok::<_, anyhow::Error>(lines)
        });
        let drained = workplace.drain_with_kills(KILLS, 20..900, |stop| write(&server, stop));
        is_done.store(true, Ordering::Relaxed);
        let lines = loader.join().ok().context("the loader panicked")??;
        drained.map(|()| lines)
    })?;
    lines.push_str(&bucket.load()?);
    let doubled = check_delivered(&server, &lines)?;
    ensure!(doubled == 0, "{doubled} rows twice");
    Ok(())
}

#[test]
fn each_row_is_once_in_s3_from_mysql() -> Result<()> {
    s3(Kind::Mysql, write_sales)
}

#[test]
fn each_row_is_once_in_s3_from_mariadb() -> Result<()> {
    s3(Kind::Mariadb, write_sales)
}

#[test]
fn each_row_of_xa_transactions_is_once_in_s3_from_mysql() -> Result<()> {
    s3(Kind::Mysql, write_xa_sales)
}
