"""asyncio of 3.12.1: run_coroutine_threadsafe() to a loop that ends: CancelledError, though nobody cancelled it."""
# 3.12.1 --include asyncio

import asyncio
import concurrent.futures
import contextlib
import threading


async def answer():
    await asyncio.sleep(0)
    return 42


def test():
    loops = []
    ready = threading.Event()

    async def main():
        loops.append(asyncio.get_running_loop())
        ready.set()
        await asyncio.sleep(0)

    server = threading.Thread(target=lambda: asyncio.run(main()))
    server.start()
    ready.wait()
    with contextlib.suppress(
        RuntimeError, concurrent.futures.TimeoutError
    ):  # the loop is closed, and says so; that nobody answers is another test
        assert asyncio.run_coroutine_threadsafe(answer(), loops[0]).result(timeout=5) == 42
    server.join()
