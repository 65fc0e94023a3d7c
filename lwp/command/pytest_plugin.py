"""`pytest --lwp`: a project's tests on the runtime, and at the end how many threads they have made.
`pytest --lwp-chaos`: the same, and their threads are held for a moment where it may matter.
`pytest --lwp-explore`, `@pytest.mark.explore`: each under many schedules, until one makes it fail.

pytest runs this file whenever it runs, whatever it tests: as the module lwp_pytest, because `lwp` may be the name of
what it tests. So the file imports nothing of ours until it is asked to.
"""

from __future__ import annotations

import copy
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
_LEFT = "lwp_left"  # of a report's properties, which pytest-xdist passes on
_alive: pytest.StashKey[list[threading.Thread]] = pytest.StashKey()  # those alive as the test's call began


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lwp", "threads made by lwp")
    for name, text in (
        ("lwp", "Run the tests on threads made by lwp, and count them."),
        ("lwp-ignore-left", "With --lwp: don't say at the end which threads tests have left running."),
        ("lock-order", "With --lwp: at the end, say which locks were taken in both orders within a test."),
        ("lock-order-error", "Fail the tests in which that is so."),
        ("lwp-chaos-tasks", "With --lwp-chaos: loops of asyncio run what is ready in any order, too."),
    ):
        group.addoption(f"--{name}", action="store_true", help=text)
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
        "--lwp-chaos",
        nargs="?",
        const="",
        metavar="SEED",
        help="As --lwp, and hold threads for a moment where it may matter; a failed test says which and where.",
    )
    group.addoption(
        "--lwp-explore",
        nargs="?",
        const="",
        metavar="RUNS",
        help="Explore: call each test's function RUNS times (1000) under different schedules of its threads, until "
        "one makes it fail. What a test changes in a fixture of a wider scope than the function it must put back.",
    )
    # Each of these, except replay, is also a key of [tool.lwp.explore] in pyproject.toml.
    for name, metavar, text in (
        ("replay", "TOKEN", "Run the one test that is selected under the schedule of a token."),
        ("seconds", "S", "Explore a test for so long, at most."),
        ("total", "S", "And all tests together: tests that come after that time run once, and are listed."),
        ("seed", "N|daily", "The same seed tries the same schedules; daily: another one each day."),
        ("strategy", "NAME", "auto, or one alone: chance, random, pct (pct:3), pos, dpor, dfs (dfs:2)."),
        ("granularity", "NAME", "Where threads may be switched: sync, gil, opcode, or auto: each in turn."),
        ("workers", "N", "Processes that share the runs of a test."),
        ("html", "DIR", "Draw what was found, a page for each test."),
        ("json", "FILE", "Write what the exploration of each test has come to."),
    ):
        group.addoption(f"--lwp-explore-{name}", metavar=metavar, help=text)
    for name, text in (
        ("early-timeouts", "At last, try what happens when timeouts fire though other threads can go on."),
        ("cancel", "At last, cancel a task of asyncio at any of its awaits."),
        ("races", "List uses of the same data that no primitive orders. Slower."),
    ):
        group.addoption(f"--lwp-explore-{name}", action="store_const", const=True, help=text)
    group.addoption(
        "--lwp-explore-no-keep",
        dest="lwp_explore_keep",
        action="store_const",
        const=False,
        help="Don't keep in .lwp/explore what failed, to replay it first the next time.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser, args: list[str]) -> None:
    # Before any module of the tests, or conftest.py, is imported.
    said = list(args)
    if "--lwp-explore" in args:  # argparse takes the argument behind it for RUNS, which may be a file
        args[:] = ["--lwp-explore=" if arg == "--lwp-explore" else arg for arg in args]
    _say_seed(args)
    if args != said:
        early_config.known_args_namespace = parser.parse_known_args(args, copy.copy(early_config.option))
    if not early_config.known_args_namespace.lwp:
        return
    try:
        patch = lwp_runtime.load("runtime.patch.installation")
        tools = lwp_runtime.load("runtime.tools")
        for leave in tools.called("under pytest"):
            leave()
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error
    lwp_runtime.give_way()
    if not patch.is_installed():
        patch.install()
        early_config.add_cleanup(patch.uninstall)  # for a program that calls pytest.main()
    for begin in tools.called("in a process of a tool's"):
        begin()
    _begin_chaos(early_config)


def _of_room(module: str) -> Any:
    """A module of another room, for an option."""
    try:
        return lwp_runtime.load(module)
    except ImportError as error:
        raise pytest.UsageError(str(error)) from error


def _current_test() -> str:
    test = os.environ.get("PYTEST_CURRENT_TEST")  # which pytest sets; it ends with the phase
    return f"; pytest is at {test}" if test else ""


def pytest_configure(config: pytest.Config) -> None:
    _configure_exploring(config)
    _configure_lock_order(config)
    _configure_chaos(config)
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
    native, watchdog = lwp_runtime.load("lwp.native"), _of_room("lwp.observe.watchdog")
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
            for left_running in lwp_runtime.load("runtime.tools").called("after a test"):
                if left := left_running(before):
                    item.user_properties.append((_LEFT, left))
    _report_lock_order(item)
    return done


def _counts() -> tuple[int, int, int]:
    found = lwp_runtime.load("runtime.scheduler").statistics()
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
    for test, left in _noted(terminalreporter, _LEFT):
        for thread in left:
            terminalreporter.write_line(f"{test} has left running: {thread}")


def _reports(terminalreporter: pytest.TerminalReporter) -> list[Any]:
    return [report for reports in terminalreporter.stats.values() for report in reports]


def _noted(terminalreporter: pytest.TerminalReporter, name: str) -> list[tuple[str, list[str]]]:
    """The tests at whose ends something was noted under that name, and what that was."""
    ends = [report for report in _reports(terminalreporter) if getattr(report, "when", None) == "teardown"]
    return [(end.nodeid, value) for end in ends for key, value in end.user_properties if key == name]


# ---- chaos -----------------------------------------------------------------------------------------------------------

_chaos: pytest.StashKey[Any] = pytest.StashKey()


def _say_seed(args: list[str]) -> None:
    """Puts --lwp and a seed, chosen unless it is given, in place of --lwp-chaos without one."""
    bare = [at for at, arg in enumerate(args) if arg in ("--lwp-chaos", "--lwp-chaos=")]
    for at in bare:
        if args[at].endswith("=") or not "".join(args[at + 1 : at + 2]).isdecimal():  # what follows may be a file
            args[at] = f"--lwp-chaos={int.from_bytes(os.urandom(2)) + 1}"
    if any(arg.partition("=")[0] == "--lwp-chaos" for arg in args):
        args.insert(0, "--lwp")


def _begin_chaos(config: pytest.Config) -> None:
    """Before the tests' code is loaded."""
    seed = config.known_args_namespace.lwp_chaos
    if seed is None:
        return
    if not seed.isdecimal():
        raise pytest.UsageError(f"--lwp-chaos: {seed!r} is no seed, a number such as 7")
    chaos = _of_room("lwp.chaos.chaos").Chaos(int(seed), config.known_args_namespace.lwp_chaos_tasks)
    try:
        chaos.begin()
    except RuntimeError as error:
        raise pytest.UsageError(f"--lwp-chaos: {error}") from error
    config.add_cleanup(chaos.end)
    config.stash[_chaos] = chaos


def _configure_chaos(config: pytest.Config) -> None:
    if config.option.lwp_chaos is None and config.option.lwp_chaos_tasks:
        raise pytest.UsageError("--lwp-chaos-tasks is for --lwp-chaos")
    if config.option.lwp_chaos is not None and config.pluginmanager.hasplugin(_EXPLORING):
        raise pytest.UsageError("--lwp-chaos and --lwp-explore can't go together")


def pytest_report_header(config: pytest.Config) -> str | None:
    chaos = config.stash.get(_chaos, None)
    return None if chaos is None else f"lwp chaos: seed {chaos.seed}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    chaos = item.config.stash.get(_chaos, None)
    if chaos is not None and report.failed and chaos.held():
        report.sections.append(("threads held by lwp", "\n".join(chaos.report())))
    return report


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
    order = _of_room("lwp.observe.lock_order").LockOrder()
    order.begin((threading.Thread, lwp_runtime.load("runtime.thread").Thread))
    config.add_cleanup(order.end)
    config.stash[_watched] = order


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    if (order := item.config.stash.get(_watched, None)) is not None:
        order.forget()
    if (chaos := item.config.stash.get(_chaos, None)) is not None:
        chaos.begin_anew(item.nodeid)  # a test alone has the choices that it has among others
    return (yield)


def _report_lock_order(item: pytest.Item) -> None:
    if (order := item.config.stash.get(_watched, None)) is not None and (found := order.report()):
        item.user_properties.append((_ORDER, found))
        if item.config.option.lock_order_error:
            pytest.fail("\n".join(["locks were taken in both orders:", *found]), pytrace=False)


def _summarize_lock_order(terminalreporter: pytest.TerminalReporter) -> None:
    if told := dict(_noted(terminalreporter, _ORDER)):
        terminalreporter.section("locks taken in both orders", sep="-")
    for test, found in told.items():
        for text in (f"{test}:", *found):
            terminalreporter.write_line(text)


# ---- exploring -------------------------------------------------------------------------------------------------------

_MARK = (
    "explore(runs=1000, seconds=None, strategy='auto', granularity='auto', seed=None, max_steps=20000, workers=1, "
    "early_timeouts=False, cancel=False, known=()): "
    "call the test under that many schedules of its threads, until one makes it fail (lwp-runtime)"
)
_EXPLORING = "lwp-explore"  # the name of the plugin that explores


def _configure_exploring(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)
    if any(value is not None for name, value in vars(config.option).items() if name.startswith("lwp_explore")):
        _explore(config)


def _explore(config: pytest.Config) -> None:
    """Registers the plugin that explores tests."""
    ways = _of_room("lwp.explore.ways.pytest_suite")
    lwp_runtime.give_way()
    config.pluginmanager.register(ways.Suite(config, _is_marked), _EXPLORING)


def _is_marked(item: pytest.Item) -> bool:
    return item.get_closest_marker("explore") is not None or hasattr(getattr(item, "obj", None), "_lwp_explored")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.pluginmanager.hasplugin(_EXPLORING) and any(map(_is_marked, items)):
        _explore(config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    if item.config.option.lwp and not item.config.option.lwp_ignore_left:
        item.stash[_alive] = threading.enumerate()


def _summarize_exploring(terminalreporter: pytest.TerminalReporter) -> None:
    reports = _reports(terminalreporter)
    if any(hasattr(report, "lwp_explore") for report in reports):  # perhaps of a worker of pytest-xdist
        _of_room("lwp.explore.ways.pytest_summary").summarize(terminalreporter, reports)
