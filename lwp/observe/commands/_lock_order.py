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


def watch_order(status: int | None) -> None:
    """Watches from now on. status: the process's exit status if there is something to report and its own would be 0."""
    order = LockOrder()
    tell = teller(os.dup(sys.stderr.fileno()))  # the program may close or replace it
    order.begin((threading.Thread, thread.Thread))

    def tell_and_exit() -> None:
        found = [f"lwp: deadlock: {describe_cycle(cycle)}\n" for cycle in deadlocks(waiting())]
        found += [f"lwp: lock order: {text}\n" for text in order.report()]
        order.end()
        if found:
            tell("".join(found))
        if found and status is not None and not failed():
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):  # standard error is None or closed, or its disk is full
                    stream.flush()
            os._exit(status)

    at_end(tell_and_exit)
