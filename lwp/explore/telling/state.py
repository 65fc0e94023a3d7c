"""What a thread's variables hold, as a number: what repeats itself without end has the same numbers again.

A loop that counts to a million does the same steps again and again, as a livelock does.  Its variables tell the two
apart.  Floats are passed over, because they are times, which go on in a livelock too.  No code of the program runs.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from itertools import islice
from types import FrameType
from typing import Any

from ...reading.source import variables

_FRAMES = 6  # of the program, the innermost first
_ITEMS = 16  # of a container or an object
_DEPTH = 2  # containers and objects in one another

_PLAIN = frozenset((int, str, bytes, bool, type(None)))
_COUNTS = frozenset((type(iter(range(0))), type(iter([])), type(iter(())), type(iter({})), type(iter(set()))))


def state_of(frames: Iterable[FrameType]) -> int:
    """A number for what the variables of these frames hold.

    frames: those of the program, innermost first, of the calling thread or of a task that waits.
    """
    inner = islice(frames, _FRAMES)
    return hash(tuple((id(one.f_code), one.f_lasti, *_values(variables(one).values(), _DEPTH)) for one in inner))


def _values(values: Iterable[object], depth: int) -> tuple[object, ...]:
    return tuple(_value(value, depth) for value in islice(values, _ITEMS))


def _value(value: Any, depth: int) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return float
    if kind in _COUNTS:
        return id(value), value.__length_hint__()
    if kind is itertools.count:
        return repr(value)
    if kind in (list, tuple, deque, set, frozenset):
        return id(value), len(value), _values(value, depth - 1) if depth else ()
    if kind is dict:
        return id(value), len(value), _values(value.values(), depth - 1) if depth else ()
    attributes = object.__getattribute__(value, "__dict__") if depth and kind.__dictoffset__ else None
    return id(value), _values(attributes.values(), depth - 1) if type(attributes) is dict else ()
