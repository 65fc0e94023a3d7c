"""Lab 1: 0 is free, 1 is held, 2 is held and somebody may wait (Ulrich Drepper, "Futexes Are Tricky", mutex 2)."""

from __future__ import annotations

from word import Word


class Lock:
    def __init__(self) -> None:
        self.word = Word(0)

    def acquire(self) -> None:
        if self.word.compare_exchange(0, 1) == 0:
            return
        # From here on others may sleep here, too, and the thread can't know.  So it takes the lock as 2 at best, and
        # its release wakes one more than needed.  Taking it as 1 would forget the others.
        while self.word.exchange(2) != 0:
            self.word.wait(2)

    def release(self) -> None:
        if self.word.exchange(0) == 2:
            self.word.wake()
