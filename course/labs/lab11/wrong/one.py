"""A barrier that is wrong: when does it fail for the first time?"""

from __future__ import annotations

from word import Word


class Barrier:
    def __init__(self, parties: int) -> None:
        self.parties = parties
        self.count = Word(0)

    def wait(self) -> bool:
        if self.count.add(1) == self.parties - 1:
            self.count.store(0)
            self.count.wake(self.parties)
            return True
        while (so_far := self.count.load()) != 0:
            self.count.wait(so_far)
        return False
