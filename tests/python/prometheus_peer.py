"""prometheus_client, Prometheus' own client for Python, judges the status server of `hydrant metrics`.

    prometheus_peer.py URL

It reads the metrics as Prometheus does, checks them against its rules of names, units and types, and prints the samples as
JSON: a list of names, labels and values. It ends with a traceback if something is wrong. What does not live here: which
values are expected (tests/it/metrics/status.rs).
"""

import json
import math
import re
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

NAME = re.compile(r"hydrant_[a-z]+(_[a-z]+)*")


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def check_family(family):
    check(NAME.fullmatch(family.name), family.name)
    check(family.documentation.endswith("."), family)
    check(family.type in ("gauge", "counter", "histogram"), family)
    # Base units: no milliseconds, minutes or bytes in thousands.
    check(not re.search("_(ms|millis|milliseconds|minutes|kb|mb)(_|$)", family.name), family.name)
    for sample in family.samples:
        check(not math.isnan(sample.value), sample)
        check((family.type == "counter") == sample.name.endswith("_total"), sample)
        if family.type == "counter":
            check(sample.value >= 0, sample)
    if family.type == "histogram":
        check(family.name.endswith("_seconds"), family.name)
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        counts = [sample.value for sample in buckets]
        check(counts == sorted(counts), buckets)
        check(buckets[-1].labels["le"] == "+Inf", buckets)
        total = [sample.value for sample in family.samples if sample.name.endswith("_count")]
        check(total == [counts[-1]], family)


def main(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        check(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers)
        text = answer.read().decode("utf-8")
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    check(len(set(names)) == len(names), names)
    samples = []
    for family in families:
        check_family(family)
        samples += [(sample.name, sample.labels, sample.value) for sample in family.samples]
    keys = {(name, tuple(sorted(labels.items()))) for name, labels, _ in samples}
    check(len(keys) == len(samples), "two samples have the same name and labels")
    print(json.dumps(samples))


main(*sys.argv[1:])
