"""Why a program stands still: `run --watchdog`; and which threads wait long for one lock: `run --stuck`.

A program stands still when no thread has used the CPU or was switched to, and none is about to run.  It stands still
also while it waits for the network, a child process or a long sleep; the report says what it waits for.  A circle of
waits without timeouts is reported even if other threads go on.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import tokenize  # noqa: F401  linecache imports it late, and in a standstill a thread may sleep in an import
from collections.abc import Callable
from contextlib import suppress

from .. import native
from ..core import native as core
from ..core import printable
from ..reading.sites import note_makings
from ..terminal.telling import teller
from .moment import crowds, facts
from .places import in_c
from .pools import exhausted
from .rows import cpu_of, task_file
from .telling import head_line, lines, stack_lines
from .waits import Wait, Waiting, circle_line, deadlocks, describe_cycle, look, name_of, waiting

_NEVER = 1e9  # seconds


def _deadlocks(found: Waiting) -> list[tuple[Wait, ...]]:
    """Also pools whose threads all wait for calls of the same pool."""
    return [*deadlocks(found), *(pool.waits for pool in exhausted(found))]


#: ident of the thread that has an LWP, the tid of that, and how often its scheduler has switched
_Turn = tuple[int, int, int]


def _describe_turn(ident: int, tid: int, seconds: float, others: int, computes: bool, sliced: bool) -> str:
    threads = f"{others} green thread{'s' if others > 1 else ''}"
    if computes:
        waits, its = ("wait", "their") if others > 1 else ("waits", "its")
        said = f"{name_of(ident)!r} has run for {seconds:.1f} s while {threads} {waits} for {its} turn"
    else:
        frame = native.current_frames().get(ident)
        code = frame and frame.f_code
        place = printable(f"{code.co_name}() at {code.co_filename}:{frame.f_lineno}") if frame and code else ""
        call = f" ({call})" if (call := native.call_of(tid)) else ""
        held = f"the LWP that {threads} could run on, for {seconds:.1f} s"
        said = f"a call in C holds {held}: {name_of(ident)!r} in {place}{call}"
    return said if sliced else f"{said}; with --time-slice the others would go on"


_Circle = frozenset[tuple[int, int, float]]


def _identity(cycle: tuple[Wait, ...]) -> _Circle:
    return frozenset((wait.ident, wait.address, wait.since) for wait in cycle)


def report(why: str) -> str:
    """A report: why it is written, and what `lwp dump` would print."""
    return "\n".join([f"lwp: {why}", *lines(facts())]) + "\n"


_Lock = tuple[int, int | None]  # its id(), and the ident of its holder


def _stuck_locks(found: Waiting, seconds: float) -> dict[_Lock, list[Wait]]:
    """Waits for a lock, by lock, if the first has lasted longer than that."""
    since = time.monotonic() - seconds
    by_lock: dict[_Lock, list[Wait]] = {}
    for wait in found.waits:  # the longest first
        if wait.kind in ("lock", "rlock"):
            by_lock.setdefault((wait.address, wait.holder), []).append(wait)
    return {lock: waits for lock, waits in by_lock.items() if waits[0].since < since}


def _circle_of(waits: list[Wait], standing: list[tuple[Wait, ...]]) -> tuple[Wait, ...]:
    """The deadlock that one of these waits is in, if there is one."""
    return next((cycle for cycle in standing if not set(cycle).isdisjoint(waits)), ())


def _report_stuck(waits: list[Wait], circle: tuple[Wait, ...], seconds: float, busy_with: str) -> str:
    """A report: which threads wait, what the holder waits for, and where the holder is, or all threads of a circle."""
    now, holder = time.monotonic(), waits[0].holder
    threads = f"{len(waits)} threads wait for one lock, the first" if len(waits) > 1 else "a thread waits for a lock"
    said = [f"lwp: {threads} for more than {seconds:g} s{busy_with}"]
    said += [circle_line(True, describe_cycle(circle))] * bool(circle)
    shown, seen = {wait.ident for wait in circle} | {holder}, look()
    for crowd in crowds(seen, {wait.ident for wait in waits} - shown):
        said += ["", head_line(crowd, now)]
    for crowd in crowds(seen, {ident for ident in shown if ident is not None}):
        said += ["", head_line(crowd, now), *stack_lines(crowd["stack"], all_frames=False)]
    return "\n".join(said) + "\n"


def _state(tid: int | str) -> tuple[str, int] | None:
    """A task's state, by its letter in proc_pid_stat(5), and how often it has gone to sleep; None: it has ended."""
    try:
        status = task_file(tid, "status")
    except OSError:
        return None
    return status.partition("\nState:\t")[2][0], int(status.partition("\nvoluntary_ctxt_switches:\t")[2].split()[0])


def _runs(tid: int) -> bool:
    """Whether the task would be on a CPU if one were free.  If it has the GIL, others may sleep for the GIL."""
    state = _state(tid)
    return state is not None and state[0] == "R"


def _sleeps(own: tuple[int, int]) -> dict[str, int] | None:
    """How often each task except those has gone to sleep, by its tid; None: one is awake, or has just ended."""
    found = {}
    for tid in os.listdir("/proc/self/task"):
        if int(tid) in own:
            continue
        state = _state(tid)
        if state is None or state[0] in "RXZ":  # X and Z: it is at its end
            return None
        found[tid] = state[1]
    return found


def _all_sleep() -> bool:
    """Whether all slept at one moment, though they are read one after the other: a task that slept at both looks, and
    has slept as often, slept in between.

    One look isn't enough: a task could be seen asleep before another wakes it, and the other could be seen after it has
    gone to sleep.
    """
    own = native.watch_own()
    if own is None or (first := _sleeps(own)) is None:
        return False
    return first == _sleeps(own) and native.watch_own() is not None  # otherwise one sleeps until this thread has ended


class Watchdog:
    """Reports when the program stands still; a thread that is not the program's calls look().

    seconds: how long it stands still before a report; there is one report until something moves again.  A circle that
    lasts as long is reported too, and a green thread that keeps an LWP from others for as long.  One that is as long in
    C code that has released the GIL has a line.  None: nothing of that is reported.
    stuck: how long a thread waits for a lock before a report; there is one report for each lock and holder, and one for
    a circle.  None: no such report.
    busy_with: what the program does just now, if that is known; it begins with "; ".
    """

    def __init__(
        self,
        seconds: float | None,
        tell: Callable[[str], object],
        busy_with: Callable[[], str] = lambda: "",
        stuck: float | None = None,
    ) -> None:
        self._seconds = seconds
        self._stuck = stuck
        self._stuck_told: set[_Lock] = set()
        self._tell = tell
        self._busy_with = busy_with
        self._seen: set[_Circle] = set()  # at the last look
        self._told: set[_Circle] = set()
        self._held: dict[_Turn, tuple[float, float]] = {}  # since when, and the CPU time of the LWP then
        self._held_told: set[_Turn] = set()
        self._in_c_told: set[tuple[int, float]] = set()  # ident, and since when
        list(stack_lines([[__file__, 1, ""]], all_frames=False))  # now, because this loads modules

    def begin(self, fd: int, status: int | None = None) -> None:
        """Starts the thread that calls look().

        status: the exit status with which a report ends the process, and fd gets a line about that; None: it goes on.
        RuntimeError: the process is watched already.
        """
        seconds = self._seconds or _NEVER
        glance = min(seconds, (self._stuck or _NEVER) / 2)
        every = min(glance / 4, 0.5)
        note_makings()
        native.watch_start(self.look, every, seconds, -1 if status is None else status, fd, glance)

    def look(self, still: bool) -> bool:
        """Reports a program that seems to stand still, if it does, or a circle that lasts.  Returns whether it has
        reported.

        It also reports threads that are stuck or in C code for long, which doesn't count.
        """
        still = still and _all_sleep()  # if one doesn't sleep, it only got no CPU
        found = waiting()  # after that, or the report could name a wait that ended before
        told = self._seconds is not None and self._look_for_standstill(self._seconds, still, found)
        if self._seconds is not None:
            self._look_into_c(self._seconds, told)
        if self._stuck is not None and not told:
            self._look_for_stuck(self._stuck, found)
        return told

    def _look_into_c(self, seconds: float, told: bool) -> None:
        """told: there was a report, which has these threads."""
        now = time.monotonic()
        long = {ident: call for ident, call in in_c().items() if now - call.since >= seconds}
        new = {ident for ident, call in long.items() if (ident, call.since) not in self._in_c_told}
        for crowd in crowds(look(), new) if new and not told else []:
            said = [f"lwp: {head_line(crowd, now)}{self._busy_with()}", *stack_lines(crowd["stack"], all_frames=False)]
            self._tell("\n".join(said) + "\n")
        self._in_c_told = {(ident, call.since) for ident, call in long.items()}

    def _look_for_stuck(self, seconds: float, found: Waiting) -> None:
        locks = _stuck_locks(found, seconds)
        new = locks.keys() - self._stuck_told
        standing = _deadlocks(found) if new else []
        for lock in new:
            circle = _circle_of(locks[lock], standing)
            if self._stuck_told.isdisjoint((wait.address, wait.holder) for wait in circle):
                self._tell(_report_stuck(locks[lock], circle, seconds, self._busy_with()))
            self._stuck_told.add(lock)
        self._stuck_told = set(locks)

    def _look_for_standstill(self, seconds: float, still: bool, found: Waiting) -> bool:
        since = time.monotonic() - seconds
        cycles = _deadlocks(found)
        circles = {_identity(cycle) for cycle in cycles}
        old = {_identity(cycle) for cycle in cycles if all(wait.since <= since for wait in cycle)}
        lasting = (old & self._seen) - self._told
        self._seen = circles
        self._told &= circles
        held = self._who_holds_an_lwp(seconds, still)
        if held:
            self._tell(report(f"{held}{self._busy_with()}"))
        elif still:
            self._tell(report(f"no thread has gone on for {seconds:g} s{self._busy_with()}"))
        elif lasting:
            self._tell(report(f"deadlock for more than {seconds:g} s{self._busy_with()}"))
        if still or lasting:
            self._told |= circles
        return still or bool(lasting) or bool(held)

    def _who_holds_an_lwp(self, seconds: float, still: bool) -> str:
        """Describes a green thread that has kept others waiting for that long; "" if there is none."""
        now, held = time.monotonic(), {}
        said = ""
        for ident, tid, switches, others, sliced in core.green_runners():
            if not others:
                continue
            turn = (ident, tid, switches)
            try:
                cpu = cpu_of(tid)
            except OSError:  # it has ended
                continue
            held[turn] = since, cpu_then = self._held.get(turn, (now, cpu))
            lasts = seconds if still else now - since
            if lasts >= seconds and turn not in self._held_told:
                self._held_told.add(turn)
                computes = not still and (cpu - cpu_then > lasts / 10 or _runs(tid))
                said = _describe_turn(ident, tid, lasts, others, computes, sliced)
        self._held = held
        self._held_told &= held.keys()
        return said


def seconds_from(text: float | str, name: str) -> float:
    """The seconds of the setting with that name; ValueError: it is no number, or out of bounds."""
    with suppress(ValueError):
        if 0.1 <= (seconds := float(text)) <= 1e6:  # NaN is not
            return seconds
    raise ValueError(f"{name}={text!r} is not a number of seconds from 0.1 to 1e6")


def watchdog(seconds: float | None = None, *, stuck: float | None = None, exit: int | None = None) -> None:
    """Watches this process until its end, and reports on standard error what `lwp run --watchdog --stuck` reports.

    A forked child isn't watched; it may call this itself.

    seconds: when no thread has moved for so long, a report of what each thread waits for, and all stacks.
    stuck: when threads wait for one lock for so long while others go on, a report of its holder and the line that took
    it.
    exit: the status with which a report of the first kind ends the process, at once.
    ValueError: neither time is given, or something is out of bounds.
    RuntimeError: the process is watched already, which `lwp run` and LWP_WATCHDOG do too, or has no standard error.
    """
    if seconds is None and stuck is None:
        raise ValueError("watchdog() needs seconds or stuck, or both")
    seconds = None if seconds is None else seconds_from(seconds, "seconds")
    stuck = None if stuck is None else seconds_from(stuck, "stuck")
    if exit is not None and (seconds is None or not 1 <= exit <= 255):
        raise ValueError(
            f"exit={exit!r} is not a status from 1 to 255 with which a standstill, after seconds, ends the process"
        )
    if sys.stderr is None:
        raise RuntimeError("the watchdog reports on standard error, which is closed")
    watch(seconds, stuck, exit, lambda: f"; process {os.getpid()}")


def watch(
    seconds: float | None, stuck: float | None, exit: int | None = None, busy_with: Callable[[], str] = lambda: ""
) -> None:
    """Watches this process until its end, and reports on what is standard error now."""
    fd = os.dup((sys.__stderr__ or sys.stderr).fileno())  # the program may close or replace sys.stderr
    try:
        Watchdog(seconds, teller(fd), busy_with, stuck).begin(fd, exit)
    except BaseException:
        os.close(fd)
        raise
    atexit.register(native.watch_stop)
