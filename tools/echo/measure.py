"""Echoes a second of an echo server in plain `socket` and `threading`: on threading, on `lwp run --green`, on gevent.

    python tools/echo/measure.py [--connections 10,100,1000] [--rounds 5] [--seconds 1] [--calls]

The server has one core, the load another.  Rounds are interleaved, so that what else the machine does meets all alike:
read the medians as ratios to threading.  `us` is the server's processor time for an echo, which other load disturbs
less.  --calls: counts the server's system calls with strace, an echo each.  --ways green=PYTHON: another checkout's.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
WAYS = {
    "threading": ["{python}", "{server}"],
    "run": ["{python}", "-m", "runtime", "run", "{server}"],
    "green": ["{python}", "-m", "runtime", "run", "--green", "{server}"],
    "gevent": ["{python}", "{server}", "gevent"],
}


@contextmanager
def served(way: str, python: str, core: int, *before: str) -> Iterator[tuple[int, int]]:
    """The port, and the process id."""
    name = way.split("-")[0]
    command = [part.format(python=python, server=HERE / "server.py") for part in WAYS[name]]
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *before, *command], stdout=subprocess.PIPE, text=True, cwd="/"
    )
    assert process.stdout
    port, pid = map(int, process.stdout.readline().split())
    try:
        yield port, pid
    finally:
        os.kill(pid, signal.SIGTERM)
        process.wait()


def used(pid: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(program: Path, core: int, port: int, connections: int, seconds: float) -> float:
    command = ["taskset", "-c", str(core), str(program), str(port), str(connections), str(seconds)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def calls(way: str, python: str, program: Path, cores: list[int], connections: int, folder: str) -> str:
    """System calls an echo, those that are more than one in a hundred."""
    trace = Path(folder, "trace")
    with served(way, python, cores[0], "strace", "-f", "-qq", "-c", "-o", str(trace)) as (port, _):
        echoes = load(program, cores[-1], port, connections, 3) * 3
    found = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", trace.read_text(), re.MULTILINE)
    each = {name: int(count) / echoes for count, name in found if name != "total"}
    return ", ".join(f"{name} {count:.2f}" for name, count in each.items() if count > 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="10,100,1000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--ways", nargs="*", default=["threading", "green", "gevent"])
    parser.add_argument("--calls", action="store_true")
    options = parser.parse_args()
    ways = dict((one.split("=") if "=" in one else (one, sys.executable)) for one in options.ways)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "load")
        subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "load.c")], check=True)
        for connections in map(int, options.connections.split(",")):
            if options.calls and shutil.which("strace"):
                for way, python in ways.items():
                    print(connections, way, calls(way, python, program, cores, connections, folder), flush=True)
                continue
            rates: dict[str, list[float]] = {way: [] for way in ways}
            costs: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, python in ways.items():
                    with served(way, python, cores[0]) as (port, pid):
                        time.sleep(0.1)
                        before = used(pid)
                        rate = load(program, cores[-1], port, connections, options.seconds)
                        rates[way].append(rate)
                        costs[way].append((used(pid) - before) / (rate * options.seconds) * 1e6)
            base = statistics.median(rates["threading"]) if "threading" in ways else 1
            for way in ways:
                rate = statistics.median(rates[way])
                cost = statistics.median(costs[way])
                print(f"{connections:6} {way:12} {rate:10,.0f}/s {rate / base:6.2f} {cost:6.1f} us", flush=True)


if __name__ == "__main__":
    main()
