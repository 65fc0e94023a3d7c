"""asgiref 3.13.0: what async code has set is not there when the thread that called it goes on."""

import asyncio

from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async

HELD = [("MainThread", "asgiref/sync.py", "context[0] = contextvars.copy_context()", 0.5)]

local = Local()


async def inside():
    local.name = "set inside"


def view():
    async_to_sync(inside)()
    assert hasattr(local, "name")


def test():
    asyncio.run(sync_to_async(view, thread_sensitive=False)())
