"""Options that were taken away say what serves instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import lwp, python, refusal

from lwp.terminal.gone import GONE, gone


@pytest.mark.parametrize(
    ("command", "option"), [(command, option) for command in GONE for option in GONE[command] if command != "pytest"]
)
def test_an_option_that_was_taken_away(command: str, option: str) -> None:
    for words in ([option], [option, "x.py"], [f"{option}=x", "x.py"]):
        assert refusal(lwp(command, *words, status=2)) == f"lwp: {gone(command, option)}\n"


@pytest.mark.parametrize("option", GONE["pytest"])
def test_an_option_of_pytest_that_was_taken_away(option: str, tmp_path: Path) -> None:
    done = python("-W", "ignore", "-m", "pytest", f"{option}=x", cwd=tmp_path, status=4)  # other plugins warn
    assert done.stderr.splitlines() == [f"ERROR: {gone('pytest', option)}", ""]
