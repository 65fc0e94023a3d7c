"""Has this process record what its threads do into a file: record() and stop() of lwp.observe.trace.

It is apart from that module, and from source, because their classes take longer to make than most programs take to
record.
"""

from __future__ import annotations

import _thread
import atexit
import errno
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ..reading.folders import own_folder
from ..reading.sites import note_makings

DEFAULT_SIZE = 16 << 20  #: bytes of records, of 32 each
LEFT = 3  #: files of killed programs that stay in the folder of sockets

_FOREVER = 2**63 - 1  # ns on the monotonic clock
_GRACE = 5.0  # seconds after which a recording ends whose borrower has gone
_OWN = 0  # the program itself, among the borrowers

_path: str | None = None  # the process's file
_identity: tuple[int, int] | None = None  # of it, because another file may get its name
_until: dict[int, int] = {}  # who wants the recording, and until when
_borrowers = 0  # so far
_lent_file: str | None = None  # made for borrowers, and removed at the end
_lent: set[int] = set()  # borrowers that read the file at the end
_changing = _thread.allocate_lock()


def _forget() -> None:
    """In a forked child, which has no file."""
    global _path, _changing
    _path, _changing = None, _thread.allocate_lock()
    _until.clear()


os.register_at_fork(after_in_child=_forget)


def _names(things: list[tuple[object, int]]) -> list[str | None]:
    """Those that variables have.  What lines call the others, and where they were made, the reader finds out."""
    from ..reading.names import Called  # it loads much, and is needed only when a thread has been blocked

    called = Called()
    return [called.by_address(id(thing), type(thing)) or None for thing, _ in things]


def _threads() -> Iterator[tuple[int, str, FrameType | None]]:
    """The threads that Python knows, and the calling one only if it is the program's."""
    from .. import native

    known = dict(threading._active)  # type: ignore[attr-defined]
    for ident, frame in native.current_frames().items():
        name = ""
        with suppress(Exception):  # of a derived class
            name = known[ident].name
        if type(name) is str and (name or ident != threading.get_ident()):
            yield ident, name or _outermost(frame).f_code.co_qualname, frame


def _outermost(frame: FrameType) -> FrameType:
    while frame.f_back is not None:
        frame = frame.f_back
    return frame


def _open(path: str, size: int, arguments: Sequence[str] | None) -> None:
    global _path, _identity
    from .. import native

    if _path is None:
        program = " ".join(sys.argv if arguments is None else arguments)[:1000].encode(errors="replace")
        try:
            native.trace_open(path, size, program)
        except OSError as error:
            if error.errno == errno.EBUSY:
                error.strerror = "another program records into it"
            error.filename = path
            raise
        _path, _identity = path, _identity_of(path)
        atexit.register(finish)
    elif _path != path:
        raise RuntimeError(f"this process has its records in {_path}")


def _identity_of(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    with suppress(OSError):
        found = os.lstat(path)
        return found.st_dev, found.st_ino
    return None


def is_there() -> bool:
    """Whether the name of the process's file still stands for that file."""
    return _path is not None and _identity_of(_path) == _identity


def remove() -> None:
    """Removes the process's file, if its name still stands for it."""
    if _path is not None and is_there():
        with suppress(FileNotFoundError):
            os.unlink(_path)


def _forget_late() -> None:
    """Forgets the borrowers that have not come back."""
    now = time.monotonic_ns()
    for borrower in [borrower for borrower, until in _until.items() if until <= now]:
        del _until[borrower]


def _go_on() -> None:
    """Records as long as somebody wants it."""
    from .. import native

    _forget_late()
    if not _until:
        native.trace_end()
    elif native.trace_begin(max(_until.values()), _names):
        native.trace_there(list(_threads()))


def record(path: str | os.PathLike[str], size: int = DEFAULT_SIZE, arguments: Sequence[str] | None = None) -> None:
    """Has this process record from now on into a file that `lwp trace` makes a timeline of.

    A process has one file.  After stop() the recording can begin again, in the same file, which then has what comes
    from there on.

    size: bytes for records; the latest are kept.  arguments: the program's, for the timeline.
    OSError: the file can't be made, or the disk has no room for it.
    RuntimeError: the process records already, or has another file.
    """
    note_makings()
    with _changing:
        _open(os.path.abspath(path), size, arguments)
        if _OWN in _until:
            raise RuntimeError("this process records already")
        _until[_OWN] = _FOREVER
        _go_on()


def stop() -> None:
    """Ends the record; so does the end of the program."""
    with _changing:
        if _until.pop(_OWN, None):
            _go_on()


def finish() -> bool:
    """Ends it for everybody.  Returns whether a borrower is about to read the file, and will remove it."""
    with _changing:
        _forget_late()
        lent = bool(_until.keys() & _lent)
        _until.clear()
        if _path is not None:
            _go_on()
    return lent


# ---- asked from outside ----------------------------------------------------------------------------------------------


def own_file() -> Path:
    """The file in the private folder that is this process's; what killed programs have left there goes, except the
    latest.

    OSError: there is no such folder.
    """
    if (folder := own_folder()) is None:
        raise FileNotFoundError(None, "there is no private folder in $XDG_RUNTIME_DIR or /tmp")
    left = [path for path in Path(folder).glob("*.records") if not os.path.exists(f"/proc/{path.stem}")]
    with suppress(FileNotFoundError):  # another program removes them too
        for path in sorted(left, key=lambda path: path.stat().st_mtime)[:-LEFT]:
            path.unlink()
    return Path(folder, f"{os.getpid()}.records")


def _remove(pid: int) -> None:
    if os.getpid() == pid and not finish():
        remove()


def borrow(seconds: float, opened: bool = False) -> dict[str, Any]:
    """Records for so long, or until give_back(); the borrower's number, the file, whether that is for borrowers alone,
    and the time from which on.

    opened: the borrower has the file open from then on, so the process may remove it.
    """
    global _borrowers, _lent_file
    note_makings()
    with _changing:
        if _path is None:
            file = own_file()
            _open(str(file), DEFAULT_SIZE, None)
            _lent_file = str(file)
            atexit.register(_remove, os.getpid())
        _borrowers += 1
        if not opened:
            _lent.add(_borrowers)
        _until[_borrowers] = time.monotonic_ns() + round((seconds + _GRACE) * 1e9)
        _go_on()
        lent = _path == _lent_file
        return {"borrower": _borrowers, "records": _path, "lent": lent, "now": time.monotonic_ns()}


def give_back(borrower: int) -> dict[str, Any]:
    """Ends a borrower's recording, if nobody else wants it."""
    found = look_back()
    with _changing:
        _lent.discard(borrower)
        _until.pop(borrower, None)
        _go_on()
    return found


def name_things() -> None:
    """Has the names recorded of what threads wait for, or have waited for."""
    from .. import native

    native.trace_name_things([thing for _, _, thing, *_ in native.waits()])


def look_back() -> dict[str, Any]:
    """The file, to be read up to now; None: nothing is recorded."""
    name_things()
    with _changing:
        _go_on()
        return {"records": _path if _until else None, "now": time.monotonic_ns()}
