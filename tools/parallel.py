"""What a second LWP brings on a free-threaded CPython, in turns with one: threads that compute, beside processes, which
show what the machine can do, and green threads that give way after each turn.

A processor that has just run other Python code computes up to a third slower than one that was idle, most likely since
its branch predictor has learnt that code. The kernel puts one thread alone on the idle processor; of two, one gets the
starter's. That looks as if the two were in each other's way. So a second table has each of two processors alone, then
both.

    chrt -f 5 python tools/parallel.py     by root, for seconds: so that other work doesn't share the processors
"""

from __future__ import annotations

import mmap
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import runtime
from runtime.scheduler import Scheduler, yield_

ROUNDS = 7
LOOPS = 10_000_000

Processors = Sequence[int | None]  #: one for each thread; None: where the kernel puts it
Run = Callable[[Processors], None]

#: How long the last thread that was bound to each processor took.
took = memoryview(mmap.mmap(-1, 8 * (1 + max(os.sched_getaffinity(0))))).cast("d")


def compute() -> None:
    for number in range(LOOPS):
        number & 3


def compute_on(cpu: int | None) -> None:
    if cpu is None:
        compute()
    else:
        os.sched_setaffinity(0, {cpu})
        took[cpu] = seconds(compute)


def give_way(turns: int, loops: int) -> None:
    for _ in range(turns):
        for _ in range(loops):
            pass
        yield_()


def run_green(cpus: Processors) -> None:
    green = Scheduler(lwps=2)
    for _ in cpus:
        green.spawn(compute)
    green.run()


def run_threads(kind: type[threading.Thread], cpus: Processors) -> None:
    threads = [kind(target=compute_on, args=(cpu,)) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_processes(cpus: Processors) -> None:
    """What the machine can do: these share nothing but where they write their times."""
    children = []
    for cpu in cpus:
        if (child := os.fork()) == 0:
            compute_on(cpu)
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


def median(values: Iterable[float]) -> str:
    return f"{statistics.median(values) * 1e3:4.0f}"


def quartiles(values: Iterable[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def show_computing(kinds: dict[str, Run]) -> None:
    """Where the kernel puts them."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, run in kinds.items():
            times[name].append((seconds(partial(run, [None])), seconds(partial(run, [None, None]))))
    print("one thread that computes, two, milliseconds; what two do as a multiple of what one does:")
    for name, found in times.items():
        ones, twos = zip(*found, strict=True)
        print(f"  {name:18} one {median(ones)}   two {median(twos)}   {quartiles(2 * one / two for one, two in found)}")


def show_bound(kinds: dict[str, Run]) -> None:
    """Each on a processor of its own, so that it is compared with itself."""
    allowed = os.sched_getaffinity(0)
    pair = starters, other = sorted(allowed)[:2]
    os.sched_setaffinity(0, {starters})
    times: dict[str, list[list[float]]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, run in kinds.items():
            for cpu in pair:
                run([cpu])
            alone = [took[cpu] for cpu in pair]
            run([other, starters])
            times[name].append(alone + [took[cpu] for cpu in pair])
    os.sched_setaffinity(0, allowed)
    print("each bound to a processor, alone, then both at once; their speeds as parts of those alone, summed:")
    for name, found in times.items():
        first, second, with_first, with_second = map(median, zip(*found, strict=True))
        gain = quartiles(one / with_one + two / with_two for one, two, with_one, with_two in found)
        print(f"  {name:18} the starter's {first}, {with_first}   an idle one {second}, {with_second}   {gain}")


def main() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("nothing runs in parallel on one processor: two are needed")
    kinds: dict[str, Run] = {
        "runtime.Thread": lambda cpus: run_threads(runtime.Thread, cpus),
        "threading.Thread": lambda cpus: run_threads(threading.Thread, cpus),
        "processes": run_processes,
    }
    show_computing({"green, 2 LWPs": run_green, **kinds})
    show_bound(kinds)
    print("8 green threads that give way, microseconds a turn:")
    for loops, turns in ((0, 20_000), (30, 10_000), (100, 6_000), (300, 2_000), (1_000, 600)):
        pairs = [(run_turns(1, turns, loops), run_turns(2, turns, loops)) for _ in range(ROUNDS)]
        one, two = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"  one LWP {one:6.2f}   two {two:6.2f}   {one / two:.2f} times")


if __name__ == "__main__":
    main()
