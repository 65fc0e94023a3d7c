"""How labs are graded: `pytest course/labs/lab1 --yours FILE`."""

from __future__ import annotations

import functools
import importlib.util
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lwp.explore import Outcome, explore


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--yours", type=Path, metavar="FILE", help="What is graded; without it the lab's skeleton.")


@pytest.fixture
def yours(request: pytest.FixtureRequest) -> ModuleType:
    """The file that is graded, as a module."""
    path = request.config.option.yours or request.path.with_name("skeleton.py")
    spec = importlib.util.spec_from_file_location("yours", path)
    if not (spec and spec.loader):
        raise pytest.UsageError(f"{path} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Graded = Callable[[str], None]


def compiled(request: pytest.FixtureRequest, program: Path, *options: str | Path) -> None:
    """Makes a program of the file of C that is graded."""
    yours = request.config.option.yours or request.path.with_name("skeleton.c")
    command = ["cc", "-Wall", "-Wextra", "-g", *options, "-I", request.path.parent, yours, "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(done.stderr, pytrace=False)


def runs(program: Path, name: str) -> None:
    """Fails with what a test of a grader.c says, if it does not pass."""
    done = subprocess.run([program, name], capture_output=True, text=True, timeout=60)
    if done.returncode < 0:
        why = f"{done.stdout}{signal.strsignal(-done.returncode)}"
        pytest.fail(f"{why}: gdb -ex run --args {program} {name}", pytrace=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


@pytest.fixture(scope="module")
def graded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """Runs a test of the lab's grader.c on the file of C that is graded."""
    program = tmp_path_factory.mktemp("graded") / "grader"
    compiled(request, program, "-O2", request.path.with_name("grader.c"))
    return functools.partial(runs, program)


def together(*functions: Callable[[], object]) -> None:
    """Runs each in a thread of its own, until all have ended."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_every_order(test: Callable[[], object], preemptions: int = 2) -> None:
    """Fails with a report if the test fails in one of the orders that its threads' operations may come in.

    Tried are all orders in which a thread is interrupted at most so many times where it could go on.  A thread that
    spins is interrupted after a thousand steps, so that the others get on.  Each of its steps is a place for an
    interruption, so that there may be orders without end: then the test fails after some thousands.
    """
    explored = functools.partial(
        explore, test, strategy=f"dfs:{preemptions}", granularity="sync", max_steps=_MOST_STEPS
    )
    result = explored(runs=5_000)
    if result.outcome is Outcome.BUDGET_SPENT and _SPINS not in result.report():
        result = explored(runs=50_000)
    if result.outcome is not Outcome.EXHAUSTED:
        spins = f"{_SPINNING}\n\n" if result.outcome is Outcome.BUDGET_SPENT else ""
        pytest.fail(f"{spins}{result.report()}", pytrace=False)


_MOST_STEPS = 1_000
_SPINS = f"from step {_MOST_STEPS:,} on threads took turns"  # as a report says it
_SPINNING = "A thread asks again and again instead of sleeping: there are more orders of its steps than can be tried."
