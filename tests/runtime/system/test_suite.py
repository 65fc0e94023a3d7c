"""How these tests are run: which are left out, in how many processes, and by whom."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TREE
from dear import dear_tests


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


def test_some_cases_of_a_dear_test_are_quick(tmp_path: Path) -> None:
    printed = run_tests(tmp_path, "--collect-only", "-q", f"{TREE}/tests/runtime/core")
    assert "::test_recursion_without_end_is_an_error[function-limit as it is]" in printed
    assert "::test_recursion_without_end_is_an_error[function-limit of 5000]" not in printed


def test_each_dear_test_exists() -> None:
    for test in dear_tests():
        path, *_, name = test.split("::")
        if (TREE / path).exists():  # no sdist has the course, and the core alone no tools
            assert re.search(rf"\bdef {name}\(", (TREE / path).read_text()), test
