"""A finder that is wrong: is a thread stuck, if nobody knows which thread will wake it?"""

from __future__ import annotations

from collections import defaultdict
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
    asleep = {wait.thread for wait in waits}
    wakes = defaultdict[str, list[str]](list)
    for wait in waits:
        for holder in wait.holders:
            wakes[holder].append(wait.thread)
    can_go_on = [wait.thread for wait in waits if wait.timeout or not wait.holders <= asleep]
    while can_go_on:
        thread = can_go_on.pop()
        if thread in asleep:
            asleep.remove(thread)
            can_go_on += wakes[thread]
    return asleep


def waits_of(waiting: Waiting) -> list[Wait]:
    return [
        Wait(
            wait.name,
            frozenset() if wait.holder_name is None else frozenset([wait.holder_name]),
            wait.deadline is not None,
        )
        for wait in waiting.waits
    ]
