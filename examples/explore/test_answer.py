"""A test that waits for five seconds at most, and one that is not the same each time."""

from __future__ import annotations

import queue
import threading


def test_answer() -> None:
    answers: queue.Queue[int] = queue.Queue()
    threading.Thread(target=answers.put, args=(42,)).start()
    assert answers.get(timeout=5) == 42


seen: list[int] = []


def test_first_answer() -> None:
    thread = threading.Thread(target=seen.append, args=(42,))
    thread.start()
    thread.join()
    assert seen == [42]
