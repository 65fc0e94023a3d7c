"""The facts of one moment: all threads, those that do the same together, and what is known of circles, pools and tasks.

They are plain data for JSON.  `lwp dump` and the watchdog tell them by telling.py, `lwp watch` draws them, and
glimpse.py makes the same of a process whose Python doesn't answer.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from .. import native
from ..core import different, members, printable
from ..core import native as core
from ..reading.source import others_frames
from . import stock_queues
from .crowds import FEW, Calls, Crowds, of_wait
from .places import InC, in_c
from .pools import exhausted
from .rows import task_file
from .tasks import Tasks
from .waits import Look, Wait, describe_cycle, is_deadlock, look, lost, name_of


def _state(green: str | None, tid: int | None, frame: FrameType | None = None, c: InC | None = None) -> str:
    """What a thread does that is in none of our waits; green: a green thread's state."""
    if c is not None:
        return c.where
    if idle := stock_queues.awaited(frame, tid):
        return f"waits for {idle.thing}"
    if green in ("ready", "asleep"):
        return f"{green}, green"
    call = None if tid is None else native.call_of(tid)
    if call is None:
        return "runs"
    # This look itself has the GIL, which the thread may have had just before.
    return "runs Python, or wants the GIL" if call == "waiting for the GIL" else f"in {call}"


def crowds(seen: Look, only: Collection[int] | None = None) -> list[dict[str, Any]]:
    """The threads that run Python, those that do the same together; the largest crowds first.  only: of these idents.

    "placed" of a thread is "" in a crowd whose threads are not told one by one.
    """
    waits = {wait.ident: wait for wait in seen.waiting.waits}
    green, me = native.green_states(), threading.get_ident()
    frames, foreign = others_frames(), in_c()
    found = Crowds()
    stacks: dict[Calls, list[list[Any]]] = {}
    for ident, where in reversed(seen.calls.items()):  # the oldest thread first
        if ident == me or ident not in seen.tids:  # it was about to end
            continue
        if only is not None and ident not in only:
            continue
        wait = waits.get(ident)
        tid = None if green.get(ident, "running") != "running" else seen.tids[ident]
        c = None if wait else foreign.get(ident)
        state = "waits" if wait else _state(green.get(ident), tid, frames.get(ident), c)
        group, cancelled = members.described(ident)
        groups = members.path(ident)
        alike = wait and (wait.kind, wait.holder, wait.held_by, wait.deadline is None)
        key = (where, state, alike, groups, cancelled)
        if key not in found:
            if where not in stacks:
                stacks[where] = [[code.co_filename, line, code.co_qualname] for code, line in where]
            said = {"state": state, "group": group, "groups": groups, "cancelled": cancelled, "stack": stacks[where]}
            found.begin(key, {**said, "since": c and c.since, "wait": wait and of_wait(wait)})
        thread = {"name": seen.name_of(ident), "tid": tid, "ident": ident, "placed": ""}
        found.join(key, thread, wait.address if wait else 0, wait.since if wait else c.since if c else 0)
    told = found.all()
    for crowd in told:
        for thread in crowd["threads"] if len(crowd["threads"]) <= FEW else []:
            with suppress(OSError):  # it has ended
                thread["placed"] = "" if thread["tid"] is None else different(thread["tid"])
        if crowd["wait"] and crowd["wait"]["things"] > 1:
            alike = waits[crowd["threads"][0]["ident"]].alike
            crowd["wait"] |= {"for": alike.thing, "called": alike.called}
    return told


def _without_python(crowds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The LWPs that run no Python: helpers, threads of C libraries; no Thread that is about to begin."""
    tasks, tids = os.listdir("/proc/self/task"), native.tids()
    known = {thread["tid"] for crowd in crowds for thread in crowd["threads"]}.union(native.aside_tids())
    known.update(tids[ident] for ident in list(threading._active) if ident in tids)  # type: ignore[attr-defined]
    found = []
    for tid in map(int, tasks):
        if tid not in known:
            with suppress(OSError):  # it has ended
                name = printable(task_file(tid, "comm").strip())
                found.append({"tid": tid, "name": name, "state": _state(None, tid)})
    return found


def _schedulers(seen: Look) -> list[dict[str, Any]]:
    return [
        {
            "runs": name_of(ident) if ident in seen.calls else None,  # an LWP that runs no thread just now has no calls
            "tid": tid,
            "switches": switches,
            "ready": ready,
            "slices": sliced,
        }
        for ident, tid, switches, ready, sliced in core.green_runners()
    ]


def _standing(waits: Sequence[Wait], deadlock: bool, text: str) -> dict[str, Any]:
    """What does not go on: threads, and tasks, whose waits have no tid."""
    return {
        "deadlock": deadlock,
        "text": text,
        "threads": [wait.name for wait in waits if wait.tid],
        "idents": [wait.ident for wait in waits if wait.tid],
        "tasks": [wait.name for wait in waits if not wait.tid],
    }


def facts() -> dict[str, Any]:
    """All threads, grouped by what they do, and what is known about circles, pools, groups and schedulers."""
    seen = look()
    found, threads, tasks = seen.waiting, crowds(seen), Tasks()
    return {
        **who(),
        "threads": sum(len(crowd["threads"]) for crowd in threads),
        "now": time.monotonic(),
        "circles": [
            _standing(cycle, is_deadlock(cycle), describe_cycle(cycle)) for cycle in (*found.cycles, *tasks.cycles())
        ],
        "tasks": tasks.crowds(),
        "why_no_tasks": tasks.why_not,
        "pools": [_standing(pool.waits, True, str(pool)) for pool in exhausted(found)],
        "lost": [_standing(one.waits, one.deadlock, one.line) for one in lost(found)],
        "crowds": threads,
        "without_python": _without_python(threads),
        "schedulers": _schedulers(seen),
        "cancellations": [{"whom": one.whom, "why": one.why} for one in members.latest],
    }


def who() -> dict[str, Any]:
    """Of the process: its threads, counted, and whether some of them wait in a circle."""
    idents = others_frames().keys()
    return {
        "pid": os.getpid(),
        "python": sys.version.partition(" ")[0],
        "threads": len(idents),
        "green": len(native.green_states().keys() & idents),
    }
