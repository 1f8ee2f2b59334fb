//! PURE. What is plotted of a run, and of two runs over each other.

use super::Report;
use super::chart::{AxisUnit, Chart, Kind, Line};
use crate::load::measure::record::Second;
use crate::load::measure::verdict::Resource;

/// A number of a second, if it has one.
type OfSecond = fn(&Second) -> Option<f64>;

/// A line of a value of each second.
fn over_time(
    name: &str,
    kind: Kind,
    seconds: &[Second],
    value: impl Fn(&Second) -> Option<f64>,
) -> Line {
    let point = |second: &Second| (f64::from(second.second), value(second));
    Line {
        name: name.to_owned(),
        kind,
        points: seconds.iter().map(point).collect(),
    }
}

/// A level line over all seconds.
fn level(name: &str, seconds: &[Second], value: f64) -> Line {
    let ends = [seconds.first(), seconds.last()].into_iter().flatten();
    let point = |second: &Second| (f64::from(second.second), Some(value));
    Line {
        name: name.to_owned(),
        kind: Kind::Limit,
        points: ends.map(point).collect(),
    }
}

fn chart(title: &str, up: AxisUnit, lines: Vec<Line>) -> Chart {
    Chart {
        title: title.to_owned(),
        across: AxisUnit::Seconds,
        up,
        lines,
    }
}

/// The charts of one run, in the order in which they are read.
#[must_use]
pub fn of_run(report: &Report) -> Vec<Chart> {
    let seconds = &report.seconds;
    let measured = |name: &str, value: &dyn Fn(&Second) -> Option<f64>| {
        over_time(name, Kind::Measured, seconds, value)
    };
    let mut rates = vec![
        measured("acknowledged", &|it| Some(it.acknowledged_rows as f64)),
        over_time("intended", Kind::Planned, seconds, |it| {
            Some(it.intended_rows as f64)
        }),
    ];
    if let Some(capacity) = report.capacity_rows {
        rates.push(level("what the quotas allow", seconds, capacity));
    }
    let title = format!("{} a second", report.unit());
    let mut charts = vec![chart(&title, AxisUnit::Count, rates)];
    charts.extend(quota_use(report));
    charts.push(percentiles("Latency by percentile", &[("", report)]));
    let latency = vec![
        measured("median", &|it| it.p50_ms),
        measured("99th percentile", &|it| it.p99_ms),
        measured("longest", &|it| it.longest_ms),
    ];
    if report.has_latencies() {
        charts.push(chart("Latency over time", AxisUnit::Latency, latency));
    }
    if report.has_wire() {
        let throttles = vec![
            measured("records refused", &|it| {
                Some(it.wire.refused_records as f64)
            }),
            measured("requests failed", &|it| {
                Some(it.wire.failed_requests as f64)
            }),
        ];
        charts.push(chart("Throttles a second", AxisUnit::Count, throttles));
    }
    if let Some((unit, backlog)) = backlog(report) {
        let line = measured("not acknowledged", &backlog);
        charts.push(chart("Backlog", unit, vec![line]));
    }
    let cores = report.machine.cores as f64;
    charts.push(chart(
        "Processor of this process",
        AxisUnit::Count,
        vec![
            measured("cores used", &|it| Some(it.gauges.cpu_cores)),
            level("cores", seconds, cores),
        ],
    ));
    charts.push(chart(
        "Memory of this process",
        AxisUnit::Bytes,
        vec![measured("resident", &|it| Some(it.gauges.rss_bytes as f64))],
    ));
    charts
}

/// What the backlog is counted in, and how much it is: rows where bytes are not known.
fn backlog(report: &Report) -> Option<(AxisUnit, OfSecond)> {
    let gauges = || report.seconds.iter().map(|second| &second.gauges);
    if gauges().any(|gauges| gauges.backlog_bytes > 0) {
        return Some((AxisUnit::Bytes, |it| Some(it.gauges.backlog_bytes as f64)));
    }
    let has_rows = gauges().any(|gauges| gauges.backlog_rows > 0);
    has_rows.then_some((AxisUnit::Count, |it| Some(it.gauges.backlog_rows as f64)))
}

/// How much of each quota was used: by the simulator's own books, if it was in the process.
fn quota_use(report: &Report) -> Option<Chart> {
    let used = |resource: Resource, second: &Second| match (resource, &second.judged) {
        (Resource::Requests, Some(judged)) => judged.requests,
        (Resource::Records, Some(judged)) => judged.records,
        (Resource::Bytes, Some(judged)) => judged.bytes,
        (Resource::Requests, None) => second.wire.requests,
        (Resource::Records, None) => second.wire.records,
        (Resource::Bytes, None) => second.wire.bytes,
    };
    let line = |(resource, quota): (Resource, Option<f64>)| {
        let quota = quota?;
        Some(over_time(
            resource.name(),
            Kind::Measured,
            &report.seconds,
            |second| Some(used(resource, second) as f64 / quota * 100.0),
        ))
    };
    let mut lines: Vec<Line> = report.quotas.each().into_iter().filter_map(line).collect();
    if lines.is_empty() {
        return None;
    }
    lines.push(level("the quota", &report.seconds, 100.0));
    Some(chart("Use of each quota", AxisUnit::Percent, lines))
}

/// The percentiles of all latencies of some runs.
fn percentiles(title: &str, reports: &[(&str, &Report)]) -> Chart {
    let line = |(run, report): &(&str, &Report)| {
        let named = report.latencies.iter().map(|latency| {
            let name = match *run {
                "" => latency.name.clone(),
                run => format!("{run}: {}", latency.name),
            };
            let points = latency.percentiles.iter().map(|(at, ms)| (*at, Some(*ms)));
            Line {
                name,
                kind: Kind::Measured,
                points: points.collect(),
            }
        });
        named.collect::<Vec<_>>()
    };
    Chart {
        title: title.to_owned(),
        across: AxisUnit::Percentile,
        up: AxisUnit::Latency,
        lines: reports.iter().flat_map(line).collect(),
    }
}

/// The charts of two runs, laid over each other from their starts.
#[must_use]
pub fn of_two(a: &Report, b: &Report) -> Vec<Chart> {
    let both = |title: &str, up: AxisUnit, value: &dyn Fn(&Second) -> Option<f64>| {
        let lines = [("A", a), ("B", b)]
            .map(|(name, report)| over_time(name, Kind::Measured, &report.seconds, value));
        chart(title, up, lines.into())
    };
    let mut charts = vec![
        both(&format!("{} a second", a.unit()), AxisUnit::Count, &|it| {
            Some(it.acknowledged_rows as f64)
        }),
        percentiles("Latency by percentile", &[("A", a), ("B", b)]),
    ];
    if [a, b].iter().any(|run| run.has_latencies()) {
        charts.extend([
            both("Median latency", AxisUnit::Latency, &|it| it.p50_ms),
            both("99th percentile of latency", AxisUnit::Latency, &|it| {
                it.p99_ms
            }),
        ]);
    }
    if a.has_wire() || b.has_wire() {
        charts.push(both(
            "Records not accepted a second",
            AxisUnit::Count,
            &|it| Some(it.wire.not_accepted() as f64),
        ));
    }
    if let Some((unit, value)) = backlog(a).or_else(|| backlog(b)) {
        charts.push(both("Backlog", unit, &value));
    }
    charts.extend([
        both("Processor: cores used", AxisUnit::Count, &|it| {
            Some(it.gauges.cpu_cores)
        }),
        both("Memory", AxisUnit::Bytes, &|it| {
            Some(it.gauges.rss_bytes as f64)
        }),
    ]);
    charts
}
