"""Lab 7: a work-stealing queue.  Copy this file and make its tests pass; the sheet is course/lab7.md."""

from __future__ import annotations

from word import Word


class Deque:
    def __init__(self, size: int) -> None:
        """size: how many items it holds at most."""
        self.top, self.bottom = Word(0), Word(0)
        self.cells = [Word(0) for _ in range(size)]

    def push(self, item: int) -> bool:
        """Only the owner calls it: puts an item, from 1 on, at the bottom.  False: there is no room."""
        raise NotImplementedError

    def pop(self) -> int | None:
        """Only the owner calls it: takes the item that was pushed last.  None: there is none."""
        raise NotImplementedError

    def steal(self) -> int | None:
        """Any other thread calls it: takes the item that was pushed first.  None: there is none, or another thread
        has just taken it."""
        raise NotImplementedError
