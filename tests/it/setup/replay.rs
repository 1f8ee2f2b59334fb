//! Runs `hydrant replay`, as a user would.

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Result, ensure};

use testkit::program::program;

/// Runs `hydrant replay`.
pub(crate) fn replay(files: &[PathBuf], arguments: &[&str]) -> Result<Output> {
    let mut command = program(env!("CARGO_BIN_EXE_hydrant"));
    command.arg("replay").arg("--binlog").args(files);
    Ok(command.args(arguments).output()?)
}

/// Runs it to a good end and gives its standard output.
pub(crate) fn replayed(files: &[PathBuf], arguments: &[&str]) -> Result<String> {
    let output = replay(files, arguments)?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {log}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
