"""Threads, and tasks of asyncio, that do the same, told together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from types import CodeType
from typing import Any, TypeVar

FEW = 3  #: threads that do the same and are told one by one; of more, so many are named

T = TypeVar("T")

#: What tells one stack from another: of each frame the function and the line, from the innermost outwards.
Calls = tuple[tuple[CodeType, int], ...]


def some(things: Sequence[T], name: Callable[[T], str]) -> str:
    """The names of the first few, and how many there are besides."""
    left = len(things) - FEW
    names = ", ".join(map(name, things[:FEW]))
    return names if left <= 0 else f"{names} and {left:,} more"


def like_it(things: int) -> str:
    """That one of so many things is named, and the others are waited for in the same way."""
    others = things - 1
    return f", and {others:,} other{'s' * (others > 1)} like it" if others else ""


def left(deadline: float | None, now: float, until: str = "its timeout") -> str:
    """How long a wait may still last."""
    return "" if deadline is None else f", {max(deadline - now, 0):.1f} s to {until}"


def of_wait(wait: Any) -> dict[str, Any]:
    """Of a Wait, what many may have in common, and when the first began."""
    return {
        "kind": wait.kind,
        "for": wait.thing,
        "called": wait.called,
        "address": wait.address,
        "holder": wait.held_by or None,
        "holder_ident": wait.holder,
        "taken": wait.taken,
        "since": wait.since,
        "deadline": wait.deadline,
    }


class Crowds:
    """Gathers threads or tasks into crowds, which are data for JSON: what is said of all of a crowd, and their list.

    "wait" of a crowd is None, or tells one of its waits, "since" and "deadline" of the first, and of how many "things"
    they are.  "since" of the crowd is when the first has come into C code; None if its threads are not there, or it
    isn't known.
    """

    def __init__(self, of: str = "threads") -> None:
        self._of = of  #: the list's name
        self._found: dict[Hashable, dict[str, Any]] = {}
        self._addresses: dict[Hashable, set[Hashable]] = defaultdict(set)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._found

    def begin(self, key: Hashable, said: dict[str, Any]) -> None:
        self._found[key] = {**said, self._of: []}

    def join(self, key: Hashable, one: object, address: Hashable, since: float, deadline: float | None = None) -> None:
        """One more for a crowd that has begun.  address, since, deadline: of its wait, if the crowd has one, and since
        of its call in C."""
        crowd, addresses = self._found[key], self._addresses[key]
        crowd[self._of].append(one)
        addresses.add(address)
        if (wait := crowd["wait"]) is not None:
            wait["since"], wait["things"] = min(wait["since"], since), len(addresses)
            if deadline is not None:
                wait["deadline"] = min(wait["deadline"], deadline)
        elif crowd["since"] is not None:
            crowd["since"] = min(crowd["since"], since)

    def all(self) -> list[dict[str, Any]]:
        """The largest first."""
        return sorted(self._found.values(), key=lambda crowd: -len(crowd[self._of]))
