"""asyncio of 3.12.1: run_coroutine_threadsafe() to a loop that ends: the caller waits without end."""
# 3.12.1

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
        RuntimeError, concurrent.futures.CancelledError
    ):  # the loop is closed, or has cancelled it: another test
        assert asyncio.run_coroutine_threadsafe(answer(), loops[0]).result() == 42
    server.join()
