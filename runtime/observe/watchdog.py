"""What a program stands still for: `run --watchdog`.

Nothing moves when no thread has used the CPU or was switched to, and none is about to run.  So it is, too, while a
program waits for the network, a child process or a long sleep: the report says what it waits for.  A circle of waits
without timeouts is reported even if other threads go on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import tokenize  # noqa: F401  what linecache imports late: in a standstill a thread may sleep in an import
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from .. import native
from ..placement import different
from .groups import described
from .waits import Wait, Waiting, describe_cycle, name_of, waiting

__all__ = ["Watchdog", "report", "teller"]

#: Files whose frames, and those below them, are not the program's.
_BELOW = (
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli", "_main.py"),
    os.path.join("_pytest", "python.py"),
    os.path.join("_pytest", "fixtures.py"),
)


def _tids() -> dict[int, int]:
    """The tid by ident, of the threads that have a Thread."""
    active = list(threading._active.values())  # type: ignore[attr-defined]
    return {thread.ident: thread.native_id for thread in active if thread.native_id is not None}


def _stack(frame: FrameType) -> str:
    """As a traceback shows it, without the frames below the program's."""
    entries = traceback.extract_stack(frame)
    below = [at for at, entry in enumerate(entries) if entry.filename.endswith(_BELOW)]
    return "".join(traceback.format_list(entries[below[-1] + 1 if below else 0 :]))


def _stacks(tids: dict[int, int]) -> list[str]:
    """The stacks of all threads but the caller's; those that are the same together."""
    who: dict[str, list[str]] = {}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            name = repr(name_of(ident, tids.get(ident)))
            if (tid := tids.get(ident)) is not None:
                group, why = described(ident)
                about = [str(tid), group and f"of {group}", why and f"cancelled: {why}", different(tid)]
                name += f" (tid {', '.join(filter(None, about))})"
            who.setdefault(_stack(frame), []).append(name)
    return [f"Stack of {', '.join(names)}, most recent call last:\n{stack}" for stack, names in who.items()]


def _deadlocks(found: Waiting) -> list[tuple[Wait, ...]]:
    """The circles that no timeout will break."""
    return [cycle for cycle in found.cycles if all(wait.deadline is None for wait in cycle)]


#: ident of the thread that has an LWP, the tid of that, and how often its scheduler has switched
_Turn = tuple[int, int, int]


def _describe_turn(ident: int, seconds: float, others: int, computes: bool, sliced: bool) -> str:
    threads = f"{others} green thread{'s' if others > 1 else ''}"
    if computes:
        waits, its = ("wait", "their") if others > 1 else ("waits", "its")
        said = f"{name_of(ident)!r} has run for {seconds:.1f} s while {threads} {waits} for {its} turn"
    else:
        frame = sys._current_frames().get(ident)
        place = "" if frame is None else f"{frame.f_code.co_name}() at {frame.f_code.co_filename}:{frame.f_lineno}"
        said = (
            f"a call in C holds the LWP that {threads} could run on, for {seconds:.1f} s: {name_of(ident)!r} in {place}"
        )
    return said if sliced else f"{said}; with --time-slice the others would go on"


_Circle = frozenset[tuple[int, int, float]]


def _identity(cycle: tuple[Wait, ...]) -> _Circle:
    return frozenset((wait.ident, wait.address, wait.since) for wait in cycle)


def report(why: str, found: Waiting) -> str:
    """Why it is written, all waits and circles, and all Python stacks."""
    now = time.monotonic()
    deadlocks = _deadlocks(found)
    lines = [f"lwp: {why}"]
    for wait in found.waits:
        left = "" if wait.deadline is None else f", {wait.deadline - now:.1f} s to its timeout"
        lines.append(f"  {wait}, for {now - wait.since:.1f} s{left}")
    for cycle in found.cycles:
        lines.append(f"{'deadlock' if cycle in deadlocks else 'circle, until a timeout'}: {describe_cycle(cycle)}")
    tids = {**_tids(), **{wait.ident: wait.tid for wait in found.waits}}
    return "\n".join(lines) + "\n" + "".join(_stacks(tids))


def _state(tid: int | str) -> tuple[str, int] | None:
    """A task's state, by its letter in proc_pid_stat(5), and how often it has gone to sleep; None: it has ended."""
    try:
        with open(f"/proc/self/task/{tid}/status") as file:
            status = file.read()
    except OSError:
        return None
    return status.partition("\nState:\t")[2][0], int(status.partition("\nvoluntary_ctxt_switches:\t")[2].split()[0])


def _runs(tid: int) -> bool:
    """Whether the task would be on a CPU if there were one for it; with the GIL, others may sleep for that."""
    state = _state(tid)
    return state is not None and state[0] == "R"


def _sleeps(own: tuple[int, int]) -> dict[str, int] | None:
    """How often each task but those has gone to sleep, by its tid; None: one is awake, or has just ended."""
    found = {}
    for tid in os.listdir("/proc/self/task"):
        if int(tid) in own:
            continue
        state = _state(tid)
        if state is None or state[0] in "RXZ":  # the last two: it is at its end
            return None
        found[tid] = state[1]
    return found


def _all_sleep() -> bool:
    """At one moment, though one is read after the other: who slept at both looks, and as often, slept in between.

    With one look, who wakes another and then sleeps could be seen asleep, and the other before that.
    """
    own = native.watch_own()
    if own is None or (first := _sleeps(own)) is None:
        return False
    return first == _sleeps(own) and native.watch_own() is not None  # else one sleeps until this thread has ended


def teller(fd: int) -> Callable[[str], None]:
    """Writes on a file descriptor, not through sys.stderr: a thread that sleeps may hold a lock of that."""

    def tell(text: str) -> None:
        left = text.encode(errors="backslashreplace")
        with suppress(OSError):  # a pipe without a reader
            while left:
                left = left[os.write(fd, left) :]

    return tell


class Watchdog:
    """Reports when the program stands still; look() is called by a thread that is not one of the program's.

    seconds: how long it stands still before a report, one until something moves again; a circle that lasts as long is
    reported too, and a green thread that keeps an LWP from others for as long.  busy_with: what the program does just
    now, if that is known; it begins with "; ".
    """

    def __init__(
        self, seconds: float, tell: Callable[[str], object], busy_with: Callable[[], str] = lambda: ""
    ) -> None:
        self._seconds = seconds
        self._tell = tell
        self._busy_with = busy_with
        self._seen: set[_Circle] = set()  # at the last look
        self._told: set[_Circle] = set()
        self._held: dict[_Turn, tuple[float, float]] = {}  # since when, and the CPU time of the LWP then
        self._held_told: set[_Turn] = set()
        _stack(sys._getframe())  # what that loads is loaded now

    def look(self, still: bool) -> bool:
        """Reports a program that seems to stand still, if it does, or a circle that lasts; whether it has reported."""
        still = still and _all_sleep()  # else it only got no CPU
        found = waiting()  # after that, or the report of who sleeps could name a wait that ended before
        circles = {_identity(cycle) for cycle in _deadlocks(found)}
        lasting = (circles & self._seen) - self._told
        self._seen = circles
        self._told &= circles
        held = self._who_holds_an_lwp(still)
        if held:
            self._tell(report(f"{held}{self._busy_with()}", found))
        elif still:
            self._tell(report(f"nothing has moved for {self._seconds:g} s{self._busy_with()}", found))
        elif lasting:
            self._tell(report(f"deadlock for more than {self._seconds:g} s{self._busy_with()}", found))
        if still or lasting:
            self._told |= circles
        return still or bool(lasting) or bool(held)

    def _who_holds_an_lwp(self, still: bool) -> str:
        """A green thread that has kept others waiting for that long, described; "" if there is none."""
        now, held = time.monotonic(), {}
        said = ""
        for ident, tid, switches, others, sliced in native.green_runners():
            if not others:
                continue
            turn = (ident, tid, switches)
            try:
                cpu = time.clock_gettime((~tid << 3) | 6)  # its CPU clock, as pthread_getcpuclockid(3) numbers it
            except OSError:  # it has ended
                continue
            held[turn] = since, cpu_then = self._held.get(turn, (now, cpu))
            lasts = self._seconds if still else now - since
            if lasts >= self._seconds and turn not in self._held_told:
                self._held_told.add(turn)
                computes = not still and (cpu - cpu_then > lasts / 10 or _runs(tid))
                said = _describe_turn(ident, lasts, others, computes, sliced)
        self._held = held
        self._held_told &= held.keys()
        return said
