"""A counter that loses an addition in some schedules, and, for a file that is explored, two tests of it."""

from __future__ import annotations

import threading

IMPORT = "from counted import both\n"
LOST = "def test_lost():\n    assert both() == 2\n"
RIGHT = "def test_right():\n    assert both() in (1, 2)\n"

lock = threading.Lock()


class Counter:
    n = 0


def bump() -> None:
    with lock:
        seen = Counter.n
    with lock:
        Counter.n = seen + 1


def both() -> int:
    Counter.n = 0
    threads = [threading.Thread(target=bump) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("counted", Counter.n)
    return Counter.n
