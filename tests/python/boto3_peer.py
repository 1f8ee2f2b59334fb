"""boto3, AWS's client for Python, judges `hydrant sim`: a client that the project did not write.

    boto3_peer.py SERVICE ENDPOINT [FILE]

SERVICE is a function of this file. It ends with status 0 if every answer was what AWS's documentation says,
and with a traceback otherwise. What does not live here: starting the simulator, and the look at what it
delivered and counted (tests/it/boto3.rs).
"""

import datetime
import itertools
import sys
import time
from unittest import mock

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

# Each call is tried once, so that every error is seen; and it is the service that has to refuse, not boto3.
CONFIG = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
PROTOCOLS = "botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS"
PATIENCE_S = 60


def client(service, endpoint):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=CONFIG,
    )


def equal(left, right):
    if left != right:
        raise AssertionError(f"{left!r} is not {right!r}")


def refused(code, call, status=400, **arguments):
    """Makes a call that must fail with this code and status."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        equal(error.response["Error"]["Code"], code)
        equal(error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        assert error.response["Error"]["Message"], "an error without a message"
        return error
    raise AssertionError(f"taken, but should be {code}: {answer!r}")


def firehose(endpoint, file):
    """Puts lines under a small quota until all are taken, and writes to FILE which they were."""
    api = client("firehose", endpoint)
    stream = {"DeliveryStreamName": "boto3"}
    destination = {
        "RoleARN": "arn:aws:iam::123456789012:role/firehose",
        "BucketARN": "arn:aws:s3:::bucket",
        "Prefix": "CDC/",
        "CompressionFormat": "GZIP",
        "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 60},
    }
    created = api.create_delivery_stream(
        **stream, DeliveryStreamType="DirectPut", ExtendedS3DestinationConfiguration=destination
    )
    described = api.describe_delivery_stream(**stream)["DeliveryStreamDescription"]
    equal(described["DeliveryStreamARN"], created["DeliveryStreamARN"])
    equal(described["DeliveryStreamStatus"], "ACTIVE")
    assert isinstance(described["CreateTimestamp"], datetime.datetime)
    s3 = described["Destinations"][0]["ExtendedS3DestinationDescription"]
    equal({key: s3[key] for key in destination}, destination)
    equal(api.list_delivery_streams()["DeliveryStreamNames"], ["boto3"])
    error = refused(
        "ResourceInUseException",
        api.create_delivery_stream,
        **stream,
        ExtendedS3DestinationConfiguration=destination,
    )
    assert isinstance(error, api.exceptions.ResourceInUseException)

    records = [{"Data": b"x\n"}]
    refused("ValidationException", api.put_record_batch, **stream, Records=records * 501)
    refused("ValidationException", api.put_record_batch, **stream, Records=[])
    large = [{"Data": b"x" * 1_024_001}]
    refused("ValidationException", api.put_record_batch, **stream, Records=large)
    refused("ValidationException", api.put_record, **stream, Record=large[0])
    five = [{"Data": b"x" * 1_000_000}] * 5
    refused("InvalidArgumentException", api.put_record_batch, **stream, Records=five)
    other = {"DeliveryStreamName": "other"}
    refused("ResourceNotFoundException", api.put_record_batch, **other, Records=records)

    largest = b"x" * 1_023_999 + b"\n"
    api.put_record(**stream, Record={"Data": largest})
    lines = [f"{number},ümläut {number}\n".encode() for number in range(800)]
    partly_refused = put_all(api, stream, lines)
    assert partly_refused, "the quota refused no part of a batch"
    with open(file, "wb") as sent:
        sent.writelines([largest, *lines])


def put_all(api, stream, lines):
    """Sends what is refused again until all lines are taken. Gives how many batches were taken in part."""
    waiting = list(lines)
    ids = set()
    partly_refused = 0
    deadline = time.monotonic() + PATIENCE_S
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} lines are still refused"
        batch, waiting = waiting[:500], waiting[500:]
        try:
            answer = api.put_record_batch(**stream, Records=[{"Data": line} for line in batch])
        except api.exceptions.ServiceUnavailableException:
            waiting = batch + waiting
            time.sleep(0.1)
            continue
        responses = answer["RequestResponses"]
        equal(len(responses), len(batch))
        again = []
        for line, response in zip(batch, responses):
            if "ErrorCode" in response:
                equal(response["ErrorCode"], "ServiceUnavailableException")
                assert response["ErrorMessage"] and "RecordId" not in response, response
                again.append(line)
            else:
                ids.add(response["RecordId"])
        equal(answer["FailedPutCount"], len(again))
        partly_refused += 0 < len(again) < len(batch)
        waiting = again + waiting
        if again:
            time.sleep(0.1)
    equal(len(ids), len(lines))
    return partly_refused


def ecs(endpoint):
    """Expects the cluster Web, tagged Stage = prod, with 23 services, 30 running and 2 pending tasks and 4 instances."""
    api = client("ecs", endpoint)
    created = api.create_cluster(clusterName="New")["cluster"]
    equal((created["status"], created["runningTasksCount"]), ("ACTIVE", 0))
    described = api.describe_clusters(clusters=["Web", "New", "Gone"], include=["STATISTICS"])
    web, new = described["clusters"]
    equal((web["clusterName"], web["status"]), ("Web", "ACTIVE"))
    equal((web["runningTasksCount"], web["pendingTasksCount"]), (30, 2))
    equal((web["activeServicesCount"], web["registeredContainerInstancesCount"]), (23, 4))
    statistics = {pair["name"]: pair["value"] for pair in web["statistics"]}
    equal((statistics["runningEC2TasksCount"], statistics["runningFargateTasksCount"]), ("15", "15"))
    equal(new["clusterArn"], created["clusterArn"])
    arn = web["clusterArn"].replace("Web", "Gone")
    equal(described["failures"], [{"arn": arn, "reason": "MISSING"}])
    hundred = [f"c{number}" for number in range(100)]
    equal(len(api.describe_clusters(clusters=hundred)["failures"]), 100)
    invalid = "InvalidParameterException"
    refused(invalid, api.describe_clusters, clusters=[*hundred, "c"])

    paginator = api.get_paginator("list_clusters")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 1}))
    equal([page["clusterArns"] for page in pages], [[new["clusterArn"]], [web["clusterArn"]]])
    web = api.describe_clusters(clusters=["Web"], include=["TAGS"])["clusters"][0]
    equal(web["tags"], [{"key": "Stage", "value": "prod"}])
    refused(invalid, api.list_clusters, maxResults=101)

    paginator = api.get_paginator("list_services")
    pages = list(paginator.paginate(cluster="Web", PaginationConfig={"PageSize": 9}))
    equal([len(page["serviceArns"]) for page in pages], [9, 9, 5])
    arns = [arn for page in pages for arn in page["serviceArns"]]
    equal(len(set(arns)), 23)
    tens = [arns[start : start + 10] for start in range(0, 23, 10)]
    services = [api.describe_services(cluster="Web", services=ten)["services"] for ten in tens]
    services = list(itertools.chain(*services))
    equal([service["serviceArn"] for service in services], arns)
    equal(sum(service["runningCount"] for service in services), 30)
    assert isinstance(services[0]["createdAt"], datetime.datetime)
    refused(invalid, api.describe_services, cluster="Web", services=arns[:11])
    refused(invalid, api.list_services, cluster="Web", maxResults=101)
    missing = api.describe_services(cluster="Web", services=["other"])["failures"]
    equal([failure["reason"] for failure in missing], ["MISSING"])

    equal(api.delete_cluster(cluster="New")["cluster"]["status"], "INACTIVE")
    equal(api.describe_clusters(clusters=["New"])["clusters"][0]["status"], "INACTIVE")
    equal(api.list_clusters()["clusterArns"], [web["clusterArn"]])
    error = refused("ClusterNotFoundException", api.list_services, cluster="New")
    assert isinstance(error, api.exceptions.ClusterNotFoundException)


def cloudwatch(endpoint):
    """In the protocol that boto3 chooses by itself, and in the one of the AWS SDK for Rust."""
    for protocol in ["json", "smithy-rpc-v2-cbor"]:
        with mock.patch(PROTOCOLS, [protocol]):
            api = client("cloudwatch", endpoint)
            equal(api.meta.service_model.resolved_protocol, protocol)
            put_and_get(api, f"boto3/{protocol}")
    equal(client("cloudwatch", endpoint).meta.service_model.resolved_protocol, "json")


def put_and_get(api, namespace):
    start = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    start -= datetime.timedelta(seconds=1_100)
    second = datetime.timedelta(seconds=1)
    dimensions = [{"Name": "ClusterName", "Value": "Web"}]

    def datum(number, value, **more):
        return {
            "MetricName": "RunningTask",
            "Dimensions": dimensions,
            "Timestamp": start + number * second,
            "Value": value,
            "Unit": "Count",
            "StorageResolution": 1,
            **more,
        }

    def refuse(code, data, namespace=namespace):
        return refused(code, api.put_metric_data, Namespace=namespace, MetricData=data)

    # Over 10 KiB, which botocore packs; the values are whole and not, in turns.
    data = [datum(number, number / 2) for number in range(1_000)]
    equal(api.put_metric_data(Namespace=namespace, MetricData=data)["ResponseMetadata"]["HTTPStatusCode"], 200)
    invalid = "InvalidParameterValue"
    for value in [float("nan"), float("inf"), float("-inf"), 2.0**361]:
        error = refuse(invalid, [datum(0, 1.0), datum(0, value)])
        assert isinstance(error, api.exceptions.InvalidParameterValueException), type(error)
    refuse(invalid, [*data, datum(0, 1.0)])
    refuse(invalid, [datum(0, 1.0, StorageResolution=5)])
    refuse(invalid, [datum(0, 1.0, Timestamp=start - datetime.timedelta(days=15))])
    refuse(invalid, [datum(0, 1.0)], namespace="AWS/ECS")
    refuse("MissingParameter", [])
    refuse("InvalidParameterCombination", [datum(0, 1.0, Values=[1.0])])

    stat = {
        "Metric": {"Namespace": namespace, "MetricName": "RunningTask", "Dimensions": dimensions},
        "Period": 1,
        "Stat": "Sum",
    }
    pages = api.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[{"Id": "q", "MetricStat": stat}],
        StartTime=start,
        EndTime=start + 1_000 * second,
        ScanBy="TimestampAscending",
        PaginationConfig={"PageSize": 300},
    )
    results = [page["MetricDataResults"][0] for page in pages]
    equal([result["StatusCode"] for result in results], ["PartialData"] * 3 + ["Complete"])
    times = [time for result in results for time in result["Timestamps"]]
    equal(times, [start + number * second for number in range(1_000)])
    equal([value for result in results for value in result["Values"]], [number / 2 for number in range(1_000)])
    listed = api.list_metrics(Namespace=namespace)["Metrics"]
    equal(listed, [stat["Metric"]])


def faults(endpoint):
    """Meets the faults of boto3.rs: each service's first calls, in their order."""
    api = client("firehose", endpoint)
    batch = {"DeliveryStreamName": "boto3", "Records": [{"Data": b"x\n"}, {"Data": b"y\n"}]}
    answer = api.put_record_batch(**batch)
    equal(answer["FailedPutCount"], 1)
    equal([entry.get("ErrorCode") for entry in answer["RequestResponses"]], [None, "InternalFailure"])
    error = refused("ServiceUnavailableException", api.put_record_batch, status=500, **batch)
    assert isinstance(error, api.exceptions.ServiceUnavailableException)
    refused("ExpiredTokenException", api.put_record_batch, **batch)
    equal(len(api.put_record_batch(**batch)["RequestResponses"]), 1)
    broken(api.put_record_batch, **batch)
    equal(api.put_record_batch(**batch)["FailedPutCount"], 0)

    api = client("ecs", endpoint)
    refused("ThrottlingException", api.describe_clusters, clusters=["Web"])
    broken(api.describe_clusters, clusters=["Web"])
    equal(len(api.describe_clusters(clusters=["Web"])["clusters"]), 1)

    for protocol in ["json", "smithy-rpc-v2-cbor"]:
        with mock.patch(PROTOCOLS, [protocol]):
            api = client("cloudwatch", endpoint)
            data = {"Namespace": f"boto3/{protocol}", "MetricData": [{"MetricName": "a", "Value": 1.0}]}
            error = refused("InternalServiceError", api.put_metric_data, status=500, **data)
            assert isinstance(error, api.exceptions.InternalServiceFault), type(error)
            refused("ExpiredToken", api.put_metric_data, status=403, **data)
            broken(api.put_metric_data, **data)


def broken(call, **arguments):
    """Makes a call whose connection must break before there is an answer."""
    try:
        answer = call(**arguments)
    except ConnectionClosedError:
        return
    raise AssertionError(f"answered: {answer!r}")


if __name__ == "__main__":
    service, *arguments = sys.argv[1:]
    {"cloudwatch": cloudwatch, "ecs": ecs, "faults": faults, "firehose": firehose}[service](*arguments)
