//! PURE. The data of a report: what is in `result.json`, and what the page is made from.
//!
//! In its rooms: `text`, `chart`, `plots` and `page` (PURE) write it, `compare` and `whole_run` (PURE) set two beside each other;
//! `output` and `comparison` write and read the files.

pub mod chart;
pub mod compare;
pub(super) mod comparison;
pub(super) mod output;
pub mod page;
pub mod plots;
pub mod text;
pub mod whole_run;

use serde::{Deserialize, Serialize};

use crate::load::measure::knee::{Knee, Trial};
use crate::load::measure::record::{Latency, Second, Totals};
use crate::load::measure::verdict::{Limit, Quotas};
use text::{count, ms};

/// The shape of `result.json`; it grows when an old reader would misread a new file.
pub const FORMAT: u32 = 2;

/// The machine that a run was made on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that the process may use.
    pub cores: usize,
    /// The processor's name.
    pub cpu: String,
    /// The operating system's kernel.
    pub kernel: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// A setting of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// As it is typed.
    pub name: String,
    /// What it was.
    pub value: String,
}

/// The one number of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What has to be known with it, in words.
    pub note: String,
}

/// What a reader wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In words.
    pub question: String,
    /// In words.
    pub answer: String,
}

/// A number of a run that is neither a setting nor a latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was counted.
    pub name: String,
    /// How many.
    pub value: f64,
}

impl Figure {
    /// A number and its name.
    #[must_use]
    pub fn new(name: &str, value: f64) -> Self {
        let name = name.to_owned();
        Self { name, value }
    }
}

/// A run. What a kind of run does not have is zero, nothing or empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// `firehose`, `mysql` or `metrics`.
    pub kind: String,
    /// What was loaded.
    pub target: String,
    /// When it began; RFC 3339.
    pub started_at: String,
    /// Why it ended.
    pub ended: String,
    /// The program's version.
    pub version: String,
    /// The revision of its source, if it is known.
    pub revision: Option<String>,
    /// Where it ran.
    pub machine: Machine,
    /// All settings.
    pub parameters: Vec<Parameter>,
    /// What is told first.
    pub headline: Headline,
    /// What is concluded.
    pub answers: Vec<Answer>,
    /// What was counted beside [`Report::totals`].
    pub figures: Vec<Figure>,
    /// Who was the limit.
    pub limit: Limit,
    /// Planned rows that were not made in time to be offered.
    pub never_made_rows: u64,
    /// Rows that were offered and not acknowledged at the end.
    pub unacknowledged_rows: u64,
    /// The stream's quotas.
    pub quotas: Quotas,
    /// Rows of this size a second that those allow.
    pub capacity_rows: Option<f64>,
    /// The seconds of the plan: those after it only wait for acknowledgements.
    pub planned_seconds: u32,
    /// Sums over the planned seconds.
    pub totals: Totals,
    /// What was measured, the most important first.
    pub latencies: Vec<Latency>,
    /// The rates that were tried.
    pub trials: Vec<Trial>,
    /// The knee, if it was looked for.
    pub knee: Option<Knee>,
    /// All seconds. Rows of `load metrics` are datums, acknowledged by CloudWatch.
    pub seconds: Vec<Second>,
}

impl Report {
    /// What was counted under this name.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        let found = self.figures.iter().find(|figure| figure.name == name);
        found.map(|figure| figure.value)
    }

    /// What [`Report::seconds`] count.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.kind == "metrics" {
            "Datums"
        } else {
            "Rows"
        }
    }

    /// Whether there are latencies of single seconds.
    #[must_use]
    pub fn has_latencies(&self) -> bool {
        self.seconds.iter().any(|second| second.p50_ms.is_some())
    }

    /// Whether requests of the client were counted.
    #[must_use]
    pub fn has_wire(&self) -> bool {
        self.totals.wire.requests > 0
    }

    /// The lines that are printed at the end.
    #[must_use]
    pub fn summary(&self) -> String {
        let answers = self.answers.iter();
        let answers = answers.map(|it| format!("{}\n  {}\n", it.question, it.answer));
        let latencies = self.latencies.iter().map(latency_line);
        answers.chain(latencies).collect()
    }
}

fn latency_line(latency: &Latency) -> String {
    let percentiles = [
        ("p50", 50.0),
        ("p99", 99.0),
        ("p99.9", 99.9),
        ("max", 100.0),
    ];
    let known = percentiles.map(|(name, at)| Some(format!("{name} {}", ms(latency.at(at)?))));
    let mut known = known.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if known.is_empty() {
        known += "none";
    }
    let (name, of) = (&latency.name, count(latency.count as f64));
    format!("{name}\n  {known} ({of} measured)\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::measure::record::{add_latency, latency_histogram};

    #[test]
    fn a_latency_reads_as_its_percentiles_and_nothing_as_none() {
        let mut histogram = latency_histogram();
        assert_eq!(
            latency_line(&Latency::of("a", &histogram)),
            "a\n  none (0 measured)\n"
        );
        add_latency(&mut histogram, Duration::from_millis(20), 1_000);
        assert_eq!(
            latency_line(&Latency::of("a", &histogram)),
            "a\n  p50 20 ms, p99 20 ms, p99.9 20 ms, max 20 ms (1,000 measured)\n"
        );
    }
}
