//! `hydrant load mysql`: sales into a real server, followed through the agent to the disk.
//!
//! What lives here: the run with its writers and the agent beside it, and what is concluded. What
//! does not: the agent ([`crate::cdc`]), the table and the inserts (`sales_writer`), how far each
//! row has come ([`follow`]), and where that is seen (`markers`).

pub mod follow;
mod markers;
mod sales_writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};
use tracing::info;
use uuid::Uuid;

use crate::cdc::{self, AgentSummary, Until};
use crate::config::{self, CheckpointPlace, Config, Source};
use crate::encode::Dialect;
use crate::signals::{SignalRequest, Signals};
use crate::sim::QuotaPreset;
use crate::sink::{Sink, StagingDir, TableFolder};
use crate::{Error, Exit, Failure};

use crate::load::machine::{cores, report_of};
use crate::load::measure::record::{Second, Totals, Wire};
use crate::load::measure::verdict::{Limit, MissedRows};
use crate::load::options::{MysqlLoadOptions, MysqlSink, Target, TargetOptions};
use crate::load::report::text::{count, ms};
use crate::load::report::{Answer, Figure, Headline, Parameter, Report};
use crate::load::session::Session;
use follow::Count;
use markers::{FolderWatch, Marked, RowTracker};
use sales_writer::{COLUMNS, SalesTable, SalesWriter, TransactionPlan, table_name};

/// Rows of a run; each takes some dozens of bytes of memory until the end.
const MOST_ROWS: f64 = 10e6;
/// How long the agent may take until it follows.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// How often conditions are polled that cause no notification.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `hydrant load mysql`.
///
/// # Errors
/// If the database, the agent or the sink cannot be used or fail, or if a committed row did not
/// arrive exactly once. The report is written before the latter.
pub(super) async fn run(options: &MysqlLoadOptions) -> Result<(), Error> {
    let rows =
        options.rate * options.length.as_secs_f64() * f64::from(options.rows_per_transaction);
    if !(1.0..=MOST_ROWS).contains(&rows) {
        return Err(Error::Failure(Failure::definite(
            Exit::Usage,
            format!("the plan has {} rows", count(rows)),
            "choose --rate, --rows-per-transaction and --for so that there are 1 to 10 million",
        )));
    }
    let folder = tempfile::tempdir().map_err(|error| {
        let what = format!("cannot make a temporary folder: {error}");
        Failure::definite(Exit::Unavailable, what, "free the disk, or set TMPDIR")
    })?;
    let config = agent_config(options, folder.path())?;
    options.out.prepare()?;
    let mut signals = Signals::new()?;
    let Some(writers) = signals
        .unless_stopped(prepare(options, &config.source))
        .await
    else {
        return Ok(());
    };
    let writers = writers?;
    let tracker = RowTracker::begin(options.rows_per_transaction.into());
    let followed = match options.sink {
        MysqlSink::Dir => {
            let objects = folder.path().join("objects");
            let (schema, table) = table_name(&options.table)?;
            let folder = TableFolder::new(&schema, &table, Dialect::default());
            let owner = Uuid::new_v4();
            let sink = StagingDir::open(&objects, vec![folder], owner, config.max_in_flight)?;
            let watch = FolderWatch::start(&objects, Arc::clone(&tracker));
            let sink = Marked::new(sink, Arc::clone(&tracker));
            let followed = follow(options, &config, sink, writers, &tracker, &mut signals).await?;
            watch.finish();
            followed
        }
        MysqlSink::Firehose => {
            let target = simulated_stream();
            let simulator = target
                .start_simulator(Some(options.buffer_interval))
                .await?;
            let simulator = simulator.expect("the target is the simulator");
            let watch = FolderWatch::start(simulator.folder(), Arc::clone(&tracker));
            let sink = target.connect(Some(&simulator)).await?;
            let sink = Marked::new(sink, Arc::clone(&tracker));
            let followed = follow(options, &config, sink, writers, &tracker, &mut signals).await?;
            let folder = simulator.shutdown().await?;
            watch.finish();
            drop(folder);
            followed
        }
    };
    drop::<TempDir>(folder);
    let Some((session, ended)) = followed else {
        return Ok(());
    };
    session.live.end();
    let report = conclude(options, &session, &ended, &tracker);
    options.out.finish(&report, &session.intervals)?;
    check(&tracker.follow().count())
}

/// The table, and connections to write into it.
async fn prepare(options: &MysqlLoadOptions, source: &Source) -> Result<Vec<SalesWriter>, Error> {
    let table = SalesTable::prepare(source, &options.table, options.existing_table).await?;
    info!("rows are inserted into {} and kept there", options.table);
    let mut writers = Vec::new();
    for _ in 0..options.writers {
        writers.push(SalesWriter::connect(source, &table).await?);
    }
    Ok(writers)
}

/// The agent from the newest event on, with a checkpoint of its own.
fn agent_config(options: &MysqlLoadOptions, folder: &Path) -> Result<Config, Error> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let password = options.password.as_deref().map(quoted);
    let password = password.map_or(String::new(), |it| format!("password = {it}\n"));
    let columns: Vec<String> = COLUMNS.iter().map(|column| quoted(column)).collect();
    let text = format!(
        "[checkpoint]\npath = {}\n[source]\nurl = {}\nstart = \"latest\"\n{password}\
         [[table]]\nname = {}\ncolumns = [{}]\n[sink]\ntype = \"stdout\"\n",
        quoted(&folder.join("checkpoint.json").to_string_lossy()),
        quoted(&options.url),
        quoted(&options.table),
        columns.join(", "),
    );
    let mut config = config::written(&text)?;
    config.flush_interval = options.flush_interval;
    Ok(config)
}

fn simulated_stream() -> TargetOptions {
    TargetOptions {
        target: Target::Simulator,
        endpoint: None,
        stream: "hydrant-load".to_owned(),
        region: None,
        region_preset: Some(QuotaPreset::UsEast1),
        requests_per_second: None,
        records_per_second: None,
        bytes_per_second: None,
        unpaced: false,
        i_will_pay: false,
    }
}

type Running = JoinHandle<Result<AgentSummary, Error>>;

/// Starts the agent, lets the writers write, and waits until everything is on disk or nothing more
/// comes. Gives the record of the seconds, and why it ended; `None` if it was stopped before anything was written.
async fn follow<S: Sink>(
    options: &MysqlLoadOptions,
    config: &Config,
    sink: Marked<S>,
    writers: Vec<SalesWriter>,
    tracker: &Arc<RowTracker>,
    signals: &mut Signals,
) -> Result<Option<(Session, String)>, Error> {
    let start = |until| tokio::spawn(cdc::run_to(config.clone(), sink.clone(), until));
    let mut agent = start(None);
    // As [`agent_config`] has it.
    let CheckpointPlace::File(checkpoint) = &config.checkpoint else {
        return Ok(None);
    };
    let following = until_it_follows(&mut agent, checkpoint);
    let Some(follows) = signals.unless_stopped(following).await else {
        agent.abort();
        return Ok(None);
    };
    follows?;
    let mut session = Session::begin(options.out.out.is_some()).await;
    let plan = TransactionPlan {
        start: tracker.elapsed(),
        rate: options.rate,
        transactions: (options.rate * options.length.as_secs_f64()) as u64,
        length: options.length,
    };
    session.live.begin("load mysql", options.length);
    let mut writing = plan.start(writers, tracker);
    let mut ended = "as planned".to_owned();
    while !writing.is_empty() {
        let second_ends = session.instant(session.second_ends());
        tokio::select! {
            asked = signals.next() => if let SignalRequest::Stop(signal) = asked {
                ended = format!("stopped by {signal}");
                writing.shutdown().await;
            },
            Some(done) = writing.join_next() => done.map_err(|error| internal(&error))??,
            () = sleep_until(second_ends.into()) => close_seconds(&mut session, tracker, &plan),
        }
    }
    if ended != "as planned" {
        // The same signal has ended the agent, which has delivered what it had read. There may be
        // more.
        finished(agent.await)?;
        agent = start(Some(Until::Now));
        finished((&mut agent).await)?;
    }
    let deadline = Instant::now() + options.patience;
    while Instant::now() < deadline && !is_everywhere(&tracker.follow().count()) {
        if agent.is_finished() && ended == "as planned" {
            finished(agent.await)?;
            "the agent was stopped by a signal".clone_into(&mut ended);
            return Ok(Some((session, ended)));
        }
        sleep(LOOK).await;
        close_seconds(&mut session, tracker, &plan);
    }
    agent.abort();
    // The last acknowledgements are in a second of their own.
    sleep_until(session.instant(session.second_ends()).into()).await;
    close_seconds(&mut session, tracker, &plan);
    Ok(Some((session, ended)))
}

/// Closes the seconds that are over. What came since the last is counted in the first of them.
fn close_seconds(session: &mut Session, tracker: &RowTracker, plan: &TransactionPlan) {
    while session.second_ends() <= session.elapsed() {
        let (recent, backlog_rows, rows_of_each) = {
            let mut follow = tracker.follow();
            let recent = follow.take_recent();
            (recent, follow.rows_under_way(), follow.rows_of_each())
        };
        let recorder = &mut session.recorder;
        for late in recent.begun {
            recorder.offered(rows_of_each, late);
        }
        for latency in recent.acknowledged {
            recorder.acknowledged(rows_of_each, latency);
        }
        let second = recorder.second();
        let intended = rows_of_each * plan.transactions_in(second);
        let closed = session.close_second(intended, Wire::default(), (backlog_rows, 0));
        session.live.second(&closed, second + 1);
    }
}

fn is_everywhere(count: &Count) -> bool {
    count.missing_rows == 0 && count.unacknowledged_rows == 0
}

/// The first thing that the agent stores is where it starts: what is committed from then on, it
/// sees.
async fn until_it_follows(agent: &mut Running, checkpoint: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + START_PATIENCE;
    let checkpoint: PathBuf = checkpoint.to_owned();
    while !checkpoint.exists() {
        let is_over = agent.is_finished();
        if is_over {
            finished((&mut *agent).await)?;
        }
        if is_over || deadline < Instant::now() {
            let what = format!("the agent did not follow within {START_PATIENCE:?}");
            let remedy = "check the log above, and the database's load";
            return Err(Failure::transient(Exit::Unavailable, what, remedy).into());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn finished(
    agent: Result<Result<AgentSummary, Error>, tokio::task::JoinError>,
) -> Result<AgentSummary, Error> {
    agent.map_err(|error| internal(&error))?
}

fn internal(error: &tokio::task::JoinError) -> Failure {
    let what = format!("a task of the load test ended: {error}");
    Failure::definite(Exit::Data, what, "report this; it is a defect of hydrant")
}

fn check(rows: &Count) -> Result<(), Error> {
    if is_everywhere(rows) && rows.repeated_rows == 0 {
        return Ok(());
    }
    Err(Error::Failure(Failure::definite(
        Exit::Data,
        format!(
            "of {} committed rows, {} are in no object, {} are not acknowledged, and {} arrived more than once",
            rows.committed_rows, rows.missing_rows, rows.unacknowledged_rows, rows.repeated_rows
        ),
        "if rows were still on their way, raise --patience or lower --rate",
    )))
}

#[expect(
    clippy::too_many_lines,
    reason = "each part of the report has its lines"
)]
fn conclude(
    options: &MysqlLoadOptions,
    session: &Session,
    ended: &str,
    tracker: &RowTracker,
) -> Report {
    let follow = tracker.follow();
    let rows = follow.count();
    let latencies = follow.latencies(tracker.elapsed());
    let planned = (options.rate * options.length.as_secs_f64()).floor();
    let writing_s = follow.writing_time().unwrap_or_default().as_secs_f64();
    let achieved = rows.committed as f64 / writing_s.max(options.length.as_secs_f64());
    let counted = [
        ("intended transactions", planned),
        ("begun transactions", rows.begun as f64),
        ("committed transactions", rows.committed as f64),
        ("intended transactions a second", options.rate),
        ("achieved transactions a second", achieved),
        ("committed rows", rows.committed_rows as f64),
        ("unacknowledged rows", rows.unacknowledged_rows as f64),
        ("missing rows", rows.missing_rows as f64),
        ("repeated rows", rows.repeated_rows as f64),
    ];
    let seconds = session.recorder.seconds.clone();
    let planned_seconds = seconds
        .len()
        .min(options.length.as_secs_f64().ceil() as usize);
    let totals = Totals::of(&seconds[..planned_seconds]);
    let limit = limit(&seconds, planned_seconds, planned as u64, &rows);
    let p99 = |index: usize| {
        let latency = latencies.get(index).and_then(|latency| latency.at(99.0));
        latency.map_or_else(|| "unknown".to_owned(), ms)
    };
    let exactly_once = if is_everywhere(&rows) && rows.repeated_rows == 0 {
        format!("Yes, all {}.", count(rows.committed_rows as f64))
    } else {
        let (missing, repeated) = (rows.missing_rows as f64, rows.repeated_rows as f64);
        format!(
            "No: {} are missing, {} arrived again.",
            count(missing),
            count(repeated)
        )
    };
    let rate = format!(
        "{} transactions a second of {} intended ({} of {} were begun in time).",
        count(achieved),
        count(options.rate),
        count(rows.begun as f64),
        count(planned)
    );
    let delay = format!(
        "99 of 100 transactions are acknowledged {} after their commit, and on disk after {}.",
        p99(0),
        p99(1)
    );
    let headline = Headline {
        value: achieved,
        unit: "transactions a second".to_owned(),
        note: format!(
            "of {} intended; p99 from commit to acknowledgement {}",
            count(options.rate),
            p99(0)
        ),
    };
    let answers = [
        ("How fast did it go?", rate),
        ("How long does a row take?", delay),
        ("Did every committed row arrive exactly once?", exactly_once),
    ];
    let answers = answers.map(|(question, answer)| Answer {
        question: question.to_owned(),
        answer,
    });
    let target = match options.sink {
        MysqlSink::Dir => "MySQL, the agent and a directory",
        MysqlSink::Firehose => "MySQL, the agent and a simulated stream",
    };
    Report {
        headline,
        answers: answers.to_vec(),
        figures: counted
            .map(|(name, value)| Figure::new(name, value))
            .to_vec(),
        limit,
        never_made_rows: (planned as u64 - rows.begun) * u64::from(options.rows_per_transaction),
        unacknowledged_rows: rows.unacknowledged_rows,
        planned_seconds: totals.seconds,
        totals,
        latencies,
        seconds,
        ..report_of(
            "mysql",
            target,
            session.started_at,
            ended,
            parameters(options),
        )
    }
}

/// Who was the limit of a run of so many planned transactions.
fn limit(seconds: &[Second], planned_seconds: usize, planned: u64, rows: &Count) -> Limit {
    if rows.begun < planned {
        let left = count((planned - rows.begun) as f64);
        return Limit::Target(format!(
            "for {left} transactions no writer was free in time"
        ));
    }
    let missed = MissedRows {
        never_made: 0,
        unacknowledged: rows.unacknowledged_rows,
    };
    Limit::of(seconds, planned_seconds, cores() as f64, missed)
}

/// All settings but who the user is.
fn parameters(options: &MysqlLoadOptions) -> Vec<Parameter> {
    let seconds = |duration: Duration| format!("{} s", duration.as_secs_f64());
    let all = [
        ("--table", options.table.clone()),
        ("--rate", options.rate.to_string()),
        (
            "--rows-per-transaction",
            options.rows_per_transaction.to_string(),
        ),
        ("--for", seconds(options.length)),
        ("--writers", options.writers.to_string()),
        ("--sink", format!("{:?}", options.sink).to_lowercase()),
        ("--flush-interval", seconds(options.flush_interval)),
        (
            "--buffer-interval",
            format!("{} s", options.buffer_interval),
        ),
        ("--patience", seconds(options.patience)),
    ];
    all.map(|(name, value)| Parameter {
        name: name.to_owned(),
        value,
    })
    .to_vec()
}
