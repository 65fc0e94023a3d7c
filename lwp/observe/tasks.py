"""What the tasks of asyncio's loops await, where each stands, and which task holds what another awaits.

asyncio doesn't record which task has a lock.  But the collector lists at any moment what a suspended coroutine refers
to, and so the `__aexit__` of each `async with` in whose body the coroutine is.  No code of the program runs.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from types import CellType, CodeType, FrameType, FunctionType
from typing import Any

from ..reading.files import is_program
from ..reading.lines import chain, expression_text, kind_of_tasks, managers
from ..reading.names import Called
from ..reading.rings import rings
from ..reading.source import at
from .crowds import Crowds, of_wait, some
from .pools import makers, stuck
from .waits import Wait, kind_of_type, name_of


def _get(thing: Any, name: str) -> Any:
    """An attribute of an object of asyncio, though a class derived from its type may look attributes up in its way."""
    with suppress(AttributeError):
        return object.__getattribute__(thing, name)
    return None


def _lock_of(thing: Any) -> int:
    """id() of a condition's lock, or of the one that anyio makes later for a Lock that was made outside of a loop."""
    return id(_get(thing, "_lock") or _get(thing, "_internal_lock") or thing)


def _tasks_of(future: Any) -> list[Any]:
    """It, if it is a task; what it waits for, if gather() has returned it."""
    gathered = [task for one in _get(future, "_children") or () for task in _tasks_of(one)]
    return gathered or ([future] if kind_of_tasks(future) == "task" else [])


class _Task:
    """What a task that is not done awaits and holds, if it sleeps."""

    def __init__(self, task: Any, sleeps: bool = True) -> None:
        self.task, self.waiter = task, _get(task, "_fut_waiter") if sleeps else None
        base: Any = next(cls for cls in type(task).__mro__ if cls.__module__ in ("_asyncio", "asyncio.tasks"))
        self.name, runs = str(base.get_name(task)), getattr(_get(task, "_coro"), "__name__", "")
        self.name += f" ({runs})" if self.name.startswith("Task-") and runs else ""
        self.kind, self.what = "", ""  #: kind: "" if it doesn't sleep
        self.thing: Any = None  #: a primitive, or the future of a pool's call
        self.needs: list[Any] = []  #: futures, tasks mostly, of which all must be done; first: one of them
        self.first, self.cancels = False, False  #: cancels: those are cancelled with the task
        self.deadline: float | None = None
        self.taken = ""  #: where the task that it needs took the lock
        self.frames: list[FrameType] = []  #: the innermost first
        self.caller: FrameType | None = None  #: the innermost that is neither asyncio's nor anyio's
        self.entered: dict[int, str] = {}  #: by the id() of what it holds, where it took that
        if self.is_asleep():
            self._look([*chain(_get(task, "_coro"))])

    def is_asleep(self) -> bool:
        return _get(self.task, "_fut_waiter") is self.waiter and _get(self.waiter, "_state") == "PENDING"

    def _until(self, deadline: Any) -> None:
        if type(deadline) is float and deadline < float("inf"):
            self.deadline = min(deadline, self.deadline or deadline)

    def _look(self, awaited: list[tuple[Any, FrameType]]) -> None:
        """awaited: from the outermost coroutine on."""
        self.kind, self.frames = "future", [frame for _, frame in reversed(awaited)]
        inside: list[tuple[Any, CodeType]] = []  # the last of them, which are asyncio's or anyio's
        for holder, frame in awaited:
            for owner, place in managers(holder, frame):
                if kind_of_tasks(owner):
                    self.entered[_lock_of(owner)] = place
                if type(owner).__name__ in ("Timeout", "CancelScope"):  # of asyncio, async_timeout, anyio
                    self._until(_get(owner, "_when") or _get(owner, "_deadline"))
            inside.append((holder, frame.f_code))
            if "/asyncio/" not in frame.f_code.co_filename and "/anyio/" not in frame.f_code.co_filename:
                self.caller, inside = frame, []
        for holder, code in inside:
            self._look_into(code, gc.get_referents(holder))
        if self.kind == "taskgroup":
            self.needs, self.cancels = list(_get(self.thing, "_tasks")), True
        elif self.kind == "future" and not self.needs:
            self.needs, self.cancels = _tasks_of(self.waiter), True
            for callback, _ in list(_get(self.waiter, "_callbacks") or ()):
                if type(callback) is FunctionType:
                    self._look_into(callback.__code__, list(callback.__closure__ or ()))

    def _look_into(self, code: CodeType, known: list[Any]) -> None:
        """known: what a coroutine of asyncio's or anyio's refers to, or a callback of the awaited future."""
        thing = next((one for one in known if kind_of_tasks(one) not in ("", "task")), None)
        kind = kind_of_tasks(thing)
        if kind and (self.thing is None or kind == "lock"):  # a condition that was notified waits for its lock
            self.kind, self.thing = kind, thing
        if kind == "condition" and code.co_name == "wait":  # which has given it up
            self.entered.pop(_lock_of(thing), None)
        name = code.co_name if code.co_filename.endswith(("asyncio/tasks.py", "asyncio/futures.py")) else ""
        for one in known + gc.get_referents(*(one for one in known if type(one) is CellType)):
            if type(one).__name__ == "TimerHandle":  # also uvloop's
                self._until(one.when())
            elif name == "sleep" and type(one) in (int, float) and not self.what:
                self.kind, self.what = "sleep", f"of {one:g} s"
            elif name == "_wait" and type(one) is set and one:
                self.needs = list(one)
            elif name == "_wait" and type(one) is str:
                self.first = one.startswith("FIRST_")
            elif name in ("wait_for", "_outer_done_callback") and _tasks_of(one):  # the latter is shield()'s
                self.needs, self.cancels = _tasks_of(one), name == "wait_for"
            elif name == "_call_check_cancel" and kind_of_type(type(one)) == "future":
                self.kind, self.thing = "call", one


class Tasks:
    """All tasks at one moment."""

    def __init__(self) -> None:
        tasks: Any = None if sys.is_finalizing() else sys.modules.get("asyncio.tasks")
        self.why_not = ""  #: why they are not shown
        if tasks and sys.version_info >= (3, 14):
            self.why_not = "CPython 3.14 keeps the list of them in C, and it is not read"
        elif tasks and not getattr(sys, "_is_gil_enabled", lambda: True)():
            self.why_not = "without a GIL they would run while they are read"
        found: list[Any] = []
        if tasks and not self.why_not:
            weak = tasks._scheduled_tasks if hasattr(tasks, "_scheduled_tasks") else tasks._all_tasks  # up to 3.11
            found = [reference() for reference in list(weak.data)] + list(getattr(tasks, "_eager_tasks", ()))
        self._running = {id(one) for one in list(tasks._current_tasks.values())} if found else set()
        read: list[_Task] = []
        for task in found:
            with suppress(Exception):  # it reads the program's own things
                if kind_of_tasks(task) == "task" and _get(task, "_state") == "PENDING":
                    read.append(_Task(task))
        # Those that sleep now as they did when they were read have slept since: so all is of the last read's moment.
        self._seen = {id(one.task): one if one.is_asleep() else _Task(one.task, sleeps=False) for one in read}
        names = Counter(one.name for one in read)
        takers = {lock: (one.task, place) for one in self._seen.values() for lock, place in one.entered.items()}
        for one in self._seen.values():
            if names[one.name] > 1:  # anyio names a task by its function
                one.name += f" at {id(one.task):#x}"
            if one.kind == "lock":  # anyio's knows its owner
                owner, one.taken = takers.get(_lock_of(one.thing), (_get(one.thing, "_owner_task"), ""))
                one.needs = [] if owner is None else [owner]
        ahead = list(self._seen.values())
        while ahead:  # what ends a wait cancels the tasks that it is for
            one = ahead.pop()
            for other in [self._seen[id(need)] for need in one.needs if one.cancels and id(need) in self._seen]:
                if one.deadline is not None and (other.deadline is None or other.deadline > one.deadline):
                    other.deadline = one.deadline
                    ahead.append(other)
        self._called = Called()

    def _wait(self, one: _Task) -> Wait:
        kind, what, called, thing = one.kind, one.what, "", one.waiter if one.thing is None else one.thing
        needs = [self._seen[id(need)] for need in one.needs if id(need) in self._seen]
        by = needs[0] if needs and kind == "lock" else None
        if needs and not by:
            number = f"{'the first of ' * one.first}{len(needs):,} tasks: " if len(needs) > 1 else ""
            kind, what = "group", number + some(needs, lambda need: repr(need.name))
        elif kind == "call":
            maker = makers().get(id(thing))
            what = f"made by {name_of(maker)!r}" if maker else "of a pool or another thread"
        elif kind == "future" and one.frames and not is_program(one.frames[0].f_code.co_filename):
            what = f"in {one.frames[0].f_code.co_qualname}"
        elif kind != "sleep":
            what = f"<{type(thing).__name__} at {id(thing):#x}>"
            called = self._called.by(thing, lambda: expression_text(one.caller) if one.caller else "")
        who, name = (id(by.task), by.name) if by else (None, None)
        return Wait(id(one.task), 0, one.name, kind, what, id(thing), who, name, 0, one.deadline, one.taken, "", called)

    def cycles(self) -> Iterator[tuple[Wait, ...]]:
        """Circles, as Waiting.cycles has them; the tid and the begin of a wait are 0."""
        needs = {key: set(map(id, one.needs)) for key, one in self._seen.items() if one.needs}
        left = stuck({key: (1 if self._seen[key].first else len(others), others) for key, others in needs.items()})
        for ring in rings({key: next(iter(needs[key] & left)) for key in left}):
            yield tuple(self._wait(self._seen[key]) for key in ring)

    def crowds(self) -> list[dict[str, Any]]:
        """As data for JSON, the tasks that do the same together; first those that wait for what a task holds."""
        found = Crowds("tasks")
        for key, one in self._seen.items():
            loop, holder = _get(one.task, "_loop"), id(one.needs[0]) if one.kind == "lock" and one.needs else 0
            state = "waits" if one.kind else "runs" if key in self._running else "goes on"
            where = tuple((frame.f_code, frame.f_lasti) for frame in one.frames)
            alike = (id(loop), where, state, one.kind, holder, one.deadline is None)
            if alike not in found:
                ident = _get(loop, "_thread_id")  # uvloop hides that
                whose = f"the loop of {name_of(ident)!r}" if ident else f"a {type(loop).__module__} loop"
                own = next((frame for frame in one.frames if is_program(frame.f_code.co_filename)), one.caller)
                place = at(own or one.frames[0]) if one.frames else ""
                wait = of_wait(self._wait(one)) if one.kind else None
                found.begin(alike, {"loop": whose, "state": state, "at": place, "since": None, "wait": wait})
            awaited = tuple(map(id, one.needs)) if one.thing is None else id(one.thing)
            found.join(alike, one.name, awaited, 0, one.deadline)
        return sorted(found.all(), key=lambda crowd: not (crowd["wait"] and crowd["wait"]["holder"]))
