"""A project with tests, and pytest run there."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from conftest import python
from counted import IMPORT

IMPORTS = f"""
import asyncio, logging, os, pathlib, queue, threading, time, unittest
import pytest
from without_pytest import run_threads
{IMPORT}"""


def run(folder: Path, tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(IMPORTS + tests)
    return start(folder, *options)


def start(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "pytest", "-p", "no:cacheprovider", *options]
    return python(*command, cwd=folder, status=None, timeout=100, COLUMNS="200", PYTEST_ADDOPTS="")


def outcomes(found: subprocess.CompletedProcess[str]) -> dict[str, int]:
    last = found.stdout.rstrip().rpartition("\n")[2]
    return {
        what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|xfailed|xpassed|errors?)", last)
    }


def came_to(found: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """By test, with -v: `PASSED`, or `FAILED - ` and why."""
    came = dict(re.findall(r"^test_it\.py::(\S+) ([A-Z]+)", found.stdout, re.MULTILINE))
    failed = re.findall(r"^FAILED test_it\.py::(\S+)( - .*)", found.stdout, re.MULTILINE)
    return came | {name: came[name] + why for name, why in failed}


def summary(found: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    """How many tests were explored, in how many runs."""
    match = re.search(r"\n(\d+) tests?: ([\d,]+) runs?, [\d.]+ s, [\d,]+ distinct schedules", found.stdout)
    assert match, found.stdout + found.stderr
    return int(match[1]), int(match[2].replace(",", ""))


def replay_command(found: subprocess.CompletedProcess[str]) -> list[str]:
    match = re.search(r"pytest (.*--lwp-explore-replay \S+)", found.stdout)
    assert match, found.stdout
    return shlex.split(match[1])
