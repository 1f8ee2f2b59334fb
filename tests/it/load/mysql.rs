//! `hydrant load mysql` against a real server: every committed row is followed to an object, and a
//! table of somebody else's is left alone.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use hydrant::load::report::Report;

use hydrant::load::measure::record::Totals;

use super::{load, page_is_whole, read_report};
use crate::setup::agent::eventually;
use crate::setup::database::Schema;

fn load_mysql(schema: &Schema, arguments: &str) -> Command {
    let mut command = load("mysql");
    command
        .args(["--url", &schema.url, "--table"])
        .arg(format!("{}.Load", schema.name))
        .args(arguments.split_whitespace());
    command
}

fn findings_of(schema: &Schema, arguments: &str, folder: &Path) -> Result<(Report, Output)> {
    let output = load_mysql(schema, arguments)
        .arg("--out")
        .arg(folder)
        .arg("--force")
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    Ok((read_report(folder)?, output))
}

fn figure(findings: &Report, name: &str) -> Result<u64> {
    let figure = findings.figure(name);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small counts"
    )]
    let figure = figure.map(|figure| figure as u64);
    figure.with_context(|| format!("no {name}: {findings:?}"))
}

#[test]
fn committed_rows_are_followed_to_the_sink_and_to_the_disk() -> Result<()> {
    let mut schema = Schema::create()?;
    let folder = tempfile::tempdir()?;
    let mut rows_before = 0;
    for sink in ["firehose", "dir"] {
        let arguments = format!(
            "--rate 20 --rows-per-transaction 3 --for 2s --flush-interval 100ms --sink {sink}"
        );
        let (findings, output) = findings_of(&schema, &arguments, folder.path())?;
        let begun = figure(&findings, "begun transactions")?;
        let rows = figure(&findings, "committed rows")?;
        ensure!((1..=40).contains(&begun), "{findings:?}");
        assert_eq!(figure(&findings, "intended transactions")?, 40);
        assert_eq!(figure(&findings, "committed transactions")?, begun);
        assert_eq!(rows, 3 * begun);
        for none in ["unacknowledged rows", "missing rows", "repeated rows"] {
            assert_eq!(figure(&findings, none)?, 0, "{sink}: {none}");
        }
        let table: u64 = schema
            .value("SELECT CAST(COUNT(*) AS CHAR) FROM `Load`")?
            .parse()?;
        assert_eq!(table - rows_before, rows, "{sink}");
        rows_before = table;
        for latency in &findings.latencies {
            assert_eq!(latency.count, begun, "{sink}: {}", latency.name);
            ensure!(latency.at(99.9).is_some());
        }
        let printed = String::from_utf8(output.stdout)?;
        ensure!(printed.contains(&format!("Yes, all {rows}.")), "{printed}");
        let name = "from commit to the sink's acknowledgement\n  p50 ";
        ensure!(printed.contains(name), "{printed}");
        // The seconds have every row, too: planned, begun and acknowledged.
        let all = Totals::of(&findings.seconds);
        assert_eq!(all.intended_rows, 120, "{sink}");
        assert_eq!((all.offered_rows, all.acknowledged_rows), (rows, rows));
        ensure!(findings.has_latencies() && findings.planned_seconds == 2);
        assert_eq!(findings.seconds.last().unwrap().gauges.backlog_rows, 0);
        let page = std::fs::read_to_string(folder.path().join("report.html"))?;
        let mut charts = vec![
            "Rows a second",
            "Latency by percentile",
            "Latency over time",
            "Processor of this process",
            "Memory of this process",
        ];
        // Everything may have been acknowledged whenever a second ended.
        let mut seconds = findings.seconds.iter();
        if seconds.any(|second| second.gauges.backlog_rows > 0) {
            charts.insert(3, "Backlog");
        }
        page_is_whole(&page, &charts)?;
        let log = std::fs::read_to_string(folder.path().join("latency.hlog"))?;
        let lines = log.lines().filter(|line| line.contains(",HIST"));
        assert_eq!(lines.count(), findings.seconds.len(), "{log}");
    }
    Ok(())
}

#[test]
fn somebody_elses_table_is_left_alone_unless_that_is_asked_for() -> Result<()> {
    let mut schema = Schema::create()?;
    schema.sql(
        "CREATE TABLE `Load` (ItemID int, Category varchar(255), Price double, Quantity int, \
         OrderDate timestamp NULL, DestinationState varchar(2), ShippingType varchar(255), \
         Referral varchar(255))",
    )?;
    let count = "SELECT CAST(COUNT(*) AS CHAR) FROM `Load`";
    let output = load_mysql(&schema, "--rate 5 --for 1s --sink dir").output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{log}");
    ensure!(log.contains("--existing-table"), "{log}");
    assert_eq!(schema.value(count)?, "0");
    let folder = tempfile::tempdir()?;
    let arguments = "--rate 5 --for 1s --sink dir --flush-interval 100ms --existing-table";
    let (findings, _) = findings_of(&schema, arguments, folder.path())?;
    let rows = figure(&findings, "committed rows")?;
    assert_eq!(schema.value(count)?, rows.to_string());
    Ok(())
}

#[test]
fn rows_that_do_not_arrive_in_time_are_told_and_end_it_badly() -> Result<()> {
    let schema = Schema::create()?;
    let folder = tempfile::tempdir()?;
    // The agent would send them after an hour.
    let arguments = "--rate 5 --for 1s --sink dir --flush-interval 1h --patience 0s";
    let output = load_mysql(&schema, arguments)
        .arg("--out")
        .arg(folder.path())
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{log}");
    let findings = read_report(folder.path())?;
    let rows = figure(&findings, "committed rows")?;
    ensure!(rows > 0, "{findings:?}");
    assert_eq!(figure(&findings, "missing rows")?, rows);
    let told = format!("of {rows} committed rows, {rows} are in no object");
    ensure!(log.contains(&told), "{log}");
    Ok(())
}

#[test]
fn a_signal_ends_a_run_early_and_what_was_committed_is_still_followed() -> Result<()> {
    let mut schema = Schema::create()?;
    let folder = tempfile::tempdir()?;
    let arguments = "--rate 50 --for 1h --flush-interval 100ms";
    let mut child = load_mysql(&schema, arguments)
        .arg("--out")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()?;
    let count = "SELECT CAST(COUNT(*) AS CHAR) FROM `Load`";
    eventually("rows are there", || {
        let rows = schema.value(count).ok().and_then(|it| it.parse().ok());
        Ok(rows.filter(|rows: &u64| *rows >= 50))
    })?;
    let status = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status()?;
    ensure!(status.success() && child.wait()?.success());
    let findings = read_report(folder.path())?;
    assert_eq!(findings.ended, "stopped by SIGINT");
    assert_eq!(figure(&findings, "missing rows")?, 0);
    // An insert that the signal cut short may be committed, unknown to its writer.
    let rows: u64 = schema.value(count)?.parse()?;
    ensure!(
        (1..=rows).contains(&figure(&findings, "committed rows")?),
        "{findings:?}"
    );
    Ok(())
}

#[test]
fn a_server_that_is_not_there_and_impossible_plans_are_told() -> Result<()> {
    for (arguments, code) in [
        ("mysql --url mysql://root@127.0.0.1:1 --rate 5 --for 1s", 69),
        ("mysql --url mysql://root@127.0.0.1:1 --rate 0 --for 1s", 64),
        (
            "mysql --url mysql://root@127.0.0.1:1 --rate 1e6 --for 1h",
            64,
        ),
        (
            "mysql --url mysql://root@127.0.0.1:1 --rate 5 --table Sales",
            78,
        ),
    ] {
        let output = load(arguments).output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {log}");
    }
    Ok(())
}
