"""A lock, with a wait for what other threads change under it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType


class Monitor:
    """`with monitor:` holds it.  The other methods are called while it is held."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self.spurious = 0  #: how many of the next waits return at once, for no reason
        self.calls = Counter[str]()  #: how often each method was called
        self.on_sleep: Callable[[], object] | None = None  #: called by a thread that is about to sleep

    def __enter__(self) -> None:
        self._changed.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._changed.release()

    def wait(self) -> None:
        """Gives the monitor up, sleeps until it is woken, and takes the monitor again."""
        self.calls["wait"] += 1
        if self.spurious:
            self.spurious -= 1
            return
        if self.on_sleep:
            self.on_sleep()
        self._changed.wait()

    def wake(self) -> None:
        """Wakes one thread that waits."""
        self.calls["wake"] += 1
        self._changed.notify()

    def wake_all(self) -> None:
        """Wakes all threads that wait."""
        self.calls["wake_all"] += 1
        self._changed.notify_all()
