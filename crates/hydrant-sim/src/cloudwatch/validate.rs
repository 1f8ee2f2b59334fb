//! PURE. Which requests to put data are valid.
//!
//! What lives here: AWS's limits of one request, as constants with their source, and the way
//! from what is on the wire to data that can be stored. What does not: storing ([`super::store`])
//! and quotas of calls ([`super`]).
//!
//! One bad datum fails the whole request, as in AWS; the error says which one, counted from 1.

use jiff::{SignedDuration, Timestamp};

use super::error::{CloudWatchError, ParameterPath};
use super::protocol::{Number, Time};
use super::store::{Aggregate, MetricId, Point};
use super::wire::{Datum, Dimension, PutMetricDataInput, StatisticSet};

/// Most data in a request. Source for all that has no other: API reference, `PutMetricData` and
/// `MetricDatum`.
const MAX_DATA: usize = 1_000;

/// Most unique values in a datum.
const MAX_VALUES: usize = 150;

/// Most dimensions of a metric.
const MAX_DIMENSIONS: usize = 30;

/// Longest namespace, metric name and dimension name.
const MAX_NAME_CHARS: usize = 255;

/// Longest dimension value. Source: API reference, `Dimension`.
const MAX_DIMENSION_VALUE_CHARS: usize = 1_024;

/// Largest magnitude of a value: 2^360.
const MAX_MAGNITUDE: f64 = f64::from_bits((1_023 + 360) << 52);

/// Oldest timestamp, two weeks before now.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Newest timestamp, two hours after now.
const MAX_LEAD: SignedDuration = SignedDuration::from_hours(2);

/// What a namespace of AWS's own services begins with.
const RESERVED: &str = "AWS/";

/// Seconds of a datum without high resolution.
pub(super) const MINUTE_S: i64 = 60;

/// Source: service model, `StandardUnit`.
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

fn request(member: &'static str) -> ParameterPath {
    ParameterPath {
        number: None,
        member,
    }
}

/// The unit of this name, if there is one.
pub(super) fn unit(name: &str) -> Option<&'static str> {
    UNITS.into_iter().find(|unit| *unit == name)
}

/// A valid request's data in its order.
///
/// # Errors
/// The first thing that is wrong, in the order of the members.
pub(super) fn put(
    now: Timestamp,
    input: PutMetricDataInput,
) -> Result<Vec<Point>, CloudWatchError> {
    let place = request("Namespace");
    let namespace = input.namespace.ok_or(CloudWatchError::Missing(place))?;
    check_namespace(place, &namespace)?;
    if input.entity_metric_data.is_some() {
        let why = "the simulator knows no entities";
        return Err(CloudWatchError::InvalidValue(
            request("EntityMetricData"),
            why,
        ));
    }
    let place = request("MetricData");
    let data = input.metric_data.unwrap_or_default();
    if data.is_empty() {
        return Err(CloudWatchError::Missing(place));
    }
    if data.len() > MAX_DATA {
        let why = "it has more than 1000 members";
        return Err(CloudWatchError::InvalidValue(place, why));
    }
    let points = (1..).zip(data);
    points
        .map(|(number, datum)| point(now, &namespace, number, datum))
        .collect()
}

fn check_namespace(place: ParameterPath, namespace: &str) -> Result<(), CloudWatchError> {
    let invalid = |why| Err(CloudWatchError::InvalidValue(place, why));
    if namespace.is_empty() || namespace.chars().count() > MAX_NAME_CHARS {
        invalid("it has 1 to 255 characters")
    } else if namespace.starts_with(':') {
        invalid("it must not begin with a colon")
    } else if namespace.starts_with(RESERVED) {
        invalid("AWS/ is reserved")
    } else if namespace.trim().is_empty() || namespace.chars().any(char::is_control) {
        invalid("it has control characters or nothing else than spaces")
    } else {
        Ok(())
    }
}

fn point(
    now: Timestamp,
    namespace: &str,
    number: usize,
    datum: Datum,
) -> Result<Point, CloudWatchError> {
    let place = |member| ParameterPath {
        number: Some(number),
        member,
    };
    let aggregate = aggregate(&place, &datum)?;
    let name = datum.metric_name;
    let name = name.ok_or(CloudWatchError::Missing(place("MetricName")))?;
    if name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS {
        let why = "it has 1 to 255 characters";
        return Err(CloudWatchError::InvalidValue(place("MetricName"), why));
    }
    let dimensions = dimensions(place("Dimensions"), datum.dimensions)?;
    let unit = match datum.unit.as_deref() {
        None => "None",
        Some(name) => unit(name).ok_or(CloudWatchError::InvalidValue(
            place("Unit"),
            "it is not a unit",
        ))?,
    };
    let resolution_s = match datum.storage_resolution {
        Some(1) => 1,
        Some(60) | None => MINUTE_S,
        Some(_) => {
            let why = "it is 1 or 60";
            return Err(CloudWatchError::InvalidValue(
                place("StorageResolution"),
                why,
            ));
        }
    };
    let second = match datum.timestamp {
        None => now.as_second(),
        Some(time) => second(now, place("Timestamp"), time)?,
    };
    Ok(Point {
        metric: MetricId {
            namespace: namespace.to_owned(),
            name,
            dimensions,
        },
        second: second - second.rem_euclid(resolution_s),
        unit,
        resolution_s,
        aggregate,
    })
}

/// The whole second of a timestamp within AWS's window.
fn second(now: Timestamp, place: ParameterPath, time: Time) -> Result<i64, CloudWatchError> {
    // Whatever does not fit is far outside of the window.
    #[allow(clippy::cast_possible_truncation)]
    let time_ms = (time.0 * 1_000.0).round() as i64;
    let time = Timestamp::from_millisecond(time_ms).ok();
    let is_inside = |time: &Timestamp| {
        let age = now.duration_since(*time);
        age <= MAX_AGE && age >= -MAX_LEAD
    };
    time.filter(is_inside)
        .map(|time| time.as_millisecond().div_euclid(1_000))
        .ok_or(CloudWatchError::InvalidValue(
            place,
            "it is from two weeks before to two hours after now",
        ))
}

fn dimensions(
    place: ParameterPath,
    dimensions: Option<Vec<Dimension>>,
) -> Result<Vec<(String, String)>, CloudWatchError> {
    let invalid = |why| CloudWatchError::InvalidValue(place, why);
    let dimensions = dimensions.unwrap_or_default();
    if dimensions.len() > MAX_DIMENSIONS {
        return Err(invalid("it has more than 30 members"));
    }
    let is_text = |text: &str, most: usize| {
        (1..=most).contains(&text.len())
            && text.is_ascii()
            && !text.trim().is_empty()
            && !text.chars().any(char::is_control)
    };
    let mut pairs = Vec::new();
    for dimension in dimensions {
        let pair = dimension.name.zip(dimension.value);
        let (name, value) = pair.ok_or(CloudWatchError::Missing(place))?;
        if !is_text(&name, MAX_NAME_CHARS) || name.starts_with(':') {
            return Err(invalid(
                "a name has 1 to 255 ASCII characters, first no colon",
            ));
        }
        if !is_text(&value, MAX_DIMENSION_VALUE_CHARS) {
            return Err(invalid("a value has 1 to 1024 ASCII characters"));
        }
        pairs.push((name, value));
    }
    pairs.sort();
    if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(invalid("a name is there more than once"));
    }
    Ok(pairs)
}

fn aggregate(
    place: &impl Fn(&'static str) -> ParameterPath,
    datum: &Datum,
) -> Result<Aggregate, CloudWatchError> {
    let combination = |members, why| CloudWatchError::InvalidCombination(place(members), why);
    match (&datum.value, &datum.statistic_values, &datum.values) {
        (Some(value), None, None) if datum.counts.is_none() => {
            Ok(Aggregate::of(number(place("Value"), *value)?))
        }
        (None, Some(set), None) if datum.counts.is_none() => {
            statistics(place("StatisticValues"), set)
        }
        (None, None, Some(values)) => counted(place, values, datum.counts.as_deref()),
        (None, None, None) => Err(CloudWatchError::Missing(place("Value"))),
        _ => Err(combination(
            "Value, StatisticValues, Values, Counts",
            "a datum has one kind of values",
        )),
    }
}

fn statistics(place: ParameterPath, set: &StatisticSet) -> Result<Aggregate, CloudWatchError> {
    let required = |member: Option<Number>| {
        let member = member.ok_or(CloudWatchError::Missing(place))?;
        number(place, member)
    };
    let aggregate = Aggregate {
        samples: required(set.sample_count)?,
        sum: required(set.sum)?,
        minimum: required(set.minimum)?,
        maximum: required(set.maximum)?,
    };
    if aggregate.samples < 0.0 || aggregate.minimum > aggregate.maximum {
        let why = "the samples are negative or the minimum is over the maximum";
        return Err(CloudWatchError::InvalidValue(place, why));
    }
    Ok(aggregate)
}

fn counted(
    place: &impl Fn(&'static str) -> ParameterPath,
    values: &[Number],
    counts: Option<&[Number]>,
) -> Result<Aggregate, CloudWatchError> {
    if values.is_empty() {
        return Err(CloudWatchError::Missing(place("Values")));
    }
    if values.len() > MAX_VALUES {
        let why = "it has more than 150 members";
        return Err(CloudWatchError::InvalidValue(place("Values"), why));
    }
    let ones = vec![Number(1.0); values.len()];
    let counts = counts.unwrap_or(&ones);
    if counts.len() != values.len() {
        let why = "there must be as many of one as of the other";
        let both = place("Values, Counts");
        return Err(CloudWatchError::InvalidCombination(both, why));
    }
    let mut total: Option<Aggregate> = None;
    for (&value, &count) in values.iter().zip(counts) {
        let value = number(place("Values"), value)?;
        let count = number(place("Counts"), count)?;
        if count < 0.0 {
            let why = "a count is negative";
            return Err(CloudWatchError::InvalidValue(place("Counts"), why));
        }
        let one = Aggregate {
            samples: count,
            sum: value * count,
            ..Aggregate::of(value)
        };
        match &mut total {
            Some(total) => total.add(&one),
            None => total = Some(one),
        }
    }
    total.ok_or(CloudWatchError::Missing(place("Values")))
}

fn number(place: ParameterPath, number: Number) -> Result<f64, CloudWatchError> {
    // False for NaN.
    if number.0.abs() <= MAX_MAGNITUDE {
        Ok(number.0)
    } else {
        let why = "it is NaN, infinite or beyond 2^360";
        Err(CloudWatchError::InvalidValue(place, why))
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn datum(value: f64) -> Datum {
        Datum {
            metric_name: Some("RunningTask".into()),
            value: Some(Number(value)),
            storage_resolution: Some(1),
            ..Datum::default()
        }
    }

    fn put_all(namespace: &str, data: Vec<Datum>) -> Result<Vec<Point>, CloudWatchError> {
        let input = PutMetricDataInput {
            namespace: Some(namespace.into()),
            metric_data: Some(data),
            entity_metric_data: None,
        };
        put(now(), input)
    }

    fn name(data: Vec<Datum>) -> &'static str {
        put_all("ECS", data).map_or_else(CloudWatchError::name, |_| "")
    }

    const INVALID: &str = "InvalidParameterValue";

    #[test]
    fn the_bounds_of_a_request_are_exact() {
        let data = |count: usize| (0..count).map(|_| datum(1.0)).collect::<Vec<_>>();
        assert_eq!(name(data(1_000)), "");
        assert_eq!(name(data(1_001)), INVALID);
        assert_eq!(name(data(0)), "MissingParameter");
        for (namespace, is_valid) in [
            ("ECS", true),
            ("AWSome/Things", true),
            (&"n".repeat(255), true),
            (&"n".repeat(256), false),
            ("AWS/ECS", false),
            (":ECS", false),
            ("", false),
        ] {
            assert_eq!(put_all(namespace, data(1)).is_ok(), is_valid, "{namespace}");
        }
    }

    #[test]
    fn one_bad_datum_fails_all_and_is_named() {
        let error = put_all("ECS", vec![datum(1.0), datum(f64::NAN)]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("MetricData.member.2.Value"), "{message}");
    }

    #[test]
    fn values_are_finite_and_within_two_to_the_360th() {
        let most = 2.0_f64.powi(360);
        for (value, expected) in [
            (most, ""),
            (-most, ""),
            (most * 1.000_001, INVALID),
            (f64::NAN, INVALID),
            (f64::INFINITY, INVALID),
            (f64::NEG_INFINITY, INVALID),
        ] {
            assert_eq!(name(vec![datum(value)]), expected, "{value}");
        }
    }

    #[test]
    fn the_window_of_timestamps_is_exact() {
        let at = |offset_s: f64| Datum {
            timestamp: Some(Time(1_800_000_000.0 + offset_s)),
            ..datum(1.0)
        };
        let (weeks_s, hours_s) = (14.0 * 86_400.0, 7_200.0);
        assert_eq!(name(vec![at(-weeks_s), at(hours_s)]), "");
        assert_eq!(name(vec![at(-weeks_s - 0.001)]), INVALID);
        assert_eq!(name(vec![at(hours_s + 0.001)]), INVALID);
        assert_eq!(name(vec![at(f64::NAN)]), INVALID);
        assert_eq!(name(vec![at(1e300)]), INVALID);
        let points = put_all("ECS", vec![at(0.999), at(-0.001)]).unwrap();
        assert_eq!(points[0].second, 1_800_000_000);
        assert_eq!(points[1].second, 1_799_999_999);
    }

    #[test]
    fn without_high_resolution_a_datum_belongs_to_its_minute() {
        let datum = Datum {
            storage_resolution: None,
            timestamp: Some(Time(1_800_000_059.0)),
            ..datum(1.0)
        };
        let points = put_all("ECS", vec![datum]).unwrap();
        assert_eq!(
            (points[0].second, points[0].resolution_s),
            (1_800_000_000, 60)
        );
        for (resolution, expected) in [(1, ""), (60, ""), (0, INVALID), (5, INVALID)] {
            let datum = Datum {
                storage_resolution: Some(resolution),
                ..self::datum(1.0)
            };
            assert_eq!(name(vec![datum]), expected, "{resolution}");
        }
    }

    #[test]
    fn dimensions_are_bounded_and_their_order_does_not_matter() {
        let dimension = |name: &str, value: &str| Dimension {
            name: Some(name.into()),
            value: Some(value.into()),
        };
        let with = |dimensions| Datum {
            dimensions: Some(dimensions),
            ..datum(1.0)
        };
        let many = |count: usize| (0..count).map(|n| dimension(&n.to_string(), "v")).collect();
        assert_eq!(name(vec![with(many(30))]), "");
        assert_eq!(name(vec![with(many(31))]), INVALID);
        let (a, b) = (dimension("a", "1"), dimension("b", "2"));
        let both = vec![with(vec![a.clone(), b.clone()]), with(vec![b, a.clone()])];
        let points = put_all("ECS", both).unwrap();
        assert_eq!(points[0].metric, points[1].metric);
        assert_eq!(name(vec![with(vec![a.clone(), a])]), INVALID);
        for (of, value) in [("", "v"), ("n", ""), ("n", " "), (":n", "v"), ("n", "ü")] {
            assert_eq!(name(vec![with(vec![dimension(of, value)])]), INVALID);
        }
    }

    #[test]
    fn a_datum_has_one_kind_of_values() {
        let values = |count: usize, counts: Option<usize>| Datum {
            value: None,
            values: Some(vec![Number(2.0); count]),
            counts: counts.map(|count| vec![Number(3.0); count]),
            ..datum(1.0)
        };
        assert_eq!(name(vec![values(150, None)]), "");
        assert_eq!(name(vec![values(151, None)]), INVALID);
        assert_eq!(
            name(vec![values(2, Some(1))]),
            "InvalidParameterCombination"
        );
        let points = put_all("ECS", vec![values(2, Some(2))]).unwrap();
        let expected = Aggregate {
            samples: 6.0,
            sum: 12.0,
            minimum: 2.0,
            maximum: 2.0,
        };
        assert_eq!(points[0].aggregate, expected);
        let both = Datum {
            value: Some(Number(1.0)),
            ..values(1, None)
        };
        assert_eq!(name(vec![both]), "InvalidParameterCombination");
        let neither = Datum {
            value: None,
            ..datum(1.0)
        };
        assert_eq!(name(vec![neither]), "MissingParameter");
    }
}
