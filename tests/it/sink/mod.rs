//! One suite for all sinks, and how each of them fails and recovers.

mod authority;
mod client;
mod dir;
mod faults;
mod firehose;
mod s3;
mod s3_answers;
mod suite;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::NamedTempFile;

use crate::setup::agent::PATIENCE;

/// Says that this process is one that [`in_a_process`] started, and which file its standard output is.
const STDOUT_VARIABLE: &str = "HYDRANT_TEST_STDOUT";

/// Runs the body of the named test of this module or one below it in a process of its own, whose
/// standard output is a file, and in whose environment are credentials for a simulator: neither can
/// be changed in a process that runs other tests.
fn in_a_process(module: &str, test: &str, body: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(path) = std::env::var_os(STDOUT_VARIABLE) {
        return body(Path::new(&path));
    }
    let (_, module) = module.split_once("::").context("not in a module")?;
    let stdout = NamedTempFile::new()?;
    let output = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            &format!("{module}::{test}"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(STDOUT_VARIABLE, stdout.path())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env_remove("AWS_PROFILE")
        .stdout(fs::File::options().append(true).open(stdout.path())?)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    // A name that is no test's would be a success, too.
    let report = fs::read(stdout.path())?;
    let report =
        String::from_utf8_lossy(&report[report.len().saturating_sub(1_000)..]).into_owned();
    ensure!(report.contains("1 passed"), "{report}");
    Ok(())
}

/// A sink that is never content would be tried for ever.
async fn patiently<T>(body: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, body)
        .await
        .context("it takes too long")?
}

#[test]
fn stdout_conforms() -> Result<()> {
    in_a_process(module_path!(), "stdout_conforms", |path| {
        let before = fs::metadata(path)?.len();
        let runtime = tokio::runtime::Runtime::new()?;
        let read_back = async || {
            let all = fs::read(path)?;
            Ok(vec![all[usize::try_from(before)?..].to_vec()])
        };
        runtime.block_on(patiently(suite::conforms(
            hydrant::sink::StdoutSink,
            read_back,
        )))
    })
}
