"""botocore, AWS's client for Python, judges the alarms that `hydrant metrics --print-alarms` prints.

    template.py < TEMPLATE

A property of AWS::CloudWatch::Alarm has the name and type of the parameter of PutMetricAlarm, so that botocore's model of
that call says what an alarm may be. It prints how many alarms it has judged, and ends with a traceback if one is none.
"""

import json
import sys

import botocore.session
from botocore.validate import ParamValidator

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"


def resolved(value):
    """A value as CloudFormation gives it to PutMetricAlarm, if there is a topic."""
    if isinstance(value, list):
        return [resolved(one) for one in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Fn::If"]:
        return resolved(value["Fn::If"][1])
    if list(value) == ["Ref"]:
        assert value["Ref"] == "AlarmTopicArn", value
        return TOPIC
    return {name: resolved(one) for name, one in value.items()}


def check_enums(value, shape, name):
    """What botocore's own validation leaves out."""
    if shape.type_name == "structure":
        for member, one in value.items():
            check_enums(one, shape.members[member], f"{name}.{member}")
    elif shape.type_name == "list":
        for one in value:
            check_enums(one, shape.member, name)
    elif shape.type_name == "string":
        assert not shape.enum or value in shape.enum, f"{name} = {value}"
        longest = shape.metadata.get("max")
        assert longest is None or len(value) <= longest, f"{name} = {value}"


def check_alarm(alarm, shape):
    report = ParamValidator().validate(alarm, shape)
    assert not report.has_errors(), report.generate_report()
    check_enums(alarm, shape, "alarm")
    metrics = alarm.get("Metrics", [])
    # Source: API reference, "PutMetricAlarm": a metric, or an expression over up to ten, of which one is watched.
    assert ("MetricName" in alarm) != bool(metrics), alarm
    if metrics:
        assert len(metrics) <= 20 and sum(one["ReturnData"] for one in metrics) == 1, metrics
        assert len({one["MetricStat"]["Period"] for one in metrics if "MetricStat" in one}) == 1, metrics
        assert not {"Period", "Statistic", "Namespace", "Dimensions"} & set(alarm), alarm
    period = alarm.get("Period") or next(one["MetricStat"]["Period"] for one in metrics if "MetricStat" in one)
    assert period in (10, 20, 30) or period % 60 == 0, period
    assert period * alarm["EvaluationPeriods"] <= 86_400, alarm
    assert alarm["TreatMissingData"] in ("breaching", "notBreaching", "ignore", "missing"), alarm


def main():
    model = botocore.session.get_session().get_service_model("cloudwatch")
    shape = model.operation_model("PutMetricAlarm").input_shape
    resources = json.load(sys.stdin)["Resources"].values()
    for resource in resources:
        assert resource["Type"] == "AWS::CloudWatch::Alarm", resource
        check_alarm(resolved(resource["Properties"]), shape)
    names = {resource["Properties"]["AlarmName"] for resource in resources}
    assert len(names) == len(resources), names
    print(len(names))


main()
