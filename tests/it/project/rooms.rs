//! The rooms' own rules: what PURE rooms may not name, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Rooms that do no I/O, read no clock, and know neither AWS nor tokio.
const PURE: &[&str] = &[
    "crates/hydrant-binlog/src",
    "src/batch.rs",
    "src/ledger.rs",
    "src/wire/frames.rs",
    "src/config/cloudwatch.rs",
    "src/config/duration.rs",
    "src/config/limits.rs",
    "src/pace/mod.rs",
    "src/pace/aimd.rs",
    "src/pace/window.rs",
    "src/sink/object.rs",
    "src/sink/schedule.rs",
    "src/ecs/core/account.rs",
    "src/ecs/core/backlog.rs",
    "src/ecs/core/backoff.rs",
    "src/ecs/core/cadence.rs",
    "src/ecs/core/metric.rs",
    "src/ecs/core/price.rs",
    "src/ecs/core/schedule.rs",
    "src/ecs/core/series.rs",
    "crates/hydrant-sim/src/faults.rs",
    "crates/hydrant-sim/src/faults_error.rs",
    "crates/hydrant-sim/src/faults_file.rs",
    "src/load/firehose/answers.rs",
    "src/load/firehose/plan.rs",
    "src/load/firehose/schedule.rs",
    "src/load/measure",
    "src/load/mysql/follow.rs",
    "src/load/report/chart.rs",
    "src/load/report/compare.rs",
    "src/load/report/mod.rs",
    "src/load/report/page.rs",
    "src/load/report/plots.rs",
    "src/load/report/text.rs",
    "src/load/rows.rs",
];

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

fn files(rooms: &[&str]) -> Result<Vec<PathBuf>> {
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
fn code(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)?;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The module's path in the code of its crate, such as `crate::config::limits`.
fn module(room: &str) -> Option<String> {
    let path = room.strip_prefix("src/")?;
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    Some(format!("crate::{}", path.replace('/', "::")))
}

#[test]
fn pure_rooms_stay_pure() -> Result<()> {
    for path in files(PURE)? {
        let mut code = code(&path)?;
        // They may use each other.
        for pure in PURE.iter().filter_map(|room| module(room)) {
            code = code.replace(&pure, "");
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
