//! What is shown during a run: a bar on a terminal, else a line every five seconds.

use std::io::IsTerminal as _;
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use super::measure::record::Second;
use super::report::text::{count, ms};

/// How often a line is written where there is no terminal.
const LINE_SECONDS: u32 = 5;

/// The view.
#[derive(Debug)]
pub(super) struct Live {
    bar: Option<ProgressBar>,
}

impl Live {
    /// Shows itself on standard error.
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{prefix} [{bar:24}] {msg}";
            let style = ProgressStyle::with_template(template);
            // A template that cannot be read is a mistake in this line, and no reason to fail.
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1).with_style(style.progress_chars("=> "))
        });
        Self { bar }
    }

    /// A part of the run begins, which is planned to take this long.
    pub(super) fn begin(&self, what: &str, length: Duration) {
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(what.to_owned());
                bar.set_length(length.as_secs().max(1));
                bar.set_position(0);
            }
            None => info!("{what}, {} s", length.as_secs_f64()),
        }
    }

    /// A second of a run that publishes datums is over; `passed` since it began.
    pub(super) fn second_of_datums(&self, second: &Second, passed: u32) {
        self.show(
            passed,
            format!(
                "{passed} s: {} datums/s of {} accepted",
                count(second.acknowledged_rows as f64),
                count(second.intended_rows as f64),
            ),
        );
    }

    /// A second of a run that sends rows is over; `passed` since the part began.
    pub(super) fn second(&self, second: &Second, passed: u32) {
        let latency = match (second.p50_ms, second.p99_ms) {
            (Some(p50), Some(p99)) => format!("p50 {}, p99 {}", ms(p50), ms(p99)),
            _ => "nothing acknowledged".to_owned(),
        };
        let throttles = match &second.wire {
            wire if wire.requests == 0 => String::new(),
            wire => format!(
                "; {} records refused, {} requests failed",
                count(wire.refused_records as f64),
                count(wire.failed_requests as f64),
            ),
        };
        let gauges = &second.gauges;
        let backlog = match gauges.backlog_bytes {
            0 => format!("{} rows", count(gauges.backlog_rows as f64)),
            bytes => ByteSize(bytes).to_string(),
        };
        let line = format!(
            "{passed} s: {} rows/s of {}; {latency}{throttles}; backlog {backlog}",
            count(second.acknowledged_rows as f64),
            count(second.intended_rows as f64),
        );
        self.show(passed, line);
    }

    fn show(&self, passed: u32, line: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(passed.into());
                bar.set_message(line);
            }
            None if passed.is_multiple_of(LINE_SECONDS) => info!("{line}"),
            None => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
