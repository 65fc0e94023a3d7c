"""Pools whose threads all wait for calls that only a thread of the same pool could make."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .crowds import some
from .files import RUNTIME
from .source import outwards
from .waits import Wait, Waiting

_POOL = os.path.join(RUNTIME, "pool.py")  # a floor above


@dataclass(frozen=True)
class Exhausted:
    """A pool that can't go on."""

    waits: tuple[Wait, ...]  #: of all its threads
    queued: int  #: calls that no thread makes

    def __str__(self) -> str:
        many = len(self.waits) > 1
        threads = f"all {len(self.waits):,} threads of a pool wait" if many else "the only thread of a pool waits"
        calls = f"{self.queued:,} call{'s' * (self.queued != 1)}"
        names = some(self.waits, lambda wait: repr(wait.name))
        return f"{threads} for calls of the same pool, which has no thread left for the {calls} in its queue: {names}"


def _pools(stock: Any) -> Iterator[tuple[Any, list[int]]]:
    """What holds the calls of each pool, and the idents of its threads."""
    holders: dict[int, Any] = {}
    idents = defaultdict(list)
    for reference, queue in tuple(stock._threads_queues.data.items()):
        thread = reference()
        if thread is not None and threading._active.get(thread.ident) is thread:  # type: ignore[attr-defined]
            holder = getattr(queue, "_queue", queue)  # of a queue that is made in Python, and of runtime.pool
            holders[id(holder)] = holder
            idents[id(holder)].append(thread.ident)
    return ((holder, idents[key]) for key, holder in holders.items())


def _made(stock: Any, innermost: FrameType | None) -> Iterator[Any]:
    """The future of the call that a pool's thread makes."""
    for frame in outwards(innermost):
        file, function = frame.f_code.co_filename, frame.f_code.co_qualname
        if file == stock.__file__ and function == "_WorkItem.run":
            yield getattr(frame.f_locals.get("self"), "future", None)
        elif file == _POOL and function == "_Worker.run":
            yield frame.f_locals.get("future")


def _queued(stock: Any, holder: Any) -> list[Any]:
    """The futures of the calls that wait for a thread.  Only the collector lists what is in a queue of C."""
    found = gc.get_referents(holder)
    for inner in [one for one in found if type(one) is list]:  # of a SimpleQueue before Python 3.13
        found += inner
    items = [one.future for one in found if issubclass(type(one), stock._WorkItem)]
    return items + [one for one in found if issubclass(type(one), stock._base.Future)]


def _is_submitting(stock: Any, innermost: FrameType) -> bool:
    """Whether the thread may be about to give a pool one more thread."""
    return any(
        frame.f_code.co_name == "submit" and frame.f_code.co_filename in (stock.__file__, _POOL)
        for frame in outwards(innermost)
    )


def exhausted(seen: Waiting) -> list[Exhausted]:
    """Pools of which every thread waits, without a timeout, for a call that is in the pool's queue or is made by such
    a thread.  What was seen before is true still, if the calls are in the queue now."""
    stock = sys.modules.get("concurrent.futures.thread")  # loading it could change what the program does at its end
    waits = {wait.ident: wait for wait in seen.waits if wait.deadline is None and wait.kind in ("future", "condition")}
    pools = [pool for pool in _pools(stock) if waits.keys() >= set(pool[1])] if stock and waits else []
    frames = sys._current_frames() if pools else {}
    if any(_is_submitting(stock, frame) for frame in frames.values()):
        return []
    found = []
    for holder, idents in pools:
        own = tuple(waits[ident] for ident in idents)
        queued = _queued(stock, holder)
        futures = queued + [future for ident in idents for future in _made(stock, frames.get(ident)) if future]
        # A thread waits for a Future of concurrent.futures by the Future's condition.
        awaited = {id(thing) for future in futures for thing in (future, vars(future).get("_condition"))}
        if queued and all(wait.address in awaited for wait in own):
            found.append(Exhausted(own, len(queued)))
    return found
