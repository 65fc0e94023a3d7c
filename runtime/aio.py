"""asyncio on our threads: a task awaits what a thread would wait for.

A loop has one eventfd for all that its tasks await here, and no thread waits for them.  Things that end, are released
or set before the loop looks again tell it by one write(2) together.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any
from weakref import WeakKeyDictionary, ref

from . import native
from .lwp import LWP
from .thread import Thread

native.wait_thread_class(threading.Thread)

__all__ = ["acquire", "ended"]


class _Bell:
    """What wakes one loop.  Only the loop has it, as its reader: so it is gone when the loop is closed, or is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._fd = fd
        self.native = native.Bell(fd)
        #: Kept until the task goes on, because it gives back what it is granted if it is cancelled or its loop is
        #: closed.
        self.pending: dict[native.Awaited, asyncio.Future[None]] = {}
        loop.add_reader(fd, self.ring)

    def ring(self) -> None:
        while (awaited := self.native.ring()) is not None:
            future = self.pending.get(awaited)
            if future is not None and not future.done():
                future.set_result(None)

    def __del__(self) -> None:
        for awaited in list(self.pending):
            awaited.cancel()
        self.pending.clear()
        os.close(self._fd)


#: A reference from here to the bell would keep the loop, by the futures of its tasks.
_bells: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Bell]] = WeakKeyDictionary()


def _bell_of(loop: asyncio.AbstractEventLoop) -> _Bell:
    reference = _bells.get(loop)
    bell = reference() if reference is not None else None
    if bell is None:
        bell = _Bell(loop, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        _bells[loop] = ref(bell)
    return bell


async def _until_ready(thing: Any) -> None:
    loop = asyncio.get_running_loop()
    bell = _bell_of(loop)
    awaited, pending = native.Awaited(bell.native, thing), bell.pending
    del bell
    try:
        pending[awaited] = future = loop.create_future()
        if awaited.enter():
            await future
    except BaseException:  # cancelled, perhaps when it had been granted
        awaited.cancel()
        raise
    finally:
        pending.pop(awaited, None)


async def ended(thread: Thread | LWP) -> None:
    """Waits until the thread has ended.

    RuntimeError: it was not started, or the loop runs in it.
    """
    await _until_ready(thread)


async def acquire(lock: Any) -> None:
    """Waits until the loop's thread has acquired the Lock, RLock or Semaphore, in turn with threads that call
    acquire().

    A task that is cancelled doesn't have it.  An RLock belongs to the loop's thread, so it excludes other threads, and
    not the loop's other tasks.
    """
    if not isinstance(lock, native.lock | native.RLock | native.SemaphoreBase):
        raise TypeError(f"can acquire a Lock, RLock or Semaphore of the runtime, not {lock!r}")
    await _until_ready(lock)
