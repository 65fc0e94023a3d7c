"""`run --lock-order`: reports, at the program's end, locks that it took in both orders, and deadlocks."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from ...core import thread
from ...terminal.ending import at_end, failed
from ...terminal.telling import teller
from ..lock_order import LockOrder
from ..waits import deadlocks, describe_cycle, waiting

STATUS = 1  #: the exit status of a program that took locks in both orders, if its own would be 0

_found: list[str] = []  # at the end: lines of the report


def end_with_status() -> None:
    """Has the process exit with STATUS if there was something to report.

    What is registered first is called last, and nothing is called after this.
    """
    at_end(_exit)


def _exit() -> None:
    if _found and not failed():
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # standard error is None or closed, or its disk is full
                stream.flush()
        os._exit(STATUS)


def watch_order() -> None:
    """Watches from now on, and reports at the end."""
    order = LockOrder()
    write = teller(os.dup(sys.stderr.fileno()))  # the program may close or replace it
    order.begin((threading.Thread, thread.Thread))

    def tell() -> None:
        _found.extend(f"lwp: deadlock: {describe_cycle(cycle)}\n" for cycle in deadlocks(waiting()))
        _found.extend(f"lwp: lock order: {text}\n" for text in order.report())
        order.end()
        if _found:
            write("".join(_found))

    at_end(tell)
