"""Lab 2: a condition variable on a futex.  Copy this file and make its tests pass; the sheet is course/lab2.md."""

from __future__ import annotations

import threading

from word import Word


class Condition:
    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.word = Word(0)

    def wait(self) -> None:
        """Called with the lock held: gives it up, sleeps until a notify() that comes after that, and takes it again."""
        raise NotImplementedError

    def notify(self) -> None:
        """Wakes a thread that waits, if there is one; called with the lock held."""
        raise NotImplementedError

    def notify_all(self) -> None:
        """Wakes all threads that wait."""
        raise NotImplementedError
