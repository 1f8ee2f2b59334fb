//! The simulator's faults as clients see them, and what it counts of them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_firehose::error::{ProvideErrorMetadata, SdkError};
use hydrant::sim::{Amount, CallCounts, Options, SimError, Simulator, StreamAccount};

use super::bench::{Bench, STREAM, client, delivered, put};
use crate::setup::agent::eventually;
use crate::setup::aws_clients::Clients;
use crate::setup::http::raw;
use testkit::program::program;

const PUT: &str = "firehose:PutRecordBatch";

fn account(bench: &Bench) -> StreamAccount {
    bench.simulator.accounts().streams[STREAM].clone()
}

/// What is in the objects, after the end.
async fn content(bench: Bench) -> Result<Vec<u8>> {
    let folder = bench.objects();
    bench.simulator.shutdown().await?;
    let objects = delivered(&folder)?;
    Ok(objects
        .into_iter()
        .flat_map(|(_, content)| content)
        .collect())
}

/// One call by hand that nobody may answer: what was read and how the reading ended.
fn unanswered(bench: &Bench) -> Result<(String, Option<ErrorKind>)> {
    let body = format!(r#"{{"DeliveryStreamName":"{STREAM}","Records":[{{"Data":"YQo="}}]}}"#);
    let mut socket = TcpStream::connect(bench.simulator.addr())?;
    socket.set_read_timeout(Some(crate::setup::agent::PATIENCE))?;
    write!(
        socket,
        "POST / HTTP/1.1\r\nHost: sim\r\nX-Amz-Target: Firehose_20150804.PutRecordBatch\r\n\
         Authorization: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    let end = socket.read_to_string(&mut answer).err();
    Ok((answer, end.map(|error| error.kind())))
}

#[tokio::test]
async fn some_records_of_a_batch_are_refused_and_the_others_taken() -> Result<()> {
    let bench = Bench::with_faults(
        r#"
        [[fault]]
        request = 1
        refuse_records = { every = 2 }
        [[fault]]
        request = 2
        refuse_records = { count = 1, error = "InternalFailure" }
        "#,
    )
    .await?;
    let first = bench.put(&[b"a\n", b"b\n", b"c\n"]).await?;
    assert_eq!(first.failed_put_count(), 1);
    let entry = &first.request_responses()[1];
    assert_eq!(entry.error_code(), Some("ServiceUnavailableException"));
    assert_eq!(entry.error_message(), Some("Slow down."));
    let second = bench.put(&[b"d\n"]).await?;
    let code = second.request_responses()[0].error_code();
    assert_eq!(code, Some("InternalFailure"));
    let total = account(&bench).total;
    assert_eq!((total.admitted_rows, total.refused_records), (2, 2));
    assert_eq!(content(bench).await?, b"a\nc\n");
    Ok(())
}

/// The HTTP status and the error's code and message.
fn seen<E: ProvideErrorMetadata>(error: &SdkError<E>) -> (u16, String, String) {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (
        status.unwrap_or_default(),
        text(error.code()),
        text(error.message()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_each_services_own_in_each_protocol() -> Result<()> {
    let cases = [
        (
            "ServiceUnavailableException",
            [500, 503, 503],
            "ServiceUnavailable",
        ),
        ("ThrottlingException", [400, 400, 400], "Throttling"),
        ("InternalFailure", [500, 500, 500], "InternalServiceError"),
        ("ExpiredTokenException", [400, 400, 403], "ExpiredToken"),
        ("AccessDeniedException", [400, 400, 403], "AccessDenied"),
        (
            "UnrecognizedClientException",
            [400, 400, 403],
            "InvalidClientTokenId",
        ),
        (
            "InvalidSignatureException",
            [400, 400, 403],
            "SignatureDoesNotMatch",
        ),
    ];
    for (name, statuses, query_name) in cases {
        let bench = Bench::with_faults(&format!("[[fault]]\nerror = \"{name}\"")).await?;
        let clients = Clients::of(&bench.simulator.endpoint_url());
        let error = put(&bench.client, &[b"a\n"]).await.expect_err(name);
        let (status, code, message) = seen(&error);
        assert_eq!((status, &*code), (statuses[0], name));
        assert!(!message.is_empty());
        let error = clients.ecs.describe_clusters().send().await;
        let (status, code, _) = seen(&error.expect_err(name));
        assert_eq!((status, &*code), (statuses[1], name));
        let datum = MetricDatum::builder().metric_name("a").value(1.0).build();
        let request = clients.cloudwatch.put_metric_data().namespace("n");
        let error = request.metric_data(datum).send().await;
        let (status, code, cbor_message) = seen(&error.expect_err(name));
        assert_eq!((status, &*code), (statuses[2], query_name));
        let head = "POST / HTTP/1.1\r\nX-Amz-Target: GraniteServiceVersion20100801.PutMetricData\r\n\
                    Authorization: x";
        let (status, body) = raw(bench.simulator.addr(), head, "{}")?;
        let body: serde_json::Value = serde_json::from_str(&body)?;
        assert_eq!(
            (status, &body["message"]),
            (statuses[2], &cbor_message.into())
        );

        let accounts = bench.simulator.accounts();
        assert_eq!(accounts.streams[STREAM].total.refused_records, 1);
        assert!(accounts.metrics.is_empty());
        assert_eq!(
            (accounts.faults[0].matched, accounts.faults[0].hits),
            (4, 4)
        );
        assert_eq!(
            accounts.errors.values().sum::<u64>(),
            4,
            "{:?}",
            accounts.errors
        );
        assert_eq!(
            accounts.errors[query_name],
            2 + u64::from(name == query_name) * 2
        );
        assert!(content(bench).await?.is_empty());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_one_of_tcp_and_comes_before_or_after_the_write() -> Result<()> {
    let bench = Bench::with_faults(
        "[[fault]]\nrequest = 1\nreset = \"before\"\n[[fault]]\nrequest = 2\nreset = \"after\"",
    )
    .await?;
    for expected in [Amount::default(), amount(1, 1, 2)] {
        let (answer, end) = unanswered(&bench)?;
        assert_eq!((&*answer, end), ("", Some(ErrorKind::ConnectionReset)));
        assert_eq!(account(&bench).unconfirmed, expected);
    }
    let total = account(&bench).total;
    assert_eq!((total.admitted_requests, total.admitted_rows), (1, 1));
    let counts = bench.simulator.accounts().calls_of(PUT);
    let expected = CallCounts {
        unanswered: 2,
        ..CallCounts::default()
    };
    assert_eq!(counts, expected);
    // The SDK takes it for what it is, and the connection after it works.
    bench.put(&[b"b\n"]).await?;
    assert_eq!(content(bench).await?, b"a\nb\n");
    Ok(())
}

fn amount(records: u64, rows: u64, bytes: u64) -> Amount {
    Amount {
        calls: 1,
        records,
        rows,
        bytes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_carries_out_and_closes_in_silence() -> Result<()> {
    let bench = Bench::with_faults("[[fault]]\nrequest = 1\ntimeout = 0.2").await?;
    let (answer, end) = unanswered(&bench)?;
    assert_eq!((&*answer, end), ("", Some(ErrorKind::ConnectionReset)));
    assert_eq!(account(&bench).unconfirmed, amount(1, 1, 2));
    assert_eq!(content(bench).await?, b"a\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_kept_waiting_when_the_simulator_stops() -> Result<()> {
    let bench = Bench::with_faults(
        "[[fault]]\nrequest = 1\ntimeout = 900\n[[fault]]\nrequest = 2\ndelay = 900",
    )
    .await?;
    let url = bench.simulator.endpoint_url();
    let calls = [b"a\n", b"b\n"].map(|row| {
        let client = client(&url);
        tokio::spawn(async move { put(&client, &[row]).await.map(|_| ()) })
    });
    let both_came = || {
        let faults = bench.simulator.accounts().faults;
        Ok(faults.iter().all(|fault| fault.hits == 1).then_some(()))
    };
    eventually("both calls wait", both_came)?;
    let folder = bench.objects();
    let accounts = bench.simulator.shutdown().await?;
    let [first, second] = calls;
    // One of the two is answered late, which is early now; the other never.
    let answered = [first.await?.is_ok(), second.await?.is_ok()];
    assert_eq!(answered.iter().filter(|is_ok| **is_ok).count(), 1);
    assert_eq!(accounts.streams[STREAM].unconfirmed, amount(1, 1, 2));
    assert_eq!(accounts.calls_of(PUT).answered, 1);
    assert_eq!(delivered(&folder)?[0].1.len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_on_a_late_answer_does_not_know() -> Result<()> {
    let bench = Bench::with_faults("[[fault]]\nrequest = 1\ndelay = 900").await?;
    let taken = async {
        while account(&bench).total.admitted_rows == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = put(&bench.client, &[b"a\n"]) => bail!("answered: {answer:?}"),
        () = taken => {}
    }
    eventually("the client's end is seen", || {
        let counts = bench.simulator.accounts().calls_of(PUT);
        Ok((counts.unanswered == 1).then_some(()))
    })?;
    assert_eq!(account(&bench).unconfirmed, amount(1, 1, 2));
    let second = bench.put(&[b"a\n"]).await?;
    assert_eq!(second.failed_put_count(), 0);
    assert_eq!(content(bench).await?, b"a\na\n");
    Ok(())
}

#[tokio::test]
async fn answers_of_a_wrong_length_errors_after_the_write_and_duplicates_are_counted() -> Result<()>
{
    let bench = Bench::with_faults(
        r#"
        [[fault]]
        request = 1
        wrong_length = "short"
        [[fault]]
        request = 2
        wrong_length = "long"
        [[fault]]
        request = 3
        error_after = "InternalFailure"
        [[fault]]
        request = 4
        duplicate = true
        "#,
    )
    .await?;
    let records: [&[u8]; 2] = [b"a\n", b"b\n"];
    let lengths = [
        bench.put(&records).await?.request_responses().len(),
        bench.put(&records).await?.request_responses().len(),
    ];
    assert_eq!(lengths, [1, 3]);
    assert_eq!(bench.put_error(&records).await.0, "InternalFailure");
    bench.put(&records).await?;
    let seen = account(&bench);
    let lost = Amount {
        calls: 3,
        records: 6,
        rows: 6,
        bytes: 12,
    };
    assert_eq!((seen.unconfirmed, seen.duplicated), (lost, amount(2, 2, 4)));
    assert_eq!(seen.total.admitted_rows, 8);
    let folder = bench.objects();
    let accounts = bench.simulator.shutdown().await?;
    let stream = &accounts.streams[STREAM];
    assert_eq!((stream.delivered.rows, stream.delivered.records), (10, 10));
    let by_second: u64 = stream.seconds.iter().map(|it| it.delivered.rows).sum();
    assert_eq!(by_second, 10);
    assert_eq!(delivered(&folder)?[0].1, b"a\nb\n".repeat(5));
    Ok(())
}

#[tokio::test]
async fn a_quota_changes_in_flight_and_returns() -> Result<()> {
    let bench = Bench::with_faults(
        r#"
        [[fault]]
        stream = "Changes"
        until = 1
        quota = { bytes = 4 }
        "#,
    )
    .await?;
    assert_eq!(account(&bench).quota.bytes, Some(4));
    let records: [&[u8]; 3] = [b"a\n", b"b\n", b"c\n"];
    assert_eq!(bench.put(&records).await?.failed_put_count(), 1);
    eventually("the quota returns", || {
        Ok(account(&bench).quota.bytes.is_none().then_some(()))
    })?;
    assert_eq!(bench.put(&[&[b'x'; 1_000]]).await?.failed_put_count(), 0);
    assert_eq!(bench.simulator.accounts().faults[0].hits, 1);
    Ok(())
}

#[tokio::test]
async fn cloudwatch_keeps_what_it_did_not_confirm_and_counts_it() -> Result<()> {
    let bench = Bench::with_faults(
        r#"
        [[fault]]
        call = "cloudwatch:*"
        request = 1
        error = "InternalFailure"
        [[fault]]
        call = "cloudwatch:PutMetricData"
        request = 2
        reset = "after"
        "#,
    )
    .await?;
    let cloudwatch = Clients::of(&bench.simulator.endpoint_url()).cloudwatch;
    let put = async || {
        let datum = |name| MetricDatum::builder().metric_name(name).value(1.0).build();
        let request = cloudwatch.put_metric_data().namespace("n");
        let data = ["a", "b"].map(datum).to_vec();
        request.set_metric_data(Some(data)).send().await.is_ok()
    };
    assert_eq!(
        [put().await, put().await, put().await],
        [false, false, true]
    );
    let accounts = bench.simulator.accounts();
    assert_eq!(accounts.unconfirmed_data, 2);
    let data: Vec<u64> = accounts.metrics.iter().map(|metric| metric.data).collect();
    assert_eq!(data, [2, 2]);
    let counts = accounts.calls_of("cloudwatch:PutMetricData");
    assert_eq!(
        (counts.answered, counts.refused, counts.unanswered),
        (1, 1, 1)
    );
    Ok(())
}

#[tokio::test]
async fn clusters_can_be_missing_for_a_while() -> Result<()> {
    let bench = Bench::with_faults("[[fault]]\nrequest = 1\nmissing = [\"Web\"]").await?;
    let ecs = Clients::of(&bench.simulator.endpoint_url()).ecs;
    for name in ["Web", "Other"] {
        ecs.create_cluster().cluster_name(name).send().await?;
    }
    let mut seen = Vec::new();
    for _ in 0..2 {
        let request = ecs.describe_clusters().clusters("Web").clusters("Other");
        let described = request.send().await?;
        seen.push((described.clusters().len(), described.failures().len()));
    }
    assert_eq!(seen, [(1, 1), (2, 0)]);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_one_of_faults_stops_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("faults.toml");
    let options = Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        faults: Some(path.clone()),
        ..Options::default()
    };
    let unreadable = Simulator::start(options.clone()).await;
    let unreadable = unreadable.expect_err("no file");
    assert!(matches!(unreadable, SimError::ReadFaults { .. }));
    assert!(unreadable.remedy().contains("--faults"));
    std::fs::write(&path, "[[fault]]\nname = \"x\"\nevry = 2\ndelay = 1\n")?;
    let invalid = Simulator::start(options).await.expect_err("a wrong key");
    assert!(matches!(invalid, SimError::Faults { .. }));

    // As a user sees it.
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command.args(["sim", "--listen", "127.0.0.1:0", "--faults"]);
    command.arg(&path).arg("--data").arg(folder.path());
    let output = command.stdin(Stdio::null()).output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    for part in [
        "faults.toml",
        "fault 1 (x)",
        "unknown field `evry`",
        "remedy: ",
    ] {
        ensure!(report.contains(part), "{part:?} is not in: {report}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_tells_what_each_fault_did() -> Result<()> {
    let bench = Bench::with_faults(
        "[[fault]]\nname = \"now and then\"\ncall = \"firehose:*\"\nevery = 2\nduplicate = true",
    )
    .await?;
    for _ in 0..5 {
        bench.put(&[b"a\n"]).await?;
    }
    let (_, body) = raw(bench.simulator.addr(), "GET /account HTTP/1.1", "")?;
    let account: serde_json::Value = serde_json::from_str(&body)?;
    let expected = serde_json::json!([{
        "name": "now and then", "call": "firehose:*", "stream": null, "effect": "duplicate",
        "matched": 5, "hits": 2,
    }]);
    assert_eq!(account["faults"], expected);
    let stream = &account["streams"][STREAM];
    assert_eq!(stream["duplicated"]["rows"], 2);
    assert_eq!(stream["waiting"]["records"], 7);
    let counts: BTreeMap<String, u64> = serde_json::from_value(account["calls"][PUT].clone())?;
    assert_eq!(counts.get("answered").context("no count")?, &5);
    Ok(())
}
