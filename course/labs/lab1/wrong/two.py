"""A lock that is wrong."""

from __future__ import annotations

from word import Word


class Lock:
    def __init__(self) -> None:
        self.word = Word(0)

    def acquire(self) -> None:
        while self.word.compare_exchange(0, 1) != 0:
            if self.word.compare_exchange(1, 2) != 0:
                self.word.wait(2)

    def release(self) -> None:
        if self.word.exchange(0) == 2:
            self.word.wake()
