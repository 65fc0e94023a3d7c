"""Circles of waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def rings(waits_for: Mapping[int, int | None]) -> Iterator[list[int]]:
    """Each circle of threads, of which each waits for the next, and the last for the first."""
    done: set[int] = set()
    for first in waits_for:
        path: list[int] = []
        at: int | None = first
        while at is not None and at in waits_for and at not in done:
            done.add(at)
            path.append(at)
            at = waits_for[at]
        if at in path:  # it came back to its own beginning, and not to a circle seen before
            yield path[path.index(at) :]
