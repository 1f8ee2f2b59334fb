//! How fast `hydrant cdc` writes objects, into a bucket and into a directory, and when a row is in one.
//!
//! What lives here: the rounds, whose ratio counts, and the endpoint's own share of the latency. What does not: rivals
//! (`compare`), and memory (`memory`).

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use clap::Parser;
use testkit::program::program;
use testkit::servers::Server;
use workloads::bucket::{BUCKET, Bucket};
use workloads::capture::MAX_BINLOG_SIZE;
use workloads::sales::{SALES, insert};

/// Drains workload A into objects, again and again.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows of workload A.
    #[arg(long, default_value_t = 4_000_000)]
    rows: u32,
    /// How often each sink gets them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rows of which the latency is measured, one after the other.
    #[arg(long, default_value_t = 300)]
    latency_rows: u64,
    /// Another hydrant, whose directory is written in turn with this one's.
    #[arg(long, value_name = "PROGRAM")]
    other: Option<String>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// This revision.
const OWN: &str = env!("CARGO_BIN_EXE_hydrant");
/// Of a transaction of workload A.
const TRANSACTION_ROWS: u64 = 1_000;
const LIMIT: Duration = Duration::from_mins(2);

/// Where rows go.
enum Target<'a> {
    Dir(&'a str),
    Bucket(&'a Bucket),
}

impl Target<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Dir(OWN) => "dir",
            Self::Dir(_) => "dir, the other program",
            Self::Bucket(_) => "s3",
        }
    }

    fn program(&self) -> &str {
        match self {
            Self::Dir(program) => program,
            Self::Bucket(_) => OWN,
        }
    }

    /// A `[sink]` of this target; `prefix` is new each time.
    fn sink(&self, folder: &Path, prefix: &str) -> String {
        match self {
            Self::Dir(_) => format!("path = \"{}/objects\"", folder.display()),
            Self::Bucket(bucket) => bucket.sink(prefix, ""),
        }
    }
}

fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let server = Server::mysql(&[MAX_BINLOG_SIZE])?;
    server.sql(SALES)?;
    insert(&server, arguments.rows.into(), TRANSACTION_ROWS)?;
    let bucket = Bucket::start()?;
    throughput(&arguments, &server, &bucket)?;
    latency(&arguments, &server, &bucket)
}

/// The agent, with a configuration and a checkpoint in `folder`.
fn agent(
    server: &Server,
    target: &Target<'_>,
    folder: &Path,
    (start, prefix, keys): (&str, &str, &str),
) -> Result<Command> {
    let config = format!(
        "checkpoint.path = \"file:{}\"\n[source]\nurl = \"{}\"\nstart = \"{start}\"\n[[table]]\nname = \"shop.Sales\"\n\
         columns = [\"ItemID\", \"Category\", \"Price\", \"Quantity\", \"OrderDate\", \"DestinationState\", \
         \"ShippingType\", \"Referral\"]\n[sink]\n{}\n{keys}\n",
        folder.join("checkpoint.json").display(),
        server.url(),
        target.sink(folder, prefix),
    );
    let path = folder.join("hydrant.toml");
    fs::write(&path, config)?;
    let mut command = program(target.program());
    command
        .args(["cdc", "--config"])
        .arg(path)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log"))?);
    Ok(command)
}

/// Every target in turn, so that what the machine does meanwhile concerns all alike.
fn throughput(arguments: &Arguments, server: &Server, bucket: &Bucket) -> Result<()> {
    let mut targets = vec![Target::Dir(OWN), Target::Bucket(bucket)];
    targets.extend(arguments.other.as_deref().map(Target::Dir));
    let mut seconds: Vec<Vec<f64>> = targets.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for (target, seconds) in targets.iter().zip(&mut seconds) {
            let folder = tempfile::tempdir()?;
            let prefix = format!("round-{round}");
            let command = agent(server, target, folder.path(), ("earliest", &prefix, ""))?;
            seconds.push(drain(command, arguments.rows, folder.path())?);
        }
    }
    let reference = median(&seconds[0]);
    println!(
        "{} rows of workload A, {} rounds",
        arguments.rows, arguments.rounds
    );
    println!("| sink | median seconds | rows/s | of dir's rate | rounds |");
    println!("| --- | --- | --- | --- | --- |");
    for (target, seconds) in targets.iter().zip(&seconds) {
        let median = median(seconds);
        let rounds: Vec<_> = seconds.iter().map(|it| format!("{it:.2}")).collect();
        println!(
            "| {} | {median:.2} | {:.0} | {:.0} % | {} |",
            target.name(),
            f64::from(arguments.rows) / median,
            reference / median * 100.0,
            rounds.join(" ")
        );
    }
    Ok(())
}

/// Seconds from start to end.
fn drain(mut command: Command, rows: u32, folder: &Path) -> Result<f64> {
    let started = Instant::now();
    let status = command.args(["--until", "now"]).status()?;
    let seconds = started.elapsed().as_secs_f64();
    let log = fs::read_to_string(folder.join("log"))?;
    ensure!(status.success(), "{status}: {log}");
    ensure!(
        log.contains(&format!("{rows} rows (")),
        "not all rows: {log}"
    );
    Ok(seconds)
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// From the answer to a COMMIT until the object is listed, beside the same requests without an agent.
fn latency(arguments: &Arguments, server: &Server, bucket: &Bucket) -> Result<()> {
    let (client, runtime) = (&bucket.client, &bucket.runtime);
    let folder = tempfile::tempdir()?;
    let keys = "flush_interval = \"0s\"";
    let target = Target::Bucket(bucket);
    let mut command = agent(server, &target, folder.path(), ("latest", "latency", keys))?;
    let mut child = Killed(command.spawn()?);
    let until = Instant::now() + LIMIT;
    while !fs::read_to_string(folder.path().join("log"))?.contains("following from") {
        ensure!(
            child.0.try_wait()?.is_none() && Instant::now() < until,
            "the agent does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut after = "latency/".to_owned();
    let (mut seen, mut own) = (Vec::new(), Vec::new());
    let pool = mysql_async::Pool::new(server.url().as_str());
    let mut connection = runtime.block_on(pool.get_conn())?;
    let sale = "INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState, ShippingType, \
                Referral) VALUES (1, 'Garden', 2, 3, '2016-03-04', 'WA', 'Free', 'Other')";
    for row in 0..arguments.latency_rows {
        use mysql_async::prelude::Queryable as _;
        runtime.block_on(connection.query_drop(sale))?;
        let committed = Instant::now();
        after = next_key(bucket, &after)?;
        seen.push(committed.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        runtime.block_on(publish(client, &format!("own/{row:05}.gz")))?;
        next_key(bucket, &format!("own/{row:05}"))?;
        own.push(started.elapsed().as_secs_f64() * 1e3);
    }
    runtime.block_on(async {
        drop(connection);
        pool.disconnect().await
    })?;
    println!();
    println!("{} rows, flush_interval = \"0s\"", arguments.latency_rows);
    println!("| milliseconds | p50 | p99 |");
    println!("| --- | --- | --- |");
    for (what, all) in [
        ("from COMMIT to the object in a list", &mut seen),
        (
            "the same three requests and the list, without an agent",
            &mut own,
        ),
    ] {
        all.sort_by(f64::total_cmp);
        let at = |part: usize| all[(all.len() * part / 100).min(all.len() - 1)];
        println!("| {what} | {:.1} | {:.1} |", at(50), at(99));
    }
    Ok(())
}

/// Lists until there is an object behind this key.
fn next_key(bucket: &Bucket, after: &str) -> Result<String> {
    let folder = after.split('/').next().unwrap_or_default();
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        let list = bucket
            .client
            .list_objects_v2()
            .bucket(BUCKET)
            .prefix(format!("{folder}/"))
            .start_after(after);
        let page = bucket.runtime.block_on(list.send())?;
        if let Some(key) = page.contents().first().and_then(|it| it.key()) {
            return Ok(key.to_owned());
        }
    }
    bail!("no object behind {after} in {LIMIT:?}")
}

/// What an agent asks of S3 for one row.
async fn publish(client: &Client, key: &str) -> Result<()> {
    let upload = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .send();
    let upload = upload.await?.upload_id.context("no upload")?;
    let part = client
        .upload_part()
        .bucket(BUCKET)
        .key(key)
        .upload_id(&upload)
        .part_number(1)
        .body(ByteStream::from_static(b"a sale"));
    let etag = part.send().await?.e_tag;
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(etag)
        .build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key(key)
        .upload_id(upload)
        .multipart_upload(parts)
        .send()
        .await?;
    Ok(())
}

/// Ends with the bench.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
