"""Threads on two processors that take turns look for each other before they sleep (python/threads/spin.c).

Counted, not timed: how often the process sleeps.  Beside other load a thread may lose its processor at any moment, so
of many short rows of turns one must pass almost without a sleep; when each wait is a sleep, none does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Child, needs_gil
from without_pytest import run_threads

import runtime
from runtime.sync import Condition, Event, Lock, Semaphore

SELDOM = 0.5  # sleeps in a turn of both threads, which are two or more when each wait is a sleep


def fewest_sleeps(way: str, enough: float, seconds: float, pinned: bool) -> None:
    """Prints the sleeps in a turn, of the row of turns with the fewest: until they are enough, or the time is over."""
    import queue
    import resource

    runtime.install()
    processors = sorted(os.sched_getaffinity(0))[: 1 if pinned else 2]
    os.sched_setaffinity(0, processors)

    def hands(give: Callable[[Any], object], take: Callable[[Any], object], there: Any, back: Any) -> Any:
        return lambda: (give(there), take(back)), lambda: (take(there), give(back))

    def condition() -> Any:
        changed, mine = Condition(), True

        def turn(me: bool) -> None:
            nonlocal mine
            with changed:
                while mine is not me:
                    changed.wait()
                mine = not me
                changed.notify()

        return lambda: turn(True), lambda: turn(False)

    def locks() -> Any:
        there, back = Lock(), Lock()
        there.acquire()
        back.acquire()
        return hands(lambda one: one.release(), lambda one: one.acquire(), there, back)

    ways: dict[str, Callable[[], Any]] = {
        "Semaphore": lambda: hands(Semaphore.release, Semaphore.acquire, Semaphore(0), Semaphore(0)),
        "Lock": locks,
        "Event": lambda: hands(Event.set, lambda one: (one.wait(), one.clear()), Event(), Event()),
        "Condition": condition,
        "queue.Queue": lambda: hands(lambda one: one.put(1), lambda one: one.get(), queue.Queue(1), queue.Queue(1)),
    }
    mine, other = ways[way]()
    last = fewest = float("inf")

    def partner() -> None:
        os.sched_setaffinity(0, processors[:1])
        done = 0
        while done < last:
            other()
            done += 1

    def count() -> None:
        nonlocal last, fewest
        os.sched_setaffinity(0, processors[-1:])
        row, turns, until = 100, 0, time.monotonic() + seconds
        while fewest > enough and time.monotonic() < until:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            for _ in range(row):
                mine()
            turns += row
            fewest = min(fewest, (resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before) / row)
        last = turns + 1
        mine()

    run_threads([runtime.Thread(target=partner), runtime.Thread(target=count)])
    print(fewest)


@needs_gil("a yield counts as a sleep")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
@pytest.mark.parametrize("way", ["Semaphore", "Lock", "Event", "Condition", "queue.Queue"])
def test_two_threads_on_two_processors_take_turns_without_sleeping(way: str, child: Child) -> None:
    assert float(child(fewest_sleeps, way, SELDOM, 40, False).stdout) <= SELDOM


@needs_gil("a yield counts as a sleep")
@pytest.mark.parametrize("way", ["Lock", "Semaphore"])
def test_on_one_processor_each_wait_is_a_sleep(way: str, child: Child) -> None:
    """The other thread can't act while this one looks."""
    assert float(child(fewest_sleeps, way, SELDOM, 0.5, True).stdout) > SELDOM
