//! Alarms and a dashboard of what is published, as JSON for CloudFormation and CloudWatch.
//!
//! What lives here: the two documents. What does not: deploying them; nothing is asked of AWS.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::config::{Cluster, ClusterGroup, Metrics};
use crate::{Exit, Failure};

/// The shortest period of an alarm on a high-resolution metric, in seconds. Source: API
/// reference, "PutMetricAlarm".
const ALARM_PERIOD_S: u32 = 10;
/// Seconds for which tasks may be pending before that alarms.
const PENDING_S: u32 = 60;
/// Seconds for which no task runs, or nobody says how many do, before that alarms.
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
        format!("No task has run for {NOT_RUNNING_S} s, or nobody says how many do"),
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

/// A dashboard's body: tasks, and services with instances, of each cluster at full resolution.
/// `region` is for groups that do not name theirs.
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
            let y = widgets.len() / 2 * WIDGET_HEIGHT;
            let name = &cluster.name;
            for (x, title, metrics) in [
                (0, "tasks", ["RunningTask", "PendingTask"]),
                (
                    WIDGET_WIDTH,
                    "services and instances",
                    ["ActiveServices", "RegisteredContainerInstances"],
                ),
            ] {
                widgets.push(json!({
                    "type": "metric", "x": x, "y": y,
                    "width": WIDGET_WIDTH, "height": WIDGET_HEIGHT,
                    "properties": {
                        "title": format!("{name}: {title}"),
                        "view": "timeSeries", "region": region,
                        "period": config.interval.seconds(), "stat": "Maximum",
                        "metrics": metrics.map(|metric| line(config, metric, name)),
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

/// One line of a widget: namespace, metric, then names and values of dimensions.
fn line(config: &Metrics, metric: &str, cluster: &str) -> Value {
    let mut words = vec![config.namespace.as_str(), metric];
    words.extend([config.cluster_dimension.as_str(), cluster]);
    for (name, value) in &config.dimensions {
        words.extend([name.as_str(), value.as_str()]);
    }
    json!(words)
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
