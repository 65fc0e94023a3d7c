"""Which tests are slow because they take much of a processor: dear.txt names them, as they were measured."""

from __future__ import annotations

import functools
import os
from collections import Counter

import pytest
from this_machine import TREE

_met = Counter[str]()


@functools.cache
def dear_tests() -> dict[str, str]:
    """By test, what of it is quick all the same: "4", its first four cases; "one | two", those with such a word in
    their id; nothing."""
    lines = (TREE / "tests" / "dear.txt").read_text().splitlines()
    found = [line.partition(" = ") for line in lines if line and not line.startswith("#")]
    return {test: quick for test, _, quick in found}


def is_dear(item: pytest.Function) -> bool:
    """To be asked once of each test, in the order in which they were collected."""
    path = os.path.relpath(os.path.realpath(item.path), TREE)
    test = f"{path}::{item.nodeid.partition('::')[2].partition('[')[0]}"
    if (quick := dear_tests().get(test)) is None:
        return False
    _met[test] += 1
    if quick.isdecimal():
        return _met[test] > int(quick)
    return not quick or not any(word in item.name for word in quick.split(" | "))
