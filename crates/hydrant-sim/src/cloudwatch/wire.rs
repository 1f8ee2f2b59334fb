//! PURE. The shapes of CloudWatch's requests and answers.
//!
//! What lives here: what is on the wire, as serde types that are the same in every protocol.
//! What does not: how numbers, times and bodies are written in each ([`super::protocol`]), what
//! they mean ([`super`]) and which values are allowed ([`super::validate`]).
//!
//! Source: API reference of Amazon CloudWatch, version 2010-08-01, and its service model.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::protocol::{Number, Time};

/// `PutMetricDataInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutMetricDataInput {
    /// Required.
    pub namespace: Option<String>,
    /// At most 1,000.
    pub metric_data: Option<Vec<Datum>>,
    /// Not known here.
    pub entity_metric_data: Option<IgnoredAny>,
}

/// `MetricDatum`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Datum {
    /// Required.
    pub metric_name: Option<String>,
    /// At most 30.
    pub dimensions: Option<Vec<Dimension>>,
    /// Now if left out.
    pub timestamp: Option<Time>,
    /// One of this, the next and the one after it.
    pub value: Option<Number>,
    /// Numbers that were counted already.
    pub statistic_values: Option<StatisticSet>,
    /// At most 150.
    pub values: Option<Vec<Number>>,
    /// As many as there are values; 1 each if left out.
    pub counts: Option<Vec<Number>>,
    /// `None` if left out.
    pub unit: Option<String>,
    /// 60 if left out.
    pub storage_resolution: Option<i64>,
}

/// `Dimension` and `DimensionFilter`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Dimension {
    /// Required.
    pub name: Option<String>,
    /// Required in a dimension.
    pub value: Option<String>,
}

/// `StatisticSet`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StatisticSet {
    /// Required.
    pub sample_count: Option<Number>,
    /// Required.
    pub sum: Option<Number>,
    /// Required.
    pub minimum: Option<Number>,
    /// Required.
    pub maximum: Option<Number>,
}

/// `GetMetricDataInput`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMetricDataInput {
    /// Required, 1 to 500.
    pub metric_data_queries: Option<Vec<Query>>,
    /// Required, inclusive.
    pub start_time: Option<Time>,
    /// Required, exclusive.
    pub end_time: Option<Time>,
    /// From the page before.
    pub next_token: Option<String>,
    /// `TimestampDescending` if left out.
    pub scan_by: Option<String>,
    /// 100,800 if left out.
    pub max_datapoints: Option<i64>,
}

/// `MetricDataQuery`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Query {
    /// Required, unique.
    pub id: Option<String>,
    /// Required here.
    pub metric_stat: Option<MetricStat>,
    /// Not known here.
    pub expression: Option<IgnoredAny>,
    /// The metric's name if left out.
    pub label: Option<String>,
    /// Whether it is answered; yes if left out.
    pub return_data: Option<bool>,
}

/// `MetricStat`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MetricStat {
    /// Required.
    pub metric: Option<Metric>,
    /// Required, in seconds.
    pub period: Option<i64>,
    /// Required.
    pub stat: Option<String>,
    /// Only data of this unit.
    pub unit: Option<String>,
}

/// `Metric`.
// The wire's names.
#[allow(clippy::struct_field_names)]
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metric {
    /// Required.
    pub namespace: Option<String>,
    /// Required.
    pub metric_name: Option<String>,
    /// None if left out.
    pub dimensions: Option<Vec<Dimension>>,
}

/// `GetMetricDataOutput`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMetricDataOutput {
    /// In the order of the queries.
    pub metric_data_results: Vec<QueryResult>,
    /// If another page follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// `MetricDataResult`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueryResult {
    /// The query's.
    pub id: String,
    /// The query's, or the metric's name.
    pub label: String,
    /// As many as there are values.
    pub timestamps: Vec<Time>,
    /// In the order of the timestamps.
    pub values: Vec<f64>,
    /// `Complete`, or `PartialData` if more follows on the next page.
    pub status_code: &'static str,
}

/// `ListMetricsInput`, as far as the simulator knows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMetricsInput {
    /// Only metrics of this namespace.
    pub namespace: Option<String>,
    /// Only metrics of this name.
    pub metric_name: Option<String>,
    /// Only metrics with all of these.
    pub dimensions: Option<Vec<Dimension>>,
    /// From the page before.
    pub next_token: Option<String>,
}

/// `ListMetricsOutput`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMetricsOutput {
    /// By namespace, name and dimensions.
    pub metrics: Vec<Metric>,
    /// If another page follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}
