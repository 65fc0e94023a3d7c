"""Lab 7: the items are those from top to bottom (Chase and Lev, "Dynamic Circular Work-Stealing Deque", 2005)."""

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
        self.bottom.store(bottom + 1)  # from here on it can be stolen
        return True

    def pop(self) -> int | None:
        bottom = self.bottom.load() - 1
        self.bottom.store(bottom)  # a thief that looks from here on leaves this item alone
        top = self.top.load()
        if top < bottom:
            return self.cells[bottom % len(self.cells)].load()
        # The last item, if there is one.  A thief may have looked before, so both take it at the top, and one fails.
        mine = top == bottom and self.top.compare_exchange(top, top + 1) == top
        item = self.cells[bottom % len(self.cells)].load() if mine else None
        self.bottom.store(bottom + 1)
        return item

    def steal(self) -> int | None:
        top = self.top.load()
        if top >= self.bottom.load():
            return None
        # The item is read first: once the top has gone on, the owner may put another one in that cell.
        item = self.cells[top % len(self.cells)].load()
        return item if self.top.compare_exchange(top, top + 1) == top else None
