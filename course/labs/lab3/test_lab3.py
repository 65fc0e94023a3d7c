"""Grades a pool of threads."""

from __future__ import annotations

import threading
from types import ModuleType

import pytest
from conftest import in_every_order, together


def test_tasks_return_and_raise(yours: ModuleType) -> None:
    def test() -> None:
        pool = yours.Pool(1)
        good, bad = pool.submit(divmod, 7, 2), pool.submit(divmod, 7, 0)
        assert good.result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            bad.result()
        assert pool.submit(abs, -1).result() == 1  # the thread has survived
        pool.shutdown()

    in_every_order(test)


def test_a_shutdown_waits_for_all_tasks(yours: ModuleType) -> None:
    def test() -> None:
        done: list[int] = []
        pool = yours.Pool(2)
        for number in range(3):
            pool.submit(done.append, number)
        pool.shutdown()
        assert sorted(done) == [0, 1, 2]

    in_every_order(test, preemptions=1)


def test_no_more_threads_than_asked_for_and_none_is_left(yours: ModuleType) -> None:
    def test() -> None:
        before = threading.active_count()
        seen: set[int] = set()
        pool = yours.Pool(2)
        for _ in range(4):
            pool.submit(lambda: seen.add(threading.get_ident()))
        assert threading.active_count() - before <= 2
        pool.shutdown()
        assert threading.get_ident() not in seen
        assert threading.active_count() == before

    in_every_order(test, preemptions=1)


def test_two_tasks_run_at_once(yours: ModuleType) -> None:
    def test() -> None:
        pool, both = yours.Pool(2), threading.Barrier(2)
        tasks = [pool.submit(both.wait) for _ in range(2)]
        assert sorted(task.result() for task in tasks) == [0, 1]
        pool.shutdown()

    in_every_order(test, preemptions=1)


def test_a_task_may_submit_another(yours: ModuleType) -> None:
    def test() -> None:
        pool = yours.Pool(1)
        assert pool.submit(lambda: pool.submit(abs, -2)).result().result() == 2
        pool.shutdown()

    in_every_order(test)


def test_a_task_is_refused_or_done(yours: ModuleType) -> None:
    """Also one that is submitted while another thread shuts the pool down."""

    def test() -> None:
        done: list[int] = []
        pool = yours.Pool(1)
        refused: list[int] = []

        def submit() -> None:
            try:
                pool.submit(done.append, 1)
            except RuntimeError:
                refused.append(1)

        together(submit, pool.shutdown)
        assert done + refused == [1]

    in_every_order(test)
