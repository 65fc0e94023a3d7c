"""What a story repeats at its end, for a run that would never end."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

__all__ = ["Cycle", "find_cycle"]

_AT_LEAST = 3  # times
_LOOKED_AT = 6000  # events


class Cycle(NamedTuple):
    """What a list repeats at its end."""

    begin: int
    length: int
    times: int


def find_cycle(keys: list[Hashable]) -> Cycle | None:
    """The shortest part that the list repeats at its end, if it does so at least three times."""
    backwards = keys[-_LOOKED_AT:][::-1]
    matches = _prefix_matches(backwards)
    for length in range(1, len(backwards) // _AT_LEAST + 1):
        if matches[length] >= (_AT_LEAST - 1) * length:
            begin = len(keys) - length
            while begin and keys[begin - 1] == keys[begin - 1 + length]:
                begin -= 1
            return Cycle(begin, length, (len(keys) - begin) // length)
    return None


def _prefix_matches(items: list[Hashable]) -> list[int]:
    """For each place, how many items from there on are as those at the begin: the Z function."""
    found = [0] * (len(items) + 1)
    left = right = 0
    for at in range(1, len(items)):
        if at < right:
            found[at] = min(right - at, found[at - left])
        while at + found[at] < len(items) and items[found[at]] == items[at + found[at]]:
            found[at] += 1
        if at + found[at] > right:
            left, right = at, at + found[at]
    return found
