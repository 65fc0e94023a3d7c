"""Lab 9: what copy on write costs.  Copy this file and make its tests pass; the sheet is course/lab9.md."""

from __future__ import annotations

from collections.abc import Callable

#: How many page faults each has: first think, then measure.  All memory is of 1,000 pages and private, if nothing else
#: is said; "then" is after the fork.
PREDICTED: dict[str, int | None] = {
    "parent writes, then child reads": None,
    "parent writes, then child writes": None,
    "parent writes, then child writes twice": None,
    "parent writes, then child writes and ends, then parent writes": None,
    "parent writes, then child ends, then parent writes": None,
    "parent reads, then child writes": None,
    "nobody writes, then child reads": None,
    "nobody writes, then child reads and writes": None,
    "parent writes to shared memory, then child writes": None,
    "parent has a list of 100,000 floats, then child adds them up": None,
    "parent has an array of 100,000 floats, then child adds them up": None,
}


def child_faults(work: Callable[[], object]) -> int:
    """How many page faults a child of fork has because of work().

    Nothing that work() does is seen in the calling process, and no child is left.

    ChildProcessError: work() has raised.
    """
    raise NotImplementedError
