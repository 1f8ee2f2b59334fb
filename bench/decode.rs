//! Binlog bytes to CSV bytes on one core, beside mysql_common and the csv crate on the same bytes.
//!
//! What lives here: the rounds, the clock and the report. `workloads` are the tables, `capture` makes the binlogs,
//! `baseline` and `baseline_cells` are the yardstick. Nothing but this process's one thread runs while the clock does.

mod baseline;
mod baseline_cells;
mod capture;
mod machine;
#[path = "../tests/support/mod.rs"]
mod support;
mod workloads;

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use hydrant::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use hydrant::binlog::{Decoder, EventFile, FilePosition, Step};
use hydrant::config::limits::{
    FIREHOSE_BATCH_RECORDS, FIREHOSE_BILLED_BYTES, FIREHOSE_RECORD_BYTES,
};
use hydrant::encode::{Chosen, Dialect, Image, LineFacts, MetadataColumn, Plan, RowSuffix};

use crate::workloads::Workload;

/// Binlog bytes to CSV bytes on one core.
#[derive(Parser)]
struct Arguments {
    /// What is read; all of them in turn if this is not given.
    #[arg(long)]
    workload: Option<Workload>,
    /// Rows in the binlog, in transactions of 1,000: 2,000,000 sales, 100,000 of the others by default.
    #[arg(long)]
    rows: Option<u64>,
    /// How often each variant runs.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Run one variant only, for a profiler.
    #[arg(long)]
    only: Option<Variant>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Variant {
    /// Decoder, encoder and batches.
    Hydrant,
    /// The same with the columns position and ordinal.
    Metadata,
    /// mysql_common and csv.
    Baseline,
    /// Frames and checksums alone.
    Framing,
}

impl Variant {
    const ALL: [Self; 4] = [Self::Hydrant, Self::Metadata, Self::Baseline, Self::Framing];

    fn title(self) -> &'static str {
        match self {
            Self::Hydrant => "hydrant",
            Self::Metadata => "hydrant, with position and ordinal",
            Self::Baseline => "mysql_common + csv",
            Self::Framing => "frames and checksums only",
        }
    }

    fn run(self, capture: &Capture) -> Result<u64> {
        const POSITION_AND_ORDINAL: [MetadataColumn; 2] =
            [MetadataColumn::Position, MetadataColumn::Ordinal];
        let drop_batch = |batch| drop(black_box(batch));
        match self {
            Self::Hydrant => transcode(capture, &[], drop_batch),
            Self::Metadata => transcode(capture, &POSITION_AND_ORDINAL, drop_batch),
            Self::Baseline => yardstick(capture, io::sink()),
            Self::Framing => frame(&capture.binlog),
        }
    }
}

fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    print_circumstances();
    let workloads = match arguments.workload {
        Some(workload) => vec![workload],
        None => Workload::ALL.to_vec(),
    };
    for workload in workloads {
        time(workload, &arguments)?;
    }
    Ok(())
}

/// A workload as it is read.
struct Capture {
    workload: Workload,
    /// All that the yardstick knows of the table.
    columns: Vec<workloads::Column>,
    /// Written by hydrant.
    chosen: Vec<Chosen>,
    row_count: u64,
    binlog: Vec<u8>,
}

/// How long a variant took in each round.
type Run = (Variant, Vec<Duration>);

fn time(workload: Workload, arguments: &Arguments) -> Result<()> {
    let row_count = arguments.rows.unwrap_or(workload.default_rows());
    let capture = Capture {
        workload,
        columns: workload.columns(),
        chosen: workload.chosen(),
        row_count,
        binlog: workload.binlog(row_count)?,
    };
    print_workload(&capture, arguments);
    let mut runs = Vec::new();
    match arguments.only {
        Some(variant) => runs.push((variant, Vec::new())),
        None => {
            check_same_output(&capture)?;
            runs.extend(Variant::ALL.map(|variant| (variant, Vec::new())));
        }
    }
    for _ in 0..arguments.rounds {
        for (variant, times) in &mut runs {
            let started = Instant::now();
            black_box(variant.run(black_box(&capture))?);
            times.push(started.elapsed());
        }
    }
    print_rates(&capture, &runs);
    print_ratios(workload, &runs);
    Ok(())
}

/// The same lines by mysql_common and the csv crate.
fn yardstick(capture: &Capture, out: impl io::Write) -> Result<u64> {
    match capture.workload {
        Workload::Sales => baseline::transcode(&capture.binlog, out),
        Workload::Wide | Workload::Text => {
            baseline_cells::transcode(&capture.binlog, &capture.columns, out)
        }
    }
}

/// The agent's way from a binlog file to sealed batches. Returns the number of rows.
fn transcode(
    capture: &Capture,
    metadata: &[MetadataColumn],
    mut sink: impl FnMut(SealedBatch),
) -> Result<u64> {
    let mut events = EventFile::open(FILE, &capture.binlog)?;
    let start = FilePosition::new(FILE, FilePosition::FIRST_OFFSET);
    let table = ("shop".into(), capture.workload.table().into());
    let mut decoder = Decoder::new(Some(start), None, &[table]);
    let mut plan: Option<(u64, Plan)> = None;
    let mut suffix = RowSuffix::default();
    let mut open: Option<Batch> = None;
    let mut ordinal = 0;
    let mut row_count = 0;
    let now = Instant::now();
    while let Some(event) = events.next()? {
        let (table, rows) = match decoder.event(&event)? {
            Step::Nothing => continue,
            Step::Commit => {
                ordinal = 0;
                continue;
            }
            Step::Rows { table, rows } => (table, rows),
        };
        let (Some((map, generation)), Some(transaction)) =
            (decoder.table(table), decoder.transaction())
        else {
            continue;
        };
        let plan = match &mut plan {
            Some((compiled, plan)) if *compiled == generation => plan,
            stale => {
                &mut stale
                    .insert((
                        generation,
                        Plan::compile(map, &capture.chosen, Dialect::Csv)?,
                    ))
                    .1
            }
        };
        if ordinal == 0 && !metadata.is_empty() {
            let position = decoder.transaction_key().map(|key| key.to_string());
            let position = position.unwrap_or_default();
            let facts = LineFacts {
                operation: rows.operation,
                image: Image::After,
                commit_time_us: transaction.commit_time_us,
                position: &position,
                schema_version: 1,
                absent: "",
            };
            suffix.set(metadata, &facts);
        }
        let new_batch = |ordinal, expected_len: usize| {
            let first = RowPlace {
                transaction: FilePosition::new(decoder.position().file.as_str(), transaction.start),
                ordinal,
                commit_time_us: transaction.commit_time_us,
            };
            let mut batch = Batch::new(0, table, first, now);
            batch
                .buffer()
                .reserve_exact(expected_len + expected_len / 8);
            batch
        };
        plan.begin(&rows);
        let mut at = 0;
        while at < rows.images.len() {
            let batch = open.get_or_insert_with(|| new_batch(ordinal, 0));
            let row_start = batch.len();
            at = plan.find_row(rows.images, at)?;
            plan.write_line(rows.images, Image::After, &suffix, ordinal, batch.buffer())?;
            if let Some(line) = batch.row_written(row_start, &LIMITS)? {
                let next = new_batch(ordinal, batch.len());
                let full = std::mem::replace(batch, next);
                batch.buffer().extend_from_slice(&line);
                batch.row_written(0, &LIMITS)?;
                sink(full.seal());
            }
            ordinal += 1;
            row_count += 1;
        }
    }
    if let Some(batch) = open {
        sink(batch.seal());
    }
    Ok(row_count)
}

/// What any reader of these bytes has to do at least. Returns the number of events.
fn frame(binlog: &[u8]) -> Result<u64> {
    let mut events = EventFile::open(FILE, binlog)?;
    let mut event_count = 0;
    while let Some(event) = events.next()? {
        black_box(event);
        event_count += 1;
    }
    Ok(event_count)
}

const FILE: &str = "binlog.000001";

/// Those of the sink `firehose` with its quotas lifted.
const LIMITS: BatchLimits = BatchLimits {
    step_bytes: 1,
    row_bytes: FIREHOSE_RECORD_BYTES,
    record_bytes: 12 * FIREHOSE_BILLED_BYTES,
    records: FIREHOSE_BATCH_RECORDS,
    bytes: 68 * 12 * FIREHOSE_BILLED_BYTES,
};

/// Both must write the very same bytes, or their times cannot be compared.
fn check_same_output(capture: &Capture) -> Result<()> {
    let row_count = capture.row_count;
    let mut ours = Vec::new();
    let our_rows = transcode(capture, &[], |batch| ours.extend_from_slice(batch.bytes()))?;
    let mut theirs = Vec::new();
    let their_rows = yardstick(capture, &mut theirs)?;
    ensure!(
        our_rows == row_count && their_rows == row_count,
        "the binlog should have {row_count} rows; hydrant wrote {our_rows}, the baseline {their_rows}"
    );
    if ours != theirs {
        let same = ours.iter().zip(&theirs);
        let same = same.take_while(|(ours, theirs)| ours == theirs).count();
        let shown = |text: &[u8]| {
            let end = text.len().min(same + SHOWN_CHARACTERS);
            String::from_utf8_lossy(&text[same.saturating_sub(SHOWN_CHARACTERS)..end]).into_owned()
        };
        bail!(
            "hydrant and the baseline write different text from byte {same}:\n{}\n{}",
            shown(&ours),
            shown(&theirs)
        );
    }
    let first_line = ours.split(|byte| *byte == b'\n').next();
    let first_line = String::from_utf8_lossy(first_line.unwrap_or_default());
    let first_line: String = first_line.chars().take(SHOWN_CHARACTERS).collect();
    println!(
        "output: {} bytes from both, identical; the first line begins {}",
        ours.len(),
        first_line.trim_end()
    );
    Ok(())
}

/// Of text that may be long.
const SHOWN_CHARACTERS: usize = 100;

fn print_circumstances() {
    println!(
        "machine: {}, {} cores, one used",
        machine::cpu(),
        machine::cores()
    );
    println!("date: {}", machine::date());
    println!("revision: {}", machine::revision());
}

fn print_workload(capture: &Capture, arguments: &Arguments) {
    let name = capture.workload.name();
    println!(
        "\n{name}: cargo bench --bench decode -- --workload {name} --rows {} --rounds {}",
        capture.row_count, arguments.rounds
    );
    println!(
        "binlog: {} rows, {} columns written, {} bytes",
        capture.row_count,
        capture.chosen.len(),
        capture.binlog.len()
    );
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print_rates(capture: &Capture, runs: &[Run]) {
    let rows = capture.row_count as f64;
    let megabytes = capture.binlog.len() as f64 / 1e6;
    println!(
        "\n{:<38} {:>6} {:>7} {:>6} M rows/s  {:>6} MB/s  {:>6} ns/row",
        "", "min", "median", "max", "median", "median"
    );
    for (variant, times) in runs {
        let seconds = spread(times.iter().map(Duration::as_secs_f64).collect());
        let rate = |seconds: f64| rows / seconds / 1e6;
        println!(
            "{:<38} {:>6.3} {:>7.3} {:>6.3}           {:>6.0}       {:>6.1}",
            variant.title(),
            rate(seconds.max),
            rate(seconds.median),
            rate(seconds.min),
            megabytes / seconds.median,
            seconds.median / rows * 1e9,
        );
    }
}

fn print_ratios(workload: Workload, runs: &[Run]) {
    let Some((_, baseline)) = runs
        .iter()
        .find(|(variant, _)| *variant == Variant::Baseline)
    else {
        return;
    };
    println!(
        "\n{:<38} {:>6} {:>7} {:>6}  {}: to be at least {}",
        "times the baseline, round by round",
        "min",
        "median",
        "max",
        workload.name(),
        workload.least_ratio()
    );
    for (variant, times) in runs {
        let ratios = baseline
            .iter()
            .zip(times)
            .map(|(theirs, ours)| theirs.div_duration_f64(*ours));
        let ratio = spread(ratios.collect());
        if matches!(variant, Variant::Hydrant | Variant::Metadata) {
            println!(
                "{:<38} {:>6.2} {:>7.2} {:>6.2}",
                variant.title(),
                ratio.min,
                ratio.median,
                ratio.max
            );
        }
    }
}

struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    Spread {
        min: at(0),
        median: at(values.len() / 2),
        max: at(values.len().saturating_sub(1)),
    }
}
