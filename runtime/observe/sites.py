"""Lines of the program, and where its primitives are made."""

from __future__ import annotations

import os

__all__ = ["SYNCHRONISING", "note_makings"]

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
