//! `hydrant metrics`, the real binary, against the simulator's ECS and CloudWatch.
//!
//! What must hold in every scene: published seconds + counted gaps = elapsed seconds, and no
//! second twice.

mod discovered;
mod faults;
mod listed;
mod refused;
mod status;
mod templates;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use hydrant::sim::{MetricAccount, Options, QuotaPreset, Simulator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::setup::agent::eventually;
use testkit::emulator::{Emulator, Make};
use testkit::program::program;

const CLUSTERS: &str = r#"
    [[cluster]]
    name = "Web"
    loop = 4
    steps = [
        { at = 0, running = 4, pending = 0, services = 2, instances = 1, fargate = 0.5 },
        { at = 2, running = 7, pending = 1 },
    ]

    [[cluster]]
    name = "Gone"
    steps = [{ at = 0, status = "MISSING" }]

    [[cluster]]
    name = "Still"
    steps = [{ at = 0, running = 3, services = 1 }]
"#;

/// A folder with a script and a configuration, and simulators.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new(config: &str) -> Result<Self> {
        Self::of(CLUSTERS, config)
    }

    /// With a script of its own.
    pub(crate) fn of(clusters: &str, config: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("clusters.toml"), clusters)?;
        fs::write(folder.path().join("metrics.toml"), config)?;
        Ok(Self { folder })
    }

    pub(crate) async fn simulator(&self, listen: SocketAddr) -> Result<Simulator> {
        Ok(Simulator::start(self.options(listen, None)).await?)
    }

    /// With a file of faults.
    async fn simulator_with(&self, faults: PathBuf) -> Result<Simulator> {
        Ok(Simulator::start(self.options(any_port(), Some(faults))).await?)
    }

    fn options(&self, listen: SocketAddr, faults: Option<PathBuf>) -> Options {
        Options {
            listen,
            data: self.folder.path().join("objects"),
            quota: QuotaPreset::UsEast1,
            ecs_script: Some(self.folder.path().join("clusters.toml")),
            faults,
            ..Options::default()
        }
    }

    pub(crate) fn command(&self, endpoint_url: &str, arguments: &[&str]) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
        command
            .arg("metrics")
            .arg("--config")
            .arg(self.folder.path().join("metrics.toml"))
            .args(arguments)
            .env("AWS_ENDPOINT_URL", endpoint_url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("HOME", self.folder.path())
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_CA_BUNDLE")
            .env_remove("AWS_CONFIG_FILE")
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end without holding up the simulator, which is in this process.
    pub(crate) async fn run(&self, simulator: &Simulator, arguments: &[&str]) -> Result<Output> {
        self.run_at(&simulator.endpoint_url(), arguments).await
    }

    async fn run_at(&self, endpoint_url: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command(endpoint_url, arguments);
        Ok(spawn_blocking(move || command.output()).await??)
    }

    fn start(&self, simulator: &Simulator) -> Result<Running> {
        let log = fs::File::create(self.folder.path().join("log"))?;
        let child = self
            .command(&simulator.endpoint_url(), &[])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Running(child))
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }
}

/// A poller, killed when dropped.
struct Running(Child);

impl Running {
    /// Sends a signal, by its name without SIG.
    fn signal(&self, name: &str) -> Result<()> {
        let command = format!("kill -s {name} {}", self.0.id());
        ensure!(
            Command::new("sh")
                .args(["-c", &command])
                .status()?
                .success()
        );
        Ok(())
    }

    /// SIGTERM, and a good end.
    fn terminate(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let status = eventually("the poller ends", || Ok(self.0.try_wait()?))?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The number before a word, as in `12 sampled`.
pub(crate) fn number_before(line: &str, word: &str) -> Result<u64> {
    let (before, _) = line.split_once(word).context(line.to_owned())?;
    let number = before.trim_end().rsplit([' ', '(']).next();
    number.unwrap_or_default().parse().context(line.to_owned())
}

/// The line of the books at the end of a log.
pub(crate) fn books(log: &str) -> Result<String> {
    let line = log.lines().rfind(|line| line.contains(" sampled, "));
    Ok(line.context(log.to_owned())?.to_owned())
}

/// Checks every metric of one sampled cluster: no second twice, none missing between the first
/// and the last unless a gap was counted for it.
fn check(metrics: &[MetricAccount], sampled: u64, gaps: u64) -> Result<()> {
    ensure!(!metrics.is_empty(), "nothing was published");
    for metric in metrics {
        ensure!(metric.repeated_seconds() == 0, "{metric:?}");
        ensure!(metric.seconds() == sampled, "{sampled} sampled: {metric:?}");
        let first = metric.runs.first().context("no second")?.first;
        let last = metric.runs.last().context("no second")?.last;
        let elapsed = last.abs_diff(first) + 1;
        ensure!(elapsed <= sampled + gaps, "{metric:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_second_is_published_once_or_counted_as_a_gap() -> Result<()> {
    let scene = Scene::new("metrics.clusters = [\"Web\", \"Gone\"]\nmetrics.launch_types = true")?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", "6s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    let books = books(&log)?;
    // Two clusters, each with its launch types.
    let ticks = number_before(&books, " ticks:")?;
    let sampled = number_before(&books, " sampled,")?;
    let gaps = number_before(&books, " gaps")?;
    let missing = number_before(&books, " missing")?;
    assert_eq!(ticks, sampled + gaps, "{books}");
    assert_eq!(ticks % 4, 0, "{books}");
    assert!(missing > 0 && missing.is_multiple_of(2), "{books}");
    assert!(log.contains("no sample of Gone (missing)"), "{log}");
    let accounts = simulator.shutdown().await?;
    assert_eq!(
        accounts.metrics.len(),
        4 + 6,
        "a missing cluster has no values"
    );
    check(&accounts.metrics, sampled / 2, gaps)?;
    let puts = accounts.calls_of("cloudwatch:PutMetricData");
    let polls = accounts.calls_of("ecs:DescribeClusters");
    assert_eq!(puts.total(), number_before(&books, " PutMetricData")?);
    assert_eq!(polls.total(), number_before(&books, " DescribeClusters")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_dimensions_and_values_are_those_of_the_recipe() -> Result<()> {
    let scene = Scene::new(
        "[metrics]\nclusters = [\"arn:aws:ecs:us-east-1:123456789012:cluster/Web\"]\n\
         dimensions = { Stage = \"test\" }\nnamespace = \"Fleet\"",
    )?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", "3s", "--dry-run"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    let printed = String::from_utf8(output.stdout)?;
    let accounts = simulator.shutdown().await?;
    assert_eq!(accounts.calls_of("cloudwatch:PutMetricData").total(), 0);
    let sampled = number_before(&books(&log)?, " sampled,")?;
    assert_eq!(printed.lines().count() as u64, 4 * sampled, "{printed}");
    ensure!(log.contains("dry run, as if CloudWatch had got"), "{log}");
    for line in printed.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let [time, "Fleet", metric, "ClusterName=Web,Stage=test", value] = words[..] else {
            panic!("{line}");
        };
        assert!(time.ends_with('Z'), "{line}");
        let values: &[&str] = match metric {
            "RunningTask" => &["4", "7"],
            "PendingTask" => &["0", "1"],
            "ActiveServices" => &["2"],
            "RegisteredContainerInstances" => &["1"],
            other => panic!("{other}"),
        };
        assert!(values.contains(&value), "{line}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_cloudwatch_is_refilled_with_the_original_seconds() -> Result<()> {
    // A port on which nobody listens until the outage is over.
    let address = TcpListener::bind(any_port())?.local_addr()?;
    let scene = Scene::new(&format!(
        "[metrics]\nclusters = [\"Web\"]\ncloudwatch_endpoint = \"http://{address}\"",
    ))?;
    let ecs = scene.simulator(any_port()).await?;
    let mut poller = scene.start(&ecs)?;
    let has_polled = |count| {
        let polls = ecs.accounts().calls_of("ecs:DescribeClusters").answered;
        Ok((polls >= count).then_some(polls))
    };
    eventually("polls go on in the outage", || has_polled(5))?;
    ensure!(scene.log()?.contains("datums are kept"), "{}", scene.log()?);
    let cloudwatch = scene.simulator(address).await?;
    eventually("the outage is over", || {
        let accepted = cloudwatch.accounts().calls_of("cloudwatch:PutMetricData");
        Ok((accepted.answered > 0).then_some(()))
    })?;
    poller.terminate()?;
    let log = scene.log()?;
    ensure!(log.contains("accepts datums again"), "{log}");
    let books = books(&log)?;
    let sampled = number_before(&books, " sampled,")?;
    assert!(sampled >= 4, "{books}");
    assert_eq!(number_before(&books, " dropped")?, 0, "{books}");
    check(
        &cloudwatch.shutdown().await?.metrics,
        sampled,
        number_before(&books, " gaps")?,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seconds_of_a_suspended_process_are_gaps_and_nothing_else_is_lost() -> Result<()> {
    let scene = Scene::new("metrics.clusters = [\"Web\"]")?;
    let simulator = scene.simulator(any_port()).await?;
    let mut poller = scene.start(&simulator)?;
    let polls = || {
        simulator
            .accounts()
            .calls_of("ecs:DescribeClusters")
            .answered
    };
    let wait_for = |count| eventually("polls go on", || Ok((polls() >= count).then_some(())));
    wait_for(3)?;
    poller.signal("STOP")?;
    // Longer than a process may be silent without having been stopped.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let before = polls();
    poller.signal("CONT")?;
    wait_for(before + 3)?;
    poller.terminate()?;
    let books = books(&scene.log()?)?;
    let sampled = number_before(&books, " sampled,")?;
    let gaps = number_before(&books, " gaps")?;
    assert_eq!(number_before(&books, " ticks:")?, sampled + gaps, "{books}");
    assert!(number_before(&books, " suspended")? >= 5, "{books}");
    check(&simulator.shutdown().await?.metrics, sampled, gaps)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_at_the_end_is_counted_and_is_an_error() -> Result<()> {
    let address = TcpListener::bind(any_port())?.local_addr()?;
    let scene = Scene::new(&format!(
        "shutdown_grace = \"100ms\"\n[metrics]\nclusters = [\"Web\"]\n\
         cloudwatch_endpoint = \"http://{address}\"",
    ))?;
    let ecs = scene.simulator(any_port()).await?;
    let output = scene.run(&ecs, &["--for", "3s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{log}");
    let books = books(&log)?;
    let lost = number_before(&log, " datums are lost")?;
    assert_eq!(lost, number_before(&books, " pending")?, "{log}");
    assert_eq!(lost, 4 * number_before(&books, " sampled,")?, "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn seconds_in_which_ecs_is_away_are_gaps() -> Result<()> {
    let address = TcpListener::bind(any_port())?.local_addr()?;
    let scene = Scene::new(&format!(
        "[metrics]\nclusters = [\"Web\"]\necs_endpoint = \"http://{address}\"",
    ))?;
    let cloudwatch = scene.simulator(any_port()).await?;
    let output = scene.run(&cloudwatch, &["--for", "3s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{log}");
    assert!(log.contains("nothing was sampled: "), "{log}");
    let books = books(&log)?;
    let ticks = number_before(&books, " ticks:")?;
    assert!(ticks >= 2, "{books}");
    assert_eq!(number_before(&books, " gaps")?, ticks, "{books}");
    assert!(cloudwatch.shutdown().await?.metrics.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_and_wrong_configurations_end_with_a_remedy() -> Result<()> {
    let scene = Scene::new("metrics.clusters = [\"Web\"]")?;
    let simulator = scene.simulator(any_port()).await?;
    let mut command = scene.command(&simulator.endpoint_url(), &["--for", "3s"]);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let output = spawn_blocking(move || command.output()).await??;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{log}");
    assert!(log.contains("remedy: give AWS credentials"), "{log}");

    for (config, code, says) in [
        ("", 78, "metrics.clusters"),
        (
            "metrics.clusters = [\"Web\"]\nmetrics.publish_evry = 1",
            78,
            "did you mean `publish_every`?",
        ),
        (
            "metrics.clusters = [\"Web\"]\nmetrics.budget_usd_per_day = 0.01",
            78,
            "cost at least $0.0",
        ),
    ] {
        let scene = Scene::new(config)?;
        let output = scene.run(&simulator, &["--for", "3s"]).await?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(says), "{log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_stretches_publishing_and_says_so() -> Result<()> {
    let scene = Scene::new(
        "metrics.clusters = [\"Web\"]\nmetrics.budget_usd_per_day = 0.06\nmetrics.flush_changes = false",
    )?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", "3s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    assert!(log.contains("instead of 10s"), "{log}");
    let books = books(&log)?;
    assert_eq!(number_before(&books, " PutMetricData")?, 1, "{books}");
    check(
        &simulator.shutdown().await?.metrics,
        number_before(&books, " sampled,")?,
        3,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_and_dashboard_name_exactly_what_is_published() -> Result<()> {
    let scene = Scene::new(
        "[metrics]\nclusters = [\"Web\"]\ndimensions = { Stage = \"test\" }\n\
         [[metrics.group]]\nclusters = [\"we-b\", \"we_b\"]\nregion = \"eu-west-1\"\n\
         role_arn = \"arn:aws:iam::210987654321:role/hydrant\"",
    )?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--print-alarms"]).await?;
    let alarms: Value = serde_json::from_slice(&output.stdout)?;
    let resources = alarms["Resources"].as_object().context("no resources")?;
    assert_eq!(resources.len(), 6);
    for (id, alarm) in resources {
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        let alarm = &alarm["Properties"];
        assert_eq!(alarm["Period"], 10);
        assert_eq!(alarm["Namespace"], "ECS");
        assert_eq!(alarm["Dimensions"].as_array().map(Vec::len), Some(2));
        assert!(
            ["RunningTask", "PendingTask"]
                .contains(&alarm["MetricName"].as_str().unwrap_or_default())
        );
    }
    let conditional = resources.values().filter(|it| it["Condition"] == "Group1");
    assert_eq!(conditional.count(), 4);
    assert!(
        alarms["Conditions"]["Group1"]
            .to_string()
            .contains("210987654321")
    );

    let output = scene.run(&simulator, &["--print-dashboard"]).await?;
    let dashboard: Value = serde_json::from_slice(&output.stdout)?;
    let widgets = dashboard["widgets"].as_array().context("no widgets")?;
    assert_eq!(widgets.len(), 6);
    let first = &widgets[0]["properties"];
    let line = json!(["ECS", "RunningTask", "ClusterName", "Web", "Stage", "test"]);
    assert_eq!(first["metrics"][0], line);
    assert_eq!(
        (&first["region"], &first["period"]),
        (&json!("us-east-1"), &json!(1))
    );
    assert_eq!(widgets[5]["properties"]["region"], "eu-west-1");
    assert!(
        simulator.accounts().calls.is_empty(),
        "nothing is asked of AWS"
    );
    Ok(())
}

/// How many data a metric of a cluster has in CloudWatch, or one of its service, and their
/// largest value.
async fn read_back(
    cloudwatch: &Client,
    cluster: &str,
    service: Option<&str>,
    name: &str,
) -> Result<(f64, f64)> {
    let now = std::time::SystemTime::now();
    let hour = Duration::from_hours(1);
    let dimensions = [("ClusterName", Some(cluster)), ("ServiceName", service)];
    let dimensions = dimensions
        .into_iter()
        .filter_map(|(name, value)| Some(Dimension::builder().name(name).value(value?).build()));
    let metric = Metric::builder()
        .namespace("ECS")
        .metric_name(name)
        .set_dimensions(Some(dimensions.collect()))
        .build();
    let mut request = cloudwatch
        .get_metric_data()
        .start_time(DateTime::from(now - hour))
        .end_time(DateTime::from(now + hour));
    for (id, stat) in [("count", "SampleCount"), ("most", "Maximum")] {
        let stat = MetricStat::builder()
            .metric(metric.clone())
            .period(3_600)
            .stat(stat)
            .build();
        let query = MetricDataQuery::builder().id(id).metric_stat(stat);
        request = request.metric_data_queries(query.build());
    }
    let answer = request.send().await?;
    let result = |id| {
        let mut results = answer.metric_data_results().iter();
        let result = results.find(|result| result.id() == Some(id));
        result.map(|result| result.values().to_vec())
    };
    let counts = result("count").context("no counts")?;
    let values = result("most").context("no values")?;
    let most = values.into_iter().fold(f64::NAN, f64::max);
    Ok((counts.into_iter().sum(), most))
}

/// The service of each cluster there.
const SERVICE: &str = "checkout";

/// An account and region of ministack, with a cluster in it that has a service.
async fn place(
    endpoint_url: &str,
    (account, region): (&str, &'static str),
    cluster: &str,
) -> Result<Client> {
    let credentials = Credentials::new(account, "test", None, None, "test");
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .endpoint_url(endpoint_url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let ecs = aws_sdk_ecs::Client::new(&aws);
    ecs.create_cluster().cluster_name(cluster).send().await?;
    let service = ecs.create_service().cluster(cluster).service_name(SERVICE);
    // Nothing of this name runs there, so that all of it stays desired.
    let service = service.task_definition("none").desired_count(3);
    service.send().await?;
    Ok(Client::new(&aws))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_poller_serves_regions_and_assumed_roles_of_an_emulator_that_is_not_ours()
-> Result<()> {
    let ministack = spawn_blocking(|| Emulator::start(Make::Ministack)).await??;
    let url = ministack.endpoint_url();
    let mut places = Vec::new();
    for (account, region, cluster) in [
        ("000000000000", "us-east-1", "Web"),
        ("000000000000", "eu-west-1", "Web"),
        ("210987654321", "us-east-1", "Elsewhere"),
    ] {
        places.push((place(&url, (account, region), cluster).await?, cluster));
    }
    let scene = Scene::new(
        "[metrics]\nclusters = [\"Web\", \"Gone\", \"arn:aws:ecs:eu-west-1:000000000000:cluster/Web\"]\n\
         services = true\ndeployments = true\n\
         [[metrics.group]]\nclusters = [\"Elsewhere\"]\n\
         role_arn = \"arn:aws:iam::210987654321:role/hydrant\"",
    )?;
    let output = scene.run_at(&url, &["--for", "5s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}{}", ministack.log());
    let books = books(&log)?;
    let ticks = number_before(&books, " ticks:")?;
    let sampled = number_before(&books, " sampled,")?;
    assert_eq!(ticks, sampled + number_before(&books, " gaps")?, "{books}");
    assert!(number_before(&books, " missing")? > 0, "{books}");
    let mut published = 0.0;
    for (cloudwatch, cluster) in &places {
        for (service, name, value) in [
            (None, "RunningTask", 0.0),
            (Some(SERVICE), "DesiredTask", 3.0),
        ] {
            let (count, most) = read_back(cloudwatch, cluster, service, name).await?;
            assert!(count > 0.0, "{cluster}: {log}");
            assert!((most - value).abs() < f64::EPSILON, "{name}: {most}");
            published += count;
        }
    }
    // Every sampled second of every cluster and service, and not one twice.
    assert_eq!(format!("{published:.0}"), sampled.to_string(), "{books}");
    Ok(())
}
