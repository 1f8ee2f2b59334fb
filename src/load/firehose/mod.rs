//! `hydrant load firehose`: one plan, or a search for the knee, against one target.
//!
//! What lives here: the run and the search. `plan` and `schedule` (PURE) say which row is meant for when, `open_loop` (PURE) makes them and
//! follows them, `drive` is its clock, `watch` counts at the sink, `answers` (PURE) is what is concluded. What does not: what is
//! measured ([`super::measure`]).

#[cfg(test)]
mod agreement_tests;
pub mod answers;
mod drive;
mod open_loop;
pub mod plan;
pub mod schedule;
mod watch;

use std::time::Duration;

use tracing::{info, warn};

use crate::batch::BatchLimits;
use crate::printing::print;
use crate::signals::Signals;
use crate::sink::{FirehoseSink, Sink};
use crate::{Error, Exit, Failure};

use crate::load::machine::{cores, report_of};
use crate::load::measure::knee::{Objective, Search, Trial};
use crate::load::measure::price;
use crate::load::measure::record::{Latency, Totals};
use crate::load::measure::verdict::Limit;
use crate::load::options::{FirehoseOptions, Target, TargetOptions};
use crate::load::report::text::{count, ms, percent, usd};
use crate::load::report::{Parameter, Report};
use crate::load::rows::{RowMaker, RowShape, mean_bytes};
use crate::load::session::Session;
use crate::load::target::OwnSimulator;
use answers::Facts;
use drive::{Outcome, drive};
use open_loop::Settings;
use plan::{MOST_ROWS_PER_SECOND, RatePlan};
use watch::{NullSink, Watched};

/// The first rate of a search in which no quota is known, in rows a second.
const FIRST_RATE: f64 = 1_000.0;
/// The share of a trial that warms up: full buckets of the target, and connections.
const WARM_UP_SHARE: f64 = 0.2;
/// Trials that the estimate of a search's price is made for.
const EXPECTED_TRIALS: f64 = 12.0;

/// What a run was, before it is concluded from.
struct Run {
    session: Session,
    outcome: Outcome,
    search: Option<Search>,
    limits: BatchLimits,
}

/// Runs `hydrant load firehose`.
///
/// # Errors
/// If the options make no plan, the target cannot be reached, or it fails for good. The report of
/// what was measured until then is written first.
pub(super) async fn run(options: FirehoseOptions) -> Result<(), Error> {
    let plan = plan(&options)?;
    options.out.prepare()?;
    agree_to_pay(&options, plan.as_ref())?;
    let mut signals = Signals::new()?;
    let Some(prepared) = signals.unless_stopped(prepare(&options.target)).await else {
        return Ok(());
    };
    let (simulator, sink) = prepared?;
    let mut run = if let Some(sink) = sink {
        let sink = Watched::new(sink, options.one_row_per_record);
        run_with(&options, plan, sink, &mut signals).await?
    } else {
        let sink = Watched::new(NullSink, options.one_row_per_record);
        run_with(&options, plan, sink, &mut signals).await?
    };
    if let Some(simulator) = &simulator {
        simulator.judge(&mut run.session);
    }
    let failure = run.outcome.failure.take();
    let report = conclude(&options, &run, failure.as_ref());
    run.session.live.end();
    let written = options.out.finish(&report, &run.session.intervals);
    if let Some(failure) = failure {
        if let Err(error) = written {
            warn!("{error}");
        }
        return Err(Error::Sink(failure));
    }
    written?;
    // A search breaks the target on purpose.
    match run.outcome.missed.unacknowledged {
        rows @ 1.. if run.search.is_none() => Err(Error::Failure(unacknowledged(&options, rows))),
        _ => Ok(()),
    }
}

fn unacknowledged(options: &FirehoseOptions, rows: u64) -> Failure {
    let patience = options.patience.as_secs_f64();
    let rows = count(rows as f64);
    Failure::transient(
        Exit::Temporary,
        format!("{rows} rows were not acknowledged within {patience} s of the last one"),
        "see in the report since when; if rows were still on their way, raise --patience or lower the rate",
    )
}

/// The simulator, if it is the target, and the client, if there is one.
async fn prepare(
    target: &TargetOptions,
) -> Result<(Option<OwnSimulator>, Option<FirehoseSink>), Error> {
    let simulator = target.start_simulator(None).await?;
    let is_null = target.target == Target::Null && target.endpoint.is_none();
    let sink = if is_null {
        None
    } else {
        Some(target.connect(simulator.as_ref()).await?)
    };
    Ok((simulator, sink))
}

/// The plan that is meant; none if a knee is looked for.
fn plan(options: &FirehoseOptions) -> Result<Option<RatePlan>, Failure> {
    let wrong =
        |what: String| Failure::definite(Exit::Usage, what, "see hydrant load firehose --help");
    let length = options.length.unwrap_or(Duration::from_secs(30));
    let shape = &options.plan;
    let plan = if let Some(rate) = shape.rate {
        RatePlan::constant(rate, length)
    } else if let Some(ramp) = shape.ramp {
        RatePlan::ramp(ramp, length)
    } else if let Some(stairs) = shape.step {
        RatePlan::stairs(stairs, length)
    } else if let Some(spike) = shape.spike {
        RatePlan::spike(spike, length)
    } else if let Some(path) = &shape.plan {
        let rates =
            read_rates(path).map_err(|what| wrong(format!("{}: {what}", path.display())))?;
        RatePlan::by_second(&rates, options.length)
    } else {
        return Ok(None);
    };
    plan.map(Some)
        .map_err(|error| wrong(format!("the plan: {error}")))
}

/// Lines of `second,rate`; a first line that is none is a heading.
fn read_rates(path: &std::path::Path) -> Result<Vec<(f64, f64)>, String> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_path(path);
    let mut rates = Vec::new();
    for (index, line) in reader
        .map_err(|error| error.to_string())?
        .records()
        .enumerate()
    {
        let line = line.map_err(|error| error.to_string())?;
        let numbers: Vec<Option<f64>> = line.iter().map(|cell| cell.parse().ok()).collect();
        match numbers[..] {
            [Some(second), Some(rate)] => rates.push((second, rate)),
            _ if index == 0 => {}
            _ => return Err(format!("line {} is not a second and a rate", index + 1)),
        }
    }
    Ok(rates)
}

/// Says what AWS will bill, and stops unless that was agreed to.
fn agree_to_pay(options: &FirehoseOptions, plan: Option<&RatePlan>) -> Result<(), Failure> {
    if !options.target.costs_money() {
        return Ok(());
    }
    let shape = shape(options);
    let row_bytes = mean_bytes(shape);
    let limits = Watched::new(NullSink, options.one_row_per_record)
        .profile()
        .limits;
    let (rows, rate) = match plan {
        Some(plan) => (plan.rows(), plan.rows() / plan.length_s()),
        None => {
            // A search goes somewhat beyond what the quotas allow.
            let quotas = options.target.quotas();
            let most = quotas
                .capacity(row_bytes, &limits)
                .map_or(FIRST_RATE, |(rows, _)| rows);
            let trials_s = EXPECTED_TRIALS * options.knee.trial.as_secs_f64();
            (most * 1.5 * trials_s, most)
        }
    };
    let flush_s = options.flush_interval.as_secs_f64();
    let billed = rows * price::billed_row_bytes(row_bytes, rate, flush_s, &limits);
    print(format_args!(
        "Estimate for {}: {} rows, {} billed, {}\n",
        options.target.description(),
        count(rows),
        bytesize::ByteSize(billed as u64),
        usd(price::usd(billed))
    ))?;
    if options.target.i_will_pay {
        return Ok(());
    }
    Err(Failure::definite(
        Exit::Usage,
        "this target costs money, and --i-will-pay is missing",
        "add --i-will-pay, or leave out --target and --endpoint to use a simulator",
    ))
}

fn shape(options: &FirehoseOptions) -> RowShape {
    options.row_bytes.map_or(RowShape::Sales, RowShape::Bytes)
}

async fn run_with<S: Sink>(
    options: &FirehoseOptions,
    plan: Option<RatePlan>,
    sink: Watched<S>,
    signals: &mut Signals,
) -> Result<Run, Failure> {
    let limits = sink.profile().limits;
    let mut rows = RowMaker::new(shape(options), options.seed);
    let settings = Settings {
        flush_interval: options.flush_interval,
        max_backlog: usize::try_from(options.max_backlog.as_u64()).unwrap_or(usize::MAX),
        patience: options.patience,
        warm_up: Duration::ZERO,
    };
    info!("target: {}", options.target.description());
    let mut session = Session::begin(options.out.out.is_some()).await;
    let (outcome, search) = match plan {
        Some(plan) => {
            session.live.begin("load firehose", plan.length());
            let outcome = drive(&mut session, sink, plan, &mut rows, settings, signals).await;
            (outcome, None)
        }
        None => {
            let found = search(options, &mut session, &sink, &mut rows, settings, signals);
            let (outcome, search) = found.await?;
            (outcome, Some(search))
        }
    };
    Ok(Run {
        session,
        outcome,
        search,
        limits,
    })
}

/// Looks for the knee.
async fn search<S: Sink>(
    options: &FirehoseOptions,
    session: &mut Session,
    sink: &Watched<S>,
    rows: &mut RowMaker,
    settings: Settings,
    signals: &mut Signals,
) -> Result<(Outcome, Search), Failure> {
    let knee = &options.knee;
    let quotas = options.target.quotas();
    let objective = Objective {
        max_throttled: knee.max_throttled,
        max_p99_ms: knee.max_p99.as_secs_f64() * 1e3,
    };
    let capacity = quotas.capacity(mean_bytes(shape(options)), &sink.profile().limits);
    let first = capacity.map_or(FIRST_RATE, |(rows, _)| rows / 10.0);
    let first = knee.first_rate.unwrap_or(first);
    let mut search = Search::new(first, MOST_ROWS_PER_SECOND, knee.precision);
    // What waits when a trial is over is of no use to the next.
    let patience = settings.patience.min(knee.max_p99);
    let mut whole = Outcome::default();
    while let Some(rate) = search.next_rate() {
        let plan = RatePlan::constant(rate, knee.trial).map_err(|error| {
            let what = format!("--trial and --first-rate: {error}");
            Failure::definite(
                Exit::Usage,
                what,
                "choose a longer trial or a higher first rate",
            )
        })?;
        session
            .live
            .begin(&format!("trial {}", count(rate)), knee.trial);
        let from = session.recorder.seconds.len();
        // Whole seconds, because the rest is judged by the second.
        let warm_up = (knee.trial.as_secs_f64() * WARM_UP_SHARE).ceil();
        let settings = Settings {
            patience,
            warm_up: Duration::from_secs_f64(warm_up),
            ..settings
        };
        let outcome = drive(session, sink.clone(), plan, rows, settings, signals).await;
        let seconds = &session.recorder.seconds[from..];
        let planned = seconds.len().min(outcome.planned_seconds as usize);
        let judged = &seconds[planned.min(warm_up as usize)..planned];
        whole.planned_seconds += u32::try_from(seconds.len()).unwrap_or(u32::MAX);
        whole.missed.unacknowledged += outcome.missed.unacknowledged;
        let is_over = outcome.stopped.is_some() || outcome.failure.is_some();
        (whole.stopped, whole.failure) = (outcome.stopped, outcome.failure);
        if is_over {
            break;
        }
        let latency = Latency::of(
            &format!("at {} rows a second", count(rate)),
            &outcome.latencies,
        );
        let rows = (latency, outcome.missed.unacknowledged);
        let trial = Trial::judge(rate, judged, rows, &objective, &quotas, cores() as f64);
        info!("{}", trial_line(&trial));
        search.tried(trial);
    }
    Ok((whole, search))
}

fn trial_line(trial: &Trial) -> String {
    let mut line = format!(
        "{} rows/s: {} achieved, {} refused, p99 {}: ",
        count(trial.rate),
        count(trial.achieved),
        percent(trial.throttled_share),
        trial
            .latency
            .at(99.0)
            .map_or_else(|| "unknown".to_owned(), ms)
    );
    let broke: Vec<&str> = trial.broke.iter().map(|broke| broke.name()).collect();
    line += &if broke.is_empty() {
        "held".to_owned()
    } else {
        broke.join(", ")
    };
    line
}

fn conclude(options: &FirehoseOptions, run: &Run, failure: Option<&Failure>) -> Report {
    let (session, outcome) = (&run.session, &run.outcome);
    let seconds = session.recorder.seconds.clone();
    let planned = seconds.len().min(outcome.planned_seconds as usize);
    let totals = Totals::of(&seconds[..planned]);
    let knee = run.search.as_ref().map(Search::knee);
    let limit = match &knee {
        Some(_) => Limit::Nothing,
        None => Limit::of(&seconds, planned, cores() as f64, outcome.missed),
    };
    if let Limit::Harness(why) = &limit {
        warn!("the harness was the limit, not the target: {why}");
    }
    let quotas = options.target.quotas();
    let row_bytes = totals
        .row_bytes()
        .unwrap_or_else(|| mean_bytes(shape(options)));
    let latency = Latency::of(
        "from a row's intended time to its acknowledgement",
        &outcome.latencies,
    );
    let facts = Facts {
        quotas: &quotas,
        limits: &run.limits,
        row_bytes,
        seconds: &seconds,
        planned,
        missed: outcome.missed,
        latency: &latency,
        limit: &limit,
        knee: knee.as_ref(),
        is_firehose: options.target.target != Target::Null || options.target.endpoint.is_some(),
    };
    let ended = match (failure, outcome.stopped) {
        (Some(failure), _) => format!("failed: {}", failure.what),
        (None, Some(signal)) => format!("stopped by {signal}"),
        (None, None) => "as planned".to_owned(),
    };
    let (headline, answers) = (facts.headline(), facts.answers());
    Report {
        headline,
        answers,
        capacity_rows: quotas
            .capacity(row_bytes, &run.limits)
            .map(|(rows, _)| rows),
        quotas,
        limit,
        never_made_rows: outcome.missed.never_made,
        unacknowledged_rows: outcome.missed.unacknowledged,
        planned_seconds: u32::try_from(planned).unwrap_or(u32::MAX),
        totals,
        latencies: match &run.search {
            Some(search) => search.ends().map(|trial| trial.latency.clone()).collect(),
            None => vec![latency],
        },
        trials: run
            .search
            .as_ref()
            .map_or_else(Vec::new, |search| search.trials().to_vec()),
        knee,
        seconds,
        ..report_of(
            "firehose",
            &options.target.description(),
            session.started_at,
            &ended,
            parameters(options),
        )
    }
}

/// All settings, as they are typed.
#[expect(clippy::too_many_lines, reason = "a table of all options")]
fn parameters(options: &FirehoseOptions) -> Vec<Parameter> {
    let plan = &options.plan;
    let target = &options.target;
    let seconds = |duration: Duration| format!("{} s", duration.as_secs_f64());
    let mut all: Vec<(&str, Option<String>)> = vec![
        ("--rate", plan.rate.map(|rate| rate.to_string())),
        (
            "--ramp",
            plan.ramp.map(|ramp| format!("{}..{}", ramp.from, ramp.to)),
        ),
        (
            "--step",
            plan.step
                .map(|step| format!("{}..{}/{}", step.from, step.to, step.count)),
        ),
        (
            "--spike",
            plan.spike.map(|spike| {
                format!(
                    "{}..{}/{}s",
                    spike.base,
                    spike.peak,
                    spike.length.as_secs_f64()
                )
            }),
        ),
        (
            "--plan",
            plan.plan.as_ref().map(|path| path.display().to_string()),
        ),
        ("--for", options.length.map(seconds)),
        (
            "--row-bytes",
            Some(
                options
                    .row_bytes
                    .map_or("sales".to_owned(), |it| it.to_string()),
            ),
        ),
        (
            "--one-row-per-record",
            Some(options.one_row_per_record.to_string()),
        ),
        ("--seed", Some(options.seed.to_string())),
        (
            "--target",
            Some(format!("{:?}", target.target).to_lowercase()),
        ),
        ("--endpoint", target.endpoint.clone()),
        ("--stream", Some(target.stream.clone())),
        ("--region", target.region.clone()),
        (
            "--region-preset",
            target.region_preset.map(|preset| format!("{preset:?}")),
        ),
        ("--unpaced", Some(target.unpaced.to_string())),
        ("--flush-interval", Some(seconds(options.flush_interval))),
        ("--max-backlog", Some(options.max_backlog.to_string())),
        ("--patience", Some(seconds(options.patience))),
    ];
    if plan.find_knee {
        let knee = &options.knee;
        all.extend([
            ("--find-knee", Some("true".to_owned())),
            ("--max-throttled", Some(percent(knee.max_throttled))),
            ("--max-p99", Some(seconds(knee.max_p99))),
            ("--trial", Some(seconds(knee.trial))),
            ("--precision", Some(percent(knee.precision))),
            ("--first-rate", knee.first_rate.map(|rate| rate.to_string())),
        ]);
    }
    for (resource, quota) in target.quotas().each() {
        let name = match resource.name() {
            "requests" => "--requests-per-second",
            "records" => "--records-per-second",
            _ => "--bytes-per-second",
        };
        all.push((name, quota.map(|quota| quota.to_string())));
    }
    let named = all.into_iter().filter_map(|(name, value)| {
        let name = name.to_owned();
        value.map(|value| Parameter { name, value })
    });
    named.collect()
}
