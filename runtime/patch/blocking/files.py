"""Descriptors of files: reading, writing, and locks on them.  Open files are in ../streams.py.

A call that would wait for a disk goes to a helper, as one call: reading what is not in the page cache, fsync, and
copying a megabyte or more.  Other calls are faster than the way to a helper and back: a small write, and a read of what
is in the page cache.

os.read, readv, write and writev are in C (native/python/green/io/pipes.c).  They call the functions here for a helper,
and to write what may not fit where there is no RWF_NOWAIT.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
from functools import partial
from types import BuiltinFunctionType
from typing import Any

from ... import native
from ..streams import CALLS
from .stand_in import STAND_INS, may_block, stands_in_for
from .waiting import OUT, Patience, ask_until_true, by_helper, on_helper, on_helper_at_once

_stock_read, _stock_readv, _stock_write, _stock_writev = os.read, os.readv, os.write, os.writev
_stock_pread, _stock_preadv, _stock_pwrite, _stock_sendfile = os.pread, os.preadv, os.pwrite, os.sendfile
_stock_poll = select.poll
PART = 256 << 10  # bytes of a file that are read to be sent


@stands_in_for(os.pread)
def pread(fd: int, length: int, offset: int, /) -> Any:
    if native.read_waits(fd, length, offset):
        return on_helper(_stock_pread, fd, length, offset)
    return _stock_pread(fd, length, offset)


@stands_in_for(os.preadv)
def _preadv(fd: int, buffers: Any, offset: int, flags: int = 0, /) -> Any:
    if flags == 0 and native.read_waits(fd, 1, offset):
        return on_helper(_stock_preadv, fd, buffers, offset)
    return _stock_preadv(fd, buffers, offset, flags)


def _is_large(data: Any) -> bool:
    return isinstance(data, (bytes, bytearray, memoryview)) and memoryview(data).nbytes >= native.FILES_LARGE


@stands_in_for(os.pwrite)
def _pwrite(fd: int, data: Any, offset: int, /) -> Any:
    return on_helper(_stock_pwrite, fd, data, offset) if _is_large(data) else _stock_pwrite(fd, data, offset)


def _write(fd: int, data: Any, /) -> Any:
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return on_helper(_stock_write, fd, data)  # a large one
    if stat.S_ISFIFO(mode) and os.get_blocking(fd):
        return _write_by_parts(fd, data)
    if os.isatty(fd) and os.get_blocking(fd):
        _wait_until_writable(fd)
        return on_helper_at_once(_stock_write, (fd, data))  # nothing says how much fits
    return _stock_write(fd, data)


def _wait_until_writable(fd: int) -> None:
    """Looks again after each wait: another thread may have been quicker.  OSError EBADF: it was closed meanwhile."""
    poll = _stock_poll()
    poll.register(fd, OUT)
    while not poll.poll(0):
        native.wait_fd(fd, OUT)


def _write_by_parts(fd: int, data: Any) -> int:
    """Writes into a pipe that refuses RWF_NOWAIT: PIPE_BUF bytes fit when it is ready (pipe(7))."""
    written = 0
    with memoryview(data) as view, view.cast("B") as rest:
        while written < len(rest) and may_block():
            _wait_until_writable(fd)
            written += _stock_write(fd, rest[written : written + select.PIPE_BUF])
    return written


def _writev(fd: int, buffers: Any, /) -> Any:
    return _stock_writev(fd, buffers) if stat.S_ISREG(os.fstat(fd).st_mode) else _write(fd, b"".join(buffers))


#: These are in C, and call the functions above for what they don't do.
STAND_INS += [
    (stock, native.pipe_function(stock, other))
    for stock, other in (
        (_stock_read, by_helper(_stock_read)),
        (_stock_readv, by_helper(_stock_readv)),
        (_stock_write, _write),
        (_stock_writev, _writev),
    )
    if type(stock) is BuiltinFunctionType  # not what somebody has put in its place
]
for _name, _stock in (("read", _stock_read), ("readv", _stock_readv), ("write", _stock_write)):
    CALLS[_name] = dict(STAND_INS).get(_stock, _stock)


@stands_in_for(os.sendfile)
def _sendfile(out_fd: int, in_fd: int, offset: int | None, count: int) -> Any:
    args = out_fd, in_fd, offset, count
    if stat.S_ISREG(os.fstat(out_fd).st_mode):
        return on_helper(_stock_sendfile, *args)
    if not os.get_blocking(out_fd) or not isinstance(offset, (int, type(None))) or count < 0:
        return _stock_sendfile(*args)
    if not stat.S_ISREG(os.fstat(in_fd).st_mode):
        return on_helper_at_once(_stock_sendfile, args)
    return _send_by_parts(out_fd, in_fd, offset, count)


def _send_by_parts(out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    """sendfile(2) to a descriptor in blocking mode would wait for all of it, and has no flag against that."""
    start = os.lseek(in_fd, 0, os.SEEK_CUR) if offset is None else offset
    sent = 0
    try:
        while sent < count and (part := pread(in_fd, min(count - sent, PART), start + sent)):
            sent += CALLS["write"](out_fd, part)
    except OSError as error:
        if not sent or error.errno == errno.EBADF:
            raise
    if offset is None:
        os.lseek(in_fd, start + sent, os.SEEK_SET)
    return sent


for _call in (os.fsync, os.fdatasync, os.sync, os.copy_file_range, os.posix_fallocate):
    stands_in_for(_call)(by_helper(_call))


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


for _lock in (fcntl.flock, fcntl.lockf):
    stands_in_for(_lock)(partial(_lock_file, _lock))
