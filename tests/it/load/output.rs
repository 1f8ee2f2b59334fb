//! The files of a report: tried before the run, never overwritten unasked, and no reason to lose what was measured.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};

use super::{load, read_report};

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const SHORT: &str = "firehose --rate 100 --for 1s --flush-interval 100ms";

#[test]
fn a_report_is_overwritten_only_if_that_is_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |more: &[&str]| {
        let out = folder.path().join("report");
        load(SHORT).arg("--out").arg(out).args(more).output()
    };
    ensure!(run(&[])?.status.success());
    let first = read_report(&folder.path().join("report"))?;
    let refused = run(&[])?;
    let log = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(USAGE), "{log}");
    ensure!(
        log.contains("result.json already") && log.contains("--force"),
        "{log}"
    );
    // It was refused before it began.
    ensure!(refused.stdout.is_empty(), "{refused:?}");
    assert_eq!(read_report(&folder.path().join("report"))?, first);
    ensure!(run(&["--force"])?.status.success());
    ensure!(read_report(&folder.path().join("report"))?.started_at != first.started_at);
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_written_is_told_before_the_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "")?;
    for kind in [SHORT, "metrics --clusters 1 --for 1s"] {
        let output = load(kind).arg("--out").arg(file.join("report")).output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(UNAVAILABLE), "{log}");
        ensure!(log.contains("cannot write the report to"), "{log}");
        ensure!(
            output.stdout.is_empty() && !log.contains("load firehose"),
            "{output:?}"
        );
    }
    Ok(())
}

/// The folder goes while the run goes on.
#[test]
fn a_report_that_cannot_be_written_is_printed_all_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("report");
    let child = load("firehose --rate 100 --for 2s --flush-interval 100ms")
        .arg("--out")
        .arg(&out)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    crate::setup::agent::eventually("the folder is there", || Ok(out.exists().then_some(())))?;
    // Not even root can write what is no folder. It may be trying the folder just now.
    crate::setup::agent::eventually("the folder is away", || {
        Ok(std::fs::remove_dir(&out).is_ok().then_some(()))
    })?;
    std::fs::write(&out, "")?;
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o400))?;
    let output = child.wait_with_output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{log}");
    let printed = String::from_utf8(output.stdout)?;
    ensure!(
        printed.contains("How many rows a second does it take?"),
        "{printed}"
    );
    Ok(())
}
