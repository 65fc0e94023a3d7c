"""`run --live`: the threads of the running program as a table on the terminal."""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...terminal.output import table
from ..rows import Row, busiest, rows

_SHARE = 1 / 30  # the share of the time that drawing may take: 13 ms with a screenful of threads


def draw(found: list[Row], left: int, width: int, shares: list[float] | None = None) -> Table:
    """Leaves out what doesn't fit: switches, where a thread was started, placement, the ends of long names and
    waits.

    left: threads without a row.  shares: of a CPU, of each row, in place of the time.
    """
    placed = ("placed",) if any(row.placed for row in found) else ()
    drawn = table(
        "thread",
        "tid",
        "state",
        "waits for",
        "CPU",
        *placed,
        "started at",
        "switches",
        right=("tid", "CPU", "switches"),
        fixed=("thread", "tid", "state", "CPU", *placed, "started at", "switches"),
        optional=(*placed, "started at", "switches"),
    )
    for at, row in enumerate(found):
        name = Text(row.name)
        name.truncate(max(width // 4, 12), overflow="ellipsis")
        tid, switches = f"{row.tid or ''}", "" if row.switches is None else f"{row.switches:,}"
        cpu = "" if row.cpu is None else f"{row.cpu:.2f} s" if shares is None else f"{shares[at]:.0%}"
        cells = [tid, row.state, row.waits, cpu]
        cells += [row.placed, row.start, switches] if placed else [row.start, switches]
        drawn.add_row(name, *(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
    drawn.caption = count(found, left) + f", {left:,} more than fit" * bool(left)
    drawn.caption_justify = "left"
    return drawn


def count(found: list[Row], left: int) -> str:
    """How many threads these rows are of, and those without a row."""
    threads = left + sum(row.count for row in found)
    return f"{threads:,} thread{'s' * (threads != 1)}"


class _Stream(io.TextIOBase):
    """A standard stream on the terminal: the table is taken away before anything is written there."""

    def __init__(self, stream: Any, view: View) -> None:
        self._stream = stream
        self._view = view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    # These are TextIOBase's, so __getattr__ isn't asked for them.
    encoding = property(lambda self: self._stream.encoding)
    errors = property(lambda self: self._stream.errors)
    newlines = property(lambda self: self._stream.newlines)

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._view.shown and self.isatty():  # the program may have put a file there
            self._view.shown = self._view.forked
            self._stream.write(_ERASE)
        return int(self._stream.write(text))

    def flush(self) -> None:
        self._stream.flush()


_ERASE = "\x1b[J"  # from the cursor to the end of the terminal


class View:
    """The table, below the line where the program writes.  It is gone when the program ends.

    The cursor stays where it would be without the table.  So what the program writes, also without a newline, and what
    is typed stand where they belong, and output that comes in other ways is not lost: from child processes, C, the
    echo.
    """

    def __init__(self, fd: int) -> None:
        """fd: standard error, as a descriptor that stays open when the program closes its own."""
        self._fd = fd
        self._console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._before = sys.stdout, sys.stderr
        self._pid = os.getpid()
        self._due = 0.0  # on the monotonic clock
        self.shown = False  #: whether something is to be taken away before the program writes
        self.forked = False  #: in a forked child, where it is not known whether something is shown

    def start(self) -> None:
        """Lets the table be shown from now on."""
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.isatty():
            sys.stdout = _Stream(sys.stdout, self)
        sys.stderr = _Stream(sys.stderr, self)
        os.register_at_fork(after_in_child=self._note_fork)

    def refresh(self) -> None:
        """Draws the table anew, unless that would take more than its share of the time."""
        now = time.monotonic()
        if now < self._due:
            return
        begun = time.thread_time()
        width, height = self._console.size
        found, left = rows(busiest(), max(1, height - 4))
        with self._console.capture() as drawn:
            self._console.print(draw(found, left, width))
        self._show(drawn.get().splitlines()[: height - 1])
        self._due = now + (time.thread_time() - begun) / _SHARE

    def _show(self, lines: list[str]) -> None:
        """Writes the lines below the cursor, which comes back."""
        # IND goes down a line in the same column, and scrolls at the bottom.  So there is room, and nothing moves
        # later.
        room = "\x1bD" * len(lines) + f"\x1b[{len(lines)}A"
        self.shown = True
        self._write(room + "\x1b7" + "".join(f"\r\n\x1b[K{line}" for line in lines) + _ERASE + "\x1b8")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # the terminal is gone
            os.write(self._fd, text.encode(errors="replace"))

    def tell(self, text: str) -> None:
        """Prints above the table."""
        self._write(f"{_ERASE}{text}")

    def stop(self) -> None:
        """Takes the table away; does nothing in a forked child."""
        if os.getpid() == self._pid:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, _Stream):
                    stream.flush()
            self._write(_ERASE)
            self._let_go()

    def _note_fork(self) -> None:
        self.forked = self.shown = True

    def _let_go(self) -> None:
        if isinstance(sys.stdout, _Stream):
            sys.stdout = self._before[0]
        if isinstance(sys.stderr, _Stream):
            sys.stderr = self._before[1]
