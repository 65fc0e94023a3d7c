"""A condition variable that is wrong: which thread reads the message first?"""

from __future__ import annotations

import threading

from word import Word


class Condition:
    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.word = Word(0)

    def wait(self) -> None:
        self.word.store(0)
        self.lock.release()
        self.word.wait(0)
        self.lock.acquire()

    def notify(self) -> None:
        self.word.store(1)
        self.word.wake()

    def notify_all(self) -> None:
        self.word.store(1)
        self.word.wake(1_000_000)
