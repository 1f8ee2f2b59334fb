//! PURE. The data of a report: what is in `result.json`, and what the page is made from.

use serde::{Deserialize, Serialize};

use super::knee::{Knee, Trial};
use super::record::{Latency, Second, Totals};
use super::verdict::{Limit, Quotas};

/// The shape of `result.json`; it grows when an old reader would misread a new file.
pub const FORMAT: u32 = 1;

/// The machine that a run was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a reader wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In words.
    pub question: String,
    /// In words.
    pub answer: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// `firehose`, `mysql` or `metrics`.
    pub kind: String,
    /// What was loaded.
    pub target: String,
    /// When the first row was meant to be sent; RFC 3339.
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
    /// What is concluded.
    pub answers: Vec<Answer>,
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
    /// All seconds.
    pub seconds: Vec<Second>,
}

impl Report {
    /// The lines that are printed at the end.
    #[must_use]
    pub fn summary(&self) -> String {
        let answer = |answer: &Answer| format!("{}\n  {}\n", answer.question, answer.answer);
        self.answers.iter().map(answer).collect()
    }
}
