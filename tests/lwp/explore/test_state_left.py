"""What an exploration has replaced in its process is as before when it has ended, in whatever way."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import python

PROGRAM = Path(__file__).with_name("state_left.py")
CAME = {
    "passes": "BUDGET_SPENT",
    "fails": "FOUND",
    "has_tasks": "BUDGET_SPENT",
    "raises_it": "FOUND",
    "is_interrupted": "KeyboardInterrupt",
    "is_interrupted_early": "KeyboardInterrupt",
}


@pytest.mark.parametrize("way", CAME)
def test_the_process_is_as_before(way: str) -> None:
    assert python(PROGRAM, 1, way).stdout.splitlines() == [CAME[way]]


def test_it_is_so_after_twenty_explorations_that_all_come_to_the_same() -> None:
    assert python(PROGRAM, 4, *CAME, timeout=100).stdout.splitlines() == list(CAME.values())
