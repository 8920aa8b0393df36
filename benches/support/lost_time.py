"""Samples the CPU time a process did not get: lost_time.py PID CPU… writes `unix_s stolen_s waited_s` ten times a second,
until the process ends. Stolen: taken from these CPUs by the hypervisor. Waited: its threads were ready to run and did not
(run_delay, the second figure of /proc/PID/task/TID/schedstat, in ns)."""

import os
import pathlib
import sys
import time

tasks = pathlib.Path("/proc", sys.argv[1], "task")
cpus = {f"cpu{n}" for n in sys.argv[2:]}
tick = os.sysconf("SC_CLK_TCK")


def stolen():
    with open("/proc/stat") as stat:
        fields = (line.split() for line in stat)
        return sum(int(values[8]) for values in fields if values[0] in cpus) / tick


def waited():
    """By thread, so that one that ends takes nothing back."""
    by_thread = {}
    for task in tasks.iterdir():
        try:
            by_thread[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            pass
    return by_thread


def is_running():
    try:
        return (tasks.parent / "stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


stolen_before, waited_before = stolen(), {}
while is_running():
    time.sleep(0.1)
    try:
        waited_now = waited()
    except OSError:
        break
    stolen_now = stolen()
    more = sum(value - waited_before.get(thread, 0.0) for thread, value in waited_now.items())
    print(f"{time.time():.3f} {stolen_now - stolen_before:.2f} {more:.6f}", flush=True)
    stolen_before, waited_before = stolen_now, waited_now
