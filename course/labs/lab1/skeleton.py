"""Lab 1: a lock on a futex.  Copy this file and make its tests pass; the sheet is course/lab1.md."""

from __future__ import annotations

from word import Word


class Lock:
    def __init__(self) -> None:
        self.word = Word(0)

    def acquire(self) -> None:
        """Returns when the calling thread has the lock; sleeps until then."""
        raise NotImplementedError

    def release(self) -> None:
        """Gives the lock up, and wakes a thread that waits for it, if there is one."""
        raise NotImplementedError
