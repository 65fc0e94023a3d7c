"""Two ways to lose a count: one needs a Python without a GIL, the other does not."""

from __future__ import annotations

import threading
from collections.abc import Callable

count = 0


def one() -> int:
    return 1


def plus_one() -> None:
    global count
    count += 1


def plus_call() -> None:
    global count
    count += one()


def count_twice(step: Callable[[], None]) -> None:
    global count
    count = 0
    threads = [threading.Thread(target=step) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 2


def test_plus_one() -> None:
    count_twice(plus_one)


def test_plus_call() -> None:
    count_twice(plus_call)
