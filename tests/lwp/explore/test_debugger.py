"""`--replay TOKEN --pdb`: prompts in the threads of one schedule."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TREE, environment, python

BANK = TREE / "examples" / "explore" / "test_bank.py"
TWICE, DEADLOCK = ("test_twice", "s-utjt-4.2"), ("test_each_other_locked", "s-lx2b-5.2")


def debug(
    *commands: str, options: tuple[str | Path, ...], folder: Path = BANK.parent
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, options)],
        cwd=folder,
        env=environment(COLUMNS="200"),
        input="".join(f"{command}\n" for command in commands),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def debug_bank(test: tuple[str, str], *commands: str) -> str:
    found = debug(*commands, options=("runtime", "explore", "--replay", test[1], "--pdb", f"{BANK}::{test[0]}"))
    assert found.returncode == 1, found.stderr
    assert found.stdout.count("replays 10/10") == 1
    return found.stdout.partition(test[0])[2]  # behind the report


def test_there_is_a_prompt_before_the_last_switch_and_one_where_it_fails() -> None:
    said = debug_bank(
        TWICE, "p source.balance", "threads", "next", "p source.balance", "threads", "c", "p alice.balance"
    )
    before, after = said.split("\n--- in MainThread: raises AssertionError")
    assert "--- in first: first stops at bank.py:19, before it takes alice.lock; second goes on" in before
    assert re.findall(r"\(lwp\) (\d+)", before) == ["100", "30"]
    assert before.count("MainThread  waits at test_bank.py:19 for first to end\n") == 2
    assert re.findall(r"\nsecond  (.*)", before) == ["has not begun", "has ended"]
    assert "(lwp) -40" in after


def test_threads_says_who_holds_what_a_thread_waits_for() -> None:
    said = debug_bank(DEADLOCK, "c", "threads", "where")
    assert "--- in back: its next step is the last; DEADLOCK: 2 of 3 threads wait for each other\n" in said
    assert "\nthere  waits at bank.py:26 for bob.lock, held by back since bank.py:26\n" in said
    assert "bank.py(26)transfer_locked()" in said


def test_a_task_that_waits_has_a_prompt_where_it_awaits() -> None:
    test = f"{BANK.with_name('test_async_bank.py')}::test_twice"
    options = ("runtime", "explore", "--replay", "s-f6fv-a.3", "--pdb", test)
    said = debug("p service", "next", "next", "p source.balance", "threads", "c", options=options).stdout
    assert "\n--- in first: second goes before first, which has its turn at async_bank.py:21" in said
    asked = said.partition("\n--- in first: ")[2]
    assert re.findall(r"async_bank.py[(](\d+)[)](\w+)", asked)[:3] == [
        ("21", "ask"),
        ("27", "transfer"),
        ("28", "transfer"),
    ]
    assert "(lwp) 'audit'\n" in asked
    assert "(lwp) 100\n" in asked
    assert "Task-1 (test_twice)  waits at test_async_bank.py:21 for the tasks of its group\n" in asked


ADDS = """
import threading
from without_pytest import together

lock = threading.Lock()
n = 0

def add():
    global n
    breakpoint()
    with lock:
        seen = n
    with lock:
        n = seen + 1

def test_it():
    global n
    n = 0
    together(add, add)
    assert n == 2
"""


def test_what_is_done_at_a_prompt_is_no_step_of_the_run(tmp_path: Path) -> None:
    """Otherwise the steps of the token would be other ones, and the run would pass."""
    (tmp_path / "test_adds.py").write_text(ADDS)
    json_ = ("runtime", "explore", "--json", "--granularity", "sync", "test_adds.py::test_it")
    token = json.loads(python("-m", *json_, cwd=tmp_path, status=1, PYTHONBREAKPOINT="0").stdout)["token"]
    locks = "!lock.acquire(); lock.release(); threading.Event().set(); threading.Semaphore(2).acquire()"
    options = ("runtime", "explore", "--replay", token, "--pdb", "test_adds.py::test_it")
    found = debug(locks, locks, "c", locks, "c", locks, "c", "p n", options=options, folder=tmp_path)
    assert "***" not in found.stdout
    assert found.stdout.count(": breakpoint()\n") == 2
    assert found.stdout.count(", before it takes lock; ") == 2  # in the report, and at the prompt
    assert found.stdout.rstrip().endswith("(lwp) 1\n(lwp)")


@pytest.mark.parametrize("commands", [("q",), ()], ids=["quit", "end of input"])
def test_quitting_ends_the_run_without_another_prompt(commands: tuple[str, ...]) -> None:
    assert debug_bank(TWICE, *commands).count("--- in ") == 1


def test_a_thread_that_was_stepped_through_has_no_prompt_when_it_is_unwound() -> None:
    assert "Unwound" not in debug_bank(DEADLOCK, "next", "c", "c", "c")


BREAKS = """
import threading

def test_it():
    seen = []
    def look():
        breakpoint()
        seen.append(1)
    other = threading.Thread(target=look, name="other")
    other.start()
    other.join()
    assert seen == [2]
"""


@pytest.mark.parametrize("way", ["command", "pytest"])
def test_breakpoints_stop_in_that_run_alone_and_the_terminal_is_as_usual(way: str, tmp_path: Path) -> None:
    (tmp_path / "test_breaks.py").write_text(BREAKS)
    token = "s-0"  # of the usual schedule
    options = {
        "command": ("runtime", "explore", "--replay", token, "--pdb", "test_breaks.py::test_it"),
        "pytest": ("pytest", "-p", "no:cacheprovider", "--lwp-explore-replay", token, "--pdb", "test_breaks.py"),
    }[way]
    found = debug("p seen", "next", "next", "p seen", "c", "p seen[0]", options=options, folder=tmp_path)
    assert found.returncode == 1
    assert found.stdout.count("--- in other: breakpoint()\n") == 1
    assert found.stdout.count("--- in MainThread: raises AssertionError") == 1
    assert re.findall(r"\(lwp\) ([\[\]\d]+)", found.stdout) == ["[]", "[1]", "1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "--pdb is for --replay"), (("--replay", "s-1", "--json"), "--pdb is for --replay, and prints no JSON")],
)
def test_wrong_usage(options: tuple[str, ...], message: str) -> None:
    found = debug(options=("runtime", "explore", "--pdb", *options, f"{BANK}::test_twice"))
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
