"""A run that ends its process is found all the same: who lives on says which run it was."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import environment, lwp, python

DIES = """\
import os, signal, threading
from without_pytest import run_threads

def lost(then):
    n = [0]
    def add():
        v = n[0]
        n[0] = v + 1
    run_threads(threading.Thread(target=add) for _ in range(2))
    if n[0] != 2:
        then()

def test_segv(): lost(lambda: os.kill(os.getpid(), signal.SIGSEGV))
def test_abort(): lost(os.abort)
def test_exit(): lost(lambda: os._exit(0))
def test_kill(): lost(lambda: os.kill(os.getpid(), signal.SIGKILL))

def test_child():
    def fork():
        if os.fork() == 0:
            os._exit(5)
        os.wait()
    run_threads(threading.Thread(target=fork) for _ in range(2))
"""


@pytest.fixture(autouse=True)
def dies(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(DIES)


@pytest.mark.parametrize(
    ("test", "how"),
    [("segv", "by SIGSEGV"), ("abort", "by SIGABRT"), ("exit", "with status 0"), ("kill", "by SIGKILL")],
)
def test_a_run_that_ends_the_process_is_found(test: str, how: str, tmp_path: Path) -> None:
    found = lwp("explore", f"test_it.py::test_{test}", cwd=tmp_path, status=1)
    assert found.stdout.startswith(f"DIED: a run of the test ends its process {how}\n")
    assert "replays 10/10" in found.stdout
    command = found.stdout.splitlines()[-1]
    assert command.startswith("  lwp explore --replay ")
    again = lwp("explore", *shlex.split(command)[2:], cwd=tmp_path, status=1)
    assert f"Name Died {how}\n" in again.stdout
    assert "FOUND by replay, " in again.stdout


def test_the_end_of_a_child_process_of_the_test_is_no_find(tmp_path: Path) -> None:
    found = lwp("explore", "--runs=30", "test_it.py::test_child", cwd=tmp_path)
    assert found.stdout.startswith("BUDGET SPENT")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_command_and_what_it_explores_end_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    said = tmp_path / "begun"
    (tmp_path / "test_it.py").write_text(
        f"import os\nfrom without_pytest import together\nos.symlink(str(os.getpid()), {str(said)!r})\n"
        "def test(): together(int)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "explore", "--runs=100000000", "--strategy=random", "test_it.py::test"],
        cwd=tmp_path,
        env=environment(),
    )
    while not said.is_symlink():
        assert process.poll() is None
    child = int(os.readlink(said))
    process.send_signal(number)
    assert process.wait(30) == -number
    while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        os.sched_yield()


# ---- pytest ----------------------------------------------------------------------------------------------------------


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["-W", "ignore", "-m", "pytest", "-q", "-p", "no:cacheprovider", *args]  # plugins warn
    return python(*command, cwd=folder, status=None, timeout=120)


def test_pytest_says_which_test_and_which_token(tmp_path: Path) -> None:
    died = run_pytest(tmp_path, "--lwp-explore", "test_it.py::test_kill")
    assert died.returncode == -signal.SIGKILL
    said = re.search(
        "lwp explore: a run of test_it.py::test_kill has ended the process; again: pytest (.*)", died.stderr
    )
    assert said is not None
    for again in (["--lwp-explore", "test_it.py"], shlex.split(said[1])):  # what has died once runs in a child
        found = run_pytest(tmp_path, *again, "-k", "test_kill")
        assert found.returncode == 1
        assert "DIED: a run of the test ends its process by SIGKILL" in found.stdout
        assert "Name Died by SIGKILL" in found.stdout
        assert "has ended the process" not in found.stderr


def test_a_keyboard_interrupt_of_a_test_does_not_end_pytest(tmp_path: Path) -> None:
    with (tmp_path / "test_it.py").open("a") as file:
        file.write("\ndef test_interrupts():\n    test_child()\n    raise KeyboardInterrupt\n")
    found = run_pytest(tmp_path, "--lwp-explore=5", "test_it.py", "-k", "interrupts or child")
    assert found.returncode == 1
    assert "1 failed, 1 passed" in found.stdout
    assert "FOUND by default" in found.stdout
    assert "KeyboardInterrupt at test_it.py:" in found.stdout


def test_pytest_forgets_the_token_of_a_test_that_was_mended(tmp_path: Path) -> None:
    run_pytest(tmp_path, "--lwp-explore", "test_it.py::test_exit")
    (tmp_path / "test_it.py").write_text(DIES.replace("os._exit(0)", "None"))
    assert [*tmp_path.glob(".lwp/explore/*.json")]
    mended = run_pytest(tmp_path, "--lwp-explore=20", "test_it.py::test_exit")
    assert mended.returncode == 0, mended.stdout
    assert not [*tmp_path.glob(".lwp/explore/*.json")]


def test_a_pytest_that_ends_as_always_leaves_nothing(tmp_path: Path) -> None:
    found = run_pytest(tmp_path, "--lwp-explore=5", "test_it.py::test_child")
    assert (found.returncode, found.stderr) == (0, "")
    for process in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):  # another user's, or it has ended
            assert os.readlink(process) != str(tmp_path)
