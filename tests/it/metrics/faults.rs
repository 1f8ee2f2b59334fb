//! The poller under every file of faults in `tests/data/faults/metrics`: published seconds + counted gaps = elapsed
//! seconds for every cluster and metric, and only what a lost answer explains is there twice. A file that is added
//! there is tested here without another line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hydrant::sim::{Accounts, MetricAccount, Options, QuotaPreset, Simulator};
use tokio::task::JoinSet;

use super::{Scene, any_port, books, number_before};
use crate::agent::files_below;

/// The metrics of a cluster.
const METRICS: u64 = 4;

/// Long enough for every fault.
const LENGTH: &str = "14s";

#[tokio::test(flavor = "multi_thread")]
async fn every_second_is_accounted_for_under_every_fault() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults/metrics");
    let files = files_below(&folder, ".toml")?;
    ensure!(!files.is_empty(), "no faults in {}", folder.display());
    let mut scenes = JoinSet::new();
    for file in files {
        // One cluster, whose seconds and gaps are known exactly, and two, whose sums are.
        for clusters in [&["Web"] as &[_], &["Web", "Still"]] {
            let file = file.clone();
            scenes.spawn(async move {
                let name = file.display().to_string();
                survive(file, clusters).await.context(name)
            });
        }
    }
    while let Some(scene) = scenes.join_next().await {
        println!("{}", scene??);
    }
    Ok(())
}

/// Runs the poller to its end while the faults last.
async fn survive(faults: PathBuf, clusters: &[&str]) -> Result<String> {
    let told = faults.display().to_string();
    let scene = Scene::new(&format!(
        "[metrics]\nclusters = {clusters:?}\npublish_every = \"1s\""
    ))?;
    let simulator = Simulator::start(Options {
        listen: any_port(),
        data: scene.folder.path().join("objects"),
        quota: QuotaPreset::UsEast1,
        ecs_script: Some(scene.folder.path().join("clusters.toml")),
        faults: Some(faults),
        ..Options::default()
    })
    .await?;
    let output = scene.run(&simulator, &["--for", LENGTH]).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {log}", output.status);
    let accounts = simulator.shutdown().await?;
    let books = books(&log)?;
    account_for(&books, &accounts, clusters.len() as u64)
        .with_context(|| format!("{books}\n{accounts:?}\n{log}"))?;
    Ok(format!(
        "{told} {clusters:?}: {books}, {} unconfirmed",
        accounts.unconfirmed_data
    ))
}

fn account_for(books: &str, accounts: &Accounts, clusters: u64) -> Result<()> {
    let without_effect = accounts.faults.iter().find(|fault| fault.hits == 0);
    ensure!(without_effect.is_none(), "never hit: {without_effect:?}");

    let ticks = number_before(books, " ticks:")?;
    let sampled = number_before(books, " sampled,")?;
    let gaps = number_before(books, " gaps")?;
    ensure!(ticks == sampled + gaps, "{ticks} ticks");
    ensure!(ticks.is_multiple_of(clusters), "{ticks} ticks");
    let elapsed = ticks / clusters;

    let metrics = &accounts.metrics;
    ensure!(
        metrics.len() as u64 == METRICS * clusters,
        "{} metrics",
        metrics.len()
    );
    for cluster in metrics.chunk_by(|one, other| one.name == other.name) {
        // What was sampled is published, for each metric.
        let published: u64 = cluster.iter().map(MetricAccount::seconds).sum();
        ensure!(
            published == sampled,
            "{published} of {sampled} seconds: {cluster:?}"
        );
    }
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
