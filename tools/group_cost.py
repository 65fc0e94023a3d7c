"""How long a group of many threads takes to end when one fails: from that until all are cancelled and joined.

python tools/group_cost.py [--threads N] [--rounds N] [--green]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from statistics import quantiles

from runtime import Group
from runtime.scheduler import Scheduler
from runtime.sync import Event


def seconds(threads: int, green: bool) -> float:
    """One group; its tasks wait for an event that is never set."""
    never, fail = Event(), Event()
    failed = [0.0]

    def fails() -> None:
        fail.wait()
        failed[0] = time.perf_counter()
        raise ValueError

    with contextlib.suppress(ExceptionGroup), Group(scheduler=Scheduler() if green else None) as group:
        group.spawn(fails)
        for _ in range(threads - 1):
            group.spawn(never.wait)
        fail.set()
    return time.perf_counter() - failed[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--green", action="store_true", help="green threads")
    options = parser.parse_args()
    taken = [seconds(options.threads, options.green) for _ in range(options.rounds)]
    left = len(os.listdir("/proc/self/task"))
    low, median, high = quantiles(taken, n=4)
    print(f"{options.threads} threads: {median:.3f} s (quartiles {low:.3f} to {high:.3f}), LWPs left: {left}")


if __name__ == "__main__":
    main()
