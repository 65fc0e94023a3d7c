"""Lab 11: the last to come begins a new round, and sleepers sleep as long as their own round lasts."""

from __future__ import annotations

from word import Word


class Barrier:
    def __init__(self, parties: int) -> None:
        self.parties = parties
        self.count = Word(0)
        self.round = Word(0)

    def wait(self) -> bool:
        mine = self.round.load()  # before the thread is counted: after that the round may end at any time
        if self.count.add(1) == self.parties - 1:
            self.count.store(0)  # before the round ends: after that a quick thread may be counted in the next
            self.round.add(1)
            self.round.wake(self.parties)
            return True
        while self.round.load() == mine:
            self.round.wait(mine)
        return False
