"""Pools whose threads all wait for calls that only a thread of the same pool could make."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from .crowds import some
from .files import RUNTIME
from .waits import Look, Wait

__all__ = ["Exhausted", "exhausted"]

_POOL = os.path.join(RUNTIME, "pool.py")  # a floor above
_SUBMITS = "ThreadPoolExecutor.submit", "Executor.submit"


@dataclass(frozen=True)
class Exhausted:
    """A pool that can't go on."""

    waits: list[Wait]  #: of all its threads
    queued: int  #: calls that no thread makes

    def __str__(self) -> str:
        many = len(self.waits) > 1
        threads = f"all {len(self.waits):,} threads of a pool wait" if many else "the only thread of a pool waits"
        calls = f"{self.queued:,} call{'s' * (self.queued != 1)}"
        names = some(self.waits, lambda wait: repr(wait.name))
        return f"{threads} for calls of the same pool, which has no thread left for the {calls} in its queue: {names}"


@dataclass
class _Pool:
    queue: Any
    idents: list[int] = field(default_factory=list)
    futures: list[Any] = field(default_factory=list)  # of the calls that its threads make


def _pools(stock: Any) -> Iterable[_Pool]:
    """All pools, by the frames of their threads; none while a call is submitted, which may start a thread."""
    found: dict[int, _Pool] = {}
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        future = None
        while frame is not None:
            file, name = frame.f_code.co_filename, frame.f_code.co_qualname
            queue = None
            if file in (stock.__file__, _POOL) and name in _SUBMITS:
                return ()
            if file == stock.__file__ and name == "_worker":
                queue, item = frame.f_locals.get("work_queue"), frame.f_locals.get("work_item")
                future = getattr(item, "future", None)
            elif file == _POOL and name == "_Worker.run":
                future = frame.f_locals.get("future")
            elif file == _POOL and name == "_Worker.work":
                queue = frame.f_locals["self"].queue
            if queue is not None:
                pool = found.setdefault(id(queue), _Pool(queue))
                pool.idents.append(ident)
                pool.futures += [future] * (future is not None)
            frame = frame.f_back
    return found.values()


def _threads(stock: Any, queue: Any) -> int:
    """How many threads a pool has, also those that have just been started."""
    if hasattr(queue, "records"):
        return len(queue.records)
    return sum(one is queue for one in tuple(stock._threads_queues.data.values()))


def _queued(stock: Any, queue: Any) -> list[Any]:
    """The futures of the calls in a pool's queue."""
    in_python = getattr(queue, "_queue", None)  # of _PySimpleQueue, which green threads have
    found = gc.get_referents(queue) if in_python is None else list(in_python)  # only the collector lists one of C
    for inner in [one for one in found if type(one) is list]:  # of a SimpleQueue before Python 3.13
        found += inner
    items = [one.future for one in found if issubclass(type(one), stock._WorkItem)]
    return items + [one for one in found if issubclass(type(one), stock._base.Future)]


def exhausted(seen: Look) -> list[Exhausted]:
    """Pools of which every thread waits, without a timeout, for a call that is in the pool's queue or is made by such
    a thread.  What the look saw before is true still, if the calls are in the queue now."""
    stock = sys.modules.get("concurrent.futures.thread")  # loading it could change what the program does at its end
    waits = {wait.ident: wait for wait in seen.waiting.waits if wait.deadline is None}
    if stock is None or not any(wait.kind in ("future", "condition") for wait in waits.values()):
        return []
    found = []
    for pool in _pools(stock):
        own = [waits[ident] for ident in pool.idents if ident in waits]
        if len(own) < len(pool.idents) or len(own) != _threads(stock, pool.queue):
            continue
        queued = _queued(stock, pool.queue)
        # A thread waits for a Future of concurrent.futures by the Future's condition.
        theirs = {id(awaited) for one in queued + pool.futures for awaited in (one, vars(one).get("_condition"))}
        if queued and all(wait.address in theirs for wait in own):
            found.append(Exhausted(own, len(queued)))
    return found
