"""What a process is to show, asked for in its environment, for a service that another program starts.

Read once in a process that the runtime is under, by install(), `lwp run` or LWP_CHILDREN.
"""

from __future__ import annotations

import os
import sys

from .listening import LISTEN, listen

WATCHDOG = "LWP_WATCHDOG"  #: seconds for which the program stands still before a report
STUCK = "LWP_STUCK"  #: seconds for which a thread waits for a lock before a report
TRACE = "LWP_TRACE"  #: file for records; %p in its name stands for the process's number

_unread = [None]


def begin(*but: str) -> None:
    """Begins what the variables ask for, except those of the given names.

    ValueError: the value of a variable is wrong, and nothing has begun.  RuntimeError, OSError: as watchdog() and
    record().
    """
    if not _unread or sys.flags.ignore_environment:
        return
    del _unread[0]
    if os.environ.get(LISTEN) == "1":
        listen()
    said = {name: text for name in (WATCHDOG, STUCK, TRACE) if name not in but and (text := os.environ.get(name))}
    if not said:
        return
    from functools import partial

    from . import recording
    from .watchdog import seconds_from, watchdog

    seconds, stuck = (seconds_from(said[name], name) if name in said else None for name in (WATCHDOG, STUCK))
    if "%p" not in (file := said.get(TRACE, "%p")):
        raise ValueError(
            f"{TRACE}={file!r} has no %p for the process's number: each Python process has a file of its own"
        )
    if TRACE in said:
        recording.record(file.replace("%p", str(os.getpid())))
    if seconds is None and stuck is None:
        return
    watch = partial(watchdog, seconds, stuck=stuck)
    watch()
    os.register_at_fork(after_in_child=watch)  # gunicorn's workers, for example, are forked


def leave() -> None:
    """Has nothing begin, because pytest captures standard error, and has options of its own."""
    _unread.clear()
