"""Depth first tries each schedule once, those with few preemptions first, and ends."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import pytest

import runtime
from runtime.explore import Outcome, Result

pytestmark = pytest.mark.loads


def explored(test: Callable[[], object], strategy: str = "dfs", runs: int = 100_000, **options: object) -> Result:
    return runtime.explore(test, strategy=strategy, runs=runs, **{"granularity": "sync", "seed": 1, **options})


def tries(result: Result) -> int:
    """Its runs, but for two of the default schedule that each exploration begins with."""
    return result.runs - 2


def two_threads(steps: int) -> Callable[[], None]:
    """So many operations of the main thread, and as many of one that it has started; neither waits for the other."""

    def test() -> None:
        mine, others = threading.Lock(), threading.Lock()

        def body() -> None:
            for _ in range(steps):
                others.locked()

        threading.Thread(target=body).start()
        for _ in range(steps):
            mine.locked()

    return test


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4])
def test_each_schedule_once(steps: int) -> None:
    result = explored(two_threads(steps))
    # One has its steps and its end, the other one also its begin: any of these may come in any order.
    assert tries(result) == result.distinct == math.comb(2 * steps + 3, steps + 1)
    assert result.outcome is Outcome.EXHAUSTED
    assert result.report().startswith("EXHAUSTED: all schedules that switch threads at operations of primitives")


def test_preemptions_are_bounded() -> None:
    # 4 steps of the main thread, then 5 of the other one.  A preemption cuts a thread's steps, and may leave none.
    # With two the main thread comes back: after 0..3 of its steps, and 1..4 of the other's.
    runs = [tries(explored(two_threads(3), f"dfs:{bound}")) for bound in range(3)]
    assert runs == [1, 1 + 4, 1 + 4 + 4 * 4]
    assert "at most 2 preemptions" in explored(two_threads(3), "dfs:2").report()


def test_without_preemptions_whoever_is_woken_first_may_go_on_first() -> None:
    orders = set()

    def test() -> None:
        order: list[int] = []
        threads = [threading.Thread(target=order.append, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        orders.add(tuple(order))

    result = explored(test, "dfs:0")
    assert result.outcome is Outcome.EXHAUSTED
    assert len(orders) == 6
    # ... and where the main thread can go on, whether it does or not is no choice without a preemption.
    assert tries(result) <= 6 * 2 * 2


def test_a_thread_that_spins_lets_others_go_on() -> None:
    looks = set()

    def test() -> None:
        flag = threading.Event()
        count = 0

        def spin() -> None:
            nonlocal count
            while not flag.is_set():
                count += 1
                time.sleep(0)

        thread = threading.Thread(target=spin)
        thread.start()
        flag.set()
        thread.join()
        looks.add(count)

    result = explored(test)
    assert result.outcome is Outcome.EXHAUSTED
    assert {0, 1, 2} <= looks
    assert "spins" in result.report()


def test_threads_that_spin_on_each_other_end() -> None:
    def test() -> None:
        flags = [threading.Event(), threading.Event()]

        def spin(me: int) -> None:
            flags[me].set()
            while not flags[1 - me].is_set():
                pass

        threads = [threading.Thread(target=spin, args=(me,)) for me in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert explored(test, "dfs:1").outcome is Outcome.EXHAUSTED


def test_a_timeout_may_fire_early() -> None:
    seen = set()

    def test() -> None:
        event = threading.Event()
        thread = threading.Thread(target=event.set)
        thread.start()
        seen.add(event.wait(10))
        thread.join()

    assert explored(test, "dfs:0").outcome is Outcome.EXHAUSTED
    assert seen == {True}
    assert explored(test).outcome is Outcome.EXHAUSTED
    assert seen == {True, False}


def test_what_does_not_repeat_is_inconclusive() -> None:
    runs = 0

    def test() -> None:
        nonlocal runs
        runs += 1
        threads = [threading.Thread(target=int) for _ in range(2 + runs % 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    result = explored(test)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "does not do the same" in result.report()


@pytest.mark.parametrize("name", ["", "none", "dfs:", "dfs:x", "dfs:-1", "pct:0", "pct:10", "random:2", "auto:1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="strategy"):
        explored(int, name)


@pytest.mark.parametrize("name", ["auto", "random", "pct", "pct:3", "pos", "urw", "dfs", "dfs:0"])
def test_strategies_by_name(name: str) -> None:
    assert explored(two_threads(1), name, runs=20).outcome in {Outcome.EXHAUSTED, Outcome.BUDGET_SPENT}
