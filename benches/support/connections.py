"""The measurement of connections.sh.

connections.py BLASTER COORDINATOR WORK CLIENT_CPU TARGET PARTS CONNECTIONS CONNECT_RATE SECONDS SINK_PIDS
"""

import json
import pathlib
import subprocess
import sys
import time

EVERY_S = 10
FEW = 64
LIMIT_MIB = 1024
# What auto comes to depends on the connections of a process; several of them share the ports of the same addresses.
FOR_SEVERAL = "127.0.0.1-127.0.0.16"


def say(text):
    print(text, file=sys.stderr, flush=True)


def status_kib(pid, name):
    """A line of a process's status in KiB; 0 of one that is gone."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name + ":")), 0)


def children(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def slab_kib():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Slab:"))


class Bench:
    def __init__(self, arguments):
        (self.blaster, self.coordinator, self.work, self.cpu, self.target) = arguments[:5]
        (self.parts, self.connections, self.rate, self.seconds) = map(int, arguments[5:9])
        self.sources = "auto" if self.parts == 1 else FOR_SEVERAL
        self.sinks = [int(pid) for pid in arguments[9].split(",")]

    def command(self, connections, seconds, report):
        flags = ["--connections", str(connections), "--rps", str(max(connections // EVERY_S, 10)), "--duration", f"{seconds}s"]
        flags += ["--source-ips", self.sources, "--connect-rate", str(self.rate), "--seed", "42", "--quiet", "--allow-invalid"]
        flags += ["--json", report, "--target", self.target]
        if self.parts == 1:
            return [self.blaster, "--cores", self.cpu, *flags]
        # By a mask, so that agents know that their CPU is not theirs alone.
        return ["taskset", "-c", self.cpu, self.coordinator, "run", "--local", str(self.parts), *flags]

    def run(self, connections, seconds):
        """The report, the most memory that all processes of the client took together, and what the kernel took beside."""
        report = str(pathlib.Path(self.work, "report.json"))
        before = slab_kib()
        process = subprocess.Popen(self.command(connections, seconds, report), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        client = slab = 0
        while process.poll() is None:
            own = [process.pid, *children(process.pid)]
            client = max(client, sum(status_kib(pid, "VmRSS") for pid in own))
            slab = max(slab, slab_kib() - before)
            time.sleep(0.2)
        said = process.stdout.read()
        if process.returncode not in (0, 3):
            sys.exit(f"the client ended with {process.returncode}: {said}")
        say(said)
        return json.loads(pathlib.Path(report).read_text()), client, slab


def ms(ns):
    return "–" if ns is None else f"{ns / 1e6:,.2f} ms"


def main():
    bench = Bench(sys.argv[1:])
    say(f"{FEW * bench.parts} connections, for what a run takes by itself …")
    _, few_kib, _ = bench.run(FEW * bench.parts, 1)
    say(f"{bench.connections:,} connections …")
    report, kib, slab = bench.run(bench.connections, bench.seconds)
    sink_kib = sum(status_kib(pid, "VmHWM") for pid in bench.sinks)

    connections, requests, opening = report["connections"], report["requests"], report["connect_time_ns"]
    failed, errors = sum(connections["failed"].values()), sum(requests["errors"].values())
    took_s = (connections["opening_ns"] or 0) / 1e9
    lateness = report["lateness_ns"]["own"]
    each = kib * 1024 / bench.connections
    more = (kib - few_kib) * 1024 / bench.connections
    verdict = report["verdict"]
    reasons = ", ".join(sorted({reason["code"] for reason in verdict["reasons"]}))
    how = "one process" if bench.parts == 1 else f"{bench.parts} agents of a coordinator, for want of descriptors"
    print(f"{bench.connections:,} connections, a request each every {EVERY_S} s for {bench.seconds} s; {how}; `--source-ips {bench.sources} --connect-rate {bench.rate}`.\n")
    print("| | |\n|---|---|")
    for name, value in [
        ("opened / failed / opened again", f"{connections['opened']:,} / {failed:,} / {connections['reopened']:,}"),
        ("open at the end of each second, at most", f"{connections['peak']:,}"),
        ("opening all of them", f"{took_s:.1f} s"),
        ("opening one: p50 / p99 / max", " / ".join(ms(opening[key]) for key in ("p50", "p99", "max"))),
        ("requests sent / ok / errors", f"{requests['sent']:,} / {requests['ok']:,} / {errors:,}"),
        ("response time p50 / p99", f"{ms(report['response_time_ns']['p50'])} / {ms(report['response_time_ns']['p99'])}"),
        ("own lateness p50 / p99", f"{ms(lateness['p50'])} / {ms(lateness['p99'])}"),
        ("verdict", f"{verdict['status']} {reasons}"),
        ("client's memory (resident)", f"{kib / 1024:,.0f} MiB, {each:,.0f} bytes a connection ({more:,.0f} beyond what {FEW} a process take)"),
        ("target's memory (resident)", f"{sink_kib / 1024:,.0f} MiB"),
        ("the kernel's, for both ends", f"{slab / 1024:,.0f} MiB of slab, {slab * 1024 / bench.connections:,.0f} bytes a connection"),
    ]:
        print(f"| {name} | {value} |")
    wanted = {
        "all opened": connections["opened"] == bench.connections,
        "none failed or closed": failed == 0 and connections["reopened"] == 0,
        "all stayed open": connections["peak"] == bench.connections and report["intervals"][-1]["connections"] == bench.connections,
        "every request answered": requests["sent"] > 0 and requests["ok"] == requests["scheduled"],
        f"at most {LIMIT_MIB} MiB": kib <= LIMIT_MIB * 1024,
    }
    print("\n" + " · ".join(f"{name}: {'PASS' if held else 'MISS'}" for name, held in wanted.items()))
    sys.exit(0 if all(wanted.values()) else 1)


main()
