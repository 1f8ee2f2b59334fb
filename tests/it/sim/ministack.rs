//! One suite for the two things that play ECS and CloudWatch here: ministack, which others wrote, and the
//! project's own simulator. What the simulator is taken for has to hold for both.
//!
//! What lives here: only what a client may rely on and what both do. What AWS refuses is the simulator's
//! alone (`sim_metrics.rs`): ministack refuses next to nothing, see [`testkit::ministack`].

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    Dimension, Metric, MetricDataQuery, MetricDatum, MetricStat, ScanBy, StandardUnit,
};
use aws_sdk_ecs::types::{Cluster, ClusterField, ContainerDefinition, LaunchType};
use hydrant::sim::{Options, Simulator};

use crate::setup::{self, aws_clients::Clients};
use testkit::emulator::{Emulator, Make};

/// The cluster that there is in both: its services, half of them on Fargate, and the tasks of each.
const CLUSTER: &str = "Web";
const SERVICES: usize = 12;
const TASKS_OF_EACH: usize = 2;

#[tokio::test]
async fn ministack_plays_ecs_and_cloudwatch() -> Result<()> {
    let ministack = tokio::task::spawn_blocking(|| Emulator::start(Make::Ministack)).await??;
    let clients = Clients::of(&ministack.endpoint_url());
    populate(&clients).await?;
    conforms(&clients)
        .await
        .with_context(|| format!("ministack said:\n{}", ministack.log()))
}

#[tokio::test]
async fn the_simulator_agrees_with_ministack() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("clusters.toml");
    let running = SERVICES * TASKS_OF_EACH;
    let step =
        format!("at = 0, running = {running}, pending = 0, services = {SERVICES}, fargate = 0.5");
    let text = format!("[[cluster]]\nname = \"{CLUSTER}\"\nsteps = [{{ {step} }}]\n");
    std::fs::write(&script, text)?;
    let simulator = Simulator::start(Options {
        ecs_script: Some(script),
        ..setup::simulator::options(&folder.path().join("objects"), &[])?
    })
    .await?;
    conforms(&Clients::of(&simulator.endpoint_url())).await
}

/// Gives ministack the cluster. It runs tasks in name only.
async fn populate(clients: &Clients) -> Result<()> {
    let ecs = &clients.ecs;
    ecs.create_cluster().cluster_name(CLUSTER).send().await?;
    let container = ContainerDefinition::builder()
        .name("app")
        .image("app")
        .memory(64);
    ecs.register_task_definition()
        .family("app")
        .container_definitions(container.build())
        .send()
        .await?;
    for number in 0..SERVICES {
        let launch_type = match number % 2 {
            0 => LaunchType::Ec2,
            _ => LaunchType::Fargate,
        };
        let request = ecs
            .create_service()
            .cluster(CLUSTER)
            .service_name(format!("service-{number}"))
            .task_definition("app")
            .launch_type(launch_type)
            .desired_count(i32::try_from(TASKS_OF_EACH)?);
        Box::pin(request.send()).await?;
    }
    Ok(())
}

/// The suite. The endpoint has [`CLUSTER`] and nothing else.
async fn conforms(clients: &Clients) -> Result<()> {
    clusters_are_described(clients).await?;
    services_are_listed_and_described(clients).await?;
    clusters_come_and_go(clients).await?;
    a_thousand_past_seconds_go_packed_and_are_read_back(clients).await?;
    values_and_counts_are_aggregated(clients).await
}

async fn clusters_are_described(clients: &Clients) -> Result<()> {
    let described = clients
        .ecs
        .describe_clusters()
        .clusters(CLUSTER)
        .clusters("Gone")
        .include(ClusterField::Statistics)
        .send()
        .await?;
    let [web] = described.clusters() else {
        anyhow::bail!("not one cluster: {described:?}")
    };
    assert_eq!(web.cluster_name(), Some(CLUSTER));
    assert_eq!(web.status(), Some("ACTIVE"));
    assert_eq!(counts(web), [24, 0, 12, 0]);
    let statistics: BTreeMap<_, _> = web
        .statistics()
        .iter()
        .filter_map(|pair| Some((pair.name()?, pair.value()?)))
        .collect();
    for (name, value) in [
        ("runningEC2TasksCount", "12"),
        ("runningFargateTasksCount", "12"),
        ("pendingEC2TasksCount", "0"),
        ("pendingFargateTasksCount", "0"),
        ("activeEC2ServiceCount", "6"),
        ("activeFargateServiceCount", "6"),
        ("drainingEC2ServiceCount", "0"),
        ("drainingFargateServiceCount", "0"),
    ] {
        assert_eq!(statistics.get(name), Some(&value), "{name}");
    }
    let [gone] = described.failures() else {
        anyhow::bail!("not one failure: {described:?}")
    };
    assert_eq!(gone.reason(), Some("MISSING"));
    let arn = web.cluster_arn().context("no ARN")?;
    let arn_of_gone = arn.replace(CLUSTER, "Gone");
    assert_eq!(gone.arn(), Some(&*arn_of_gone));

    // By their ARNs, and without what was not asked for. The default cluster is not there.
    let request = clients.ecs.describe_clusters();
    let by_arn = request.clusters(arn).clusters(&arn_of_gone).send().await?;
    assert_eq!(by_arn.clusters()[0].cluster_name(), Some(CLUSTER));
    assert!(by_arn.clusters()[0].statistics().is_empty());
    assert_eq!(by_arn.failures(), described.failures());
    let default = clients.ecs.describe_clusters().send().await?;
    assert!(default.clusters().is_empty());
    assert_eq!(default.failures()[0].reason(), Some("MISSING"));
    Ok(())
}

/// Running and pending tasks, active services, instances.
fn counts(cluster: &Cluster) -> [i32; 4] {
    [
        cluster.running_tasks_count(),
        cluster.pending_tasks_count(),
        cluster.active_services_count(),
        cluster.registered_container_instances_count(),
    ]
}

async fn services_are_listed_and_described(clients: &Clients) -> Result<()> {
    let pages = clients.ecs.list_services().cluster(CLUSTER).max_results(5);
    let arns: Vec<String> = pages
        .into_paginator()
        .items()
        .send()
        .collect::<Result<_, _>>()
        .await?;
    assert_eq!(arns.iter().collect::<BTreeSet<_>>().len(), SERVICES);
    assert_eq!(arns.len(), SERVICES, "a service is listed twice");
    let (mut desired, mut running, mut pending) = (0, 0, 0);
    for ten in arns.chunks(10) {
        let request = clients.ecs.describe_services().cluster(CLUSTER);
        let described = request.set_services(Some(ten.to_vec())).send().await?;
        assert!(described.failures().is_empty());
        assert_eq!(described.services().len(), ten.len());
        for service in described.services() {
            assert_eq!(service.status(), Some("ACTIVE"));
            desired += service.desired_count();
            running += service.running_count();
            pending += service.pending_count();
        }
    }
    assert_eq!((desired, running, pending), (24, 24, 0));

    let request = clients.ecs.describe_services().cluster(CLUSTER);
    let missing = request.services("other").send().await?;
    assert!(missing.services().is_empty());
    assert_eq!(missing.failures()[0].reason(), Some("MISSING"));
    let request = clients.ecs.describe_services().cluster("Gone");
    let error = request.services("other").send().await;
    let error = error.expect_err("no such cluster").into_service_error();
    assert!(error.is_cluster_not_found_exception(), "{error:?}");
    Ok(())
}

async fn clusters_come_and_go(clients: &Clients) -> Result<()> {
    let ecs = &clients.ecs;
    // Twice: the second one finds the first.
    for _ in 0..2 {
        let created = ecs.create_cluster().cluster_name("New").send().await?;
        let created = created.cluster().context("no cluster")?;
        assert_eq!(created.status(), Some("ACTIVE"));
        assert_eq!(counts(created), [0; 4]);
    }
    let services = ecs.list_services().cluster("New").send().await?;
    assert!(services.service_arns().is_empty());

    let deleted = ecs.delete_cluster().cluster("New").send().await?;
    let deleted = deleted.cluster().context("no cluster")?;
    assert_eq!(deleted.status(), Some("INACTIVE"));
    let again = ecs.delete_cluster().cluster("New").send().await;
    let again = again.expect_err("it is deleted").into_service_error();
    assert!(again.is_cluster_not_found_exception(), "{again:?}");
    // AWS may go on to describe it or not.
    let described = ecs.describe_clusters().clusters("New").send().await?;
    match (described.clusters(), described.failures()) {
        ([cluster], []) => assert_eq!(cluster.status(), Some("INACTIVE")),
        ([], [failure]) => assert_eq!(failure.reason(), Some("MISSING")),
        _ => anyhow::bail!("neither INACTIVE nor MISSING: {described:?}"),
    }
    let other = ecs.describe_clusters().clusters(CLUSTER).send().await?;
    assert_eq!(counts(&other.clusters()[0]), [24, 0, 12, 0]);
    Ok(())
}

async fn a_thousand_past_seconds_go_packed_and_are_read_back(clients: &Clients) -> Result<()> {
    // Whole minutes, all of them past.
    let end = now() / 60 * 60;
    let start = end - 1_020;
    let seconds = start..start + 1_000;
    let values: Vec<f64> = (0..1_000).map(|number| f64::from(number) / 2.0).collect();
    let data: Vec<_> = seconds
        .clone()
        .zip(&values)
        .map(|(second, &value)| datum(CLUSTER, second).value(value).build())
        .collect();
    let packed_before = clients.packed_count();
    put(clients, data.clone()).await?;
    assert_eq!(clients.packed_count(), packed_before + 1);
    // The same metric of another cluster is another metric.
    put(clients, vec![datum("Other", start).value(1e6).build()]).await?;

    let expected: Vec<_> = seconds.clone().zip(values.iter().copied()).collect();
    assert_eq!(
        read(clients, CLUSTER, 1, "Sum", start..end).await?,
        expected
    );
    let ten = read(clients, CLUSTER, 1, "Sum", start + 10..start + 20).await?;
    assert_eq!(ten, expected[10..20], "the end is exclusive");
    let minutes = read(clients, CLUSTER, 60, "SampleCount", start..end).await?;
    let counts: Vec<_> = minutes.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [[60.0; 16].as_slice(), &[40.0]].concat());
    let minutes = read(clients, CLUSTER, 60, "Average", start..start + 120).await?;
    assert_eq!(minutes, [(start, 14.75), (start + 60, 44.75)]);

    let listed = clients.cloudwatch.list_metrics().namespace("ECS").send();
    let listed: BTreeSet<_> = listed
        .await?
        .metrics()
        .iter()
        .map(|metric| format!("{:?} {:?}", metric.metric_name(), metric.dimensions()))
        .collect();
    let metric = |cluster| format!("{:?} {:?}", Some("RunningTask"), [dimension(cluster)]);
    assert_eq!(listed, [CLUSTER, "Other"].map(metric).into());

    // A reply was lost and the client sent again: the values stand there twice.
    put(clients, data).await?;
    let samples = read(clients, CLUSTER, 1, "SampleCount", start..end).await?;
    let twice: Vec<_> = seconds.map(|second| (second, 2.0)).collect();
    assert_eq!(samples, twice);
    let average = read(clients, CLUSTER, 1, "Average", start..end).await?;
    assert_eq!(average, expected);
    Ok(())
}

async fn values_and_counts_are_aggregated(clients: &Clients) -> Result<()> {
    let at = now() - 60;
    let counted = datum("Counted", at)
        .set_values(Some(vec![2.0, 5.0]))
        .set_counts(Some(vec![3.0, 1.0]))
        .build();
    put(clients, vec![counted]).await?;
    for (stat, expected) in [
        ("SampleCount", 4.0),
        ("Sum", 11.0),
        ("Average", 2.75),
        ("Minimum", 2.0),
        ("Maximum", 5.0),
    ] {
        let values = read(clients, "Counted", 1, stat, at..at + 1).await?;
        assert_eq!(values, [(at, expected)], "{stat}");
    }
    Ok(())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn dimension(cluster: &str) -> Dimension {
    let dimension = Dimension::builder().name("ClusterName");
    dimension.value(cluster).build()
}

fn datum(cluster: &str, second: i64) -> aws_sdk_cloudwatch::types::builders::MetricDatumBuilder {
    MetricDatum::builder()
        .metric_name("RunningTask")
        .dimensions(dimension(cluster))
        .timestamp(DateTime::from_secs(second))
        .unit(StandardUnit::Count)
        .storage_resolution(1)
}

async fn put(clients: &Clients, data: Vec<MetricDatum>) -> Result<()> {
    let request = clients.cloudwatch.put_metric_data().namespace("ECS");
    request.set_metric_data(Some(data)).send().await?;
    Ok(())
}

/// The start and the value of each period that has one, over all pages, oldest first.
async fn read(
    clients: &Clients,
    cluster: &str,
    period_s: i32,
    stat: &str,
    seconds: std::ops::Range<i64>,
) -> Result<Vec<(i64, f64)>> {
    let metric = Metric::builder()
        .namespace("ECS")
        .metric_name("RunningTask")
        .dimensions(dimension(cluster));
    let stat = MetricStat::builder()
        .metric(metric.build())
        .period(period_s)
        .stat(stat);
    let query = MetricDataQuery::builder().id("q").metric_stat(stat.build());
    let mut pages = clients
        .cloudwatch
        .get_metric_data()
        .metric_data_queries(query.build())
        .start_time(DateTime::from_secs(seconds.start))
        .end_time(DateTime::from_secs(seconds.end))
        .scan_by(ScanBy::TimestampAscending)
        .into_paginator()
        .page_size(400)
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page?;
        let [result] = page.metric_data_results() else {
            anyhow::bail!("not one result: {page:?}")
        };
        ensure!(result.timestamps().len() == result.values().len());
        let times = result.timestamps().iter().map(DateTime::secs);
        found.extend(times.zip(result.values().iter().copied()));
    }
    Ok(found)
}
