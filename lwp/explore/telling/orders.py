"""Pairs of lines that use the same data in two threads, and whether each ran in both orders: how much was tried.

A line beside itself, in two threads, is no pair: its two orders are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .conflicts import Conflict
from .words import short

_MOST = 10  # pairs that are named


_Pair = tuple[str, str, str]  # two lines, and the data's name


def _pair(one: str, other: str, data: str) -> _Pair:
    return (one, other, data) if one < other else (other, one, data)


class Orders:
    """Gathers the orders of runs."""

    def __init__(self) -> None:
        self._seen: dict[_Pair, bool | None] = {}  #: whether the pair's first line was first always; None: not always

    def add(self, conflicts: Iterable[Conflict]) -> None:
        """Of one run."""
        for first, second, _ in conflicts:
            one, other = short(first.place), short(second.place)
            pair = _pair(one, other, first.name if one < other else second.name)
            if one != other and self._seen.setdefault(pair, one < other) != (one < other):
                self._seen[pair] = None

    def told(self) -> tuple[list[dict[str, Any]], str]:
        """As facts, and as text."""
        facts = []
        for (one, other, data), always in self._seen.items():
            first, second = (one, other) if always is not False else (other, one)
            facts.append({"first": first, "second": second, "data": data, "both": always is None})
        lines = [f"  only {one['first']} before {one['second']}: {one['data']}" for one in facts if not one["both"]]
        more = [f"  ... {len(lines) - _MOST:,} more"] * (len(lines) > _MOST)
        return facts, "\n".join([f"Orders: {figure(facts)}", *lines[:_MOST], *more]) if facts else ""


def merged(facts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of several explorations as of one."""
    found: dict[_Pair, dict[str, Any]] = {}
    for fact in facts:
        known = found.setdefault(_pair(fact["first"], fact["second"], fact["data"]), dict(fact))
        known["both"] |= fact["both"] or fact["first"] != known["first"]
    return list(found.values())


def figure(facts: list[dict[str, Any]]) -> str:
    both = sum(fact["both"] for fact in facts)
    return f"{both:,} of {len(facts):,} pairs of lines that use the same data in two threads ran in both orders"
