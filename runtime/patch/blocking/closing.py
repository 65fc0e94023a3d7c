"""Closing a descriptor that green threads wait for: they get EBADF.  The kernel ends no wait in an epoll for that."""

from __future__ import annotations

import os
import select
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from typing import Any

from ... import native
from .. import streams
from .stand_in import METHODS, STAND_INS
from .waiting import IN

__all__ = ["Wait", "close_and_wake", "waits"]


class Wait:
    """A select() or poll() that waits in an epoll, see polling.py."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._signal = -1
        self.closed: set[int] = set()  # of its descriptors, those that were closed meanwhile

    def note_closing(self, fd: int) -> None:
        """From here on the epoll is ready, whether the thread sleeps in it already or will later."""
        self.closed.add(fd)
        if self._signal < 0:
            self._signal = os.eventfd(1)
            with suppress(ValueError):  # the epoll is closed: the wait is over
                self._epoll.register(self._signal, IN)

    def __del__(self) -> None:
        if self._signal >= 0:
            _stock_close(self._signal)


#: By descriptor: the waits for it.
waits: dict[int, set[Wait]] = {}


def note_closing(fd: int) -> None:
    for wait in tuple(waits.get(fd, ())):
        wait.note_closing(fd)
    native.fd_closing(fd)


def close_and_wake(fd: int, close: Callable[[], Any]) -> Any:
    """Calls close(); green threads that wait for the descriptor get EBADF, stock threads wait on."""
    note_closing(fd)
    try:
        return close()
    finally:
        native.fd_closed(fd)


def _closes(stock: Any) -> Any:
    """In place of a function that closes a descriptor, in all threads."""

    @wraps(stock)
    def call(*args: Any, **kwargs: Any) -> Any:
        fd = args[0] if args else kwargs.get("fd")
        return close_and_wake(fd, partial(stock, *args, **kwargs)) if isinstance(fd, int) else stock(*args, **kwargs)

    return call


def _closing_method(stock: Any) -> Any:
    """In place of a method that closes what fileno() gives, in all threads."""

    @wraps(stock)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            fd = self.fileno() if getattr(self, "closefd", True) else -1
        except ValueError:  # it is closed
            fd = -1
        close = partial(stock, self, *args, **kwargs)
        known = isinstance(fd, int) and fd >= 0  # a test may have a mock there
        return close_and_wake(fd, close) if known else close()

    return method


@wraps(os.dup2)
def _dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    """Closes fd2, if it isn't the same."""
    copy = partial(_stock_dup2, fd, fd2, inheritable)
    if fd == fd2 or not isinstance(fd2, int):
        return copy()
    os.fstat(fd)  # or raises, and nothing is closed
    return int(close_and_wake(fd2, copy))


@wraps(os.closerange)
def _closerange(fd_low: int, fd_high: int, /) -> None:
    fds = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd_low <= fd < fd_high]
    for fd in fds:
        note_closing(fd)
    _stock_closerange(fd_low, fd_high)
    for fd in fds:
        native.fd_closed(fd)


_stock_close, _stock_dup2, _stock_closerange = os.close, os.dup2, os.closerange
STAND_INS += [(_stock_dup2, _dup2), (_stock_closerange, _closerange)]
STAND_INS += [(stock, _closes(stock)) for stock in (os.close, socket.close)]
METHODS += [
    (cls, name, _closing_method(getattr(cls, name)))
    for cls, name in ((socket.socket, "_real_close"), (selectors.EpollSelector, "close"), (streams.Raw, "close"))
]
