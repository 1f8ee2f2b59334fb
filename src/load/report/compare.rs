//! PURE. Two runs over each other, and what differs beyond noise.
//!
//! What lives here: the samples, the test, and the verdict. What does not: reading the files
//! (`comparison`) and the page ([`super::page`]).

use std::collections::BTreeSet;

use serde::Serialize;
use statrs::stats_tests::Alternative;
use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

use super::Report;
use super::text::{count, ms};
use crate::load::measure::record::Second;
use crate::load::measure::verdict::median;

/// The probability below which chance does not explain a difference.
const RARE: f64 = 0.01;
/// The effect (Cliff's delta) from which on it is called large: in three of four pairs of seconds
/// the one run is over the other.
const LARGE_EFFECT: f64 = 0.474;
/// The smallest change of the median that matters.
const NOTABLE_CHANGE: f64 = 0.03;
/// Fewer seconds than these are no sample.
const LEAST_SECONDS: usize = 5;
/// The share of seconds at the start that warm up and are left out.
const WARM_UP_SHARE: f64 = 0.2;

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not one that could be told from noise.
    Noise,
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// There are too few seconds to say.
    Unknown,
}

impl Verdict {
    /// As a person reads it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Noise => "no difference beyond noise",
            Self::Better => "B is better",
            Self::Worse => "B is worse",
            Self::Unknown => "too few seconds",
        }
    }
}

/// Numbers of both runs that are told together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// What they are of.
    pub title: String,
    /// The numbers.
    pub differences: Vec<Difference>,
}

/// One number of both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What it is.
    pub name: String,
    /// That of run A, with its unit.
    pub a: String,
    /// The same of run B.
    pub b: String,
    /// How much B's is over A's, as a share of A's; none if that is zero.
    pub change: Option<f64>,
    /// How rarely chance alone would part the runs so far, from 0 to 1; none of a number that a run has
    /// once.
    pub p_value: Option<f64>,
    /// From -1 (every second of B is under every one of A) to 1.
    pub effect: Option<f64>,
    /// What to make of it.
    pub verdict: Verdict,
}

/// What a run must have for a number to mean something.
enum Prerequisite {
    Always,
    Latency,
    Wire,
}

/// A number that every second has.
struct Measure {
    name: &'static str,
    needs: Prerequisite,
    value: fn(&Second) -> Option<f64>,
    show: fn(f64) -> String,
    more_is_better: bool,
}

const MEASURES: [Measure; 8] = [
    Measure {
        name: "acknowledged rows a second",
        needs: Prerequisite::Always,
        value: |second| Some(second.acknowledged_rows as f64),
        show: count,
        more_is_better: true,
    },
    Measure {
        name: "median latency",
        needs: Prerequisite::Latency,
        value: |second| second.p50_ms,
        show: ms,
        more_is_better: false,
    },
    Measure {
        name: "p99 latency",
        needs: Prerequisite::Latency,
        value: |second| second.p99_ms,
        show: ms,
        more_is_better: false,
    },
    Measure {
        name: "records not accepted a second",
        needs: Prerequisite::Wire,
        value: |second| Some(second.wire.not_accepted() as f64),
        show: count,
        more_is_better: false,
    },
    Measure {
        name: "backlog",
        needs: Prerequisite::Wire,
        value: |second| Some(second.gauges.backlog_bytes as f64),
        show: |bytes| bytesize::ByteSize(bytes as u64).to_string(),
        more_is_better: false,
    },
    Measure {
        name: "billed bytes a row",
        needs: Prerequisite::Wire,
        value: |second| per_row(second.wire.billed_bytes as f64, second),
        show: count,
        more_is_better: false,
    },
    Measure {
        name: "processor time a million rows",
        needs: Prerequisite::Always,
        value: |second| per_row(second.gauges.cpu_cores * 1e6, second),
        show: |seconds| format!("{seconds:.2} s"),
        more_is_better: false,
    },
    Measure {
        name: "memory",
        needs: Prerequisite::Always,
        value: |second| Some(second.gauges.rss_bytes as f64),
        show: |bytes| bytesize::ByteSize(bytes as u64).to_string(),
        more_is_better: false,
    },
];

fn per_row(value: f64, second: &Second) -> Option<f64> {
    let rows = second.acknowledged_rows;
    (rows > 0).then(|| value / rows as f64)
}

/// Compares the seconds of two runs by all numbers that both have.
#[must_use]
pub fn median_seconds(a: &Report, b: &Report) -> Section {
    let has = |measure: &&Measure| match measure.needs {
        Prerequisite::Always => true,
        Prerequisite::Latency => a.has_latencies() || b.has_latencies(),
        Prerequisite::Wire => a.has_wire() || b.has_wire(),
    };
    let differences = MEASURES.iter().filter(has).map(|measure| {
        let (a, b) = (sample(a, measure), sample(b, measure));
        difference(measure, &a, &b)
    });
    Section {
        title: "the median second".to_owned(),
        differences: differences.collect(),
    }
}

fn sample(report: &Report, measure: &Measure) -> Vec<f64> {
    let planned = report.seconds.len().min(report.planned_seconds as usize);
    let warm_up = (planned as f64 * WARM_UP_SHARE) as usize;
    let seconds = &report.seconds[warm_up..planned];
    seconds.iter().filter_map(measure.value).collect()
}

/// Seconds are compared by their ranks (Mann-Whitney), because latencies are not distributed
/// normally. But seconds that follow each other are alike, so that the test believes in more
/// samples than there are and calls small things certain. A difference is therefore one beyond
/// noise only if it is also large in two other ways that do not depend on the number of samples:
/// the seconds of one run mostly lie over those of the other, and the medians are apart.
fn difference(measure: &Measure, a: &[f64], b: &[f64]) -> Difference {
    let (median_a, median_b) = (median(a), median(b));
    let is_sample = a.len() >= LEAST_SECONDS && b.len() >= LEAST_SECONDS;
    let (p_value, effect) = ranks(a, b);
    let change = (median_a != 0.0).then(|| median_b / median_a - 1.0);
    let is_notable = match change {
        Some(change) => change.abs() >= NOTABLE_CHANGE,
        None => median_b != 0.0,
    };
    let verdict = if !is_sample {
        Verdict::Unknown
    } else if p_value >= RARE || effect.abs() < LARGE_EFFECT || !is_notable {
        Verdict::Noise
    } else if (effect > 0.0) == measure.more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    Difference {
        name: measure.name.to_owned(),
        a: (measure.show)(median_a),
        b: (measure.show)(median_b),
        change,
        p_value: Some(p_value),
        effect: Some(effect),
        verdict,
    }
}

/// The probability of chance, and Cliff's delta of `b` over `a`.
fn ranks(a: &[f64], b: &[f64]) -> (f64, f64) {
    let first = a.first().or(b.first());
    // The test divides by zero where all values are the same.
    if a.is_empty() || b.is_empty() || a.iter().chain(b).all(|value| Some(value) == first) {
        return (1.0, 0.0);
    }
    let method = MannWhitneyUMethod::AsymptoticInclContinuityCorrection;
    let tested = mannwhitneyu(b, a, method, Alternative::TwoSided);
    let p_value = tested.map_or(1.0, |(_, p_value)| p_value);
    let mut balance = 0.0;
    for below in a {
        for above in b {
            balance += match above.total_cmp(below) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.0,
                std::cmp::Ordering::Less => -1.0,
            };
        }
    }
    (p_value, balance / (a.len() * b.len()) as f64)
}

/// Settings of which the two runs had different values: name, A's, B's.
#[must_use]
pub fn changed_settings(a: &Report, b: &Report) -> Vec<[String; 3]> {
    let names: BTreeSet<&str> = a
        .parameters
        .iter()
        .chain(&b.parameters)
        .map(|parameter| parameter.name.as_str())
        .collect();
    let value = |report: &Report, name: &str| {
        let mut parameters = report.parameters.iter();
        let found = parameters.find(|parameter| parameter.name == name);
        found.map_or_else(|| "not set".to_owned(), |parameter| parameter.value.clone())
    };
    names
        .into_iter()
        .map(|name| [name.to_owned(), value(a, name), value(b, name)])
        .filter(|[_, a, b]| a != b)
        .collect()
}

/// The table that is printed.
#[must_use]
pub fn table(sections: &[Section], settings: &[[String; 3]]) -> String {
    let row = |cells: [&str; 5]| {
        let [name, a, b, change, verdict] = cells;
        let line = format!("{name:<36} {a:>12} {b:>12} {change:>9}  {verdict}");
        format!("{}\n", line.trim_end())
    };
    let mut text = row(["", "A", "B", "change", ""]);
    for section in sections {
        text += &section.title;
        text.push('\n');
        for difference in &section.differences {
            let change = difference
                .change
                .map(|change| format!("{:+.1} %", change * 100.0));
            text += &row([
                &format!("  {}", difference.name),
                &difference.a,
                &difference.b,
                &change.unwrap_or_default(),
                difference.verdict.name(),
            ]);
        }
    }
    if !settings.is_empty() {
        text += "settings that differ\n";
    }
    let settings = settings.iter();
    text.extend(settings.map(|[name, a, b]| format!("  {name}: A {a}, B {b}\n")));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn latency() -> &'static Measure {
        &MEASURES[1]
    }

    proptest! {
        /// Runs of the same kind are hardly ever called different, whatever their noise.
        #[test]
        fn two_halves_of_one_noise_are_noise(
            values in prop::collection::vec(90.0_f64..110.0, 40),
        ) {
            let (a, b) = values.split_at(20);
            let found = difference(latency(), a, b);
            prop_assume!(found.effect.unwrap().abs() < LARGE_EFFECT);
            prop_assert_eq!(found.verdict, Verdict::Noise);
        }

        /// A shift that is larger than the noise is always seen, and in its direction.
        #[test]
        fn a_shift_beyond_the_noise_is_seen(
            values in prop::collection::vec(90.0_f64..110.0, 16), shift in 25.0_f64..900.0,
        ) {
            let slower: Vec<f64> = values.iter().map(|value| value + shift).collect();
            prop_assert_eq!(difference(latency(), &values, &slower).verdict, Verdict::Worse);
            prop_assert_eq!(difference(latency(), &slower, &values).verdict, Verdict::Better);
            let more = difference(&MEASURES[0], &values, &slower);
            prop_assert_eq!(more.verdict, Verdict::Better);
            prop_assert!((more.effect.unwrap() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_cannot_be_told_is_not_told() {
        let few = difference(latency(), &[1.0; 4], &[9.0; 4]);
        assert_eq!(few.verdict, Verdict::Unknown);
        let none = difference(latency(), &[], &[]);
        assert_eq!((none.verdict, none.change), (Verdict::Unknown, None));
        let same = difference(latency(), &[7.0; 30], &[7.0; 30]);
        assert_eq!(same.verdict, Verdict::Noise);
        // Certain, but nobody cares about a per cent.
        let values: Vec<f64> = (0..30)
            .map(|value| 100.0 + f64::from(value) * 0.01)
            .collect();
        let slower: Vec<f64> = values.iter().map(|value| value + 1.0).collect();
        let small = difference(latency(), &values, &slower);
        assert!(small.p_value.unwrap() < RARE && small.effect.unwrap() > 0.99);
        assert_eq!(small.verdict, Verdict::Noise);
        // From nothing to something.
        let refusals = difference(&MEASURES[3], &[0.0; 20], &[5.0; 20]);
        assert_eq!((refusals.verdict, refusals.change), (Verdict::Worse, None));
    }
}
