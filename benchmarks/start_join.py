"""What it costs to start and join a thread: runtime.Thread against threading.Thread, in one process, taking turns.

Each round times a batch of each, in an order that turns from round to round, so that a slow moment of the
machine hits all alike.  threading.Thread is there twice: the ratio of the two says how much of a difference is
noise.  Pinned, the whole process runs on one core; unpinned, each wake-up of an idle core is part of the time.
The garbage collector is off meanwhile, as in timeit.

    python benchmarks/start_join.py [--rounds N] [--batch N] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from common import machine, spread

import runtime
from runtime.scheduler import spawn


def nothing() -> None:
    pass


def stock() -> None:
    thread = threading.Thread(target=nothing)
    thread.start()
    thread.join()


def ours() -> None:
    thread = runtime.Thread(target=nothing)
    thread.start()
    thread.join()


def bare() -> None:
    spawn(nothing).join()


STOCK, AGAIN, OURS, BARE = "threading.Thread", "threading.Thread again", "runtime.Thread", "scheduler.spawn"
CASES: dict[str, Callable[[], None]] = {STOCK: stock, OURS: ours, AGAIN: stock, BARE: bare}


@dataclass(frozen=True)
class Result:
    """One case over all rounds."""

    name: str
    pinned: bool
    microseconds: float  #: a start and join, median of the rounds
    low: float  #: 10th percentile
    high: float  #: 90th percentile
    ratio: float  #: to threading.Thread in the same round, median
    ratio_low: float  #: 10th percentile
    ratio_high: float  #: 90th percentile


def batch(case: Callable[[], None], size: int) -> float:
    """Microseconds of one call, mean of `size` in a row."""
    begin = time.perf_counter_ns()
    for _ in range(size):
        case()
    return (time.perf_counter_ns() - begin) / size / 1000


def measure(rounds: int, size: int, pinned: bool) -> list[Result]:
    cores = os.sched_getaffinity(0)
    if pinned:
        os.sched_setaffinity(0, {max(cores)})  # threads inherit it; the lowest core often serves the interrupts
    times: dict[str, list[float]] = {name: [] for name in CASES}
    try:
        for case in CASES.values():
            batch(case, size)  # warm caches, contexts made
        for turn in range(rounds):
            names = list(CASES)
            names = names[turn % len(names) :] + names[: turn % len(names)]
            for name in names if turn % 2 else reversed(names):
                gc.collect()
                times[name].append(batch(CASES[name], size))
    finally:
        os.sched_setaffinity(0, cores)
    results = []
    for name, of_case in times.items():
        ratios = [mine / base for mine, base in zip(of_case, times[STOCK], strict=True)]
        low, middle, high = spread(of_case)
        ratio_low, ratio, ratio_high = spread(ratios)
        results.append(Result(name, pinned, middle, low, high, ratio, ratio_low, ratio_high))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=200, help="threads of each kind in a round (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.rounds < 2 or options.batch < 1:
        parser.error("there must be at least 2 rounds and 1 thread in a batch")

    about = machine()
    gc.disable()
    results = [result for pinned in (True, False) for result in measure(options.rounds, options.batch, pinned)]
    if options.json:
        found = [asdict(result) for result in results]
        print(json.dumps({"machine": about, **vars(options), "results": found}, indent=2))
        return
    for name, value in about.items():
        print(f"{name + ':':11}{value}")
    print(f"{options.rounds} rounds of {options.batch} threads: median [10th .. 90th percentile] of the rounds\n")
    print(f"{'start + join':24}{'':10}{'us':>7}{'':18}{'ratio':>7}")
    for r in results:
        microseconds = f"{r.microseconds:7.1f}  [{r.low:.1f} .. {r.high:.1f}]"
        ratio = f"{r.ratio:7.2f}  [{r.ratio_low:.2f} .. {r.ratio_high:.2f}]"
        print(f"{r.name:24}{'pinned' if r.pinned else 'unpinned':10}{microseconds:25}{ratio}")


if __name__ == "__main__":
    main()
