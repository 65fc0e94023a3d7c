"""What a second LWP brings on a free-threaded CPython, in turns with one: threads that compute, beside processes, which
show what the machine can do, and green threads that give way after each turn.

    chrt -f 5 python tools/parallel.py     by root, for seconds: so that other work doesn't share the processors
"""

from __future__ import annotations

import os
import resource
import statistics
import threading
import time
from collections.abc import Callable

import runtime
from runtime.scheduler import Scheduler, yield_

ROUNDS = 7
LOOPS = 10_000_000


def compute() -> None:
    for number in range(LOOPS):
        number & 3


def give_way(turns: int, loops: int) -> None:
    for _ in range(turns):
        for _ in range(loops):
            pass
        yield_()


def run_green(count: int) -> None:
    green = Scheduler(lwps=2)
    for _ in range(count):
        green.spawn(compute)
    green.run()


def run_threads(kind: type[threading.Thread], count: int) -> None:
    threads = [kind(target=compute) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_processes(count: int) -> None:
    """What the machine can do: these share nothing."""
    children = []
    for _ in range(count):
        if (child := os.fork()) == 0:
            compute()
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def run_turns(lwps: int, turns: int, loops: int) -> float:
    """Microseconds of a turn."""
    green = Scheduler(lwps=lwps)
    for _ in range(8):
        green.spawn(give_way, turns, loops)
    return seconds(green.run) / (8 * turns) * 1e6


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def processor_time() -> float:
    """Of this process and the children that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(run: Callable[[int], None], count: int) -> tuple[float, float]:
    """Seconds until all have ended, and of the processors."""
    before = processor_time()
    elapsed = seconds(lambda: run(count))
    return elapsed, processor_time() - before


def main() -> None:
    kinds: dict[str, Callable[[int], None]] = {
        "green, 2 LWPs": run_green,
        "runtime.Thread": lambda count: run_threads(runtime.Thread, count),
        "threading.Thread": lambda count: run_threads(threading.Thread, count),
        "processes": run_processes,
    }
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, run in kinds.items():
            times[name].append((*measure(run, 1), *measure(run, 2)))
    print(
        "one thread that computes, two, milliseconds; what two do as a multiple of what one does; processor time of two"
    )
    print("as a multiple of one's, which is 2 if neither waits for the other's memory:")
    for name, found in times.items():
        one, _, two, _ = (statistics.median(column) * 1e3 for column in zip(*found, strict=True))
        low, median, high = statistics.quantiles([2 * one / two for one, _, two, _ in found], n=4)
        worked = statistics.median(two / one for _, one, _, two in found)
        print(f"  {name:18} one {one:5.0f}   two {two:5.0f}   {median:.2f} ({low:.2f} to {high:.2f})   {worked:.2f}")
    print("8 green threads that give way, microseconds a turn:")
    for loops, turns in ((0, 20_000), (30, 10_000), (100, 6_000), (300, 2_000), (1_000, 600)):
        pairs = [(run_turns(1, turns, loops), run_turns(2, turns, loops)) for _ in range(ROUNDS)]
        one, two = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"  one LWP {one:6.2f}   two {two:6.2f}   {one / two:.2f} times")


if __name__ == "__main__":
    main()
