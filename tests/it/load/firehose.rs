//! `hydrant load firehose` as a user runs it: every row accounted for, stalls that show, limits that
//! are told, and nothing sent that costs money unasked.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hydrant::load::measure::record::Totals;
use hydrant::load::measure::verdict::{Limit, Resource};
use hydrant::sim::Simulator;
use tempfile::TempDir;

use super::{load, page_is_whole, read_report, report_of};
use crate::setup::agent::eventually;
use crate::setup::simulator;

const USAGE: i32 = 64;
const TEMPORARY: i32 = 75;

#[test]
fn every_row_is_accounted_for_and_three_questions_are_answered() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (report, output) = report_of(
        "firehose --ramp 1000..9000 --for 4s --flush-interval 200ms",
        folder.path(),
    )?;
    let all = Totals::of(&report.seconds);
    assert_eq!(all.intended_rows, 20_000);
    assert_eq!(all.offered_rows + report.never_made_rows, 20_000);
    assert_eq!(all.acknowledged_rows, all.offered_rows);
    assert_eq!(report.unacknowledged_rows, 0);
    // A latency for each row, and the simulator has what the client says that it has.
    assert_eq!(report.latencies[0].count, all.acknowledged_rows);
    let judged: Vec<_> = report.seconds.iter().filter_map(|it| it.judged).collect();
    let bytes: u64 = judged.iter().map(|it| it.bytes).sum();
    let records: u64 = judged.iter().map(|it| it.records).sum();
    assert_eq!(
        (bytes, records),
        (all.acknowledged_bytes, all.wire.accepted_records)
    );
    ensure!(all.wire.billed_bytes >= all.acknowledged_bytes, "{all:?}");
    ensure!(
        report.totals.most_rss_bytes > 1 << 20,
        "{:?}",
        report.totals
    );
    // The rates of a ramp grow.
    let intended: Vec<_> = report.seconds.iter().map(|it| it.intended_rows).collect();
    ensure!(intended[..4].is_sorted(), "{intended:?}");
    let printed = String::from_utf8(output.stdout)?;
    for question in [
        "How many rows a second does it take?\n",
        "What breaks first?\n  Its quota of 5.0 MiB a second.",
        "What does it cost a month?\n  $",
    ] {
        ensure!(printed.contains(question), "{printed}");
    }
    page_is_whole(
        &std::fs::read_to_string(folder.path().join("report.html"))?,
        &[
            "Rows a second",
            "Use of each quota",
            "Latency by percentile",
            "Latency over time",
            "Throttles a second",
            "Backlog",
            "Processor of this process",
            "Memory of this process",
        ],
    )?;
    // HdrHistogram's own reader takes the log.
    let log = std::fs::read(folder.path().join("latency.hlog"))?;
    ensure!(log.starts_with(b"#hydrant load"), "no heading");
    let entries = hdrhistogram::serialization::interval_log::IntervalLogIterator::new(&log);
    assert_eq!(entries.flatten().count(), 2 + report.seconds.len());
    Ok(())
}

/// Passes connections on, and holds all their bytes back while it is told to stall.
struct Stalling {
    address: SocketAddr,
    stalls: Arc<AtomicBool>,
}

impl Stalling {
    fn before(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stalls = Arc::new(AtomicBool::new(false));
        let stalling = Self {
            address,
            stalls: Arc::clone(&stalls),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else {
                    return;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                        return;
                    };
                    let stalls = Arc::clone(&stalls);
                    std::thread::spawn(move || pass_on(from, to, &stalls));
                }
            }
        });
        Ok(stalling)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, stalls: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        while stalls.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

#[test]
fn a_target_that_stalls_for_two_seconds_shows_it_in_the_percentiles() -> Result<()> {
    let (folder, objects) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let runtime = tokio::runtime::Runtime::new()?;
    let options = simulator::options(objects.path(), &["S"])?;
    let simulator = runtime.block_on(Simulator::start(options))?;
    let proxy = Stalling::before(simulator.addr())?;
    let mut child = load(&format!(
        "firehose --rate 2000 --for 6s --flush-interval 100ms --stream S --region us-east-1 \
         --region-preset off --endpoint http://{}",
        proxy.address
    ))
    .arg("--out")
    .arg(folder.path())
    .env("AWS_ACCESS_KEY_ID", "any")
    .env("AWS_SECRET_ACCESS_KEY", "any")
    .spawn()?;
    let admitted = || simulator.accounts().streams["S"].total.admitted_records;
    eventually("the load has begun", || Ok((admitted() > 3).then_some(())))?;
    proxy.stalls.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(2));
    proxy.stalls.store(false, Ordering::Relaxed);
    ensure!(child.wait()?.success(), "it failed");
    let report = read_report(folder.path())?;
    assert_eq!(Totals::of(&report.seconds).acknowledged_rows, 12_000);
    // A sixth of all rows was meant for the stall's first second and waited for more than one. A
    // client that waits for answers before it sends more would have had a handful of slow calls.
    let p90 = report.latencies[0].at(90.0).context("no latencies")?;
    ensure!(p90 >= 900.0, "p90 {p90} ms: {:?}", report.latencies[0]);
    runtime.block_on(simulator.shutdown())?;
    Ok(())
}

#[test]
fn what_cannot_be_kept_is_left_out_and_the_target_is_named() -> Result<()> {
    const MOST: u64 = 300 * 1024;
    let folder = tempfile::tempdir()?;
    let (report, output) = report_of(
        "firehose --rate 2000 --row-bytes 1000 --for 5s --bytes-per-second 200KiB \
         --max-backlog 300KiB --patience 2s --flush-interval 100ms",
        folder.path(),
    )?;
    let all = Totals::of(&report.seconds);
    ensure!(all.left_out_rows > 1_000, "{all:?}");
    assert_eq!(
        all.offered_rows + all.left_out_rows + report.never_made_rows,
        10_000
    );
    assert_eq!(
        all.offered_rows,
        all.acknowledged_rows + report.unacknowledged_rows
    );
    // A span of rows may go over it, and no more.
    ensure!(all.most_backlog_bytes <= MOST + 10_000, "{all:?}");
    ensure!(
        matches!(&report.limit, Limit::Target(why) if why.contains("left out")),
        "{:?}",
        report.limit
    );
    let printed = String::from_utf8(output.stdout)?;
    ensure!(printed.contains("planned rows were left out"), "{printed}");
    Ok(())
}

#[test]
fn an_unpaced_client_is_refused_and_that_is_counted_on_both_sides() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = load(
        "firehose --step 100..2000/2 --row-bytes 1000 --for 4s --bytes-per-second 300KiB \
         --unpaced --patience 1s --flush-interval 100ms",
    )
    .arg("--out")
    .arg(folder.path())
    .output()?;
    let report = read_report(folder.path())?;
    // More was sent than is taken in time, and that is no success.
    let code = if report.unacknowledged_rows > 0 {
        TEMPORARY
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(code), "{report:?}");
    let all = Totals::of(&report.seconds);
    let refused: u64 = report
        .seconds
        .iter()
        .filter_map(|it| it.judged)
        .map(|it| it.refused_records)
        .sum();
    ensure!(all.wire.refused_records > 0, "{all:?}");
    // A request may be under way when the run ends.
    ensure!(refused >= all.wire.refused_records, "{refused} {all:?}");
    ensure!(
        matches!(report.limit, Limit::Target(_)),
        "{:?}",
        report.limit
    );
    Ok(())
}

#[test]
fn a_harness_without_a_target_says_that_it_is_the_limit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // More than any machine makes.
    let (report, output) = report_of("firehose --rate 1e9 --for 2s --target null", folder.path())?;
    ensure!(
        matches!(report.limit, Limit::Harness(_)),
        "{:?}",
        report.limit
    );
    ensure!(report.never_made_rows > 0, "{report:?}");
    let printed = String::from_utf8(output.stdout)?;
    ensure!(printed.contains("the harness was the limit"), "{printed}");
    Ok(())
}

#[test]
fn a_signal_ends_a_run_early_with_its_report() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let plan = folder.path().join("plan.csv");
    std::fs::write(&plan, "second,rate\n0,500\n2,1000\n600,0\n")?;
    let mut child = load("firehose --flush-interval 100ms --plan")
        .arg(&plan)
        .arg("--out")
        .arg(folder.path())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut log = child.stderr.take().context("no log")?;
    // The first line comes after five seconds.
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(" rows/s of ") {
        let len = log.read(&mut buffer)?;
        ensure!(len > 0, "it ended: {text}");
        text += &String::from_utf8_lossy(&buffer[..len]);
    }
    let status = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status()?;
    ensure!(status.success());
    ensure!(child.wait()?.success());
    let report = read_report(folder.path())?;
    assert_eq!(report.ended, "stopped by SIGINT");
    assert_eq!(report.unacknowledged_rows, 0);
    assert_eq!(report.seconds[0].intended_rows, 500);
    assert_eq!(report.seconds[3].intended_rows, 1_000);
    Ok(())
}

/// Whom it asks first, a database or the machine's metadata, never answers.
#[test]
fn a_signal_ends_the_preparation_of_a_run_at_once() -> Result<()> {
    for signal in ["TERM", "INT", "HUP"] {
        for arguments in [
            "mysql --rate 10 --table shop.Load --url mysql://root@ADDRESS",
            "firehose --rate 10 --endpoint http://ADDRESS",
        ] {
            let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            silent.set_nonblocking(true)?;
            let address = silent.local_addr()?.to_string();
            let folder = tempfile::tempdir()?;
            let mut child = load(&arguments.replace("ADDRESS", &address))
                .env_remove("AWS_DEFAULT_REGION")
                .env("HOME", folder.path())
                .env("AWS_EC2_METADATA_DISABLED", "false")
                .env(
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                    format!("http://{address}"),
                )
                .stderr(Stdio::piped())
                .spawn()?;
            let _asked = eventually("it asks", || Ok(silent.accept().ok()))?;
            let status = Command::new("kill")
                .args(["-s", signal, &child.id().to_string()])
                .status()?;
            ensure!(status.success());
            let status = eventually("it ends", || Ok(child.try_wait()?))?;
            let mut log = String::new();
            child
                .stderr
                .take()
                .context("no log")?
                .read_to_string(&mut log)?;
            ensure!(status.success(), "{arguments}: {status}: {log}");
            let said = format!("SIG{signal}: stopping before the start is done");
            ensure!(log.contains(&said), "{arguments}: {log}");
        }
    }
    Ok(())
}

#[test]
fn nothing_is_sent_that_costs_money_unasked_and_mistakes_have_remedies() -> Result<()> {
    let folder = TempDir::new()?;
    let bad_plan = folder.path().join("plan.csv");
    std::fs::write(&bad_plan, "0,5\n1,fast\n")?;
    let bad_plan = format!("firehose --plan {}", bad_plan.display());
    for (arguments, says) in [
        ("firehose --target aws --rate 1000 --for 1h", "--i-will-pay"),
        (
            "firehose --endpoint https://vpce-1.firehose.us-east-1.vpce.amazonaws.com --find-knee",
            "--i-will-pay",
        ),
        ("firehose", "--find-knee"),
        ("firehose --rate 0", "no row in the plan"),
        ("firehose --spike 1..2/9s --for 5s", "longer than the plan"),
        (&bad_plan, "line 2 is not a second and a rate"),
    ] {
        let output = load(arguments).output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{arguments}: {log}");
        ensure!(log.contains(says), "{arguments}: {log}");
    }
    // 3.6 million rows of 66 bytes.
    let output = load("firehose --target aws --rate 1000 --for 1h").output()?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(
        printed.starts_with("Estimate for stream hydrant-load"),
        "{printed}"
    );
    ensure!(
        printed.contains("3,600,000 rows") && printed.contains("$0.01"),
        "{printed}"
    );
    Ok(())
}

#[test]
fn the_knee_is_found_below_the_quota_and_the_quota_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // 400 rows a second, of which a paced client uses about 95 in 100. Nothing waits for others.
    let (report, output) = report_of(
        "firehose --find-knee --row-bytes 1024 --bytes-per-second 400KiB --trial 5s --precision 20% \
         --first-rate 150 --flush-interval 50ms --max-p99 1s --max-throttled 1%",
        folder.path(),
    )?;
    let knee = report.knee.context("no knee")?;
    let (held, broke) = (
        knee.held.context("no rate held")?,
        knee.broke.context("none broke")?,
    );
    // A trial is short and the machine may be busy, so that a rate may break that would have held.
    ensure!(held < 420.0 && broke / held <= 1.2 + 1e-9, "{held} {broke}");
    ensure!(
        report
            .trials
            .iter()
            .any(|trial| trial.held() && (trial.rate - held).abs() < 1e-9)
    );
    if broke > 380.0 {
        assert_eq!(knee.resource, Some(Resource::Bytes));
        let printed = String::from_utf8(output.stdout)?;
        ensure!(
            printed.contains("What breaks first?\n  Its quota of 400.0 KiB a second"),
            "{printed}"
        );
    }
    let page = std::fs::read_to_string(folder.path().join("report.html"))?;
    ensure!(page.contains("Rates that were tried"));
    Ok(())
}

/// What is printed of two runs in a folder. The page is written there, too.
fn compared(folder: &Path, a: &str, b: &str) -> Result<String> {
    let output = load("compare")
        .arg(folder.join(a).join("result.json"))
        .arg(folder.join(b).join("result.json"))
        .arg("--out")
        .arg(folder.join("compare.html"))
        .arg("--force")
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn two_runs_are_compared_and_what_differs_is_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |name: &str, flush: &str| {
        report_of(
            &format!("firehose --rate 500 --for 9s --flush-interval {flush}"),
            &folder.path().join(name),
        )
    };
    run("a", "50ms")?;
    run("b", "900ms")?;
    let compare = |a: &str, b: &str| compared(folder.path(), a, b);
    let line = |text: &str, name: &str| {
        let found = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        found.map(str::to_owned).with_context(|| text.to_owned())
    };
    // Waiting 18 times as long is seen, and that both took all rows.
    let differ = compare("a", "b")?;
    ensure!(
        line(&differ, "median latency")?.ends_with("B is worse"),
        "{differ}"
    );
    ensure!(line(&differ, "p99 ")?.ends_with("B is worse"), "{differ}");
    ensure!(
        differ.contains("settings that differ\n  --flush-interval: A 0.05 s, B 0.9 s\n"),
        "{differ}"
    );
    ensure!(
        line(&differ, "billed bytes a row")?.ends_with("B is better"),
        "{differ}"
    );
    let page = std::fs::read_to_string(folder.path().join("compare.html"))?;
    ensure!(
        page.contains("Settings that differ") && page.contains("0.05 s"),
        "no settings"
    );
    page_is_whole(
        &page,
        &[
            "Rows a second",
            "Latency by percentile",
            "Median latency",
            "99th percentile of latency",
            "Records not accepted a second",
            "Backlog",
            "Processor: cores used",
            "Memory",
        ],
    )?;
    // A run does not differ from itself.
    let same = compare("a", "a")?;
    ensure!(
        !same.contains("better") && !same.contains("worse"),
        "{same}"
    );
    for (a, code) in [("a/report.html", 65), ("nothing.json", USAGE)] {
        let file = folder.path().join(a);
        let output = load("compare").arg(&file).arg(&file).output()?;
        assert_eq!(output.status.code(), Some(code));
    }
    Ok(())
}
