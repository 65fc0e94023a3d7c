"""Has this process note where its primitives are made, and record what its threads do into a file for runtime.trace.

Apart from that module, and from source, whose classes take longer to make than most programs take to record.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
import threading
from collections.abc import Sequence

__all__ = ["DEFAULT_SIZE", "SYNCHRONISING", "note_makings", "record", "stop"]

DEFAULT_SIZE = 16 << 20  #: bytes of records, of 32 each

_STANDARD = os.path.dirname(os.__file__)

#: How the names of files begin whose lines are no place of a program's: they pass on what it synchronises by.
SYNCHRONISING = (
    *(os.path.join(_STANDARD, name) for name in ("threading.py", "queue.py", "contextlib.py", "concurrent/futures/")),
    "<frozen importlib",
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
)


def note_makings() -> None:
    """From now on it is noted where primitives are made."""
    from .. import native

    native.sites_begin(SYNCHRONISING)


def _names(things: list[object]) -> list[str]:
    from .source import named  # loads much, and is asked for when a thread has been blocked

    return named(things)


def record(path: str | os.PathLike[str], size: int = DEFAULT_SIZE, arguments: Sequence[str] | None = None) -> None:
    """Has this process record from now on, once in its life, into a file, which `lwp trace` makes a timeline of.

    By the main thread.  size: bytes for records; the latest are kept.  arguments: the program's, for the timeline.
    OSError: the file can't be made, or the disk has no room for it.
    RuntimeError: the calling thread is another; the process records already, or the one that it was forked from did.
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
