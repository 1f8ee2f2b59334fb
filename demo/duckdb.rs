//! DuckDB's answers, by way of `demo/query.py` in a private Python environment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// What `demo/query.py --json` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// DuckDB's version.
    pub(crate) duckdb: String,
    /// Lines in the objects.
    pub(crate) lines: u64,
    /// Lines of which each is different from the others.
    pub(crate) distinct_lines: u64,
    /// Rows that differ in the metadata columns.
    pub(crate) rows: u64,
    /// The rows of each question's answer.
    answers: HashMap<String, Vec<Vec<String>>>,
}

impl Report {
    /// The rows of a question's answer.
    pub(crate) fn answer(&self, question: &str) -> Result<&[Vec<String>]> {
        let answer = self.answers.get(question);
        answer
            .map(Vec::as_slice)
            .with_context(|| format!("demo/query.py did not answer {question}"))
    }
}

/// Makes the environment, the first time, and gives the path of its Python. Blocks.
pub(crate) fn python(project: &Path) -> Result<PathBuf> {
    let output = Command::new(project.join("servers/venv"))
        .arg(project.join("demo/requirements.txt"))
        .arg(project.join("target/demo-venv"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run servers/venv")?;
    ensure!(
        output.status.success(),
        "servers/venv could not make a Python environment with DuckDB; its words are above"
    );
    let path = String::from_utf8(output.stdout).context("servers/venv printed no UTF-8")?;
    Ok(path.trim_end_matches('\n').into())
}

/// Asks all questions over the objects. Blocks.
pub(crate) fn ask(python: &Path, project: &Path, objects: &Path) -> Result<Report> {
    let output = Command::new(python)
        .arg(project.join("demo/query.py"))
        .arg("--json")
        .arg(objects)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", python.display()))?;
    ensure!(
        output.status.success(),
        "demo/query.py failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    serde_json::from_slice(&output.stdout).context("demo/query.py printed no report")
}
