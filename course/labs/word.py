"""What a lock is made of below: a word in memory that threads change atomically, and the system call futex(2).

This one is made of Python's own locks, so that an explorer can switch threads between any two operations, and count
them.  In C a word is four bytes, the operations are single instructions, and wait() and wake() are system calls.
"""

from __future__ import annotations

import threading
from collections import Counter


class Word:
    def __init__(self, value: int = 0) -> None:
        self._value = value
        self._guard = threading.Lock()
        self._sleepers: list[threading.Event] = []
        self.spurious = 0  #: how many of the next waits return at once, for no reason, as the kernel's may
        self.calls = Counter[str]()  #: how often each operation was called; "wait" and "wake" cost a system call

    def load(self) -> int:
        with self._guard:
            self.calls["load"] += 1
            return self._value

    def store(self, value: int) -> None:
        self.exchange(value)

    def exchange(self, value: int) -> int:
        """Writes the value; what was there before."""
        with self._guard:
            self.calls["exchange"] += 1
            before, self._value = self._value, value
            return before

    def compare_exchange(self, expected: int, value: int) -> int:
        """Writes the value if the expected one is there; what was there before."""
        with self._guard:
            self.calls["compare_exchange"] += 1
            before = self._value
            if before == expected:
                self._value = value
            return before

    def add(self, number: int) -> int:
        """What was there before."""
        with self._guard:
            self.calls["add"] += 1
            self._value += number
            return self._value - number

    def wait(self, value: int) -> None:
        """Sleeps until it is woken, if the word has this value; otherwise returns at once.  FUTEX_WAIT."""
        with self._guard:
            self.calls["wait"] += 1
            if self._value != value:
                return
            if self.spurious:
                self.spurious -= 1
                return
            wake_up = threading.Event()
            self._sleepers.append(wake_up)
        wake_up.wait()

    def wake(self, count: int = 1) -> int:
        """Wakes so many of the threads that sleep here, the first first; how many it were.  FUTEX_WAKE."""
        with self._guard:
            self.calls["wake"] += 1
            woken, self._sleepers = self._sleepers[:count], self._sleepers[count:]
        for wake_up in woken:
            wake_up.set()
        return len(woken)
