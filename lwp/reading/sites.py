"""Lines of the program, and where its primitives are made."""

from __future__ import annotations

import os

from . import RUNTIME, TOOLS

_STANDARD = os.path.dirname(os.__file__)

#: The beginnings of the names of files whose lines are not the program's: they pass on the operations by which it
#: synchronises.
SYNCHRONISING = (
    *(os.path.join(_STANDARD, name) for name in ("threading.py", "queue.py", "contextlib.py", "concurrent/futures/")),
    "<frozen importlib",
    RUNTIME,
    TOOLS,
)


def note_makings() -> None:
    """Has the places where primitives are made noted from now on."""
    from .. import native

    native.sites_begin(SYNCHRONISING)
