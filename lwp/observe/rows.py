"""The threads of this process as rows of a table: `lwp top` draws it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .. import native
from ..core import different, printable
from ..reading.source import at, others_frames
from . import stock_queues
from .crowds import FEW
from .waits import Wait, name_of, waiting

_STATES = {"R": "running", "S": "asleep", "D": "in the kernel", "T": "stopped", "t": "traced", "I": "idle"}


@dataclass(frozen=True)
class Row:
    """One thread, as it is just now, or many that wait for alike things at one line."""

    name: str  #: its Thread's name, of many "30 x " and the name of one; without a Thread what the kernel calls it (ps)
    tid: int | None  #: None: it is a green thread, or many; so in the other figures that only an LWP has
    state: str
    #: what it waits for, the holder, and the line of the program; if it is in none of our waits, only the line
    waits: str
    cpu: float | None  #: seconds of user and system time; of many their sum
    switches: int | None  #: by the kernel, wanted or not
    placed: str = ""  #: "CPUs 0-1, nice 5"; "" if it is placed as the main thread is, or green, or many
    count: int = 1  #: of threads


def _place(frame: FrameType) -> str:
    return at(frame).partition(" in ")[0]


def cpu_of(tid: int) -> float:
    """The CPU seconds of an LWP of this process; OSError: it has ended."""
    return time.clock_gettime((~tid << 3) | 6)  # its CPU clock, as pthread_getcpuclockid(3) makes it


def task_file(tid: int | str, name: str) -> str:
    """What the kernel has in that file for a task of this process; OSError: it has ended."""
    with open(f"/proc/self/task/{tid}/{name}", errors="replace") as file:
        return file.read()


def _switches(tid: int) -> int:
    lines = task_file(tid, "status").splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def busiest() -> list[tuple[float, int]]:
    """CPU seconds and tid of each thread of the process except the calling one and those that are not the program's;
    the thread that has used most comes first."""
    found, own = [], {threading.get_native_id(), *native.aside_tids()}
    for tid in map(int, os.listdir("/proc/self/task")):
        if tid not in own:
            with suppress(OSError):  # it has ended
                found.append((cpu_of(tid), tid))
    return sorted(found, reverse=True)


def _threads() -> tuple[dict[int, Any], list[tuple[str, Any]]]:
    """The Threads that have an LWP, by its tid, and the green threads with their state, the running ones first."""
    by_tid, green = {}, []
    states, tids = native.green_states(), native.tids()
    for thread in list(threading._active.values()):  # type: ignore[attr-defined]
        state = states.get(thread.ident, "")
        if state and thread is not threading.main_thread():  # it has an LWP, though it may lend it
            green.append((state, thread))
        else:
            # In a forked child `native_id` is the parent's, up to CPython 3.12.
            by_tid[tids.get(thread.ident, thread.native_id)] = thread
    return by_tid, sorted(green, key=lambda one: ("running", "ready", "asleep").index(one[0]))


@dataclass(frozen=True)
class _Seen:
    """A thread, before the kernel is asked about it."""

    thread: Any  # its Thread, or None
    tid: int | None
    cpu: float | None
    state: str  # of a green thread, or of a thread that lends its LWP; "" for others
    waits: str
    alike: str  # the same, of things that are called alike

    def row(self) -> Row:
        """OSError: it has ended."""
        if self.tid is None:
            name = printable(name_of(self.thread.ident))
            return Row(name, None, self.state, self.waits, None, None)
        stat = task_file(self.tid, "stat").rpartition(")")[2].split()[0]
        name = task_file(self.tid, "comm").strip() if self.thread is None else name_of(self.thread.ident, self.tid)
        state = self.state or _STATES.get(stat, "ending")
        placed = different(self.tid)
        return Row(printable(name), self.tid, state, self.waits, self.cpu, _switches(self.tid), placed)


def _row_of_many(alike: list[_Seen], began: dict[int | None, int]) -> Row:
    """began: a number for each tid, in the order in which the threads began.  Green threads are in that order."""
    oldest = min(alike, key=lambda seen: began.get(seen.tid, 0))
    name = f"{len(alike):,} x {printable(name_of(oldest.thread.ident))}"
    cpu = None if oldest.cpu is None else sum(seen.cpu or 0 for seen in alike)
    return Row(name, None, oldest.state or "asleep", oldest.alike, cpu, None, count=len(alike))


def rows(which: Iterable[tuple[float, int]], most: int = sys.maxsize) -> tuple[list[Row], int]:
    """A Row for each of these LWPs, in their order, as busiest() gives them, then for each green thread; none for
    threads that have ended.  More than three that wait alike are one Row.

    At most `most`, and of how many threads there is no row for that reason.
    """
    waits = {wait.ident: wait for wait in waiting().waits}
    threads, green = _threads()
    frames, states = others_frames(), native.green_states()
    alike: dict[object, list[_Seen]] = {}

    def see(thread: Any, tid: int | None, cpu: float | None, state: str) -> None:
        ident = 0 if thread is None else thread.ident
        wait = waits.get(ident)
        idle = None if wait else stock_queues.awaited(frames.get(ident), tid)
        where, alike_where = (_where(one, frames.get(ident)) for one in (wait or idle, wait.alike if wait else idle))
        seen = _Seen(thread, tid, cpu, state, where, alike_where)
        key = (seen.alike, state, tid is None) if wait or idle else object()
        alike.setdefault(key, []).append(seen)

    for cpu, tid in which:
        thread = threads.get(tid)
        see(thread, tid, cpu, states.get(thread.ident, "") if thread is not None else "")
    for state, thread in green:
        see(thread, None, None, state)
    # tids don't have this order, because they start again at 300 above pid_max; `which` changes with the CPU time.
    began: dict[int | None, int] = {tid: number for number, tid in enumerate(threads)}
    found: list[Row] = []
    left = 0
    for some in alike.values():
        room = most - len(found)
        if len(some) > FEW and room:
            found.append(_row_of_many(some, began))
            continue
        left += len(some[room:])
        for seen in some[:room]:
            with suppress(OSError):  # it has ended
                found.append(seen.row())
    return found, left


def _where(wait: Wait | stock_queues.Awaited | None, frame: FrameType | None) -> str:
    place = "" if frame is None else f"at {_place(frame)}"
    if isinstance(wait, stock_queues.Awaited):
        return f"{wait.thing} {place}"
    if wait is None:
        return place
    if wait.kind == "join":
        return f"{wait.thing} {place}"
    # A narrow terminal shows the beginning.
    holder = f"of {printable(wait.held_by)}" if wait.held_by else ""
    return " ".join(filter(None, [wait.kind, wait.called, holder, place, "" if wait.called else wait.what]))
