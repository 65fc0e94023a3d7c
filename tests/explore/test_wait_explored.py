"""runtime.wait() in explored threads."""

from __future__ import annotations

import pytest

from runtime import wait
from runtime.explore import Outcome, explore
from runtime.sync import Event

pytestmark = pytest.mark.loads  # what replaces blocking calls: ssl


def test_it_says_that_it_can_not_be_explored() -> None:
    def program() -> None:
        with pytest.raises(NotImplementedError, match=r"runtime\.wait\(\) can't be explored"):
            wait([Event()], 1)

    result = explore(program, granularity="sync", runs=2)
    assert result.outcome in (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED), result.report()
