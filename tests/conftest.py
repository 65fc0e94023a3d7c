"""What all tests share, by name; which of them run, and in how many processes."""
# ruff: noqa: F401 - tests import these names from here

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from typing import Any

import pytest
from certificate import pem
from child_programs import (
    Child,
    child,
    ctrl_c_at_any_moment,
    in_child,
    in_forked_child,
    learn_that_it_blocks,
    resident,
    run_thread,
    run_threads,
    skip_test,
    together,
    until_alone,
    wait_until_parked,
)
from commands import environment, lwp, python, refusal, told
from dear import is_dear
from faulty import faulty
from installed_package import Environment, installed
from native_helper import NativeHelper, dynamic_library, helper_path, many_libraries, native_helper
from nothing_left import nothing_left, pytest_collection_finish
from seccomp import filter_program, refuse
from shared_by_workers import crowd
from this_machine import (
    FREE_THREADED,
    HELPERS,
    ROOT,
    SLOW,
    TREE,
    needs_fast_turns,
    needs_gil,
    needs_mypy,
    one_processor,
)
from traced_calls import count_calls, lines_between_marks, under_strace

# A shell's `&`, nohup and some CI start pytest with SIGINT ignored: each program of a test would inherit that, and no
# Ctrl-C would reach it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Programs of tests are not asked by `lwp ps` of another process's test: what is asked loads modules, and some
# tests count.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="lwp-tests-")
# Where no bytecode may be written, each program of a test would compile all that it imports, which takes as long as
# many a test: bytecode goes to a folder of this run, which workers are told by their environment.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = f"{os.environ['XDG_RUNTIME_DIR']}/bytecode"

#: What takes seconds to make: a test that needs it is slow.
SLOW_FIXTURES = {"checked", "counted", "faulty", "installed", "sanitized", "symbols"}
_left_out = pytest.StashKey[int]()  # how many slow tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="Run the slow tests as well.")


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


def _chosen(config: pytest.Config) -> bool:
    """Whether the command names files, tests or words of theirs, and not folders."""
    option = config.option
    return bool(option.keyword or getattr(option, "lf", False)) or not all(map(os.path.isdir, config.args))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist's
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Workers of pytest-xdist, except for what is chosen: they take seconds to start, and have no terminal."""
    option = config.option
    if getattr(option, "numprocesses", 0) is None and not (hasattr(config, "workerinput") or _chosen(config)):
        option.numprocesses, option.dist = "auto", "worksteal"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half of a test's time is a wait, for a thread or a program."""
    return 3 * len(os.sched_getaffinity(0)) // 2


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    for item in items:
        if SLOW > 1:
            own = item.get_closest_marker("timeout")
            seconds = own.args[0] if own else float(config.getini("timeout"))
            item.add_marker(pytest.mark.timeout(SLOW * seconds), append=False)
        if is_dear(item) or not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("orders" if item.path.stem.endswith("_explored") else "slow")
    if config.option.slow or config.option.markexpr or _chosen(config):
        return
    slow, items[:] = (
        [item for item in items if any(map(item.get_closest_marker, ("slow", "orders"))) is wanted]
        for wanted in (True, False)
    )
    config.hook.pytest_deselected(items=slow)
    config.stash[_left_out] = len(slow)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = len(slow)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended; each has collected all tests."""
    if number := getattr(node, "workeroutput", {}).get("left_out"):
        node.config.stash[_left_out] = number


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if number := config.stash.get(_left_out, 0):
        terminalreporter.write_line(
            f"{number} slow tests were left out (of more than 0.3 s of a processor, of programs to install, of the C"
            " that is explored): pytest --slow runs them too"
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() != 0 and item.get_closest_marker("root"):
        pytest.skip("needs root")
