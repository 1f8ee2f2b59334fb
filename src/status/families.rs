//! PURE. Metrics as Prometheus has them, and their text.
//!
//! What does not live here: which metrics there are.
//!
//! Source: "Exposition formats" and "Metric and label naming" in Prometheus' documentation.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Error, TextEncoder};

pub(crate) use prometheus::TEXT_FORMAT;

/// Names and values of labels.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

/// All metrics of one name.
#[derive(Debug)]
pub(crate) struct Family(MetricFamily);

impl Family {
    /// Numbers that go up and down.
    pub(crate) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// Numbers that only grow; the name ends in `_total`.
    pub(crate) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// Counts of durations; the name ends in `_seconds`.
    pub(crate) fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// One more value. Each has other labels.
    pub(crate) fn add(&mut self, labels: &Labels<'_>, value: f64) {
        let mut metric = labelled(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// The same with a count.
    pub(crate) fn add_count(&mut self, labels: &Labels<'_>, count: u64) {
        self.add(labels, as_f64(count));
    }

    /// The one distribution: how many values are at most each of these bounds, how many there are, and their sum.
    pub(crate) fn add_distribution(&mut self, at_most: &[(f64, u64)], count: u64, sum: f64) {
        let bucket = |&(bound, count): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(at_most.iter().map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = labelled(&[]);
        metric.set_histogram(histogram);
        self.0.mut_metric().push(metric);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "2^53 of anything are not reached"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn labelled(labels: &Labels<'_>) -> Metric {
    // An empty label is none.
    let labels = labels.iter().filter(|(_, value)| !value.is_empty());
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.map(pair).collect())
}

/// What Prometheus reads. Families without a value are left out.
///
/// # Errors
/// If a name is none.
pub(crate) fn text(families: Vec<Family>) -> Result<String, Error> {
    let mut filled: Vec<_> = families.into_iter().map(|family| family.0).collect();
    filled.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_to_string(&filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_the_text_that_prometheus_reads() {
        let mut gauge = Family::gauge("tasks", "Tasks that \"run\".");
        gauge.add(&[("cluster", "a\"b\\c\n"), ("role", "")], -1.5);
        gauge.add(&[("cluster", "d")], 2.0);
        let mut counter = Family::counter("ticks_total", "Ticks.");
        counter.add_count(&[], 3);
        let mut histogram = Family::histogram("wait_seconds", "Waits.");
        histogram.add_distribution(&[(0.1, 1), (1.0, 4)], 5, 7.5);
        let empty = Family::gauge("nothing", "Nothing.");
        let expected = r#"# HELP tasks Tasks that "run".
# TYPE tasks gauge
tasks{cluster="a\"b\\c\n"} -1.5
tasks{cluster="d"} 2
# HELP ticks_total Ticks.
# TYPE ticks_total counter
ticks_total 3
# HELP wait_seconds Waits.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.1"} 1
wait_seconds_bucket{le="1"} 4
wait_seconds_bucket{le="+Inf"} 5
wait_seconds_sum 7.5
wait_seconds_count 5
"#;
        let families = vec![gauge, counter, histogram, empty];
        assert_eq!(text(families).unwrap(), expected);
    }
}
