"""`pytest --lwp`: a project's tests on the runtime, and at the end how many threads they have made.

pytest imports this module whenever it runs, so it loads the core only when asked to.
"""

from __future__ import annotations

from typing import Any

import pytest

__all__: list[str] = []

#: (started, peak, alive) of each worker of pytest-xdist that has ended
_workers: pytest.StashKey[list[tuple[int, int, int]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lwp", "threads made by lwp")
    group.addoption("--lwp", action="store_true", help="Run the tests on threads made by lwp, and count them.")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    # Before any module of the tests, or conftest.py, is imported.
    if not early_config.known_args_namespace.lwp:
        return
    try:
        from . import patch
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error
    if not patch.is_installed():
        patch.install()
        early_config.add_cleanup(patch.uninstall)  # for who calls pytest.main()


def _counts() -> tuple[int, int, int]:
    from . import scheduler

    found = scheduler.statistics()
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
