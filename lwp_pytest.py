"""`pytest --lwp`: a project's tests on the runtime, and at the end how many threads they have made.

pytest imports this module whenever it runs, whatever it tests: so it is not in the package, and loads nothing of it
until it is asked to.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

import lwp_runtime

__all__: list[str] = []

#: (started, peak, alive) of each worker of pytest-xdist that has ended
_workers: pytest.StashKey[list[tuple[int, int, int]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lwp", "threads made by lwp")
    group.addoption("--lwp", action="store_true", help="Run the tests on threads made by lwp, and count them.")
    group.addoption(
        "--lwp-watchdog",
        type=float,
        metavar="SECONDS",
        help="With --lwp: when nothing has moved for so long, say in which test, who waits for what, and all stacks.",
    )
    group.addoption(
        "--lwp-watchdog-exit",
        type=int,
        metavar="STATUS",
        help="And then end pytest, or the worker of pytest-xdist, with this exit status, at once.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # Before any module of the tests, or conftest.py, is imported.
    if not early_config.known_args_namespace.lwp:
        return
    try:
        patch = lwp_runtime.load("patch.installation")
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error
    lwp_runtime.give_way()
    if not patch.is_installed():
        patch.install()
        early_config.add_cleanup(patch.uninstall)  # for a program that calls pytest.main()


def _current_test() -> str:
    test = os.environ.get("PYTEST_CURRENT_TEST")  # which pytest sets; it ends with the phase
    return f"; pytest is at {test}" if test else ""


def pytest_configure(config: pytest.Config) -> None:
    seconds, status = config.option.lwp_watchdog, config.option.lwp_watchdog_exit
    if seconds is None and status is None:
        return
    if not config.option.lwp:
        raise pytest.UsageError("--lwp-watchdog is for --lwp")
    if seconds is None:
        raise pytest.UsageError("--lwp-watchdog-exit is for --lwp-watchdog")
    if not 0.1 <= seconds <= 1e6:  # NaN, too, is not
        raise pytest.UsageError(f"--lwp-watchdog: {seconds:g} is not a number of seconds from 0.1 to 1e6")
    if status is not None and not 1 <= status <= 255:
        raise pytest.UsageError(f"--lwp-watchdog-exit: {status} is not an exit status from 1 to 255")
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return  # pytest-xdist's controller waits for its workers, each of which has a watchdog
    native, watchdog = lwp_runtime.load("native"), lwp_runtime.load("observe.watchdog")
    # Standard error as it is before any test is captured.
    fd = os.dup((sys.__stderr__ or sys.stderr).fileno())
    look = watchdog.Watchdog(seconds, watchdog.teller(fd), _current_test).look
    native.watch_start(None, look, min(seconds / 4, 0.5), seconds, -1 if status is None else status, fd)
    config.add_cleanup(lambda: os.close(fd))
    config.add_cleanup(native.watch_stop)  # before that


def _counts() -> tuple[int, int, int]:
    found = lwp_runtime.load("scheduler").statistics()
    return found.started, found.peak, found.alive


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None and session.config.option.lwp:
        output["lwp"] = _counts()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # pytest-xdist's: a worker has ended
    if counts := getattr(node, "workeroutput", {}).get("lwp"):
        node.config.stash.setdefault(_workers, []).append(tuple(counts))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.option.lwp:
        return
    workers = config.stash.get(_workers, None)
    terminalreporter.section("threads made by lwp", sep="-")
    for started, peak, alive in workers or [_counts()]:
        terminalreporter.write_line(f"{started:,} started, at most {peak:,} alive at once, {alive:,} alive still")
