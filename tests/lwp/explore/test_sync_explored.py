"""The contracts of runtime.sync that Python code sees, in every order: the runtime explores itself.

What is small is explored exhaustively (dpor), the rest by chance, with timeouts that come early.  Where threading
promises the same, its own classes pass the same programs in the same orders.
"""

from __future__ import annotations

import queue
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from corpus import started, together
from explored import by_chance, in_every_order

from runtime import sync


class Inside:
    """A thread that enters must be alone."""

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> None:
        assert not self._taken
        self._taken = True
        time.sleep(0)  # here the others may try

    def __exit__(self, *_: object) -> None:
        self._taken = False


_NAMES = ("Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier")
Classes = SimpleNamespace  # since install() puts ours in the place of threading's wherever a module has a name for them
OURS, STOCK = (Classes(**{name: getattr(module, name) for name in _NAMES}) for module in (sync, threading))

pytestmark = pytest.mark.loads  # what replaces blocking calls: ssl

both = pytest.mark.parametrize("of", [OURS, STOCK], ids=["ours", "threading"])


# ---- locks -----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
@in_every_order
def test_one_thread_holds_a_lock(of: Classes, kind: str) -> None:
    lock, inside = getattr(of, kind)(), Inside()

    def hold() -> None:
        with lock, inside:
            pass

    together(hold, hold)
    assert lock.acquire(blocking=False)


@both
def test_of_two_tries_one_succeeds_and_a_timeout_takes_nothing(of: Classes) -> None:
    def test() -> None:
        lock = of.Lock()
        taken: list[str] = []

        def attempt() -> None:
            if lock.acquire(blocking=False):
                taken.append("try")

        def patient() -> None:
            if lock.acquire(timeout=1):
                taken.append("timeout")

        together(attempt, attempt, patient)
        assert len(taken) == 1
        assert lock.locked()

    in_every_order(test)()
    by_chance(3000)(test)()


@both
@in_every_order
def test_an_rlock_is_free_after_as_many_releases(of: Classes) -> None:
    lock, inside = of.RLock(), Inside()

    def twice() -> None:
        with lock:
            with lock, inside:
                pass
            with inside:
                pass

    together(twice, twice)
    with pytest.raises(RuntimeError):
        lock.release()


# ---- conditions ------------------------------------------------------------------------------------------------------


@both
@by_chance(3000)
def test_notify_wakes_waiters_in_order_of_arrival(of: Classes) -> None:
    condition = of.Condition()
    waiting: list[int] = []
    woken: list[int] = []

    def wait(me: int) -> None:
        with condition:
            waiting.append(me)
            condition.wait()
            woken.append(me)

    threads = [started(partial(wait, number)) for number in range(2)]
    while len(waiting) < 2:
        time.sleep(0.1)
    with condition:
        condition.notify(1)
    threads[waiting[0]].join()
    assert woken == waiting[:1]
    with condition:
        condition.notify(1)
    threads[waiting[1]].join()
    assert woken == waiting


@both
def test_notify_all_wakes_all_and_each_has_the_lock_alone(of: Classes) -> None:
    orders: set[tuple[int, ...]] = set()

    def test() -> None:
        condition, inside = of.Condition(), Inside()
        go: list[int] = []
        order: list[int] = []

        def wait(me: int) -> None:
            with condition:
                while not go:
                    condition.wait()
                with inside:
                    order.append(me)

        def wake() -> None:
            with condition:
                go.append(1)
                condition.notify_all()

        together(lambda: wait(0), lambda: wait(1), wake)
        assert sorted(order) == [0, 1]
        orders.add(tuple(order))

    in_every_order(test)()
    assert orders == {(0, 1), (1, 0)}


@both
@by_chance(3000)
def test_a_notification_that_meets_a_timeout_goes_to_another(of: Classes) -> None:
    condition = of.Condition()
    results: list[bool] = []
    waiting, expected = 0, False

    def wait(timeout: float) -> None:
        nonlocal waiting
        with condition:
            waiting += 1
            results.append(condition.wait(timeout))
            waiting -= 1

    def wake() -> None:
        nonlocal expected
        with condition:
            expected = waiting > 0
            condition.notify(1)

    together(lambda: wait(1), lambda: wait(2), wake)
    # One whose time was up before, and that has not had the lock since, was counted as waiting all the same.
    assert results.count(True) <= expected


# ---- events ----------------------------------------------------------------------------------------------------------


@both
@in_every_order
def test_an_event_lets_all_go(of: Classes) -> None:
    event = of.Event()

    def wait() -> None:
        assert event.wait()

    together(wait, wait, event.set)
    assert event.is_set()


@both
@in_every_order
def test_two_threads_take_turns_by_events(of: Classes) -> None:
    mine, yours = of.Event(), of.Event()
    turns: list[str] = []

    def take_turns(me: str, wait: Any, tell: Any) -> None:
        for _ in range(2):
            wait.wait()
            wait.clear()
            turns.append(me)
            tell.set()

    mine.set()
    together(lambda: take_turns("a", mine, yours), lambda: take_turns("b", yours, mine))
    assert turns == ["a", "b", "a", "b"]


# ---- semaphores ------------------------------------------------------------------------------------------------------


@both
@by_chance(3000)
def test_a_semaphore_lets_in_as_many_as_it_has_permits(of: Classes) -> None:
    permits = of.Semaphore(2)
    inside = 0

    def enter() -> None:
        nonlocal inside
        with permits:
            inside += 1
            time.sleep(0)
            assert inside <= 2
            inside -= 1

    together(enter, enter, enter)
    assert permits.acquire(blocking=False)
    assert permits.acquire(blocking=False)
    assert not permits.acquire(blocking=False)


@both
@by_chance(3000)
def test_no_permit_is_lost_to_a_timeout(of: Classes) -> None:
    permits = of.BoundedSemaphore(1)

    def patient() -> None:
        if permits.acquire(timeout=1):
            permits.release()

    together(patient, patient, patient)
    assert permits.acquire(blocking=False)
    permits.release()
    with pytest.raises(ValueError, match="too many"):
        permits.release()


@both
@in_every_order
def test_several_permits_at_once(of: Classes) -> None:
    permits = of.Semaphore(0)
    together(permits.acquire, permits.acquire, lambda: permits.release(2))
    assert not permits.acquire(blocking=False)


# ---- barriers --------------------------------------------------------------------------------------------------------


@both
@by_chance(3000)
def test_a_barrier_gives_each_its_number_and_acts_once(of: Classes) -> None:
    acted: list[int] = []
    numbers: list[int] = []
    barrier = of.Barrier(2, action=lambda: acted.append(len(numbers)))

    def twice() -> None:
        numbers.append(barrier.wait())
        numbers.append(barrier.wait())

    together(twice, twice)
    assert sorted(numbers) == [0, 0, 1, 1]
    assert len(acted) == 2
    assert not barrier.broken


@both
def test_reset_breaks_waiters_and_leaves_the_barrier_whole(of: Classes) -> None:
    ends: set[str] = set()

    def test() -> None:
        barrier = of.Barrier(2)

        def wait() -> None:
            try:
                barrier.wait(1)
                ends.add("passed")
            except threading.BrokenBarrierError:
                ends.add("broken")

        first = started(wait)
        barrier.reset()
        second = started(wait)
        first.join()
        second.join()
        assert barrier.n_waiting == 0

    by_chance(3000)(test)()
    assert ends == {"passed", "broken"}


@both
@by_chance(3000)
def test_a_barrier_whose_waiter_gives_up_is_broken_for_all(of: Classes) -> None:
    barrier = of.Barrier(2)
    ends: list[bool] = []

    def wait(timeout: float | None) -> None:
        try:
            barrier.wait(timeout)
            ends.append(True)
        except threading.BrokenBarrierError:
            ends.append(False)

    together(lambda: wait(1), lambda: wait(None))
    assert ends in ([True, True], [False, False])
    assert barrier.broken is not ends[0]


# ---- what is made of them --------------------------------------------------------------------------------------------


@by_chance(3000)
def test_a_queue_keeps_its_order_and_its_bound() -> None:
    items: queue.Queue[int] = queue.Queue(1)
    got: list[int] = []

    def put() -> None:
        for i in range(3):
            items.put(i)
            assert items.qsize() <= 1

    def get() -> None:
        for _ in range(3):
            got.append(items.get())
            items.task_done()

    together(put, get)
    items.join()
    assert got == [0, 1, 2]
