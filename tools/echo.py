"""An echo server's system calls, or its rate, also on another checkout: `bench io` for who works on the sockets.

    python tools/echo.py [--connections 10,100] [--seconds 1] [--rounds 5] [--calls] [WAY | WAY=PYTHON ...]

WAY is one of its ways: threading, run, green, gevent ...  With =PYTHON it is run by the Python of another checkout's
virtual environment, in turns with the others, so that a change is compared with what was before it:

    python tools/echo.py threading green green=../before/.venv/bin/python

--calls: system calls for an echo, as strace counts them, those that are more than one in a hundred.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import replace

from bench.serving import BASE, WAYS, Load, Row, Way, ask_load, compare, cores, descriptors, served

CALLS = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(?P<count>\d+)(?: +\d+)? +(?P<name>(?!total)\w+)$", re.MULTILINE)


def way_of(text: str) -> Way:
    name, _, python = text.partition("=")
    way = next(way for way in WAYS if way.name == name)
    return replace(way, name=text, python=python)


def calls(row: Row, way: Way, load: Load) -> str:
    with tempfile.NamedTemporaryFile("r") as trace:
        before = ("strace", "-f", "-qq", "-c", "-o", trace.name)
        with served(row.kind, way, cores(True).server, before) as (port, pid):
            answers = ask_load(row, load, cores(True).load, port, pid)["answers"]
        each = {found["name"]: int(found["count"]) / answers for found in CALLS.finditer(trace.read())}
    return ", ".join(f"{name} {count:.2f}" for name, count in each.items() if count > 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="10,100,1000")
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("ways", nargs="*", default=[BASE, "green"], type=way_of, metavar="WAY")
    options = parser.parse_args()
    rows = [Row("echo", int(number)) for number in options.connections.split(",")]
    load = Load(options.seconds, options.rounds, idle=0)
    if why := descriptors(max(row.connections for row in rows)):
        sys.exit(why)
    for row in rows:
        if options.calls:
            for way in options.ways:
                print(f"{row.connections:6,} {way.name:12} {calls(row, way, load)}", flush=True)
            continue
        found, failed = compare(row, options.ways, load, cores(True), lambda: None)
        for name, figures in found.ways.items():
            ratio = "" if figures.ratio is None else f"{figures.ratio:6.2f}"
            cost = f"{figures.cost_us:6.1f} us"
            print(f"{row.connections:6,} {name:12} {figures.rate:10,.0f}/s {ratio} {cost}", flush=True)
        for name, reason in failed.items():
            print(f"{row.connections:6,} {name}: {reason}", flush=True)


if __name__ == "__main__":
    main()
