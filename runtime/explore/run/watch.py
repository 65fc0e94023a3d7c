"""Notices a thread that comes to no point: it computes for long, spins without an operation, or blocks in C code."""

from __future__ import annotations

import os
import sys
from types import FrameType

from ... import native
from ...observe.source import is_program
from ...scheduler import spawn

__all__ = ["Watch"]

_GRACE = 1.0  # seconds that a thread is given to come to an end, once it was told to


def _place(frame: FrameType | None) -> str:
    """Where the thread is: the program's line, and the call of a library's that it is in."""
    inner = frame
    while frame is not None and not is_program(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        frame = inner
    if frame is None:
        return "code that is not Python"
    text = f"{os.path.relpath(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
    if inner is not None and inner is not frame:
        text += f" (in {inner.f_code.co_name} of {os.path.basename(inner.f_code.co_filename)})"
    return text


class Watch:
    """Looks at the running thread on an LWP of its own, between begin() and end().

    patience: seconds that a thread may take from one point to the next.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.place = ""  #: where a thread was that came to no point
        self.spins = False  #: it ended when it was told to, so it was in Python code
        self.waits = False  #: for a file, as all the others do for it

    def begin(self) -> None:
        native.explore_watching(True)
        self._lwp = spawn(self._look)

    def end(self) -> None:
        native.explore_watching(False)
        self._lwp.join()

    @property
    def ident(self) -> int:
        return self._lwp.ident

    def _look(self) -> None:
        while found := native.explore_watch(self.patience):
            ident, _, self.waits = found
            self.place = _place(sys._current_frames().get(ident))
            self.spins = not self.waits
            native.explore_interrupt(0 if self.waits else ident)
            if self.spins and native.explore_watch(_GRACE) == found:
                self.spins = False
                native.explore_escape()
