"""Grades a lock on a futex."""

from __future__ import annotations

from types import ModuleType

import pytest
from conftest import in_every_order, together


def test_a_thread_that_waits_sleeps(yours: ModuleType) -> None:
    """And doesn't ask again and again: it calls wait() once, or twice if the release comes just before."""

    def test() -> None:
        lock = yours.Lock()
        lock.acquire()

        def work() -> None:
            lock.acquire()
            lock.release()

        together(work, lock.release)
        assert lock.word.calls.total() <= 20, "the lock asks again and again instead of sleeping"
        assert lock.word.calls["wait"] <= 2

    in_every_order(test)


@pytest.mark.parametrize("threads", [2, 3])
def test_one_thread_at_a_time_and_none_sleeps_for_ever(yours: ModuleType, threads: int) -> None:
    def test() -> None:
        lock, inside, most = yours.Lock(), [], []

        def work() -> None:
            lock.acquire()
            inside.append(1)
            lock.word.load()  # another thread may run here
            most.append(len(inside))
            inside.pop()
            lock.release()

        together(*[work] * threads)
        assert most == [1] * threads

    in_every_order(test, preemptions=2 if threads == 2 else 1)


def test_it_can_be_taken_again(yours: ModuleType) -> None:
    def test() -> None:
        lock, taken = yours.Lock(), []

        def work() -> None:
            for _ in range(2):
                lock.acquire()
                taken.append(1)
                lock.release()

        together(work, work)
        assert len(taken) == 4

    in_every_order(test)


def test_a_wake_up_for_no_reason_is_no_lock(yours: ModuleType) -> None:
    def test() -> None:
        lock, held = yours.Lock(), []
        lock.word.spurious = 1

        def work() -> None:
            lock.acquire()
            held.append(1)
            lock.word.load()
            assert held == [1]
            held.pop()
            lock.release()

        together(work, work)

    in_every_order(test)


def test_a_free_lock_costs_no_system_call(yours: ModuleType) -> None:
    lock = yours.Lock()
    for _ in range(3):
        lock.acquire()
        lock.release()
    assert lock.word.load() == 0
    assert lock.word.calls["wait"] == lock.word.calls["wake"] == 0
