"""The measurements of start-and-memory.sh.

start_and_memory.py start BLASTER CLIENT_CPU SINK_CPU RUNS
start_and_memory.py memory BLASTER CLIENT_CPU SINK_HOST TAPE_BYTES SECONDS CONNECTIONS
start_and_memory.py tape BLASTER CLIENT_CPU SINK_HOST SECONDS
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from statistics import median

START_TARGET_MS = 100
MEMORY_TARGET_MIB = 64
PER_CONNECTION_TARGET_KIB = 4
TAPE_TARGET = 1.1
CONNECTIONS = 64


def first_request_ms(command, listener):
    """From just before the process is made to the first bytes of a request on any of its connections."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    opened = []
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while time.monotonic() < begin + 10:
                for key, _ in selector.select(timeout=1):
                    if key.fileobj is listener:
                        connection, _ = listener.accept()
                        opened.append(connection)
                        selector.register(connection, selectors.EVENT_READ)
                    elif key.fileobj.recv(16).startswith(b"POST"):
                        return (time.monotonic() - begin) * 1000
                if child.poll() is not None:
                    sys.exit(f"blaster ended before it sent anything: {child.stderr.read().decode()}")
        sys.exit("no request within 10 s")
    finally:
        child.kill()
        child.wait()
        for connection in opened:
            connection.close()


def start(blaster, client_cpu, sink_cpu, runs):
    os.sched_setaffinity(0, {int(sink_cpu)})
    print("| load | first request after, median | fastest | slowest | target |\n|---|---|---|---|---|")
    for what, flags in [("10,000/s (default)", []), ("1,000,000/s", ["--rps", "1000000"])]:
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            host = f"127.0.0.1:{listener.getsockname()[1]}"
            command = ["taskset", "-c", f"{sink_cpu},{client_cpu}", blaster, "--cores", client_cpu, "--quiet", *flags, host]
            times = [first_request_ms(command, listener) for _ in range(int(runs))]
        kept = "PASS" if median(times) <= START_TARGET_MS else "miss"
        print(f"| {what} | {median(times):.1f} ms | {min(times):.1f} ms | {max(times):.1f} ms | at most {START_TARGET_MS} ms: {kept} |")


def resident_kib(blaster, client_cpu, host, seconds, connections, *flags):
    """Resident memory of a run at its most and as it was for most of the time, and its report."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [blaster, "--cores", client_cpu, "-c", str(connections), "-d", f"{seconds}s", *flags,
                   "--json", report.name, "--quiet", host]  # fmt: skip
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        peak, samples = 0, []
        deadline = time.monotonic() + float(seconds) + 120
        while child.poll() is None:
            if time.monotonic() > deadline:
                child.kill()
                sys.exit(f"blaster did not end with {connections} connections")
            try:
                with open(f"/proc/{child.pid}/status") as status:
                    sizes = {line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("VmHWM", "VmRSS"))}
                # A process that is ending has none.
                peak = max(peak, sizes.get("VmHWM", 0))
                samples.append(sizes.get("VmRSS", 0))
            except OSError:
                break
            time.sleep(0.02)
        if child.wait() not in (0, 3):
            sys.exit(f"blaster ended with {child.returncode}: {child.stderr.read().decode()}")
        return peak, median(samples), json.load(report)


def tape(blaster, client_cpu, host, seconds):
    """What 100,000 requests of the mixture take beyond a run with the fewest it can have."""
    flags = ["--rps", "1000", "--batch", "1:100,10:10,100:3"]
    sizes = [resident_kib(blaster, client_cpu, host, seconds, CONNECTIONS, *flags, "--tape", str(n)) for n in (1, 100_000)]
    (_, least, few), (peak, most, many) = sizes
    needed = many["plan"]["tape_bytes"] - few["plan"]["tape_bytes"]
    taken = round((most - least) * 1024)
    kept = "PASS" if taken <= TAPE_TARGET * needed else "miss"
    print("| requests on the tape | bytes of them | resident beyond those of the shortest tape | ratio | peak while they are made | target |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {many['plan']['tape_requests']:,} | {needed:,} | {taken:,} | {taken / needed:.3f} | {peak / 1024:.0f} MiB "
        f"| at most {TAPE_TARGET}: {kept} |"
    )


def memory(blaster, client_cpu, host, tape_bytes, seconds, connections):
    connections = int(connections)
    print("| connections | open at once | peak resident | beyond the tape | target |\n|---|---|---|---|---|")
    few, _, report = resident_kib(blaster, client_cpu, host, seconds, CONNECTIONS, "--rps", "50000")
    beyond = few / 1024 - int(tape_bytes) / 1048576
    kept = "PASS" if beyond <= MEMORY_TARGET_MIB else "miss"
    print(f"| {CONNECTIONS} | {report['connections']['peak']} | {few / 1024:.1f} MiB | {beyond:.1f} MiB | at most {MEMORY_TARGET_MIB} MiB: {kept} |")
    many, _, report = resident_kib(blaster, client_cpu, host, seconds, connections, "--rps", "50000")
    each = (many - few) / (connections - CONNECTIONS)
    peak = report["connections"]["peak"]
    kept = "miss: not all of them were open" if peak < connections else "PASS" if each <= PER_CONNECTION_TARGET_KIB else "miss"
    print(
        f"| {connections:,} | {peak:,} | {many / 1024:.1f} MiB | {each:.2f} KiB more for each connection "
        f"| at most {PER_CONNECTION_TARGET_KIB} KiB: {kept} |"
    )


if __name__ == "__main__":
    {"start": start, "memory": memory, "tape": tape}[sys.argv[1]](*sys.argv[2:])
