"""`pytest --lwp`: a project's tests on the runtime, and at the end how many threads they have made.
`pytest --lwp-explore`, `@pytest.mark.explore`: each under many schedules, until one makes it fail.

pytest imports this module whenever it runs, whatever it tests. So the module is not in the package, and loads nothing
of the package until it is asked to.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
import threading
from collections.abc import Generator
from typing import Any

import pytest

import lwp_runtime

__all__: list[str] = []

#: (started, peak, alive) of each worker of pytest-xdist that has ended
_workers: pytest.StashKey[list[tuple[int, int, int]]] = pytest.StashKey()


_RUNS = 1000  # explore()'s
_LEFT = "lwp_left"  # of a report's properties, which pytest-xdist passes on
_alive: pytest.StashKey[list[threading.Thread]] = pytest.StashKey()  # those alive as the test's call began


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lwp", "threads made by lwp")
    group.addoption("--lwp", action="store_true", help="Run the tests on threads made by lwp, and count them.")
    group.addoption(
        "--lwp-watchdog",
        type=float,
        metavar="SECONDS",
        help="With --lwp: when tests stand still so long, say in which test, what threads wait for, and all stacks.",
    )
    group.addoption(
        "--lwp-watchdog-exit",
        type=int,
        metavar="STATUS",
        help="After that report end pytest, or the worker of pytest-xdist, with this exit status, at once.",
    )
    group.addoption(
        "--lwp-ignore-left",
        action="store_true",
        help="With --lwp: don't say at the end which threads tests have left running.",
    )
    group.addoption(
        "--lock-order",
        action="store_true",
        help="With --lwp: at the end, say which locks were taken in both orders within a test.",
    )
    group.addoption("--lock-order-error", action="store_true", help="Fail the tests in which that is so.")
    group.addoption(
        "--lwp-explore",
        nargs="?",
        const=str(_RUNS),
        metavar="RUNS",
        help=f"Explore: call each test's function RUNS times ({_RUNS}) under different schedules of its threads, until "
        "one makes it fail. What a test changes in a fixture of a wider scope than the function it must put back.",
    )
    group.addoption(
        "--lwp-explore-replay",
        metavar="TOKEN",
        help="Run the one test that is selected under the schedule of a token.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    # Before any module of the tests, or conftest.py, is imported.
    if "--lwp-explore" in args:  # argparse takes the argument behind it for RUNS, which may be a file
        args[:] = [f"--lwp-explore={_RUNS}" if arg == "--lwp-explore" else arg for arg in args]
        early_config.known_args_namespace = parser.parse_known_args(args, copy.copy(early_config.option))
    if not early_config.known_args_namespace.lwp:
        return
    try:
        patch = lwp_runtime.load("patch.installation")
        lwp_runtime.load("observe.environment").leave()
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
    _configure_exploring(config)
    _configure_lock_order(config)
    seconds, status = config.option.lwp_watchdog, config.option.lwp_watchdog_exit
    if seconds is None and status is None:
        return
    if not config.option.lwp:
        raise pytest.UsageError("--lwp-watchdog is for --lwp")
    if seconds is None:
        raise pytest.UsageError("--lwp-watchdog-exit is for --lwp-watchdog")
    if not 0.1 <= seconds <= 1e6:  # NaN is refused too
        raise pytest.UsageError(f"--lwp-watchdog: {seconds:g} is not a number of seconds from 0.1 to 1e6")
    if status is not None and not 1 <= status <= 255:
        raise pytest.UsageError(f"--lwp-watchdog-exit: {status} is not an exit status from 1 to 255")
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return  # pytest-xdist's controller waits for its workers, each of which has a watchdog
    native, watchdog = lwp_runtime.load("native"), lwp_runtime.load("observe.watchdog")
    # Standard error as it is before any test is captured.
    fd = os.dup((sys.__stderr__ or sys.stderr).fileno())
    watchdog.Watchdog(seconds, watchdog.teller(fd), _current_test).begin(fd, status)
    config.add_cleanup(lambda: os.close(fd))
    config.add_cleanup(native.watch_stop)  # before that


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        done = yield
    finally:
        if (before := item.stash.get(_alive, None)) is not None:
            del item.stash[_alive]
            if left := lwp_runtime.load("observe.places").left_running(before):
                item.user_properties.append((_LEFT, left))
    _report_lock_order(item)
    return done


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
    _summarize_exploring(terminalreporter)
    _summarize_lock_order(terminalreporter)
    if not config.option.lwp:
        return
    workers = config.stash.get(_workers, None)
    terminalreporter.section("threads made by lwp", sep="-")
    for started, peak, alive in workers or [_counts()]:
        terminalreporter.write_line(f"{started:,} started, at most {peak:,} alive at once, {alive:,} alive still")
    for report in (one for reports in terminalreporter.stats.values() for one in reports):
        if getattr(report, "when", None) == "teardown":
            for thread in dict(report.user_properties).get(_LEFT, ()):
                terminalreporter.write_line(f"{report.nodeid} has left running: {thread}")


# ---- the order of locks ----------------------------------------------------------------------------------------------

_ORDER = "lwp_lock_order"  # of a report's properties, which pytest-xdist passes on
_watched: pytest.StashKey[Any] = pytest.StashKey()  # the LockOrder


def _configure_lock_order(config: pytest.Config) -> None:
    wanted, error = config.option.lock_order, config.option.lock_order_error
    if error and not wanted:
        raise pytest.UsageError("--lock-order-error is for --lock-order")
    if not wanted:
        return
    if not config.option.lwp:
        raise pytest.UsageError("--lock-order is for --lwp")
    order = lwp_runtime.load("observe.lock_order").LockOrder()
    stock = lwp_runtime.load("patch.installation").stock_locks
    order.begin(stock, (threading.Thread, lwp_runtime.load("thread").Thread))
    config.add_cleanup(order.end)
    config.stash[_watched] = order


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    if (order := item.config.stash.get(_watched, None)) is not None:
        order.forget()
    return (yield)


def _report_lock_order(item: pytest.Item) -> None:
    if (order := item.config.stash.get(_watched, None)) is not None and (found := order.report()):
        item.user_properties.append((_ORDER, found))
        if item.config.option.lock_order_error:
            pytest.fail("\n".join(["locks were taken in both orders:", *found]), pytrace=False)


def _summarize_lock_order(terminalreporter: pytest.TerminalReporter) -> None:
    told = {
        report.nodeid: value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == _ORDER
    }
    if not told:
        return
    terminalreporter.section("locks taken in both orders", sep="-")
    for test, found in told.items():
        terminalreporter.write_line(f"{test}:")
        for text in found:
            terminalreporter.write_line(text)


# ---- exploring -------------------------------------------------------------------------------------------------------

_MARK = (
    "explore(runs=1000, seconds=None, strategy='auto', granularity='auto', seed=None, max_steps=20000, workers=1): "
    "call the test under that many schedules of its threads, until one makes it fail (lwp-runtime)"
)
_EXPLORED, _ALONE = "lwp_explore", "lwp_not_explored"  # of a report's properties, which pytest-xdist passes on

_found: pytest.StashKey[Any] = pytest.StashKey()  # the Result of a test that fails by it


def _configure_exploring(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)
    runs = config.option.lwp_explore
    if runs is None and config.option.lwp_explore_replay is None:
        return
    if runs is not None and not (runs.isdecimal() and int(runs) > 0):
        raise pytest.UsageError(f"--lwp-explore={runs}: RUNS is a whole number from 1 on")
    try:
        lwp_runtime.load("explore")
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error


def _is_marked(item: pytest.Item) -> bool:
    return item.get_closest_marker("explore") is not None or hasattr(getattr(item, "obj", None), "_lwp_explored")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("explore") is not None]
    if marked:
        exploring = lwp_runtime.load("explore.ways.pytest_items")
        for item in marked:
            exploring.check_options(item)


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.lwp_explore_replay is not None and len(session.items) > 1:
        raise pytest.UsageError(f"--lwp-explore-replay is for one test, and {len(session.items)} are selected")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    if item.config.option.lwp and not item.config.option.lwp_ignore_left:
        item.stash[_alive] = threading.enumerate()
    runs, token = item.config.option.lwp_explore, item.config.option.lwp_explore_replay
    if runs is None and token is None and not _is_marked(item):
        return
    exploring = lwp_runtime.load("explore.ways.pytest_items")
    if (reason := exploring.reason_against(item)) is not None:
        item.user_properties.append((_ALONE, reason))
        return
    options = exploring.options_for(item, None if runs is None else int(runs))
    item.runtest = functools.partial(_explore, item, exploring, options, token)  # type: ignore[method-assign]


def _explore(item: pytest.Item, exploring: Any, options: dict[str, Any], token: str | None) -> None:
    __tracebackhide__ = True
    result = exploring.run(item, options, token)
    numbers = {name: getattr(result, name) for name in ("runs", "seconds", "distinct")}
    unswitched = sorted(result._tried.unswitched)
    item.user_properties.append((_EXPLORED, {"outcome": result.outcome.value, "unswitched": unswitched, **numbers}))
    if result.error is None and result._tried.has_tasks:
        item.user_properties.append((_ALONE, "as to the order of its tasks of asyncio"))
    expected = getattr(getattr(item, "obj", None), "__unittest_expecting_failure__", False)
    if result.error is None:
        if expected:
            pytest.fail("Unexpected success", pytrace=False)
        return
    if expected and result.token is not None:
        pytest.xfail()
    item.stash[_found] = result
    raise result.error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    result = item.stash.get(_found, None)
    if call.when != "call" or result is None or call.excinfo is None or call.excinfo.value is not result.error:
        return report
    text = result.report().rstrip()
    if result.command and result.command not in text:
        text += f"\n\nTo see it again: {result.command}"
    shown = call.excinfo.getrepr(style="native", chain=False)  # whose frames are the explorer's
    shown.reprtraceback.reprentries[0].lines = [f"{line}\n" for line in text.splitlines()]
    report.longrepr = shown
    return report


def _summarize_exploring(terminalreporter: pytest.TerminalReporter) -> None:
    calls = [
        (report.nodeid, *pair)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for pair in report.user_properties
    ]
    explored = [value for _, name, value in calls if name == _EXPLORED]
    alone = [(test, value) for test, name, value in calls if name == _ALONE]
    if not explored and not alone:
        return
    terminalreporter.section("schedules explored by lwp", sep="-")
    tests = f"{len(explored)} test{'s' * (len(explored) != 1)}"
    runs, seconds, distinct = (sum(one[name] for one in explored) for name in ("runs", "seconds", "distinct"))
    outcomes = [one["outcome"] for one in explored]
    counts = ", ".join(f"{outcomes.count(name)} {name}" for name in sorted(set(outcomes)))
    terminalreporter.write_line(
        f"{tests}: {runs:,} runs, {seconds:.1f} s, {distinct:,} distinct schedules{f'; {counts}' if counts else ''}"
    )
    unswitched = {name for one in explored for name in one["unswitched"]}
    for line in lwp_runtime.load("explore.search.tried").left_out(unswitched):
        terminalreporter.write_line(line)
    for test, reason in alone:
        terminalreporter.write_line(f"not explored: {test} {reason}")
