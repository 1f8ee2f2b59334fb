//! PURE. Reading metrics back: `GetMetricData` and `ListMetrics`.
//!
//! What lives here: from queries to values. What does not: storing ([`super::store`]).
//!
//! Differences from AWS, on purpose: data can be read as soon as they were accepted, and there
//! are no expressions, percentiles or label expressions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::error::{CloudWatchError, ParameterPath};
use super::protocol::Time;
use super::store::{Aggregate, MetricId, Seconds, Store};
use super::validate::{MINUTE_S, unit};
use super::wire::{
    Dimension, GetMetricDataInput, GetMetricDataOutput, ListMetricsInput, ListMetricsOutput,
    Metric, MetricStat, Query, QueryResult,
};

/// Most queries in a call. Source for all here: API reference, `GetMetricData`.
const MAX_QUERIES: usize = 500;

/// Values on a page, at most and if the call does not say.
const MAX_DATAPOINTS: usize = 100_800;

/// Periods of less than a minute. Source: API reference, `MetricStat`.
const SHORT_PERIODS_S: [i64; 5] = [1, 5, 10, 20, 30];

/// Longest period, a day. The simulator's bound.
const MAX_PERIOD_S: i64 = 86_400;

/// How far back periods of less than a minute go.
const SHORT_PERIODS_KEPT_S: i64 = 3 * 3_600;

/// Metrics on a page. Source: API reference, `ListMetrics`.
const METRICS_PAGE: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
}

impl Statistic {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "SampleCount" => Some(Self::SampleCount),
            "Average" => Some(Self::Average),
            "Sum" => Some(Self::Sum),
            "Minimum" => Some(Self::Minimum),
            "Maximum" => Some(Self::Maximum),
            _ => None,
        }
    }

    fn of(self, aggregate: &Aggregate) -> f64 {
        match self {
            Self::SampleCount => aggregate.samples,
            Self::Average => aggregate.sum / aggregate.samples,
            Self::Sum => aggregate.sum,
            Self::Minimum => aggregate.minimum,
            Self::Maximum => aggregate.maximum,
        }
    }
}

fn place(member: &'static str) -> ParameterPath {
    ParameterPath {
        number: None,
        member,
    }
}

fn invalid(member: &'static str, why: &'static str) -> CloudWatchError {
    CloudWatchError::InvalidValue(place(member), why)
}

fn required<T>(value: Option<T>, member: &'static str) -> Result<T, CloudWatchError> {
    value.ok_or(CloudWatchError::Missing(place(member)))
}

/// The first whole second that is not before this time.
fn second(time: Option<Time>, member: &'static str) -> Result<i64, CloudWatchError> {
    let time = required(time, member)?.0.ceil();
    #[allow(clippy::cast_possible_truncation)]
    let second = time as i64;
    let is_time = Timestamp::from_second(second).is_ok() && !time.is_nan();
    if is_time {
        Ok(second)
    } else {
        Err(invalid(member, "it is not a time"))
    }
}

/// A token is the number of values or metrics on the pages before.
fn offset(token: Option<String>) -> Result<usize, CloudWatchError> {
    let parse = |token: String| token.parse().map_err(|_| CloudWatchError::InvalidNextToken);
    token.map_or(Ok(0), parse)
}

/// Answers `GetMetricData` at `now`.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn get(
    store: &Store,
    now: Timestamp,
    input: GetMetricDataInput,
) -> Result<GetMetricDataOutput, CloudWatchError> {
    let queries = required(input.metric_data_queries, "MetricDataQueries")?;
    if queries.is_empty() || queries.len() > MAX_QUERIES {
        return Err(invalid("MetricDataQueries", "it has 1 to 500 members"));
    }
    let start = second(input.start_time, "StartTime")?;
    let end = second(input.end_time, "EndTime")?;
    if start >= end {
        return Err(invalid("EndTime", "it is not after the start"));
    }
    let is_ascending = match input.scan_by.as_deref() {
        Some("TimestampAscending") => true,
        Some("TimestampDescending") | None => false,
        Some(_) => return Err(invalid("ScanBy", "it is not an order")),
    };
    let page = match input.max_datapoints {
        None => MAX_DATAPOINTS,
        Some(most) => usize::try_from(most)
            .ok()
            .filter(|most| (1..=MAX_DATAPOINTS).contains(most))
            .ok_or(invalid("MaxDatapoints", "it is 1 to 100800"))?,
    };
    let offset = offset(input.next_token)?;
    let (mut skip, mut room) = (offset, page);
    let mut ids = BTreeSet::new();
    let mut results = Vec::new();
    let mut has_more = false;
    for query in queries {
        let (query, is_returned) = MetricQuery::parse(query)?;
        if !ids.insert(query.id.clone()) {
            return Err(invalid(
                "MetricDataQueries",
                "an Id is there more than once",
            ));
        }
        if !is_returned {
            continue;
        }
        let mut values = query.values(store, now, start, end);
        if !is_ascending {
            values.reverse();
        }
        let skipped = skip.min(values.len());
        skip -= skipped;
        let rest = &values[skipped..];
        let shown = &rest[..rest.len().min(room)];
        room -= shown.len();
        has_more |= shown.len() < rest.len();
        results.push(QueryResult {
            id: query.id,
            label: query.label,
            timestamps: shown.iter().map(|(at, _)| epoch(*at)).collect(),
            values: shown.iter().map(|(_, value)| *value).collect(),
            status_code: if shown.len() < rest.len() {
                "PartialData"
            } else {
                "Complete"
            },
        });
    }
    Ok(GetMetricDataOutput {
        metric_data_results: results,
        next_token: has_more.then(|| offset.saturating_add(page).to_string()),
    })
}

/// Seconds are far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn epoch(second: i64) -> Time {
    Time(second as f64)
}

/// A valid query.
#[derive(Debug)]
struct MetricQuery {
    id: String,
    label: String,
    metric: MetricId,
    period_s: i64,
    statistic: Statistic,
    unit: Option<&'static str>,
}

impl MetricQuery {
    /// The query, and whether its values are wanted.
    fn parse(query: Query) -> Result<(Self, bool), CloudWatchError> {
        let id = required(query.id, "Id")?;
        let is_valid = id.starts_with(|c: char| c.is_ascii_lowercase())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && id.len() <= 255;
        if !is_valid {
            return Err(invalid(
                "Id",
                "it is not a lowercase letter and then a word",
            ));
        }
        if query.expression.is_some() {
            return Err(invalid("Expression", "the simulator knows no expressions"));
        }
        let MetricStat {
            metric,
            period,
            stat,
            unit: unit_name,
        } = required(query.metric_stat, "MetricStat")?;
        let period_s = required(period, "Period")?;
        let is_long = (MINUTE_S..=MAX_PERIOD_S).contains(&period_s) && period_s % MINUTE_S == 0;
        if !is_long && !SHORT_PERIODS_S.contains(&period_s) {
            let why = "it is 1, 5, 10, 20, 30 or a multiple of 60 up to a day";
            return Err(invalid("Period", why));
        }
        let statistic = Statistic::parse(&required(stat, "Stat")?)
            .ok_or(invalid("Stat", "the simulator does not know it"))?;
        let unit = match unit_name {
            None => None,
            Some(name) => Some(unit(&name).ok_or(invalid("Unit", "it is not a unit"))?),
        };
        let metric = required(metric, "Metric")?;
        let name = required(metric.metric_name, "MetricName")?;
        let mut dimensions = Vec::new();
        for dimension in metric.dimensions.unwrap_or_default() {
            let name = required(dimension.name, "Name")?;
            dimensions.push((name, required(dimension.value, "Value")?));
        }
        dimensions.sort();
        let ask = Self {
            id,
            label: query.label.unwrap_or_else(|| name.clone()),
            metric: MetricId {
                namespace: required(metric.namespace, "Namespace")?,
                name,
                dimensions,
            },
            period_s,
            statistic,
            unit,
        };
        Ok((ask, query.return_data.unwrap_or(true)))
    }

    /// Each period's start and value, oldest first.
    fn values(&self, store: &Store, now: Timestamp, start: i64, end: i64) -> Vec<(i64, f64)> {
        let Some(seconds) = store.series(&self.metric) else {
            return Vec::new();
        };
        let is_short = self.period_s < MINUTE_S;
        let oldest = now.as_second() - SHORT_PERIODS_KEPT_S;
        let start = if is_short { start.max(oldest) } else { start };
        // A period that began before the start counts from its own start, as in AWS.
        let start = start - start.rem_euclid(self.period_s);
        let periods = self.periods(seconds, start, end);
        periods
            .into_iter()
            .filter(|(_, aggregate)| aggregate.samples > 0.0)
            .map(|(at, aggregate)| (at, self.statistic.of(&aggregate)))
            .collect()
    }

    fn periods(&self, seconds: &Seconds, start: i64, end: i64) -> BTreeMap<i64, Aggregate> {
        let mut periods = BTreeMap::<i64, Aggregate>::new();
        if start >= end {
            return periods;
        }
        for ((second, unit), stored) in seconds.range((start, "")..(end, "")) {
            let is_fine = stored.resolution_s <= self.period_s;
            if !is_fine || self.unit.is_some_and(|wanted| wanted != *unit) {
                continue;
            }
            periods
                .entry(second - second.rem_euclid(self.period_s))
                .and_modify(|period| period.add(&stored.aggregate))
                .or_insert(stored.aggregate);
        }
        periods
    }
}

/// Answers `ListMetrics`.
///
/// # Errors
/// [`CloudWatchError::InvalidNextToken`] and nothing else.
pub(super) fn list(
    store: &Store,
    input: ListMetricsInput,
) -> Result<ListMetricsOutput, CloudWatchError> {
    let offset = offset(input.next_token)?;
    let filters = input.dimensions.unwrap_or_default();
    let has = |metric: &MetricId, filter: &Dimension| {
        metric.dimensions.iter().any(|(name, value)| {
            filter.name.as_ref().is_none_or(|wanted| wanted == name)
                && filter.value.as_ref().is_none_or(|wanted| wanted == value)
        })
    };
    let is_wanted = |metric: &&MetricId| {
        let namespace = input.namespace.as_ref();
        let name = input.metric_name.as_ref();
        namespace.is_none_or(|wanted| *wanted == metric.namespace)
            && name.is_none_or(|wanted| *wanted == metric.name)
            && filters.iter().all(|filter| has(metric, filter))
    };
    let mut found = store.metrics().filter(is_wanted).skip(offset);
    let dimension = |(name, value): &(String, String)| Dimension {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    let metrics = found.by_ref().take(METRICS_PAGE).map(|metric| Metric {
        namespace: Some(metric.namespace.clone()),
        metric_name: Some(metric.name.clone()),
        dimensions: Some(metric.dimensions.iter().map(dimension).collect()),
    });
    let metrics = metrics.collect();
    let next_token = found.next().map(|_| (offset + METRICS_PAGE).to_string());
    Ok(ListMetricsOutput {
        metrics,
        next_token,
    })
}

#[cfg(test)]
mod tests {
    use super::super::store::Point;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn store(seconds: &[(i64, f64)]) -> Store {
        let mut store = Store::default();
        let point = |&(second, value): &(i64, f64)| Point {
            metric: MetricId {
                namespace: "ECS".into(),
                name: "RunningTask".into(),
                dimensions: vec![("ClusterName".into(), "Web".into())],
            },
            second,
            unit: "Count",
            resolution_s: 1,
            aggregate: Aggregate::of(value),
        };
        store.put(seconds.iter().map(point).collect()).unwrap();
        store
    }

    fn input(period: i64, stat: &str, from: i64, to: i64) -> GetMetricDataInput {
        let dimension = Dimension {
            name: Some("ClusterName".into()),
            value: Some("Web".into()),
        };
        let metric = Metric {
            namespace: Some("ECS".into()),
            metric_name: Some("RunningTask".into()),
            dimensions: Some(vec![dimension]),
        };
        let query = Query {
            id: Some("q".into()),
            metric_stat: Some(MetricStat {
                metric: Some(metric),
                period: Some(period),
                stat: Some(stat.into()),
                unit: None,
            }),
            expression: None,
            label: None,
            return_data: None,
        };
        let time = |second: i64| Some(epoch(second));
        GetMetricDataInput {
            metric_data_queries: Some(vec![query]),
            start_time: time(from),
            end_time: time(to),
            next_token: None,
            scan_by: Some("TimestampAscending".into()),
            max_datapoints: None,
        }
    }

    fn read(
        store: &Store,
        input: GetMetricDataInput,
    ) -> Result<GetMetricDataOutput, CloudWatchError> {
        get(store, Timestamp::from_second(NOW).unwrap(), input)
    }

    fn values(store: &Store, input: GetMetricDataInput) -> Vec<f64> {
        let output = read(store, input).unwrap();
        output.metric_data_results[0].values.clone()
    }

    #[test]
    fn periods_aggregate_and_the_end_is_exclusive() {
        let store = store(&[(NOW, 1.0), (NOW + 1, 3.0), (NOW + 1, 5.0), (NOW + 5, 7.0)]);
        let get = |period, stat| values(&store, input(period, stat, NOW, NOW + 6));
        assert_eq!(get(1, "Sum"), [1.0, 8.0, 7.0]);
        assert_eq!(get(1, "SampleCount"), [1.0, 2.0, 1.0]);
        assert_eq!(get(5, "Average"), [3.0, 7.0]);
        assert_eq!(get(5, "Minimum"), [1.0, 7.0]);
        assert_eq!(get(60, "Maximum"), [7.0]);
        assert_eq!(values(&store, input(1, "Sum", NOW, NOW + 5)), [1.0, 8.0]);
        let descending = GetMetricDataInput {
            scan_by: None,
            ..input(1, "Sum", NOW, NOW + 6)
        };
        assert_eq!(values(&store, descending), [7.0, 8.0, 1.0]);
    }

    #[test]
    fn pages_have_everything_once() {
        let points: Vec<_> = (0..7).map(|second| (NOW + second, 1.0)).collect();
        let store = store(&points);
        let (mut token, mut sizes) = (None, Vec::new());
        loop {
            let page = GetMetricDataInput {
                next_token: token,
                max_datapoints: Some(3),
                ..input(1, "Sum", NOW, NOW + 7)
            };
            let output = read(&store, page).unwrap();
            sizes.push(output.metric_data_results[0].values.len());
            token = output.next_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [3, 3, 1]);
    }

    #[test]
    fn short_periods_end_after_three_hours() {
        let old = NOW - 3 * 3_600 - 1;
        let store = store(&[(old, 1.0), (NOW, 2.0)]);
        let start = old - 60;
        assert_eq!(values(&store, input(1, "Sum", start, NOW + 1)), [2.0]);
        assert_eq!(values(&store, input(60, "Sum", start, NOW + 1)), [1.0, 2.0]);
    }

    #[test]
    fn what_is_not_a_query_is_refused() {
        let store = Store::default();
        let error = |input| read(&store, input).map(|_| ()).unwrap_err().name();
        for period in [0, 2, 61, -60, 86_460] {
            let name = error(input(period, "Sum", NOW, NOW + 1));
            assert_eq!(name, "InvalidParameterValue", "{period}");
        }
        assert_eq!(
            error(input(1, "p99", NOW, NOW + 1)),
            "InvalidParameterValue"
        );
        assert_eq!(error(input(1, "Sum", NOW, NOW)), "InvalidParameterValue");
        let token = GetMetricDataInput {
            next_token: Some("x".into()),
            ..input(1, "Sum", NOW, NOW + 1)
        };
        assert_eq!(error(token), "InvalidNextToken");
    }
}
