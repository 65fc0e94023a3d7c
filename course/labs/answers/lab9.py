"""Lab 9: a child counts for itself, and says the number by a pipe."""

from __future__ import annotations

import mmap
import os
import resource
import sysconfig
from collections.abc import Callable

PAGES = 1000
FLOAT = 48 if sysconfig.get_config_var("Py_GIL_DISABLED") else 32  # bytes between two floats, as their id() tells

PREDICTED: dict[str, int | None] = {
    "parent writes, then child reads": 0,  # the child has a page table of its own, with all pages in it
    "parent writes, then child writes": PAGES,
    "parent writes, then child writes twice": PAGES,
    "parent writes, then child writes and ends, then parent writes": PAGES,
    "parent writes, then child ends, then parent writes": PAGES,
    "parent reads, then child writes": PAGES,  # what was read is the one page of zeros
    "nobody writes, then child reads": PAGES,
    "nobody writes, then child reads and writes": 2 * PAGES,
    "parent writes to shared memory, then child writes": PAGES,  # its part of the page table isn't copied
    "parent has a list of 100,000 floats, then child adds them up": 100_000 * FLOAT // mmap.PAGESIZE,
    "parent has an array of 100,000 floats, then child adds them up": 0,
}


def child_faults(work: Callable[[], object]) -> int:
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            work()
            after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            os.write(writer, str(after - before).encode())
            status = 0
        finally:
            os._exit(status)  # also after an exception: the code that called fork() is the parent's
    os.close(writer)
    with open(reader) as pipe:
        counted = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise ChildProcessError("the child has failed")
    return int(counted)
