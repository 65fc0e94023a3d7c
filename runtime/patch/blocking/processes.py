"""The end of other processes, and the locks that multiprocessing shares with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ... import native
from .stand_in import may_block, stands_in_for
from .waiting import IN, Patience, ask_until_true, on_helper_at_once

_stock_waitpid, _stock_wait4, _stock_waitid, _stock_system = os.waitpid, os.wait4, os.waitid, os.system


def _wait_for_end(pid: int) -> None:
    with suppress(OSError):  # out of memory or descriptors: ask again later
        fd = os.pidfd_open(pid)
        try:
            native.wait_fd(fd, IN)
        finally:
            os.close(fd)


def _ask_for_end(ask: Callable[[], Any], pid: int, options: int) -> Any:
    """Waits with ask(), which asks with WNOHANG, raises if there is no such child, and returns 0 or None if none has
    ended."""
    if (found := ask()) is not None or options & os.WNOHANG:
        return found
    if pid > 0 and not options & ~os.WEXITED:
        _wait_for_end(pid)
    return ask_until_true(ask, Patience(None))


def _wait_for(stock: Callable[[int, int], Any], pid: int, options: int) -> Any:
    """Waits with stock(), which returns a tuple whose first item, the pid, is 0 while no child has ended."""
    nothing: Any = None

    def ask() -> Any:
        nonlocal nothing
        found = nothing = stock(pid, options | os.WNOHANG)
        return found if found[0] else None

    return _ask_for_end(ask, pid, options) or nothing


@stands_in_for(os.waitpid)
def _waitpid(pid: int, options: int, /) -> Any:
    return _wait_for(_stock_waitpid, pid, options)


@stands_in_for(os.wait4)
def _wait4(pid: int, options: int) -> Any:
    return _wait_for(_stock_wait4, pid, options)


@stands_in_for(os.wait3)
def _wait3(options: int) -> Any:
    return _wait4(-1, options)


@stands_in_for(os.waitid)
def _waitid(idtype: int, id: int, options: int, /) -> Any:
    ask = partial(_stock_waitid, idtype, id, options | os.WNOHANG)
    return _ask_for_end(ask, id if idtype == os.P_PID else 0, options)


@stands_in_for(os.wait)
def _wait_any() -> tuple[int, int]:
    found: tuple[int, int] = _waitpid(-1, 0)
    return found


@stands_in_for(os.system)
def _system(command: Any) -> int:
    return int(on_helper_at_once(_stock_system, (command,)))


try:
    import _multiprocessing  # type: ignore[import-not-found]
except ImportError:
    pass
else:

    @stands_in_for(_multiprocessing.SemLock)
    class _SemLock(_multiprocessing.SemLock):  # type: ignore[misc]
        """The semaphore of multiprocessing's locks and queues."""

        def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
            if not may_block() or not block:
                return bool(super().acquire(block, timeout))
            return bool(ask_until_true(partial(super().acquire, False), Patience(timeout)))

        def __enter__(self) -> bool:
            return self.acquire()
