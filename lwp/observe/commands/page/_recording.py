"""The records of the program that the live page shows: it records while a page is open."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from ...asking import Unanswered, ask
from ...following import records_of
from ..record import borrow

_RENEWED = 20  # s after which the program is asked again
_LASTS = 60  # s for which it records without that


class Recording:
    """A program's file of records."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._asking = Lock()
        self._due = 0.0  # when the program is to be asked again
        self._borrowers: list[int] = []
        self._file = -1  # held open, because the program removes the file at its end

    def go_on(self) -> Path:
        """Has the program record for a while, unless it does so for us already; its file.

        A program that doesn't answer may record for others all the same.
        Unanswered: it doesn't record.  OSError: the file can't be opened.
        """
        with self._asking:
            if time.monotonic() >= self._due:
                self._hold(self._borrow())
                self._due = time.monotonic() + _RENEWED
            return Path(f"/proc/self/fd/{self._file}")

    def end(self) -> None:
        """The program need not record for us any more."""
        with suppress(Unanswered):
            for borrower in self._borrowers:
                ask(self._pid, "give_back", borrower=borrower)

    def _borrow(self) -> Path:
        try:
            found = borrow(self._pid, _LASTS, opened=True)
        except Unanswered:
            if (path := records_of(self._pid)) is None:
                raise
            return path
        self._borrowers = [*self._borrowers[-_LASTS // _RENEWED :], found["borrower"]]
        return Path(found["records"])

    def _hold(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        if self._file < 0:
            self._file = fd
        else:  # the number stays, because a page may be about to open the file by it
            os.dup2(fd, self._file, inheritable=False)
            os.close(fd)
