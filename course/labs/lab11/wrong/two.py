"""A barrier that is wrong."""

from __future__ import annotations

from word import Word


class Barrier:
    def __init__(self, parties: int) -> None:
        self.parties = parties
        self.count = Word(0)
        self.round = Word(0)

    def wait(self) -> bool:
        if self.count.add(1) == self.parties - 1:
            self.count.store(0)
            self.round.add(1)
            self.round.wake(self.parties)
            return True
        mine = self.round.load()
        while self.round.load() == mine:
            self.round.wait(mine)
        return False
