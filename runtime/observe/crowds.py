"""Threads that do the same, told together."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import TypeVar

__all__ = ["FEW", "Calls", "calls", "some"]

FEW = 3  #: threads that do the same and are told one by one; of more, so many are named

T = TypeVar("T")

Calls = tuple[tuple[CodeType, int], ...]


def calls(frame: FrameType) -> Calls:
    """What tells one stack from another: of each frame the function and the line, from the innermost outwards."""
    return tuple((each.f_code, line) for each, line in traceback.walk_stack(frame))


def some(things: Sequence[T], name: Callable[[T], str]) -> str:
    """The names of the first few, and how many there are besides."""
    left = len(things) - FEW
    names = ", ".join(map(name, things[:FEW]))
    return names if left <= 0 else f"{names} and {left:,} more"
