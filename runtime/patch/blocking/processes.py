"""The end of other processes, and the locks that multiprocessing shares with them."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import Any

from ... import native
from .stand_in import STAND_INS, may_block, stands_in_for
from .waiting import IN, Patience, ask_until_true, on_lwp

_stock_waitpid, _stock_system = os.waitpid, os.system


@stands_in_for(os.waitpid)
def _waitpid(pid: int, options: int, /) -> tuple[int, int]:
    found = _stock_waitpid(pid, options | os.WNOHANG)  # raises if it isn't this process's child
    if found[0] or options & os.WNOHANG:
        return found
    if pid > 0 and not options:
        with suppress(OSError):  # out of memory or descriptors: asked again below
            fd = os.pidfd_open(pid)
            try:
                native.wait_fd(fd, IN)
            finally:
                os.close(fd)

    def attempt() -> tuple[int, int] | None:
        found = _stock_waitpid(pid, options | os.WNOHANG)
        return found if found[0] else None

    result: tuple[int, int] = ask_until_true(attempt, Patience(None))
    return result


@stands_in_for(os.wait)
def _wait_any() -> tuple[int, int]:
    found: tuple[int, int] = _waitpid(-1, 0)
    return found


@stands_in_for(os.system)
def _system(command: Any) -> int:
    return int(on_lwp(_stock_system, command))


try:
    import _multiprocessing  # type: ignore[import-not-found]
except ImportError:
    pass
else:

    class _SemLock(_multiprocessing.SemLock):  # type: ignore[misc]
        """The semaphore of multiprocessing's locks and queues."""

        def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
            if not may_block() or not block:
                return bool(super().acquire(block, timeout))
            return bool(ask_until_true(partial(super().acquire, False), Patience(timeout)))

        def __enter__(self) -> bool:
            return self.acquire()

    STAND_INS.append((_multiprocessing.SemLock, _SemLock))
