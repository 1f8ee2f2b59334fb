//! Firehose under every file of faults in `tests/data/faults/firehose`: what is sent is delivered, and only what a
//! fault explains is duplicated. A file that is added there is tested here without another line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hydrant::batch::BatchLimits;
use hydrant::sim::{Accounts, StreamAccount};
use hydrant::sink::{Delivery, Sink as _};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::firehose::{STREAMS, connect, delivered, simulator};
use super::suite::{self, Maker};
use super::{in_a_process, patiently};
use crate::setup::agent::files_below;

/// Batches that are sent at least, so that a fault of every tenth comes more than once.
const LEAST_BATCHES: usize = 40;

/// Batches that wait for their answer at most. More than the sink's concurrency, so that it is used.
const MOST_WAITING: usize = 80;

/// The pace of batches. Faults of some seconds must find someone whom they hit.
const PACE: Duration = Duration::from_millis(25);

/// Three records of two rows each.
const ROWS: [usize; 6] = [20_500; 6];

#[test]
fn every_row_is_accounted_for_under_every_fault() -> Result<()> {
    let test = "every_row_is_accounted_for_under_every_fault";
    in_a_process(module_path!(), test, |_| {
        tokio::runtime::Runtime::new()?.block_on(survive_all())
    })
}

async fn survive_all() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/faults/firehose");
    let files = files_below(&folder, ".toml")?;
    ensure!(!files.is_empty(), "no faults in {}", folder.display());
    let mut scenes = JoinSet::new();
    for file in files {
        scenes.spawn(async move {
            let name = file.display().to_string();
            patiently(survive(file)).await.context(name)
        });
    }
    while let Some(scene) = scenes.join_next().await {
        println!("{}", scene??);
    }
    Ok(())
}

/// Sends rows until every fault of the file has hit, and waits until all have arrived.
async fn survive(faults: PathBuf) -> Result<String> {
    let folder = Arc::new(tempfile::tempdir()?);
    let scene = faults.display().to_string();
    let simulator = simulator(&folder, |options| options.faults = Some(faults)).await?;
    let sink = connect(&simulator.endpoint_url()).await?;
    let mut maker = Maker::new(BatchLimits {
        record_bytes: 2 * ROWS[0],
        ..sink.profile().limits
    });
    let mut delivery = Delivery::new(sink, suite::TABLES);
    let mut sent: Vec<HashMap<Vec<u8>, usize>> = vec![HashMap::new(); suite::TABLES];
    let (mut pushed, mut arrived) = (0, 0);
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_met_all = false;
    while !has_met_all || arrived < pushed {
        tokio::select! {
            done = delivery.next(), if arrived < pushed => {
                done?;
                arrived += 1;
            }
            _ = pace.tick(), if !has_met_all && pushed - arrived < MOST_WAITING => {
                let table = pushed % suite::TABLES;
                let batch = maker.batch(table, &ROWS)?;
                for row in batch.bytes().split_inclusive(|byte| *byte == b'\n') {
                    *sent[table].entry(row.to_vec()).or_default() += 1;
                }
                delivery.push(batch);
                pushed += 1;
                let faults = simulator.accounts().faults;
                has_met_all = pushed >= LEAST_BATCHES && faults.iter().all(|it| it.hits > 0);
            }
        }
    }
    let stats = delivery.stats();
    drop(delivery);
    let accounts = simulator.shutdown().await?;
    let mut summary = format!("{scene}: {pushed} batches, {stats:?}");
    for ((stream, sent), account) in STREAMS.iter().zip(&sent).zip(streams(&accounts)) {
        let delivered = delivered(&folder, stream)?;
        let told = account_for(sent, &delivered, account).with_context(|| summary.clone())?;
        summary = format!("{summary}; {stream}: {told}");
    }
    Ok(summary)
}

fn streams(accounts: &Accounts) -> impl Iterator<Item = &StreamAccount> {
    STREAMS.iter().map(|stream| &accounts.streams[*stream])
}

/// Sent = delivered, minus nothing, plus exactly the duplicates that the simulator explains.
fn account_for(
    sent: &HashMap<Vec<u8>, usize>,
    delivered: &[u8],
    account: &StreamAccount,
) -> Result<String> {
    let mut found: HashMap<&[u8], usize> = HashMap::new();
    for row in delivered.split_inclusive(|byte| *byte == b'\n') {
        ensure!(sent.contains_key(row), "a row that was not sent");
        *found.entry(row).or_default() += 1;
    }
    let missing = sent.len() - found.len();
    ensure!(missing == 0, "{missing} of {} rows are missing", sent.len());
    let rows = found.values().sum::<usize>() as u64;
    let sent_rows = sent.values().sum::<usize>() as u64;
    let (total, twice) = (&account.total, &account.duplicated);
    let lost = &account.unconfirmed;
    let told = format!(
        "{sent_rows} rows sent, {} admitted, {} unconfirmed, {} duplicated, {rows} delivered",
        total.admitted_rows, lost.rows, twice.rows
    );
    // The client has sent again what it was not told of, and nothing else.
    ensure!(total.admitted_rows == sent_rows + lost.rows, "{told}");
    ensure!(
        account.delivered.rows == total.admitted_rows + twice.rows,
        "{told}"
    );
    ensure!(rows == account.delivered.rows, "{told}");
    ensure!(account.waiting.records == 0, "{told}");
    let by_second = |rows: fn(&hydrant::sim::QuotaSecond) -> u64| -> u64 {
        account.seconds.iter().map(rows).sum()
    };
    ensure!(
        by_second(|it| it.counts.admitted_rows) == total.admitted_rows,
        "{told}"
    );
    ensure!(
        by_second(|it| it.counts.refused_records) == total.refused_records,
        "{told}"
    );
    ensure!(
        by_second(|it| it.delivered.rows) == account.delivered.rows,
        "{told}"
    );
    Ok(told)
}
