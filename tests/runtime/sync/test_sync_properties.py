"""Each primitive and its twin in threading, driven in lockstep by the same random operations of several threads.

An operation is given to one thread of either side; then both sides are left alone until each of their threads has an
answer or sleeps in the primitive.  Which threads have an answer, and which answer, must be the same on both.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sync_helpers import PATIENCE, asleep

import runtime
from runtime import sync

MOMENT = 0.0001  # seconds

#: (primitive, number) -> answer
Operation = Callable[[Any, int], Any]


COUNTS = hasattr(threading.RLock(), "_recursion_count")  # since 3.11.3


@dataclass
class Kind:
    """How a primitive is made and used."""

    make: Callable[[Any, int], Any]
    quick: dict[str, Operation]  # operations that return
    sleep: dict[str, Operation]  # operations that may sleep, for PATIENCE at most
    wake: Operation  # lets a sleeper go, or all
    state: Operation  # what can be asked at the end
    threads: int = 4
    sleepers: int = 3  # at once, at most: one is left to wake them
    sizes: tuple[int, int] = (0, 3)


def with_lock(operation: Operation) -> Operation:
    def run(condition: Any, n: int) -> Any:
        with condition:
            return operation(condition, n)

    return run


def condition_over(lock: str) -> Kind:
    return Kind(
        make=lambda module, n: module.Condition(getattr(module, lock)()),
        quick={
            "wait for a moment": with_lock(lambda condition, n: condition.wait(MOMENT)),
            "wait for no time": with_lock(lambda condition, n: condition.wait(0)),
            "notify": with_lock(lambda condition, n: condition.notify()),
            "notify n": with_lock(lambda condition, n: condition.notify(n)),
            "notify all": with_lock(lambda condition, n: condition.notify_all()),
            "notify without the lock": lambda condition, n: condition.notify(),
            "wait without the lock": lambda condition, n: condition.wait(0),
        },
        sleep={
            "wait": with_lock(lambda condition, n: condition.wait(PATIENCE)),
            **({"wait deep": with_lock(with_lock(lambda c, n: c.wait(PATIENCE)))} if lock == "RLock" else {}),
        },
        wake=with_lock(lambda condition, n: condition.notify()),
        state=with_lock(lambda condition, n: repr(condition).rpartition(", ")[2]),
    )


KINDS = {
    "Lock": Kind(
        make=lambda module, n: module.Lock(),
        quick={
            "try": lambda lock, n: lock.acquire(False),
            "try with no time": lambda lock, n: lock.acquire(timeout=0),
            "try for a moment": lambda lock, n: lock.acquire(True, MOMENT),
            "release": lambda lock, n: lock.release(),
            "exit": lambda lock, n: lock.__exit__(None, None, None),
            "locked": lambda lock, n: lock.locked(),
        },
        sleep={"acquire": lambda lock, n: lock.acquire(timeout=PATIENCE)},
        wake=lambda lock, n: lock.release(),
        state=lambda lock, n: lock.locked(),
        sleepers=1,  # of two either may get it
    ),
    "RLock": Kind(
        make=lambda module, n: module.RLock(),
        quick={
            "try": lambda lock, n: lock.acquire(False),
            "try for a moment": lambda lock, n: lock.acquire(True, MOMENT),
            "release": lambda lock, n: lock.release(),
            "exit": lambda lock, n: lock.__exit__(None, None, None),
            "is owned": lambda lock, n: lock._is_owned(),
            "give up": lambda lock, n: lock._is_owned() and lock._release_save()[0],
        },
        sleep={"acquire": lambda lock, n: lock.acquire(timeout=PATIENCE)},
        wake=lambda lock, n: lock._is_owned() and lock._release_save()[0],
        state=lambda lock, n: (lock._is_owned(), COUNTS and lock._recursion_count()),
        threads=3,
        sleepers=1,
    ),
    "Event": Kind(
        make=lambda module, n: module.Event(),
        quick={
            "wait for no time": lambda event, n: event.wait(0),
            "wait for a moment": lambda event, n: event.wait(MOMENT),
            "set": lambda event, n: event.set(),
            "clear": lambda event, n: event.clear(),
            "set and clear": lambda event, n: (event.set(), event.clear()),
        },
        sleep={"wait": lambda event, n: event.wait(PATIENCE)},
        wake=lambda event, n: event.set(),
        state=lambda event, n: event.is_set(),
    ),
    **{
        name: Kind(
            make=lambda module, n, name=name: getattr(module, name)(n),  # type: ignore[misc]
            quick={
                "try": lambda semaphore, n: semaphore.acquire(False),
                "try for a moment": lambda semaphore, n: semaphore.acquire(timeout=MOMENT),
                "release": lambda semaphore, n: semaphore.release(),
                "release n": lambda semaphore, n: semaphore.release(n),
                "exit": lambda semaphore, n: semaphore.__exit__(None, None, None),
            },
            sleep={"acquire": lambda semaphore, n: semaphore.acquire(timeout=PATIENCE)},
            wake=lambda semaphore, n: semaphore.release(),
            state=lambda semaphore, n: semaphore._value,
            sizes=(least, 3),
        )
        for name, least in (("Semaphore", 0), ("BoundedSemaphore", 1))  # one bound to 0 can't be released
    },
    "Condition over Lock": condition_over("Lock"),
    "Condition over RLock": condition_over("RLock"),
    "Barrier": Kind(
        make=lambda module, n: module.Barrier(n),
        quick={
            "wait for a moment": lambda barrier, n: barrier.wait(MOMENT),
            "reset": lambda barrier, n: barrier.reset(),
            "abort": lambda barrier, n: barrier.abort(),
        },
        sleep={"wait": lambda barrier, n: barrier.wait(PATIENCE)},
        wake=lambda barrier, n: barrier.abort(),
        state=lambda barrier, n: (barrier.n_waiting, barrier.broken),
        sizes=(1, 3),
    ),
}


class Worker:
    """A thread that does what it is given."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self.answer: Any = None  # to the last operation; None while there is none
        self.thread = runtime.Thread(target=self._run, daemon=True)
        self.thread.start()
        while self.answer is None:  # it sleeps on its way into the interpreter too
            time.sleep(0)

    def _run(self) -> None:
        self.answer = "begun"
        while operation := self._given.get():
            try:
                self.answer = ("returned", operation())
            except Exception as error:
                self.answer = ("raised", type(error), str(error))

    def give(self, operation: Callable[[], Any]) -> None:
        self.answer = None
        self._given.put(operation)

    def stop(self) -> None:
        self._given.put(None)
        self.thread.join(PATIENCE)


class Side:
    """A primitive and its threads."""

    def __init__(self, kind: Kind, module: Any, size: int) -> None:
        self._primitive = kind.make(module, size)
        self.workers = [Worker() for _ in range(kind.threads)]

    def give(self, number: int, operation: Operation, n: int) -> None:
        self.workers[number].give(lambda: operation(self._primitive, n))

    def settle(self) -> list[Any]:
        """All answers, once no more will come by themselves; None where the thread sleeps."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            busy = [worker for worker in self.workers if worker.answer is None]
            if asleep(*(worker.thread.native_id or 0 for worker in busy)):
                answers = [worker.answer for worker in self.workers]
                if answers.count(None) == len(busy):  # else one sleeps for its next operation
                    return answers
        pytest.fail("neither an answer nor sleep")

    def stop(self, wake: Operation) -> None:
        for _ in self.workers:
            for number, answer in enumerate(self.settle()):
                if answer is not None:
                    self.give(number, wake, 1)
        for worker in self.workers:
            worker.stop()


def run(kind: Kind, size: int, steps: list[tuple[int, str, int]]) -> None:
    sides = [Side(kind, module, size) for module in (threading, sync)]

    def step(number: int, operation: Operation, n: int) -> list[Any]:
        for side in sides:
            side.give(number, operation, n)
        stock, ours = (side.settle() for side in sides)
        assert stock == ours, (stock, ours)
        return ours

    try:
        answers = sides[0].settle()
        for number, name, n in steps:
            crowded = name in kind.sleep and answers.count(None) >= kind.sleepers
            if answers[number] is not None and not crowded:
                answers = step(number, {**kind.quick, **kind.sleep}[name], n)
        # At the end: what each thread that is awake sees; then the others are woken one by one, and see it too.
        for operation in (kind.state, kind.wake, kind.state) * kind.threads:
            for number in range(kind.threads):
                if answers[number] is not None:
                    answers = step(number, operation, 1)
            if None not in answers:
                break
    finally:
        for side in sides:
            side.stop(kind.wake)


@pytest.mark.parametrize("name", list(KINDS))
def test_it_answers_as_its_twin(name: str) -> None:
    kind = KINDS[name]
    # Before somebody sleeps or holds a lock there is little to see: what leads there comes more often.
    names = [*kind.quick, *kind.sleep, *kind.sleep, *kind.sleep]
    steps = st.tuples(st.integers(0, kind.threads - 1), st.sampled_from(names), st.integers(-1, 4))

    @settings(max_examples=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(*kind.sizes), st.lists(steps, min_size=10, max_size=40))
    def check(size: int, steps: list[tuple[int, str, int]]) -> None:
        run(kind, size, steps)

    check()
