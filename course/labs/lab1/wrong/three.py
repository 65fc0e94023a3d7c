"""A lock that is wrong."""

from __future__ import annotations

from word import Word


class Lock:
    def __init__(self) -> None:
        self.word = Word(0)

    def acquire(self) -> None:
        if self.word.compare_exchange(0, 1) == 0:
            return
        self.word.store(2)
        self.word.wait(2)

    def release(self) -> None:
        if self.word.load() == 2:
            self.word.wake()
        else:
            self.word.store(0)
