"""The end of a program with threads in every state: status and output as of plain python, and it is never wedged.

`LWP_EXITS=40 pytest tests/lwp/command/test_exits.py -rP` ends so many programs by each door, on the runtime and as
plain python.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest
from conftest import HELPERS, lwp
from test_run import RUN, execute, said

PROGRAM = str(HELPERS / "ending.py")
MANY = int(os.environ.get("LWP_EXITS", "2"))

#: How a program ends, and with which status.
DOORS = {
    "return": 0,
    "number": 5,
    "text": 1,
    "exception": 1,
    "interrupt": -2,
    "killed": -15,
    "_exit": 6,
    "_exit in a thread": 7,
    "exit in a thread": 0,
    "start in atexit": 0,
    "failing atexit": 0,
    "interrupt in the end": 0,
}


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * MANY)
@pytest.mark.parametrize("door", DOORS)
def test_a_program_ends_as_in_plain_python(door: str, tmp_path: Path) -> None:
    for _ in range(MANY):
        arguments = [PROGRAM, door, str(random.getrandbits(31))]
        print(*arguments[1:])
        plain = execute([sys.executable, *arguments], tmp_path)
        assert plain.returncode == DOORS[door], plain.stderr
        ours = execute([*RUN, *arguments], tmp_path)
        assert (ours.returncode, said(ours.stdout), said(ours.stderr)) == (
            plain.returncode,
            said(plain.stdout),
            said(plain.stderr),
        )
    print(f"{MANY} exits by {door!r}, and as many of plain python: the same status and output")


# ---- daemons between the program's last line and the process's end ---------------------------------------------------

MODES: list[list[str]] = [[], ["--green"], ["--green", "--time-slice", "0"]]

POOL = """
import os, queue, threading, time

class Pool:
    def __init__(self):
        self.queue = queue.Queue()
        never = threading.Event().wait
        ends = os.pipe()
        self.threads = [
            threading.Thread(target=target, args=args, daemon=True)
            for target, args in ((self.queue.get, ()), (never, ()), (time.sleep, (1000,)), (os.read, (ends[0], 1)))
        ]
        for thread in self.threads:
            thread.start()

    def __del__(self):
        self.queue.put(None)
        for thread in self.threads:
            thread.join()
        print([thread.is_alive() for thread in self.threads], flush=True)
"""


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_a_finalizer_joins_daemon_threads(mode: list[str], tmp_path: Path) -> None:
    """As of threading's to 3.12, whose states are deleted before modules are; from 3.13 on it waits for good."""
    (tmp_path / "pool_of_daemons.py").write_text(POOL)
    (tmp_path / "program.py").write_text("import pool_of_daemons\npool = pool_of_daemons.Pool()\n")
    assert lwp("run", *mode, str(tmp_path / "program.py")).stdout == "[False, False, False, False]\n"
