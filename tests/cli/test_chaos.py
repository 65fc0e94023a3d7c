"""`lwp run --chaos`: races show themselves, and what was done to whom is told."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import lwp

#: Two threads take the one thing that there is, if one of them stops between its look and its deed: the program is to
#: fail then, and otherwise goes on for a minute.
RACE = """
import sys, threading, time

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
    takers = [threading.Thread(target=take) for _ in range(2)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
sys.exit(3 if failed else 0)
"""
HELD = re.compile(r"lwp: chaos: +[0-9.,]+ ms ago  Thread-\d+ \(take\)  held for [0-9.]+ ms at \S*race\.py:\d+ in take")


def test_a_race_shows_itself_and_the_thread_that_was_held_is_told(tmp_path: Path) -> None:
    program = tmp_path / "race.py"
    program.write_text(RACE)
    done = lwp("run", "--chaos", "1", program, timeout=120, status=3)
    assert re.search(r"^lwp: chaos: IndexError in Thread-\d+ \(take\); seed 1; ", done.stderr, re.MULTILINE)
    assert HELD.search(done.stderr), done.stderr
    assert "lwp: chaos: the program has failed; seed 1; " in done.stderr


def test_without_a_seed_one_is_chosen_and_told(tmp_path: Path) -> None:
    program = tmp_path / "race.py"
    program.write_text(RACE)
    done = lwp("run", "--chaos", program, timeout=120, status=3)
    assert re.search(r"the program has failed; seed [1-9]\d*; ", done.stderr), done.stderr


def test_a_program_that_does_not_fail_runs_as_ever() -> None:
    program = "import threading; t = threading.Thread(target=print, args=(1,)); t.start(); t.join(); print(2)"
    done = lwp("run", "--chaos", "1", "-c", program)
    assert (done.stdout, done.stderr) == ("1\n2\n", "")


def test_a_program_that_fails_before_a_thread_was_held_is_not_explained() -> None:
    assert "chaos" not in lwp("run", "--chaos", "1", "-c", "raise SystemExit(3)", status=3).stderr
