"""A lock that is wrong: which order of two threads shows it?"""

from __future__ import annotations

from word import Word


class Lock:
    def __init__(self) -> None:
        self.word = Word(0)

    def acquire(self) -> None:
        while self.word.load() == 1:
            self.word.wait(1)
        self.word.store(1)

    def release(self) -> None:
        self.word.store(0)
        self.word.wake()
