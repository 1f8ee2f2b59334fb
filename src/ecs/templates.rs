//! Alarms and a dashboard of what is published, as JSON for CloudFormation and CloudWatch.
//!
//! What lives here: the two documents. What does not: deploying them; nothing is asked of AWS.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::config::cloudwatch::{LAUNCH_TYPE_DIMENSION, PROVIDER_DIMENSION, SERVICE_DIMENSION};
use crate::config::{Cluster, ClusterGroup, Metrics};
use crate::{Exit, Failure};

use super::poll_query::{CLUSTER_METRICS, LAUNCH_TYPE_METRICS, PROVIDER_METRICS, SERVICE_METRICS};

/// The shortest period of an alarm on a high-resolution metric, in seconds. Source: API
/// reference, "PutMetricAlarm".
const ALARM_PERIOD_S: u32 = 10;
/// Seconds for which tasks may be pending before that alarms.
const PENDING_S: u32 = 60;
/// Seconds for which no task runs, or their number is unknown, before that alarms.
const NOT_RUNNING_S: u32 = 30;
/// Resources in one template. Source: CloudFormation quotas.
const MOST_RESOURCES: usize = 500;

/// A dashboard is 24 units wide; two widgets side by side. Source: "Dashboard body structure".
const WIDGET_WIDTH: usize = 12;
const WIDGET_HEIGHT: usize = 6;
/// Widgets of one dashboard. Source: CloudWatch quotas.
const MOST_WIDGETS: usize = 500;

/// A CloudFormation template with two alarms for each cluster. Deploy it in each region and
/// account: alarms of others are left out there by conditions.
///
/// # Errors
/// If there are more clusters than one template has room for.
pub fn alarms(config: &Metrics) -> Result<Value, Failure> {
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
        for cluster in &group.clusters {
            for (what, mut alarm) in alarms_of(config, cluster) {
                if condition.is_some() {
                    alarm["Condition"] = json!(here);
                }
                // Logical ids are alphanumeric, and names that differ must not meet in one.
                let id = format!("Group{index}Cluster{}{what}", hex(&cluster.name));
                resources.insert(id, alarm);
            }
        }
    }
    if resources.len() > MOST_RESOURCES {
        return Err(too_many("a template", resources.len(), MOST_RESOURCES));
    }
    Ok(json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Ten-second alarms on the metrics of `hydrant metrics`",
        "Parameters": { "AlarmTopicArn": {
            "Type": "String", "Default": "", "Description": "SNS topic to notify; may be empty"
        } },
        "Conditions": conditions,
        "Resources": resources,
    }))
}

/// Where a group's alarms belong, as far as its configuration says.
fn condition(group: &ClusterGroup) -> Option<Value> {
    let account = group
        .role
        .as_ref()
        .and_then(|role| role.arn.split(':').nth(4));
    let equals = |what: &str, value: &str| json!({ "Fn::Equals": [{ "Ref": what }, value] });
    let region = group.region.as_deref().map(|it| equals("AWS::Region", it));
    let account = account.map(|it| equals("AWS::AccountId", it));
    match (region, account) {
        (Some(region), Some(account)) => Some(json!({ "Fn::And": [region, account] })),
        (region, account) => region.or(account),
    }
}

fn alarms_of(config: &Metrics, cluster: &Cluster) -> [(&'static str, Value); 2] {
    let name = &cluster.name;
    let alarm = |what: &str, metric: &str, says: String, rest: Value| {
        let mut properties = json!({
            "AlarmName": format!("{} {name}: {what}", config.namespace),
            "AlarmDescription": says,
            "Namespace": config.namespace,
            "MetricName": metric,
            "Dimensions": dimensions(config, name),
            "Period": ALARM_PERIOD_S,
            "AlarmActions": { "Fn::If": [
                "HasTopic", [{ "Ref": "AlarmTopicArn" }], { "Ref": "AWS::NoValue" }
            ] },
        });
        if let (Some(properties), Value::Object(rest)) = (properties.as_object_mut(), rest) {
            properties.extend(rest);
        }
        json!({ "Type": "AWS::CloudWatch::Alarm", "Properties": properties })
    };
    let not_running = alarm(
        "no task runs",
        "RunningTask",
        format!("No task has run for {NOT_RUNNING_S} s, or their number is unknown"),
        json!({
            "Statistic": "Maximum", "ComparisonOperator": "LessThanThreshold", "Threshold": 1,
            "EvaluationPeriods": NOT_RUNNING_S / ALARM_PERIOD_S,
            "TreatMissingData": "breaching",
        }),
    );
    let pending = alarm(
        "tasks stay pending",
        "PendingTask",
        format!("Tasks have been pending for {PENDING_S} s without a break"),
        json!({
            "Statistic": "Minimum", "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0,
            "EvaluationPeriods": PENDING_S / ALARM_PERIOD_S,
            "TreatMissingData": "notBreaching",
        }),
    );
    [("NotRunning", not_running), ("Pending", pending)]
}

fn dimensions(config: &Metrics, cluster: &str) -> Value {
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
/// far as they are published, its services and capacity providers one by one, which are found by
/// a search when the dashboard is looked at, and tasks by launch type. `region` is for groups
/// that do not name theirs.
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
        for cluster in &group.clusters {
            for (title, metrics) in lines_of(config, &cluster.name) {
                let index = widgets.len();
                widgets.push(json!({
                    "type": "metric",
                    "x": index % 2 * WIDGET_WIDTH, "y": index / 2 * WIDGET_HEIGHT,
                    "width": WIDGET_WIDTH, "height": WIDGET_HEIGHT,
                    "properties": {
                        "title": format!("{}: {title}", cluster.name),
                        "view": "timeSeries", "region": region,
                        "period": config.interval.seconds(), "stat": "Maximum",
                        "metrics": metrics,
                    },
                }));
            }
        }
    }
    if widgets.len() > MOST_WIDGETS {
        return Err(too_many("a dashboard", widgets.len(), MOST_WIDGETS));
    }
    Ok(json!({ "widgets": widgets }))
}

/// The widgets of a cluster: titles, and what each shows.
fn lines_of(config: &Metrics, cluster: &str) -> Vec<(&'static str, Vec<Value>)> {
    let [running, pending, services, instances] =
        CLUSTER_METRICS.map(|metric| line(config, metric, cluster, None));
    let mut widgets = vec![
        ("tasks", vec![running, pending]),
        ("services and instances", vec![services, instances]),
    ];
    if config.launch_types {
        let by = |(metric, kind, _): (&str, _, _)| {
            line(config, metric, cluster, Some((LAUNCH_TYPE_DIMENSION, kind)))
        };
        let lines = LAUNCH_TYPE_METRICS.into_iter().map(by).collect();
        widgets.push(("by launch type", lines));
    }
    for (wanted, title, dimension, metrics) in [
        (
            config.services,
            "each service",
            SERVICE_DIMENSION,
            SERVICE_METRICS,
        ),
        (
            config.capacity_providers,
            "each capacity provider",
            PROVIDER_DIMENSION,
            PROVIDER_METRICS,
        ),
    ] {
        if wanted {
            let search = |metric| search(config, metric, cluster, dimension);
            widgets.push((title, metrics.into_iter().map(search).collect()));
        }
    }
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

/// All metrics of this name that have the dimension. Source: "CloudWatch search expression
/// syntax".
fn search(config: &Metrics, metric: &str, cluster: &str, dimension: &str) -> Value {
    let name = |text: &str| {
        if text.chars().all(|c| c.is_ascii_alphanumeric()) {
            text.to_owned()
        } else {
            format!("\"{text}\"")
        }
    };
    let own = (config.cluster_dimension.as_str(), cluster);
    let fixed = config.dimensions.iter();
    let fixed = fixed.map(|(name, value)| (name.as_str(), value.as_str()));
    let dimensions: Vec<_> = std::iter::once(own).chain(fixed).collect();
    let mut schema = vec![name(&config.namespace)];
    schema.extend(dimensions.iter().map(|(dimension, _)| name(dimension)));
    schema.push(name(dimension));
    let mut terms = format!("MetricName=\"{metric}\"");
    for (dimension, value) in dimensions {
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
    json!([{ "expression": expression, "label": format!("{metric} ${{PROP('Dim.{dimension}')}}") }])
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
