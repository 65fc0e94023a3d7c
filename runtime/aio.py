"""asyncio on our threads: a task awaits a thread's end, and no thread waits for it."""

from __future__ import annotations

import asyncio
import os
from _thread import get_ident

from .lwp import LWP
from .thread import Thread

__all__ = ["ended"]


async def ended(thread: Thread | LWP) -> None:
    """Waits until the thread has ended.  Each task that waits has a descriptor of its own.

    RuntimeError: it was not started, or the loop runs in it.
    """
    if thread.ident == get_ident() and thread.is_alive():
        raise RuntimeError(f"{thread!r} runs this loop, so the loop can't wait for its end")
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    fd = os.dup(thread.fileno())  # a loop has one reader for each descriptor
    try:
        loop.add_reader(fd, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(fd)
    finally:
        os.close(fd)
    while thread.is_alive():  # a thread writes to its eventfd a moment before its end; a pidfd comes after it
        await asyncio.sleep(0)
