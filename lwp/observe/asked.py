"""What this process answers when it is asked from outside; see asking.py, which asks.

The answers are made by a thread that is not the program's, with the GIL.  They are plain data for JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from types import FrameType
from typing import Any

from .. import native
from ..core import members, printable
from ..core import native as core
from ..reading.source import others_frames
from . import locks, recording, stock_queues
from .crowds import Calls, Crowds, of_wait
from .places import InC, in_c
from .pools import exhausted
from .rows import busiest, rows, task_file
from .tasks import Tasks
from .waits import Look, deadlocks, describe_cycle, is_deadlock, look, lost, name_of, waiting

_MOST_ROWS = 1000


def answer(question: str) -> str:
    """The answer to a question, both as JSON."""
    try:
        asked = json.loads(question)
        found = _ANSWERS[asked.pop("ask")](**asked)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return json.dumps(found)


# ---- dump ------------------------------------------------------------------------------------------------------------


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


def _crowds(seen: Look) -> list[dict[str, Any]]:
    """The threads that run Python, those that do the same together; the largest crowds first."""
    waits = {wait.ident: wait for wait in seen.waiting.waits}
    green, me = native.green_states(), threading.get_ident()
    frames, foreign = others_frames(), in_c()
    found = Crowds()
    stacks: dict[Calls, list[list[Any]]] = {}
    for ident, where in reversed(seen.calls.items()):  # the oldest thread first
        if ident == me or ident not in seen.tids:  # it was about to end
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
        thread = {"name": seen.name_of(ident), "tid": tid, "ident": ident}
        found.join(key, thread, wait.address if wait else 0, wait.since if wait else c.since if c else 0)
    crowds = found.all()
    for crowd in crowds:
        if crowd["wait"] and crowd["wait"]["things"] > 1:
            alike = waits[crowd["threads"][0]["ident"]].alike
            crowd["wait"] |= {"for": alike.thing, "called": alike.called}
    return crowds


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


def dump() -> dict[str, Any]:
    """All threads, grouped by what they do, and what is known about circles, pools, groups and schedulers."""
    seen = look()
    found, crowds, tasks = seen.waiting, _crowds(seen), Tasks()
    return {
        **who(),
        "threads": sum(len(crowd["threads"]) for crowd in crowds),
        "now": time.monotonic(),
        "circles": [
            {
                "deadlock": is_deadlock(cycle),
                "text": describe_cycle(cycle),
                "threads": [wait.name for wait in cycle if wait.tid],
                "idents": [wait.ident for wait in cycle if wait.tid],
                "tasks": [wait.name for wait in cycle if not wait.tid],
            }
            for cycle in (*found.cycles, *tasks.cycles())
        ],
        "tasks": tasks.crowds(),
        "why_no_tasks": tasks.why_not,
        "pools": [
            {
                "text": str(pool),
                "threads": [wait.name for wait in pool.waits],
                "idents": [wait.ident for wait in pool.waits],
            }
            for pool in exhausted(found)
        ],
        "lost": [
            {
                "deadlock": one.deadlock,
                "text": one.line,
                "threads": [wait.name for wait in one.waits],
                "idents": [wait.ident for wait in one.waits],
            }
            for one in lost(found)
        ],
        "crowds": crowds,
        "without_python": _without_python(crowds),
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


def _rows() -> dict[str, Any]:
    """What `lwp top` shows, of the program's threads."""
    shown, left = rows(busiest(), _MOST_ROWS)
    return {"rows": [asdict(row) for row in shown], "left": left}


def _locks(lasts: float | None = None, stacks: bool = False) -> dict[str, Any]:
    """With `lasts`: counts waits from now on, for so long at most, or says that it does so already. Without: what was
    counted, with or without its stacks."""
    if lasts is None:
        found = locks.facts()
        return found if stacks else {**found, "stacks": []}
    try:
        locks.begin(lasts)
    except RuntimeError:
        return {"begun": False}
    return {"begun": True}


def _locks_end() -> dict[str, Any]:
    locks.end()
    locks.forget()
    return {}


def _who() -> dict[str, Any]:
    found = waiting()
    circles = [describe_cycle(cycle) for cycle in (*deadlocks(found), *filter(is_deadlock, Tasks().cycles()))]
    return {**who(), "deadlocks": circles + [str(pool) for pool in exhausted(found)]}


_ANSWERS: dict[str, Callable[..., dict[str, Any]]] = {
    "dump": dump,
    "who": _who,
    "rows": _rows,
    "borrow": recording.borrow,
    "give_back": recording.give_back,
    "look_back": recording.look_back,
    "locks": _locks,
    "locks_end": _locks_end,
}
