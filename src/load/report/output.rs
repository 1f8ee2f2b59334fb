//! The files of a report, in the folder that `--out` names.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::{Exit, Failure};

use super::Report;
use super::page;

/// Microseconds in the logs become milliseconds in their column of longest latencies.
const US_PER_MS: f64 = 1_000.0;

/// Writes everything.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn write(
    folder: &Path,
    report: &Report,
    intervals: &[Histogram<u64>],
) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report).map_err(std::io::Error::other);
    let written = fs::create_dir_all(folder)
        .and(json)
        .and_then(|json| fs::write(folder.join("result.json"), json))
        .and_then(|()| latency_log(report, intervals))
        .and_then(|log| fs::write(folder.join("latency.hlog"), log))
        .and_then(|()| page::report(report).map_err(std::io::Error::other))
        .and_then(|html| fs::write(folder.join("report.html"), html));
    written.map_err(|error| {
        Failure::definite(
            Exit::Unavailable,
            format!("cannot write the report to {}: {error}", folder.display()),
            "name another folder with --out",
        )
    })
}

/// HdrHistogram's interval log: a histogram for each second, which its own tools read.
fn latency_log(report: &Report, intervals: &[Histogram<u64>]) -> std::io::Result<Vec<u8>> {
    let started: jiff::Timestamp = report.started_at.parse().map_err(std::io::Error::other)?;
    let since_epoch = Duration::from_secs(u64::try_from(started.as_second()).unwrap_or(0));
    let started = SystemTime::UNIX_EPOCH + since_epoch;
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("hydrant load: latencies in microseconds, a line for each second")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(US_PER_MS)
        .begin_log_with(&mut log, &mut serializer)?;
    for (second, interval) in (0..).zip(intervals) {
        writer
            .write_histogram(
                interval,
                Duration::from_secs(second),
                Duration::from_secs(1),
                None,
            )
            .map_err(|error| std::io::Error::other(format!("{error:?}")))?;
    }
    Ok(log)
}
