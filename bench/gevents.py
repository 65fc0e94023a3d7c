"""gevent as a module with threading's names, as far as it has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import RLock, Semaphore
from gevent.thread import allocate_lock as Lock  # a class, in spite of its name

from lwp.bench.operations import Unavailable

__all__ = ["Event", "Lock", "RLock", "Semaphore", "Thread", "take_turns"]


class Thread:
    """What the operations need of a thread."""

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = ()) -> None:
        self._greenlet = gevent.Greenlet(target, *args)

    def start(self) -> None:
        self._greenlet.start()

    def join(self) -> None:
        self._greenlet.join()

    def is_alive(self) -> bool:
        return bool(self._greenlet)


def take_turns(number: int) -> None:
    """Makes this number of switches, between two threads that leave the hub to each other."""

    def turn() -> None:
        for _ in range(number // 2):
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(turn) for _ in range(2)])


def __getattr__(name: str) -> Any:
    raise Unavailable(f"gevent has no {name} of threading's")
