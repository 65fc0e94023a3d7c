"""`bench turns` and `bench chaos`: each runs, and prints its rows."""

from __future__ import annotations

import re

import pytest
from checkout import bench

pytestmark = pytest.mark.slow


def test_turns_are_measured_beside_what_is_named() -> None:
    where = [word for name in ("pinned", "busy", "sleeper") for word in ("--beside", name)]
    done = bench("turns", "lock-pingpong", "slow", *where, "--rounds", "1", "--samples", "1")
    rows = re.findall(r"^(lock-pingpong|slow)( +\d+\.\d\d){6}(  p99 .*)?$", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["lock-pingpong", "slow"] * 3
    assert [bool(late) for _, _, late in rows] == [False] * 4 + [True] * 2


def test_chaos_shows_a_bug_of_the_corpus() -> None:
    done = bench("chaos", "airline", "--seconds", "5")
    assert done.stdout.splitlines()[-1] == "chaos: 1 of 1"
