"""Options that were taken away say what serves instead."""

from __future__ import annotations

import pytest
from conftest import lwp, refusal

from lwp.terminal.gone import GONE, gone


@pytest.mark.parametrize(("command", "option"), [(command, option) for command in GONE for option in GONE[command]])
def test_an_option_that_was_taken_away(command: str, option: str) -> None:
    for words in ([option], [option, "x.py"], [f"{option}=x", "x.py"]):
        assert refusal(lwp(command, *words, status=2)) == f"lwp: {gone(command, option)}\n"
