"""Lab 5: a deadlock finder.  Copy this file and make its tests pass; the sheet is course/lab5.md."""

from __future__ import annotations

from collections.abc import Collection

from waits import Wait

from runtime.scheduler import Waiting


def circles(waits: Collection[Wait]) -> set[frozenset[str]]:
    """The circles: each thread of one waits for the next one, which alone can end the wait, and none has a timeout."""
    raise NotImplementedError


def stuck(waits: Collection[Wait]) -> set[str]:
    """All threads that can never go on, in a circle or not."""
    raise NotImplementedError


def waits_of(waiting: Waiting) -> list[Wait]:
    """What runtime.scheduler.waiting() has seen, with the names of threads."""
    raise NotImplementedError
