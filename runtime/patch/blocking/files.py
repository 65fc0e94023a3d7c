"""Descriptors of files: reading, writing, and locks on them.  Open files are in ../streams.py.

What would wait for a disk goes to a helper, as the one call that it is: reading what is not in the page cache, fsync,
and what copies a megabyte or more.  The rest is faster than the way to a helper and back: a small write, and a read of
what is in the page cache.
"""

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
from .waiting import IN, OUT, Patience, ask_until_true, on_helper, wait_until_ready

_stock_read, _stock_readv, _stock_write, _stock_writev = os.read, os.readv, os.write, os.writev
_stock_pread, _stock_preadv, _stock_pwrite, _stock_sendfile = os.pread, os.preadv, os.pwrite, os.sendfile
_LARGE = 1 << 20  # bytes; also in native.read_waits()


@stands_in_for(os.read)
def _read(fd: int, length: int, /) -> Any:
    if not native.fd_ready(fd, IN) and would_block(fd):
        wait_until_ready(fd, IN, Patience(None))
    return on_helper(_stock_read, fd, length) if native.read_waits(fd, length) else _stock_read(fd, length)


@stands_in_for(os.readv)
def _readv(fd: int, buffers: Any, /) -> Any:
    if not native.fd_ready(fd, IN) and would_block(fd):
        wait_until_ready(fd, IN, Patience(None))
    return on_helper(_stock_readv, fd, buffers) if native.read_waits(fd, 1) else _stock_readv(fd, buffers)


@stands_in_for(os.pread)
def _pread(fd: int, length: int, offset: int, /) -> Any:
    if native.read_waits(fd, length, offset):
        return on_helper(_stock_pread, fd, length, offset)
    return _stock_pread(fd, length, offset)


@stands_in_for(os.preadv)
def _preadv(fd: int, buffers: Any, offset: int, flags: int = 0, /) -> Any:
    if flags == 0 and native.read_waits(fd, 1, offset):
        return on_helper(_stock_preadv, fd, buffers, offset)
    return _stock_preadv(fd, buffers, offset, flags)


def _is_large(data: Any) -> bool:
    return isinstance(data, (bytes, bytearray, memoryview)) and memoryview(data).nbytes >= _LARGE


@stands_in_for(os.pwrite)
def _pwrite(fd: int, data: Any, offset: int, /) -> Any:
    return on_helper(_stock_pwrite, fd, data, offset) if _is_large(data) else _stock_pwrite(fd, data, offset)


@stands_in_for(os.write)
def _write(fd: int, data: Any, /) -> Any:
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) and _is_large(data):
        return on_helper(_stock_write, fd, data)
    if not stat.S_ISFIFO(mode) or not os.get_blocking(fd):
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


@stands_in_for(os.sendfile)
def _sendfile(out_fd: int, in_fd: int, offset: Any, count: int, *more: Any) -> Any:
    if stat.S_ISREG(os.fstat(out_fd).st_mode):
        return on_helper(_stock_sendfile, out_fd, in_fd, offset, count, *more)
    return _stock_sendfile(out_fd, in_fd, offset, count, *more)


def _always_on_helper(stock: Any) -> None:
    stands_in_for(stock)(partial(on_helper, stock))


for _call in (os.fsync, os.fdatasync, os.sync, os.copy_file_range, os.posix_fallocate):
    _always_on_helper(_call)


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
