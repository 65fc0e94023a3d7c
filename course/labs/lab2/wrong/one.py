"""A condition variable that is wrong: what can come between two lines of wait()?"""

from __future__ import annotations

import threading

from word import Word


class Condition:
    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.word = Word(0)

    def wait(self) -> None:
        self.lock.release()
        self.word.wait(self.word.load())
        self.lock.acquire()

    def notify(self) -> None:
        self.word.add(1)
        self.word.wake()

    def notify_all(self) -> None:
        self.word.add(1)
        self.word.wake(1_000_000)
