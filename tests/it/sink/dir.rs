//! The directory: objects whole, by name, and a disk that fails for a while.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use hydrant::encode::Dialect;
use hydrant::error::Fault;
use hydrant::sink::{Delivery, DirSink, Sink as _, TableFolder};
use hydrant::{Exit, Failure};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::patiently;
use super::suite::{self, Maker};
use crate::setup::agent::{files_below, gunzip_all};

const MAX_IN_FLIGHT: usize = 4 << 20;

fn open(root: &Path) -> Result<DirSink, Failure> {
    let tables = ["Sales", "Sales2"].map(|table| TableFolder::new("shop", table, Dialect::Csv));
    DirSink::open(root, tables.into(), MAX_IN_FLIGHT)
}

/// All objects of a table, in the order of their names, which is that of their rows.
fn contents(root: &Path, table: &str) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for path in files_below(&root.join(table), "")? {
        let mut gzip = flate2::read::MultiGzDecoder::new(fs::File::open(&path)?);
        std::io::Read::read_to_end(&mut gzip, &mut all)?;
    }
    Ok(all)
}

#[test]
fn dir_conforms() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("data");
    let sink = open(&root)?;
    let read_back = async || {
        Ok(vec![
            contents(&root, "shop.Sales")?,
            contents(&root, "shop.Sales2")?,
        ])
    };
    tokio::runtime::Runtime::new()?.block_on(patiently(suite::conforms(sink, read_back)))?;

    let objects = files_below(&root, "")?;
    ensure!(
        objects.len() > suite::TABLES * 40,
        "{} objects",
        objects.len()
    );
    for path in objects {
        let key = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        let number = key.rsplit('-').nth(2).unwrap_or_default();
        let tail = format!("/dt=2016-03-04/hr=00/binlog.000001-{number}-000000000-6df20e8f.csv.gz");
        ensure!(
            number.len() == 12
                && ["shop.Sales", "shop.Sales2"]
                    .map(|table| format!("{table}{tail}"))
                    .contains(&key),
            "{key}"
        );
    }
    ensure!(
        files_below(&root.join(".unfinished"), "")?.is_empty(),
        "unfinished objects are left"
    );
    Ok(())
}

/// Makes the directory unusable, sees the delivery fail for a while, mends it, and sees it go on.
fn recovers(
    spoil: impl FnOnce(&Path) -> Result<()>,
    mend: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("data");
    let sink = open(&root)?;
    let mut maker = Maker::new(sink.profile().limits);
    let (before, alone, after) = (
        maker.batch(0, &[100])?,
        maker.batch(0, &[200])?,
        maker.batch(0, &[300])?,
    );
    let expected = [before.bytes(), alone.bytes(), after.bytes()].concat();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(patiently(async {
        ensure!(sink.attempt(&before, &[0]).await.result?.is_empty());
        spoil(&root)?;
        let failure = sink
            .attempt(&alone, &[0])
            .await
            .result
            .expect_err("nobody can write there");
        ensure!(
            (failure.fault, failure.exit) == (Fault::Transient, Exit::Temporary),
            "{failure:?}"
        );
        ensure!(
            failure.what.contains("shop.Sales/dt=2016-03-04") && !failure.remedy.is_empty(),
            "{failure:?}"
        );

        let mut delivery = Delivery::new(sink, suite::TABLES);
        delivery.push(alone);
        delivery.push(after);
        while delivery.stats().attempts_failed < 3 {
            let next = tokio::time::timeout(Duration::from_millis(10), delivery.next()).await;
            ensure!(next.is_err(), "something arrived: {next:?}");
        }
        mend(&root)?;
        for _ in 0..2 {
            delivery.next().await?;
        }
        Ok(())
    }))?;
    // Whether what was there before is there still is for the one who mended to say.
    let arrived = contents(&root, "shop.Sales")?;
    ensure!(
        expected.ends_with(&arrived) && arrived.len() >= 500,
        "{} bytes arrived",
        arrived.len()
    );
    ensure!(
        files_below(&root.join(".unfinished"), "")?.is_empty(),
        "unfinished objects are left"
    );
    Ok(())
}

/// Changes places in one step: the sink tries all the time, and would make a folder of its own where it finds nothing.
fn swap(a: &Path, b: &Path) -> Result<()> {
    let both = RenameFlags::EXCHANGE;
    Ok(renameat_with(CWD, a, CWD, b, both)?)
}

/// Puts a file in the place of a folder, which is beside the directory then.
fn put_a_file_in_place(root: &Path, folder: &Path) -> Result<()> {
    let away = root.with_extension("away");
    fs::write(&away, "a file where the folder should be")?;
    swap(folder, &away)
}

#[test]
fn delivery_goes_on_when_the_directory_is_back() -> Result<()> {
    recovers(
        |root| put_a_file_in_place(root, root),
        |root| swap(root, &root.with_extension("away")),
    )
}

#[test]
fn delivery_goes_on_in_a_new_empty_directory() -> Result<()> {
    recovers(
        |root| {
            put_a_file_in_place(root, root)?;
            Ok(fs::remove_dir_all(root.with_extension("away"))?)
        },
        |root| {
            fs::create_dir(root.with_extension("away"))?;
            swap(root, &root.with_extension("away"))
        },
    )
}

#[test]
fn delivery_goes_on_when_the_folder_of_a_table_can_be_written_again() -> Result<()> {
    recovers(
        |root| put_a_file_in_place(root, &root.join("shop.Sales")),
        |root| swap(&root.join("shop.Sales"), &root.with_extension("away")),
    )
}

#[test]
fn a_batch_that_is_written_again_is_there_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sink = open(folder.path())?;
    let mut maker = Maker::new(sink.profile().limits);
    let batch = maker.batch(1, &[100, 200])?;
    tokio::runtime::Runtime::new()?.block_on(async {
        for _ in 0..3 {
            ensure!(sink.attempt(&batch, &[0]).await.result?.is_empty());
        }
        Ok(())
    })?;
    assert_eq!(contents(folder.path(), "shop.Sales2")?, batch.bytes());
    assert!(gunzip_all(&folder.path().join(".unfinished"))?.is_empty());
    Ok(())
}
