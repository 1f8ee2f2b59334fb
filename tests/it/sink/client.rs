//! Firehose's client when the far end drops connections, refuses for good, or wants less.

use std::fs;
use std::io::BufReader;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use hydrant::Exit;
use hydrant::config::QuotaChoice;
use hydrant::error::Fault;
use hydrant::sim::Simulator;
use hydrant::sink::{Delivery, FirehoseSink, Sink as _};
use tempfile::TempDir;

use super::firehose::{answer, connect, connect_as, delivered, simulator};
use super::suite::{self, Maker};
use super::{in_a_process, patiently};
use crate::setup::canned::read_request;

const LATE: Duration = Duration::from_mins(10);
const SOON: Duration = Duration::from_millis(400);

/// Runs a test in a process with AWS credentials.
fn with_credentials<F: Future<Output = Result<()>>>(
    test: &str,
    body: impl FnOnce() -> F,
) -> Result<()> {
    in_a_process(module_path!(), test, |_| {
        tokio::runtime::Runtime::new()?.block_on(patiently(body()))
    })
}

/// A simulator with one fault for PutRecordBatch.
async fn faulty(folder: &TempDir, fault: &str) -> Result<Simulator> {
    let path = folder.path().join("faults.toml");
    let call = "firehose:PutRecordBatch";
    fs::write(&path, format!("[[fault]]\ncall = \"{call}\"\n{fault}\n"))?;
    simulator(folder, |options| options.faults = Some(path)).await
}

/// Answers one request on a connection, and hangs up: at once, or when the next one has been read.
fn answer_once(mut socket: TcpStream, at_once: bool) -> Result<()> {
    const BODY: &str = r#"{"FailedPutCount":0,"RequestResponses":[{"RecordId":"x"}]}"#;
    let mut reader = BufReader::new(socket.try_clone()?);
    if read_request(&mut reader)? {
        answer(&mut socket, BODY)?;
        if !at_once {
            read_request(&mut reader)?;
        }
    }
    Ok(())
}

#[test]
fn a_connection_that_was_dropped_while_it_was_idle_is_no_outage() -> Result<()> {
    let test = "a_connection_that_was_dropped_while_it_was_idle_is_no_outage";
    with_credentials(test, || async {
        let folder = tempfile::tempdir()?;
        // Nothing else here uses this address, so that its port stays free in between.
        let alone = (Ipv4Addr::new(127, 0, 0, 2), 0).into();
        let first = simulator(&folder, |options| options.listen = alone).await?;
        let (address, endpoint) = (first.addr(), first.endpoint_url());
        let sink = connect(&endpoint).await?;
        let mut maker = Maker::new(sink.profile().limits);
        first.shutdown().await?;
        let listener = TcpListener::bind(address)?;
        std::thread::spawn(move || {
            for (number, socket) in listener.incoming().flatten().enumerate() {
                // The client may hang up whenever it likes.
                std::thread::spawn(move || answer_once(socket, number % 2 == 0));
            }
        });
        let mut delivery = Delivery::new(sink, suite::TABLES);
        for _ in 0..20 {
            delivery.push(maker.batch(0, &[100])?);
            delivery.next().await?;
        }
        let stats = delivery.stats();
        ensure!(
            stats.attempts == 20 && stats.attempts_failed == 0,
            "{stats:?}"
        );
        Ok(())
    })
}

#[test]
fn a_permission_that_comes_late_is_waited_for() -> Result<()> {
    let test = "a_permission_that_comes_late_is_waited_for";
    with_credentials(test, || async {
        for error in ["AccessDeniedException", "ExpiredTokenException"] {
            let folder = tempfile::tempdir()?;
            let fault = format!("request = [\"2-4\"]\nerror = \"{error}\"");
            let simulator = faulty(&folder, &fault).await?;
            let sink = connect_as(&simulator.endpoint_url(), QuotaChoice::Off, LATE).await?;
            let mut maker = Maker::new(sink.profile().limits);
            let mut delivery = Delivery::new(sink, suite::TABLES);
            let mut expected = Vec::new();
            for _ in 0..2 {
                let batch = maker.batch(0, &[100, 200])?;
                expected.extend_from_slice(batch.bytes());
                delivery.push(batch);
                delivery.next().await?;
            }
            let stats = delivery.stats();
            ensure!(
                stats.attempts == 5 && stats.attempts_failed == 3,
                "{stats:?}"
            );
            simulator.shutdown().await?;
            ensure!(
                delivered(&folder, "Sales")? == expected,
                "not what was sent"
            );
        }
        Ok(())
    })
}

#[test]
fn patience_ends_with_a_remedy_and_there_is_none_at_the_start() -> Result<()> {
    let test = "patience_ends_with_a_remedy_and_there_is_none_at_the_start";
    with_credentials(test, || async {
        for (request, patience, attempts) in [("2-", SOON, 3), ("1-", LATE, 1)] {
            let folder = tempfile::tempdir()?;
            let fault = format!("request = [\"{request}\"]\nerror = \"AccessDeniedException\"");
            let simulator = faulty(&folder, &fault).await?;
            let sink = connect_as(&simulator.endpoint_url(), QuotaChoice::Off, patience).await?;
            let mut maker = Maker::new(sink.profile().limits);
            let mut delivery = Delivery::new(sink, suite::TABLES);
            let mut failed = None;
            for _ in 0..2 {
                delivery.push(maker.batch(0, &[100])?);
                failed = failed.or(delivery.next().await.err());
            }
            let Some(failure) = failed else {
                anyhow::bail!("success after {request}");
            };
            ensure!(
                (failure.fault, failure.exit) == (Fault::Definite, Exit::Permission),
                "{failure:?}"
            );
            ensure!(
                failure.remedy.contains("firehose:PutRecordBatch"),
                "{failure:?}"
            );
            let stats = delivery.stats();
            ensure!(stats.attempts >= attempts, "{stats:?}");
            ensure!(attempts > 1 || stats.attempts_failed == 0, "{stats:?}");
        }
        Ok(())
    })
}

/// A paced sink, a table of which has met a fault with its second request.
async fn share_after(fault: &str) -> Result<(f64, hydrant::sink::DeliveryStats)> {
    let folder = tempfile::tempdir()?;
    let simulator = faulty(&folder, &format!("request = [2]\n{fault}")).await?;
    let quota = QuotaChoice::Region {
        requests_per_second: None,
        records_per_second: None,
        bytes_per_second: None,
    };
    let sink: FirehoseSink = connect_as(&simulator.endpoint_url(), quota, LATE).await?;
    let mut maker = Maker::new(sink.profile().limits);
    let mut delivery = Delivery::new(sink, suite::TABLES);
    for _ in 0..2 {
        delivery.push(maker.batch(0, &[100])?);
        delivery.next().await?;
    }
    ensure!(
        delivery.quota_share(1) >= 1.0,
        "the other stream has its own pace"
    );
    let share = delivery.quota_share(0);
    let stats = delivery.stats();
    simulator.shutdown().await?;
    Ok((share, stats))
}

#[test]
fn a_stream_that_asks_for_it_is_offered_less() -> Result<()> {
    with_credentials("a_stream_that_asks_for_it_is_offered_less", || async {
        for fault in [
            "error = \"ServiceUnavailableException\"",
            "error = \"ThrottlingException\"",
            "refuse_records = { share = 1.0 }",
        ] {
            let (share, stats) = share_after(fault).await?;
            ensure!(
                stats.slow_downs == 1 && share < 1.0,
                "{fault}: {share} {stats:?}"
            );
        }
        let (share, stats) = share_after("error = \"InternalFailure\"").await?;
        ensure!(
            stats.attempts_failed == 1 && share >= 1.0,
            "{share} {stats:?}"
        );
        ensure!(stats.records_delivered == 2 && stats.bytes_delivered == 200);
        ensure!(stats.billed_bytes == 2 * 5_120, "{stats:?}");
        Ok(())
    })
}
