"""runtime.queue: the standard library's queues, in which a thread can be cancelled."""

from __future__ import annotations

import inspect
import pickle
import queue as stock
import sys
import threading
import unittest
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Child, in_child
from kinds import PATIENCE, both, until, until_asleep

import runtime
from runtime import Group, queue

KINDS = [queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue]
BOUNDED = [queue.Queue, queue.LifoQueue, queue.PriorityQueue]


@both
@pytest.mark.parametrize("kind", KINDS)
def test_a_consumer_is_cancelled(kind: Callable[[], Any]) -> None:
    items = kind()
    got: list[int] = []

    def consume() -> None:
        while True:
            got.append(items.get())

    with Group() as group:
        consumers = [group.spawn(consume) for _ in range(3)]
        until_asleep(*consumers)
        items.put(1)
        until(lambda: got)
        until_asleep(*consumers)
        group.cancel()
    assert all(task.cancelled() for task in consumers)
    items.put(2)  # and it is nobody's
    assert items.get_nowait() == 2


@both
@pytest.mark.parametrize("kind", BOUNDED)
def test_a_producer_is_cancelled(kind: Callable[[int], Any]) -> None:
    items = kind(1)
    items.put(1)
    with Group() as group:
        producer = group.spawn(items.put, 2)
        until_asleep(producer)
        group.cancel()
    assert producer.cancelled()
    assert (items.get(timeout=PATIENCE), items.qsize()) == (1, 0)
    with Group() as group:
        waits = group.spawn(items.join)
        until_asleep(waits)
        items.task_done()
    assert not waits.cancelled()


@pytest.mark.parametrize("kind", KINDS)
def test_a_groups_timeout_ends_a_get(kind: Callable[[], Any]) -> None:
    with pytest.raises(TimeoutError), Group(timeout=0.01) as group:
        group.spawn(kind().get)


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_one_of_the_stock_kind(kind: Any) -> None:
    its = getattr(stock, kind.__name__)
    items = kind()
    assert isinstance(items, its)
    assert inspect.signature(kind.get) == inspect.signature(stock.Queue.get)
    assert [*inspect.signature(kind).parameters] == [*inspect.signature(its).parameters]
    assert kind[int].__args__ == (int,)
    assert pickle.loads(pickle.dumps(kind)) is kind
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(items)
    with pytest.raises(stock.Empty):
        items.get_nowait()
    with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
        items.get(timeout=-1)


def test_the_exceptions_are_the_stock_ones() -> None:
    names = ["Empty", "Full", *(["ShutDown"] if sys.version_info >= (3, 13) else [])]
    assert sorted(queue.__all__) == sorted([*names, *(kind.__name__ for kind in KINDS)])
    assert sorted(queue.__all__) == sorted(stock.__all__)
    assert [getattr(queue, name) for name in names] == [getattr(stock, name) for name in names]


@in_child
def test_it_is_loaded_when_it_is_asked_for() -> None:
    assert "runtime.queue" not in sys.modules
    assert runtime.queue.Queue is sys.modules["runtime.queue"].Queue


@pytest.mark.parametrize("when", ["before", "after"])
@in_child
def test_with_install(when: str) -> None:
    if when == "after":
        runtime.install(green=True)
    from runtime import queue

    if when == "before":
        runtime.install(green=True)
    for kind in (queue.Queue, queue.LifoQueue, queue.PriorityQueue, queue.SimpleQueue):
        there, back = kind(), kind()
        assert isinstance(there, getattr(stock, kind.__name__))

        def answer(there: object = there, back: object = back) -> None:
            while (number := there.get()) is not None:  # type: ignore[attr-defined]
                back.put(-number)  # type: ignore[attr-defined]

        thread = threading.Thread(target=answer)
        thread.start()
        for number in range(100):
            there.put(number)
            assert back.get(timeout=30) == -number
        there.put(None)
        thread.join()


@pytest.mark.slow
def test_cpythons_own_tests(child: Child) -> None:
    pytest.importorskip("test.test_queue", reason="this Python comes without its tests")
    child(cpythons_tests)


def cpythons_tests() -> None:
    from test import test_queue

    for name in ("QueueTest", "LifoQueueTest", "PriorityQueueTest", "BaseSimpleQueueTest"):
        base = getattr(test_queue, name)
        case = type(name, (base, unittest.TestCase), {"queue": queue, "type2test": queue.SimpleQueue})
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
        assert result.testsRun > 5
        assert [text for _, text in result.errors + result.failures] == []
