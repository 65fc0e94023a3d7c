"""Grades a lock for readers and writers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from conftest import in_every_order, together


def take(lock: Any, kind: str) -> None:
    (lock.acquire_read if kind == "reads" else lock.acquire_write)()


def give(lock: Any, kind: str) -> None:
    (lock.release_read if kind == "reads" else lock.release_write)()


def named(kind: str, work: Callable[[str], None]) -> Callable[[], None]:
    """work(kind), as a function after which a report calls its thread."""

    def function() -> None:
        work(kind)

    function.__name__ = kind
    return function


@pytest.mark.parametrize(
    ("kinds", "preemptions"),
    [
        (["reads", "writes"], 2),
        (["writes", "writes"], 2),
        (["reads", "writes", "reads"], 1),
        (["writes", "reads", "writes"], 1),
    ],
    ids=["read-write", "write-write", "read-write-read", "write-read-write"],
)
def test_a_writer_is_alone_and_none_sleeps_for_ever(yours: ModuleType, kinds: list[str], preemptions: int) -> None:
    def test() -> None:
        lock, inside, between = yours.ReadersWriter(), [], threading.Lock()

        def work(kind: str) -> None:
            take(lock, kind)
            inside.append(kind)
            with between:  # another thread may run here
                pass
            assert set(inside) == {"reads"} or inside == ["writes"]
            inside.remove(kind)
            give(lock, kind)

        together(*(named(kind, work) for kind in kinds))

    in_every_order(test, preemptions)


def test_readers_are_inside_together(yours: ModuleType) -> None:
    """Two that wait there for each other, also when a writer was before them."""

    def test() -> None:
        lock, both = yours.ReadersWriter(), threading.Barrier(2)

        def read() -> None:
            lock.acquire_read()
            both.wait()
            lock.release_read()

        lock.acquire_write()
        readers = [threading.Thread(target=read) for _ in "ab"]
        for reader in readers:
            reader.start()
        lock.release_write()
        for reader in readers:
            reader.join()

    in_every_order(test, preemptions=1)


@pytest.mark.parametrize(
    ("inside", "first", "second"),
    [("reads", "writes", "reads"), ("writes", "reads", "writes"), ("writes", "writes", "reads")],
)
def test_nobody_overtakes_who_sleeps(yours: ModuleType, inside: str, first: str, second: str) -> None:
    """While one is inside, the first comes and sleeps, and then the second."""

    def test() -> None:
        lock, order = yours.ReadersWriter(), []
        kinds = {f"{first} 1": first, f"{second} 2": second}
        sleeps = {name: threading.Event() for name in kinds}
        lock.monitor.on_sleep = lambda: sleeps[threading.current_thread().name].set()

        def enter(kind: str) -> None:
            take(lock, kind)
            name = threading.current_thread().name
            order.append(name)
            sleeps[name].set()  # it has not slept, if it need not
            give(lock, kind)

        take(lock, inside)
        threads = [threading.Thread(target=enter, args=(kind,), name=name) for name, kind in kinds.items()]
        for thread in threads:
            thread.start()
            sleeps[thread.name].wait()
        give(lock, inside)
        for thread in threads:
            thread.join()
        assert order == list(kinds)

    in_every_order(test, preemptions=1)


def test_a_wake_up_for_no_reason_lets_nobody_in(yours: ModuleType) -> None:
    def test() -> None:
        lock, inside, between = yours.ReadersWriter(), [], threading.Lock()
        lock.monitor.spurious = 1

        def work(kind: str) -> None:
            take(lock, kind)
            inside.append(kind)
            with between:
                pass
            assert len(inside) == 1
            inside.remove(kind)
            give(lock, kind)

        together(named("reads", work), named("writes", work))

    in_every_order(test)


def test_a_thread_that_waits_sleeps(yours: ModuleType) -> None:
    """Of two that wait, each is woken once for the other one's sake, at most."""

    def test() -> None:
        lock = yours.ReadersWriter()
        lock.acquire_write()

        def work(kind: str) -> None:
            take(lock, kind)
            give(lock, kind)

        together(named("reads", work), named("writes", work), lock.release_write)
        assert lock.monitor.calls["wait"] <= 5, "the lock asks again and again instead of sleeping"

    in_every_order(test, preemptions=1)
