"""Reads an interval log and a report with PyPI's hdrhistogram, and holds them to each other: hlog.py LOG REPORT."""

import base64
import json
import re
import sys

from hdrh.histogram import HdrHistogram

LINE = re.compile(r"^(?:Tag=(?P<tag>[^,]*),)?(?P<start>[0-9.]+),(?P<length>[0-9.]+),(?P<max>[0-9.]+),(?P<data>\S+)$")


def counts(histogram):
    """Bucket for bucket, the empty ones left out."""
    return {item.value_iterated_to: item.count_added_in_this_iter_step for item in histogram.get_recorded_iterator()}


def main(log_path, report_path):
    report = json.load(open(report_path))
    whole = {}
    lines = 0
    for line in open(log_path):
        match = LINE.match(line.strip())
        if line.startswith(("#", '"')) or match is None:
            assert line.startswith(("#", '"')), f"no line of an interval log: {line!r}"
            continue
        histogram = HdrHistogram.decode(match["data"])
        assert counts(HdrHistogram.decode(histogram.encode())) == counts(histogram), "it does not survive being written again"
        series = whole.setdefault(match["tag"] or "", {})
        for value, count in counts(histogram).items():
            series[value] = series.get(value, 0) + count
        lines += 1
    of_report = counts(HdrHistogram.decode(report["histograms"]["response_time"]))
    matching = [tag for tag, series in whole.items() if series == of_report]
    print(f"\n### The interval log, read by PyPI's hdrhistogram\n")
    print(f"- {lines} histograms read, series {sorted(whole)}; each written again by it and read once more: equal counts.")
    assert matching, {tag: (sum(series.values()), len(series)) for tag, series in whole.items()} | {"report": sum(of_report.values())}
    total = sum(of_report.values())
    print(
        f"- The sum of all intervals is the report's response_time histogram: {total:,} times in {len(of_report):,} buckets, "
        f"0 counts differ; the report counts {report['response_time_ns']['count']:,}."
    )
    assert total + report["response_time_ns"]["unanswered"] == report["response_time_ns"]["count"] or total == report["response_time_ns"]["count"]


main(*sys.argv[1:])
