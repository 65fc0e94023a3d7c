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
from typing import Any

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..waits import name_of, waiting
from ._output import table

__all__ = ["Row", "View", "busiest", "note_starts", "rows"]

_SHARE = 1 / 30  # of the time, that drawing may take: 13 ms with a screenful of threads

_STATES = {"R": "running", "S": "asleep", "D": "in the kernel", "T": "stopped", "t": "traced", "I": "idle"}


@dataclass(frozen=True)
class Row:
    """One thread, as it is just now."""

    name: str  #: its Thread's; without one what the kernel calls it (ps, gdb)
    tid: int
    state: str
    waits: str  #: for what, and who holds it; if that isn't known, where in the program it is
    cpu: float  #: seconds of user and system time
    switches: int  #: by the kernel, wanted or not
    start: str  #: where its Thread was started; "" for the main thread and those made below Thread


def note_starts(cls: Any) -> None:
    """From now on threads of this class remember where they were started."""
    start = cls.start

    @functools.wraps(start)
    def noting(thread: Any) -> None:
        caller = sys._getframe(1)
        thread.__dict__["_lwp_start"] = _place(caller.f_code.co_filename, caller.f_lineno)
        start(thread)

    cls.start = noting


def _place(filename: str, line: int | None) -> str:
    return f"{os.path.basename(filename)}:{line}"


def _cpu(tid: int) -> float:
    return time.clock_gettime((~tid << 3) | 6)  # that thread's CPU clock, as pthread_getcpuclockid(3) makes it


def _read(tid: int, name: str) -> str:
    with open(f"/proc/self/task/{tid}/{name}", errors="replace") as file:
        return file.read()


def _switches(tid: int) -> int:
    lines = _read(tid, "status").splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def busiest() -> list[tuple[float, int]]:
    """CPU seconds and tid of each thread of the process but the calling one; who has used the most comes first."""
    found = []
    for tid in map(int, os.listdir("/proc/self/task")):
        if tid != threading.get_native_id():
            with suppress(OSError):  # it has ended
                found.append((_cpu(tid), tid))
    return sorted(found, reverse=True)


def rows(which: Iterable[tuple[float, int]]) -> list[Row]:
    """Of these threads, in their order, as busiest() gives them; not of those that have ended."""
    waits = {wait.tid: wait for wait in waiting().waits}
    threads = {thread.native_id: thread for thread in list(threading._active.values())}  # type: ignore[attr-defined]
    frames = sys._current_frames()
    found = []
    for cpu, tid in which:
        thread = threads.get(tid)
        frame = frames.get(thread.ident) if thread is not None else None
        where = f"at {_place(frame.f_code.co_filename, frame.f_lineno)}" if frame is not None else ""
        wait = waits.get(tid)
        if wait is not None:
            # The holder first: a narrow terminal shows the begin.
            where = " ".join([wait.kind, *(["of", wait.holder_name] if wait.holder_name else []), wait.what])
        with suppress(OSError):
            found.append(
                Row(
                    name=name_of(thread.ident, tid) if thread is not None else _read(tid, "comm").strip(),
                    tid=tid,
                    state=_STATES.get(_read(tid, "stat").rpartition(")")[2].split()[0], "ending"),
                    waits=where,
                    cpu=cpu,
                    switches=_switches(tid),
                    start=vars(thread).get("_lwp_start", "") if thread is not None else "",
                )
            )
    return found


def _draw(found: list[Row], threads: int) -> Table:
    drawn = table(
        "thread", "tid", "state", "waits for", "CPU", "switches", "started at", right=("tid", "CPU", "switches")
    )
    for row in found:
        cells = (row.name, f"{row.tid}", row.state, row.waits, f"{row.cpu:.2f} s", f"{row.switches:,}", row.start)
        drawn.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
    more = threads - len(found)
    drawn.caption = f"{threads} thread{'s' if threads != 1 else ''}" + (f", {more} more than fit" if more > 0 else "")
    return drawn


class View:
    """The table, below what the program prints; gone when the program ends."""

    def __init__(self) -> None:
        assert sys.stderr is not None
        self._console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._before = sys.stdout, sys.stderr
        self._pid = os.getpid()
        self._due = 0.0  # on the monotonic clock

    def start(self) -> None:
        """Shows it, and has what the program prints on the same terminal go above it."""
        self._live.start()
        self._console.show_cursor(True)  # a killed program can't bring it back
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.isatty():
            sys.stdout = FileProxy(self._console, sys.stdout)
        sys.stderr = FileProxy(self._console, self._before[1])
        # The child has no table, and may have rich's locks held by threads that it has not.
        os.register_at_fork(after_in_child=self._let_go)

    def refresh(self) -> None:
        """Draws it anew, unless that would take more than its share of the time."""
        now = time.monotonic()
        if now < self._due:
            return
        begun = time.thread_time()
        threads = busiest()
        found = rows(threads[: max(1, self._console.height - 4)])
        self._live.update(_draw(found, len(threads)), refresh=True)
        self._due = now + (time.thread_time() - begun) / _SHARE

    def tell(self, text: str) -> None:
        """Prints above it."""
        self._console.print(Text(text))

    def stop(self) -> None:
        """Takes it away; nothing in a forked child."""
        if os.getpid() == self._pid:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, FileProxy):
                    stream.flush()  # the begin of a line
            self._live.stop()
            self._let_go()

    def _let_go(self) -> None:
        if isinstance(sys.stdout, FileProxy):
            sys.stdout = self._before[0]
        if isinstance(sys.stderr, FileProxy):
            sys.stderr = self._before[1]
