//! `hydrant metrics` on what it finds in a cluster by itself: services and capacity providers.
//!
//! What must hold: each second of each of them is published once or counted as a gap, also when
//! they come and go, and no more calls are made than the share of ECS's buckets allows.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use hydrant::sim::{Accounts, MetricAccount};
use serde_json::{Value, json};

use super::{Scene, any_port, books, number_before};

const SERVICES: &str = r#"
    [[cluster]]
    name = "Web"
    capacity_providers = ["spot", "on-demand"]
    steps = [{ at = 0, running = 53, pending = 7, services = 25, instances = 3, fargate = 0.2 }]
"#;

/// Runs the poller for so long; what the simulator has counted, and the log.
pub(super) async fn run(clusters: &str, config: &str, length: &str) -> Result<(Accounts, String)> {
    let scene = Scene::of(clusters, config)?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", length]).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{log}");
    Ok((simulator.shutdown().await?, log))
}

/// The accounts of one metric, by what this dimension has.
pub(super) fn by_dimension<'a>(
    accounts: &'a Accounts,
    metric: &str,
    dimension: &str,
) -> BTreeMap<&'a str, &'a MetricAccount> {
    let named = accounts.metrics.iter().filter(|it| it.name == metric);
    let by = named.filter_map(|it| Some((it.dimensions.get(dimension)?.as_str(), it)));
    by.collect()
}

/// No second twice, and all of them in one run.
pub(super) fn ensure_whole(metric: &MetricAccount) -> Result<()> {
    ensure!(metric.repeated_seconds() == 0, "{metric:?}");
    ensure!(metric.runs.len() == 1, "{metric:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_capacity_providers_are_sampled_like_clusters() -> Result<()> {
    let config = "metrics.clusters = [\"Web\"]\nmetrics.services = true\n\
                  metrics.capacity_providers = true";
    let (accounts, log) = run(SERVICES, config, "6s").await?;
    let books = books(&log)?;
    let sampled = number_before(&books, " sampled,")?;
    let gaps = number_before(&books, " gaps")?;
    assert_eq!(number_before(&books, " ticks:")?, sampled + gaps, "{books}");
    assert_eq!(accounts.metrics.len(), 4 + 25 * 3 + 2 * 3);
    // A target has three metrics, a cluster four.
    let seconds: u64 = accounts.metrics.iter().map(MetricAccount::seconds).sum();
    let of_cluster = by_dimension(&accounts, "ActiveServices", "ClusterName")["Web"].seconds();
    assert_eq!(seconds, 3 * sampled + of_cluster, "{books}");
    for metric in &accounts.metrics {
        ensure!(metric.repeated_seconds() == 0, "{metric:?}");
    }
    for (action, most) in [
        ("ecs:DescribeServices", 3 * 8),
        ("ecs:DescribeContainerInstances", 8),
        ("ecs:ListServices", 1),
        ("ecs:ListContainerInstances", 1),
    ] {
        let calls = accounts.calls_of(action);
        assert!((1..=most).contains(&calls.answered), "{action}: {calls:?}");
        assert_eq!(calls.throttled, 0, "{action}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_services_and_providers_add_up_to_the_clusters() -> Result<()> {
    let config = "metrics.clusters = [\"Web\"]\nmetrics.services = true\n\
                  metrics.capacity_providers = true";
    let scene = Scene::of(SERVICES, config)?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", "4s", "--dry-run"]).await?;
    let printed = String::from_utf8(output.stdout)?;
    // The second in the middle is there of everything.
    let seconds: Vec<_> = printed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let second = seconds
        .get(seconds.len() / 2)
        .context("nothing is printed")?;
    let mut sums = BTreeMap::<(&str, &str), f64>::new();
    for line in printed.lines().filter(|line| line.starts_with(second)) {
        let [_, "ECS", metric, dimensions, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let mut kind = ["ServiceName", "CapacityProvider"].into_iter();
        let kind = kind.rfind(|kind| dimensions.contains(kind)).unwrap_or("");
        *sums.entry((kind, metric)).or_default() += value.parse::<f64>()?;
    }
    for (key, sum) in [
        (("", "RunningTask"), 53.0),
        (("ServiceName", "RunningTask"), 53.0),
        (("ServiceName", "PendingTask"), 7.0),
        (("ServiceName", "DesiredTask"), 60.0),
        // Four fifths of the tasks are on EC2.
        (("CapacityProvider", "RunningTask"), 42.0),
        (("CapacityProvider", "RegisteredContainerInstances"), 3.0),
    ] {
        assert_eq!(
            sums.get(&key),
            Some(&sum),
            "{key:?} of {second}:\n{printed}"
        );
    }
    let spot = "RegisteredContainerInstances CapacityProvider=spot,ClusterName=Web 2";
    assert!(printed.contains(spot), "{printed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_published_as_far_as_ecs_says_them_and_are_paid_for() -> Result<()> {
    let clusters = r#"
        [[cluster]]
        name = "Rolling"
        steps = [{ at = 0, running = 3, pending = 1, services = 1, desired = 5, deployments = 2, rollout = "FAILED", failed = 4 }]

        [[cluster]]
        name = "Other"
        steps = [{ at = 0, running = 2, services = 1, deployments = 0 }]
    "#;
    let config =
        "[metrics]\nclusters = [\"Rolling\", \"Other\"]\nservices = true\ndeployments = true";
    let scene = Scene::of(clusters, config)?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", "4s", "--dry-run"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    // Seven metrics for each service, and four for each cluster: $0.30 a month for each.
    assert!(log.contains("metrics: 22, every 1 s"), "{log}");
    let printed = String::from_utf8(output.stdout)?;
    let values = |metric: &str, cluster: &str| {
        let what = format!(" ECS {metric} ClusterName={cluster},ServiceName=service-0000 ");
        let lines = printed.lines().filter_map(|line| line.split_once(&what));
        lines.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    let seconds = |cluster| values("DesiredTask", cluster).len();
    assert!(seconds("Rolling") > 0 && seconds("Other") > 0, "{printed}");
    for (metric, of_rolling, of_other) in [
        ("DeploymentCount", Some("2"), Some("0")),
        ("RolloutState", Some("2"), None),
        ("FailedTask", Some("4"), None),
        ("MissingTask", Some("2"), Some("0")),
    ] {
        for (cluster, value) in [("Rolling", of_rolling), ("Other", of_other)] {
            let expected = value.map_or(vec![], |value| vec![value; seconds(cluster)]);
            assert_eq!(values(metric, cluster), expected, "{metric} of {cluster}");
        }
    }
    // What does not exist is no gap.
    let books = books(&log)?;
    assert!(!books.contains(" failed"), "{books}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_services_and_metrics_that_are_asked_for_are_published() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nservices = true\n\
                  include_services = [\"service-000?\"]\nexclude_services = [\"*3\"]\n\
                  include_metrics = [\"RunningTask\", \"DesiredTask\"]\nexclude_metrics = [\"RunningTask\"]";
    let (accounts, log) = run(SERVICES, config, "4s").await?;
    let books = books(&log)?;
    let names = accounts.metrics.iter().map(|it| it.name.as_str());
    assert!(names.into_iter().all(|name| name == "DesiredTask"), "{log}");
    let desired = by_dimension(&accounts, "DesiredTask", "ServiceName");
    assert_eq!(desired.len(), 9, "{log}");
    assert!(!desired.contains_key("service-0003"), "{log}");
    let seconds: u64 = desired.values().map(|it| it.seconds()).sum();
    let sampled = number_before(&books, " sampled,")?;
    // The cluster is sampled, too, with no metric left.
    assert!(seconds > 0 && seconds < sampled, "{books}");
    assert_eq!(number_before(&books, " datums:")?, seconds, "{books}");
    assert!(!books.contains(" repeated"), "{books}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_come_and_go_leave_no_hole_and_repeat_nothing() -> Result<()> {
    let clusters = r#"
        [[cluster]]
        name = "Web"
        steps = [
            { at = 0, running = 30, services = 12, instances = 1 },
            { at = 7, services = 25 },
            { at = 14, services = 5 },
        ]
    "#;
    let config = "metrics.clusters = [\"Web\"]\nmetrics.services = true";
    let (accounts, log) = run(clusters, config, "24s").await?;
    let books = books(&log)?;
    let sampled = number_before(&books, " sampled,")?;
    let gaps = number_before(&books, " gaps")?;
    assert_eq!(number_before(&books, " ticks:")?, sampled + gaps, "{books}");
    let running = by_dimension(&accounts, "RunningTask", "ServiceName");
    assert_eq!(running.len(), 25, "{log}");
    let seconds: u64 = accounts.metrics.iter().map(MetricAccount::seconds).sum();
    let of_cluster = by_dimension(&accounts, "ActiveServices", "ClusterName")["Web"];
    assert_eq!(seconds, 3 * sampled + of_cluster.seconds(), "{books}");
    for metric in running.values() {
        ensure_whole(metric)?;
    }
    // Those that were always there are there in every second, whoever came or went beside them.
    let (first, last) = (of_cluster.runs[0].first, of_cluster.runs[0].last);
    for number in 0..5 {
        let name = format!("service-{number:04}");
        let run = &running[name.as_str()].runs[0];
        assert!(
            run.first <= first && run.last >= last - 1,
            "{name}: {run:?}"
        );
    }
    // Those that went were missing until the list said so.
    assert!(number_before(&books, " missing")? > 0, "{books}");
    let of_new = running["service-0024"].seconds();
    assert!(of_new < of_cluster.seconds(), "{of_new}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_share_of_the_calls_makes_sampling_slower_and_says_so() -> Result<()> {
    let config = "metrics.clusters = [\"Web\"]\nmetrics.services = true\nmetrics.ecs_share = 0.05";
    let (accounts, log) = run(SERVICES, config, "11s").await?;
    let says = "services in us-east-1 are sampled every 5 s instead of 1 s";
    assert!(log.contains(says), "{log}");
    // One call a second, and a second's calls at once at the start.
    let calls = accounts.calls_of("ecs:DescribeServices").total();
    let lists = accounts.calls_of("ecs:ListServices").total();
    assert!(calls >= 3 && calls + lists <= 11 + 2, "{calls} and {lists}");
    let running = by_dimension(&accounts, "RunningTask", "ServiceName");
    assert_eq!(running.len(), 25, "{log}");
    for metric in running.values() {
        ensure!(metric.repeated_seconds() == 0, "{metric:?}");
        let seconds: Vec<_> = metric.runs.iter().map(|run| run.first).collect();
        ensure!(
            seconds.windows(2).all(|two| two[1] - two[0] == 5),
            "{metric:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_searches_for_what_is_not_in_the_configuration() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nservices = true\nlaunch_types = true\n\
                  dimensions = { Stage = \"test\" }";
    let scene = Scene::of(SERVICES, config)?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--print-dashboard"]).await?;
    let dashboard: Value = serde_json::from_slice(&output.stdout)?;
    let widgets = dashboard["widgets"].as_array().context("no widgets")?;
    let expected = [
        "tasks",
        "services and instances",
        "by launch type",
        "each service",
    ];
    assert_eq!(widgets.len(), expected.len());
    for (widget, title) in widgets.iter().zip(expected) {
        assert_eq!(widget["properties"]["title"], format!("Web: {title}"));
    }
    let metrics = |index: usize| &widgets[index]["properties"]["metrics"];
    let line = json!([
        "ECS",
        "RunningTask",
        "ClusterName",
        "Web",
        "Stage",
        "test",
        "LaunchType",
        "EC2"
    ]);
    assert_eq!(metrics(2)[0], line);
    let search = r#"SEARCH('{ECS,ClusterName,Stage,ServiceName} MetricName="RunningTask" ClusterName="Web" Stage="test"', 'Maximum', 1)"#;
    assert_eq!(metrics(3)[0][0]["expression"], search);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_leaves_no_service_is_warned_of() -> Result<()> {
    let config =
        "[metrics]\nclusters = [\"Web\"]\nservices = true\ninclude_services = [\"none-*\"]";
    let (_, log) = run(SERVICES, config, "3s").await?;
    assert!(log.contains("none of the 25 services is sampled"), "{log}");
    Ok(())
}
