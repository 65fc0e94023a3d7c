"""Grades a doctor for programs that run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from program import Faults, faults

PROGRAM = Path(__file__).with_name("program.py")


class Ill(NamedTuple):
    pid: int
    faults: Faults


@pytest.fixture(scope="module", params=[1, 2, 5], ids="seed {}".format)
def ill(request: pytest.FixtureRequest) -> Iterator[Ill]:
    command = [sys.executable, "-m", "runtime", "run", PROGRAM, str(request.param)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        assert program.stdout.readline() == "open\n"
        yield Ill(program.pid, faults(request.param))
        program.communicate("")


def test_who_is_stuck(yours: ModuleType, ill: Ill) -> None:
    assert set(yours.stuck(ill.pid)) == {*ill.faults.bakers[:-1]}


def test_which_lock_is_slow(yours: ModuleType, ill: Ill) -> None:
    lock, method = yours.slow(ill.pid)
    assert (lock, method) == (f"{ill.faults.book}.lock", f"Book.{ill.faults.method}")


def test_what_nobody_sets(yours: ModuleType, ill: Ill) -> None:
    event, waiters = yours.forgotten(ill.pid)
    assert (event, waiters) == (ill.faults.events[0], ill.faults.waiters)
