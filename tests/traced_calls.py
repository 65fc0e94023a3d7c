"""System calls as strace sees them."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest


def under_strace(trace: Path, *options: str) -> list[str]:
    """The words before a command that have strace write the calls of all its threads to a file; the test is skipped
    where strace is not installed."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    return ["strace", "-f", "-qq", "-o", str(trace), *options]


def lines_between_marks(trace: Path) -> str:
    """What was traced between the calls that name "/begin" and "/end"."""
    found = re.search(r'"/begin".*?\n(.*)\n.*"/end"', trace.read_text(errors="replace"), re.DOTALL)
    assert found
    return found[1]


def count_calls(lines: str) -> Counter[str]:
    return Counter(re.findall(r"^\d+ +(\w+)\(", lines, re.MULTILINE))
