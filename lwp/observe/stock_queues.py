"""Which thread sleeps in `SimpleQueue.get()`, and so which workers of CPython's pools are idle.

CPython's C keeps no record of that wait, so the thread's stack tells it, and the system call that the thread is in.
"""

from __future__ import annotations

import weakref
from _queue import SimpleQueue
from collections.abc import Iterable
from types import FrameType
from typing import NamedTuple

from .. import native
from ..reading.lines import attribute_of, expression_text, receiver
from ..reading.source import outwards, variables


class Awaited(NamedTuple):
    """The queue for whose next item a thread sleeps."""

    queue: object
    called: str  #: what the program calls it, or "the queue of ThreadPoolExecutor-0"; "": it has no name

    @property
    def thing(self) -> str:
        """What the thread waits for, in words."""
        return f"work in {self.called}" if self.called else "work in a queue"


def awaited(frame: FrameType | None, tid: int | None) -> Awaited | None:
    """frame: the thread's innermost.  tid: None: it is a green thread, which waits for a lock of the runtime's."""
    if frame is None or tid is None:
        return None
    queue = receiver(frame, "get")
    sleeps = type(queue) is SimpleQueue and native.call_of(tid) == "futex"
    return Awaited(queue, called(queue, frame)) if sleeps else None


def called(queue: object, frame: FrameType | None) -> str:
    """What the pool whose worker the thread is, or otherwise the line that waits, calls the queue."""
    if frame is None:
        return ""
    of_pool = _of_pool(frame)
    return of_pool[1] if of_pool and of_pool[0] is queue else expression_text(frame)


def called_by_pools(frames: Iterable[FrameType]) -> dict[int, str]:
    """By their id(), what the pools call their queues whose workers have these innermost frames, also busy ones."""
    return {id(found[0]): found[1] for frame in frames if (found := _of_pool(frame))}


def _of_pool(frame: FrameType | None) -> tuple[object, str] | None:
    """The queue of the pool whose worker a thread is, and its name."""
    for outer in outwards(frame):
        if outer.f_code.co_name == "_worker" and outer.f_code.co_filename.endswith("concurrent/futures/thread.py"):
            names = variables(outer)
            pool = names.get("executor_reference")
            prefix = attribute_of(pool(), "_thread_name_prefix") if type(pool) is weakref.ref else None
            name = f"the queue of {prefix}" if type(prefix) is str and prefix else "the queue of a pool"
            return names.get("work_queue"), name
    return None
