"""Which tests are slow because they take much of a processor: dear.txt names them, as they were measured."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter

import pytest
from this_machine import TREE

_met = Counter[str]()


@functools.cache
def dear_tests() -> dict[str, str]:
    """By test, what of it is quick all the same: "4", its first four cases; "one | two", those with such a word in
    their id; nothing."""
    text = re.sub(r"\n +", " ", (TREE / "tests" / "dear.txt").read_text())  # indented lines go on
    found = {}
    for path, _, tests in (line.partition("::") for line in text.splitlines() if line and not line.startswith("#")):
        for name, _, quick in (test.partition(" = ") for test in tests.split("; ")):
            found[f"{path}::{name}"] = quick
    return found


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
