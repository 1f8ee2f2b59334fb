//! Alarms and a dashboard of what is published, as JSON for CloudFormation and CloudWatch.
//!
//! What lives here: the two documents. What does not: deploying them; nothing is asked of AWS.

mod service_alarms;

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::config::cloudwatch::{LAUNCH_TYPE_DIMENSION, PROVIDER_DIMENSION, SERVICE_DIMENSION};
use crate::config::{Cluster, ClusterGroup, Metrics};
use crate::{Exit, Failure};

use super::poll_query::{
    CLUSTER_METRICS, LAUNCH_TYPE_METRICS, PROVIDER_METRICS, ROLLOUT_STATES, SERVICE_METRICS,
};
pub use service_alarms::{AlarmService, log_left_out};

/// The shortest period of an alarm on a high-resolution metric, in seconds. Source: API
/// reference, "PutMetricAlarm".
const ALARM_PERIOD_S: u32 = 10;
/// Seconds for which tasks may be pending before that alarms.
const PENDING_S: u32 = 60;
/// Seconds without a running task or without data before that alarms, at least; and how often datums are published
/// meanwhile, at least.
const NO_DATA_S: u32 = 30;
const NO_DATA_WAITS: u32 = 3;
/// Characters of an alarm's name. Source: API reference, "PutMetricAlarm".
const ALARM_NAME_CHARS: usize = 255;
/// Resources in one template. Source: CloudFormation quotas.
const MOST_RESOURCES: usize = 500;

/// A dashboard is 24 units wide; two widgets side by side. Source: "Dashboard body structure".
const WIDGET_WIDTH: usize = 12;
const WIDGET_HEIGHT: usize = 6;
/// Widgets of one dashboard. Source: CloudWatch quotas.
const MOST_WIDGETS: usize = 500;

/// A CloudFormation template with two alarms for each cluster, and those of the named services. Deploy it in each region and
/// account: alarms of others are left out there by conditions. `region` is that of clusters whose region is not configured, if it is known.
///
/// # Errors
/// If no cluster is named, a service is not of the configuration, a name is too long, or there are more alarms than one template has room for.
pub fn alarms(
    config: &Metrics,
    services: &[AlarmService],
    region: Option<&str>,
) -> Result<Value, Failure> {
    if config.groups.iter().all(|group| group.clusters.is_empty()) {
        return Err(Failure::definite(
            Exit::Config,
            "alarms name their clusters, and metrics.clusters has only patterns",
            "add the names of clusters that need alarms to metrics.clusters",
        ));
    }
    service_alarms::check(config, services, region)?;
    let mut resources = Map::new();
    let mut conditions = Map::new();
    conditions.insert(
        "HasTopic".to_owned(),
        json!({ "Fn::Not": [{ "Fn::Equals": [{ "Ref": "AlarmTopicArn" }, ""] }] }),
    );
    for (index, group) in config.groups.iter().enumerate() {
        let here = format!("Group{index}");
        let condition = condition(group);
        if let Some(condition) = &condition {
            conditions.insert(here.clone(), condition.clone());
        }
        let mut add = |id: String, alarm: Alarm| {
            let mut resource = alarm.resource(config);
            if condition.is_some() {
                resource["Condition"] = json!(here);
            }
            resources.insert(id, resource);
        };
        for cluster in &group.clusters {
            // Logical ids are alphanumeric, and names that differ must not meet in one.
            let of_cluster = format!("Group{index}Cluster{}", hex(&cluster.name));
            for (what, alarm) in alarms_of(config, group, cluster) {
                add(format!("{of_cluster}{what}"), alarm);
            }
            let own = services
                .iter()
                .filter(|it| it.is_in(group, cluster, region));
            for (service, what, alarm) in service_alarms::alarms_of(config, group, cluster, own) {
                add(format!("{of_cluster}Service{}{what}", hex(service)), alarm);
            }
        }
    }
    if resources.len() > MOST_RESOURCES {
        return Err(too_many("a template", resources.len(), MOST_RESOURCES));
    }
    if !resources.values().all(|it| is_published(config, it)) {
        return Err(Failure::definite(
            Exit::Config,
            "include_metrics and exclude_metrics leave out metrics that alarms are about, which would never have data",
            "publish RunningTask and PendingTask, and of services with --alarm-service also DesiredTask and RolloutState",
        ));
    }
    let mut names = resources.values().map(|it| &it["Properties"]["AlarmName"]);
    if let Some(name) = names.find(|it| it.as_str().is_none_or(|it| it.len() > ALARM_NAME_CHARS)) {
        return Err(Failure::definite(
            Exit::Config,
            format!(
                "an alarm's name has at most {ALARM_NAME_CHARS} characters, and {name} has more"
            ),
            "choose a shorter metrics.namespace",
        ));
    }
    Ok(json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Alarms on the metrics of `hydrant metrics`",
        "Parameters": { "AlarmTopicArn": {
            "Type": "String", "Default": "", "Description": "SNS topic to notify; may be empty"
        } },
        "Conditions": conditions,
        "Resources": resources,
    }))
}

/// Whether all metrics that a document names are published.
fn is_published(config: &Metrics, document: &Value) -> bool {
    match document {
        Value::Object(fields) => fields.iter().all(|(key, value)| match value {
            Value::String(metric) if key == "MetricName" => config.filter.takes_metric(metric),
            other => is_published(config, other),
        }),
        Value::Array(values) => values.iter().all(|value| is_published(config, value)),
        _ => true,
    }
}

/// Where a group's alarms belong, as far as its configuration says.
fn condition(group: &ClusterGroup) -> Option<Value> {
    let equals = |what: &str, value: &str| json!({ "Fn::Equals": [{ "Ref": what }, value] });
    let region = group.region.as_deref().map(|it| equals("AWS::Region", it));
    let account = account(group).map(|it| equals("AWS::AccountId", it));
    match (region, account) {
        (Some(region), Some(account)) => Some(json!({ "Fn::And": [region, account] })),
        (region, account) => region.or(account),
    }
}

/// What follows a cluster's name if there are several groups: a stack has the alarms of all groups that may be of its place, and
/// no two alarms of one name.
fn place(config: &Metrics, group: &ClusterGroup) -> String {
    if config.groups.len() < 2 {
        return String::new();
    }
    let region = group.region.as_deref().map(|it| format!(" in {it}"));
    let account = account(group).map(|it| format!(" of {it}"));
    [region, account].into_iter().flatten().collect()
}

/// The account of a group's role.
fn account(group: &ClusterGroup) -> Option<&str> {
    group.role.as_ref()?.arn.split(':').nth(4)
}

/// One alarm.
struct Alarm {
    /// Within the namespace.
    name: String,
    says: String,
    comparison: &'static str,
    threshold: u32,
    /// Seconds for which it must be so.
    for_s: u32,
    /// What seconds without data count as.
    missing: &'static str,
    /// The properties that say what it looks at.
    on: Value,
}

impl Alarm {
    fn resource(self, config: &Metrics) -> Value {
        let mut properties = json!({
            "AlarmName": format!("{} {}", config.namespace, self.name),
            "AlarmDescription": self.says,
            "ComparisonOperator": self.comparison, "Threshold": self.threshold,
            "EvaluationPeriods": self.for_s.div_ceil(period_s(config)),
            "TreatMissingData": self.missing,
            "AlarmActions": { "Fn::If": [
                "HasTopic", [{ "Ref": "AlarmTopicArn" }], { "Ref": "AWS::NoValue" }
            ] },
        });
        if let (Some(properties), Value::Object(on)) = (properties.as_object_mut(), self.on) {
            properties.extend(on);
        }
        json!({ "Type": "AWS::CloudWatch::Alarm", "Properties": properties })
    }
}

/// The period of alarms: each has at least one sample, if nothing is missing.
fn period_s(config: &Metrics) -> u32 {
    config.interval.seconds().max(ALARM_PERIOD_S)
}

/// For how long nothing is published before that alarms: what waits for `publish_every` is not missing.
fn no_data_s(config: &Metrics) -> u32 {
    let publish_every = u32::try_from(config.publish_every.as_secs()).unwrap_or(u32::MAX);
    let wait = config.interval.seconds().max(publish_every);
    NO_DATA_S.max(wait.saturating_mul(NO_DATA_WAITS))
}

fn alarms_of(
    config: &Metrics,
    group: &ClusterGroup,
    cluster: &Cluster,
) -> [(&'static str, Alarm); 2] {
    let name = &cluster.name;
    let own = dimensions(config, name);
    let on = |metric: &str, statistic: &str| measured(config, &own, metric, statistic);
    let (no_data_s, place) = (no_data_s(config), place(config, group));
    let not_running = Alarm {
        name: format!("{name}{place}: no task runs"),
        says: format!("No task has run for {no_data_s} s, or their number is unknown"),
        comparison: "LessThanThreshold",
        threshold: 1,
        for_s: no_data_s,
        missing: "breaching",
        on: on("RunningTask", "Maximum"),
    };
    let pending = Alarm {
        name: format!("{name}{place}: tasks stay pending"),
        says: format!("Tasks have been pending for {PENDING_S} s without a break"),
        comparison: "GreaterThanThreshold",
        threshold: 0,
        for_s: PENDING_S,
        missing: "notBreaching",
        on: on("PendingTask", "Minimum"),
    };
    [("NotRunning", not_running), ("Pending", pending)]
}

/// What an alarm on one metric looks at.
fn measured(config: &Metrics, dimensions: &[Value], metric: &str, statistic: &str) -> Value {
    json!({
        "Namespace": config.namespace, "MetricName": metric, "Dimensions": dimensions,
        "Period": period_s(config), "Statistic": statistic,
    })
}

fn dimensions(config: &Metrics, cluster: &str) -> Vec<Value> {
    let own = (config.cluster_dimension.as_str(), cluster);
    let fixed = config
        .dimensions
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()));
    std::iter::once(own)
        .chain(fixed)
        .map(|(name, value)| json!({ "Name": name, "Value": value }))
        .collect()
}

/// A dashboard's body: for each cluster its tasks, and its services with its instances; and as
/// far as they are published, its services, their deployments and its capacity providers one by one, which are found by
/// a search when the dashboard is looked at, and tasks by launch type. `region` is for groups
/// that do not name theirs. Clusters that patterns match are found by a search, too: all of the namespace in that region.
///
/// # Errors
/// If a region is not known, or there are more clusters than one dashboard has room for.
pub fn dashboard(config: &Metrics, region: Option<&str>) -> Result<Value, Failure> {
    let mut widgets = Vec::new();
    for group in &config.groups {
        let region = group.region.as_deref().or(region).ok_or_else(|| {
            Failure::definite(
                Exit::Config,
                "a dashboard names each metric's region, and none is configured",
                "set metrics.region, or AWS_REGION in the environment",
            )
        })?;
        let named = group.clusters.iter().map(|it| Some(it.name.as_str()));
        let all = (!group.patterns.is_empty()).then_some(None);
        for cluster in named.chain(all) {
            for shown in shown_of(config, cluster) {
                let index = widgets.len();
                let mut properties = json!({
                    "title": format!("{}: {}", cluster.unwrap_or("all clusters"), shown.title),
                    "view": "timeSeries", "region": region,
                    "period": config.interval.seconds(), "stat": "Maximum",
                    "metrics": shown.metrics,
                });
                if let (Some(properties), Value::Object(axis)) =
                    (properties.as_object_mut(), shown.axis)
                {
                    properties.extend(axis);
                }
                widgets.push(json!({
                    "type": "metric",
                    "x": index % 2 * WIDGET_WIDTH, "y": index / 2 * WIDGET_HEIGHT,
                    "width": WIDGET_WIDTH, "height": WIDGET_HEIGHT,
                    "properties": properties,
                }));
            }
        }
    }
    if widgets.len() > MOST_WIDGETS {
        return Err(too_many("a dashboard", widgets.len(), MOST_WIDGETS));
    }
    Ok(json!({ "widgets": widgets }))
}

/// What one widget shows.
struct Shown {
    title: &'static str,
    metrics: Vec<Value>,
    /// Properties of its axis, if it needs any.
    axis: Value,
}

/// What the widgets of a cluster show, or of all clusters that there are.
fn shown_of(config: &Metrics, cluster: Option<&str>) -> Vec<Shown> {
    let plain = |title, metrics| Shown {
        title,
        metrics,
        axis: Value::Null,
    };
    let published = |metric: &&str| config.filter.takes_metric(metric);
    let (tasks, others) = CLUSTER_METRICS.split_at(2);
    let own = |metrics: &[&str]| {
        let lines = metrics.iter().filter(|it| published(it));
        let lines = lines.map(|metric| match cluster {
            Some(cluster) => line(config, metric, cluster, None),
            None => search(config, metric, None, None),
        });
        lines.collect()
    };
    let mut widgets = vec![
        plain("tasks", own(tasks)),
        plain("services and instances", own(others)),
    ];
    if config.launch_types {
        let by = |(metric, kind, _): (&str, _, _)| match cluster {
            Some(cluster) => line(config, metric, cluster, Some((LAUNCH_TYPE_DIMENSION, kind))),
            None => search(config, metric, None, Some(LAUNCH_TYPE_DIMENSION)),
        };
        let lines = LAUNCH_TYPE_METRICS.into_iter();
        let lines = lines.filter(|(metric, _, _)| published(metric));
        let mut lines: Vec<_> = lines.map(by).collect();
        // A search finds both launch types.
        lines.dedup();
        widgets.push(plain("by launch type", lines));
    }
    let search = |metrics: &[&str], dimension| {
        let one = |metric: &&str| search(config, metric, cluster, Some(dimension));
        metrics.iter().filter(|it| published(it)).map(one).collect()
    };
    if config.services {
        let metrics = search(&SERVICE_METRICS, SERVICE_DIMENSION);
        widgets.push(plain("each service", metrics));
    }
    if config.deployments {
        let metrics = search(&["MissingTask", "FailedTask"], SERVICE_DIMENSION);
        widgets.push(plain("missing and failed tasks of each service", metrics));
        let states = ROLLOUT_STATES.into_iter().zip(0..);
        let states: Vec<_> = states
            .map(|(state, value)| json!({ "label": state.as_str(), "value": value }))
            .collect();
        widgets.push(Shown {
            title: "rollout of each service",
            metrics: search(&["RolloutState"], SERVICE_DIMENSION),
            axis: json!({
                "yAxis": { "left": { "min": 0, "max": states.len() - 1 } },
                "annotations": { "horizontal": states },
            }),
        });
    }
    if config.capacity_providers {
        let metrics = search(&PROVIDER_METRICS, PROVIDER_DIMENSION);
        widgets.push(plain("each capacity provider", metrics));
    }
    widgets.retain(|shown| !shown.metrics.is_empty());
    widgets
}

/// One line of a widget: namespace, metric, then names and values of dimensions.
fn line(config: &Metrics, metric: &str, cluster: &str, more: Option<(&str, &str)>) -> Value {
    let mut words = vec![config.namespace.as_str(), metric];
    words.extend([config.cluster_dimension.as_str(), cluster]);
    let fixed = config.dimensions.iter();
    let fixed = fixed.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in fixed.chain(more) {
        words.extend([name, value]);
    }
    json!(words)
}

/// All metrics of this name that have the dimension, of a cluster or of all. Source: "CloudWatch search expression
/// syntax".
fn search(config: &Metrics, metric: &str, cluster: Option<&str>, dimension: Option<&str>) -> Value {
    let name = |text: &str| {
        if text.chars().all(|c| c.is_ascii_alphanumeric()) {
            text.to_owned()
        } else {
            format!("\"{text}\"")
        }
    };
    let own = (config.cluster_dimension.as_str(), cluster);
    let fixed = config.dimensions.iter();
    let fixed = fixed.map(|(name, value)| (name.as_str(), Some(value.as_str())));
    let dimensions: Vec<_> = std::iter::once(own).chain(fixed).collect();
    let mut schema = vec![name(&config.namespace)];
    schema.extend(dimensions.iter().map(|(dimension, _)| name(dimension)));
    schema.extend(dimension.map(name));
    let mut terms = format!("MetricName=\"{metric}\"");
    for (dimension, value) in &dimensions {
        let Some(value) = value else {
            continue;
        };
        let value = value.replace('"', "\\\"");
        // Writing to a string does not fail.
        let _ = write!(terms, " {}=\"{value}\"", name(dimension));
    }
    let terms = terms.replace('\'', "\\'");
    let period_s = config.interval.seconds();
    let expression = format!(
        "SEARCH('{{{}}} {terms}', 'Maximum', {period_s})",
        schema.join(",")
    );
    let cluster = cluster
        .is_none()
        .then_some(config.cluster_dimension.as_str());
    let varying = cluster.into_iter().chain(dimension);
    let varying: Vec<_> = varying.map(|it| format!("${{PROP('Dim.{it}')}}")).collect();
    json!([{ "expression": expression, "label": format!("{metric} {}", varying.join(" ")) }])
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn too_many(what: &str, count: usize, most: usize) -> Failure {
    Failure::definite(
        Exit::Config,
        format!("{count} parts, and {what} has at most {most}"),
        "print it for fewer clusters at a time, from a configuration of their own",
    )
}
