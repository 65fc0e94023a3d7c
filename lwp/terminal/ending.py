"""How the program under `lwp run` has ended, and what is called at its end."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress

_failed = False  # an exception has ended the program, other than SystemExit with the status 0
_misused = False  # it has ended with status 2, as a program does that refuses its command line
_interrupted = False  # the program was ended by a KeyboardInterrupt


def note(error: BaseException) -> None:
    """Keeps what has ended the program."""
    global _failed, _misused, _interrupted
    _failed = not (isinstance(error, SystemExit) and error.code in (None, 0))
    _misused = isinstance(error, SystemExit) and error.code == 2
    _interrupted = type(error) is KeyboardInterrupt


def failed() -> bool:
    """Whether the exit status of the program, which has ended, is other than 0."""
    return _failed


def ended_as_misused() -> bool:
    """Whether the exit status of the program, which has ended, is 2, as of one that refuses its command line."""
    return _misused


def at_end(function: Callable[[], object]) -> None:
    """Has this process call the function at its end; children that the program forks don't.

    What is registered before the program begins is called after all that the program registers.
    """
    pid = os.getpid()
    atexit.register(lambda: function() if os.getpid() == pid else None)


def at_exception(function: Callable[[str, str], object]) -> None:
    """Has function(its type, the thread's name) called when an exception ends a thread, except SystemExit.

    It is in the classes, because the program may set threading.excepthook.
    """
    import threading

    from ..core import thread

    def then(invoke: Callable[[threading.Thread], object]) -> Callable[[threading.Thread], None]:
        def invoke_excepthook(thread: threading.Thread) -> None:
            error = sys.exception()
            invoke(thread)
            if not isinstance(error, SystemExit):
                function(type(error).__name__, thread.name)

        return invoke_excepthook

    for cls in (threading.Thread, thread.Thread):
        cls._invoke_excepthook = staticmethod(then(cls._invoke_excepthook))  # type: ignore[attr-defined]


def note_interrupt() -> None:
    """If a KeyboardInterrupt ended the program: has the interpreter remember that, to end the process by SIGINT.

    It remembers only the last piece of source text that it ran, and importing rich has run some (namedtuple).
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    if _interrupted:
        with suppress(KeyboardInterrupt):
            eval("interrupt()", {"interrupt": interrupt})
