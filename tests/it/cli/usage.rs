//! Command lines that are wrong, and configurations that are not there: what is said, and the exit code.

use anyhow::{Result, ensure};

use crate::setup::snapshot::Reports;
use testkit::program::program;

/// None of them may get as far as to send something.
const WRONG: &[&str] = &[
    "",
    "cdcc --config hydrant.toml",
    "cdc",
    "cdc --config hydrant.toml --untill now",
    "cdc --config hydrant.toml --until tomorrow",
    "cdc --config hydrant.toml --pass-over binlog",
    "cdc --config hydrant.toml --accept-change shop.Sales",
    "cdc --config hydrant.toml --log-format xml",
    "cdc --config missing.toml",
    "cdc --config .",
    "cdc --config metrics.toml",
    "metrics --config metrics.toml --for 10",
    "metrics --config metrics.toml --print-alarms --dry-run",
    "metrics --config hydrant.toml",
    "replay",
    "replay --binlog missing.000001 --out - --table shop.Sales",
    "replay --binlog hydrant.toml --out - --table shop.Sales",
    "replay --binlog hydrant.toml --start yesterday --out - --table shop.Sales",
    "load firehose",
    "load firehose --rate 100 --for 10",
    "load firehose --rate 0",
    "load firehose --rate 100 --ramp 1..2 --for 1s",
    "load firehose --ramp 9 --for 1s",
    "load firehose --rate 100 --for 1s --target aws",
    "load compare one.json",
    "load compare missing.json missing.json",
    "load mysql --rate 1",
    "load metrics --clusters 0",
    "sim --listen 4566",
    "sim --listen 127.0.0.1:0 --stream A --stream A",
    "sim --listen 127.0.0.1:0 --stream ???",
    "sim --listen 127.0.0.1:0 --faults missing.toml",
    "sim --listen 127.0.0.1:0 --faults hydrant.toml",
    "sim --listen 127.0.0.1:0 --ecs-script missing.toml",
    "sim --listen 127.0.0.1:0 --ecs-script hydrant.toml",
    "sim --listen 127.0.0.1:0 --data hydrant.toml",
];

#[test]
fn wrong_command_lines_are_told_with_what_would_be_right() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(
        folder.path().join("hydrant.toml"),
        "source.url = \"mysql://hydrant@127.0.0.1:1\"\ntable = [{ name = \"shop.Sales\" }]\nsink.type = \"stdout\"\n",
    )?;
    std::fs::write(
        folder.path().join("metrics.toml"),
        "metrics.clusters = [\"Web\"]\n",
    )?;
    let mut reports = Reports::default();
    for line in WRONG {
        let output = program(env!("CARGO_BIN_EXE_hydrant"))
            .args(line.split_whitespace())
            .current_dir(folder.path())
            .env("COLUMNS", "100")
            .env_remove("AWS_PROFILE")
            .output()?;
        reports.add(format!("hydrant {line}").trim_end(), &output);
        ensure!(!output.status.success(), "{line}: {output:?}");
    }
    reports.assert("usage");
    Ok(())
}
