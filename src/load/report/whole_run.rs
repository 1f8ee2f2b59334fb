//! PURE. What two runs differ in as wholes: numbers that each run has once, so that no test tells them from noise.
//!
//! What lives here: which numbers those are, and how far apart they have to be. What does not: the numbers that every
//! second has ([`super::compare`]).

use super::Report;
use super::compare::{Difference, Section, Verdict};
use super::text::{count, ms};
use crate::load::measure::record::Latency;

/// Shorter differences are those of a scheduler, in milliseconds.
const NOTABLE_MS: f64 = 5.0;

/// How much larger one of two numbers has to be than the other, as a share: of a rate, of a percentile, and of a
/// maximum, which is that of a single row.
const NOTABLE_RATE: f64 = 0.05;
const NOTABLE_PERCENTILE: f64 = 0.25;
const NOTABLE_MAX: f64 = 1.0;

/// The numbers of whole runs.
#[must_use]
pub fn sections(a: &Report, b: &Report) -> Vec<Section> {
    let mut sections = vec![Section {
        title: "the whole run".to_owned(),
        differences: counts(a, b),
    }];
    for latency in &a.latencies {
        let same = b.latencies.iter().find(|it| it.name == latency.name);
        sections.extend(same.map(|other| percentiles(latency, other)));
    }
    sections
}

/// Numbers of which a run has one.
fn counts(a: &Report, b: &Report) -> Vec<Difference> {
    let mut differences = Vec::new();
    if a.headline.unit == b.headline.unit {
        let values = [a, b].map(|report| report.headline.value);
        differences.push(difference(
            &a.headline.unit,
            values,
            count,
            |most, least| most > least * (1.0 + NOTABLE_RATE),
            true,
        ));
    }
    // Of these every one counts, and fewer are better.
    let mut fewer = |name: &str, values: [Option<f64>; 2]| {
        if let [Some(a), Some(b)] = values {
            let is_notable = |most: f64, least: f64| most > least;
            differences.push(difference(name, [a, b], count, is_notable, false));
        }
    };
    if a.has_wire() || b.has_wire() {
        let silent = |report: &Report| report.seconds.iter().filter(|it| it.is_silent).count();
        fewer(
            "seconds without acknowledgement",
            [a, b].map(|it| Some(silent(it) as f64)),
        );
        fewer(
            "rows left out, backlog full",
            [a, b].map(|it| Some(it.totals.left_out_rows as f64)),
        );
    }
    if a.kind != "metrics" {
        fewer(
            "unacknowledged rows",
            [a, b].map(|it| Some(it.unacknowledged_rows as f64)),
        );
    }
    for name in ["gaps", "dropped datums", "missing rows", "repeated rows"] {
        fewer(name, [a, b].map(|it| it.figure(name)));
    }
    differences
}

/// The percentiles that people ask for.
fn percentiles(a: &Latency, b: &Latency) -> Section {
    let of = |(name, at, share): (&str, f64, f64)| match (a.at(at), b.at(at)) {
        (Some(a), Some(b)) => difference(
            name,
            [a, b],
            ms,
            move |most, least| most - least >= NOTABLE_MS && most >= least * (1.0 + share),
            false,
        ),
        (a, b) => Difference {
            name: name.to_owned(),
            a: a.map_or_else(|| "none".to_owned(), ms),
            b: b.map_or_else(|| "none".to_owned(), ms),
            change: None,
            p_value: None,
            effect: None,
            verdict: Verdict::Unknown,
        },
    };
    let each = [
        ("p50", 50.0, NOTABLE_PERCENTILE),
        ("p99", 99.0, NOTABLE_PERCENTILE),
        ("p99.9", 99.9, NOTABLE_PERCENTILE),
        ("max", 100.0, NOTABLE_MAX),
    ];
    Section {
        title: a.name.clone(),
        differences: each.map(of).to_vec(),
    }
}

fn difference(
    name: &str,
    [a, b]: [f64; 2],
    show: impl Fn(f64) -> String,
    is_notable: impl Fn(f64, f64) -> bool,
    more_is_better: bool,
) -> Difference {
    let verdict = if !is_notable(a.max(b), a.min(b)) {
        Verdict::Noise
    } else if (b > a) == more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    Difference {
        name: name.to_owned(),
        a: show(a),
        b: show(b),
        change: (a != 0.0).then(|| b / a - 1.0),
        p_value: None,
        effect: None,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::measure::record::{Second, add_latency, latency_histogram};
    use crate::load::report::Figure;

    fn latency(name: &str, fast: u64, slow: (u64, u64)) -> Latency {
        let mut histogram = latency_histogram();
        add_latency(&mut histogram, Duration::from_millis(60), fast);
        add_latency(&mut histogram, Duration::from_millis(slow.1), slow.0);
        Latency::of(name, &histogram)
    }

    fn found(a: &Report, b: &Report) -> Vec<(String, Verdict)> {
        let sections = sections(a, b);
        let all = sections.into_iter().flat_map(|section| section.differences);
        let told = all.filter(|it| it.verdict != Verdict::Noise);
        told.map(|it| (it.name, it.verdict)).collect()
    }

    /// The seconds of a stall have no median, so that medians of seconds do not show it; whole runs do.
    #[test]
    fn a_stall_makes_a_run_worse() {
        let run = |silent: u32, slow: (u64, u64), unacknowledged_rows| {
            let mut report = Report {
                kind: "firehose".to_owned(),
                latencies: vec![latency("rows", 20_000 - slow.0, slow)],
                unacknowledged_rows,
                ..Report::default()
            };
            report.totals.wire.requests = 1;
            report.seconds = (0..10)
                .map(|second| Second {
                    second,
                    is_silent: second < silent,
                    ..Second::default()
                })
                .collect();
            report
        };
        let good = run(0, (400, 138), 0);
        assert_eq!(found(&good, &good), []);
        let told = |numbers: &[&str], verdict| {
            let each = numbers.iter().map(|name| ((*name).to_owned(), verdict));
            each.collect::<Vec<_>>()
        };
        let stalled = run(6, (400, 6_140), 5);
        let numbers = [
            "seconds without acknowledgement",
            "unacknowledged rows",
            "p99",
            "p99.9",
            "max",
        ];
        assert_eq!(found(&good, &stalled), told(&numbers, Verdict::Worse));
        assert_eq!(found(&stalled, &good), told(&numbers, Verdict::Better));
        // A few milliseconds more are none.
        assert_eq!(found(&good, &run(0, (400, 142), 0)), []);
    }

    #[test]
    fn runs_of_the_poller_are_compared_by_lateness_and_gaps() {
        let run = |ms, gaps| Report {
            kind: "metrics".to_owned(),
            latencies: vec![latency("lateness", 100, (100, ms))],
            figures: vec![Figure::new("gaps", gaps)],
            ..Report::default()
        };
        let told = found(&run(70, 0.0), &run(700, 1.0));
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["gaps", "p99", "p99.9", "max"]);
        assert!(told.iter().all(|(_, verdict)| *verdict == Verdict::Worse));
    }
}
