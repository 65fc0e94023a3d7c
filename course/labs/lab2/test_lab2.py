"""Grades a condition variable on a futex."""

from __future__ import annotations

import threading
from types import ModuleType

import pytest
from conftest import in_every_order, together


@pytest.mark.parametrize("spurious", [0, 1])
def test_a_notification_is_not_lost(yours: ModuleType, spurious: int) -> None:
    def test() -> None:
        lock, items = threading.Lock(), []
        condition = yours.Condition(lock)
        condition.word.spurious = spurious

        def take() -> None:
            with lock:
                while not items:
                    condition.wait()
                items.pop()

        def put() -> None:
            with lock:
                items.append(1)
                condition.notify()

        together(take, put)
        assert not items

    in_every_order(test)


def test_each_notification_wakes_a_thread(yours: ModuleType) -> None:
    def test() -> None:
        lock, items = threading.Lock(), []
        condition = yours.Condition(lock)

        def take() -> None:
            with lock:
                while not items:
                    condition.wait()
                items.pop()

        def put() -> None:
            for _ in range(2):
                with lock:
                    items.append(1)
                    condition.notify()

        together(take, take, put)
        assert not items

    in_every_order(test, preemptions=1)


def test_a_thread_that_is_woken_has_the_lock(yours: ModuleType) -> None:
    def test() -> None:
        lock, open_, inside = threading.Lock(), [], []
        condition = yours.Condition(lock)

        def enter() -> None:
            with lock:
                while not open_:
                    condition.wait()
                inside.append(1)
                condition.word.load()  # another thread may run here
                assert inside == [1]
                inside.pop()

        def let_in() -> None:
            with lock:
                open_.append(1)
                condition.notify_all()

        together(enter, enter, let_in)

    in_every_order(test, preemptions=1)


def test_threads_wait_for_different_things(yours: ModuleType) -> None:
    def test() -> None:
        lock, true = threading.Lock(), set()
        condition = yours.Condition(lock)

        def say(name: str) -> None:
            with lock:
                true.add(name)
                condition.notify_all()

        def await_(name: str) -> None:
            with lock:
                while name not in true:
                    condition.wait()

        def first() -> None:
            await_("first")
            say("second")

        together(first, lambda: await_("second"), lambda: say("first"))

    in_every_order(test)


def test_a_thread_that_waits_sleeps(yours: ModuleType) -> None:
    """Until it is notified, however often others take the lock."""

    def test() -> None:
        lock, ready = threading.Lock(), []
        condition = yours.Condition(lock)

        def take() -> None:
            with lock:
                while not ready:
                    condition.wait()

        def put() -> None:
            for _ in range(3):
                with lock:
                    pass
            with lock:
                ready.append(1)
                condition.notify()

        together(take, put)
        assert condition.word.calls["wait"] <= 1

    in_every_order(test)
