"""What sweep.sh measures and prints: `capacity URL SECONDS`, `table FOLDER NAME…`."""

import json
import pathlib
import re
import sys
import time
import urllib.request

CLOSE = 0.02  # of the capacity: how far an answer may be from it


def answered(url):
    """Requests answered as wanted so far, and when that was read."""
    with urllib.request.urlopen(url, timeout=5) as page:
        text = page.read().decode()
    return int(re.search(r'^sink_answers_total\{kind="ok"\} (\d+)$', text, re.M)[1]), time.monotonic()


def capacity(url, seconds):
    time.sleep(1)
    before, began = answered(url)
    time.sleep(float(seconds))
    after, ended = answered(url)
    print(round((after - before) / (ended - began), 1))


def ms(ns):
    return "endless" if ns is None else f"{ns / 1e6:.1f} ms"


def recovery(sweep):
    each = sweep.get("recovery") or []
    words = {True: "stuck", False: "back", None: "unknown"}
    return ", ".join(f"{r['overload']:g}x: {words[r.get('metastable')]}" for r in each) or "–"


def row(name, path, capacity):
    sweep = json.loads(path.read_text())
    answer = sweep["answers"][0]
    holds, interval = answer["holds_rps"], answer["interval"]
    off = "–"
    if capacity and holds:
        share = holds / capacity - 1
        off = f"{share:+.2%} {'PASS' if abs(share) <= CLOSE else 'FAIL'}"
    ends = "–".join("?" if end is None else f"{end:,.0f}" for end in interval)
    shown = "–" if holds is None else f"{holds:,.0f} ({ends})"
    trials = sum(len(step["trials"]) for step in sweep["steps"])
    knee, collapse = (f"{sweep[key]:,.0f}" if sweep.get(key) else "–" for key in ("knee_rps", "collapse_rps"))
    took = f"{sweep['duration_s']:.0f} s"
    print(
        f"| {name} | {answer['slo']} | {capacity:,.0f} | {shown} | {off} | {answer['limited_by']} | {knee} | {collapse} | {recovery(sweep)} | {trials} | {took} |"
        if capacity
        else f"| {name} | {answer['slo']} | – | {shown} | – | {answer['limited_by']} | {knee} | {collapse} | {recovery(sweep)} | {trials} | {took} |"
    )


UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def wrk(text):
    """Of each step: connections, requests answered as wanted a second, 99th percentile in seconds, share that was not."""
    for step in text.split("connections ")[1:]:
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", step)[1])
        total = int(re.search(r"(\d+) requests in", step)[1])
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", step)
        share = int(refused[1]) / max(total, 1) if refused else 0.0
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", step).groups()
        yield int(step.split()[0]), rate * (1 - share), float(number) * UNITS[unit], share


def doubling(name, path):
    print(f"\n{name}, doubling wrk's connections:\n")
    print("| connections | answered as wanted/s | p99 | refused |\n|---|---|---|---|")
    for connections, rate, p99, share in wrk(path.read_text()):
        print(f"| {connections} | {rate:,.0f} | {p99 * 1e3:.1f} ms | {share:.1%} |")


def table(folder, *names):
    print("| target | objective | capacity/s | holds/s (95 %) | off | limited by | knee | collapse | after an overload | trials | took |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    folder = pathlib.Path(folder)
    for name in names:
        known = folder / f"{name}.capacity"
        capacity = float(known.read_text()) if known.exists() else None
        for path in sorted(folder.glob(f"{name}.*.json")):
            row(name, path, capacity)
    for name in names:
        steps = folder / f"{name}.wrk"
        if steps.exists():
            doubling(name, steps)


if __name__ == "__main__":
    {"capacity": capacity, "table": table}[sys.argv[1]](*sys.argv[2:])
