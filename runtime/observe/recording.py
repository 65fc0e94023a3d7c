"""Has this process record what its threads do into a file: record() and stop() of runtime.observe.trace.

It is apart from that module, and from source, because their classes take longer to make than most programs take to
record.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
import threading
from collections.abc import Sequence

from .sites import note_makings

__all__ = ["DEFAULT_SIZE", "record", "stop"]

DEFAULT_SIZE = 16 << 20  #: bytes of records, of 32 each


def _names(things: list[object]) -> list[str]:
    from .source import named  # it loads much, and is needed only when a thread has been blocked

    return named(things)


def record(path: str | os.PathLike[str], size: int = DEFAULT_SIZE, arguments: Sequence[str] | None = None) -> None:
    """Has this process record from now on, once in its life, into a file that `lwp trace` makes a timeline of.

    By the main thread.  size: bytes for records; the latest are kept.  arguments: the program's, for the timeline.
    OSError: the file can't be made, or the disk has no room for it.
    RuntimeError: the caller is not the main thread; the process records already, or its parent did before the fork.
    """
    from .. import native

    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("record() is for the main thread")
    program = " ".join(sys.argv if arguments is None else arguments)[:1000].encode(errors="replace")
    note_makings()
    try:
        native.trace_begin(path, size, program, _names)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise RuntimeError("this process records already, or the one that it was forked from did") from None
        raise
    atexit.register(stop)


def stop() -> None:
    """Ends the record; so does the end of the program."""
    from .. import native

    native.trace_end()
