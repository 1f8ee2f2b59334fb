//! The bucket: what objects are called and say of themselves, what a start looks at, and what is never overwritten.

use anyhow::{Context as _, Result, ensure};

use crate::setup::agent::{Workplace, config};
use crate::setup::bucket::{BUCKET, Bucket};
use testkit::servers::Server;

const TABLE: &str = "name = \"shop.t\"";

/// Emulators of two makers, which have read AWS's documentation in their own ways.
const JUDGES: [fn() -> Result<Bucket>; 2] = [Bucket::start, Bucket::start_in_moto];

fn scene(sink: &str) -> Result<(Server, Bucket, Workplace)> {
    scene_in(Bucket::start, sink)
}

fn scene_in(judge: fn() -> Result<Bucket>, sink: &str) -> Result<(Server, Bucket, Workplace)> {
    let server = Server::mysql(&[])?;
    server.sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY, s TEXT)")?;
    let bucket = judge()?;
    let workplace = Workplace::new("")?;
    workplace.configure(&config(&server, TABLE, &bucket.sink(sink)))?;
    Ok((server, bucket, workplace))
}

#[test]
fn an_object_says_what_it_has() -> Result<()> {
    JUDGES.into_iter().try_for_each(says_what_it_has)
}

fn says_what_it_has(judge: fn() -> Result<Bucket>) -> Result<()> {
    let options = "storage_class = \"STANDARD_IA\"\ntags = { team = \"shop & co\" }";
    let (server, bucket, workplace) = scene_in(judge, options)?;
    server.sql("INSERT INTO shop.t VALUES (1, 'a'), (2, 'b')")?;
    workplace.drain()?;
    let keys = bucket.keys()?;
    let [key] = keys.as_slice() else {
        anyhow::bail!("{keys:?}");
    };
    ensure!(
        key.starts_with("raw/shop.t/dt=") && key.ends_with(".csv.gz"),
        "{key}"
    );
    let object = bucket.object(key)?;
    ensure!(object.text == "1,a\n2,b\n", "{:?}", object.text);
    let crc32 = format!("{:08x}", crc32fast::hash(object.text.as_bytes()));
    for (name, value) in [
        ("hydrant-rows", "2"),
        ("hydrant-bytes", "8"),
        ("hydrant-crc32", crc32.as_str()),
        ("hydrant-version", env!("CARGO_PKG_VERSION")),
    ] {
        ensure!(
            object.metadata.get(name).is_some_and(|it| it == value),
            "{:?}",
            object.metadata
        );
    }
    let first = object
        .metadata
        .get("hydrant-first")
        .context("no first row")?;
    ensure!(first.ends_with(" 0"), "{first}");
    Ok(())
}

/// A transaction that is larger than memory may be becomes objects of several parts.
#[test]
fn an_object_may_be_larger_than_memory() -> Result<()> {
    let (server, bucket, workplace) =
        scene("max_in_flight = \"64 MiB\"\nobject_size = \"20 MiB\"")?;
    // Random text hardly shrinks.
    let rows = (0..40_u32).map(|row| format!("({row}, REPEAT(HEX(RANDOM_BYTES(512)), 1))"));
    let insert = format!(
        "INSERT INTO shop.t VALUES {}",
        rows.collect::<Vec<_>>().join(",")
    );
    server.sql(&insert)?;
    server.sql(
        "SET SESSION cte_max_recursion_depth = 100000; SET SESSION binlog_row_value_options = ''; \
         INSERT INTO shop.t WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) \
         SELECT i, HEX(RANDOM_BYTES(1000)) FROM n",
    )?;
    workplace.drain()?;
    let keys = bucket.keys()?;
    let mut ids = Vec::new();
    for key in &keys {
        let object = bucket.object(key)?;
        for line in object.text.lines() {
            ids.push(line.split(',').next().unwrap_or_default().parse::<u32>()?);
        }
    }
    let expected: Vec<u32> = (0..40).chain(100..=60_000).collect();
    ensure!(ids == expected, "{} rows in {keys:?}", ids.len());
    ensure!(keys.len() >= 3, "{keys:?}");
    Ok(())
}

#[test]
fn an_object_of_another_is_never_overwritten() -> Result<()> {
    JUDGES.into_iter().try_for_each(is_never_overwritten)
}

fn is_never_overwritten(judge: fn() -> Result<Bucket>) -> Result<()> {
    let (server, bucket, workplace) = scene_in(judge, "")?;
    server.sql("INSERT INTO shop.t VALUES (1, 'a')")?;
    workplace.drain()?;
    let before = bucket.keys()?;
    // The same rows again, by somebody who has lost the checkpoint.
    std::fs::remove_file(workplace.path("checkpoint.json"))?;
    for is_first in [true, false] {
        let output = workplace.run(&["--until", "now"])?;
        let log = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(65), "{log}");
        ensure!(
            log.contains("is there already") && log.contains("move it"),
            "{log}"
        );
        let says = "s3://lake/raw has rows of shop.t already";
        ensure!(log.contains(says) == is_first, "{log}");
    }
    ensure!(bucket.keys()? == before);
    // Moved away, the rows are there again, from the upload that was kept.
    bucket.delete(before.first().context("no object")?)?;
    workplace.drain()?;
    ensure!(bucket.keys()? == before);
    ensure!(bucket.load()? == "1,a\n");
    Ok(())
}

#[test]
fn a_bucket_that_is_not_there_is_told_at_the_start() -> Result<()> {
    let (server, bucket, workplace) = scene("")?;
    let sink = bucket.sink("").replace(BUCKET, "nowhere");
    workplace.configure(&config(&server, TABLE, &sink))?;
    let output = workplace.run(&["--until", "now"])?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(78), "{log}");
    ensure!(log.contains("create the bucket"), "{log}");
    Ok(())
}
