//! DuckDB, as a reader of objects.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use testkit::python::python_with_duckdb;

/// What the last of the statements finds in a folder: a line for each row, with tabs.
pub(crate) fn asked(folder: &Path, statements: &[&str]) -> Result<String> {
    const SCRIPT: &str = "import duckdb, sys\n\
        for statement in sys.argv[1:]: found = duckdb.execute(statement)\n\
        for row in found.fetchall(): print(*('NULL' if it is None else it for it in row), sep='\\t')\n";
    let output = Command::new(python_with_duckdb()?)
        .args(["-c", SCRIPT])
        .args(statements)
        .current_dir(folder)
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    Ok(String::from_utf8(output.stdout)?)
}
