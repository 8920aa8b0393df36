"""The tables of open-loop.sh, from the reports in a folder: NAME.N.json, with NAME.N.lost and NAME.N.sink beside it."""

import json
import math
import pathlib
import sys
from collections import defaultdict
from datetime import datetime

# name: (what, own lateness median and p99 in ns at most)
TARGETS = {"million": ("1,000,000/s", 50_000, 1_000_000), "depth-1": ("50,000/s, depth 1", 5_000, 50_000)}


def us(ns):
    return "–" if ns is None else f"{ns / 1000:,.1f} µs" if ns < 1e6 else f"{ns / 1e6:,.2f} ms"


def lost_by_second(report, samples):
    """[stolen s, waited s] by second of the run, from samples that end at their time stamp."""
    begin = datetime.fromisoformat(report["started_at"].replace("Z", "+00:00")).timestamp()
    by_second = defaultdict(lambda: [0.0, 0.0])
    for line in samples.read_text().splitlines():
        stamp, stolen, waited = map(float, line.split())
        second = by_second[math.floor(stamp - 0.05 - begin)]
        second[0] += stolen
        second[1] += waited
    return by_second


def main(folder):
    folder = pathlib.Path(folder)
    outliers = []
    print("| load | run | scheduled | sent | errors | backlog | sink counted | own lateness p50 | p99 | max | stolen | waited | verdict | |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name, (load, p50_max, p99_max) in TARGETS.items():
        for path in sorted(folder.glob(f"{name}.*.json")):
            report = json.loads(path.read_text())
            requests, own = report["requests"], report["lateness_ns"]["own"]
            errors = sum(requests["errors"].values()) + requests["unexpected_status"]
            unsent = sum(requests["unsent"].values())
            counted = int(path.with_suffix(".sink").read_text())
            lost = lost_by_second(report, path.with_suffix(".lost"))
            stolen, waited = (sum(lost[s][i] for s in range(round(report["duration_s"]))) for i in (0, 1))
            complete = requests["sent"] == requests["scheduled"] == counted and errors == 0 and unsent == 0
            in_time = own["p50"] is not None and own["p50"] <= p50_max and own["p99"] <= p99_max
            kept = "PASS" if complete and in_time else "miss" + ("" if complete else ": not all sent and answered") + (
                "" if in_time else f": p50 at most {us(p50_max)}, p99 {us(p99_max)}"
            )
            reasons = " ".join(reason["code"] for reason in report["verdict"]["reasons"])
            print(
                f"| {load} | {path.stem.split('.')[1]} | {requests['scheduled']:,} | {requests['sent']:,} | {errors} | {unsent} "
                f"| {counted:,} | {us(own['p50'])} | {us(own['p99'])} | {us(own['max'])} | {1000 * stolen:.0f} ms | {1000 * waited:.1f} ms "
                f"| {report['verdict']['status']} {reasons} | {kept} |"
            )
            for row in report["intervals"]:
                worst = row["max_ns"]
                if row["completed"] + row["errors"] > 0 and (worst is None or worst > p99_max):
                    second = round(row["t_s"])
                    outliers.append((load, path.stem.split(".")[1], second, row, lost[second]))
    print(
        "\nStolen: CPU time the hypervisor took from both cores. Waited: time that blaster's threads were ready to run and other"
        " processes of this machine had the CPU. Lateness by second is not reported; a second's longest response time bounds it"
        " from above. The seconds in which that bound is over the p99 target:\n"
    )
    if not outliers:
        print("none")
        return
    print("| load | run | second | response p99 | longest | backlog at its end | stolen | waited |\n|---|---|---|---|---|---|---|---|")
    # The worst are the ones to explain.
    outliers.sort(key=lambda each: -(each[3]["max_ns"] or float("inf")))
    for load, run, second, row, (stolen, waited) in outliers[:20]:
        print(
            f"| {load} | {run} | {second} | {us(row['p99_ns'])} | {us(row['max_ns'])} | {row['backlog_end']} "
            f"| {1000 * stolen:.0f} ms | {1000 * waited:.1f} ms |"
        )
    explained = sum(1 for *_, (stolen, waited) in outliers if stolen + waited > 0.001)
    print(f"\n{len(outliers)} such seconds, the worst 20 shown; in {explained} of them more than 1 ms was stolen or waited for.")


main(sys.argv[1])
