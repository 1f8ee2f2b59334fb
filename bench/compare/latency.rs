//! How long a row is on its way at a fixed rate: from the sending of its INSERT until a contender has it.
//!
//! What lives here: the writers, which stamp each row, and the stamps that come back. The INSERT itself is in
//! the time; how long it took to its OK is told beside it. hydrant's rows are stamped when their line was
//! read from its output, those of the rivals in their own callbacks, before any output.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use serde::Serialize;

use crate::Budget;
use crate::attach::attach;
use crate::binlog_start::BinlogStart;
use crate::contenders::{Contender, POWERSYNC, Sink, Tools, hydrant};
use crate::process::{Running, Seen};
use crate::throughput::OUT_OF_TIME;
use testkit::servers::Server;
use workloads::sales::SALES;

/// Connections that insert in turn, so that one slow INSERT does not hold up the next.
const WRITERS: u32 = 4;
/// What comes first is not counted: runtimes compile what is used often.
const WARM_UP: Duration = Duration::from_secs(4);
/// How long rows may be on their way after the last INSERT.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    per_second: u32,
    seconds: u64,
    receivers: Vec<Receiver>,
}

#[derive(Debug, Serialize)]
struct Receiver {
    name: &'static str,
    version: String,
    rows_sent: u64,
    rows_received: u64,
    /// From the sending of the INSERT.
    latency_ms: Option<Percentiles>,
    /// The INSERTs of the same seconds, from their sending to their OK.
    insert_ms: Option<Percentiles>,
    missing: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Percentiles {
    p50: f64,
    pub(crate) p99: f64,
    p999: f64,
    most: f64,
}

impl Percentiles {
    /// Of a histogram of microseconds, in milliseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |quantile| {
            Duration::from_micros(histogram.value_at_quantile(quantile)).as_secs_f64() * 1e3
        };
        Self {
            p50: ms(0.5),
            p99: ms(0.99),
            p999: ms(0.999),
            most: ms(1.0),
        }
    }
}

/// From a microsecond to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

#[derive(Clone, Copy)]
enum Kind {
    Hydrant,
    Debezium { poll_ms: Option<u32> },
    Python,
    Zongji,
}

const RECEIVERS: [(Kind, &str, Contender); 5] = [
    (
        Kind::Hydrant,
        "hydrant cdc, flush_interval 0s, standard output",
        Contender::HydrantStdout,
    ),
    (
        Kind::Zongji,
        "@powersync/mysql-zongji",
        Contender::PowersyncZongji,
    ),
    (
        Kind::Python,
        "python mysql-replication",
        Contender::PythonMysqlReplication,
    ),
    (
        Kind::Debezium { poll_ms: Some(1) },
        "Debezium engine, poll.interval.ms 1",
        Contender::DebeziumRecords,
    ),
    (
        Kind::Debezium { poll_ms: None },
        "Debezium engine, as it comes (poll.interval.ms 500)",
        Contender::DebeziumRecords,
    ),
];

/// One receiver after the other, each with the same rows at the same rate.
pub(crate) fn run(
    per_second: u32,
    seconds: u64,
    tools: &Tools,
    budget: &Budget,
) -> Result<Outcome> {
    eprintln!("latency at {per_second} transactions a second: starting MySQL");
    let server = Server::mysql(&[])?;
    server.sql(SALES)?;
    let mut receivers = Vec::new();
    for (kind, name, contender) in RECEIVERS {
        let plan = LatencyPlan {
            per_second,
            length: WARM_UP + Duration::from_secs(seconds),
        };
        let mut receiver = Receiver {
            name,
            version: contender.version(),
            rows_sent: plan.rows(),
            rows_received: 0,
            latency_ms: None,
            insert_ms: None,
            missing: None,
        };
        if budget.is_spent(1.0) {
            receiver.missing = Some(OUT_OF_TIME.to_owned());
        } else if let Err(error) = follow(&server, kind, plan, tools, &mut receiver) {
            receiver.missing = Some(format!("{error:#}"));
        }
        match (&receiver.missing, &receiver.latency_ms) {
            (Some(reason), _) => eprintln!("latency: {name}: LEFT OUT: {reason}"),
            (None, Some(latency)) => eprintln!(
                "latency: {name}: {} of {} rows, p50 {:.2} ms, p99 {:.2} ms",
                receiver.rows_received, receiver.rows_sent, latency.p50, latency.p99
            ),
            (None, None) => {}
        }
        receivers.push(receiver);
    }
    Ok(Outcome {
        per_second,
        seconds,
        receivers,
    })
}

#[derive(Clone, Copy)]
struct LatencyPlan {
    per_second: u32,
    length: Duration,
}

impl LatencyPlan {
    fn rows(self) -> u64 {
        u64::from(self.per_second) * self.length.as_secs()
    }
}

fn follow(
    server: &Server,
    kind: Kind,
    plan: LatencyPlan,
    tools: &Tools,
    receiver: &mut Receiver,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = BinlogStart::here(server, plan.rows())?;
    let rows = plan.rows().to_string();
    let command = match kind {
        Kind::Hydrant => {
            let sink = Sink::Stdout { at_once: true };
            hydrant(&place, "latest", sink, folder.path())?
        }
        Kind::Debezium { poll_ms } => {
            let mut command = tools.debezium("markers", &place, "latest", &rows, folder.path())?;
            command.args(poll_ms.map(|poll_ms| format!("poll.interval.ms={poll_ms}")));
            command
        }
        Kind::Python => tools.python_reader("markers", &place, &rows)?,
        Kind::Zongji => tools.zongji(POWERSYNC, "markers", &place, &rows)?,
    };
    let mut running = attach(server, command, true)?;
    let started = Instant::now();
    let url = server.url();
    let writing = thread::spawn(move || write(&url, plan));
    let measured_from = now_us() + WARM_UP.as_micros();
    let latency = receive(&mut running, plan, started, measured_from, receiver);
    let inserts = writing.join().map_err(|_| anyhow!("the writers broke"))??;
    if matches!(kind, Kind::Hydrant) {
        running.ask_to_stop(true)?;
        running.finish(plan.length + 2 * PATIENCE)?;
    }
    receiver.latency_ms = Some(Percentiles::of(&latency?));
    receiver.insert_ms = Some(Percentiles::of(&inserts));
    Ok(())
}

/// Takes stamps until all rows are here, or nothing more is to be hoped for.
fn receive(
    running: &mut Running,
    plan: LatencyPlan,
    started: Instant,
    measured_from: u128,
    receiver: &mut Receiver,
) -> Result<Histogram<u64>> {
    let mut latency = histogram();
    let (epoch, epoch_us) = (Instant::now(), now_us());
    while receiver.rows_received < plan.rows() {
        let limit = running.age_at(started) + plan.length + PATIENCE;
        match running.next(limit)? {
            Seen::Ended(_) => anyhow::bail!("it ended after {} rows", receiver.rows_received),
            Seen::Line(line, at) => {
                let Some((sent_us, here_us)) = stamps(&line) else {
                    continue;
                };
                receiver.rows_received += 1;
                let read_us = epoch_us + at.saturating_duration_since(epoch).as_micros();
                let took = here_us.unwrap_or(read_us).saturating_sub(sent_us);
                if sent_us >= measured_from {
                    latency.saturating_record(u64::try_from(took)?);
                }
            }
        }
    }
    Ok(latency)
}

/// `SENT ARRIVED` of a rival, or the line of CSV that ends in `SENT`.
fn stamps(line: &str) -> Option<(u128, Option<u128>)> {
    match line.split_once(' ') {
        Some((sent, here)) if !line.contains(',') => {
            Some((sent.parse().ok()?, Some(here.parse().ok()?)))
        }
        _ => Some((line.rsplit(',').next()?.parse().ok()?, None)),
    }
}

fn now_us() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros())
}

/// Inserts at the planned moments, and answers with how long the INSERTs took.
fn write(url: &str, plan: LatencyPlan) -> Result<Histogram<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let start = Instant::now();
        let writers = (0..WRITERS).map(|writer| write_share(url, plan, start, writer));
        let shares = futures_util::future::try_join_all(writers).await?;
        let mut all = histogram();
        for share in shares {
            all.add(share)?;
        }
        Ok(all)
    })
}

#[expect(clippy::cast_precision_loss, reason = "moments, not counts")]
async fn write_share(
    url: &str,
    plan: LatencyPlan,
    start: Instant,
    writer: u32,
) -> Result<Histogram<u64>> {
    let mut conn = Conn::new(Opts::from_url(url)?).await?;
    let mut took = histogram();
    for row in (u64::from(writer)..plan.rows()).step_by(WRITERS as usize) {
        let since = Duration::from_secs_f64(row as f64 / f64::from(plan.per_second));
        tokio::time::sleep_until((start + since).into()).await;
        let sent = Instant::now();
        let marker = now_us();
        conn.query_drop(format!(
            "INSERT INTO shop.Sales (ItemID, Category, Price, Quantity, OrderDate, DestinationState, \
             ShippingType, Referral) VALUES (41, 'Garden', 12.00, 3, '2016-03-04', 'WA', 'Free', '{marker}')"
        ))
        .await
        .context("cannot insert")?;
        if since >= WARM_UP {
            took.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
        }
    }
    conn.disconnect().await?;
    Ok(took)
}
