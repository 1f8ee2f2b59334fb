//! PURE. What of metrics can be chosen: names that CloudWatch takes, how often to sample, and how long to wait.
//!
//! Source of the limits: "PutMetricData", "MetricDatum" and "Dimension" in the CloudWatch API Reference.

use std::time::Duration;

/// Dimensions of one metric.
pub const DIMENSIONS: usize = 30;
/// Characters in the name of a metric or dimension.
pub const NAME_CHARS: usize = 255;
/// Characters in the value of a dimension.
pub const DIMENSION_VALUE_CHARS: usize = 1_024;
/// The dimension of a service's name.
pub const SERVICE_DIMENSION: &str = "ServiceName";
/// The dimension of a capacity provider's name.
pub const PROVIDER_DIMENSION: &str = "CapacityProvider";
/// The dimension of a launch type.
pub const LAUNCH_TYPE_DIMENSION: &str = "LaunchType";

/// The metrics of a cluster, in the order of its values.
pub const CLUSTER_METRICS: [&str; 4] = [
    "RunningTask",
    "PendingTask",
    "ActiveServices",
    "RegisteredContainerInstances",
];

/// The metrics of a service, in the order of its values.
pub const SERVICE_METRICS: [&str; 3] = ["RunningTask", "PendingTask", "DesiredTask"];

/// More metrics of a service, behind [`SERVICE_METRICS`], if its deployments are published: deployments that it has; how far
/// the newest, the PRIMARY one, is; consecutively failed tasks of that; and desired tasks that do not run.
pub const DEPLOYMENT_METRICS: [&str; 4] = [
    "DeploymentCount",
    "RolloutState",
    "FailedTask",
    "MissingTask",
];

/// The metrics of a capacity provider, in the order of its values.
pub const PROVIDER_METRICS: [&str; 3] =
    ["RegisteredContainerInstances", "RunningTask", "PendingTask"];

/// The longest that datums wait for others, whatever the budget. Sub-minute metrics are for
/// people who look now.
pub const LONGEST_PUBLISH_EVERY: Duration = Duration::from_hours(1);

/// The longest interval.
const LONGEST_S: u32 = 3_600;

/// A name that CloudWatch would reject, with every datum in the same request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMetric {
    /// The metric's name.
    #[error("a metric's name has 1 to {NAME_CHARS} characters, not {chars}")]
    Name {
        /// Characters that it has.
        chars: usize,
    },
    /// Too many dimensions.
    #[error("metric {metric} has {count} dimensions, more than {DIMENSIONS}")]
    DimensionCount {
        /// The metric's name.
        metric: String,
        /// Dimensions that it has.
        count: usize,
    },
    /// A dimension's name or value is empty, too long, or has characters that are not allowed.
    #[error(
        "dimension {dimension:?} of metric {metric}: its name (up to {NAME_CHARS} characters, not starting with a colon) and value (up to {DIMENSION_VALUE_CHARS}) must be printable ASCII and not blank"
    )]
    Dimension {
        /// The metric's name.
        metric: String,
        /// The dimension's name.
        dimension: String,
    },
    /// Two dimensions with one name.
    #[error("metric {metric} has dimension {dimension:?} twice")]
    Twice {
        /// The metric's name.
        metric: String,
        /// The dimension's name.
        dimension: String,
    },
}

/// Whether CloudWatch takes a metric of this name with these dimensions.
///
/// # Errors
/// If it would reject it, with every datum in the same request.
pub fn check_names(name: &str, dimensions: &[(&str, &str)]) -> Result<(), BadMetric> {
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS {
        return Err(BadMetric::Name { chars });
    }
    let metric = || name.to_owned();
    if dimensions.len() > DIMENSIONS {
        let count = dimensions.len();
        let metric = metric();
        return Err(BadMetric::DimensionCount { metric, count });
    }
    for (index, (dimension, value)) in dimensions.iter().enumerate() {
        let is_twice = dimensions[..index]
            .iter()
            .any(|(other, _)| other == dimension);
        let (metric, dimension) = (metric(), (*dimension).to_owned());
        if is_twice {
            return Err(BadMetric::Twice { metric, dimension });
        }
        let named = is_text(&dimension, NAME_CHARS) && !dimension.starts_with(':');
        if !named || !is_text(value, DIMENSION_VALUE_CHARS) {
            return Err(BadMetric::Dimension { metric, dimension });
        }
    }
    Ok(())
}

/// Whether a dimension may have this name or value.
fn is_text(text: &str, most_chars: usize) -> bool {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    printable && !text.trim().is_empty() && text.len() <= most_chars
}

/// How far ticks are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(u32);

/// An interval that is not on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an interval of {seconds} s is not one of 1, 5, 10, 30 and 60 s")]
pub struct UnknownInterval {
    /// What was asked for, in seconds.
    pub seconds: u64,
}

impl Interval {
    /// Every interval. CloudWatch has periods of the same lengths (GetMetricData, `Period`).
    pub const ALL: [Self; 5] = [Self(1), Self(5), Self(10), Self(30), Self(60)];

    /// An interval of this many seconds.
    ///
    /// # Errors
    /// If it is not one of 1, 5, 10, 30 and 60.
    pub fn from_seconds(seconds: u64) -> Result<Self, UnknownInterval> {
        Self::ALL
            .into_iter()
            .find(|interval| u64::from(interval.0) == seconds)
            .ok_or(UnknownInterval { seconds })
    }

    /// The next longer one: those on offer, then whole minutes up to an hour.
    #[must_use]
    pub fn longer(self) -> Option<Self> {
        let on_offer = Self::ALL.into_iter().find(|longer| *longer > self);
        on_offer.or((self.0 < LONGEST_S).then_some(Self(self.0 + 60)))
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// Its length.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_spoil_a_request_are_refused() {
        let cluster = [("ClusterName", "ECSEsgaroth")];
        assert!(check_names("RunningTask", &cluster).is_ok());
        assert_eq!(check_names("", &cluster), Err(BadMetric::Name { chars: 0 }));
        for dimensions in [
            [("", "x")],
            [(":Name", "x")],
            [("ClusterName", " ")],
            [("ClusterName", "Stra\u{df}e")],
            [("ClusterName", "a\nb")],
        ] {
            let error = check_names("RunningTask", &dimensions).unwrap_err();
            assert!(
                matches!(error, BadMetric::Dimension { .. }),
                "{dimensions:?}"
            );
        }
        let twice = [("a", "1"), ("b", "2"), ("a", "3")];
        let error = check_names("RunningTask", &twice).unwrap_err();
        assert!(matches!(error, BadMetric::Twice { .. }));
        let error = check_names("RunningTask", &[("a", "1"); 31]).unwrap_err();
        assert!(matches!(error, BadMetric::DimensionCount { count: 31, .. }));
    }
}
