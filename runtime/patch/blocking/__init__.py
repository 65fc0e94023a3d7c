"""Calls of the standard library that block, for threads on a scheduler: they leave the LWP to the others.

A call that would block first waits, by wait_fd(), until it won't; sockets, TLS and pipes try first, in C.  A call that
is ready at once lets others run when its thread has kept the LWP for a millisecond (native.may_block()).  In a thread
that has its LWP to itself each is the stock call.  `install(green=True)` puts them in force: STAND_INS wherever a
module has the stock function, METHODS in the classes.  Each file here replaces one kind of call; open files are in
../streams.py.  Calls in neither block the LWP: open files on disks, signal.pause, C code of others, the stock locks in
C code.
"""

from __future__ import annotations

import queue
import time

from ... import native
from .. import streams
from ..streams import reopen_stdin
from . import closing, files, names, opening, polling, processes, signals, sockets, tls_sockets  # noqa: F401  # each adds its own
from .stand_in import METHODS, STAND_INS, stands_in_for

__all__ = ["METHODS", "STAND_INS", "reopen_stdin"]

stands_in_for(time.sleep, always=True)(native.sleep)
stands_in_for(streams.STOCK_INPUT, always=True)(streams.read_input)
# Its get() waits for a lock of C; the same in Python waits for a semaphore of threading's.
STAND_INS.append((queue.SimpleQueue, queue._PySimpleQueue))  # type: ignore[attr-defined]
