"""`lwp run --chaos`: races show themselves, and what was done to whom is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import lwp, python

#: Two threads take the one thing that there is, if one of them stops between its look and its deed: the program is to
#: fail then, and otherwise goes on for a minute.
RACE = """
import sys, threading, time
from without_pytest import run_threads

things = []
failed = []

def take():
    if things:
        things.pop()

def note(args):
    failed.append(args.exc_type)
    threading.__excepthook__(args)

threading.excepthook = note
until = time.monotonic() + 60
while not failed and time.monotonic() < until:
    things.append(1)
    run_threads(threading.Thread(target=take) for _ in range(2))
sys.exit(3 if failed else 0)
"""
HELD = re.compile(
    r"lwp: chaos: +[0-9.,]+ ms ago  (Thread-\d+ \(take\)|MainThread)  held (for [0-9.]+ ms|until now) (at|before) "
)


@pytest.fixture
def race(tmp_path: Path) -> Path:
    (tmp_path / "race.py").write_text(RACE)
    return tmp_path / "race.py"


def test_a_race_shows_itself_and_the_thread_that_was_held_is_told(race: Path) -> None:
    said = lwp("run", "--chaos", "1", race, timeout=120, status=3).stderr
    assert re.search(r"^lwp: chaos: IndexError in Thread-\d+ \(take\); seed 1; ", said, re.MULTILINE)
    assert HELD.search(said), said
    assert "lwp: chaos: the program has failed; seed 1; " in said


def test_green_threads_are_held_too(race: Path) -> None:
    said = lwp("run", "--green", "--chaos", "1", race, timeout=120, status=3).stderr
    assert HELD.search(said), said


def test_without_a_seed_one_is_chosen_and_told(race: Path) -> None:
    said = lwp("run", "--chaos", race, timeout=120, status=3).stderr
    assert re.search(r"the program has failed; seed [1-9]\d*; ", said), said


def test_a_program_that_does_not_fail_runs_as_ever() -> None:
    program = "import threading; t = threading.Thread(target=print, args=(1,)); t.start(); t.join(); print(2)"
    done = lwp("run", "--chaos", "1", "-c", program)
    assert (done.stdout, done.stderr) == ("1\n2\n", "")


def test_a_program_that_fails_before_a_thread_was_held_is_not_explained() -> None:
    assert "chaos" not in lwp("run", "--chaos", "1", "-c", "raise SystemExit(3)", status=3).stderr


#: A test that fails as soon as one thread is held between its look and its deed, and one without threads.
TESTS = """
import threading, time
from without_pytest import run_threads

def test_fails():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        sold = []
        def sell():
            if not sold:
                sold.append(1)
        run_threads(threading.Thread(target=sell) for _ in range(2))
        assert len(sold) == 1

def test_passes():
    pass
"""


@pytest.mark.parametrize("options", [["--lwp-chaos", "7"], ["--lwp-chaos=7"]])
def test_a_test_that_fails_tells_which_threads_were_held(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    done = python("-m", "pytest", *options, "test_it.py", cwd=tmp_path, timeout=120, status=1)
    assert "lwp chaos: seed 7\n" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert re.search(r"\(sell\)  held for [0-9.]+ ms at \S*test_it\.py:\d+ in sell", done.stdout), done.stdout
    assert "threads made by lwp" in done.stdout


def test_pytest_chooses_a_seed_and_takes_what_follows_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test(): pass\n")
    done = python("-m", "pytest", "--lwp-chaos", "test_it.py", cwd=tmp_path)
    assert re.search(r"lwp chaos: seed [1-9]\d*\n", done.stdout)
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--lwp-chaos=x"], "'x' is no seed"), (["--lwp-chaos", "--lwp-explore"], "can't go together")],
)
def test_what_pytest_refuses(options: list[str], message: str, tmp_path: Path) -> None:
    assert message in python("-m", "pytest", *options, cwd=tmp_path, status=4).stderr


#: Fails if the one thread is held between its two critical sections, or between its look and its deed.
LOOP = """
import asyncio, sys, time

async def note(name):
    names.append(name)

async def main():
    global names
    until = time.monotonic() + {seconds}
    while time.monotonic() < until:
        names = []
        await asyncio.gather(note(1), note(2))
        if names != [1, 2]:
            return 4
    return 3

sys.exit(asyncio.run(main()))
"""


def test_a_loop_of_asyncio_is_held_though_its_thread_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP.format(seconds=0.5))
    done = lwp("run", "--chaos", "1", tmp_path / "loop.py", status=3)
    assert re.search(r"MainThread  held for [0-9.]+ ms before a turn of its loop", done.stderr), done.stderr


def test_tasks_keep_their_order_unless_another_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP.format(seconds=60))
    lwp("run", "--chaos", "1", "--chaos-tasks", tmp_path / "loop.py", timeout=120, status=4)


def test_it_goes_together_with_what_watches_locks() -> None:
    """Their notes call methods that have points, with a lock of their own held."""
    program = """
import queue, without_pytest
queues = [queue.SimpleQueue() for _ in range(5000)]
def use():
    for one in queues:
        one.put(1)
        one.get()
without_pytest.together(use, use, use, use)
"""
    lwp("run", "--chaos", "1", "--locks", "--lock-order", "-c", program, timeout=60)
