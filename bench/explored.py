"""The programs that `bench explore` explores, for each explorer the same."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Program:
    """What threads share; each of `work` is one's, and if it is the only one, it is the test's own thread's."""

    work: tuple[Callable[[Any], object], ...]

    def holds(self) -> bool:
        return True


def test_of(program: type[Program]) -> Callable[[], None]:
    """As a plain test."""

    def alone() -> None:
        state = program()
        program.work[0](state)
        assert state.holds()

    def together() -> None:
        state = program()
        threads = [threading.Thread(target=work, args=(state,)) for work in program.work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.holds()

    return alone if len(program.work) == 1 else together


# ---- these hold ------------------------------------------------------------------------------------------------------


class Counter(Program):
    """Ten points: of each thread its start, acquire, release, end and join."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.total = 0

    def add(self) -> None:
        with self.lock:
            self.total += 1

    def holds(self) -> bool:
        return self.total == 2

    work: tuple[Callable[[Any], object], ...] = (add, add)


class Fifty(Counter):
    def holds(self) -> bool:
        return self.total == 50

    work = (Counter.add,) * 50


class Pool(Program):
    def __init__(self) -> None:
        self.results: list[int] = []

    def use(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            self.results = list(pool.map(abs, range(4)))

    def holds(self) -> bool:
        return self.results == [0, 1, 2, 3]

    work = (use,)


class Channel(Program):
    def __init__(self) -> None:
        self.queue: queue.Queue[int] = queue.Queue(1)
        self.got: list[int] = []

    def produce(self) -> None:
        for item in range(3):
            self.queue.put(item)

    def consume(self) -> None:
        for _ in range(3):
            self.got.append(self.queue.get())

    def holds(self) -> bool:
        return self.got == [0, 1, 2]

    work = (produce, consume)


class ToThread(Program):
    def __init__(self) -> None:
        self.results: list[int] = []

    def use(self) -> None:
        import asyncio  # loads ssl, which the other commands need not

        async def main() -> list[int]:
            return await asyncio.gather(*(asyncio.to_thread(abs, number) for number in range(2)))

        self.results = asyncio.run(main())

    def holds(self) -> bool:
        return self.results == [0, 1]

    work = (use,)


# ---- these fail ------------------------------------------------------------------------------------------------------


class TwoLocks(Program):
    """A deadlock, when each thread has one lock."""

    def __init__(self) -> None:
        self.left = threading.Lock()
        self.right = threading.Lock()

    def one(self) -> None:
        with self.left, self.right:
            pass

    def other(self) -> None:
        with self.right, self.left:
            pass

    work = (one, other)


class LostUpdate(Program):
    """Both add to what they have read, when both have read the same."""

    def __init__(self) -> None:
        self.total = 0

    def add(self) -> None:
        self.total += 1

    def holds(self) -> bool:
        return self.total == 2

    work = (add, add)


class LostWakeUp(Program):
    """Nobody waits yet when all who wait are notified, and the flag was looked at before."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.ready = False

    def wait(self) -> None:
        if not self.ready:
            with self.condition:
                self.condition.wait()

    def tell(self) -> None:
        self.ready = True
        with self.condition:
            self.condition.notify()

    work = (wait, tell)


PROGRAMS: dict[str, type[Program]] = {
    "two": Counter,
    "pool": Pool,
    "fifty": Fifty,
    "queue": Channel,
    "to-thread": ToThread,
    "deadlock": TwoLocks,
    "update": LostUpdate,
    "wake-up": LostWakeUp,
}
