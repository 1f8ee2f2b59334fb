//! The simulator's Firehose, driven by the SDK that it is made for.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::bench::{
    Bench, STREAM, client, create, delivered, destination, key_shape, put, record, wait_for_objects,
};
use anyhow::{Context as _, Result};
use aws_sdk_firehose::error::ProvideErrorMetadata as _;
use aws_sdk_firehose::types::{BufferingHints, CompressionFormat, DeliveryStreamStatus};
use hydrant::sim::{Options, Simulator};

use crate::setup::http::raw;

#[expect(clippy::too_many_lines, reason = "one life of a stream")]
#[tokio::test]
async fn streams_are_created_described_listed_and_deleted() -> Result<()> {
    let bench = Bench::start(|options| options.streams.clear()).await?;
    let hints = BufferingHints::builder()
        .size_in_mbs(64)
        .interval_in_seconds(60)
        .build();
    let destination = destination()
        .prefix("CDC/")
        .compression_format(CompressionFormat::Gzip)
        .buffering_hints(hints)
        .build()?;
    for name in ["c", "a", "b"] {
        let created = create(&bench.client, name, destination.clone()).await?;
        let arn = format!("arn:aws:firehose:us-east-1:123456789012:deliverystream/{name}");
        assert_eq!(created.delivery_stream_arn(), Some(arn.as_str()));
    }
    let again = create(&bench.client, "a", destination)
        .await
        .expect_err("the stream exists");
    assert!(again.into_service_error().is_resource_in_use_exception());

    let described = bench
        .client
        .describe_delivery_stream()
        .delivery_stream_name("a")
        .send()
        .await?;
    let described = described
        .delivery_stream_description()
        .context("no description")?;
    assert_eq!(
        described.delivery_stream_status(),
        &DeliveryStreamStatus::Active
    );
    assert_eq!(described.version_id(), "1");
    assert!(described.create_timestamp().is_some());
    let s3 = described.destinations()[0].extended_s3_destination_description();
    let s3 = s3.context("no S3 destination")?;
    assert_eq!(s3.prefix(), Some("CDC/"));
    assert_eq!(s3.compression_format(), &CompressionFormat::Gzip);
    let hints = s3.buffering_hints().context("no hints")?;
    assert_eq!(
        (hints.size_in_mbs(), hints.interval_in_seconds()),
        (Some(64), Some(60))
    );

    let page = bench.client.list_delivery_streams().limit(2).send().await?;
    assert_eq!(page.delivery_stream_names(), ["a", "b"]);
    assert!(page.has_more_delivery_streams());
    let page = bench
        .client
        .list_delivery_streams()
        .limit(2)
        .exclusive_start_delivery_stream_name("b")
        .send()
        .await?;
    assert_eq!(page.delivery_stream_names(), ["c"]);
    assert!(!page.has_more_delivery_streams());

    bench
        .client
        .delete_delivery_stream()
        .delivery_stream_name("a")
        .send()
        .await?;
    let gone = bench
        .client
        .describe_delivery_stream()
        .delivery_stream_name("a")
        .send()
        .await;
    let gone = gone
        .expect_err("the stream was deleted")
        .into_service_error();
    assert!(gone.is_resource_not_found_exception());
    Ok(())
}

#[tokio::test]
async fn an_object_holds_the_records_byte_for_byte_under_firehoses_name() -> Result<()> {
    let bench = Bench::start(|_| {}).await?;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let records: [&[u8]; 5] = [
        b"1,one\n",
        &all_bytes,
        b"",
        b"no newline",
        "ümläut\n".as_bytes(),
    ];
    let output = bench.put(&records).await?;
    assert_eq!(output.failed_put_count(), 0);
    let last = bench
        .client
        .put_record()
        .delivery_stream_name(STREAM)
        .record(record(b"last"))
        .send()
        .await?;
    let mut ids: Vec<_> = output
        .request_responses()
        .iter()
        .filter_map(|entry| entry.record_id())
        .collect();
    ids.push(last.record_id());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "record ids are unique");

    let folder = bench.objects();
    let accounts = bench.simulator.shutdown().await?;
    let [(key, content)] = &delivered(&folder)?[..] else {
        anyhow::bail!("not one object")
    };
    let expected = [&records.concat()[..], b"last"].concat();
    assert_eq!(content, &expected);
    let name = key_shape(key).context("not Firehose's name")?;
    assert_eq!(
        name, "CDC/9999/99/99/99/Changes-1-9999-99-99-99-99-99-<uuid>.gz",
        "{key}"
    );

    let account = &accounts.streams[STREAM];
    assert_eq!(account.delivered.records, 6);
    assert_eq!(account.delivered.bytes, expected.len() as u64);
    assert_eq!(account.waiting.records, 0);
    assert_eq!(account.total.admitted_requests, 2);
    Ok(())
}

#[tokio::test]
async fn a_created_stream_delivers_uncompressed_by_default_and_evaluates_its_prefix() -> Result<()>
{
    let bench = Bench::start(|_| {}).await?;
    create(
        &bench.client,
        "plain",
        destination()
            .prefix("dt=!{timestamp:yyyy-MM-dd}/")
            .error_output_prefix("failed/!{firehose:error-output-type}/")
            .build()?,
    )
    .await?;
    let put = bench.client.put_record().delivery_stream_name("plain");
    put.record(record(b"row\n")).send().await?;
    let folder = bench.objects();
    bench.simulator.shutdown().await?;
    let [(key, content)] = &delivered(&folder)?[..] else {
        anyhow::bail!("not one object")
    };
    assert_eq!(content, b"row\n");
    assert!(
        key.starts_with("dt=2") && key[13..].starts_with("/plain-1-"),
        "{key}"
    );
    Ok(())
}

#[tokio::test]
async fn requests_are_taken_at_exactly_their_limits_and_not_one_over() -> Result<()> {
    let bench = Bench::start(|_| {}).await?;
    let one: &[u8] = b"x";
    assert_eq!(bench.put(&[one; 500]).await?.request_responses().len(), 500);
    let (name, message) = bench.put_error(&[one; 501]).await;
    assert_eq!(name, "ValidationException");
    assert!(message.contains("'records'"), "{message}");
    assert_eq!(bench.put_error(&[]).await.0, "ValidationException");

    let largest = vec![b'x'; 1_024_000];
    assert_eq!(bench.put(&[&largest]).await?.failed_put_count(), 0);
    let (name, message) = bench.put_error(&[one, &vec![b'x'; 1_024_001]]).await;
    assert_eq!(name, "ValidationException");
    assert!(message.contains("'records.2.member.data'"), "{message}");
    assert!(
        message.ends_with("length less than or equal to 1024000"),
        "{message}"
    );

    let rest = vec![b'x'; (4 << 20) - 4 * 1_024_000];
    let full: [&[u8]; 5] = [&largest, &largest, &largest, &largest, &rest];
    assert_eq!(bench.put(&full).await?.failed_put_count(), 0);
    let over = [&full[..], &[one]].concat();
    assert_eq!(bench.put_error(&over).await.0, "InvalidArgumentException");

    let accounts = bench.simulator.accounts();
    assert_eq!(accounts.streams[STREAM].total.admitted_requests, 3);
    assert_eq!(accounts.errors["ValidationException"], 3);
    assert_eq!(accounts.errors["InvalidArgumentException"], 1);
    Ok(())
}

#[tokio::test]
async fn a_quota_cuts_a_batch_in_the_middle_with_http_200() -> Result<()> {
    let bench = Bench::start(|options| options.quota_bytes = Some(10)).await?;
    let records: [&[u8]; 4] = [b"1234\n", b"123456\n", b"abcd\n", b"z\n"];
    let output = bench.put(&records).await?;
    assert_eq!(output.failed_put_count(), 2);
    let entries = output.request_responses();
    let admitted: Vec<bool> = entries
        .iter()
        .map(|entry| entry.record_id().is_some())
        .collect();
    assert_eq!(admitted, [true, false, true, false]);
    for entry in [&entries[1], &entries[3]] {
        assert_eq!(entry.error_code(), Some("ServiceUnavailableException"));
        assert_eq!(entry.error_message(), Some("Slow down."));
    }
    assert!(entries[0].error_code().is_none());

    let folder = bench.objects();
    let accounts = bench.simulator.shutdown().await?;
    assert_eq!(delivered(&folder)?[0].1, b"1234\nabcd\n");
    let second = accounts.streams[STREAM].seconds[0].counts;
    assert_eq!((second.admitted_records, second.refused_records), (2, 2));
    assert_eq!((second.admitted_bytes, second.refused_bytes), (10, 9));
    Ok(())
}

#[tokio::test]
async fn a_call_over_the_requests_quota_is_refused_as_a_whole_with_http_500() -> Result<()> {
    let bench = Bench::start(|options| options.quota_requests = Some(1)).await?;
    bench.put(&[b"a"]).await?;
    let error = put(&bench.client, &[b"b"])
        .await
        .expect_err("over the quota");
    assert_eq!(
        error
            .raw_response()
            .context("no response")?
            .status()
            .as_u16(),
        500
    );
    let error = error.into_service_error();
    assert!(error.is_service_unavailable_exception());
    assert_eq!(error.message(), Some("Slow down."));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    bench.put(&[b"c"]).await?;
    let total = bench.simulator.accounts().streams[STREAM].total;
    assert_eq!((total.admitted_requests, total.refused_requests), (2, 1));
    Ok(())
}

#[tokio::test]
async fn a_single_record_over_the_records_quota_is_refused_with_http_500() -> Result<()> {
    let bench = Bench::start(|options| options.quota_records = Some(1)).await?;
    let put = || {
        bench
            .client
            .put_record()
            .delivery_stream_name(STREAM)
            .record(record(b"a"))
    };
    put().send().await?;
    let error = put()
        .send()
        .await
        .expect_err("over the quota")
        .into_service_error();
    assert!(error.is_service_unavailable_exception());
    Ok(())
}

#[tokio::test]
async fn a_missing_stream_is_named() -> Result<()> {
    let bench = Bench::start(|options| options.streams.clear()).await?;
    let (name, message) = bench.put_error(&[b"a"]).await;
    assert_eq!(name, "ResourceNotFoundException");
    assert_eq!(
        message,
        "Firehose Changes under account 123456789012 not found."
    );
    Ok(())
}

#[tokio::test]
async fn a_buffer_is_delivered_when_its_interval_is_over() -> Result<()> {
    let bench = Bench::start(|options| options.buffer_interval = 1).await?;
    bench.put(&[b"a\n"]).await?;
    bench.put(&[b"b\n"]).await?;
    assert!(
        delivered(&bench.objects())?.is_empty(),
        "delivered before the interval"
    );
    assert_eq!(wait_for_objects(&bench.objects()).await?[0].1, b"a\nb\n");
    Ok(())
}

#[tokio::test]
async fn a_buffer_is_delivered_when_it_is_full() -> Result<()> {
    let bench = Bench::start(|options| options.buffer_bytes = 1 << 20).await?;
    let half = vec![b'h'; 512 << 10];
    bench.put(&[&half]).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        delivered(&bench.objects())?.is_empty(),
        "delivered half full"
    );
    bench.put(&[&half]).await?;
    assert_eq!(
        wait_for_objects(&bench.objects()).await?[0].1.len(),
        1 << 20
    );
    Ok(())
}

#[tokio::test]
async fn deleting_a_stream_delivers_what_it_acknowledged() -> Result<()> {
    let bench = Bench::start(|_| {}).await?;
    bench.put(&[b"a\n"]).await?;
    bench
        .client
        .delete_delivery_stream()
        .delivery_stream_name(STREAM)
        .send()
        .await?;
    assert_eq!(wait_for_objects(&bench.objects()).await?[0].1, b"a\n");
    assert_eq!(
        bench.put_error(&[b"b"]).await.0,
        "ResourceNotFoundException"
    );
    Ok(())
}

#[tokio::test]
async fn a_disk_error_keeps_the_records_until_the_disk_is_well_again() -> Result<()> {
    let bench = Bench::start(|options| options.buffer_interval = 0).await?;
    let in_the_way = bench.objects().join("CDC");
    std::fs::write(&in_the_way, "a file where the folder should be")?;
    bench.put(&[b"a\n"]).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench
        .client
        .describe_delivery_stream()
        .delivery_stream_name(STREAM)
        .send()
        .await?;
    bench.put(&[b"b\n"]).await?;
    assert_eq!(
        bench.simulator.accounts().streams[STREAM].waiting.records,
        2
    );
    std::fs::remove_file(&in_the_way)?;
    let folder = bench.objects();
    let accounts = bench.simulator.shutdown().await?;
    let mut contents: Vec<_> = delivered(&folder)?
        .into_iter()
        .map(|(_, content)| content)
        .collect();
    contents.sort();
    assert_eq!(contents, [b"a\n", b"b\n"]);
    assert_eq!(accounts.streams[STREAM].waiting.records, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_valid_request_gets_awss_error() -> Result<()> {
    let bench = Bench::start(|_| {}).await?;
    let addr = bench.simulator.addr();
    let post = |target: &str, signed: bool, body: &str| {
        let authorization = if signed {
            "\r\nAuthorization: AWS4-HMAC-SHA256 x"
        } else {
            ""
        };
        let head = format!("POST / HTTP/1.1\r\nX-Amz-Target: {target}{authorization}");
        raw(addr, &head, body)
    };
    let error = |name: &str| format!("\"__type\":\"{name}\"");
    let put = "Firehose_20150804.PutRecordBatch";

    let (status, body) = post("Firehose_20150804.Nonsense", true, "{}")?;
    assert!(
        status == 400 && body.contains(&error("UnknownOperationException")),
        "{body}"
    );
    let (status, body) = post("Kinesis_20131202.PutRecords", true, "{}")?;
    assert!(
        status == 400 && body.contains(&error("UnknownOperationException")),
        "{body}"
    );
    let (status, body) = post(put, false, "{}")?;
    assert!(
        status == 403 && body.contains(&error("MissingAuthenticationTokenException")),
        "{body}"
    );
    for malformed in ["{", "[]", r#"{"DeliveryStreamName":7}"#] {
        let (status, body) = post(put, true, malformed)?;
        assert!(
            status == 400 && body.contains(&error("SerializationException")),
            "{body}"
        );
    }
    let not_base64 = r#"{"DeliveryStreamName":"Changes","Records":[{"Data":"secret!"}]}"#;
    let (status, body) = post(put, true, not_base64)?;
    assert!(
        status == 400 && body.contains(&error("SerializationException")),
        "{body}"
    );
    assert!(!body.contains("secret"), "{body}");
    let (status, body) = post(put, true, "{}")?;
    assert!(
        status == 400 && body.contains("2 validation errors detected"),
        "{body}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_account_can_be_asked_for() -> Result<()> {
    let bench = Bench::start(|_| {}).await?;
    bench.put(&[b"abc"]).await?;
    let addr = bench.simulator.addr();
    assert_eq!(
        raw(addr, "GET /health HTTP/1.1", "")?,
        (200, "ok".to_owned())
    );
    let (status, body) = raw(addr, "GET /account HTTP/1.1", "")?;
    assert_eq!(status, 200);
    let account: serde_json::Value = serde_json::from_str(&body)?;
    assert_eq!(account["streams"][STREAM]["total"]["admitted_bytes"], 3);
    assert_eq!(
        account["streams"][STREAM]["seconds"][0]["admitted_records"],
        1
    );
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_and_a_stream_given_twice_are_errors_with_a_remedy() -> Result<()> {
    let bench = Bench::start(|_| {}).await?;
    let data = bench.objects();
    let options = Options {
        listen: bench.simulator.addr(),
        data: data.clone(),
        ..Options::default()
    };
    let error = Simulator::start(options)
        .await
        .expect_err("the address is taken");
    assert!(
        error.to_string().starts_with("cannot listen on 127.0.0.1:"),
        "{error}"
    );
    assert!(error.remedy().contains("--listen"));

    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let stream: hydrant::sim::StreamOption = STREAM.parse().map_err(anyhow::Error::msg)?;
    let options = Options {
        listen,
        data,
        streams: vec![stream; 2],
        ..Options::default()
    };
    let error = Simulator::start(options).await.expect_err("twice");
    assert_eq!(error.to_string(), "stream Changes is given more than once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_delivers_everything_and_exits_with_0() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut process = Command::new(env!("CARGO_BIN_EXE_hydrant"))
        .args([
            "sim",
            "--listen",
            "127.0.0.1:0",
            "--stream",
            STREAM,
            "--data",
        ])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdout = BufReader::new(process.stdout.take().context("no standard output")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    let (_, url) = line
        .trim()
        .split_once("AWS_ENDPOINT_URL_FIREHOSE=")
        .context("no endpoint")?;
    put(&client(url), &[b"one\n", b"two\n"]).await?;
    assert!(delivered(folder.path())?.is_empty());

    let signalled = Command::new("kill")
        .args(["-TERM", &process.id().to_string()])
        .status()?;
    assert!(signalled.success());
    assert!(process.wait()?.success());
    assert_eq!(delivered(folder.path())?[0].1, b"one\ntwo\n");
    let mut summary = String::new();
    stdout.read_to_string(&mut summary)?;
    assert_eq!(
        summary.trim(),
        "hydrant sim stopped: 2 records admitted, 0 refused, 2 delivered in 1 objects"
    );
    Ok(())
}
