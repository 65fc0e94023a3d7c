"""asyncio on our threads: what a thread would wait for, awaited by a task.

A loop has one eventfd for all that its tasks await here, and no thread waits for them.  What ends, is released or set
meanwhile tells the loop by one write(2), however many there are.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from . import native
from .lwp import LWP
from .thread import Thread

__all__ = ["acquire", "ended"]


class _Bell:
    """What wakes one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.native = native.Bell()
        self.pending: dict[native.Awaited, asyncio.Future[None]] = {}
        loop.add_reader(self.native.fileno(), self._ring)

    def _ring(self) -> None:
        for awaited in self.native.ring():
            future = self.pending.pop(awaited, None)
            if future is not None and not future.done():
                future.set_result(None)


_bells: WeakKeyDictionary[asyncio.AbstractEventLoop, _Bell] = WeakKeyDictionary()


async def _until_ready(thing: Any) -> None:
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = _Bell(loop)
    awaited = bell.native.watch(thing)
    if awaited is None:
        return
    future = bell.pending[awaited] = loop.create_future()
    try:
        await future
    except BaseException:  # cancelled, perhaps when it had been granted
        bell.pending.pop(awaited, None)
        awaited.cancel()
        raise


async def ended(thread: Thread | LWP) -> None:
    """Waits until the thread has ended.

    RuntimeError: it was not started, or it is the one that the loop runs in.
    """
    await _until_ready(thread)


async def acquire(lock: Any) -> None:
    """Waits until the Lock, RLock or Semaphore is acquired, by the loop's thread, as threads wait for it in acquire().

    A task that is cancelled doesn't have it.  An RLock is the loop's thread's, so it excludes threads, not other tasks.
    """
    if not isinstance(lock, native.lock | native.RLock | native.SemaphoreBase):
        raise TypeError(f"can acquire a Lock, RLock or Semaphore of the runtime, not {lock!r}")
    await _until_ready(lock)
