//! The simulator's ECS and CloudWatch, driven by the SDKs that they are made for.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Context as _, Result};
use aws_sdk_cloudwatch::error::ProvideErrorMetadata as _;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDataResult, MetricDatum, MetricStat, ScanBy,
    StandardUnit,
};
use aws_sdk_ecs::types::ClusterField;
use hydrant::sim::{Options, QuotaPreset, SecondRun, SimError, Simulator};
use tempfile::TempDir;

use crate::setup::aws_clients::Clients;

const WEB: &str = r#"
    [[cluster]]
    name = "Web"
    steps = [{ at = 0, running = 30, pending = 2, services = 23, instances = 4, fargate = 0.5 }]

    [[cluster]]
    name = "Gone"
    steps = [{ at = 0, status = "MISSING" }]
"#;

/// A simulator with two scripted clusters, and clients without retries.
struct Bench {
    simulator: Simulator,
    ecs: aws_sdk_ecs::Client,
    cloudwatch: aws_sdk_cloudwatch::Client,
    clients: Clients,
    _folder: TempDir,
}

impl Bench {
    async fn start(quota: QuotaPreset) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("clusters.toml");
        std::fs::write(&script, WEB)?;
        let simulator = Simulator::start(Options {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            data: folder.path().join("objects"),
            quota,
            ecs_script: Some(script),
            ..Options::default()
        })
        .await?;
        let clients = Clients::of(&simulator.endpoint_url());
        Ok(Self {
            simulator,
            ecs: clients.ecs.clone(),
            cloudwatch: clients.cloudwatch.clone(),
            clients,
            _folder: folder,
        })
    }

    /// The code of the error for these data; empty if they were taken.
    async fn put(&self, data: Vec<MetricDatum>) -> String {
        let request = self.cloudwatch.put_metric_data().namespace("ECS");
        match request.set_metric_data(Some(data)).send().await {
            Ok(_) => String::new(),
            Err(error) => error.code().unwrap_or("none").to_owned(),
        }
    }

    async fn read(
        &self,
        name: &str,
        (period, stat): (i32, &str),
        (from, to): (i64, i64),
    ) -> Result<MetricDataResult> {
        let metric = Metric::builder()
            .namespace("ECS")
            .metric_name(name)
            .dimensions(cluster_dimension())
            .build();
        let stat = MetricStat::builder()
            .metric(metric)
            .period(period)
            .stat(stat)
            .build();
        let query = MetricDataQuery::builder().id("q").metric_stat(stat).build();
        let output = self
            .cloudwatch
            .get_metric_data()
            .metric_data_queries(query)
            .start_time(DateTime::from_secs(from))
            .end_time(DateTime::from_secs(to))
            .scan_by(ScanBy::TimestampAscending)
            .send()
            .await?;
        let result = output.metric_data_results().first().cloned();
        result.context("no result")
    }
}

fn cluster_dimension() -> Dimension {
    Dimension::builder()
        .name("ClusterName")
        .value("Web")
        .build()
}

fn datum(name: &str, second: i64, value: f64) -> MetricDatum {
    MetricDatum::builder()
        .metric_name(name)
        .dimensions(cluster_dimension())
        .timestamp(DateTime::from_secs(second))
        .value(value)
        .unit(StandardUnit::Count)
        .storage_resolution(1)
        .build()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[tokio::test]
async fn a_minute_of_four_metrics_goes_packed_in_one_call_and_is_read_back() -> Result<()> {
    const NAMES: [&str; 4] = ["RunningTask", "PendingTask", "ActiveServices", "Instances"];
    let bench = Bench::start(QuotaPreset::Off).await?;
    let start = now() - 120;
    let mut value = 0.0;
    let data = (start..start + 60).flat_map(|second| NAMES.map(|name| (name, second)));
    let data: Vec<_> = data
        .map(|(name, second)| {
            value += 0.5;
            datum(name, second, value)
        })
        .collect();
    assert_eq!(data.len(), 240);
    // Over 10 KiB the SDK packs the body.
    assert_eq!(bench.put(data).await, "");
    assert_eq!(bench.clients.packed_count(), 1);

    let read = bench
        .read("RunningTask", (1, "Sum"), (start, start + 60))
        .await?;
    assert_eq!(read.timestamps().len(), 60);
    assert_eq!(read.timestamps()[59], DateTime::from_secs(start + 59));
    let expected: Vec<f64> = (0..60)
        .map(|second| 0.5 + 2.0 * f64::from(second))
        .collect();
    assert_eq!(read.values(), expected);
    let read = bench
        .read("Instances", (1, "SampleCount"), (start, start + 1))
        .await?;
    assert_eq!(read.values(), [1.0]);
    let none = bench
        .read("Instances", (1, "Sum"), (start - 9, start))
        .await?;
    assert!(none.values().is_empty());

    let listed = bench
        .cloudwatch
        .list_metrics()
        .namespace("ECS")
        .send()
        .await?;
    assert_eq!(listed.metrics().len(), 4);

    let accounts = bench.simulator.shutdown().await?;
    assert_eq!(accounts.calls_of("cloudwatch:PutMetricData").answered, 1);
    assert_eq!(accounts.calls_of("cloudwatch:GetMetricData").answered, 3);
    for metric in &accounts.metrics {
        let run = SecondRun {
            first: start,
            last: start + 59,
            data: 1,
        };
        assert_eq!(metric.runs, [run], "{}", metric.name);
        assert_eq!(metric.dimensions["ClusterName"], "Web");
    }
    Ok(())
}

#[tokio::test]
async fn the_account_tells_gaps_and_repeated_seconds() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let start = now() - 60;
    let published: Vec<i64> = (0..50).filter(|second| second % 10 != 9).collect();
    let data = published
        .iter()
        .map(|&second| datum("A", start + second, 1.0));
    assert_eq!(bench.put(data.collect()).await, "");
    assert_eq!(bench.put(vec![datum("A", start, 2.0)]).await, "");
    let accounts = bench.simulator.accounts();
    let metric = &accounts.metrics[0];
    assert_eq!(metric.seconds() + 5, 50);
    assert_eq!(metric.repeated_seconds(), 1);
    assert_eq!(
        [0, 1, 9].map(|second| metric.data_at(start + second)),
        [2, 1, 0]
    );
    assert_eq!((metric.data, metric.forgotten_seconds), (46, 0));
    Ok(())
}

#[tokio::test]
async fn one_bad_datum_fails_its_request_with_the_errors_that_the_sdk_knows() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let at = now();
    let bad = |value| vec![datum("A", at, 1.0), datum("A", at, value)];
    for value in [f64::NAN, f64::INFINITY, 2.0_f64.powi(361)] {
        assert_eq!(bench.put(bad(value)).await, "InvalidParameterValue");
    }
    let week_s = 7 * 86_400;
    for (second, expected) in [
        (at - 2 * week_s + 60, ""),
        (at - 2 * week_s - 60, "InvalidParameterValue"),
        (at + 7_200 - 60, ""),
        (at + 7_200 + 60, "InvalidParameterValue"),
    ] {
        assert_eq!(bench.put(vec![datum("T", second, 1.0)]).await, expected);
    }
    let many = |count| vec![datum("M", at, 1.0); count];
    assert_eq!(bench.put(many(1_000)).await, "");
    assert_eq!(bench.put(many(1_001)).await, "InvalidParameterValue");
    assert_eq!(bench.put(many(0)).await, "MissingParameter");
    let long = MetricDatum::builder()
        .metric_name("L")
        .set_values(Some(vec![1.0; 151]))
        .build();
    assert_eq!(bench.put(vec![long]).await, "InvalidParameterValue");
    let wide: Vec<_> = (0..31)
        .map(|n| {
            Dimension::builder()
                .name(format!("d{n}"))
                .value("v")
                .build()
        })
        .collect();
    let wide = MetricDatum::builder()
        .metric_name("W")
        .value(1.0)
        .set_dimensions(Some(wide))
        .build();
    assert_eq!(bench.put(vec![wide]).await, "InvalidParameterValue");

    let error = bench
        .cloudwatch
        .put_metric_data()
        .namespace("AWS/ECS")
        .metric_data(datum("A", at, 1.0))
        .send()
        .await
        .expect_err("the namespace is reserved")
        .into_service_error();
    assert!(error.is_invalid_parameter_value_exception(), "{error:?}");

    let accounts = bench.simulator.accounts();
    let names: Vec<_> = accounts.metrics.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["M", "T"], "nothing of a failed request is stored");
    let calls = accounts.calls_of("cloudwatch:PutMetricData");
    assert_eq!((calls.answered, calls.throttled, calls.refused), (3, 0, 10));
    assert_eq!(accounts.errors["InvalidParameterValue"], 9);
    Ok(())
}

#[tokio::test]
async fn a_request_over_a_megabyte_is_too_large_however_well_it_packs() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let name = "n".repeat(255);
    let wide: Vec<_> = (0..10)
        .map(|n| {
            Dimension::builder()
                .name(format!("{n}{}", &name[1..]))
                .value(&name)
                .build()
        })
        .collect();
    let datum = MetricDatum::builder()
        .metric_name("A")
        .value(1.0)
        .set_dimensions(Some(wide))
        .build();
    assert_eq!(bench.put(vec![datum.clone(); 100]).await, "");
    assert_eq!(bench.put(vec![datum; 200]).await, "RequestEntityTooLarge");
    Ok(())
}

#[tokio::test]
async fn cloudwatch_throttles_as_the_sdk_expects() -> Result<()> {
    let bench = Bench::start(QuotaPreset::UsEast1).await?;
    let at = now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let client = bench.cloudwatch.clone();
        calls.spawn(async move {
            let mut codes = Vec::new();
            for _ in 0..50 {
                let request = client.put_metric_data().namespace("ECS");
                if let Err(error) = request.metric_data(datum("A", at, 1.0)).send().await {
                    let status = error.raw_response().map(|raw| raw.status().as_u16());
                    codes.push((status, error.code().map(str::to_owned)));
                }
            }
            codes
        });
    }
    let codes: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    let throttling = (Some(400), Some("Throttling".to_owned()));
    assert!(codes.iter().all(|code| *code == throttling), "{codes:?}");
    let counts = bench
        .simulator
        .accounts()
        .calls_of("cloudwatch:PutMetricData");
    assert_eq!(counts.total(), 2_000);
    assert_eq!(counts.throttled, codes.len() as u64);
    assert!(counts.answered >= 500, "{counts:?}");
    Ok(())
}

#[tokio::test]
async fn clusters_are_described_with_failures_and_statistics() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let described = bench
        .ecs
        .describe_clusters()
        .clusters("Web")
        .clusters("Gone")
        .clusters("arn:aws:ecs:us-east-1:123456789012:cluster/Never")
        .include(ClusterField::Statistics)
        .send()
        .await?;
    let [web] = described.clusters() else {
        anyhow::bail!("not one cluster")
    };
    assert_eq!(web.status(), Some("ACTIVE"));
    let counts = (web.running_tasks_count(), web.pending_tasks_count());
    assert_eq!(counts, (30, 2));
    assert_eq!(web.active_services_count(), 23);
    assert_eq!(web.registered_container_instances_count(), 4);
    let statistic = |name: &str| {
        let found = web
            .statistics()
            .iter()
            .find(|pair| pair.name() == Some(name));
        found.and_then(|pair| pair.value())
    };
    assert_eq!(statistic("runningEC2TasksCount"), Some("15"));
    assert_eq!(statistic("pendingFargateTasksCount"), Some("1"));
    let failures: Vec<_> = described
        .failures()
        .iter()
        .map(|failure| (failure.arn().unwrap_or_default(), failure.reason()))
        .collect();
    let arn = |name: &str| format!("arn:aws:ecs:us-east-1:123456789012:cluster/{name}");
    let (gone, never) = (arn("Gone"), arn("Never"));
    assert_eq!(
        failures,
        [(&*gone, Some("MISSING")), (&*never, Some("MISSING"))]
    );

    let hundred = (0..100).map(|n| format!("c{n}")).collect::<Vec<_>>();
    let request = bench.ecs.describe_clusters();
    let described = request.set_clusters(Some(hundred.clone())).send().await?;
    assert_eq!(described.failures().len(), 100);
    let request = bench.ecs.describe_clusters().set_clusters(Some(hundred));
    let error = request
        .clusters("c")
        .send()
        .await
        .expect_err("101 clusters");
    assert!(error.into_service_error().is_invalid_parameter_exception());
    Ok(())
}

#[tokio::test]
async fn a_deleted_cluster_is_inactive_and_has_no_services() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let created = bench
        .ecs
        .create_cluster()
        .cluster_name("New")
        .send()
        .await?;
    let status = created.cluster().and_then(|cluster| cluster.status());
    assert_eq!(status, Some("ACTIVE"));
    for name in ["New", "Web"] {
        bench.ecs.delete_cluster().cluster(name).send().await?;
        let described = bench.ecs.describe_clusters().clusters(name).send().await?;
        assert_eq!(described.clusters()[0].status(), Some("INACTIVE"));
        assert_eq!(described.clusters()[0].running_tasks_count(), 0);
        let list = bench.ecs.list_services().cluster(name).send().await;
        let list = list
            .expect_err("the cluster was deleted")
            .into_service_error();
        assert!(list.is_cluster_not_found_exception());
        let request = bench.ecs.describe_services().cluster(name);
        let services = request.services("service-0000").send().await;
        let services = services.expect_err("the cluster was deleted");
        assert!(
            services
                .into_service_error()
                .is_cluster_not_found_exception()
        );
        let again = bench.ecs.delete_cluster().cluster(name).send().await;
        let again = again.expect_err("it is deleted").into_service_error();
        assert!(again.is_cluster_not_found_exception());
    }
    Ok(())
}

#[tokio::test]
async fn services_come_in_pages_and_their_tasks_add_up() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let first = bench.ecs.list_services().cluster("Web").send().await?;
    assert_eq!(first.service_arns().len(), 10);
    let pages = bench.ecs.list_services().cluster("Web").max_results(9);
    let arns: Vec<String> = pages
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await?;
    assert_eq!(arns.len(), 23);
    let (mut running, mut desired) = (0, 0);
    for ten in arns.chunks(10) {
        let request = bench.ecs.describe_services().cluster("Web");
        let described = request.set_services(Some(ten.to_vec())).send().await?;
        assert!(described.failures().is_empty());
        assert_eq!(described.services().len(), ten.len());
        for service in described.services() {
            running += service.running_count();
            desired += service.desired_count();
        }
    }
    assert_eq!((running, desired), (30, 32));
    let request = bench
        .ecs
        .describe_services()
        .cluster("Web")
        .services("other");
    let missing = request.send().await?;
    assert_eq!(missing.failures()[0].reason(), Some("MISSING"));
    let request = bench.ecs.describe_services().cluster("Web");
    let eleven = request.set_services(Some(arns[..11].to_vec())).send().await;
    let eleven = eleven.expect_err("11 services").into_service_error();
    assert!(eleven.is_invalid_parameter_exception());
    Ok(())
}

#[tokio::test]
async fn ecs_throttles_reads() -> Result<()> {
    let bench = Bench::start(QuotaPreset::UsEast1).await?;
    let mut codes = Vec::new();
    for _ in 0..500 {
        if let Err(error) = bench.ecs.describe_clusters().clusters("Web").send().await {
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            codes.push((status, error.code().map(str::to_owned)));
        }
    }
    let expected = (Some(400), Some("ThrottlingException".to_owned()));
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == expected));
    let accounts = bench.simulator.accounts();
    let counts = accounts.calls_of("ecs:DescribeClusters");
    assert_eq!(
        (counts.total(), counts.throttled),
        (500, codes.len() as u64)
    );
    assert!(counts.answered >= 50, "{counts:?}");
    assert_eq!(accounts.errors["ThrottlingException"], counts.throttled);
    Ok(())
}

#[tokio::test]
async fn another_protocol_or_no_signature_gets_an_error_of_its_own() -> Result<()> {
    let bench = Bench::start(QuotaPreset::Off).await?;
    let addr = bench.simulator.addr();
    let ask = async |head: String| tokio::task::spawn_blocking(move || raw(addr, &head)).await?;
    let path = "POST /service/GraniteServiceVersion20100801/operation";
    let cbor = "HTTP/1.1\r\nsmithy-protocol: rpc-v2-cbor";
    let answer = ask(format!("{path}/PutMetricData HTTP/1.1")).await?;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = ask(format!("{path}/PutMetricAlarm {cbor}")).await?;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = ask(format!("{path}/PutMetricData {cbor}")).await?;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let signed = format!("{path}/PutMetricData {cbor}\r\nAuthorization: x");
    let answer = ask(signed.clone()).await?;
    assert!(
        answer.contains("x-amzn-query-error: SerializationException;Sender"),
        "{answer}"
    );
    let answer = ask(format!("{signed}\r\nContent-Encoding: br")).await?;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let target = "X-Amz-Target: AmazonEC2ContainerServiceV20141113";
    let answer = ask(format!("POST / HTTP/1.1\r\n{target}.DescribeClusters")).await?;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = ask(format!("POST / HTTP/1.1\r\n{target}.RunTask")).await?;
    assert!(answer.contains("UnknownOperationException"), "{answer}");
    Ok(())
}

/// One request without a body by hand: the status line, the headers, and what of the body is text.
fn raw(addr: SocketAddr, head: &str) -> Result<String> {
    let mut socket = TcpStream::connect(addr)?;
    write!(
        socket,
        "{head}\r\nHost: sim\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_script_that_is_not_one_stops_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("clusters.toml");
    let options = Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.path().join("objects"),
        ecs_script: Some(script.clone()),
        ..Options::default()
    };
    let missing = Simulator::start(options.clone()).await;
    assert!(matches!(missing, Err(SimError::ReadScript { .. })));
    std::fs::write(&script, "[[cluster]]\nname = \"a\"\nsteps = []")?;
    let empty = Simulator::start(options).await;
    assert!(matches!(empty, Err(SimError::Script { .. })));
    Ok(())
}
