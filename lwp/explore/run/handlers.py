"""Handlers of signals for the test's own thread, which is the main thread for threading, and not for CPython.

There signal.signal() would raise ValueError ("signal only works in main thread", signal_signal_impl() in CPython's
Modules/signalmodule.c).  So a run has handlers of its own, which are forgotten at its end.  A signal that the test
sends to its own process calls the handler at once, in the thread that sends it.  Signals from elsewhere, and those of
timers, go where they went before the test.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ... import native
from ..ends import Unfit
from .quiet import replace

_OF_TIMERS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)


def _is_main() -> bool:
    """Whether the caller is the test's own thread, or a task that runs there."""
    return native.explore_index() >= 0 and threading.current_thread() is threading.main_thread()


class OfTimer(Unfit, ValueError):
    """A program may take it for the ValueError that signal.signal() raises in any thread except the main one."""


class Handlers:
    """Within a `with` of the thread that explores."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self.before_run()

    def before_run(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._wakeup = -1

    def __enter__(self) -> Handlers:
        # signal.signal() and getsignal() are functions in Python, which call those of _signal.
        replace(self._undo, _signal, "signal", self._signal)
        replace(self._undo, _signal, "getsignal", self._getsignal)
        replace(self._undo, signal, "pthread_kill", self._sends_to(lambda thread: native.explore_index() >= 0))
        replace(self._undo, signal, "set_wakeup_fd", self._set_wakeup_fd)
        replace(self._undo, signal, "raise_signal", self._raise_signal)
        replace(self._undo, os, "kill", self._sends_to(lambda pid: native.explore_index() >= 0 and pid == os.getpid()))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    # ---- what stands in for others -----------------------------------------------------------------------------------

    def _signal(self, before: Callable[[int, Any], Any]) -> Callable[[int, Any], Any]:
        def set_handler(signum: int, handler: Any, /) -> Any:
            known = _signal.getsignal(signum)  # ValueError: there is no such signal
            if _is_main() and signum in _OF_TIMERS:
                raise OfTimer("timer", signal=signal.Signals(signum).name)
            if not _is_main():
                return before(signum, handler)
            if signum in (signal.SIGKILL, signal.SIGSTOP):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            if not (callable(handler) or handler in (signal.SIG_DFL, signal.SIG_IGN)):
                raise TypeError(
                    "signal handler must be signal.SIG_IGN, signal.SIG_DFL, or a callable object"  # CPython's words
                )
            self._handlers[signum] = handler
            return known

        return set_handler

    def _getsignal(self, before: Callable[[int], Any]) -> Callable[[int], Any]:
        def getsignal(signum: int, /) -> Any:
            known = before(signum)
            return self._handlers.get(signum, known) if native.explore_index() >= 0 else known

        return getsignal

    def _set_wakeup_fd(self, before: Callable[..., int]) -> Callable[..., int]:
        def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
            if not _is_main():
                return before(fd, warn_on_full_buffer=warn_on_full_buffer)
            self._wakeup, known = fd, self._wakeup
            return known

        return set_wakeup_fd

    def _raise_signal(self, before: Callable[[int], None]) -> Callable[[int], None]:
        def raise_signal(signum: int, /) -> None:
            if native.explore_index() < 0 or not self._handles(signum):
                before(signum)

        return raise_signal

    def _sends_to(self, is_own: Callable[[int], bool]) -> Callable[[Callable[[int, int], None]], Callable[..., None]]:
        def stand_in(before: Callable[[int, int], None]) -> Callable[..., None]:
            def send(receiver: int, signum: int, /) -> None:
                if not is_own(receiver) or not self._handles(signum):
                    before(receiver, signum)

            return send

        return stand_in

    def _handles(self, signum: int) -> bool:
        """Calls the handler, if the signal has one in Python."""
        handler = _signal.getsignal(signum) if signum in signal.valid_signals() else None
        if not callable(handler):
            if handler == signal.SIG_DFL and signum == signal.SIGINT:  # the process itself has another handler
                os._exit(128 + signum)
            return bool(handler == signal.SIG_IGN)
        if self._wakeup >= 0:
            os.write(self._wakeup, bytes([signum]))
        handler(int(signum), sys._getframe(2))
        return True
