//! The files of a report, in the folder that `--out` names.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::printing::print;
use crate::{Exit, Failure};

use super::Report;
use super::page;
use crate::load::options::OutOptions;

/// Microseconds in the logs become milliseconds in their column of longest latencies.
const US_PER_MS: f64 = 1_000.0;

const RESULT: &str = "result.json";
const LOG: &str = "latency.hlog";
const PAGE: &str = "report.html";

impl OutOptions {
    /// Tries before a run whether its report can be written.
    ///
    /// # Errors
    /// If the folder has a report that must not be overwritten, or cannot be written.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        let Some(folder) = &self.out else {
            return Ok(());
        };
        let mut names = [RESULT, LOG, PAGE].into_iter();
        if !self.force
            && let Some(name) = names.find(|name| folder.join(name).exists())
        {
            return Err(Failure::definite(
                Exit::Usage,
                format!("{} has a {name} already", folder.display()),
                "name another folder with --out, or add --force to overwrite its report",
            ));
        }
        let tried = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
        tried.map(drop).map_err(|error| unwritable(folder, &error))
    }

    /// Prints what a report says, and writes it if there is a folder.
    ///
    /// # Errors
    /// If it cannot be written. It is printed first.
    pub(crate) fn finish(
        &self,
        report: &Report,
        intervals: &[Histogram<u64>],
    ) -> Result<(), Failure> {
        let printed = print(report.summary());
        if let Some(folder) = &self.out {
            write(folder, report, intervals).map_err(|error| unwritable(folder, &error))?;
        }
        printed
    }
}

fn unwritable(folder: &Path, error: &std::io::Error) -> Failure {
    Failure::definite(
        Exit::Unavailable,
        format!("cannot write the report to {}: {error}", folder.display()),
        "name another folder with --out",
    )
}

fn write(folder: &Path, report: &Report, intervals: &[Histogram<u64>]) -> std::io::Result<()> {
    let json = serde_json::to_string_pretty(report).map_err(std::io::Error::other)?;
    fs::write(folder.join(RESULT), json)?;
    fs::write(folder.join(LOG), latency_log(report, intervals)?)?;
    let html = page::report(report).map_err(std::io::Error::other)?;
    fs::write(folder.join(PAGE), html)
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
