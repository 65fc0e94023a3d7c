"""Lab 2: the word counts notifications.  A waiter sleeps only if none has come since it had the lock."""

from __future__ import annotations

import threading

from word import Word


class Condition:
    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.word = Word(0)

    def wait(self) -> None:
        before = self.word.load()
        self.lock.release()
        self.word.wait(before)
        self.lock.acquire()

    def notify(self) -> None:
        self.word.add(1)
        self.word.wake()

    def notify_all(self) -> None:
        self.word.add(1)
        self.word.wake(1_000_000)
