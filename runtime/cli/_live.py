"""`run --live`: the threads of the running program as a table on the terminal."""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import native
from ..observe.source import at
from ..observe.waits import FEW, Wait, name_of, waiting
from ..placement import different
from ._output import table

__all__ = ["Row", "View", "busiest", "note_starts", "rows"]

_SHARE = 1 / 30  # the share of the time that drawing may take: 13 ms with a screenful of threads

_STATES = {"R": "running", "S": "asleep", "D": "in the kernel", "T": "stopped", "t": "traced", "I": "idle"}


@dataclass(frozen=True)
class Row:
    """One thread, as it is just now, or many that wait for the same at the same line and were started at the same."""

    name: str  #: its Thread's name, of many "30 x " and the name of one; without a Thread what the kernel calls it (ps)
    tid: int | None  #: None: it is a green thread, or many; so in the other figures that only an LWP has
    state: str
    #: what it waits for, the holder, and the line of the program; if it is in none of our waits, only the line
    waits: str
    cpu: float | None  #: seconds of user and system time; of many their sum
    switches: int | None  #: by the kernel, wanted or not
    start: str  #: where its Thread was started; "" for the main thread and for threads made below Thread
    placed: str = ""  #: "CPUs 0-1, nice 5"; "" if it is placed as the main thread is, or green, or many
    count: int = 1  #: of threads


def note_starts(cls: Any) -> None:
    """From now on threads of this class remember where they were started."""
    start = cls.start

    @functools.wraps(start)
    def noting(thread: Any) -> None:
        thread.__dict__["_lwp_start"] = _place(sys._getframe(1))
        start(thread)

    cls.start = noting


def _place(frame: FrameType) -> str:
    return at(frame).partition(" in ")[0]


def _cpu(tid: int) -> float:
    return time.clock_gettime((~tid << 3) | 6)  # that thread's CPU clock, as pthread_getcpuclockid(3) makes it


def _read(tid: int, name: str) -> str:
    with open(f"/proc/self/task/{tid}/{name}", errors="replace") as file:
        return file.read()


def _switches(tid: int) -> int:
    lines = _read(tid, "status").splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def busiest() -> list[tuple[float, int]]:
    """CPU seconds and tid of each thread of the process except the calling one; the thread that has used most comes
    first."""
    found = []
    for tid in map(int, os.listdir("/proc/self/task")):
        if tid != threading.get_native_id():
            with suppress(OSError):  # it has ended
                found.append((_cpu(tid), tid))
    return sorted(found, reverse=True)


def _threads() -> tuple[dict[int, Any], list[tuple[str, Any]]]:
    """The Threads that have an LWP, by its tid, and the green threads with their state, the running ones first."""
    by_tid, green = {}, []
    states = native.green_states()
    for thread in list(threading._active.values()):  # type: ignore[attr-defined]
        state = states.get(thread.ident, "")
        if state and thread is not threading.main_thread():  # it has an LWP, though it may lend it
            green.append((state, thread))
        else:
            by_tid[thread.native_id] = thread
    return by_tid, sorted(green, key=lambda one: ("running", "ready", "asleep").index(one[0]))


@dataclass(frozen=True)
class _Seen:
    """A thread, before the kernel is asked about it."""

    thread: Any  # its Thread, or None
    tid: int | None
    cpu: float | None
    state: str  # of a green thread, or of a thread that lends its LWP; "" for others
    waits: str
    start: str

    def row(self) -> Row:
        """OSError: it has ended."""
        if self.tid is None:
            return Row(name_of(self.thread.ident), None, self.state, self.waits, None, None, self.start)
        stat = _read(self.tid, "stat").rpartition(")")[2].split()[0]
        name = _read(self.tid, "comm").strip() if self.thread is None else name_of(self.thread.ident, self.tid)
        state = self.state or _STATES.get(stat, "ending")
        return Row(name, self.tid, state, self.waits, self.cpu, _switches(self.tid), self.start, different(self.tid))


def _row_of_many(alike: list[_Seen]) -> Row:
    oldest = min(alike, key=lambda seen: seen.tid or 0)  # mostly: the order of the list changes with the CPU time
    name = f"{len(alike):,} x {name_of(oldest.thread.ident)}"
    cpu = None if oldest.cpu is None else sum(seen.cpu or 0 for seen in alike)
    return Row(name, None, oldest.state or "asleep", oldest.waits, cpu, None, oldest.start, count=len(alike))


def rows(which: Iterable[tuple[float, int]], most: int = sys.maxsize) -> tuple[list[Row], int]:
    """A Row for each of these LWPs, in their order, as busiest() gives them, then for each green thread; none for
    threads that have ended.  More than three that wait alike are one Row.

    At most `most`, and how many green threads there are.
    """
    waits = {wait.ident: wait for wait in waiting().waits}
    threads, green = _threads()
    frames, states = sys._current_frames(), native.green_states()
    alike: dict[object, list[_Seen]] = {}

    def see(thread: Any, tid: int | None, cpu: float | None, state: str) -> None:
        ident = 0 if thread is None else thread.ident
        wait = waits.get(ident)
        start = "" if thread is None else vars(thread).get("_lwp_start", "")
        seen = _Seen(thread, tid, cpu, state, _where(wait, frames.get(ident)), start)
        key = object() if wait is None else (wait.address, seen.waits, start, state, tid is None)
        alike.setdefault(key, []).append(seen)

    for cpu, tid in which:
        thread = threads.get(tid)
        see(thread, tid, cpu, states.get(thread.ident, "") if thread is not None else "")
    for state, thread in green:
        see(thread, None, None, state)
    found: list[Row] = []
    for some in alike.values():
        if len(some) > FEW and len(found) < most:
            found.append(_row_of_many(some))
            continue
        for seen in some[: most - len(found)]:
            with suppress(OSError):  # it has ended
                found.append(seen.row())
    return found, len(green)


def _where(wait: Wait | None, frame: FrameType | None) -> str:
    place = "" if frame is None else f"at {_place(frame)}"
    if wait is None:
        return place
    # A narrow terminal shows the beginning.
    holder = f"of {wait.holder_name}" if wait.holder_name else ""
    return " ".join(filter(None, [wait.kind, wait.called, holder, place, "" if wait.called else wait.what]))


def _draw(found: list[Row], threads: int, width: int) -> Table:
    """Leaves out what doesn't fit: switches, where a thread was started, placement, the ends of long names and
    waits."""
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
    for row in found:
        name = Text(row.name)
        name.truncate(max(width // 4, 12), overflow="ellipsis")
        tid, switches = f"{row.tid or ''}", "" if row.switches is None else f"{row.switches:,}"
        cells = [tid, row.state, row.waits, "" if row.cpu is None else f"{row.cpu:.2f} s"]
        cells += [row.placed, row.start, switches] if placed else [row.start, switches]
        drawn.add_row(name, *(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
    more = threads - sum(row.count for row in found)
    drawn.caption = f"{threads} thread{'s' if threads != 1 else ''}" + (f", {more} more than fit" if more > 0 else "")
    drawn.caption_justify = "left"
    return drawn


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
        threads = busiest()
        width, height = self._console.size
        found, green = rows(threads, max(1, height - 4))
        with self._console.capture() as drawn:
            self._console.print(_draw(found, len(threads) + green, width))
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
