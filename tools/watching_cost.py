"""What it costs a wait to be watched: `python tools/watching_cost.py [THREADS...]`, 2 and 1,000 if none are given.

So many threads stand in a ring, and each wakes the next by a semaphore, on one core.  A recording, and then counting by
lock, begins and ends in turns within one process, so both halves of a pair have the same memory, and the same other
programs beside them.  Prints the processor time of a wait, and the median and standard error of the pairs' differences.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lwp.observe import locks, trace
from runtime import Thread
from runtime.sync import Semaphore

PAIRS, SECONDS, SETTLES = 25, 0.3, 0.05
SIZE = 64 << 20


def take_turns(mine: Semaphore, next_one: Semaphore, turns: list[int], me: int) -> None:
    while True:
        mine.acquire()
        turns[me] += 1
        next_one.release()


def start_ring(threads: int) -> list[int]:
    turns = [0] * threads
    ring = [Semaphore(0) for _ in turns]
    for me in range(threads):
        Thread(target=take_turns, args=(ring[me], ring[(me + 1) % threads], turns, me), daemon=True).start()
    ring[0].release()
    return turns


def cost_of_wait(turns: list[int]) -> float:
    time.sleep(SETTLES)
    before, begin = sum(turns), time.process_time_ns()
    time.sleep(SECONDS)
    return (time.process_time_ns() - begin) / (sum(turns) - before)


def compare(turns: list[int], begin: Callable[[], None], end: Callable[[], None]) -> str:
    costs: tuple[list[float], list[float]] = [], []
    for number in range(2 * PAIRS + 2):
        watched = (number % 2) ^ (number // 2 % 2)  # the one and the other is the first of a pair
        if watched:
            begin()
        costs[watched].append(cost_of_wait(turns))
        if watched:
            end()
    more = [after - before for before, after in zip(costs[0][1:], costs[1][1:], strict=True)]  # the first makes pages
    error = statistics.stdev(more) / len(more) ** 0.5
    return f"{statistics.median(costs[0]):6.0f} ns a wait, {statistics.median(more):+5.0f} (+-{error:.0f}) ns"


def main(threads: int) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    turns = start_ring(threads)
    with tempfile.TemporaryDirectory() as folder:
        record = partial(trace.record, Path(folder) / "records", SIZE)
        print(f"{threads:5} threads, recorded:   ", compare(turns, record, trace.stop), flush=True)
        print(f"{threads:5} threads, by lock:    ", compare(turns, locks.begin, locks.end), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(int(sys.argv[1]))
        os._exit(0)  # the threads wait for ever
    for count in sys.argv[1:] or ("2", "1000"):
        if status := os.spawnv(os.P_WAIT, sys.executable, [sys.executable, __file__, count]):
            sys.exit(status)
