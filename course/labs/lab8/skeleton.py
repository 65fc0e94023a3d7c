"""Lab 8: five classes with a race each.  Copy this file and repair them; the sheet is course/lab8.md."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Counter:
    """Counts what is reported to it; each report counts."""

    def __init__(self) -> None:
        self.total = 0

    def report(self, weigh: Callable[[], int]) -> None:
        """Adds weigh(), which may take long."""
        self.total += weigh()


class Cache:
    """Keeps what make(key) has returned."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """The value of this key, which is made once, by the first thread that asks for it.

        Values of two keys may be made at once.
        """
        if key not in self._values:
            self._values[key] = self._make(key)
        return self._values[key]


class Account:
    def __init__(self, balance: int) -> None:
        self.balance = balance
        self.lock = threading.Lock()

    def pay(self, other: Account, amount: int) -> bool:
        """Moves the amount to the other account; False: there isn't enough.

        While another thread holds the lock of an account, its balance stays as it is, and payments between other
        accounts go on.
        """
        with self.lock, other.lock:
            if self.balance < amount:
                return False
            self.balance -= amount
            other.balance += amount
            return True


class Bell:
    """Calls functions.  A function may add and remove functions, itself too."""

    def __init__(self) -> None:
        self._functions: list[Callable[[], object]] = []

    def add(self, function: Callable[[], object]) -> None:
        self._functions.append(function)

    def remove(self, function: Callable[[], object]) -> None:
        self._functions.remove(function)

    def ring(self) -> None:
        """Calls each function that is there at this moment, once."""
        for function in self._functions:
            function()


class Gate:
    """Threads pass while it is open.  A thread that waits for it passes at the next open(), also if close() follows."""

    def __init__(self) -> None:
        self._open = False
        self._opened = threading.Condition()

    def pass_(self) -> None:
        """Returns at once if the gate is open, and otherwise when it is opened."""
        if not self._open:
            with self._opened:
                self._opened.wait()

    def open(self) -> None:
        self._open = True
        with self._opened:
            self._opened.notify_all()

    def close(self) -> None:
        self._open = False
