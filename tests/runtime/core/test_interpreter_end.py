"""Daemon threads between the program's last line and the process's end."""

from __future__ import annotations

import sys

import pytest
from conftest import python

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
