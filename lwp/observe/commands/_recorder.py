"""`run --recorder`: keeps the program's latest records, and makes timelines of them when something goes wrong."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from ...core import printable
from ...terminal.aside import run_aside
from ...terminal.ending import at_end, at_exception
from .. import recording

REASONS = ("deadlock", "signal", "exception")
DEFAULT_SIZE = 32 << 20  #: bytes
PATIENCE = 10.0  #: seconds of a standstill, unless --watchdog says otherwise

_LAST = 30  # seconds of a timeline
_MOST = 10  # timelines that a program makes by itself


class _Maker:
    """Makes timelines of the last seconds."""

    def __init__(self, records: Path, folder: Path) -> None:
        self._records, self._folder = records, folder
        self._pid = os.getpid()
        self._making = threading.Lock()
        self._made: list[float] = []  # when

    def make(self, why: str, told: str = "") -> None:
        """Makes lwp-PID-WHY.html, except when another has most of these seconds, and at most some in all."""
        if os.getpid() != self._pid or not self._making.acquire(blocking=False):
            return
        try:
            if len(self._made) < _MOST and (not self._made or time.monotonic() - self._made[-1] >= _LAST):
                self._made.append(time.monotonic())
                number = f"-{len(self._made)}" if len(self._made) > 1 else ""
                file = self._folder / f"lwp-{self._pid}-{why}{number}.html"
                with suppress(Exception):  # no process can be made: the thread's own end goes on
                    recording.name_things()
                    run_aside("trace", "--last", str(_LAST), "--why", told or why, self._records, file)
        finally:
            self._making.release()


_maker: _Maker | None = None


def begin(on: frozenset[str], folder: Path, size: int | None, arguments: tuple[str, ...]) -> None:
    """Records from here on; what is left at the end in order is removed.

    on: of REASONS.  folder: for what these make.  In case of a signal nothing can be made, so there the records are.
    """
    global _maker
    records = folder / f"lwp-{os.getpid()}.records"
    try:
        if "signal" not in on:
            records = recording.own_file()
        recording.record(records, size or DEFAULT_SIZE, arguments)
    except OSError as error:
        print(f"lwp: can't record to {printable(str(records))}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    at_end(_end)
    maker = _maker = _Maker(records, folder)
    if on & {"deadlock", "exception"}:
        _load()
    if "exception" in on:
        at_exception(lambda error, thread: maker.make("exception", f"{error} in {thread!r}"))


def _end() -> None:
    if not recording.finish():
        recording.remove()


def _load() -> None:
    """Loads what is needed later, because then a thread may sleep in an import."""
    import subprocess  # noqa: F401

    from ...reading import source  # noqa: F401


def note_deadlock() -> None:
    """Called after a report of the watchdog."""
    if _maker is not None:
        _maker.make("deadlock")
