"""`pytest --lwp`, in an environment where the package is installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from conftest import Environment

THREADS = """
import threading

def together(n):
    meet = threading.Barrier(n)
    threads = [threading.Thread(target=meet.wait) for _ in range(n)]
    for t in threads: t.start()
    for t in threads: t.join()

def test_three():
    together(3)

def test_two():
    together(2)
"""


def run(
    python: Environment, cwd: Path, tests: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (cwd / "test_it.py").write_text(tests)
    return python.run("-m", "pytest", "-p", "no:cacheprovider", *options, cwd=cwd, **environment)


def counted(stdout: str) -> list[tuple[int, int, int]]:
    """(started, peak, alive) of each line below the heading."""
    assert stdout.count("threads made by lwp") == 1
    found = re.findall(r"(\d+) started, at most (\d+) alive at once, (\d+) alive still\n", stdout)
    return [(int(started), int(peak), int(alive)) for started, peak, alive in found]


def passed(found: subprocess.CompletedProcess[str], n: int) -> bool:
    return found.returncode == 0 and f"= {n} passed in" in found.stdout and not found.stderr


def test_counts(tmp_path: Path, installed: Environment) -> None:
    leaves = "\ndef test_leaves():\n    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    found = run(installed, tmp_path, THREADS + leaves, "--lwp")
    assert passed(found, 3)
    assert counted(found.stdout) == [(6, 3, 1)]


LEAVES = """
import pytest, threading, time

@pytest.fixture(scope="module")
def server():
    threading.Thread(target=threading.Event().wait, name="server", daemon=True).start()

def naps():
    time.sleep(1000)

def test_leaves(server):
    threading.Thread(target=threading.Event().wait, name="waits", daemon=True).start()
    threading.Thread(target=naps, name="naps", daemon=True).start()
    threading.Thread(target=int, name="ends").start()

def test_leaves_nothing():
    pass

def test_fails():
    threading.Thread(target=naps, name="naps", daemon=True).start()
    raise ValueError
"""


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["", "worker"])
def test_threads_that_tests_leave_running(options: tuple[str, ...], tmp_path: Path, installed: Environment) -> None:
    if options:
        pytest.importorskip("xdist")
    found = run(installed, tmp_path, LEAVES, "-W", "error", "--lwp", *options)
    assert "= 1 failed, 2 passed in" in found.stdout
    left = re.findall(
        r"\ntest_it\.py::(\w+) has left running: ('\w+')(?: waits for (event) <.*>)? \((.*)\)", found.stdout
    )
    assert left == [
        ("test_leaves", "'waits'", "event", "target Event.wait"),
        ("test_leaves", "'naps'", "", "target naps, at test_it.py:9 in naps"),
        ("test_fails", "'naps'", "", "target naps, at test_it.py:9 in naps"),
    ]
    found = run(installed, tmp_path, LEAVES, "--lwp", "--lwp-ignore-left", *options)
    assert ("= 1 failed, 2 passed in" in found.stdout, "has left" in found.stdout) == (True, False)


def test_from_the_configuration(tmp_path: Path, installed: Environment) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --lwp\n")
    found = run(installed, tmp_path, THREADS)
    assert passed(found, 2)
    assert counted(found.stdout) == [(5, 3, 0)]


def test_unasked(tmp_path: Path, installed: Environment) -> None:
    tests = "import sys\ndef test():\n    assert [m for m in sys.modules if m.startswith(('runtime', 'lwp.'))] == {}\n"
    found = run(installed, tmp_path, tests.format([]))
    assert passed(found, 1)
    assert "lwp" not in found.stdout.replace(str(tmp_path), "").partition("collected")[2]


def test_help(tmp_path: Path, installed: Environment) -> None:
    assert re.search(r"\n  --lwp +\w.*\.\n", run(installed, tmp_path, "", "--help").stdout)


def test_before_conftest(tmp_path: Path, installed: Environment) -> None:
    """Whatever a project imports finds the runtime in place."""
    early = "import threading\nstart = threading.Thread.start.__globals__['Thread'].__module__\n"
    (tmp_path / "conftest.py").write_text(early)
    tests = early + "import conftest\ndef test():\n    assert start == conftest.start == 'runtime.patch.installation'\n"
    assert passed(run(installed, tmp_path, tests, "--lwp"), 1)


def test_gone_after_main(tmp_path: Path, installed: Environment) -> None:
    (tmp_path / "test_it.py").write_text(THREADS)
    program = """
import pytest, threading
for _ in range(2):
    pytest.main(["--lwp", "-p", "no:cacheprovider"])
    print(threading.Thread.start.__globals__['Thread'].__module__)
"""
    found = installed.run("-c", program, cwd=tmp_path)
    assert found.stdout.count("= 2 passed in") == 2
    assert found.stdout.count("\nthreading\n") == 2


def test_refused(tmp_path: Path, installed: Environment) -> None:
    (tmp_path / "resource.py").write_text("raise ImportError('no core to be had')\n")
    found = run(installed, tmp_path, THREADS, "--lwp", PYTHONPATH=".")
    assert (found.stdout, found.returncode) == ("", pytest.ExitCode.USAGE_ERROR)
    assert found.stderr.strip() == "ERROR: no core to be had"
    assert passed(run(installed, tmp_path, "def test(): pass\n", PYTHONPATH="."), 1)


@pytest.mark.parametrize("launcher", ["run", "environment"])
def test_when_it_is_there_already(launcher: str, tmp_path: Path, installed: Environment) -> None:
    """pytest must not find fault with our modules being loaded before it."""
    (tmp_path / "test_it.py").write_text(THREADS)
    if launcher == "run":
        found = installed.run("-m", "runtime", "run", "-m", "pytest", "-W", "error", "--lwp", cwd=tmp_path)
    else:
        found = run(installed, tmp_path, THREADS, "-W", "error", "--lwp", LWP_CHILDREN="1")
    assert passed(found, 2)
    assert counted(found.stdout) == [(5, 3, 0)]


# ---- among other plugins ---------------------------------------------------------------------------------------------


def test_exceptions_of_threads(tmp_path: Path, installed: Environment) -> None:
    tests = """
import threading

def test_raises():
    t = threading.Thread(target=lambda: 1 / 0, name="worker")
    t.start()
    t.join()
"""
    found = run(installed, tmp_path, tests, "--lwp")
    assert found.returncode == 0
    assert "PytestUnhandledThreadExceptionWarning: Exception in thread worker" in found.stdout
    assert "ZeroDivisionError" in found.stdout
    assert run(installed, tmp_path, tests, "--lwp", "-W", "error").returncode == 1


BLOCKS = """
import pytest, queue, threading

def held():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def waits():
    with threading.Condition() as changed:
        changed.wait()

def joins():
    t = threading.Thread(target=threading.Event().wait, name="sleeper", daemon=True)
    t.start()
    t.join()

@pytest.mark.timeout(0.3)
@pytest.mark.parametrize("block", [held, waits, joins, threading.Event().wait, queue.Queue().get])
def test_blocks(block):
    block()
"""


def test_timeout_by_signal(tmp_path: Path, installed: Environment) -> None:
    pytest.importorskip("pytest_timeout")
    found = run(installed, tmp_path, BLOCKS + "\ndef test_goes_on(): pass\n", "--lwp", "--timeout-method=signal")
    assert found.stdout.count("Failed: Timeout") >= 5
    assert "= 5 failed, 1 passed in" in found.stdout
    assert "Stack of sleeper" in found.stderr + found.stdout
    assert counted(found.stdout) == [(1, 1, 1)]


def test_timeout_by_thread(tmp_path: Path, installed: Environment) -> None:
    """The plugin's timer is a thread of ours, and ends the process."""
    pytest.importorskip("pytest_timeout")
    found = run(installed, tmp_path, BLOCKS, "--lwp", "--timeout-method=thread", "-k", "joins")
    assert found.returncode == 1
    said = found.stdout + found.stderr
    assert "Timeout" in said
    assert "Stack of sleeper" in said
    assert "Stack of MainThread" in said
    found = run(installed, tmp_path, THREADS, "--lwp", "--timeout-method=thread", "--timeout=60")
    assert passed(found, 2)
    assert counted(found.stdout)[0][0] == 7  # the tests' five and two timers


STUCK = """
import threading

def test_before():
    pass

def test_stuck(capfd):
    print("written by the test", flush=True)
    lock = threading.Lock()
    with lock:
        threading.Thread(target=lock.acquire, name="waiter", daemon=True).start()
        threading.Event().wait()
"""


def test_watchdog_names_the_test_and_ends_pytest(tmp_path: Path, installed: Environment) -> None:
    found = run(installed, tmp_path, STUCK, "-v", "--lwp", "--lwp-watchdog=0.3", "--lwp-watchdog-exit=7")
    assert found.returncode == 7
    assert "test_before PASSED" in found.stdout
    report = found.stderr
    assert report.startswith("lwp: no thread has gone on for 0.3 s; pytest is at test_it.py::test_stuck (call)\n")
    assert "held by 'MainThread' (taken at test_it.py:10 in test_stuck)" in report
    assert ", in test_stuck\n" in report
    assert "pluggy" not in report
    assert report.endswith("lwp: the process ends with status 7\n")


def test_watchdog_without_exit_tells_and_goes_on(tmp_path: Path, installed: Environment) -> None:
    tests = "import threading\ndef test_waits():\n    threading.Event().wait(2)\n"
    found = run(installed, tmp_path, tests, "--lwp", "--lwp-watchdog=0.2")
    assert (found.returncode, found.stderr.count("no thread has gone on")) == (0, 1)
    assert "pytest is at test_it.py::test_waits (call)" in found.stderr


def test_watchdog_in_workers(tmp_path: Path, installed: Environment) -> None:
    """The controller of pytest-xdist stands still too, which isn't told.  A worker's end is a failure of its test."""
    pytest.importorskip("xdist")
    options = ("-n", "1", "--max-worker-restart=0", "--lwp", "--lwp-watchdog=0.3", "--lwp-watchdog-exit=7")
    found = run(installed, tmp_path, STUCK, *options)
    assert found.returncode == 1
    assert "crashed while running 'test_it.py::test_stuck'" in found.stdout
    assert found.stderr.count("no thread has gone on") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lwp-watchdog=1"], "--lwp-watchdog is for --lwp"),
        (["--lwp", "--lwp-watchdog-exit=1"], "--lwp-watchdog-exit is for --lwp-watchdog"),
        (["--lwp", "--lwp-watchdog=nan"], "nan is not a number of seconds from 0.1"),
        (["--lwp", "--lwp-watchdog=1", "--lwp-watchdog-exit=0"], "0 is not an exit status"),
    ],
)
def test_watchdog_options(options: list[str], message: str, tmp_path: Path, installed: Environment) -> None:
    found = run(installed, tmp_path, THREADS, *options)
    assert found.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in found.stderr
    assert found.stderr.strip().count("\n") == 0


def test_workers(tmp_path: Path, installed: Environment) -> None:
    pytest.importorskip("xdist")
    found = run(installed, tmp_path, THREADS, "--lwp", "-n", "2", "--dist", "each")
    assert "= 4 passed in" in found.stdout
    assert counted(found.stdout) == [(5, 3, 0), (5, 3, 0)]
