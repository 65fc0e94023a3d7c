"""Daemon threads between the program's last line and the process's end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import lwp, python

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


LATE = """
import atexit, sys

def late():
    event = threading.Event()
    asked.append(event)
    print(event.wait(10))
    try:
        thread = threading.Thread(target=print, args=("ran",))
        thread.start()
        thread.join(10)
    except RuntimeError as error:
        print(error)

atexit.register(late)  # runs after all handlers of modules that are imported below
import threading, time
import runtime
runtime.install(**eval(sys.argv[1]))
asked, begun = [], threading.Event()

def answer():
    begun.set()
    while True:
        while asked:
            asked.pop().set()
        time.sleep(0.001)

threading.Thread(target=answer, daemon=True).start()
begun.wait()  # a green thread that has had no turn before the handlers gets none
"""


@pytest.mark.parametrize("how", ["{}", "{'green': True}", "{'green': True, 'time_slice': None}"])
def test_daemon_threads_run_during_the_last_atexit_handler(how: str) -> None:
    refused = (3, 12) <= sys.version_info < (3, 13)
    last = "can't create new thread at interpreter shutdown" if refused else "ran"
    assert python("-c", LATE, how).stdout == f"True\n{last}\n"
