//! `hydrant metrics` on clusters that are not named but found: by patterns and tags, within `max_clusters` and the budget.
//!
//! What must hold: clusters that come and go have each second once or as a gap, and cost nobody else a second.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hydrant::sim::MetricAccount;
use serde_json::Value;

use super::listed::{by_dimension, ensure_whole, run};
use super::{Scene, any_port, books, number_before};

const PROD: &str = r#"
    [[cluster]]
    name = "Web"
    steps = [{ at = 0, running = 3 }]

    [[cluster]]
    name = "prod-1"
    tags = { Stage = "prod" }
    steps = [{ at = 0, running = 4, services = 2 }]

    [[cluster]]
    name = "prod-2"
    tags = { Stage = "prod" }
    steps = [
        { at = 0, status = "MISSING" },
        { at = 3, status = "ACTIVE", running = 5, services = 1 },
        { at = 24, status = "INACTIVE" },
        { at = 27, status = "ACTIVE" },
    ]

    [[cluster]]
    name = "prod-x"
    steps = [{ at = 0, running = 9 }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_come_and_go_and_come_back_leave_no_hole_and_repeat_nothing() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\", \"prod-*\"]\nexclude_clusters = [\"*-x\"]\nservices = true";
    let (accounts, log) = run(PROD, config, "50s").await?;
    let books = books(&log)?;
    let sampled = number_before(&books, " sampled,")?;
    let gaps = number_before(&books, " gaps")?;
    assert_eq!(number_before(&books, " ticks:")?, sampled + gaps, "{books}");
    let clusters = by_dimension(&accounts, "ActiveServices", "ClusterName");
    let names: Vec<_> = clusters.keys().copied().collect();
    assert_eq!(names, ["Web", "prod-1", "prod-2"], "{log}");
    // The estimate counts only what is there: four metrics of a cluster, three of a service.
    let estimates: Vec<_> = log.lines().filter(|it| it.contains("clusters: ")).collect();
    for (clusters, metrics) in [("clusters: 2, ", vec![14]), ("clusters: 3, ", vec![18, 21])] {
        let of = estimates.iter().filter(|it| it.contains(clusters));
        let is_true = |it: &&&str| {
            metrics
                .iter()
                .any(|count| it.contains(&format!("metrics: {count}, ")))
        };
        assert_eq!(of.clone().filter(is_true).count(), of.count(), "{log}");
    }
    // A cluster has four metrics, a service three.
    let of_clusters: u64 = clusters.values().map(|it| it.seconds()).sum();
    let seconds: u64 = accounts.metrics.iter().map(MetricAccount::seconds).sum();
    assert_eq!(seconds, 3 * sampled + of_clusters, "{books}");
    for metric in &accounts.metrics {
        ensure!(metric.repeated_seconds() == 0, "{metric:?}");
    }
    for name in ["Web", "prod-1"] {
        ensure_whole(clusters[name])?;
    }
    // There, away and there again; when it was gone its seconds were not counted for long.
    assert_eq!(clusters["prod-2"].runs.len(), 2, "{log}");
    assert!(gaps < 20, "{books}");
    for line in [
        "patterns: new prod-2; 2 now",
        "patterns: gone prod-2; 1 now",
    ] {
        assert!(
            log.contains(line.trim_start_matches("patterns: ")),
            "{line}: {log}"
        );
    }
    assert!(log.contains("no sample of prod-2 (inactive)"), "{log}");
    let lists = accounts.calls_of("ecs:ListClusters");
    // One may be under way at the end.
    let unfinished = lists.total() - number_before(&books, " ListClusters")?;
    assert!(unfinished <= 1, "{books}");
    assert!((3..=8).contains(&lists.answered), "{lists:?}");
    let estimate = "(metrics.max_clusters; now 1)";
    assert!(log.contains("up to $") && log.contains(estimate), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_matches_nothing_waits_for_a_cluster_with_the_tags() -> Result<()> {
    let config = "[metrics]\nclusters = [\"*\"]\nexclude_clusters = [\"prod-1\"]\n\
                  cluster_tags = { Stage = \"prod\" }";
    let (accounts, log) = run(PROD, config, "22s").await?;
    let says = "no cluster in us-east-1 matches the patterns";
    assert!(log.contains(says), "{log}");
    let clusters = by_dimension(&accounts, "RunningTask", "ClusterName");
    assert_eq!(
        clusters.keys().copied().collect::<Vec<_>>(),
        ["prod-2"],
        "{log}"
    );
    ensure_whole(clusters["prod-2"])
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clusters_than_are_allowed_are_refused_at_the_start_and_left_out_later() -> Result<()>
{
    let scene = Scene::of(PROD, "[metrics]\nclusters = [\"*\"]\nmax_clusters = 2")?;
    let simulator = scene.simulator(any_port()).await?;
    let output = scene.run(&simulator, &["--for", "3s"]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{log}");
    let says = "match 3 clusters, and metrics.max_clusters is 2";
    assert!(log.contains(says), "{log}");
    let bounded = async |bound: &str, says: &str| -> Result<()> {
        let config = format!("[metrics]\nclusters = [\"*\"]\n{bound}");
        let (accounts, log) = run(PROD, &config, "34s").await?;
        let clusters = by_dimension(&accounts, "RunningTask", "ClusterName");
        let names: Vec<_> = clusters.keys().copied().collect();
        assert_eq!(names, ["Web", "prod-1", "prod-x"], "{bound}: {log}");
        for metric in clusters.values() {
            ensure_whole(metric)?;
        }
        let warnings = log.lines().filter(|line| line.contains(says));
        let warnings: Vec<_> = warnings.filter(|it| it.contains("not sampled")).collect();
        assert_eq!(warnings.len(), 1, "{log}");
        assert!(
            warnings[0].contains("1 clusters in us-east-1 match"),
            "{log}"
        );
        Ok(())
    };
    let says = "metrics.budget_usd_per_day has no room";
    tokio::try_join!(
        bounded("max_clusters = 3", "metrics.max_clusters = 3 is reached"),
        bounded("budget_usd_per_day = 0.15", says),
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_must_fit_the_budget_with_its_services() -> Result<()> {
    // 18 metrics, and 7 of the new one, at $0.30 a month; there is room for 24.
    let config = "[metrics]\nclusters = [\"*\"]\nservices = true\nbudget_usd_per_day = 0.243";
    let (accounts, log) = run(PROD, config, "22s").await?;
    let clusters = by_dimension(&accounts, "ActiveServices", "ClusterName");
    let names: Vec<_> = clusters.keys().copied().collect();
    assert_eq!(names, ["Web", "prod-1", "prod-x"], "{log}");
    let says = "metrics.budget_usd_per_day has no room";
    assert!(log.contains(says) && !log.contains("too small"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_beyond_the_budget_are_sampled_and_the_price_is_told() -> Result<()> {
    let script = r#"
        [[cluster]]
        name = "prod-1"
        steps = [{ at = 0, running = 4, services = 1 }, { at = 6, services = 3 }]
    "#;
    let config = "[metrics]\nclusters = [\"prod-*\"]\nservices = true\nbudget_usd_per_day = 0.09";
    let (accounts, log) = run(script, config, "14s").await?;
    let services = by_dimension(&accounts, "RunningTask", "ServiceName");
    assert_eq!(services.len(), 3, "{log}");
    for says in [
        "at least $0.141; the services of prod-1 changed",
        "publishing every 70s instead of 10s",
        "metrics: 13, every 1 s: 172800 calls of ECS (free) and 1234 PutMetricData, $0.141 a day; this is more than metrics.budget_usd_per_day",
    ] {
        assert_eq!(log.matches(says).count(), 1, "{says}: {log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_need_names_and_a_dashboard_searches_for_clusters() -> Result<()> {
    let of = async |clusters: &str, print: &str| {
        let scene = Scene::of(PROD, &format!("metrics.clusters = {clusters}"))?;
        let simulator = scene.simulator(any_port()).await?;
        scene.run(&simulator, &[print]).await
    };
    let alarms = of("[\"prod-*\"]", "--print-alarms").await?;
    let log = String::from_utf8_lossy(&alarms.stderr);
    assert_eq!(alarms.status.code(), Some(78), "{log}");
    assert!(log.contains("has only patterns"), "{log}");
    let alarms = of("[\"prod-*\", \"Web\"]", "--print-alarms").await?;
    let log = String::from_utf8_lossy(&alarms.stderr);
    assert!(
        log.contains("no alarms are printed of clusters that patterns match"),
        "{log}"
    );
    let template: Value = serde_json::from_slice(&alarms.stdout)?;
    let resources = template["Resources"].as_object().context("no resources")?;
    assert_eq!(resources.len(), 2);
    let dashboard = of("[\"prod-*\"]", "--print-dashboard").await?;
    let dashboard: Value = serde_json::from_slice(&dashboard.stdout)?;
    let first = &dashboard["widgets"][0]["properties"];
    assert_eq!(first["title"], "all clusters: tasks");
    let search = r#"SEARCH('{ECS,ClusterName} MetricName="RunningTask"', 'Maximum', 1)"#;
    assert_eq!(first["metrics"][0][0]["expression"], search);
    assert_eq!(
        first["metrics"][0][0]["label"],
        "RunningTask ${PROP('Dim.ClusterName')}"
    );
    Ok(())
}

/// Answers of ECS that do not come, for some seconds.
async fn run_with(
    faults: &str,
    clusters: &str,
    config: &str,
    length: &str,
) -> Result<(Option<i32>, String)> {
    let scene = Scene::of(clusters, config)?;
    let file = scene.folder.path().join("faults.toml");
    fs::write(&file, faults)?;
    let simulator = scene.simulator_with(file).await?;
    let output = scene.run(&simulator, &["--for", length]).await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    simulator.shutdown().await?;
    Ok((output.status.code(), log))
}

const UNLISTED: &str =
    "[[fault]]\ncall = \"ecs:ListClusters\"\nuntil = 3\nerror = \"InternalFailure\"";

#[tokio::test(flavor = "multi_thread")]
async fn seconds_before_the_first_list_are_gaps_and_the_price_is_unknown() -> Result<()> {
    let config = "metrics.clusters = [\"prod-1\", \"W*\"]";
    let (code, log) = run_with(UNLISTED, PROD, config, "10s").await?;
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("price unknown until ECS lists") && log.contains("now unknown"),
        "{log}"
    );
    let books = books(&log)?;
    // One target that is named, and one that is not known and then found.
    assert!(number_before(&books, " failed")? > 0, "{books}");
    assert!(
        number_before(&books, " ticks:")?.is_multiple_of(2),
        "{books}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_list_that_comes_late_is_held_to_the_same_bounds() -> Result<()> {
    let config = "[metrics]\nclusters = [\"*\"]\nmax_clusters = 1";
    let late = run_with(UNLISTED, PROD, config, "30s");
    let config = "metrics.clusters = [\"*\"]";
    let never = "[[fault]]\ncall = \"ecs:ListClusters\"\nerror = \"InternalFailure\"";
    let never = run_with(never, PROD, config, "4s");
    let config = "metrics.clusters = [\"none-*\"]";
    let none = run_with(UNLISTED, PROD, config, "10s");
    let ((late, late_log), (never, log), (none, none_log)) = tokio::try_join!(late, never, none)?;
    assert_eq!(late, Some(78), "{late_log}");
    assert!(late_log.contains("metrics.max_clusters is 1"), "{late_log}");
    assert_eq!(never, Some(69), "{log}");
    let books = books(&log)?;
    assert!(number_before(&books, " failed")? >= 3, "{books}");
    assert_eq!(none, Some(69), "{none_log}");
    assert!(
        none_log.contains("no cluster in us-east-1 matches"),
        "{none_log}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_refused_later_cost_no_second_and_are_told_once() -> Result<()> {
    let fault = |error: &str| {
        format!("[[fault]]\ncall = \"ecs:ListClusters\"\nfrom = 2\nuntil = 22\nerror = \"{error}\"")
    };
    let config = "metrics.clusters = [\"W*\"]";
    let (denied, throttled) = (fault("AccessDeniedException"), fault("ThrottlingException"));
    let runs = tokio::try_join!(
        run_with(&denied, PROD, config, "45s"),
        run_with(&throttled, PROD, config, "45s")
    )?;
    for (code, log) in [runs.0, runs.1] {
        assert_eq!(code, Some(0), "{log}");
        let books = books(&log)?;
        assert_eq!(number_before(&books, " gaps")?, 0, "{books}");
        for line in ["cannot be listed", "can be listed again"] {
            assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_match_that_goes_is_warned_of_and_the_end_of_an_outage_told() -> Result<()> {
    let script = r#"
        [[cluster]]
        name = "prod-1"
        steps = [{ at = 0, running = 4 }, { at = 12, status = "INACTIVE" }]
    "#;
    let faults = "[[fault]]\ncall = \"ecs:DescribeClusters\"\nfrom = 3\nuntil = 6\nerror = \"InternalFailure\"";
    let config = "metrics.clusters = [\"prod-*\"]";
    let (code, log) = run_with(faults, script, config, "32s").await?;
    assert_eq!(code, Some(0), "{log}");
    let warned = log.lines().filter(|line| line.contains("WARN"));
    let of_none = warned.filter(|line| line.contains("no cluster in us-east-1 matches"));
    assert_eq!(of_none.count(), 1, "{log}");
    assert_eq!(log.matches("prod-1: samples again").count(), 1, "{log}");
    Ok(())
}
