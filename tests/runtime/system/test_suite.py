"""How these tests are run: which are left out, in how many processes, and by whom."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TREE


def run_tests(folder: Path, *arguments: str, before: str = "") -> str:
    """What pytest prints.  before: lines of the shell that starts it."""
    command = shlex.join([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        ["sh", "-c", f"{before}\nexec {command}"], cwd=folder, env=clean, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ctrl_c_reaches_the_tests_of_a_shell_that_ignores_it(tmp_path: Path) -> None:
    """As POSIX has a shell start what an `&` follows."""
    test = f"{TREE}/tests/runtime/sync/test_sync.py::test_ctrl_c_ends_the_sleep"
    printed = run_tests(tmp_path, test, "--timeout=30", before="trap '' INT")
    assert " 2 passed" in printed
    assert "workers" not in printed  # which take longer to start than two tests


@pytest.mark.parametrize(
    ("arguments", "are_left_out"),
    [
        ([f"{TREE}/tests/runtime/patch"], True),
        ([f"{TREE}/tests/runtime/patch", "--slow"], False),
        ([f"{TREE}/tests/runtime/patch", "-m", "slow"], False),
        ([f"{TREE}/tests/runtime/patch", "-k", "test_nothing_is_loaded_unasked"], False),
        ([f"{TREE}/tests/runtime/patch/test_hook.py"], False),
    ],
    ids=["folder", "slow", "mark", "word", "file"],
)
def test_slow_tests_are_left_out_of_whole_folders(arguments: list[str], are_left_out: bool, tmp_path: Path) -> None:
    printed = run_tests(tmp_path, "--collect-only", "-q", *arguments)
    assert ("slow tests were left out" in printed and "--slow" in printed) == are_left_out
    assert ("::test_nothing_is_loaded_unasked" in printed) != are_left_out
