"""The corpus without an explorer: each repaired program is right on stock threads, as far as luck shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from corpus import PROGRAMS, Find, Needs, Program

_TWENTY_TIMES = """
import faulthandler, gc, sys, threading
from corpus import PROGRAMS

faulthandler.dump_traceback_later(40, exit=True)
failed = []
threading.excepthook = failed.append
threading.Thread(target=int).start()  # what the first thread of a process makes
run = next(program.run for program in PROGRAMS if program.name == sys.argv[1])
sys.setswitchinterval(1e-6)
for _ in range(20):
    run(True)
    assert not failed, failed
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    assert not left, left
"""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_repaired_one_is_right_and_leaves_no_thread(program: Program) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", _TWENTY_TIMES, program.name]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_enough_and_of_each_kind() -> None:
    assert len(PROGRAMS) >= 50
    assert not [name for name, count in Counter(program.name for program in PROGRAMS).items() if count > 1]
    assert all(program.source.strip() and 1 <= program.depth <= 3 for program in PROGRAMS)
    needed = Counter(program.needs for program in PROGRAMS)
    assert needed[Needs.SYNC] >= 30
    assert needed[Needs.GIL] >= 10
    assert needed[Needs.OPCODE] >= 10
    assert {program.find for program in PROGRAMS} == set(Find)
