"""A test on asyncio itself, of which one task is cancelled where its CANCELLED says: `cancelled.py TEST.py`.

A place: the task's name, how the file's ends, and a text of the line that awaits.  The task is cancelled when what it
awaits there is done, before it goes on.  The exit status is 1 if the test fails or hangs.
"""

from __future__ import annotations

import asyncio
import linecache
import runpy
import sys
from typing import Any


def place_of(task: asyncio.Task[Any]) -> tuple[str, int]:
    """Where its innermost coroutine awaits."""
    awaited, place = task.get_coro(), ("", 0)
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        place = frame.f_code.co_filename, frame.f_lineno
        awaited = awaited.cr_await
    return place


async def main(names: dict[str, Any]) -> None:
    name, end, text = names["CANCELLED"]
    test = asyncio.create_task(names["test"]())
    until = asyncio.get_running_loop().time() + 10
    while not test.done():
        await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            file, line = place_of(task)
            is_there = task.get_name() == name and file.endswith(end) and text in linecache.getline(file, line)
            if is_there and task._fut_waiter.done() and not task.cancelling():
                print(f"{name} is cancelled at {end}:{line}, in {text}", flush=True)
                task.cancel()
        if asyncio.get_running_loop().time() > until:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                file, line = place_of(task)
                print(f"{task.get_name()} waits at {file}:{line}: {linecache.getline(file, line).strip()}")
            sys.exit(1)
    test.result()
    print("passes", flush=True)


if __name__ == "__main__":
    asyncio.run(main(runpy.run_path(sys.argv[1])))
