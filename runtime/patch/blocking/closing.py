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
from .stand_in import METHODS, stands_in_for
from .waiting import IN

__all__ = ["Wait", "close_and_wake", "waits"]


_stock_close, _stock_close_socket, _stock_dup2, _stock_closerange = os.close, socket.close, os.dup2, os.closerange


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


def close_and_wake(fd: int, close: Callable[..., Any], *args: Any) -> Any:
    """Calls close(*args); green threads that wait for the descriptor get EBADF, stock threads wait on."""
    note_closing(fd)
    try:
        return close(*args)
    finally:
        native.fd_closed(fd)


@stands_in_for(os.close, always=True)
def _close(fd: Any) -> Any:
    return close_and_wake(fd, _stock_close, fd) if isinstance(fd, int) else _stock_close(fd)


@stands_in_for(socket.close, always=True)
def _close_socket(fd: Any, /) -> Any:
    return close_and_wake(fd, _stock_close_socket, fd) if isinstance(fd, int) else _stock_close_socket(fd)


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


@stands_in_for(os.dup2, always=True)
def _dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    """Closes fd2, if it isn't the same."""
    if fd == fd2 or not isinstance(fd2, int):
        return _stock_dup2(fd, fd2, inheritable)
    os.fstat(fd)  # or raises, and nothing is closed
    return int(close_and_wake(fd2, _stock_dup2, fd, fd2, inheritable))


@stands_in_for(os.closerange, always=True)
def _closerange(fd_low: int, fd_high: int, /) -> None:
    fds = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd_low <= fd < fd_high]
    for fd in fds:
        note_closing(fd)
    _stock_closerange(fd_low, fd_high)
    for fd in fds:
        native.fd_closed(fd)


METHODS += [
    (cls, name, _closing_method(getattr(cls, name)))
    for cls, name in ((socket.socket, "_real_close"), (selectors.EpollSelector, "close"), (streams.Raw, "close"))
]
