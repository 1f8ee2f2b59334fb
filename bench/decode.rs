//! Binlog bytes to CSV bytes on one core, beside mysql_common and the csv crate on the same bytes.
//!
//! What lives here: the rounds, the clock and the report. `capture` makes the binlog, `baseline` is the
//! yardstick. Nothing but this process's one thread runs while the clock does.

mod baseline;
mod capture;
mod machine;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use hydrant::batch::{Batch, BatchLimits, RowPlace, SealedBatch};
use hydrant::binlog::{Decoder, EventFile, FilePosition, Step};
use hydrant::config::limits::{
    FIREHOSE_BATCH_RECORDS, FIREHOSE_BILLED_BYTES, FIREHOSE_RECORD_BYTES,
};
use hydrant::encode::{Chosen, Dialect, Image, LineFacts, MetadataColumn, Plan, RowSuffix};

/// Binlog bytes to CSV bytes on one core.
#[derive(Parser)]
struct Arguments {
    /// Rows in the binlog, in transactions of 1,000.
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
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
            Self::Hydrant => "hydrant, 8 columns",
            Self::Metadata => "hydrant, 8 columns, position, ordinal",
            Self::Baseline => "mysql_common + csv, 8 columns",
            Self::Framing => "frames and checksums only",
        }
    }

    fn run(self, binlog: &[u8]) -> Result<u64> {
        const POSITION_AND_ORDINAL: [MetadataColumn; 2] =
            [MetadataColumn::Position, MetadataColumn::Ordinal];
        let drop_batch = |batch| drop(black_box(batch));
        match self {
            Self::Hydrant => transcode(binlog, &[], drop_batch),
            Self::Metadata => transcode(binlog, &POSITION_AND_ORDINAL, drop_batch),
            Self::Baseline => baseline::transcode(binlog, io::sink()),
            Self::Framing => frame(binlog),
        }
    }
}

fn main() -> Result<()> {
    // A test runner that was told to take in benches finds no test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    let binlog = capture::workload_a(arguments.rows)?;
    print_circumstances(&binlog, &arguments);
    let mut runs = Vec::new();
    match arguments.only {
        Some(variant) => runs.push((variant, Vec::new())),
        None => {
            check_same_output(&binlog, arguments.rows)?;
            runs.extend(Variant::ALL.map(|variant| (variant, Vec::new())));
        }
    }
    for _ in 0..arguments.rounds {
        for (variant, times) in &mut runs {
            let started = Instant::now();
            black_box(variant.run(black_box(&binlog))?);
            times.push(started.elapsed());
        }
    }
    print_rates(&binlog, arguments.rows, &runs);
    print_ratios(&runs);
    Ok(())
}

/// How long a variant took in each round.
type Run = (Variant, Vec<Duration>);

/// The agent's way from a binlog file to sealed batches. Returns the number of rows.
fn transcode(
    binlog: &[u8],
    metadata: &[MetadataColumn],
    mut sink: impl FnMut(SealedBatch),
) -> Result<u64> {
    let mut events = EventFile::open(FILE, binlog)?;
    let start = FilePosition::new(FILE, FilePosition::FIRST_OFFSET);
    let mut decoder = Decoder::new(Some(start), None, &[("shop".into(), "Sales".into())]);
    let columns = blog_columns();
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
                    .insert((generation, Plan::compile(map, &columns, Dialect::Csv)?))
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
        let new_batch = |ordinal| {
            let first = RowPlace {
                transaction: FilePosition::new(decoder.position().file.as_str(), transaction.start),
                ordinal,
                commit_time_us: transaction.commit_time_us,
            };
            Batch::new(0, table, first, now)
        };
        plan.begin(&rows);
        let mut at = 0;
        while at < rows.images.len() {
            let batch = open.get_or_insert_with(|| new_batch(ordinal));
            let row_start = batch.len();
            at = plan.find_row(rows.images, at)?;
            plan.write_line(rows.images, Image::After, &suffix, ordinal, batch.buffer())?;
            if let Some(line) = batch.row_written(row_start, &LIMITS)? {
                let full = std::mem::replace(batch, new_batch(ordinal));
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

fn blog_columns() -> Vec<Chosen> {
    [
        ("ItemID", None),
        ("Category", None),
        ("Price", Some(2)),
        ("Quantity", None),
        ("OrderDate", None),
        ("DestinationState", None),
        ("ShippingType", None),
        ("Referral", None),
    ]
    .map(|(name, scale)| Chosen {
        name: name.to_owned(),
        scale,
        disguise: None,
    })
    .into()
}

/// Both must write the very same bytes, or their times cannot be compared.
fn check_same_output(binlog: &[u8], row_count: u64) -> Result<()> {
    let mut ours = Vec::new();
    let our_rows = transcode(binlog, &[], |batch| ours.extend_from_slice(batch.bytes()))?;
    let mut theirs = Vec::new();
    let their_rows = baseline::transcode(binlog, &mut theirs)?;
    ensure!(
        our_rows == row_count && their_rows == row_count,
        "the binlog should have {row_count} rows; hydrant wrote {our_rows}, the baseline {their_rows}"
    );
    let same = ours
        .iter()
        .zip(&theirs)
        .take_while(|(ours, theirs)| ours == theirs);
    ensure!(
        ours == theirs,
        "hydrant and the baseline write different text from byte {}",
        same.count()
    );
    let first_line = ours.split_inclusive(|byte| *byte == b'\n').next();
    println!(
        "output: {} bytes from both, identical; the first line is {}",
        ours.len(),
        String::from_utf8_lossy(first_line.unwrap_or_default()).trim_end()
    );
    Ok(())
}

fn print_circumstances(binlog: &[u8], arguments: &Arguments) {
    println!(
        "machine: {}, {} cores, one used",
        machine::cpu(),
        machine::cores()
    );
    println!("date: {}", machine::date());
    println!("revision: {}", machine::revision());
    println!(
        "command: cargo bench --bench decode -- --rows {} --rounds {}",
        arguments.rows, arguments.rounds
    );
    println!("binlog: {} rows, {} bytes", arguments.rows, binlog.len());
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print_rates(binlog: &[u8], row_count: u64, runs: &[Run]) {
    let rows = row_count as f64;
    let megabytes = binlog.len() as f64 / 1e6;
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

fn print_ratios(runs: &[Run]) {
    let Some((_, baseline)) = runs
        .iter()
        .find(|(variant, _)| *variant == Variant::Baseline)
    else {
        return;
    };
    println!(
        "\n{:<38} {:>6} {:>7} {:>6}",
        "times the baseline, round by round", "min", "median", "max"
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
