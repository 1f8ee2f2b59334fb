//! Reports of targets that fail: they say of rows, of the limit and of latency what the simulator's own account says.

use std::path::Path;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};
use hydrant::load::measure::record::Totals;
use hydrant::load::measure::verdict::Limit;
use hydrant::load::report::Report;
use hydrant::sim::{Options, Simulator, StreamAccount};

use super::{load, read_report};
use crate::setup::simulator;

const TEMPORARY: i32 = 75;

/// Runs a load against a simulator with these faults. Gives the report, what was printed, and the simulator's account.
fn run(faults: &str, arguments: &str, folder: &Path) -> Result<(Report, Output, StreamAccount)> {
    let script = folder.join("faults.toml");
    std::fs::write(&script, faults)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let options = Options {
        faults: Some(script),
        ..simulator::options(&folder.join("objects"), &["S"])?
    };
    let simulator = runtime.block_on(Simulator::start(options))?;
    let out = folder.join("report");
    let output = load(arguments)
        .args(["--stream", "S", "--region", "us-east-1", "--endpoint"])
        .arg(simulator.endpoint_url())
        .arg("--out")
        .arg(&out)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .output()?;
    let account = simulator.accounts().streams["S"].clone();
    let report = read_report(&out).with_context(|| format!("{output:?}"))?;
    Ok((report, output, account))
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_target_that_dies_is_not_reported_as_having_taken_everything() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // The first two requests are answered.
    let faults = "[[fault]]\ncall = \"firehose:PutRecordBatch\"\nrequest = \"3-\"\ntimeout = 60\n";
    let arguments = "firehose --rate 1000 --for 4s --flush-interval 500ms --patience 2s";
    let (report, output, account) = run(faults, arguments, folder.path())?;
    let printed = printed(&output);
    let all = Totals::of(&report.seconds);
    // What was never answered was admitted all the same, and is in nobody's hands.
    let confirmed = account.total.admitted_rows - account.unconfirmed.rows;
    assert_eq!(all.acknowledged_rows, confirmed, "{printed}");
    ensure!(confirmed > 500, "{account:?}");
    assert_eq!(report.unacknowledged_rows, all.offered_rows - confirmed);
    assert_eq!(output.status.code(), Some(TEMPORARY), "{printed}");
    ensure!(
        matches!(&report.limit, Limit::Target(why) if why.contains("never acknowledged") && why.contains("to the end")),
        "{:?}",
        report.limit
    );
    ensure!(!printed.contains("took all"), "{printed}");
    // The rows that were never acknowledged are three quarters of all. The plan is over for two seconds.
    let latency = &report.latencies[0];
    assert_eq!(latency.count, all.offered_rows);
    let p50 = latency.at(50.0).context("no latencies")?;
    ensure!(p50 >= 2_000.0, "{latency:?}");
    ensure!(printed.contains("p99 at least "), "{printed}");
    Ok(())
}

#[test]
fn a_stall_is_named_and_gives_no_higher_rate() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let faults = "[[fault]]\ncall = \"firehose:PutRecordBatch\"\nfrom = 3\nuntil = 6\n\
                  error = \"ServiceUnavailableException\"\n";
    let arguments = "firehose --rate 2000 --for 8s --flush-interval 100ms";
    let (report, output, account) = run(faults, arguments, folder.path())?;
    let printed = printed(&output);
    ensure!(output.status.success(), "{printed}");
    assert_eq!(account.total.admitted_rows, 16_000);
    let all = Totals::of(&report.seconds);
    assert_eq!(all.acknowledged_rows + report.never_made_rows, 16_000);
    ensure!(report.headline.value <= 2_000.0, "{:?}", report.headline);
    let breaks = printed
        .split("What breaks first?")
        .nth(1)
        .context("no answer")?;
    ensure!(breaks.contains("nothing was acknowledged for"), "{printed}");
    ensure!(
        report.seconds.iter().any(|second| second.is_silent),
        "{:?}",
        report.seconds
    );
    Ok(())
}

#[test]
fn a_search_against_a_target_that_refuses_everything_prices_nothing_and_names_no_quota()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let faults = "[[fault]]\ncall = \"firehose:PutRecordBatch\"\nrefuse_records = { every = 1 }\n";
    let arguments = "firehose --find-knee --first-rate 400 --trial 3s --max-p99 1s --flush-interval 100ms \
         --bytes-per-second 5MiB";
    let (report, output, account) = run(faults, arguments, folder.path())?;
    let printed = printed(&output);
    assert_eq!(account.total.admitted_rows, 0);
    // Less would not be taken, either.
    assert_eq!(report.trials.len(), 1, "{printed}");
    let knee = report.knee.as_ref().context("no knee")?;
    assert_eq!((knee.held, knee.resource), (None, None), "{printed}");
    ensure!(
        !printed.contains('$') && !printed.contains("Its quota of"),
        "{printed}"
    );
    let page = std::fs::read_to_string(folder.path().join("report/report.html"))?;
    let longest = page
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max();
    ensure!(longest < Some(20), "a number of {longest:?} digits");
    Ok(())
}
