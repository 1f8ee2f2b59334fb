//! PURE. What a metric is called, and what CloudWatch takes.
//!
//! What lives here: names with their dimensions, CloudWatch's limits of requests and values with their source. What does
//! not: its limits of names ([`crate::config::cloudwatch`]), values ([`super::backlog`]).
//!
//! Source of all limits: "PutMetricData", "MetricDatum" and "Dimension" in the CloudWatch API
//! Reference.

use crate::config::cloudwatch::{BadMetric, check_names};

/// Datums in one PutMetricData.
pub const REQUEST_DATUMS: usize = 1_000;
/// Bytes of one PutMetricData. Taken before compression, where it is certain to hold.
pub const REQUEST_BYTES: usize = 1_000_000;
/// Values may be up to 2^360 from zero.
pub const VALUE_MAGNITUDE_BITS: i32 = 360;
/// How old a datum may be: two weeks, in seconds.
pub const OLDEST_S: i64 = 14 * 24 * 3_600;
/// How far ahead a datum may be: two hours, in seconds.
pub const AHEAD_S: i64 = 2 * 3_600;

/// Bytes of a datum besides its strings, as CBOR: the keys MetricName, Dimensions, Timestamp,
/// Value, Unit and StorageResolution with their values come to 93; the rest is reserve.
const DATUM_BYTES: usize = 120;
/// Bytes of a dimension besides its strings, as CBOR: the keys Name and Value come to 17.
const DIMENSION_BYTES: usize = 20;

/// A metric's name and dimensions, within one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricKey {
    name: String,
    dimensions: Vec<(String, String)>,
    is_in_milliseconds: bool,
}

impl MetricKey {
    /// A metric with its dimensions; their order is of no importance.
    ///
    /// # Errors
    /// If CloudWatch would reject it.
    pub fn new(name: &str, dimensions: &[(&str, &str)]) -> Result<Self, BadMetric> {
        check_names(name, dimensions)?;
        let mut sorted: Vec<_> = dimensions.to_vec();
        sorted.sort_unstable();
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(Self {
            name: name.to_owned(),
            dimensions: sorted.into_iter().map(owned).collect(),
            is_in_milliseconds: false,
        })
    }

    /// The same in milliseconds; the unit is Count otherwise.
    #[must_use]
    pub fn in_milliseconds(self) -> Self {
        Self {
            is_in_milliseconds: true,
            ..self
        }
    }

    /// Whether its unit is Milliseconds, and not Count.
    #[must_use]
    pub fn is_in_milliseconds(&self) -> bool {
        self.is_in_milliseconds
    }

    /// The metric's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names and values of its dimensions, sorted by name.
    #[must_use]
    pub fn dimensions(&self) -> &[(String, String)] {
        &self.dimensions
    }

    /// Bytes that one of its datums has in a request before compression, at most.
    #[must_use]
    pub fn datum_bytes(&self) -> usize {
        let dimensions = self
            .dimensions
            .iter()
            .map(|(name, value)| DIMENSION_BYTES + name.len() + value.len());
        DATUM_BYTES + self.name.len() + dimensions.sum::<usize>()
    }
}

/// Whether CloudWatch takes this value at all.
#[must_use]
pub fn is_publishable(value: f64) -> bool {
    value.abs() <= 2_f64.powi(VALUE_MAGNITUDE_BITS)
}

/// Whether CloudWatch takes a datum of this second, when it is `now_s` since 1970.
#[must_use]
pub fn is_in_window(second: i64, now_s: i64) -> bool {
    (-OLDEST_S..=AHEAD_S).contains(&second.saturating_sub(now_s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cloudwatch::{DIMENSION_VALUE_CHARS, DIMENSIONS, NAME_CHARS};

    #[test]
    fn the_order_of_dimensions_makes_no_other_metric() {
        let one = MetricKey::new("RunningTask", &[("a", "1"), ("b", "2")]);
        let other = MetricKey::new("RunningTask", &[("b", "2"), ("a", "1")]);
        assert_eq!(one, other);
    }

    #[test]
    fn the_largest_metric_still_fits_into_a_request() {
        let names: Vec<_> = (0..DIMENSIONS).map(|n| format!("{n:0>255}")).collect();
        let value = "v".repeat(DIMENSION_VALUE_CHARS);
        let dimensions: Vec<_> = names.iter().map(|n| (n.as_str(), value.as_str())).collect();
        let largest = MetricKey::new(&"m".repeat(NAME_CHARS), &dimensions).unwrap();
        assert!(largest.datum_bytes() < REQUEST_BYTES / 2);
    }

    #[test]
    fn values_and_seconds_are_taken_up_to_their_limits() {
        let limit = 2_f64.powi(VALUE_MAGNITUDE_BITS);
        for value in [0.0, -limit, limit] {
            assert!(is_publishable(value));
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, limit * 2.0] {
            assert!(!is_publishable(value));
        }
        let now_s = 1_790_000_000;
        for (offset, taken) in [
            (-OLDEST_S, true),
            (-OLDEST_S - 1, false),
            (AHEAD_S, true),
            (AHEAD_S + 1, false),
        ] {
            assert_eq!(is_in_window(now_s + offset, now_s), taken);
        }
    }
}
