"""Lab 8: what must be one step is done under a lock, and what is not ours is called without it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def report(self, weigh: Callable[[], int]) -> None:
        number = weigh()
        with self._lock:
            self.total += number


class Cache:
    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._values: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Any:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # of this key alone
            if key not in self._values:
                self._values[key] = self._make(key)
            return self._values[key]


class Account:
    _numbers = itertools.count()

    def __init__(self, balance: int) -> None:
        self._number = next(self._numbers)
        self.balance = balance
        self.lock = threading.Lock()

    def pay(self, other: Account, amount: int) -> bool:
        if other is self:
            with self.lock:
                return self.balance >= amount
        first, second = sorted((self, other), key=lambda account: account._number)
        with first.lock, second.lock:
            if self.balance < amount:
                return False
            self.balance -= amount
            other.balance += amount
            return True


class Bell:
    def __init__(self) -> None:
        self._functions: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def add(self, function: Callable[[], object]) -> None:
        with self._lock:
            self._functions.append(function)

    def remove(self, function: Callable[[], object]) -> None:
        with self._lock:
            self._functions.remove(function)

    def ring(self) -> None:
        with self._lock:
            functions = list(self._functions)
        for function in functions:
            function()


class Gate:
    def __init__(self) -> None:
        self._open = False
        self._times = 0  # how often it was opened
        self._opened = threading.Condition()

    def pass_(self) -> None:
        with self._opened:
            before = self._times
            while not self._open and self._times == before:
                self._opened.wait()

    def open(self) -> None:
        with self._opened:
            self._open = True
            self._times += 1
            self._opened.notify_all()

    def close(self) -> None:
        with self._opened:
            self._open = False
