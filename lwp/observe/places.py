"""Which line of the program a thread is at, in which C code of others it is, and whether it sleeps in a lock that isn't
the runtime's."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from threading import Thread
from types import FrameType
from typing import NamedTuple

from .. import native
from ..core import printable
from ..reading.source import at, passed_on
from .waits import name_of, waiting


def line_of(frame: FrameType | None) -> str:
    """The innermost line of the program, "FILE:LINE in FUNCTION"; "" for a thread that has none."""
    frame = passed_on(frame)
    return "" if frame is None else at(frame)


class InC(NamedTuple):
    """A green thread in C code of others that has released the GIL."""

    where: str  #: the library or its function, as `--report` names it, and the system call: "in _ctypes (read)"
    since: float  #: time.monotonic()


def in_c() -> dict[int, InC]:
    """The green threads that are in such code, by ident."""
    inside, found = native.in_c(), {}
    states = native.green_states() if inside else {}  # of all green threads, however many
    for ident, (tid, place, since) in inside.items():
        call = native.call_of(tid) if states.get(ident) == "running" else None  # otherwise its LWP is in another thread
        found[ident] = InC(f"in {place}{f' ({call})' if call else ''}", since)
    return found


def _sleep_in_futex(tid: int | None) -> str:
    """The futex call without a timeout that the task sleeps in, with its arguments, stack pointer and place; or "".

    A wait for the GIL has a timeout (Python/ceval_gil.c), and a wait that may be cancelled is in futex_waitv(2).
    """
    try:
        with open(f"/proc/self/task/{tid}/syscall") as file:
            call = file.read()
    except OSError:  # it has ended, or there is no such file: gVisor has none
        return ""
    words = call.split()
    return call if len(words) > 4 and words[0] == str(native.SYS_FUTEX) and int(words[4], 16) == 0 else ""


class ForeignLocks:
    """Finds threads that stay in a lock of stock threading or of C code, because a cancellation doesn't end that
    wait."""

    def __init__(self) -> None:
        self._seen: dict[Thread, str] = {}  # at the last look
        self._told: set[Thread] = set()

    def look(self, threads: Iterable[Thread]) -> list[tuple[Thread, str]]:
        """The threads that have slept in the same call since the last look, each once, and where."""
        ours = {ident for ident, *_ in native.waits()}
        rest = {ident for ident, state in native.green_states().items() if state != "running"}
        seen = {
            thread: call
            for thread in threads
            if thread.ident not in ours and thread.ident not in rest and (call := _sleep_in_futex(thread.native_id))
        }
        lasting = [thread for thread, call in seen.items() if self._seen.get(thread) == call]
        found = [thread for thread in lasting if thread not in self._told]
        self._seen = seen
        self._told.update(found)
        frames = native.current_frames() if found else {}
        return [(thread, line_of(frames.get(thread.ident or 0))) for thread in found]


_GRACE = 0.1  # seconds for threads that are about to end


def left_running(before: Collection[Thread]) -> list[str]:
    """Texts for the threads that are alive and not among these: what each waits for, its target, and where it is."""
    deadline = time.monotonic() + _GRACE
    known = {id(thread) for thread in before}
    while left := [thread for thread in threading.enumerate() if id(thread) not in known]:
        if time.monotonic() > deadline:
            break
        time.sleep(_GRACE / 10)
    if not left:
        return []
    waits = {wait.ident: wait for wait in waiting().waits}
    frames = native.current_frames()
    return [
        _described(thread, str(waits.get(thread.ident, repr(name_of(thread.ident)))), frames.get(thread.ident))
        for thread in left
        if thread.ident is not None
    ]


def _described(thread: Thread, said: str, frame: FrameType | None) -> str:
    about = []
    with suppress(Exception):  # of a derived class
        target = getattr(thread, "_target", None) or thread.run
        about.append(printable(f"target {getattr(target, '__qualname__', target)}"))
    if place := line_of(frame):
        about.append(f"at {place}")
    return f"{said} ({', '.join(about)})" if about else said
