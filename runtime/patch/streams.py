"""Open files on pipes, terminals and sockets, for threads on a scheduler: a thread that waits for one leaves the LWP.

What open() makes of a descriptor reads and writes in C, and so blocks the LWP.  Where reading or writing may have to
wait, `install(green=True)` has open() put other raw files below, which call the stand-ins of os.read and the like
(blocking/opening.py): for named pipes, and for what subprocess, os.fdopen() and os.popen() give.  A buffered file above
one of them has a lock of C, so it takes a lock of the runtime first.  A file on a disk stays what it is: with the
runtime's lock, reading its lines takes up to three times as long (docs/measured/green.md).  sys.stdin exists already:
`run --green` opens it anew, before the program has read from it.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import warnings
from collections.abc import Callable
from typing import Any

from .. import native
from ..sync import RLock

#: What stands in for os.read, readv and write, by name; blocking/files.py adds them.
CALLS: dict[str, Callable[..., Any]] = {}


def would_block(fd: int) -> bool:
    """Whether a call on it may have to wait: it is in blocking mode, and not a file on a disk."""
    return not stat.S_ISREG(os.fstat(fd).st_mode) and os.get_blocking(fd)


def _none_if_not_ready(name: str, *args: Any) -> Any:
    """Calls it, and returns None where FileIO's methods do for a descriptor in non-blocking mode."""
    try:
        return CALLS[name](*args)
    except BlockingIOError:
        return None


class Raw(io.FileIO):
    def readinto(self, buffer: Any, /) -> Any:
        if not native.may_block() or not self.readable():
            return super().readinto(buffer)
        try:
            return _none_if_not_ready("readv", self.fileno(), (buffer,))
        except BufferError:  # it can't be written to
            return super().readinto(buffer)

    def read(self, size: int | None = -1, /) -> Any:
        if size is None or size < 0:
            return self.readall()
        if not native.may_block() or not self.readable():
            return super().read(size)
        return _none_if_not_ready("read", self.fileno(), size)

    def readall(self) -> Any:
        if not native.may_block():
            return super().readall()
        parts = []
        while part := self.read(1 << 16):
            parts.append(part)
        return b"".join(parts) if parts or part is not None else None

    def write(self, data: Any, /) -> Any:
        if not native.may_block() or not self.writable():
            return super().write(data)
        return _none_if_not_ready("write", self.fileno(), data)


def _in_turn(cls: Any, *names: str) -> Any:
    """Has the methods of those names run under the lock of their file."""

    def under_lock(name: str) -> Any:
        stock = getattr(cls.__base__, name)

        def method(self: Any, *args: Any) -> Any:
            with self._turn:
                return stock(self, *args)

        method.__name__, method.__qualname__, method.__doc__ = name, f"{cls.__name__}.{name}", stock.__doc__
        return method

    for name in names:
        setattr(cls, name, under_lock(name))
    return cls


class _Reader(io.BufferedReader):
    def __init__(self, raw: io.RawIOBase, size: int) -> None:
        self._turn = RLock()
        super().__init__(raw, size)


class _Writer(io.BufferedWriter):
    def __init__(self, raw: io.RawIOBase, size: int) -> None:
        self._turn = RLock()
        super().__init__(raw, size)


_in_turn(_Reader, "read", "read1", "readinto", "readinto1", "readline", "peek", "close")
_in_turn(_Writer, "write", "flush", "close")


def stream(
    file: Any,
    mode: str,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
    closefd: bool,
    opener: Any = None,
) -> Any:
    """Does open() for a descriptor, or for what the opener opens, for reading or for writing."""
    reads, binary = "r" in mode, "b" in mode
    raw = Raw(file, "r" if reads else "a" if "a" in mode else "w", closefd, opener)
    if buffering == 0:
        return raw
    if binary and buffering == 1:
        warning = "line buffering (buffering=1) isn't supported in binary mode, the default buffer size will be used"
        warnings.warn(warning, RuntimeWarning, stacklevel=3)  # of the program's open()
    buffer = (_Reader if reads else _Writer)(raw, buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE)
    if binary:
        return buffer
    text = io.TextIOWrapper(buffer, encoding, errors, newline, buffering == 1 or (buffering < 0 and raw.isatty()))
    text.mode = mode  # type: ignore[misc]
    return text


_MODES = ("r", "rt", "tr", "w", "wt", "tw", "rb", "br", "wb", "bw", "a", "at", "ta", "ab", "ba")


def can_be_stream(mode: Any, buffering: Any, texts: tuple[Any, ...]) -> bool:
    """Whether stream() does what open() is asked for.  For wrong arguments the stock open() is called, and raises."""
    if mode not in _MODES or not isinstance(buffering, int):
        return False
    return not any(text is not None for text in texts) if "b" in mode else buffering != 0


# ---- standard input --------------------------------------------------------------------------------------------------


def reopen_stdin() -> None:
    """Makes sys.stdin a file that leaves the LWP to others.  What was read ahead from the old one is lost."""
    old: Any = sys.stdin
    try:
        if type(old.buffer.raw) is not io.FileIO or not would_block(old.fileno()):
            return
    except (AttributeError, OSError, ValueError):  # there is no standard input, it is closed, or it is another object
        return
    new = stream(old.fileno(), "r", -1, old.encoding, old.errors, "\n", False)
    new.buffer.raw.name = "<stdin>"
    if sys.__stdin__ is old:
        sys.__stdin__ = new  # type: ignore[misc]
    sys.stdin = new


STOCK_INPUT = input


def read_input(prompt: object = "", /) -> str:
    """What stands in for input(), in all threads."""
    if not native.may_block() or type(getattr(sys.stdin, "buffer", None)) is not _Reader or sys.stdout is None:
        return STOCK_INPUT(prompt)
    sys.audit("builtins.input", prompt)
    if sys.stderr is not None:
        sys.stderr.flush()
    print(prompt, end="", flush=True)
    if not (line := sys.stdin.readline()):
        raise EOFError("EOF when reading a line")
    return line.removesuffix("\n")
