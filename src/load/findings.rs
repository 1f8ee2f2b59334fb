//! PURE. What `load mysql` and `load metrics` found: their `result.json`, and the lines that are
//! printed.
//!
//! What does not live here: the report of `load firehose`, which has quotas, a price and plots
//! ([`super::report`]).

use serde::{Deserialize, Serialize};

use super::record::Latency;
use super::report::{Answer, Machine, Parameter};
use super::text::{count, ms};

/// A number of a run that is neither a setting nor a latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was counted.
    pub name: String,
    /// How many.
    pub value: f64,
}

/// A run, without its files' form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// [`super::report::FORMAT`].
    pub format: u32,
    /// `mysql` or `metrics`.
    pub kind: String,
    /// What was loaded.
    pub target: String,
    /// RFC 3339.
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
    /// What was counted.
    pub figures: Vec<Figure>,
    /// What was measured, the most important first.
    pub latencies: Vec<Latency>,
}

impl Findings {
    /// What was counted under this name.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        let found = self.figures.iter().find(|figure| figure.name == name);
        found.map(|figure| figure.value)
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
    let at = |name: &str, percentile| {
        latency
            .at(percentile)
            .map(|it| format!("{name} {}", ms(it)))
    };
    let percentiles = [
        ("p50", 50.0),
        ("p99", 99.0),
        ("p99.9", 99.9),
        ("most", 100.0),
    ];
    let known: Vec<String> = percentiles
        .into_iter()
        .filter_map(|(name, percentile)| at(name, percentile))
        .collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    let (name, of) = (&latency.name, count(latency.count as f64));
    format!("{name}\n  {known} ({of} measured)\n")
}

/// Figures by their names.
#[must_use]
pub fn figures(named: &[(&str, f64)]) -> Vec<Figure> {
    let figure = |(name, value): &(&str, f64)| Figure {
        name: (*name).to_owned(),
        value: *value,
    };
    named.iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::record::{add_latency, latency_histogram};
    use super::*;

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
            "a\n  p50 20 ms, p99 20 ms, p99.9 20 ms, most 20 ms (1,000 measured)\n"
        );
    }
}
