//! Binlog bytes to CSV bytes on one core, beside mysql_common and the csv crate on the same bytes.
//!
//! What lives here: the rounds, the clock and the report. The crate `workloads` has the tables, their
//! binlogs and the yardstick, `transcode` is hydrant's side. Nothing but this process's one thread runs while the clock does.

mod transcode;

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Parser;
use hydrant::batch::SealedBatch;
use hydrant::binlog::EventFile;
use hydrant::encode::{ChosenColumn, MetadataColumn};

use transcode::{drop_batch, transcode};
use workloads::capture::FIRST_BINLOG;
use workloads::tables::{Column, Workload};
use workloads::{baseline, baseline_cells, machine};

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
    /// The same, and it looks for what hydrant looks for: wrong checksums and text that is not UTF-8.
    Checked,
    /// Frames and checksums alone.
    Framing,
}

impl Variant {
    const ALL: [Self; 5] = [
        Self::Hydrant,
        Self::Metadata,
        Self::Baseline,
        Self::Checked,
        Self::Framing,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Hydrant => "hydrant",
            Self::Metadata => "hydrant, with position and ordinal",
            Self::Baseline => "mysql_common + csv",
            Self::Checked => "mysql_common + csv, checking as much",
            Self::Framing => "frames and checksums only",
        }
    }

    fn run(self, capture: &Capture) -> Result<u64> {
        const POSITION_AND_ORDINAL: [MetadataColumn; 2] =
            [MetadataColumn::Position, MetadataColumn::Ordinal];
        match self {
            Self::Hydrant => capture.transcode(&[], drop_batch),
            Self::Metadata => capture.transcode(&POSITION_AND_ORDINAL, drop_batch),
            Self::Baseline => capture.yardstick(false, io::sink()),
            Self::Checked => capture.yardstick(true, io::sink()),
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
    columns: Vec<Column>,
    /// Written by hydrant.
    chosen: Vec<ChosenColumn>,
    row_count: u64,
    binlog: Vec<u8>,
}

impl Capture {
    fn transcode(&self, metadata: &[MetadataColumn], sink: impl FnMut(SealedBatch)) -> Result<u64> {
        let table = self.workload.table();
        transcode(&self.binlog, table, &self.chosen, metadata, sink)
    }

    /// The same lines by mysql_common and the csv crate.
    fn yardstick(&self, is_checked: bool, out: impl io::Write) -> Result<u64> {
        match self.workload {
            Workload::Sales => baseline::transcode(&self.binlog, is_checked, out),
            Workload::Wide | Workload::Text => {
                baseline_cells::transcode(&self.binlog, &self.columns, is_checked, out)
            }
        }
    }
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

/// What any reader of these bytes has to do at least. Returns the number of events.
fn frame(binlog: &[u8]) -> Result<u64> {
    let mut events = EventFile::open(FIRST_BINLOG, binlog)?;
    let mut event_count = 0;
    while let Some(event) = events.next()? {
        black_box(event);
        event_count += 1;
    }
    Ok(event_count)
}

/// Both must write the very same bytes, or their times cannot be compared.
fn check_same_output(capture: &Capture) -> Result<()> {
    let row_count = capture.row_count;
    let mut ours = Vec::new();
    let our_rows = capture.transcode(&[], |batch| ours.extend_from_slice(batch.bytes()))?;
    let mut theirs = Vec::new();
    let their_rows = capture.yardstick(true, &mut theirs)?;
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
    let times_of = |wanted| {
        let run = runs.iter().find(|(variant, _)| *variant == wanted);
        run.map(|(_, times)| times)
    };
    println!(
        "\n{:<38} {:>6} {:>7} {:>6}  {}: the first to be at least {}",
        "times mysql_common, round by round",
        "min",
        "median",
        "max",
        workload.name(),
        workload.least_ratio()
    );
    let metadata = Variant::Metadata.title();
    for (title, ours, theirs) in [
        ("hydrant", Variant::Hydrant, Variant::Baseline),
        (metadata, Variant::Metadata, Variant::Baseline),
        (
            "hydrant, to one checking as much",
            Variant::Hydrant,
            Variant::Checked,
        ),
    ] {
        let (Some(ours), Some(theirs)) = (times_of(ours), times_of(theirs)) else {
            continue;
        };
        let ratios = theirs.iter().zip(ours);
        let ratios = ratios.map(|(theirs, ours)| theirs.div_duration_f64(*ours));
        let ratio = spread(ratios.collect());
        println!(
            "{title:<38} {:>6.2} {:>7.2} {:>6.2}",
            ratio.min, ratio.median, ratio.max
        );
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
