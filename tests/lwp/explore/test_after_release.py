"""By chance a thread also stops behind the release of a lock or a semaphore; dfs and dpor don't stop it there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest import run_threads

from lwp.explore import Outcome, explore, replay
from lwp.explore.run.plans import Plan
from lwp.explore.run.session import Session
from runtime.sync import Semaphore


def gap(lock: Any) -> Callable[[], None]:
    """One thread reads what it has found under the lock when it has let the lock go; another one clears that."""

    def test() -> None:
        pools = [["connection"]]
        found: list[str] = []

        def use() -> None:
            with lock:
                pool = pools[0]
            found.extend(pool)

        def evict() -> None:
            with lock:
                old, pools[0] = pools[0], ["connection"]
            old.clear()

        run_threads(threading.Thread(target=work) for work in (use, evict))
        assert found

    return test


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (threading.Lock, "after it releases lock"),
        (threading.RLock, "after it releases lock"),
        (Semaphore, "after it gives back a permit of lock"),
        (threading.Condition, "after it releases lock"),
    ],
)
@pytest.mark.parametrize("strategy", ["pct", "random", "pos"])
def test_what_is_read_after_a_release_is_found_at_sync(make: Callable[[], Any], said: str, strategy: str) -> None:
    test = gap(make())
    found = explore(test, granularity="sync", strategy=strategy, runs=200, seed=1)
    assert found.outcome is Outcome.FOUND
    assert said in found.report()
    assert found.token.startswith("sr-")
    assert found.deviations == 1
    again = replay(test, found.token)
    assert again.token == found.token
    assert again.replays == 10


@pytest.mark.parametrize("strategy", ["dfs", "dpor"])
def test_searches_through_all_schedules_have_no_more_of_them(strategy: str) -> None:
    tried = explore(gap(threading.Lock()), granularity="sync", strategy=strategy)
    assert tried.outcome is Outcome.EXHAUSTED
    assert tried.runs < 200


def test_a_find_that_needs_no_such_point_has_none() -> None:
    lock = threading.Lock()
    seen: list[int] = []

    def add() -> None:
        with lock:
            last = seen[-1]
        with lock:
            seen.append(last + 1)

    def test() -> None:
        seen[:] = [0]
        run_threads(threading.Thread(target=add) for _ in range(2))
        assert seen[-1] == 2

    for strategy in ("pct", "random", "pos"):
        found = explore(test, granularity="sync", strategy=strategy, runs=200, seed=1)
        assert found.token.startswith("s-")


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, Semaphore])
def test_a_release_that_leaves_an_rlock_held_is_none(make: Callable[[], Any]) -> None:
    lock = make()

    def test() -> None:
        gate = threading.Lock()
        gate.acquire()
        other = threading.Thread(target=gate.acquire)  # a thread that is alone is not stopped
        other.start()
        with lock:
            if make is threading.RLock:
                with lock:
                    pass
        gate.release()
        other.join()

    with Session() as session:
        before, after = (session.run(test, Plan(after=after)).steps for after in (False, True))
    assert after == before + 2
