//! `make demo`: MySQL, the simulator and the agent as separate processes; 20,000 sales; a kill -9
//! half-way; the blog's two questions, asked of MySQL and of the delivered objects; and an ECS
//! cluster that scales while the poller follows.
//!
//! What lives here: the story in its order. Each thing in it has a file of its own.

mod answers;
mod cluster;
mod duckdb;
mod hydrant;
mod objects;
mod process;
mod progress;
mod shop;
mod stage;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanCount;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use objects::Objects;
use progress::Progress;
use shop::{Shop, TRANSACTION_ROWS, WRITER_COUNT, Writers};
use stage::Stage;

/// The repository.
const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// Sales to insert.
const ROW_COUNT: u64 = 20_000;
/// How long the agent stays dead.
const DEAD_TIME: Duration = Duration::from_millis(1_500);
/// How long nothing may happen before the demo gives up.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How often everything is looked at.
const POLL: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe demo failed: {}", describe(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that are in the text already.
fn describe(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text {
            text if text.contains(&cause) => text,
            text if text.is_empty() => cause,
            text => format!("{text}: {cause}"),
        })
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Whichever ends it, all processes end with it.
        tokio::select! {
            told = tell() => told,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    runtime.shutdown_background();
    outcome
}

async fn tell() -> Result<()> {
    let start = Instant::now();
    let project = Path::new(PROJECT);
    let (data, _lock) = make_data_dir(project)?;
    let python = spawn_blocking(|| duckdb::python(project)).await??;

    println!(
        "MySQL -> hydrant cdc -> Amazon Data Firehose (hydrant sim) -> gzip objects -> DuckDB\n"
    );
    println!("1. Starting three processes");
    let mut stage = Stage::set(project, &data).await?;

    println!(
        "\n2. Inserting {} sales from {WRITER_COUNT} writers, 1 to {TRANSACTION_ROWS} a transaction; \
         kill -9 half-way",
        HumanCount(ROW_COUNT)
    );
    let mut objects = Objects::new(stage.hydrant.objects());
    insert_and_deliver(&mut stage, &mut objects).await?;
    let mut shop = stage.strike().await?;
    objects.look()?;
    println!("   agent and simulator are stopped");

    println!("\n3. Reading the objects with DuckDB");
    read_and_compare(&python, &mut shop, &objects).await?;
    shop.drop_user().await?;
    drop(shop);

    println!(
        "\n5. An ECS cluster scales out and in -> hydrant metrics -> CloudWatch, every second\n"
    );
    cluster::show(project, &data).await?;

    say_what_next(&data, &objects)?;
    println!(
        "\nThat took {:.0} seconds, and nothing is left running.",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The folder of this run, and what keeps it to this run. What an earlier one left is removed.
fn make_data_dir(project: &Path) -> Result<(PathBuf, File)> {
    let target = project.join("target");
    fs::create_dir_all(&target)?;
    let lock = File::create(target.join("demo.lock"))?;
    ensure!(lock.try_lock().is_ok(), "another demo is running here");
    let data = target.join("demo");
    match fs::remove_dir_all(&data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", data.display()));
        }
        _ => fs::create_dir(&data).with_context(|| format!("cannot create {}", data.display()))?,
    }
    Ok((data, lock))
}

/// The agent's part in the story.
enum Act {
    First,
    Dead { since: Instant },
    Second,
}

impl Act {
    fn agent_is_alive(&self) -> bool {
        match self {
            Act::First | Act::Second => true,
            Act::Dead { .. } => false,
        }
    }

    /// Kills the agent half-way, and starts another after a while.
    fn next(
        self,
        stage: &mut Stage,
        inserted: u64,
        progress: &Progress,
        counts: &str,
    ) -> Result<Self> {
        match self {
            Act::First if inserted >= ROW_COUNT / 2 => {
                stage.kill_agent()?;
                let id = stage.agent_id();
                progress.say(&format!(
                    "kill -9 {id}: the agent is dead, with {counts}; the writers go on"
                ));
                Ok(Act::Dead {
                    since: Instant::now(),
                })
            }
            Act::Dead { since } if since.elapsed() >= DEAD_TIME => {
                stage.restart_agent()?;
                let (id, checkpoint) = (stage.agent_id(), short(&stage.hydrant.checkpoint()));
                progress.say(&format!(
                    "process {id} goes on from {checkpoint}, with {counts}"
                ));
                Ok(Act::Second)
            }
            Act::First | Act::Dead { .. } | Act::Second => Ok(self),
        }
    }
}

async fn insert_and_deliver(stage: &mut Stage, objects: &mut Objects) -> Result<()> {
    let start = Instant::now();
    let mut writers = Writers::start(&stage.shop, ROW_COUNT);
    let mut progress = Progress::new(ROW_COUNT);
    let mut act = Act::First;
    let mut last = (0, 0);
    let mut moved_at = Instant::now();
    while objects.row_count() < ROW_COUNT {
        sleep(POLL).await;
        writers.ensure_well()?;
        stage.ensure_running(act.agent_is_alive())?;
        objects.look()?;
        let now = (writers.inserted(), objects.row_count());
        if now != last {
            (last, moved_at) = (now, Instant::now());
        }
        let (inserted, delivered) = now;
        let agent = if act.agent_is_alive() {
            format!("runs as {}", stage.agent_id())
        } else {
            "is dead".into()
        };
        progress.show(inserted, delivered, &agent);
        let counts = format!(
            "{} inserted, {} delivered",
            HumanCount(inserted),
            HumanCount(delivered)
        );
        ensure!(
            moved_at.elapsed() < STALL_LIMIT,
            "nothing has moved for {STALL_LIMIT:?}, with {counts}; {}",
            stage.agent_log_tail()
        );
        act = act.next(stage, inserted, &progress, &counts)?;
    }
    drop(progress);
    ensure!(
        matches!(act, Act::Second),
        "everything was delivered before the kill"
    );
    println!(
        "   all {} sales of {} transactions are delivered, after {:.1} s",
        HumanCount(objects.row_count()),
        HumanCount(objects.transaction_count()),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn read_and_compare(python: &Path, shop: &mut Shop, objects: &Objects) -> Result<()> {
    shop.build_date_dimension().await?;
    let report = spawn_blocking({
        let (python, dir) = (python.to_owned(), objects.dir().to_owned());
        move || duckdb::ask(&python, Path::new(PROJECT), &dir)
    })
    .await??;

    println!(
        "   DuckDB {} reads {} lines in {} objects; {}",
        report.duckdb,
        HumanCount(report.lines),
        objects.count(),
        match report.lines.saturating_sub(report.rows) {
            0 => "this time, kill -9 had none of them delivered twice".to_owned(),
            count => format!(
                "{} were delivered twice, because of the kill -9",
                HumanCount(count)
            ),
        }
    );
    println!(
        "   by the columns position and ordinal that makes {} sales, and there are {} in MySQL",
        HumanCount(report.rows),
        HumanCount(shop.row_count().await?)
    );
    ensure!(
        report.rows == ROW_COUNT,
        "DuckDB finds {} sales, not {ROW_COUNT}",
        report.rows
    );
    ensure!(
        report.distinct_lines == ROW_COUNT,
        "a line that came twice is not the same both times"
    );
    ensure!(
        shop.row_count().await? == ROW_COUNT,
        "MySQL has not {ROW_COUNT} sales"
    );

    println!("\n4. The blog's two questions\n");
    let mut agree = true;
    for (title, question) in [
        ("Total sales by season", "total_sales_by_season"),
        ("Total sales by weekday", "total_sales_by_day_of_week"),
    ] {
        let ours: Vec<(String, String)> = shop.answer(question).await?;
        agree &= answers::compare(title, &ours, report.answer(question)?);
    }
    ensure!(
        agree,
        "MySQL and DuckDB disagree: the rows are marked above"
    );
    println!("   MySQL and the delivered objects agree to the cent.");

    let mut ours: Vec<String> = shop.answer("sales_as_text").await?;
    let mut theirs = report.answer("sales_as_text")?.concat();
    ours.sort_unstable();
    theirs.sort_unstable();
    ensure!(
        ours == theirs,
        "the sales that DuckDB reads are not MySQL's, though there are as many"
    );
    let awkward = ours
        .iter()
        .filter(|sale| sale.contains([',', '"', '\n']))
        .count();
    println!(
        "   All eight columns of all sales are the same, also of the {} with commas, quotes or newlines.",
        HumanCount(awkward as u64)
    );
    Ok(())
}

fn say_what_next(data: &Path, objects: &Objects) -> Result<()> {
    let dir = data.join("objects");
    let dir = short(&dir);
    println!(
        "\nThe {} objects are in {dir}, under Firehose's names. Some lines:\n",
        objects.count()
    );
    for line in objects.sample()? {
        println!("   {line}");
    }
    println!("\nTry next:\n");
    for (command, what) in [
        (
            format!("zcat $(find {dir} -name '*.gz') | less"),
            "all lines",
        ),
        (
            format!("target/demo-venv/bin/python demo/query.py {dir}"),
            "ask DuckDB again",
        ),
        (
            format!("cat {}", short(&data.join("hydrant.toml"))),
            "a start for your own",
        ),
    ] {
        println!("   {command:68} # {what}");
    }
    Ok(())
}

/// A path as seen from here.
fn short(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}
