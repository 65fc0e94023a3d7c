"""A finder that is wrong: which other thread could end the wait?"""

from __future__ import annotations

from collections.abc import Collection

from waits import Wait

from runtime.scheduler import Waiting


def circles(waits: Collection[Wait]) -> set[frozenset[str]]:
    waits_for = {wait.thread: min(wait.holders) for wait in waits if len(wait.holders) == 1 and not wait.timeout}
    found, seen = set(), set[str]()
    for first in waits_for:
        path: list[str] = []
        at = first
        while at in waits_for and at not in seen:
            seen.add(at)
            path.append(at)
            at = waits_for[at]
        if at in path:
            found.add(frozenset(path[path.index(at) :]))
    return found


def stuck(waits: Collection[Wait]) -> set[str]:
    found = set[str]().union(*circles(waits))
    while more := {wait.thread for wait in waits if wait.holders & found and not wait.timeout} - found:
        found |= more
    return found


def waits_of(waiting: Waiting) -> list[Wait]:
    return [
        Wait(
            wait.name,
            frozenset() if wait.holder_name is None else frozenset([wait.holder_name]),
            wait.deadline is not None,
        )
        for wait in waiting.waits
    ]
