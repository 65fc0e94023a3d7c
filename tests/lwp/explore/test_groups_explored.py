"""Groups and cancellation in many orders: the runtime explores itself.

In each program a task is cancelled while others use a primitive.  What holds in every order: nothing is lost, nothing
is held by nobody, and all have ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from explored import by_chance, finds, in_every_order

from lwp.explore import DeadlockFound
from runtime import Cancelled, Group, shield
from runtime.sync import Barrier, Condition, Event, Lock, RLock, Semaphore

pytestmark = pytest.mark.loads  # what replaces blocking calls: ssl


@pytest.mark.parametrize("kind", [Lock, RLock, Condition], ids=["Lock", "RLock", "Condition"])
@by_chance(1000)
def test_a_lock(kind: Callable[[], Lock]) -> None:
    lock, inside = kind(), []

    def use() -> None:
        with lock:
            assert not inside
            inside.append(True)
            inside.clear()

    with Group() as group:
        tasks = [group.spawn(use) for _ in range(3)]
        tasks[0].cancel()
    assert lock.acquire(False)
    assert not any(task.cancelled() for task in tasks[1:])


@by_chance(1000)
def test_a_semaphore() -> None:
    semaphore = Semaphore(0)
    with Group() as group:
        tasks = [group.spawn(semaphore.acquire) for _ in range(2)]
        group.spawn(semaphore.release, 2)
        tasks[0].cancel()
    assert semaphore._value == tasks[0].cancelled()
    assert tasks[1].result()


@by_chance(1000)
def test_a_condition() -> None:
    condition, items, taken = Condition(), [], []

    def take() -> None:
        with condition:
            while not items:
                condition.wait()
            taken.append(items.pop())

    def put() -> None:
        with condition:
            items.append(1)
            condition.notify()

    with Group() as group:
        first, second = group.spawn(take), group.spawn(take)
        group.spawn(put)
        first.cancel()
        with shield(), contextlib.suppress(CancelledError):
            first.result()
            put()  # it has taken what was put; here is another for the second
    assert len(taken) == (1 if first.cancelled() else 2)
    assert second.done()
    assert not items
    assert condition.acquire(False)


@by_chance(1000)
def test_an_event_and_a_barrier() -> None:
    event, barrier = Event(), Barrier(2)

    def meet() -> int:
        event.wait()
        return barrier.wait()

    with Group() as group:
        tasks = [group.spawn(meet) for _ in range(3)]
        tasks[2].cancel()
        event.set()
        group.cancel()
    assert barrier.n_waiting == 0


@by_chance(1000)
def test_the_first_failure() -> None:
    cleaned = []

    def fail() -> None:
        raise ValueError

    def wait() -> None:
        try:
            Event().wait()
        finally:
            cleaned.append(True)

    try:
        with Group() as group:
            tasks = [group.spawn(wait), group.spawn(wait), group.spawn(fail)]
            Event().wait()
    except* ValueError:
        pass
    assert all(task.done() for task in tasks)
    assert not tasks[0].running()


@by_chance(1000)
def test_a_limit() -> None:
    inside = []

    def work() -> None:
        inside.append(1)
        assert len(inside) == 1
        inside.pop()

    with Group(limit=1) as group:
        tasks = [group.spawn(work) for _ in range(3)]
        tasks[1].cancel()
    assert tasks[0].done()
    assert tasks[2].exception() is None


@by_chance(1000)
def test_no_task_begins_in_a_cancelled_group() -> None:
    """The one that has the turn ends before the others are asked."""
    begun: list[int] = []
    with Group(limit=1) as group:
        group.spawn(Event().wait)
        for number in range(2):
            group.spawn(begun.append, number)
        group.cancel()
    assert begun == []


@by_chance(1000)
def test_groups_in_groups() -> None:
    inner_tasks = []

    def middle() -> None:
        with Group() as inner:
            inner_tasks.extend(inner.spawn(Event().wait) for _ in range(2))

    with Group() as outer:
        task = outer.spawn(middle)
        outer.cancel()
    assert task.cancelled()
    assert all(task.done() for task in inner_tasks)


@by_chance(1000)
def test_a_deadline() -> None:
    """On the run's own clock, which moves when nobody can go on."""
    with pytest.raises(TimeoutError), Group(timeout=10) as group:
        tasks = [group.spawn(Event().wait) for _ in range(2)]
    assert all(task.cancelled() for task in tasks)


@by_chance(1000)
def test_a_shield() -> None:
    reached = []

    def work() -> None:
        with shield():
            done.wait()
            reached.append(True)
        Event().wait()

    done = Event()
    with Group() as group:
        task = group.spawn(work)
        task.cancel()
        done.set()
    assert task.cancelled()
    assert len(reached) <= 1


@finds(AssertionError)
def test_a_step_that_a_task_leaves_out_is_found() -> None:
    """The explorer sees cancellation: a permit that is lost by it in some orders."""
    semaphore = Semaphore(1)

    def use() -> None:
        semaphore.acquire()
        gate.acquire()  # cancelled here, it never gives back
        gate.release()
        semaphore.release()

    gate = Lock()
    with Group() as group, gate:
        task = group.spawn(use)
        task.cancel()
    assert semaphore._value == 1


@finds(DeadlockFound)
def test_a_deadlock_in_a_group_leaves_nothing() -> None:
    """Also the end of a group's block is unwound when the run is over."""
    with Group() as group:
        group.spawn(Event().wait)
        with Group() as inner:
            inner.spawn(Semaphore(0).acquire)


@pytest.mark.parametrize("wait", [Lock, Semaphore, Event], ids=["Lock", "Semaphore", "Event"])
@in_every_order
def test_every_order_of_one_wait_and_its_cancellation(wait: Callable[[], Any]) -> None:
    primitive = wait()
    acquire, give = (primitive.wait, primitive.set) if wait is Event else (primitive.acquire, primitive.release)
    if wait is not Event:
        acquire()
    with Group() as group:
        task = group.spawn(acquire)
        give()
        task.cancel()
    if wait is Event:
        assert task.cancelled() or task.result()
    else:
        assert primitive.acquire(False) == task.cancelled()


@by_chance(1000)
def test_cancelled_can_be_caught_in_every_order() -> None:
    caught = []

    def work() -> str:
        try:
            Event().wait()
        except Cancelled:
            caught.append(True)
        return "went on"

    with Group() as group:
        task = group.spawn(work)
        task.cancel()
    assert task.cancelled() or (caught and task.result() == "went on")
