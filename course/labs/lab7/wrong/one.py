"""A queue that is wrong: which two threads have the same item?"""

from __future__ import annotations

from word import Word


class Deque:
    def __init__(self, size: int) -> None:
        self.top, self.bottom = Word(0), Word(0)
        self.cells = [Word(0) for _ in range(size)]

    def push(self, item: int) -> bool:
        bottom = self.bottom.load()
        if bottom - self.top.load() == len(self.cells):
            return False
        self.cells[bottom % len(self.cells)].store(item)
        self.bottom.store(bottom + 1)
        return True

    def pop(self) -> int | None:
        bottom = self.bottom.load() - 1
        self.bottom.store(bottom)
        top = self.top.load()
        if top < bottom:
            return self.cells[bottom % len(self.cells)].load()
        mine = top == bottom and self.top.compare_exchange(top, top + 1) == top
        item = self.cells[bottom % len(self.cells)].load() if mine else None
        self.bottom.store(bottom + 1)
        return item

    def steal(self) -> int | None:
        top = self.top.load()
        if top >= self.bottom.load():
            return None
        item = self.cells[top % len(self.cells)].load()
        self.top.store(top + 1)
        return item
