"""How these tests are run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

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
    test = f"{TREE}/tests/sync/test_sync.py::test_ctrl_c_ends_the_sleep"
    assert " 2 passed" in run_tests(tmp_path, test, "--timeout=30", before="trap '' INT")
