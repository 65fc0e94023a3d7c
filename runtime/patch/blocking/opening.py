"""Opening a named pipe waits until its other end is opened too, and reading there waits for data."""

from __future__ import annotations

import io
import os
import stat
from typing import Any

from ..streams import can_be_stream, stream, would_block
from .stand_in import may_block, stands_in_for
from .waiting import on_helper_at_once

_stock_open, _stock_close, _stock_open_file = os.open, os.close, io.open


def _is_fifo(path: Any, dir_fd: int | None = None) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path, dir_fd=dir_fd).st_mode)
    except (OSError, TypeError, ValueError):  # which the open itself will raise
        return False


@stands_in_for(os.open)
def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> Any:
    waits = isinstance(flags, int) and not flags & (os.O_NONBLOCK | os.O_PATH) and _is_fifo(path, dir_fd)
    if not waits:
        return _stock_open(path, flags, mode, dir_fd=dir_fd)
    return on_helper_at_once(_stock_open, (path, flags, mode), {"dir_fd": dir_fd}, _stock_close)


def _may_wait(fd: int) -> bool:
    try:
        return would_block(fd)
    except (OSError, OverflowError):
        return False


@stands_in_for(io.open, always=True)
def _open_file(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    texts = encoding, errors, newline
    if opener is None and isinstance(file, int):
        if can_be_stream(mode, buffering, texts) and _may_wait(file):
            return stream(file, mode, buffering, *texts, closefd)
    elif opener is None and closefd and may_block() and _is_fifo(file):
        opener = _open
        if can_be_stream(mode, buffering, texts):
            return stream(file, mode, buffering, *texts, closefd, opener)
    return _stock_open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)
