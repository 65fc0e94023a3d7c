"""Closing a descriptor that green threads wait for gives them EBADF, because the kernel ends no wait in an epoll for
that."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from ... import native
from .. import streams
from ..keeping import ours
from .stand_in import METHODS, stands_in_for

_stock_close, _stock_close_socket, _stock_dup2, _stock_closerange = os.close, socket.close, os.dup2, os.closerange


def close_and_wake(fd: int, close: Callable[..., Any], *args: Any) -> Any:
    """Calls close(*args); green threads that wait for the descriptor get EBADF, stock threads wait on."""
    native.fd_closing(fd)
    try:
        return close(*args)
    finally:
        native.fd_closed(fd)


@stands_in_for(os.close, always=True)
def _close(fd: Any) -> Any:
    if isinstance(fd, int) and fd in ours:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return close_and_wake(fd, _stock_close, fd) if isinstance(fd, int) else _stock_close(fd)


@stands_in_for(socket.close, always=True)
def _close_socket(fd: Any, /) -> Any:
    return close_and_wake(fd, _stock_close_socket, fd) if isinstance(fd, int) else _stock_close_socket(fd)


def _closing_method(stock: Any) -> Any:
    """Makes a method that takes the place of one that closes what fileno() gives, in all threads."""

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
    """Makes fd2 a copy of fd, and closes what fd2 was, if it isn't the same number."""
    if fd == fd2 or not isinstance(fd2, int):
        return _stock_dup2(fd, fd2, inheritable)
    os.fstat(fd)  # or raises, and nothing is closed
    return int(close_and_wake(fd2, _stock_dup2, fd, fd2, inheritable))


@stands_in_for(os.closerange, always=True)
def _closerange(fd_low: int, fd_high: int, /) -> None:
    fds = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd_low <= fd < fd_high and fd not in ours]
    for fd in fds:
        native.fd_closing(fd)
    for fd in sorted(fd for fd in ours if fd_low <= fd < fd_high):
        _stock_closerange(fd_low, fd)
        fd_low = fd + 1
    _stock_closerange(fd_low, fd_high)
    for fd in fds:
        native.fd_closed(fd)


METHODS += [
    (cls, name, _closing_method(getattr(cls, name)))
    for cls, name in ((socket.socket, "_real_close"), (selectors.EpollSelector, "close"), (streams.Raw, "close"))
]
