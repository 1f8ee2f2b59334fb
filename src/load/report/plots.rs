//! PURE. What is plotted of a run, and of two runs over each other.

use super::Report;
use super::chart::{AxisUnit, Chart, Kind, Line, Shade};
use super::text::count;
use crate::load::measure::knee::Trial;
use crate::load::measure::record::Second;
use crate::load::measure::verdict::{Resource, Stall, stalls};

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
        ends: None,
        lines,
        shades: Vec::new(),
        mark: None,
    }
}

/// Gives all charts over time the same axis, that of the longest run, and shades what is silent.
fn align(charts: &mut [Chart], reports: &[&Report], shades: &[Shade]) {
    let last = reports.iter().filter_map(|report| report.seconds.last());
    let last = last.map(|second| second.second).max().unwrap_or(0);
    for chart in charts
        .iter_mut()
        .filter(|it| it.across == AxisUnit::Seconds)
    {
        chart.ends = Some((0.0, f64::from(last.max(1))));
        chart.shades = shades.to_vec();
    }
}

/// Seconds without an acknowledgement. A second stands at its beginning, so that its shade is around that.
fn shades(report: &Report) -> Vec<Shade> {
    let last = report.seconds.last().map_or(0, |second| second.second);
    let shade = |stall: &Stall| Shade {
        from: f64::from(stall.from) - 0.5,
        to: f64::from(stall.from + stall.length_s) - 0.5,
        is_death: report.unacknowledged_rows > 0 && stall.from + stall.length_s > last,
    };
    stalls(&report.seconds).iter().map(shade).collect()
}

/// The picture of a search: the offered rates against what was achieved and against p99; none of a run that was no search.
#[must_use]
pub fn knee(report: &Report) -> Option<[Chart; 2]> {
    let knee = report.knee.as_ref()?;
    let mut trials: Vec<&Trial> = report.trials.iter().collect();
    trials.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let line = |name: &str, kind, value: &dyn Fn(&Trial) -> Option<f64>| Line {
        name: name.to_owned(),
        kind,
        points: trials.iter().map(|it| (it.rate, value(it))).collect(),
    };
    let most = trials.last()?.rate;
    let mut rates = vec![
        line("achieved rows a second", Kind::Measured, &|it| {
            Some(it.achieved)
        }),
        line("offered", Kind::Planned, &|it| Some(it.rate)),
    ];
    if let Some(capacity) = report.capacity_rows {
        let points = [0.0, most].map(|rate| (rate, Some(capacity)));
        rates.push(Line {
            name: "what the quotas allow".to_owned(),
            kind: Kind::Limit,
            points: points.to_vec(),
        });
    }
    let latency = vec![line("p99 of latency", Kind::Measured, &|it| {
        it.latency.at(99.0)
    })];
    let mark = knee
        .held
        .map(|held| (held, format!("the knee, {} rows a second", count(held))));
    let of = |up, lines| Chart {
        across: AxisUnit::Count,
        ends: Some((0.0, most * 1.05)),
        mark: mark.clone(),
        ..chart(
            "The knee: offered rate against achieved rate and p99",
            up,
            lines,
        )
    };
    Some([of(AxisUnit::Count, rates), of(AxisUnit::Latency, latency)])
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
    align(&mut charts, &[report], &shades(report));
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
        across: AxisUnit::Percentile,
        ..chart(
            title,
            AxisUnit::Latency,
            reports.iter().flat_map(line).collect(),
        )
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
    align(&mut charts, &[a, b], &[]);
    charts
}
