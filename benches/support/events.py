"""The tables of events.sh, from the reports in a folder: NAME.N.json, with NAME.N.sink beside it."""

import json
import pathlib
import statistics
import sys

TICKS_PER_S = 100


def us(ns):
    return "–" if ns is None else f"{ns / 1000:,.1f} µs" if ns < 1e6 else f"{ns / 1e6:,.2f} ms"


def runs(folder, name):
    """Report, and the sink's requests, events and busy share, of each run of that name."""
    for path in sorted(folder.glob(f"{name}.*.json"), key=lambda path: int(path.name.split(".")[-2])):
        report = json.loads(path.read_text())
        requests, events, ticks = map(int, path.with_suffix(".sink").read_text().split())
        yield report, requests, events, ticks / TICKS_PER_S / report["duration_s"]


def checked(folder):
    print("\nEvery event checked by the sink (`--validate`):\n")
    print("| load | run | events sent | counted as valid | invalid | occurredAt over 2 ms from its receipt | largest | service time p99 | max | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, load, is_modest in (("millions", "150,000 requests/s of the mixture", False), ("modest", "1,000 requests/s", True)):
        for number, (report, _, events, _) in enumerate(runs(folder, name), 1):
            invalid, skew, far = map(int, (folder / f"{name}.{number}.checked").read_text().split())
            sent, service = report["events"]["sent"], report["service_time_ns"]
            right = invalid == 0 and sent == events and not (is_modest and far)
            print(
                f"| {load} | {number} | {sent:,} | {events:,} | {invalid} | {far:,} | {skew} ms | {us(service['p99'])} | {us(service['max'])} "
                f"| {'PASS' if right else 'miss'} |"
            )


def busy(report):
    return 100 * max(core["busy"] for core in report["generator"]["cores"])


def guide(folder):
    print("| run | scheduled | sent | errors | backlog | events sent | sink counted | events acknowledged | sent | own lateness p50 | p99 "
          "| client core | sink core | verdict | |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for number, (report, requests, events, sink_busy) in enumerate(runs(folder, "guide"), 1):
        counts, own = report["requests"], report["lateness_ns"]["own"]
        errors = sum(counts["errors"].values()) + counts["unexpected_status"]
        backlog = counts["unsent"]["backlog"] + counts["unsent"]["stopped"]
        said = report["events"]
        seconds = report["duration_s"]
        exact = counts["sent"] == requests and said["sent"] == events == said["acknowledged"]
        kept = counts["sent"] >= 0.999 * counts["scheduled"] and errors == 0 and backlog == 0 and exact
        reasons = " ".join(reason["code"] for reason in report["verdict"]["reasons"])
        print(
            f"| {number} | {counts['scheduled']:,} | {counts['sent']:,} | {errors} | {backlog} | {said['sent']:,} | {events:,} "
            f"| {said['acknowledged']:,} ({said['acknowledged_by_status']} by status) "
            f"| {said['sent'] / seconds / 1e6:.2f} M/s, {report['bytes']['sent'] / seconds / 1e9:.2f} GB/s | {us(own['p50'])} | {us(own['p99'])} "
            f"| {busy(report):.0f} % | {100 * sink_busy:.0f} % | {report['verdict']['status']} {reasons} | {'PASS' if kept else 'miss'} |"
        )


def ceilings(folder, names):
    """Per name: medians over rounds of requests/s, events/s, GB/s, client CPU ns a request, busy shares."""
    rows = {}
    for name in names:
        figures = [
            (
                report["rate"]["completed"],
                report["rate"]["events_acknowledged"],
                report["bytes"]["sent"] / report["duration_s"],
                report["generator"]["cpu_ns_per_request"],
                busy(report),
                100 * sink_busy,
            )
            for report, _, _, sink_busy in runs(folder, name)
        ]
        rows[name] = figures
    return rows


def print_ceilings(rows, label):
    print(f"| {label} | requests/s | events/s | GB/s | client CPU a request | client core | sink core |")
    print("|---|---|---|---|---|---|---|")
    for name, figures in rows.items():
        requests, events, bytes_, cpu, client, sink = (statistics.median(column) for column in zip(*figures))
        print(
            f"| {name} | {requests / 1e6:.2f} M | {events / 1e6:.1f} M | {bytes_ / 1e9:.2f} | {cpu:.0f} ns | {client:.0f} % | {sink:.0f} % |"
        )


def main(folder):
    folder = pathlib.Path(folder)
    guide(folder)
    print("\nThe ceiling of one core, into a sink that only frames requests; medians over rounds:\n")
    names = {"fresh": "the mixture", "stale": "the mixture, stale", "single-fresh": "singles", "single-stale": "singles, stale"}
    rows = ceilings(folder, names)
    print_ceilings({names[name]: figures for name, figures in rows.items()}, "events")
    for what, fresh, stale in (("The mixture", "fresh", "stale"), ("Singles", "single-fresh", "single-stale")):
        rate, cpu = (statistics.median(a[i] / b[i] for a, b in zip(rows[fresh], rows[stale])) for i in (0, 3))
        kept = "PASS" if rate >= 0.9 else "miss"
        print(f"\n{what}, fresh by stale, median of rounds: rate x{rate:.2f}, CPU a request x{cpu:.2f} ({kept}: rate at least x0.90).")
    tapes = sorted({int(path.name.split(".")[0].split("-")[1]) for path in folder.glob("tape-*.json")})
    print("\nBy the size of the tape, every event fresh:\n")
    print_ceilings(ceilings(folder, [f"tape-{size}" for size in tapes]), "requests on the tape")
    checked(folder)


main(sys.argv[1])
