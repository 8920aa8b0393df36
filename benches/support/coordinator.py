"""The measurements of coordinator.sh.

coordinator.py skew COORDINATOR BLASTER WORK RUNS CROOKED_RUNS
coordinator.py cpu COORDINATOR BLASTER WORK SINK_HOST CLIENT_CPU PAIRS SECONDS
coordinator.py ceiling COORDINATOR WORK ROUNDS SECONDS
"""

import heapq
import json
import os
import pathlib
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from statistics import median

SKEW_TARGET_NS = 100_000
CPU_TARGET = 1.03
HOURS_APART_S = (7_200, 36_000)
RATE = 2_000
MIX = "1:100,10:10,100:3"


def say(text):
    print(text, file=sys.stderr, flush=True)


def us(ns):
    return f"{ns / 1000:,.1f} µs"


class Agent:
    """An agent that ends when this process does; `wrapper` is a command that starts it elsewhere."""

    def __init__(self, coordinator, secret, flags=(), wrapper=()):
        command = [*wrapper, coordinator, "agent", "--child", "--listen", "127.0.0.1:0", "--secret", secret, *flags]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            sys.exit(f"no agent: {self.process.stderr.read()}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)


class Relay(threading.Thread):
    """A UDP relay to an agent that keeps datagrams for so long, one way and the other."""

    def __init__(self, agent, there_s, back_s):
        super().__init__(daemon=True)
        host, port = agent.rsplit(":", 1)
        self.agent, self.delays = (host, int(port)), (there_s, back_s)
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.front.getsockname()[1]
        self.over = False
        self.start()

    def run(self):
        selector = selectors.DefaultSelector()
        selector.register(self.front, selectors.EVENT_READ)
        backs, leaders, agenda, order = {}, {}, [], 0
        while not self.over:
            wait = max(0.0, agenda[0][0] - time.monotonic()) if agenda else 0.1
            for key, _ in selector.select(min(wait, 0.1)):
                data, source = key.fileobj.recvfrom(65536)
                order += 1
                if key.fileobj is self.front:
                    if source not in backs:
                        back = backs[source] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        leaders[back] = source
                        selector.register(back, selectors.EVENT_READ)
                    heapq.heappush(agenda, (time.monotonic() + self.delays[0], order, backs[source], self.agent, data))
                else:
                    heapq.heappush(agenda, (time.monotonic() + self.delays[1], order, self.front, leaders[key.fileobj], data))
            while agenda and agenda[0][0] <= time.monotonic():
                _, _, out, to, data = heapq.heappop(agenda)
                out.sendto(data, to)


def lead(coordinator, work, nodes, secret, flags):
    """A run over these nodes; its report."""
    hosts, report = pathlib.Path(work, "hosts.txt"), pathlib.Path(work, "lead.json")
    hosts.write_text("".join(f"{node}\n" for node in nodes))
    command = [coordinator, "run", "--nodes", hosts, "--secret", secret, "--quiet", "--allow-invalid", "--json", report, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"coordinator ended with {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(report.read_text())


def new_secret(coordinator, work):
    secret = pathlib.Path(work, "secret")
    if not secret.exists():
        subprocess.run([coordinator, "secret", secret], check=True, capture_output=True)
    return str(secret)


def judge(report, truths):
    """Start skew as the run says it and by the true clock, and whether each bound holds the truth.

    With uniform arrivals node i's first request is intended i / rate after the start.
    """
    said, true, held, bounds = [], [], [], []
    for index, (node, truth) in enumerate(zip(report["nodes"], truths)):
        clock, sent = node["clock"], node["first_sent_ns"] - index * 1e9 / RATE
        said.append(sent)
        # What the estimate is wrong by is in what was said.
        true.append(sent + clock["ahead_ns"] - truth)
        held.append(abs(clock["ahead_ns"] - truth) <= clock["bound_ns"])
        bounds.append(clock["bound_ns"])
    return max(said) - min(said), max(true) - min(true), held, max(bounds)


def skew(coordinator, blaster, work, runs, crooked_runs):
    secret = new_secret(coordinator, work)
    sink = subprocess.Popen(
        [blaster, "sink", "--listen", "127.0.0.1:0", "--cores", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    target = next(word for line in sink.stdout for word in line.split() if word.startswith("127.0.0.1:") or "127.0.0.1:" in word)
    target = target[target.index("127.0.0.1:"):].rstrip("/,.")
    threading.Thread(target=sink.stdout.read, daemon=True).start()
    flags = ["--target", target, "--rps", str(RATE), "-d", "500ms", "-c", "4", "--arrivals", "uniform", "--seed", "42"]
    rows = []

    def series(name, count, nodes, truths, judged):
        said, true, held, bounds = [], [], [], []
        for run in range(count):
            a, b, c, d = judge(lead(coordinator, work, nodes, secret, flags), truths)
            said.append(a), true.append(b), held.extend(c), bounds.append(d)
            say(f"skew, {name}, {run + 1} of {count}: {us(b)}, said {us(a)}, bound {us(d)}, holds {c}")
        true.sort()
        p99 = true[min(len(true) - 1, -(-len(true) * 99 // 100) - 1)]
        passes = ("yes" if p99 <= SKEW_TARGET_NS else "**no**") if judged else "(not asked)"
        rows.append(
            f"| {name} | {count} | {us(median(true))} | {us(p99)} | {us(max(true))} | {passes} | {us(median(said))} "
            f"| {us(median(bounds))} | {sum(held)} of {len(held)} |"
        )

    agents = [Agent(coordinator, secret, ["--cores", str(cpu)]) for cpu in (0, 1)]
    series("plain", runs, [agent.address for agent in agents], [0, 0], True)
    relays = [Relay(agents[0].address, 0.001, 0.006), Relay(agents[1].address, 0.0, 0.0)]
    series("ways of one node 1 ms and 6 ms", crooked_runs, [relay.address for relay in relays], [0, 0], False)
    for relay in relays:
        relay.over = True
    for agent in agents:
        agent.end()
    elsewhere = ["unshare", "--time", "--fork"]
    if subprocess.run([*elsewhere, "--monotonic", "1", "true"], capture_output=True).returncode == 0:
        agents = [
            Agent(coordinator, secret, ["--cores", str(cpu)], [*elsewhere, "--monotonic", str(ahead), "--boottime", str(ahead)])
            for cpu, ahead in zip((0, 1), HOURS_APART_S)
        ]
        truths = [ahead * 1_000_000_000 for ahead in HOURS_APART_S]
        series("monotonic clocks 2 h and 10 h ahead", crooked_runs, [agent.address for agent in agents], truths, True)
        for agent in agents:
            agent.end()
    else:
        say("SKIPPED: monotonic clocks hours apart: no time namespaces here (root)")
    sink.terminate()
    sink.wait()
    print(f"\n### Start of two agents\n\nSkew by the true clock, `--rps {RATE} --arrivals uniform`: first sends, less what the schedule sets between them.\n")
    print("| | runs | median | p99 | max | p99 ≤ 100 µs | as the run says it | stated bound, median | bound holds the truth |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


def cpu_ns(pid):
    """CPU time of all threads of a process so far."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def seen(sink_host):
    """Requests that the target has counted."""
    text = urllib.request.urlopen(f"http://{sink_host}/metrics", timeout=5).read().decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("sink_requests_total "))


def cost_ns(command, pid_of, sink_host, seconds):
    """CPU time per request of a process in the midst of a run that `command` makes, and the requests per second."""
    before = seen(sink_host)
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while seen(sink_host) == before:
        if child.poll() is not None:
            sys.exit(f"it ended with {child.returncode}: {child.stderr.read().decode()[-1000:]}")
        time.sleep(0.02)
    time.sleep(0.5)
    pid = pid_of(child)
    began, requests, cpu_began = time.monotonic(), seen(sink_host), cpu_ns(pid)
    time.sleep(seconds)
    requests, spent, took = seen(sink_host) - requests, cpu_ns(pid) - cpu_began, time.monotonic() - began
    if child.wait(timeout=60) != 0:
        sys.exit(f"it ended with {child.returncode}: {child.stderr.read().decode()[-1000:]}")
    return spent / requests, requests / took


def cpu(coordinator, blaster, work, sink_host, client_cpu, pairs, seconds):
    secret = new_secret(coordinator, work)
    alone = ["taskset", "-c", client_cpu]
    agent = Agent(coordinator, secret, (), alone)
    hosts = pathlib.Path(work, "hosts.txt")
    hosts.write_text(f"{agent.address}\n")
    print("\n### CPU time per request, agent and plain blaster\n")
    print(
        f"All threads of the process on one CPU, {seconds} s in the midst of a run, requests counted by the null target on the other CPU; "
        f"{pairs} pairs in turn. Closed loop but for the first row: an open one turns as often as it can at such rates.\n"
    )
    print("| | depth | requests/s, median | blaster, ns | agent, ns | ratio, median | 95 % interval | at most 1.03 |")
    print("|---|---|---|---|---|---|---|---|")
    for asked, depth in (("50k", 1), ("max", 1), ("max", 16), ("max", 64)):
        flags = ["--target", sink_host, "--expect", "200", "--rps", asked, "-d", f"{seconds + 1}s", "-p", str(depth), "--seed", "42"]
        flags += ["--quiet", "--allow-invalid", *(["--arrivals", "poisson"] if asked != "max" else [])]
        lead_from = ["taskset", "-c", "0", coordinator, "run", "--nodes", hosts, "--secret", secret]
        runs = {
            "blaster": lambda: cost_ns([*alone, blaster, *flags], lambda child: child.pid, sink_host, seconds),
            "agent": lambda: cost_ns([*lead_from, *flags], lambda _: agent.process.pid, sink_host, seconds),
        }
        costs, rates = {who: [] for who in runs}, []
        for pair in range(pairs):
            for who in runs if pair % 2 == 0 else reversed(runs):
                cost, rate = runs[who]()
                costs[who].append(cost)
                rates.append(rate)
            say(f"cpu, {asked}, depth {depth}, pair {pair + 1} of {pairs}: " + ", ".join(f"{who} {costs[who][-1]:.0f} ns" for who in costs))
        ratios = sorted(b / a for a, b in zip(costs["blaster"], costs["agent"]))
        low, high = median_interval(ratios)
        verdict = "yes" if median(ratios) <= CPU_TARGET else "**no**"
        name = "open loop" if asked != "max" else "closed loop"
        print(
            f"| {name} | {depth} | {median(rates):,.0f} | {median(costs['blaster']):.0f} | {median(costs['agent']):.0f} "
            f"| {median(ratios):.3f} | {low:.3f}–{high:.3f} | {verdict} |",
            flush=True,
        )
    agent.end()


def median_interval(ordered):
    """Of the median, by resampling with a fixed seed."""
    draw = random.Random(1)
    medians = sorted(median(draw.choices(ordered, k=len(ordered))) for _ in range(2000))
    return medians[50], medians[1949]


def ceiling(coordinator, work, rounds, seconds):
    cases = [
        ("mixture, 1.13M/s asked", ["--batch", MIX, "--rps", "1.13m"]),
        ("mixture, as fast as answers come", ["--batch", MIX, "--rps", "max", "-p", "64"]),
        ("single events, as fast as answers come", ["--batch", "1", "--rps", "max", "-p", "64"]),
    ]
    print("\n### Two agents and their target on this machine\n")
    print(f"`coordinator run --local 2 …`, {seconds} s, medians of {rounds} rounds; agents and target share {os.cpu_count()} CPUs.\n")
    print("| | requests/s sent | events/s sent | events/s acknowledged | of the rate asked | verdicts |")
    print("|---|---|---|---|---|---|")
    results = {name: [] for name, _ in cases}
    for _ in range(rounds):
        for name, flags in cases:
            report = pathlib.Path(work, "ceiling.json")
            command = [coordinator, "run", "--local", "2", "-d", f"{seconds}s", "--quiet", "--allow-invalid", "--json", report, *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                sys.exit(f"coordinator ended with {done.returncode}: {done.stderr[-1000:]}")
            results[name].append(json.loads(report.read_text()))
            say(f"{name}: {results[name][-1]['rate']['sent']:,.0f}/s, {results[name][-1]['verdict']['status']}")
    for name, _ in cases:
        of = lambda pick: median(pick(report) for report in results[name])
        offered = results[name][0]["rate"]["offered"]
        sent = of(lambda report: report["rate"]["sent"])
        events = of(lambda report: report["events"]["sent"] / report["duration_s"])
        heard = of(lambda report: report["rate"]["events_acknowledged"])
        verdicts = ", ".join(report["verdict"]["status"] for report in results[name])
        share = f"{sent / offered:.1%}" if offered else "–"
        print(f"| {name} | {sent:,.0f} | {events:,.0f} | {heard:,.0f} | {share} | {verdicts} |")


def main(what, *rest):
    if what == "skew":
        skew(*rest[:3], *map(int, rest[3:]))
    elif what == "cpu":
        cpu(*rest[:5], *map(int, rest[5:]))
    else:
        ceiling(*rest[:2], *map(int, rest[2:]))


main(*sys.argv[1:])
