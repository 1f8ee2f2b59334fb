//! The poller under every file of faults in `tests/data/faults/metrics`: published seconds + counted gaps = elapsed
//! seconds for every cluster and metric, and only what a lost answer explains is duplicated. A file that is added
//! there is tested here without another line. Those in `tests/data/faults/services` are for a poller that samples
//! services too, those in `tests/data/faults/patterns` for one that looks for clusters.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hydrant::sim::{Accounts, MetricAccount};
use tokio::task::JoinSet;

use super::{Scene, books, number_before};
use crate::setup::agent::files_below;

/// The metrics of a cluster.
const METRICS: u64 = 4;

/// Each matches one cluster, from the start to the end.
const PATTERNS: [&str; 2] = ["We*", "St*"];

/// Long enough for every fault.
const LENGTH: &str = "14s";

/// Services come, so that they are listed more than once.
const SERVICES: &str = r#"
    [[cluster]]
    name = "Web"
    steps = [
        { at = 0, running = 4, services = 12, instances = 1 },
        { at = 4, services = 14 },
    ]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_second_is_accounted_for_under_every_fault() -> Result<()> {
    let mut scenes = JoinSet::new();
    for file in faults("metrics")? {
        // One cluster, whose seconds and gaps are known exactly, and two, whose sums are.
        for clusters in [&["Web"] as &[_], &["Web", "Still"], &PATTERNS] {
            scenes.spawn(survive(file.clone(), clusters));
        }
    }
    for file in faults("patterns")? {
        scenes.spawn(survive(file, &PATTERNS));
    }
    while let Some(scene) = scenes.join_next().await {
        println!("{}", scene??);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_second_of_services_is_accounted_for_under_every_fault() -> Result<()> {
    let mut scenes = JoinSet::new();
    for file in faults("services")? {
        scenes.spawn(async move {
            let config = "[metrics]\nclusters = [\"Web\"]\nservices = true\npublish_every = \"1s\"";
            let scene = Scene::of(SERVICES, config)?;
            let told = file.display().to_string();
            let (books, accounts) = run(&scene, file).await.context(told.clone())?;
            let account = || -> Result<()> {
                account_for_targets(&books, &accounts)?;
                ensure!(
                    accounts.metrics.len() == 4 + 14 * 3,
                    "{}",
                    accounts.metrics.len()
                );
                ensure_nothing_twice(&books, &accounts)
            };
            account().with_context(|| format!("{told}: {books}\n{accounts:?}"))?;
            Ok::<_, anyhow::Error>(format!("{told}: {books}"))
        });
    }
    while let Some(scene) = scenes.join_next().await {
        println!("{}", scene??);
    }
    Ok(())
}

/// The files of a folder of faults.
fn faults(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/faults")
        .join(folder);
    let files = files_below(&folder, ".toml")?;
    ensure!(!files.is_empty(), "no faults in {}", folder.display());
    Ok(files)
}

/// Runs the poller to its end while the faults last. What it says of itself, and what the
/// simulator has counted.
async fn run(scene: &Scene, faults: PathBuf) -> Result<(String, Accounts)> {
    let simulator = scene.simulator_with(faults).await?;
    let output = scene.run(&simulator, &["--for", LENGTH]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {log}", output.status);
    let accounts = simulator.shutdown().await?;
    let without_effect = accounts.faults.iter().find(|fault| fault.hits == 0);
    ensure!(without_effect.is_none(), "never hit: {without_effect:?}");
    Ok((books(&log)?, accounts))
}

async fn survive(faults: PathBuf, clusters: &[&str]) -> Result<String> {
    let told = format!("{} {clusters:?}", faults.display());
    let scene = Scene::new(&format!(
        "[metrics]\nclusters = {clusters:?}\npublish_every = \"1s\""
    ))?;
    let (books, accounts) = run(&scene, faults).await.context(told.clone())?;
    account_for(&books, &accounts, clusters.len() as u64)
        .with_context(|| format!("{told}: {books}\n{accounts:?}"))?;
    Ok(format!(
        "{told}: {books}, {} unconfirmed",
        accounts.unconfirmed_data
    ))
}

fn account_for(books: &str, accounts: &Accounts, clusters: u64) -> Result<()> {
    let ticks = account_for_targets(books, accounts)?;
    ensure!(ticks.is_multiple_of(clusters), "{ticks} ticks");
    let elapsed = ticks / clusters;

    let metrics = &accounts.metrics;
    ensure!(
        metrics.len() as u64 == METRICS * clusters,
        "{} metrics",
        metrics.len()
    );
    for metric in metrics {
        let (first, last) = metric
            .runs
            .first()
            .zip(metric.runs.last())
            .context("no second")?;
        let span = last.last.abs_diff(first.first) + 1;
        ensure!(span <= elapsed, "{span} of {elapsed} seconds: {metric:?}");
        ensure!(metric.seconds() <= elapsed, "{metric:?}");
    }

    ensure_nothing_twice(books, accounts)
}

/// Each tick of a target is sampled or a gap, and what was sampled is published, for each metric
/// that all targets have. Gives the ticks.
fn account_for_targets(books: &str, accounts: &Accounts) -> Result<u64> {
    let ticks = number_before(books, " ticks:")?;
    let sampled = number_before(books, " sampled,")?;
    let gaps = number_before(books, " gaps")?;
    ensure!(ticks == sampled + gaps, "{ticks} ticks");
    for name in ["RunningTask", "PendingTask"] {
        let metrics = accounts.metrics.iter().filter(|metric| metric.name == name);
        let published: u64 = metrics.map(MetricAccount::seconds).sum();
        ensure!(
            published == sampled,
            "{name}: {published} of {sampled} seconds"
        );
    }
    Ok(ticks)
}

fn ensure_nothing_twice(books: &str, accounts: &Accounts) -> Result<()> {
    let metrics = &accounts.metrics;
    // Nothing twice but what CloudWatch took without saying so, and the poller knows that it may be.
    let seconds: u64 = metrics.iter().map(MetricAccount::seconds).sum();
    let data: u64 = metrics.iter().map(|metric| metric.data).sum();
    let unconfirmed = accounts.unconfirmed_data;
    ensure!(
        data == seconds + unconfirmed,
        "{data} data for {seconds} seconds"
    );
    let is_ambiguous = books.contains("sent without an answer");
    let ambiguous = if is_ambiguous {
        number_before(books, " sent without an answer")?
    } else {
        0
    };
    ensure!(
        unconfirmed <= ambiguous,
        "{unconfirmed} unconfirmed, {ambiguous} counted"
    );
    ensure!(number_before(books, " dropped")? == 0 && number_before(books, " pending")? == 0);
    Ok(())
}
