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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import FrameType

from .sites import note_makings

__all__ = ["DEFAULT_SIZE", "record", "stop"]

DEFAULT_SIZE = 16 << 20  #: bytes of records, of 32 each
FOREVER = 2**63 - 1  #: ns on the monotonic clock: until stop(), or the end of the program

_made: dict[int, str] = {}  # the file, by the number of the process that has made it


def _names(things: list[object]) -> list[str]:
    from .source import named  # it loads much, and is needed only when a thread has been blocked

    return named(things)


def _threads() -> Iterator[tuple[int, str, FrameType | None]]:
    """The threads that Python knows, and the calling one only if it is the program's."""
    known = dict(threading._active)  # type: ignore[attr-defined]
    for ident, frame in sys._current_frames().items():
        name = ""
        with suppress(Exception):  # of a derived class
            name = known[ident].name
        if type(name) is str and (name or ident != threading.get_ident()):
            yield ident, name or _outermost(frame).f_code.co_qualname, frame


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def record(path: str | os.PathLike[str], size: int = DEFAULT_SIZE, arguments: Sequence[str] | None = None) -> None:
    """Has this process record from now on into a file that `lwp trace` makes a timeline of.

    A process has one file.  After stop() the recording can begin again, in the same file, which then has what comes
    from there on.

    size: bytes for records; the latest are kept.  arguments: the program's, for the timeline.
    OSError: the file can't be made, or the disk has no room for it.
    RuntimeError: the process records already, or has another file.
    """
    if not begin(path, size, arguments):
        raise RuntimeError("this process records already")


def begin(
    path: str | os.PathLike[str],
    size: int = DEFAULT_SIZE,
    arguments: Sequence[str] | None = None,
    until: int = FOREVER,
    coarsely: bool = False,
) -> bool:
    """The same until that time, in ns.  False: the process records already; then that ends at that time instead.

    coarsely: for a third of the cost.  A thread that runs for more than 20 us between two waits isn't known to be
    awake.
    """
    from .. import native

    note_makings()
    path = os.path.abspath(path)
    if os.getpid() not in _made:
        program = " ".join(sys.argv if arguments is None else arguments)[:1000].encode(errors="replace")
        try:
            native.trace_open(path, size, program)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
        else:
            _made[os.getpid()] = path
            atexit.register(stop)
    if _made.get(os.getpid()) != path:
        raise RuntimeError(f"this process has its records in {_made.get(os.getpid())}")
    if not native.trace_begin(until, coarsely, _names):
        return False
    native.trace_there(list(_threads()))
    return True


def stop() -> None:
    """Ends the recording; so does the end of the program."""
    from .. import native

    native.trace_end()
