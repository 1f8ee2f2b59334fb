//! The rooms' own rules: what PURE rooms may not name, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The crate that is PURE as a whole. Other rooms say it in their first line.
const PURE_CRATE: &str = "crates/hydrant-binlog/src";
const PURE_MARK: &str = "//! PURE.";
/// As many have the mark, at least: it is not taken away unseen.
const FEWEST_PURE: usize = 55;

/// What rooms may not name that do no I/O, read no clock, and know neither AWS nor tokio.
const IMPURE_NAMES: &[&str] = &[
    "tokio",
    "mysql_async",
    "aws_",
    "axum",
    // The limiters of governor whose clock is not an argument.
    "governor::Default",
    "RateLimiter::direct(",
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "tracing",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "crate::cdc",
    "crate::sink",
    "crate::pace",
    "crate::sim",
    "crate::config",
];

const MOST_LINES: usize = 600;

fn rust_files(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            rust_files(&entry?.path(), found)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
    Ok(())
}

pub(super) fn files(rooms: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for room in rooms {
        rust_files(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(room),
            &mut found,
        )?;
    }
    ensure!(found.len() >= rooms.len(), "rooms have moved: {rooms:?}");
    Ok(found)
}

/// A file without its comments and its unit tests.
pub(super) fn code(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)?;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The module's path in the code of its crate, such as `crate::config::limits`.
fn module(path: &Path) -> Option<String> {
    let path = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let path = path.ok()?.to_str()?;
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    Some(format!("crate::{}", path.replace('/', "::")))
}

#[test]
fn pure_rooms_stay_pure() -> Result<()> {
    let mut pure = files(&["src", "crates"])?;
    pure.retain(|path| fs::read_to_string(path).is_ok_and(|text| text.starts_with(PURE_MARK)));
    ensure!(
        pure.len() >= FEWEST_PURE,
        "{} rooms say that they are PURE",
        pure.len()
    );
    let modules: Vec<String> = pure.iter().filter_map(|path| module(path)).collect();
    pure.extend(files(&[PURE_CRATE])?);
    for path in pure {
        let mut code = code(&path)?;
        // They may use each other.
        for module in &modules {
            code = code.replace(module, "");
        }
        for name in IMPURE_NAMES {
            ensure!(!code.contains(name), "{} names {name}", path.display());
        }
    }
    Ok(())
}

#[test]
fn files_stay_readable() -> Result<()> {
    for path in files(&["src", "tests", "crates"])? {
        let lines = fs::read_to_string(&path)?.lines().count();
        ensure!(
            lines <= MOST_LINES,
            "{} has {lines} lines: split it by noun",
            path.display()
        );
    }
    Ok(())
}
