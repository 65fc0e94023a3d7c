"""Other interpreters of this process, whatever this CPython calls the functions, and programs that they run."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

try:
    import _interpreters as api
except ImportError:
    import _xxsubinterpreters as api


def creator(own_gil: bool) -> Callable[[], Any]:
    """Makes a new interpreter, without any Python between, and returns its id."""
    if sys.version_info >= (3, 13):
        return functools.partial(api.create, "isolated" if own_gil else "legacy")
    return functools.partial(api.create, isolated=own_gil and sys.version_info >= (3, 12))


def execute(interpreter: Any, code: str) -> None:
    """Runs it there; what it raises is raised here."""
    if sys.version_info < (3, 13):
        api.run_string(interpreter, code)
    elif (failed := api.exec(interpreter, code)) is not None:
        raise RuntimeError(failed.formatted)


PROGRAM = """
import os, sys, threading
assert "runtime.native" not in sys.modules
assert threading.Thread.start.__globals__["Thread"].__module__ == "threading"
assert type(threading.Lock()).__module__ == "_thread"
def deep(n):
    return n and deep(n - 1)
def work(n):
    with lock:
        seen.append(deep(n))
lock, seen = threading.Lock(), []
for _ in range(3):
    threads = [threading.Thread(target=work, args=(500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    work(500)
    for thread in threads:
        thread.join()
assert seen == [0] * 15
try:
    from runtime import Thread
except ImportError as error:
    assert "main interpreter only" in str(error), error
else:
    raise AssertionError("imported")
"""

#: What readers hook: locks, queues, clocks, chance and sleeps, also in threads of this interpreter.
WATCHED = """
import queue, random, threading, time, zlib
def of_a_subinterpreter():
    items = queue.SimpleQueue()
    for _ in range(200):
        with lock, again:
            items.put(random.random())
            items.get()
    for _ in range(3):
        time.sleep(time.time() * 0 + 0.002)
        zlib.compress(bytes(100000))
lock, again = threading.Lock(), threading.RLock()
threads = [threading.Thread(target=of_a_subinterpreter) for _ in range(2)]
for thread in threads:
    thread.start()
of_a_subinterpreter()
for thread in threads:
    thread.join()
"""


def live(own_gil: bool) -> None:
    """The life of an interpreter that runs WATCHED."""
    interpreter = creator(own_gil)()
    execute(interpreter, WATCHED)
    api.destroy(interpreter)
