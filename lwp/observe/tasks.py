"""What the tasks of asyncio's loops await, where each stands, and which task holds what another awaits.

asyncio doesn't record which task has a lock.  But the stack of a suspended coroutine has the `__aexit__` of each `async
with` in whose body it is.  The collector lists what is on that stack, and may do so at any moment, whatever the loop's
thread is doing.  No code of the program runs.
"""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from types import CellType, FrameType, FunctionType
from typing import Any

from ..reading.files import is_program
from ..reading.lines import chain, managers
from ..reading.names import Called
from ..reading.source import at, place_at
from .crowds import some
from .pools import makers, stuck
from .waits import Wait, name_of, rings

_PRIMITIVES = ("Lock", "Event", "Condition", "Semaphore", "Barrier", "Queue", "CapacityLimiter", "TaskGroup")


@lru_cache(maxsize=1024)
def _kind_of(cls: Any) -> str:
    bases = (base for base in cls.__mro__ if str(base.__module__).startswith(("asyncio.", "anyio.")))
    return next((base.__name__.lower() for base in bases if base.__name__ in _PRIMITIVES), "")


def _kind(thing: object) -> str:
    """What a task waits for in a method of this primitive of asyncio's or anyio's; "": it is none."""
    cls: Any = type(thing)
    return _kind_of(cls)


def _get(thing: Any, name: str) -> Any:
    """An attribute of an object of asyncio, though a class derived from its type may look attributes up in its way."""
    try:
        return object.__getattribute__(thing, name)
    except AttributeError:
        return None


def _lock_of(thing: Any) -> int:
    """id() of a condition's lock, or of the one that anyio makes later for a Lock that was made outside of a loop."""
    return id(_get(thing, "_lock") or _get(thing, "_internal_lock") or thing)


def _is_task(thing: Any) -> bool:
    tasks: Any = sys.modules["asyncio.tasks"]
    return issubclass(type(thing), (tasks.Task, tasks._PyTask))


def _name(task: Any) -> str:
    """Its name, and what it runs if the name is asyncio's own."""
    base: Any = next(cls for cls in type(task).__mro__ if cls.__module__ in ("_asyncio", "asyncio.tasks"))
    name, what = str(base.get_name(task)), getattr(_get(task, "_coro"), "__name__", "")
    return f"{name} ({what})" if name.startswith("Task-") and what else name


def _leaves(futures: Any) -> Iterator[Any]:
    """These, and in place of what gather() has returned what that waits for."""
    for one in list(futures or ()):
        children = _get(one, "_children")
        yield from _leaves(children) if children else (one,)


class _Task:
    """What a task that is not done awaits and holds."""

    def __init__(self, task: Any) -> None:
        self.task, self.waiter = task, _get(task, "_fut_waiter")
        self.kind, self.what = "future", ""
        self.thing: Any = None  #: a primitive, or the future of a pool's call
        self.needs: list[Any] = []  #: futures, tasks mostly; `number` of them must be done
        self.number, self.cancels = 1, False  #: cancels: those are cancelled with the task
        self.deadline: float | None = None
        self.frames: list[FrameType] = []  #: the innermost first
        self.caller: FrameType | None = None  #: the innermost that is neither asyncio's nor anyio's
        self.entered: dict[int, str] = {}  #: by the id() of what it holds, where it took that
        if self.is_asleep():
            self._look([*chain(_get(task, "_coro"))][::-1])
        self.asleep = self.is_asleep()
        if not self.asleep:  # it may have gone on while it was read
            self.frames, self.entered, self.needs, self.kind, self.deadline = [], {}, [], "", None

    def is_asleep(self) -> bool:
        known = self.waiter is not None and _get(self.task, "_fut_waiter") is self.waiter
        return known and _get(self.waiter, "_state") not in ("FINISHED", "CANCELLED")

    def _until(self, deadline: Any) -> None:
        if type(deadline) is float and deadline < math.inf:
            self.deadline = min(deadline, self.deadline or deadline)

    def _look(self, found: list[tuple[Any, FrameType]]) -> None:
        """found: from the innermost coroutine on."""
        names = [frame.f_code.co_name for _, frame in found]
        for number, (holder, frame) in enumerate(found):
            self.frames.append(frame)
            for owner, place in managers(holder, frame, number > 0 and names[number - 1] == "__aenter__"):
                if _kind(owner):
                    self.entered[_lock_of(owner)] = place
                if type(owner).__name__ in ("Timeout", "CancelScope"):  # of asyncio, async_timeout, anyio
                    self._until(_get(owner, "_when") or _get(owner, "_deadline"))
        given_up = 0
        for name, (holder, frame) in zip(names, found, strict=True):
            file = frame.f_code.co_filename
            if "/asyncio/" not in file and "/anyio/" not in file:
                self.caller = frame
                break
            known = gc.get_referents(holder)
            thing = next(filter(_kind, known), None)
            if thing is not None and self.kind != "lock":  # a condition that was notified waits for its lock
                self.kind, self.thing = _kind(thing), thing
            given_up = _lock_of(thing) if name == "wait" and _kind(thing) == "condition" else given_up
            if file.endswith("asyncio/tasks.py") and name in ("sleep", "wait_for", "_wait"):
                self._look_into(name, known + gc.get_referents(*(one for one in known if type(one) is CellType)))
        self.entered.pop(given_up, None)
        if self.kind == "taskgroup":
            self._for_all(_get(self.thing, "_tasks"))
        elif self.kind == "future" and not self.needs:
            self._look_behind()

    def _for_all(self, futures: Any) -> None:
        self.needs, self.cancels = [*_leaves(futures)], True
        self.number = len(self.needs)

    def _look_into(self, function: str, known: list[Any]) -> None:
        """known: what a coroutine of asyncio/tasks.py refers to."""
        for one in known:
            if type(one).__name__ == "TimerHandle":  # also uvloop's
                self._until(one.when())
            if function == "sleep" and type(one) in (int, float):
                self.kind, self.what = "sleep", f"of {one:g} s"
            elif function == "_wait" and type(one) is set and one and not self.needs:
                self.needs = list(one)
                first = any(type(one) is str and one.startswith("FIRST_") for one in known)
                self.number = 1 if first else len(self.needs)
            elif function == "wait_for" and (_is_task(one) or _get(one, "_children")):
                self._for_all([one])

    def _look_behind(self) -> None:
        """At the tasks, or the call of a pool, for whose result the awaited future stands."""
        if _is_task(self.waiter) or _get(self.waiter, "_children"):
            self._for_all([self.waiter])
        for callback, _ in list(_get(self.waiter, "_callbacks") or ()):
            if type(callback) is FunctionType and callback.__module__ in ("asyncio.tasks", "asyncio.futures"):
                for one in gc.get_referents(*(callback.__closure__ or ())):
                    if _is_task(one) and not self.needs:  # in a shield()
                        self.needs = [one]
                    elif "concurrent.futures._base" in (cls.__module__ for cls in type(one).__mro__):
                        self.kind, self.thing = "call", one


class Tasks:
    """All tasks at one look."""

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
        found = [one for one in found if one is not None and _is_task(one) and _get(one, "_state") == "PENDING"]
        self._seen: dict[int, _Task] = {}
        for task in found:
            with suppress(Exception):  # it reads the program's own things
                self._seen[id(task)] = _Task(task)
        self._takers = {lock: (key, place) for key, one in self._seen.items() for lock, place in one.entered.items()}
        ahead = [one for one in self._seen.values() if one.cancels and one.deadline is not None]
        while ahead:  # what ends a wait cancels the tasks that it is for
            one = ahead.pop()
            for other in [self._seen[id(need)] for need in one.needs if one.cancels and id(need) in self._seen]:
                if one.deadline is not None and (other.deadline is None or other.deadline > one.deadline):
                    other.deadline = one.deadline
                    ahead.append(other)
        self._called = Called()

    def _holder(self, one: _Task) -> tuple[int, str]:
        """id() of the task that holds the lock that this one awaits, and where it took that; or 0."""
        if one.kind != "lock":
            return 0, ""
        holder, place = self._takers.get(_lock_of(one.thing), (0, ""))
        if holder and not (one.is_asleep() and self._seen[holder].is_asleep()):
            holder, place = 0, ""  # one has gone on since it was read
        owner = _get(one.thing, "_owner_task")  # of anyio's Lock, which knows it
        return (holder, place) if owner is None or id(owner) == holder else (id(owner), "")

    def _wait(self, key: int) -> Wait:
        one = self._seen[key]
        (holder, taken), kind, what, called = self._holder(one), one.kind, one.what, ""
        needs = [need for need in one.needs if id(need) in self._seen]
        if len(needs) == 1:
            kind, holder = "join", id(needs[0])
        elif needs:
            first = "the first of " if one.number == 1 else ""
            kind, what = "group", f"{first}{len(needs):,} tasks: {some(needs, lambda task: repr(_name(task)))}"
        elif kind == "call":
            maker = makers().get(id(one.thing))
            what = f"made by {name_of(maker)!r}" if maker else "of a pool or another thread"
        elif kind != "sleep":
            thing = one.thing or one.waiter
            outside = kind == "future" and one.frames and not is_program(one.frames[0].f_code.co_filename)
            what = f"<{type(thing).__name__} at {id(thing):#x}>"
            what, caller = f"in {one.frames[0].f_code.co_qualname}" if outside else what, one.caller
            line = partial(place_at, caller, True, None) if caller else None
            called = "" if outside or line is None else self._called.by(thing, lambda: line().object_text)
        name, by = _name(one.task), self._seen.get(holder)
        by_name, address = _name(by.task) if by else None, id(one.thing or one.waiter)
        return Wait(key, 0, name, kind, what, address, holder or None, by_name, 0, one.deadline, taken, "", called)

    def cycles(self) -> Iterator[tuple[Wait, ...]]:
        """Circles, as Waiting.cycles has them; the tid and the begin of a wait are 0."""
        needs: dict[int, tuple[int, set[int]]] = {}
        for key, one in self._seen.items():
            others = {holder} if (holder := self._holder(one)[0]) else set(map(id, one.needs))
            needs |= {key: (min(one.number, len(others)), others)} if others else {}
        left = stuck(needs)
        for ring in rings({key: next(other for other in needs[key][1] if other in left) for key in left}):
            if all(self._seen[key].is_asleep() for key in ring):  # so they have been since they were read
                waits = [self._wait(key) for key in ring]
                if len({wait.name for wait in waits}) < len(waits):  # anyio names a task by its function
                    names = {wait.ident: f"{wait.name} at {wait.ident:#x}" for wait in waits}
                    waits = [replace(w, name=names[w.ident], holder_name=names.get(w.holder or 0)) for w in waits]
                yield tuple(waits)

    def crowds(self) -> list[dict[str, Any]]:
        """As data for JSON, the tasks that do the same together; first those that wait for what a task holds."""
        found: dict[Any, dict[str, Any]] = {}
        for key, one in self._seen.items():
            loop, where = _get(one.task, "_loop"), tuple((frame.f_code, frame.f_lasti) for frame in one.frames)
            alike = (id(loop), where, one.kind, self._holder(one)[0], one.deadline is None, key in self._running)
            if alike not in found:
                wait, ident = self._wait(key) if one.asleep else None, _get(loop, "_thread_id")  # uvloop hides that
                own = next((frame for frame in one.frames if is_program(frame.f_code.co_filename)), None)
                found[alike] = {
                    "loop": f"the loop of {name_of(ident)!r}" if ident else f"a {type(loop).__module__} loop",
                    "state": "waits" if wait else "runs" if key in self._running else "goes on",
                    "for": wait and wait.thing,
                    "kind": wait and wait.kind,
                    "holder": wait and wait.holder_name,
                    "deadline": one.deadline,
                    "at": at(own or one.caller or one.frames[0]) if one.frames else "",
                    "things": set(),
                    "tasks": [],
                }
            found[alike]["tasks"].append(_name(one.task))
            found[alike]["things"].add(tuple(map(id, one.needs)) or id(one.thing))
            if one.deadline is not None:
                found[alike]["deadline"] = min(found[alike]["deadline"], one.deadline)
        for crowd in found.values():
            crowd["things"] = len(crowd["things"])
        return sorted(found.values(), key=lambda crowd: (crowd["holder"] is None, -len(crowd["tasks"])))
