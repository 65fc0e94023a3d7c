"""Descriptors of files: reading, writing, and locks on them.  Open files are in ../streams.py."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from contextlib import suppress
from functools import partial
from typing import Any

from ... import native
from ..streams import would_block
from .stand_in import STAND_INS, may_block, stands_in_for
from .waiting import IN, OUT, Patience, ask_until_true, wait_until_ready

_stock_read, _stock_readv, _stock_write, _stock_writev = os.read, os.readv, os.write, os.writev


@stands_in_for(os.read)
def _read(fd: int, length: int, /) -> bytes:
    if not native.fd_ready(fd, IN) and would_block(fd):
        wait_until_ready(fd, IN, Patience(None))
    return _stock_read(fd, length)


@stands_in_for(os.readv)
def _readv(fd: int, buffers: Any, /) -> int:
    if not native.fd_ready(fd, IN) and would_block(fd):
        wait_until_ready(fd, IN, Patience(None))
    return _stock_readv(fd, buffers)


@stands_in_for(os.write)
def _write(fd: int, data: Any, /) -> int:
    if not stat.S_ISFIFO(os.fstat(fd).st_mode) or not os.get_blocking(fd):
        return _stock_write(fd, data)
    try:
        view = memoryview(data).cast("B")
    except TypeError:
        return _stock_write(fd, data)  # which raises it
    written = 0
    with view as rest:
        while written < len(rest) and may_block():  # PIPE_BUF bytes fit in a pipe that is ready (pipe(7))
            wait_until_ready(fd, OUT, Patience(None))
            written += _stock_write(fd, rest[written : written + select.PIPE_BUF])
    return written


def _lock_file(stock: Any, fd: Any, operation: int, *rest: Any) -> None:
    def attempt() -> bool:
        try:
            stock(fd, operation | fcntl.LOCK_NB, *rest)
        except BlockingIOError:
            return False
        return True

    if operation & (fcntl.LOCK_NB | fcntl.LOCK_UN):
        stock(fd, operation, *rest)
    else:
        ask_until_true(attempt, Patience(None))


@stands_in_for(os.writev)
def _writev(fd: int, buffers: Any, /) -> int:
    if isinstance(buffers, (list, tuple)) and would_block(fd):
        with suppress(TypeError):  # which the stock call raises in its own name
            return int(_write_at_once(fd, b"".join(buffers)))
    return _stock_writev(fd, buffers)


#: In C; they call those above for what they don't do.
_read_at_once, _write_at_once = native.os_read(_stock_read, _read), native.os_write(_stock_write, _write)
STAND_INS += [(_stock_read, _read_at_once), (_stock_write, _write_at_once)]

for _lock in (fcntl.flock, fcntl.lockf):
    stands_in_for(_lock)(partial(_lock_file, _lock))
