"""The table of side-by-side.sh, from its rows: depth, tool, round, requests, wall s, CPU s, sink CPU s, stolen s, kept idle."""

import sys
from collections import defaultdict
from statistics import median

CPU_TARGETS = {1: 0.8, 16: 0.7, 64: 0.65}  # of wrk's CPU per request
RATE_TARGET = 1.15  # of wrk's requests per second
FULL = 95  # %: a ratio of rates counts only with the client's core above, the sink's below
TOOLS = ["blaster", "wrk", "gcannon", "h2load", "h2load (GET)"]


class Round:
    def __init__(self, requests, wall, cpu, sink_cpu, stolen, idle):
        self.rate = requests / wall
        self.cpu_us = cpu * 1e6 / requests
        self.client = 100 * cpu / wall
        self.sink = 100 * sink_cpu / wall
        self.stolen = 100 * stolen / (2 * wall)
        self.idle = idle


def read(path):
    rounds = defaultdict(dict)
    for line in open(path):
        depth, tool, number, requests, *rest = line.split("\t")
        requests, (wall, cpu, sink, stolen), idle = int(requests), map(float, rest[:4]), int(rest[4])
        rounds[int(depth), tool][int(number)] = Round(requests, wall, cpu, sink, stolen, idle)
    return rounds


def mid(rounds, what):
    return median(getattr(each, what) for each in rounds.values())


def ratio(rounds, depth, tool, other, what):
    """The median over rounds of one tool's figure over the other's in the same round."""
    a, b = rounds.get((depth, tool)), rounds.get((depth, other))
    if not a or not b:
        return None
    return median(getattr(a[n], what) / getattr(b[n], what) for n in a if n in b)


def two(value):
    return "–" if value is None else f"{value:.2f}"


def main(path):
    rounds = read(path)
    print("| depth | tool | requests/s | CPU µs/request (min–max) | client core | sink core | CPU ÷ wrk | CPU ÷ gcannon | rate ÷ wrk |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (depth, tool), each in sorted(rounds.items(), key=lambda item: (item[0][0], TOOLS.index(item[0][1]))):
        cpus = [r.cpu_us for r in each.values()]
        comparable = "GET" not in tool
        ratios = [
            two(ratio(rounds, depth, tool, other, what) if comparable and tool != other else None)
            for other, what in (("wrk", "cpu_us"), ("gcannon", "cpu_us"), ("wrk", "rate"))
        ]
        print(
            f"| {depth} | {tool} | {mid(each, 'rate'):,.0f} | {median(cpus):.3f} ({min(cpus):.3f}–{max(cpus):.3f}) "
            f"| {mid(each, 'client'):.0f} % | {mid(each, 'sink'):.0f} % | {' | '.join(ratios)} |"
        )
    everything = [r for each in rounds.values() for r in each.values()]
    print(
        f"\nMedians of {max(len(each) for each in rounds.values())} alternating rounds; ratios are medians of each round's own. "
        f"Stolen CPU time in them: median {median(r.stolen for r in everything):.1f} %, at most {max(r.stolen for r in everything):.1f} %. "
        f"Rounds kept though neither core was above 80 % busy: {sum(r.idle for r in everything)}.\n"
    )
    print("| target | depth | measured | |\n|---|---|---|---|")
    for depth, most in CPU_TARGETS.items():
        judge(f"CPU/request at most {most} x wrk's", depth, ratio(rounds, depth, "blaster", "wrk", "cpu_us"), most=most)
    for depth in CPU_TARGETS:
        judge("CPU/request at most 1.0 x gcannon's", depth, ratio(rounds, depth, "blaster", "gcannon", "cpu_us"), most=1.0)
    for depth in CPU_TARGETS:
        rate = ratio(rounds, depth, "blaster", "wrk", "rate")
        note = ""
        if rate is not None:
            own = rounds[depth, "blaster"]
            client, sink = mid(own, "client"), mid(own, "sink")
            if sink >= FULL:
                note = f", but the sink's core is full ({sink:.0f} %): this compares sinks, not clients"
            elif client <= FULL:
                note = f", but the client's core is not full ({client:.0f} %): its speed was not the limit"
        judge(f"throughput at least {RATE_TARGET} x wrk's", depth, rate, least=RATE_TARGET, note=note)


def judge(what, depth, value, most=None, least=None, note=""):
    if value is None:
        kept = "not measured"
    else:
        kept = "PASS" if (value <= most if most is not None else value >= least) else "miss"
    print(f"| {what} | {depth} | {two(value)} | {kept}{note} |")


main(sys.argv[1])
