//! The Python environments of the tests, with what others have written: boto3 and ministack, which talk to AWS
//! or are it, pinned in `tests/python/requirements.txt`; DuckDB, which is the demo's, too; Prometheus' client; moto, another emulator.
//!
//! What does not live here: making the environment (`servers/venv`) and running things in it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::cache::{project, servers_dir};

/// The path of its Python. The first caller on a machine makes the environment, which takes a minute at
/// most, and others wait for it; its progress goes to standard error. Blocks.
///
/// # Errors
/// When it cannot be made, or could not be before. `servers/venv` has then said why, and what can be done.
pub fn python() -> Result<PathBuf> {
    environment("tests/python/requirements.txt", "python")
}

/// The same with Prometheus' client.
///
/// # Errors
/// As for [`python`].
pub fn python_with_prometheus() -> Result<PathBuf> {
    environment("tests/python/prometheus.txt", "python-prometheus")
}

/// The same with moto's server.
///
/// # Errors
/// As for [`python`].
pub fn python_with_moto() -> Result<PathBuf> {
    environment("tests/python/moto.txt", "python-moto")
}

/// The same with DuckDB.
///
/// # Errors
/// As for [`python`].
pub fn python_with_duckdb() -> Result<PathBuf> {
    environment("demo/requirements.txt", "python-duckdb")
}

fn environment(requirements: &str, folder: &str) -> Result<PathBuf> {
    let project = project();
    let script = project.join("servers").join("venv");
    // It takes milliseconds when there is nothing to do, and it alone knows what is complete.
    let output = Command::new(&script)
        .arg("--for-test")
        .arg(project.join(requirements))
        .arg(servers_dir()?.join(folder))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "servers/venv failed ({}); what it said on standard error names the remedy",
        output.status
    );
    let path = String::from_utf8(output.stdout).context("servers/venv printed no UTF-8")?;
    Ok(path.trim_end_matches('\n').into())
}
