//! `hydrant load metrics` as a user runs it: its books add up, and its latencies are told.

use anyhow::{Context as _, Result, ensure};
use hydrant::load::measure::record::Totals;

use super::{load, page_is_whole, report_of};

#[test]
fn every_tick_of_many_clusters_is_in_the_report() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let arguments = "metrics --clusters 3 --services 4 --for 6s";
    let (findings, output) = report_of(arguments, folder.path())?;
    let text = format!("{findings:?}");
    assert_eq!(findings.kind, "metrics");
    let figure = |name: &str| findings.figure(name).with_context(|| format!("no {name}"));
    let sampled = figure("sampled ticks")?;
    ensure!(sampled > 0.0, "{text}");
    let all = sampled + figure("gaps")?;
    ensure!((figure("intended ticks")? - all).abs() < 0.5, "{text}");
    ensure!(figure("published datums")? > sampled, "{text}");
    ensure!(figure("seconds that arrived twice")? < 0.5, "{text}");
    // Four of each cluster, three of each service.
    let metrics = figure("metrics")?;
    ensure!((metrics - f64::from(3 * 4 + 12 * 3)).abs() < 0.5, "{text}");
    assert_eq!(findings.latencies.len(), 4);
    for latency in &findings.latencies {
        ensure!(
            latency.count > 0 && latency.at(99.9).is_some(),
            "{latency:?}"
        );
    }
    // By the second, too.
    let all = Totals::of(&findings.seconds);
    assert_eq!(all.intended_rows, 6 * (3 * 4 + 12 * 3));
    let arrived = f64::from(u32::try_from(all.acknowledged_rows)?);
    assert_eq!(findings.figure("published datums"), Some(arrived));
    let charts = [
        "Datums a second",
        "Latency by percentile",
        "Processor of this process",
        "Memory of this process",
    ];
    let page = std::fs::read_to_string(folder.path().join("report.html"))?;
    page_is_whole(&page, &charts)?;
    let result = folder.path().join("result.json");
    let compared = load("compare").args([&result, &result]).output()?;
    let table = String::from_utf8(compared.stdout)?;
    ensure!(
        compared.status.success() && table.contains("\n  memory "),
        "{table}"
    );
    ensure!(
        table.contains("\n  gaps ") && table.contains("\nfrom a tick's second to its poll"),
        "{table}"
    );
    ensure!(
        !table.contains("latency") && !table.contains("billed"),
        "{table}"
    );
    let log = String::from_utf8(output.stderr)?;
    ensure!(log.contains(" datums/s of "), "{log}");
    let printed = String::from_utf8(output.stdout)?;
    ensure!(
        printed.contains("How many ticks were sampled?"),
        "{printed}"
    );
    ensure!(
        printed.contains("from a tick's second to its poll\n  p50 "),
        "{printed}"
    );
    let parameters = &findings.parameters;
    ensure!(
        parameters
            .iter()
            .any(|it| it.name == "--services" && it.value == "4")
    );
    Ok(())
}

#[test]
fn a_run_that_samples_nothing_is_no_success() -> Result<()> {
    let output = load("metrics")
        .args(["--clusters", "2", "--for", "0s"])
        .output()?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(69), "{log}");
    ensure!(log.contains("nothing was sampled"), "{log}");
    Ok(())
}

#[test]
fn a_share_that_is_none_is_refused_by_name() -> Result<()> {
    let output = load("metrics --clusters 1 --ecs-share 2").output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{log}");
    ensure!(log.contains("metrics.ecs_share"), "{log}");
    Ok(())
}

#[test]
fn no_clusters_are_no_load() -> Result<()> {
    let output = load("metrics --clusters 0 --for 1s").output()?;
    assert_eq!(output.status.code(), Some(64));
    Ok(())
}
