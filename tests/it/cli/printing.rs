//! What is printed into a pipe whose reader has gone, and onto a disk that is full.

use std::fs::{File, OpenOptions};
use std::io;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};

use hydrant::sim::{Options, Simulator};
use tempfile::TempDir;

use crate::setup::agent::eventually;
use crate::setup::simulator;
use testkit::cache::project;
use testkit::program::program;

const UNAVAILABLE: i32 = 69;
/// Commands that print on standard output and end by themselves.
const PRINTING: &[&str] = &[
    "--help",
    "--version",
    "sim --help",
    "metrics --config metrics.toml --print-alarms",
    "metrics --config metrics.toml --print-dashboard",
    "load firehose --target null --rate 100 --for 1s",
    "load compare a.json b.json",
];

/// A device on which each write fails for want of room.
fn full() -> io::Result<File> {
    OpenOptions::new().write(true).open("/dev/full")
}

/// A pipe that nobody reads.
fn unread() -> io::Result<Stdio> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    Ok(writer.into())
}

/// A folder with a configuration.
fn folder() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("metrics.toml");
    std::fs::write(config, "metrics.clusters = [\"Web\"]\n")?;
    for name in ["a", "b"] {
        let report = project().join(format!("tests/data/reports/firehose-{name}.json"));
        std::fs::copy(report, folder.path().join(format!("{name}.json")))?;
    }
    Ok(folder)
}

fn hydrant(folder: &TempDir, line: &str, stdout: Stdio, stderr: Stdio) -> Result<Child> {
    let child = program(env!("CARGO_BIN_EXE_hydrant"))
        .args(line.split(' '))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    Ok(child)
}

fn exit_code(mut child: Child) -> Result<i32> {
    let status = eventually("it ends", || Ok(child.try_wait()?))?;
    status.code().context("it was ended by a signal")
}

#[test]
fn a_reader_that_has_gone_is_no_error() -> Result<()> {
    let folder = folder()?;
    for line in PRINTING {
        let code = exit_code(hydrant(&folder, line, unread()?, full()?.into())?)?;
        ensure!(code == 0, "{line}: {code}");
    }
    Ok(())
}

/// What prints for as long as it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_ends_with_its_reader_or_its_disk() -> Result<()> {
    let folder = folder()?;
    let script = folder.path().join("clusters.toml");
    std::fs::write(
        &script,
        "[[cluster]]\nname = \"Web\"\nsteps = [{ at = 0, running = 1, pending = 0 }]\n",
    )?;
    let simulator = Simulator::start(Options {
        ecs_script: Some(script),
        ..simulator::options(&folder.path().join("objects"), &[])?
    })
    .await?;
    let endpoint = simulator.endpoint_url();
    std::fs::write(
        folder.path().join("metrics.toml"),
        format!(
            "[metrics]\nclusters = [\"Web\"]\necs_endpoint = \"{endpoint}\"\ncloudwatch_endpoint = \"{endpoint}\"\n"
        ),
    )?;
    let line = "metrics --config metrics.toml --dry-run";
    for (stdout, expected) in [(unread()?, 0), (full()?.into(), UNAVAILABLE)] {
        let child = hydrant(&folder, line, stdout, Stdio::null())?;
        let code = tokio::task::spawn_blocking(|| exit_code(child)).await??;
        ensure!(code == expected, "{code}");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_an_error_with_a_remedy() -> Result<()> {
    let folder = folder()?;
    for line in PRINTING {
        let mut child = hydrant(&folder, line, full()?.into(), Stdio::piped())?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let told = io::read_to_string(&mut stderr)?;
        let code = exit_code(child)?;
        ensure!(code == UNAVAILABLE, "{line}: {code}, {told}");
        ensure!(
            told.contains("cannot write to standard output"),
            "{line}: {told}"
        );
        ensure!(told.contains("remedy: make room"), "{line}: {told}");
    }
    Ok(())
}

#[test]
fn a_log_and_a_report_that_nobody_takes_end_nothing() -> Result<()> {
    let folder = folder()?;
    for (line, expected) in [
        ("metrics --config missing.toml", 78),
        ("--log-format json metrics --config missing.toml", 78),
        ("metrics --mistyped", 64),
        ("--log-format json metrics --mistyped", 64),
        ("sim --listen 127.0.0.1:0 --data metrics.toml", UNAVAILABLE),
        ("sim --listen 127.0.0.1:0 --mistyped", 64),
    ] {
        for stderr in [full()?.into(), unread()?] {
            let code = exit_code(hydrant(&folder, line, Stdio::null(), stderr)?)?;
            ensure!(code == expected, "{line}: {code}");
        }
    }
    Ok(())
}
