"""A run numbers what it makes: names of threads and pools count from 1, and sets of threads and futures have an order.

Otherwise the runs before would show in the names, and addresses would decide in which order a set is walked: the same
schedule would lead to other steps.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ... import native
from .quiet import replace

__all__ = ["Numbers"]


class Numbers:
    """Within a `with` of the thread that explores."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._knows_futures = False
        self._next_future = itertools.count(1)

    def __enter__(self) -> Numbers:
        replace(self._undo, threading, "_counter", lambda before: None)
        replace(self._undo, threading.Thread, "__hash__", lambda before: _hash)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def before_run(self) -> None:
        """Futures are known from the first run on before which concurrent.futures is imported."""
        threading._counter = itertools.count(1).__next__  # type: ignore[attr-defined]
        if (pools := sys.modules.get("concurrent.futures.thread")) is not None:
            pools.ThreadPoolExecutor._counter = itertools.count().__next__
        self._next_future = itertools.count(1)
        futures: Any = sys.modules.get("concurrent.futures._base")
        if futures is None or self._knows_futures:
            return
        self._knows_futures = True
        replace(self._undo, futures.Future, "__init__", self._numbering)
        replace(self._undo, futures.Future, "__hash__", lambda before: _hash)
        futures.id = _place  # wait() takes the locks of its futures in the order of their id()
        self._undo.callback(delattr, futures, "id")

    def _numbering(self, before: Callable[..., None]) -> Callable[..., None]:
        def init(future: Any) -> None:
            before(future)
            if native.explore_index() >= 0:
                future._explore_hash = next(self._next_future)

        return init


def _number(thing: Any) -> int | None:
    """Of a thread or a future that an explored thread has made; native.thread_make() sets a thread's."""
    number: int | None = getattr(thing, "__dict__", {}).get("_explore_hash")
    return number


def _hash(thing: object) -> int:
    number = _number(thing)
    return object.__hash__(thing) if number is None else number


def _place(future: object) -> int:
    """All futures of a run stand before all others, whose addresses are larger."""
    number = _number(future)
    return id(future) if number is None else number
