//! What `hydrant metrics` prints for CloudFormation and CloudWatch about services, judged by AWS's client for Python.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::cache::project;
use testkit::python::python;

use super::Scene;

/// What is printed, and the log.
fn print(config: &str, arguments: &[&str]) -> Result<(Value, String)> {
    let scene = Scene::of("", config)?;
    // Nothing is asked of AWS, so nobody listens.
    let output = scene.command("http://127.0.0.1:1", arguments).output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{log}");
    Ok((serde_json::from_slice(&output.stdout)?, log))
}

/// How many alarms botocore takes for alarms, which must be all.
fn judged(template: &Value) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("template.json");
    std::fs::write(&file, template.to_string())?;
    let output = Command::new(python()?)
        .arg(project().join("tests/python/template.py"))
        .stdin(std::fs::File::open(file)?)
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{log}");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// The properties of the alarms, by their names.
fn by_name(template: &Value) -> Result<BTreeMap<&str, &Value>> {
    let resources = template["Resources"].as_object().context("no resources")?;
    let properties = resources.values().map(|it| &it["Properties"]);
    let named = properties.map(|it| Some((it["AlarmName"].as_str()?, it)));
    named.collect::<Option<_>>().context("no name")
}

#[test]
fn alarms_of_services_say_too_few_tasks_a_failed_rollout_and_no_data() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nservices = true\ndeployments = true\n\
                  dimensions = { Stage = \"test\" }";
    let arn = "arn:aws:ecs:us-east-1:123456789012:service/Web/checkout";
    let (template, log) = print(
        config,
        &["--print-alarms", "--alarm-service", arn, "Web/cart"],
    )?;
    assert_eq!(judged(&template)?, 2 + 2 * 3);
    assert_eq!(log, "");
    let alarms = by_name(&template)?;
    let dimensions = json!([
        { "Name": "ClusterName", "Value": "Web" },
        { "Name": "Stage", "Value": "test" },
        { "Name": "ServiceName", "Value": "checkout" },
    ]);
    let (above, at_least, below) = (
        "GreaterThanThreshold",
        "GreaterThanOrEqualToThreshold",
        "LessThanThreshold",
    );
    for (name, metric, statistic, (comparison, threshold), missing, periods) in [
        (
            "too few tasks run",
            "MissingTask",
            "Minimum",
            (above, 0),
            "notBreaching",
            12,
        ),
        (
            "the rollout has failed",
            "RolloutState",
            "Maximum",
            (at_least, 2),
            "notBreaching",
            1,
        ),
        (
            "no data",
            "RunningTask",
            "SampleCount",
            (below, 1),
            "breaching",
            3,
        ),
    ] {
        let alarm = alarms[format!("ECS Web/checkout: {name}").as_str()];
        let is = [
            &alarm["MetricName"],
            &alarm["Statistic"],
            &alarm["TreatMissingData"],
        ];
        assert_eq!(is, [metric, statistic, missing], "{alarm:#}");
        let limit = (&alarm["ComparisonOperator"], &alarm["Threshold"]);
        assert_eq!(limit, (&json!(comparison), &json!(threshold)), "{alarm:#}");
        assert_eq!(alarm["Dimensions"], dimensions);
        assert_eq!(
            (&alarm["Period"], &alarm["EvaluationPeriods"]),
            (&json!(10), &json!(periods))
        );
    }
    Ok(())
}

#[test]
fn without_deployments_the_missing_tasks_are_calculated_by_cloudwatch() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nservices = true";
    let (template, log) = print(config, &["--print-alarms", "--alarm-service", "Web/cart"])?;
    assert_eq!(judged(&template)?, 2 + 2);
    assert!(log.contains("set metrics.deployments = true"), "{log}");
    let metrics = &by_name(&template)?["ECS Web/cart: too few tasks run"]["Metrics"];
    assert_eq!(metrics[0]["Expression"], "desired - running");
    for (input, id, metric) in [(1, "desired", "DesiredTask"), (2, "running", "RunningTask")] {
        let input = &metrics[input];
        assert_eq!(input["Id"], id);
        assert_eq!(input["MetricStat"]["Metric"]["MetricName"], metric);
    }
    let (template, log) = print(config, &["--print-alarms"])?;
    assert_eq!(judged(&template)?, 2);
    assert!(log.contains("name services with --alarm-service"), "{log}");
    Ok(())
}

#[test]
fn what_is_published_seldom_is_not_taken_for_missing() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nservices = true\ninterval = \"30s\"\npublish_every = \"100s\"";
    let (template, _) = print(config, &["--print-alarms", "--alarm-service", "Web/cart"])?;
    assert_eq!(judged(&template)?, 2 + 2);
    for alarm in by_name(&template)?.values() {
        if alarm["TreatMissingData"] == "breaching" {
            assert_eq!(
                (&alarm["Period"], &alarm["EvaluationPeriods"]),
                (&json!(30), &json!(10))
            );
        }
    }
    Ok(())
}

#[test]
fn alarms_of_clusters_with_one_name_have_names_of_their_own() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nservices = true\n\
                  [[metrics.group]]\nclusters = [\"Web\"]\nregion = \"eu-west-1\"\n\
                  role_arn = \"arn:aws:iam::210987654321:role/hydrant\"";
    let (template, _) = print(config, &["--print-alarms", "--alarm-service", "Web/cart"])?;
    assert_eq!(judged(&template)?, 2 * (2 + 2));
    let alarms = by_name(&template)?;
    assert!(alarms.contains_key("ECS Web/cart: no data"));
    assert!(alarms.contains_key("ECS Web/cart in eu-west-1 of 210987654321: no data"));
    Ok(())
}

#[test]
fn services_that_are_not_published_have_no_alarms() -> Result<()> {
    let lengthy = format!("services = true\nnamespace = \"{}\"", "n".repeat(250));
    for (config, service, code, says) in [
        (
            lengthy.as_str(),
            "Web/cart",
            78,
            "a shorter metrics.namespace",
        ),
        (
            "services = true",
            "Shop/cart",
            78,
            "name a cluster of metrics.clusters",
        ),
        (
            "services = false",
            "Web/cart",
            78,
            "set metrics.services = true",
        ),
        ("services = true", "cart", 64, "write CLUSTER/SERVICE"),
    ] {
        let scene = Scene::of("", &format!("[metrics]\nclusters = [\"Web\"]\n{config}"))?;
        let arguments = ["--print-alarms", "--alarm-service", service];
        let output = scene.command("http://127.0.0.1:1", &arguments).output()?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(says), "{log}");
    }
    Ok(())
}

#[test]
fn a_dashboard_shows_the_rollout_of_each_service() -> Result<()> {
    let config = "[metrics]\nclusters = [\"Web\"]\nregion = \"us-east-1\"\nservices = true\ndeployments = true";
    let (dashboard, _) = print(config, &["--print-dashboard"])?;
    let widgets = dashboard["widgets"].as_array().context("no widgets")?;
    let titled = |title: &str| {
        let mut all = widgets.iter().map(|it| &it["properties"]);
        all.find(|it| it["title"] == format!("Web: {title}"))
            .context(title.to_owned())
    };
    for (title, metrics) in [
        (
            "each service",
            vec!["RunningTask", "PendingTask", "DesiredTask"],
        ),
        (
            "missing and failed tasks of each service",
            vec!["MissingTask", "FailedTask"],
        ),
        ("rollout of each service", vec!["RolloutState"]),
    ] {
        let lines = titled(title)?["metrics"].as_array().context("no lines")?;
        assert_eq!(lines.len(), metrics.len());
        for (line, metric) in lines.iter().zip(metrics) {
            let search = format!(
                "SEARCH('{{ECS,ClusterName,ServiceName}} MetricName=\"{metric}\" ClusterName=\"Web\"', 'Maximum', 1)"
            );
            assert_eq!(line[0]["expression"], search);
        }
    }
    let rollout = titled("rollout of each service")?;
    assert_eq!(rollout["yAxis"]["left"], json!({ "min": 0, "max": 2 }));
    let states = json!([
        { "label": "COMPLETED", "value": 0 },
        { "label": "IN_PROGRESS", "value": 1 },
        { "label": "FAILED", "value": 2 },
    ]);
    assert_eq!(rollout["annotations"]["horizontal"], states);
    Ok(())
}
