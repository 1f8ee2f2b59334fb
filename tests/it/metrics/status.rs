//! The status server of `hydrant metrics`, read by Prometheus' own client for Python.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use hydrant::sim::{Options, Simulator};
use testkit::cache::project;
use testkit::python::python_with_prometheus;

use super::{Running, Scene, any_port};
use crate::setup::agent::{PATIENCE, eventually};
use crate::setup::http::raw;

const CLUSTERS: &str = r#"
    [[cluster]]
    name = "Rolling"
    capacity_providers = ["spot"]
    steps = [
        { at = 0, running = 4, pending = 1, services = 1, instances = 1, desired = 6, deployments = 2, rollout = "IN_PROGRESS", failed = 3 },
    ]

    [[cluster]]
    name = "Gone"
    steps = [{ at = 0, running = 2 }, { at = 6, status = "MISSING" }]
"#;

/// Where the status server of a poller listens, whose port is any that is free.
fn address(scene: &Scene) -> Result<SocketAddr> {
    eventually("the status server listens", || {
        let log = scene.log()?;
        let found = log
            .split_once("at http://")
            .and_then(|(_, rest)| rest.split_once("/metrics"));
        found.map(|(address, _)| Ok(address.parse()?)).transpose()
    })
}

/// Waits until the text of the metrics is so.
fn metrics_when(address: SocketAddr, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
    eventually(what, || {
        let (status, text) = raw(address, "GET /metrics HTTP/1.1", "")?;
        // While it starts, there are none yet.
        Ok((status == 200 && is_so(&text)).then_some(text))
    })
}

/// Whether a value is there and above zero.
fn is_above_zero(text: &str, name: &str) -> bool {
    let line = text.lines().find(|line| line.starts_with(name));
    line.is_some_and(|line| !line.ends_with(" 0"))
}

/// What Prometheus reads: the values, by their names and labels.
fn read_by_prometheus(address: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let output = Command::new(python_with_prometheus()?)
        .arg(project().join("tests/python/prometheus_peer.py"))
        .arg(format!("http://{address}/metrics"))
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    let samples: Vec<(String, BTreeMap<String, String>, f64)> =
        serde_json::from_slice(&output.stdout)?;
    let named = samples.into_iter().map(|(name, labels, value)| {
        let labels = labels
            .into_iter()
            .map(|(name, value)| format!(" {name}={value}"));
        (name + &labels.collect::<String>(), value)
    });
    Ok(named.collect())
}

/// A poller of those clusters, with all that can be sampled.
async fn start() -> Result<(Scene, Simulator, Running, SocketAddr)> {
    let config = "status.listen = \"127.0.0.1:0\"\n[metrics]\nclusters = [\"Rolling\", \"Gone\"]\n\
                  services = true\ndeployments = true\ncapacity_providers = true\nlaunch_types = true";
    let scene = Scene::of(CLUSTERS, config)?;
    let simulator = scene.simulator(any_port()).await?;
    let poller = scene.start(&simulator)?;
    let address = address(&scene)?;
    let sampled = [
        "hydrant_ecs_running_tasks{region=\"us-east-1\",cluster=\"Gone\"}",
        "hydrant_ecs_service_rollout_state{",
        "hydrant_ecs_capacity_provider_running_tasks{",
    ];
    metrics_when(address, "everything is sampled", |text| {
        sampled.iter().all(|part| text.contains(part))
    })?;
    Ok((scene, simulator, poller, address))
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_is_sampled_and_counted() -> Result<()> {
    let (_scene, _simulator, mut poller, address) = start().await?;
    let read = read_by_prometheus(address)?;
    let value = |name: &str| {
        read.get(name)
            .copied()
            .with_context(|| format!("{name}: {read:#?}"))
    };
    let cluster = "cluster=Rolling region=us-east-1";
    let service = format!("{cluster} service=service-0000");
    for (name, expected) in [
        (format!("running_tasks {cluster}"), 4),
        (
            "launch_type_running_tasks cluster=Rolling launch_type=EC2 region=us-east-1".to_owned(),
            4,
        ),
        (
            format!(
                "capacity_provider_registered_container_instances capacity_provider=spot {cluster}"
            ),
            1,
        ),
        (format!("service_running_tasks {service}"), 4),
        (format!("service_pending_tasks {service}"), 1),
        (format!("service_desired_tasks {service}"), 6),
        (format!("service_deployments {service}"), 2),
        (format!("service_rollout_state {service}"), 1),
        (format!("service_failed_tasks {service}"), 3),
        (format!("service_missing_tasks {service}"), 2),
    ] {
        let value = value(&format!("hydrant_ecs_{name}"))?;
        assert_eq!(value.to_bits(), f64::from(expected).to_bits(), "{name}");
    }
    for name in [
        "hydrant_ticks_total result=sampled",
        "hydrant_api_calls_total call=DescribeServices",
        "hydrant_tick_lateness_seconds_count",
        "hydrant_cost_usd_per_day",
    ] {
        assert!(value(name)? > 0.0, "{name}");
    }
    for name in [
        "hydrant_api_throttles_total service=ecs",
        "hydrant_datums_dropped_total reason=overflow",
        "hydrant_backlog_oldest_age_seconds region=us-east-1",
    ] {
        assert!(value(name)? >= 0.0, "{name}");
    }
    poller.terminate()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_not_shown_and_nobody_listens_after_the_end() -> Result<()> {
    let (_scene, _simulator, mut poller, address) = start().await?;
    // At once: a value of before is not shown beside the first tick that found nothing.
    let text = metrics_when(address, "the cluster is gone", |text| {
        is_above_zero(text, "hydrant_ticks_total{result=\"missing\"}")
    })?;
    assert!(!text.contains("cluster=\"Gone\""), "{text}");
    let rolling = "hydrant_ecs_running_tasks{region=\"us-east-1\",cluster=\"Rolling\"} 4\n";
    assert!(text.contains(rolling), "{text}");
    let healthy = (200, "ok\n".to_owned());
    assert_eq!(raw(address, "GET /healthz HTTP/1.1", "")?, healthy);
    for other in [
        "GET / HTTP/1.1",
        "GET /metrics/ HTTP/1.1",
        "POST /metrics HTTP/1.1",
    ] {
        assert_eq!(raw(address, other, "")?.0, 404, "{other}");
    }
    poller.terminate()?;
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_calls_are_counted_by_service() -> Result<()> {
    let scene = Scene::new("status.listen = \"127.0.0.1:0\"\nmetrics.clusters = [\"Web\"]")?;
    let faults = scene.folder.path().join("faults.toml");
    let throttled = |call: &str, when: &str| {
        format!("[[fault]]\ncall = \"{call}\"\n{when}\nerror = \"ThrottlingException\"\n")
    };
    let text = throttled("ecs:DescribeClusters", "every = 3")
        + &throttled("cloudwatch:PutMetricData", "request = 1");
    std::fs::write(&faults, text)?;
    let simulator = Simulator::start(Options {
        listen: any_port(),
        data: scene.folder.path().join("objects"),
        ecs_script: Some(scene.folder.path().join("clusters.toml")),
        faults: Some(faults),
        ..Options::default()
    })
    .await?;
    let mut poller = scene.start(&simulator)?;
    let address = address(&scene)?;
    metrics_when(address, "both services have throttled", |text| {
        [
            "hydrant_api_throttles_total{service=\"ecs\"}",
            "hydrant_api_throttles_total{service=\"cloudwatch\"}",
            "hydrant_ticks_total{result=\"throttled\"}",
        ]
        .iter()
        .all(|name| is_above_zero(text, name))
    })?;
    poller.terminate()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_cloudwatch_is_seen_in_the_backlog() -> Result<()> {
    let nobody = TcpListener::bind(any_port())?.local_addr()?;
    let scene = Scene::new(&format!(
        "status.listen = \"127.0.0.1:0\"\nshutdown_grace = \"100ms\"\n\
         [metrics]\nclusters = [\"Web\"]\ncloudwatch_endpoint = \"http://{nobody}\""
    ))?;
    let simulator = scene.simulator(any_port()).await?;
    let _poller = scene.start(&simulator)?;
    let address = address(&scene)?;
    let text = metrics_when(address, "values wait and grow old", |text| {
        [
            "hydrant_backlog_datums{",
            "hydrant_backlog_oldest_age_seconds{",
        ]
        .iter()
        .all(|name| is_above_zero(text, name))
    })?;
    assert!(
        !is_above_zero(&text, "hydrant_datums_published_total"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_no_request_are_cut_off_and_keep_nobody_out() -> Result<()> {
    let scene = Scene::new("status.listen = \"127.0.0.1:0\"\nmetrics.clusters = [\"Web\"]")?;
    let simulator = scene.simulator(any_port()).await?;
    let mut poller = scene.start(&simulator)?;
    let address = address(&scene)?;
    let mut silent = Vec::new();
    // More than there may be at once.
    for _ in 0..150 {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: ")?;
        silent.push(socket);
    }
    metrics_when(address, "a client is served", |text| {
        text.contains("hydrant_ticks_total")
    })?;
    for mut socket in silent {
        let mut answer = Vec::new();
        // Closed or reset, but within the time that a test has.
        let end = socket.read_to_end(&mut answer);
        let is_late = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(
            !is_late && !answer.starts_with(b"HTTP/1.1 200"),
            "{answer:?}"
        );
    }
    poller.terminate()
}

#[test]
fn an_address_that_cannot_be_had_is_told_with_its_remedy() -> Result<()> {
    let listener = TcpListener::bind(any_port())?;
    let taken = listener.local_addr()?;
    for (listen, says) in [
        (taken.to_string(), "another port in status.listen"),
        ("203.0.113.1:9187".to_owned(), "an address of this machine"),
        ("localhost:9187".to_owned(), "like 127.0.0.1:9187"),
    ] {
        let scene = Scene::new(&format!(
            "status.listen = \"{listen}\"\nmetrics.clusters = [\"Web\"]"
        ))?;
        let output = scene
            .command("http://127.0.0.1:1", &["--for", "3s"])
            .output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{log}");
        assert!(log.contains(says), "{log}");
    }
    Ok(())
}
