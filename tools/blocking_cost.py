"""What it costs a green thread to have a helper do a call, and what it would cost to do more calls that way.

    python tools/blocking_cost.py [--rounds N]

On one LWP, with nothing else to run.  Each round does each call in both ways, one after another; shown are the medians
and quartiles of the rounds.  `to a helper` is what docs/green.md says of that call; files are in the working directory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runtime
from runtime.native import on_helper
from runtime.patch import streams
from runtime.scheduler import blocking, spawn

Call = Callable[[], object]
#: Not as names of this module, in which install() would replace them.
STOCK: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in ("read", "write", "fsync")}


def microseconds(call: Call, count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - begin) / count * 1e6


def calls(path: Path) -> dict[str, tuple[int, Call, Call]]:
    """How often in a round, and the two ways."""
    fd = os.open(path, os.O_RDWR)
    large = bytes(1 << 20)

    def at_start(function: Callable[..., object], *args: object) -> Call:
        def call() -> None:
            os.lseek(fd, 0, os.SEEK_SET)
            function(fd, *args)

        return call

    def dirty_then(function: Call) -> Call:
        def call() -> None:
            os.pwrite(fd, b".", 0)
            function()

        return call

    def lines(mode: str, ours: bool) -> Call:
        def call() -> None:
            file = streams.stream(str(path), mode, -1, None, None, None, True) if ours else path.open(mode)
            with file:
                for _ in file:
                    pass

        return call

    return {
        "a call that does nothing: direct, by a helper": (1000, int, lambda: blocking(int)),
        "  by a helper, on an LWP made for it": (200, lambda: blocking(int), lambda: spawn(int).join()),
        "fsync of one byte: stock, by a helper": (
            5,
            dirty_then(lambda: STOCK["fsync"](fd)),
            dirty_then(lambda: os.fsync(fd)),
        ),
        "os.read of 4 KiB in the page cache: stock, asked first": (
            1000,
            at_start(STOCK["read"], 4096),
            at_start(os.read, 4096),
        ),
        "  stock, by a helper": (
            1000,
            at_start(STOCK["read"], 4096),
            at_start(lambda fd, count: on_helper(STOCK["read"], (fd, count), None, True, None), 4096),
        ),
        "os.write of 1 MiB: stock, by a helper": (20, at_start(STOCK["write"], large), at_start(os.write, large)),
        "lines of a text file: stock, through our lock": (1, lines("r", False), lines("r", True)),
        "lines of a binary file: stock, through our lock": (1, lines("rb", False), lines("rb", True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()

    def measure() -> None:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            path = Path(folder, "file")
            path.write_text("a line of a file that is in the page cache\n" * 50_000)
            print(f"{'us a call':<58}{'first':>9}{'second':>9}{'ratio':>8}  quartiles")
            for name, (count, *ways) in calls(path).items():
                taken = [[microseconds(way, count) for way in ways] for _ in range(options.rounds)]
                first, second = (statistics.median(way) for way in zip(*taken, strict=True))
                low, middle, high = statistics.quantiles([b / a for a, b in taken], n=4)
                print(f"{name:<58}{first:>9.2f}{second:>9.2f}{middle:>8.2f}  {low:.2f} to {high:.2f}")

    runtime.install(green=True, time_slice=None)
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()


main()
