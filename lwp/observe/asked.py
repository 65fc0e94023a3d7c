"""What this process answers when it is asked from outside; see asking.py, which asks.

The answers are made by a thread that is not the program's, with the GIL.  They are plain data for JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from . import locks, recording
from .moment import facts, who
from .pools import exhausted
from .rows import busiest, rows
from .tasks import Tasks
from .waits import deadlocks, describe_cycle, is_deadlock, waiting

_MOST_ROWS = 1000


def answer(question: str) -> str:
    """The answer to a question, both as JSON."""
    try:
        asked = json.loads(question)
        found = _ANSWERS[asked.pop("ask")](**asked)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    return json.dumps(found)


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
    "dump": facts,
    "who": _who,
    "rows": _rows,
    "borrow": recording.borrow,
    "give_back": recording.give_back,
    "look_back": recording.look_back,
    "locks": _locks,
    "locks_end": _locks_end,
}
