//! Firehose: refused records, streams and endpoints that are not there, and answers that make no
//! sense.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hydrant::batch::BatchLimits;
use hydrant::config::{Firehose, QuotaChoice, QuotaShare};
use hydrant::error::Fault;
use hydrant::sim::{Options, Simulator};
use hydrant::sink::{Delivery, FirehoseSink, Sink as _};
use hydrant::{Exit, Failure};
use tempfile::TempDir;

use super::suite::{self, Maker};
use super::{in_a_process, patiently};
use crate::setup::canned::read_request;
use crate::setup::{self, agent::files_below};

pub(super) const STREAMS: [&str; suite::TABLES] = ["Sales", "Orders"];

pub(super) async fn simulator(
    folder: &TempDir,
    adjust: impl FnOnce(&mut Options),
) -> Result<Simulator> {
    let mut options = setup::simulator::options(folder.path(), &STREAMS)?;
    adjust(&mut options);
    Ok(Simulator::start(options).await?)
}

/// A sink without pacing: the simulator is to say no.
pub(super) async fn connect(endpoint: &str) -> Result<FirehoseSink, Failure> {
    connect_as(endpoint, QuotaChoice::Off, Duration::from_secs(30)).await
}

pub(super) async fn connect_as(
    endpoint: &str,
    quota: QuotaChoice,
    patience: Duration,
) -> Result<FirehoseSink, Failure> {
    let config = Firehose {
        streams: STREAMS.map(str::to_owned).to_vec(),
        expected: Vec::new(),
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        quota,
        quota_share: QuotaShare::WHOLE,
        patience,
    };
    // The SDK's futures are large.
    Box::pin(FirehoseSink::connect(&config)).await
}

pub(super) fn delivered(folder: &TempDir, stream: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for path in files_below(&folder.path().join(stream), ".gz")? {
        flate2::read::MultiGzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut all)?;
    }
    Ok(all)
}

/// Runs a test in a process with AWS credentials.
fn with_credentials<F: Future<Output = Result<()>>>(
    test: &str,
    body: impl FnOnce() -> F,
) -> Result<()> {
    in_a_process(module_path!(), test, |_| {
        tokio::runtime::Runtime::new()?.block_on(patiently(body()))
    })
}

#[test]
fn firehose_conforms() -> Result<()> {
    with_credentials("firehose_conforms", || async {
        let folder = tempfile::tempdir()?;
        let simulator = simulator(&folder, |_| {}).await?;
        let sink = connect(&simulator.endpoint_url()).await?;
        let limits = sink.profile().limits;
        ensure!(
            limits.row_bytes == 1_024_000 && limits.records == 500 && limits.bytes <= 4 << 20,
            "{limits:?}"
        );
        let read_back = async || {
            simulator.shutdown().await?;
            STREAMS
                .iter()
                .map(|stream| delivered(&folder, stream))
                .collect()
        };
        suite::conforms(sink, read_back).await
    })
}

#[test]
fn only_refused_records_are_sent_again() -> Result<()> {
    with_credentials("only_refused_records_are_sent_again", || async {
        const RECORDS: usize = 20;
        const RECORD_BYTES: usize = 60_000;
        let folder = tempfile::tempdir()?;
        // Five records a second by their bytes.
        let simulator = simulator(&folder, |options| {
            options.quota_bytes = Some(5 * RECORD_BYTES as u64);
        })
        .await?;
        let sink = connect(&simulator.endpoint_url()).await?;
        let mut maker = Maker::new(BatchLimits {
            record_bytes: RECORD_BYTES,
            ..sink.profile().limits
        });
        let mut sent: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut delivery = Delivery::new(sink, suite::TABLES);
        for _ in 0..2 {
            let batch = maker.batch(0, &[RECORD_BYTES; RECORDS / 2])?;
            ensure!(batch.record_count() == RECORDS / 2);
            for index in 0..batch.record_count() {
                *sent.entry(batch.record(index).to_vec()).or_default() += 1;
            }
            delivery.push(batch);
        }
        for _ in 0..2 {
            delivery.next().await?;
        }
        let stats = delivery.stats();
        let accounts = simulator.shutdown().await?;
        let total = accounts.streams[STREAMS[0]].total;
        println!("{stats:?} {total:?}");
        ensure!(stats.records_refused > 0, "nothing was refused");
        ensure!(
            total.refused_records == stats.records_refused,
            "{total:?}, {stats:?}"
        );
        // The simulator loses no answer, so that each record is admitted once.
        ensure!(total.admitted_records == RECORDS as u64, "{total:?}");
        let mut arrived: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for line in delivered(&folder, STREAMS[0])?.split_inclusive(|byte| *byte == b'\n') {
            *arrived.entry(line.to_vec()).or_default() += 1;
        }
        ensure!(arrived == sent, "what arrived is not what was sent");
        Ok(())
    })
}

#[test]
fn whole_calls_that_are_refused_are_made_again() -> Result<()> {
    with_credentials("whole_calls_that_are_refused_are_made_again", || async {
        let folder = tempfile::tempdir()?;
        let simulator = simulator(&folder, |options| options.quota_requests = Some(4)).await?;
        let sink = connect(&simulator.endpoint_url()).await?;
        let mut maker = Maker::new(sink.profile().limits);
        let mut delivery = Delivery::new(sink, suite::TABLES);
        let mut bytes = 0;
        for _ in 0..12 {
            let batch = maker.batch(1, &[100, 200])?;
            bytes += batch.bytes().len();
            delivery.push(batch);
        }
        for _ in 0..12 {
            delivery.next().await?;
        }
        let stats = delivery.stats();
        let total = simulator.shutdown().await?.streams[STREAMS[1]].total;
        ensure!(
            stats.attempts_failed > 0 && stats.attempts_failed == total.refused_requests,
            "{stats:?} {total:?}"
        );
        ensure!(
            delivered(&folder, STREAMS[1])?.len() == bytes,
            "not every row is there once"
        );
        Ok(())
    })
}

#[test]
fn a_stream_that_is_not_there_is_a_matter_of_configuration() -> Result<()> {
    with_credentials(
        "a_stream_that_is_not_there_is_a_matter_of_configuration",
        || async {
            let folder = tempfile::tempdir()?;
            let first = simulator(&folder, |_| {}).await?;
            let (address, endpoint) = (first.addr(), first.endpoint_url());
            let sink = connect(&endpoint).await?;
            let batch = Maker::new(sink.profile().limits).batch(1, &[100])?;
            first.shutdown().await?;
            // The same endpoint, without the second stream.
            let _second = simulator(&folder, |options| {
                options.listen = address;
                options.streams.pop();
            })
            .await?;
            let at_start = connect(&endpoint).await.expect_err("no such stream");
            let later = sink
                .attempt(&batch, &[0])
                .await
                .result
                .expect_err("no such stream");
            for failure in [at_start, later] {
                ensure!(
                    (failure.fault, failure.exit) == (Fault::Definite, Exit::Config),
                    "{failure:?}"
                );
                ensure!(
                    failure.what.contains("Orders") && failure.remedy.contains("sink.stream"),
                    "{failure:?}"
                );
            }
            Ok(())
        },
    )
}

#[test]
fn an_endpoint_that_is_away_may_come_back() -> Result<()> {
    with_credentials("an_endpoint_that_is_away_may_come_back", || async {
        let folder = tempfile::tempdir()?;
        let first = simulator(&folder, |_| {}).await?;
        let (address, endpoint) = (first.addr(), first.endpoint_url());
        let sink = connect(&endpoint).await?;
        let mut maker = Maker::new(sink.profile().limits);
        let batch = maker.batch(0, &[100])?;
        first.shutdown().await?;
        let failure = sink
            .attempt(&batch, &[0])
            .await
            .result
            .expect_err("nobody is there");
        ensure!(
            (failure.fault, failure.exit) == (Fault::Transient, Exit::Unavailable),
            "{failure:?}"
        );
        ensure!(failure.what.contains(&endpoint), "{failure:?}");
        let at_start = connect(&endpoint).await.expect_err("nobody is there");
        ensure!(
            (at_start.fault, at_start.exit) == (Fault::Transient, Exit::Unavailable),
            "{at_start:?}"
        );

        let mut delivery = Delivery::new(sink, suite::TABLES);
        let expected = batch.bytes().to_vec();
        delivery.push(batch);
        while delivery.stats().attempts_failed == 0 {
            let next = tokio::time::timeout(Duration::from_millis(10), delivery.next()).await;
            ensure!(next.is_err(), "something arrived: {next:?}");
        }
        let second = simulator(&folder, |options| options.listen = address).await?;
        delivery.next().await?;
        second.shutdown().await?;
        ensure!(
            delivered(&folder, STREAMS[0])? == expected,
            "not what was sent"
        );
        Ok(())
    })
}

/// Answers with success and this body.
pub(super) fn answer(socket: &mut TcpStream, body: &str) -> Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1";
    let length = body.len();
    write!(socket, "{head}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    Ok(())
}

/// Answers every request on a connection with the same body, until the client closes it.
fn answer_all(mut socket: TcpStream, body: &str) -> Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    while read_request(&mut reader)? {
        answer(&mut socket, body)?;
    }
    Ok(())
}

/// What a batch of three records gets for an answer to PutRecordBatch.
async fn attempt_answered(body: &'static str) -> Result<Result<Vec<usize>, Failure>> {
    let folder = tempfile::tempdir()?;
    let simulator = simulator(&folder, |_| {}).await?;
    let (address, endpoint) = (simulator.addr(), simulator.endpoint_url());
    let sink = connect(&endpoint).await?;
    simulator.shutdown().await?;
    let listener = TcpListener::bind(address)?;
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // The client may hang up whenever it likes.
            std::thread::spawn(move || answer_all(socket, body));
        }
    });
    let half = sink.profile().limits.record_bytes / 2 + 1;
    let batch = Maker::new(sink.profile().limits).batch(0, &[half; 3])?;
    ensure!(batch.record_count() == 3);
    // The client may first use a connection that the simulator has closed.
    for _ in 0..10 {
        match sink.attempt(&batch, &[0, 1, 2]).await.result {
            Err(failure) if failure.what.contains("cannot send") => {
                ensure!(failure.fault == Fault::Transient && failure.exit == Exit::Unavailable);
            }
            answered => return Ok(answered),
        }
    }
    anyhow::bail!("the connection breaks again and again")
}

#[test]
fn no_answer_that_contradicts_itself_is_taken_for_success() -> Result<()> {
    with_credentials(
        "no_answer_that_contradicts_itself_is_taken_for_success",
        || async {
            const OK: &str = r#"{"RecordId":"x"}"#;
            const NO: &str = r#"{"ErrorCode":"InternalFailure","ErrorMessage":"no"}"#;
            let answer = |failed: u32, entries: &[&str]| -> &'static str {
                format!(
                    r#"{{"FailedPutCount":{failed},"RequestResponses":[{}]}}"#,
                    entries.join(",")
                )
                .leak()
            };
            let taken = attempt_answered(answer(0, &[OK, OK, OK])).await?;
            ensure!(taken.as_ref().is_ok_and(Vec::is_empty), "{taken:?}");
            let partial = attempt_answered(answer(2, &[NO, OK, NO])).await?;
            ensure!(
                partial.as_ref().is_ok_and(|refused| *refused == [0, 2]),
                "{partial:?}"
            );
            // The entries know better than the count.
            let uncounted = attempt_answered(answer(0, &[OK, NO, OK])).await?;
            ensure!(
                uncounted.as_ref().is_ok_and(|refused| *refused == [1]),
                "{uncounted:?}"
            );
            for (failed, entries) in [
                // Too few and too many entries, a failure that no entry has, and no entries at all.
                (1, &[OK, NO] as &[&str]),
                (1, &[OK, NO, OK, OK]),
                (1, &[OK, OK, OK]),
                (0, &[OK, OK]),
                (0, &[]),
            ] {
                let answered = attempt_answered(answer(failed, entries)).await?;
                let failure = answered
                    .err()
                    .with_context(|| format!("success for {failed} {entries:?}"))?;
                ensure!(failure.fault == Fault::Transient, "{failure:?}");
            }
            Ok(())
        },
    )
}
