"""A run numbers what it makes: names of threads and pools count from 1, and sets of threads and futures have an order.

Otherwise the runs before would show in the names, and addresses would decide in which order a set is walked: the same
schedule would lead to other steps.
"""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ... import native
from ...reading.files import is_program, name_of_file
from .quiet import replace


class Numbers:
    """Within a `with` of the thread that explores."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._knows_pools = self._knows_futures = False
        self.addressed = ""  #: the program's line that has asked for an id(), "" if none has
        self._next_thread, self._next_pool, self._next_future = native.explore_counters()

    def __enter__(self) -> Numbers:
        replace(self._undo, threading, "_counter", lambda before: self._next_thread)
        replace(self._undo, builtins, "id", self._noting)
        replace(self._undo, threading.Thread, "__hash__", lambda before: native.explore_hash)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _noting(self, before: Callable[[object], int]) -> Callable[[object], int]:
        def id(thing: object, /) -> int:
            caller = sys._getframe(1)
            if not self.addressed and native.explore_index() >= 0 and is_program(caller.f_code.co_filename):
                self.addressed = f"{name_of_file(caller.f_code.co_filename)}:{caller.f_lineno}"
            return before(thing)

        return id

    def look(self) -> None:
        """Pools and futures are known from the first run on before which their modules are imported."""
        pools: Any = sys.modules.get("concurrent.futures.thread")
        if pools is not None and not self._knows_pools:
            self._knows_pools = True
            replace(self._undo, pools.ThreadPoolExecutor, "_counter", lambda before: self._next_pool)
        futures: Any = sys.modules.get("concurrent.futures._base")
        if futures is None or self._knows_futures:
            return
        self._knows_futures = True
        replace(self._undo, futures.Future, "__init__", self._numbering)
        replace(self._undo, futures.Future, "__hash__", lambda before: native.explore_hash)
        futures.id = _place  # wait() takes the locks of its futures in the order of their id()
        self._undo.callback(delattr, futures, "id")

    def _numbering(self, before: Callable[..., None]) -> Callable[..., None]:
        def init(future: Any) -> None:
            before(future)
            if native.explore_index() >= 0:
                future._explore_hash = self._next_future()

        return init


def _place(future: object) -> int:
    """All futures of a run stand before all others, whose addresses are larger."""
    number: int | None = getattr(future, "__dict__", {}).get("_explore_hash")
    return id(future) if number is None else number
