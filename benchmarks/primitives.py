"""What the primitives cost: runtime.sync and runtime.tls against threading, in one process, taking turns.

Each round times every operation with threading's class, with ours, and with threading's again: the ratio of the two
stock columns says how much of a difference is noise.  The process is pinned to one core, so that no wake-up of an idle
core is part of the time.  All threads are threading.Thread, unmodified.

    python benchmarks/primitives.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import queue
import threading
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from common import machine, spread

from runtime import sync, tls


class Stock:
    """threading's."""

    Lock, RLock, Event, Semaphore = threading.Lock, threading.RLock, threading.Event, threading.Semaphore
    Condition, Barrier, local = threading.Condition, threading.Barrier, threading.local


class Ours:
    """The runtime's."""

    Lock, RLock, Event, Semaphore = sync.Lock, sync.RLock, sync.Event, sync.Semaphore
    Condition, Barrier, local = sync.Condition, sync.Barrier, tls.local


def statement(
    text: str, make: Callable[[Any], Any], before: Callable[[Any], None] = lambda x: None
) -> Callable[[Any], float]:
    """Nanoseconds of a statement about x, made by make()."""

    def run(kind: Any) -> float:
        x = make(kind)
        before(x)
        return timeit.timeit(text, globals={"x": x}, number=20_000) / 20_000 * 1e9

    return run


@contextmanager
def threads(count: int, target: Callable[[], None]) -> Iterator[None]:
    running = [threading.Thread(target=target) for _ in range(count)]
    for thread in running:
        thread.start()
    yield
    for thread in running:
        thread.join()


def event_ping_pong(kind: Any, turns: int = 1000) -> float:
    there, back = kind.Event(), kind.Event()

    def other() -> None:
        for _ in range(turns):
            there.wait()
            there.clear()
            back.set()

    begin = time.perf_counter_ns()
    with threads(1, other):
        for _ in range(turns):
            there.set()
            back.wait()
            back.clear()
    return (time.perf_counter_ns() - begin) / turns


def semaphore_ping_pong(kind: Any, turns: int = 1000) -> float:
    there, back = kind.Semaphore(0), kind.Semaphore(0)

    def other() -> None:
        for _ in range(turns):
            there.acquire()
            back.release()

    begin = time.perf_counter_ns()
    with threads(1, other):
        for _ in range(turns):
            there.release()
            back.acquire()
    return (time.perf_counter_ns() - begin) / turns


def condition_ping_pong(kind: Any, turns: int = 1000) -> float:
    condition, mine = kind.Condition(), True

    def other() -> None:
        nonlocal mine
        with condition:
            for _ in range(turns):
                while mine:
                    condition.wait()
                mine = True
                condition.notify()

    begin = time.perf_counter_ns()
    with threads(1, other), condition:
        for _ in range(turns):
            mine = False
            condition.notify()
            while not mine:
                condition.wait()
    return (time.perf_counter_ns() - begin) / turns


def notify_all(kind: Any, turns: int = 100, sleepers: int = 16) -> float:
    condition, turn, seen = kind.Condition(), 0, 0

    def other() -> None:
        nonlocal seen
        with condition:
            for wanted in range(1, turns + 1):
                while turn < wanted:
                    condition.wait()
                seen += 1
                if seen == sleepers * wanted:
                    condition.notify_all()

    begin = time.perf_counter_ns()
    with threads(sleepers, other), condition:
        for wanted in range(1, turns + 1):
            turn = wanted
            condition.notify_all()
            while seen < sleepers * wanted:
                condition.wait()
    return (time.perf_counter_ns() - begin) / turns


def barrier(kind: Any, turns: int = 300) -> float:
    meeting = kind.Barrier(4)

    def other() -> None:
        for _ in range(turns):
            meeting.wait()

    begin = time.perf_counter_ns()
    with threads(4, other):
        pass
    return (time.perf_counter_ns() - begin) / turns


def queue_hand_over(kind: Any, turns: int = 1000) -> float:
    stock = {name: getattr(threading, name) for name in ("Lock", "Condition")}
    try:
        for name in stock:
            setattr(threading, name, getattr(kind, name))
        channel: queue.Queue[int] = queue.Queue(1)
    finally:
        for name, value in stock.items():
            setattr(threading, name, value)

    def other() -> None:
        for _ in range(turns):
            channel.get()

    begin = time.perf_counter_ns()
    with threads(1, other):
        for i in range(turns):
            channel.put(i)
    return (time.perf_counter_ns() - begin) / turns


def set_attribute(x: Any) -> None:
    x.value = 1


OPERATIONS: dict[str, Callable[[Any], float]] = {
    "Lock acquire, release": statement("x.acquire(); x.release()", lambda k: k.Lock()),
    "with Lock": statement("with x: pass", lambda k: k.Lock()),
    "Lock, failed try": statement("x.acquire(False)", lambda k: k.Lock(), lambda x: x.acquire()),
    "RLock acquire, release": statement("x.acquire(); x.release()", lambda k: k.RLock()),
    "Event set, clear": statement("x.set(); x.clear()", lambda k: k.Event()),
    "Event wait when set": statement("x.wait()", lambda k: k.Event(), lambda x: x.set()),
    "Semaphore acquire, release": statement("x.acquire(); x.release()", lambda k: k.Semaphore()),
    "local, get": statement("x.value", lambda k: k.local(), set_attribute),
    "Event ping-pong": event_ping_pong,
    "Semaphore ping-pong": semaphore_ping_pong,
    "Condition ping-pong": condition_ping_pong,
    "Condition notify_all to 16": notify_all,
    "Barrier of 4": barrier,
    "queue.Queue(1) hand-over": queue_hand_over,
}


@dataclass(frozen=True)
class Result:
    """One operation over all rounds; ratios as 10th percentile, median, 90th percentile."""

    operation: str
    stock_ns: float  #: median
    ours_ns: float  #: median
    ratio: tuple[float, float, float]  #: ours to stock in the same round
    noise: tuple[float, float, float]  #: stock to stock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("there must be at least 2 rounds")

    about = machine()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    gc.disable()
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in OPERATIONS}
    for operation in OPERATIONS.values():
        operation(Stock), operation(Ours)
    for _ in range(options.rounds):
        gc.collect()
        for name, operation in OPERATIONS.items():
            times[name].append((operation(Stock), operation(Ours), operation(Stock)))
    results = [
        Result(
            name,
            spread([stock for stock, _, _ in found])[1],
            spread([ours for _, ours, _ in found])[1],
            spread([ours / stock for stock, ours, _ in found]),
            spread([again / stock for stock, _, again in found]),
        )
        for name, found in times.items()
    ]
    if options.json:
        found_all = [asdict(result) for result in results]
        print(json.dumps({"machine": about, **vars(options), "results": found_all}, indent=2))
        return
    for name, value in about.items():
        print(f"{name + ':':11}{value}")
    print(f"{options.rounds} rounds, pinned: median, and [10th .. 90th percentile] of the ratios\n")
    print(f"{'ns':28}{'threading':>10}{'runtime':>10}  {'ratio':22}{'threading again':22}")
    for r in results:
        ratio, noise = ("{1:.2f} [{0:.2f} .. {2:.2f}]".format(*three) for three in (r.ratio, r.noise))
        print(f"{r.operation:28}{r.stock_ns:10.0f}{r.ours_ns:10.0f}  {ratio:22}{noise}")


if __name__ == "__main__":
    main()
