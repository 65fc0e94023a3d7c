"""What a second LWP brings on a free-threaded CPython, in turns with one: threads that compute, and green threads that
give way after each turn.

    chrt -f 5 python tools/parallel.py     by root, for seconds: so that other work doesn't share the processors
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import runtime
from runtime.scheduler import Scheduler, yield_

ROUNDS = 7
LOOPS = 700_000


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


def main() -> None:
    kinds: dict[str, Callable[[int], None]] = {
        "green, 2 LWPs": run_green,
        "runtime.Thread": lambda count: run_threads(runtime.Thread, count),
        "threading.Thread": lambda count: run_threads(threading.Thread, count),
    }
    ratios: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, run in kinds.items():
            ratios[name].append(2 * seconds(lambda run=run: run(1)) / seconds(lambda run=run: run(2)))  # type: ignore[misc]
    print("what two threads compute, as a multiple of what one does:")
    for name, found in ratios.items():
        low, median, high = statistics.quantiles(found, n=4)
        print(f"  {name:18} {median:.2f} ({low:.2f} to {high:.2f})")
    print("8 green threads that give way, microseconds a turn:")
    for loops, turns in ((0, 20_000), (30, 10_000), (100, 6_000), (300, 2_000), (1_000, 600)):
        pairs = [(run_turns(1, turns, loops), run_turns(2, turns, loops)) for _ in range(ROUNDS)]
        one, two = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"  one LWP {one:6.2f}   two {two:6.2f}   {one / two:.2f} times")


if __name__ == "__main__":
    main()
