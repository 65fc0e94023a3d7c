"""What each thread waits for, which thread holds that, and circles of waits; `runtime.scheduler` has these names
too."""

from __future__ import annotations

import _frozen_importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from .. import native
from ..core import members, printable
from ..core import native as core
from ..reading.lines import awaited_as, taken_at
from ..reading.names import Called, Named, made_by
from ..reading.rings import rings
from ..reading.source import others_frames, passed_on
from .crowds import Calls, some
from .takings import line_of

__all__ = ["Wait", "Waiting", "name_of", "waiting"]

_SHOWN = 3  # things that runtime.wait() waits for

_FUTURES = "concurrent.futures._base"
_IMPORT_LOCK: type[Any] = vars(_frozen_importlib)["_ModuleLock"]

_KINDS: tuple[tuple[type[Any], str], ...] = (
    (core.lock, "lock"),
    (core.RLock, "rlock"),
    (core.EventBase, "event"),
    (core.SemaphoreBase, "semaphore"),
    (core.ConditionBase, "condition"),
    (core.BarrierBase, "barrier"),
    (core.FutureBase, "future"),
    (core.LWP, "join"),
    (tuple, "wait"),
    (_IMPORT_LOCK, "import"),
    *((cls, "work") for name, cls in vars(core).items() if name == "WorkQueue"),  # of groups, which may not be there
)
_PRIMITIVES = tuple(cls for cls, kind in _KINDS if kind not in ("work", "join", "wait", "import"))


@dataclass(frozen=True)
class Wait:
    """A thread that sleeps in one of our primitives."""

    ident: int  #: its threading.get_ident()
    tid: int  #: its threading.get_native_id()
    name: str  #: its Thread's name; for a thread without a Thread "LWP" and the tid
    #: "lock", "rlock", "condition", "semaphore", "event", "barrier", "call", "future", "work", "wait", "join",
    #: "import", while another thread imports the module, "group", whose block's end waits for its tasks, or "queue", a
    #: SimpleQueue, only while waits are counted (`lwp locks`)
    kind: str
    #: repr() of what it waits for: the primitive, the function that scheduler.blocking() calls, the future, the queue
    #: of an executor without a call, or the thread that it joins; for runtime.wait(), those of the first few things,
    #: and how many there are; for a group, where its block is and the names of its tasks' threads.
    what: str
    address: int  #: id() of that; threads that wait for the same thing have the same
    #: ident of the thread that can end the wait: the owner of an RLock, the thread that took a Lock, that makes a
    #: future's call, that is joined, or that runs the task a block's end waits for.  None: no certain thread, it is
    #: free already, or that thread is gone.  Another thread may release a Lock.
    holder: int | None
    holder_name: str | None  #: that thread's name, as in `name`; None if that thread is gone and had no known name
    since: float  #: time.monotonic()
    deadline: float | None  #: time.monotonic() at its timeout; None: it has none
    #: Where the holder took the lock, "FILE:LINE in FUNCTION", if its stack shows that: it is inside of a `with`.
    #: "perhaps" stands before it if the stack shows only an acquire() above the line where the thread is.
    taken: str = ""
    group: str = ""  #: the innermost group that the thread is in, as "group at FILE:LINE"
    #: What the program calls the primitive, such as "ledger.lock", otherwise "made at FILE:LINE" if that was noted,
    #: which `lwp run` does with --watchdog, --trace and --lock-order.
    called: str = ""
    #: why the thread is cancelled, such as "ValueError in 'Thread-4 (work)'"; it may wait all the same, while it tidies
    #: up
    cancelled: str = ""
    #: Why the holder is no thread of this process: "has ended", or "belongs to the parent process", which has forked
    #: this one.  "": it is one, or there is none.
    gone: str = ""
    #: `called`, without what tells the thing from others that threads wait for and that have this name; "" if none has
    shared_name: str = ""

    def __str__(self) -> str:
        return f"{self.name!r}{self.about} waits for {self.thing}"

    @property
    def about(self) -> str:
        """Its thread's group and cancellation, in words; "" if there are none."""
        group = f" of {self.group}" if self.group and self.kind != "group" else ""
        return group + (f" (cancelled: {self.cancelled})" if self.cancelled else "")

    @property
    def thing(self) -> str:
        """What it waits for, and which thread holds that, in words."""
        ends = self.kind in ("join", "group")
        by = f" held by {held_by}" if not ends and (held_by := self._held_by(repr)) else ""
        taken = f" (taken {'' if self.taken.startswith('perhaps') else 'at '}{self.taken})" if self.taken else ""
        if self.kind == "join" and self.holder_name:
            return f"the end of {self.holder_name!r}"
        return f"{'the end of' if ends else self.kind} {self.called or self.what}{by}{taken}"

    @property
    def alike(self) -> Wait:
        """The same, to be told for several things that are called alike."""
        return replace(self, called=self.shared_name) if self.shared_name else self

    @property
    def held_by(self) -> str:
        """The holder, in words; "" if there is none."""
        return self._held_by(str)

    def _held_by(self, told: Callable[[str], str]) -> str:
        name = "" if self.holder_name is None else told(self.holder_name)
        return f"{name or 'a thread'}{', which' if name else ' that'} {self.gone}" if self.gone else name


@dataclass(frozen=True)
class Waiting:
    """All waits of one moment."""

    waits: tuple[Wait, ...]  #: the longest first
    #: Circles: the holder of each wait is the thread of the next, and the last wait's holder is the thread of the
    #: first.  A circle without deadlines is a deadlock, unless another thread releases a plain Lock.
    cycles: tuple[tuple[Wait, ...], ...]

    def __str__(self) -> str:
        lines = [str(wait) for wait in self.waits]
        lines += ["cycle: " + describe_cycle(cycle) for cycle in self.cycles]
        return "\n".join(lines)


def is_deadlock(cycle: Iterable[Wait]) -> bool:
    """Whether no timeout will break the circle."""
    return all(wait.deadline is None for wait in cycle)


def describe_cycle(cycle: Sequence[Wait]) -> str:
    """A circle in words."""
    return ", ".join(map(str, cycle))


def circle_line(deadlock: bool, text: str) -> str:
    """A circle's text, behind what it is."""
    return f"{'deadlock' if deadlock else 'circle, until a timeout'}: {text}"


@dataclass(frozen=True)
class Lost:
    """Threads that wait without a timeout for one lock whose holder is gone."""

    waits: tuple[Wait, ...]  #: the longest first

    @property
    def deadlock(self) -> bool:
        """Whether no thread can end these waits: only its owner can release an RLock, but any thread a Lock."""
        return self.waits[0].kind == "rlock"

    def __str__(self) -> str:
        names, first = some(self.waits, lambda wait: repr(wait.name)), self.waits[0]
        does = f"{names} wait{'s' * (len(self.waits) == 1)} for {first.thing}"
        return f"{does}; {'no thread can release it' if self.deadlock else 'only another thread can release it'}"

    @property
    def line(self) -> str:
        """Its text, behind what it is."""
        return f"{'deadlock' if self.deadlock else 'lost lock'}: {self}"


def lost(seen: Waiting) -> list[Lost]:
    """Locks whose holders are gone, and for which threads wait without a timeout."""
    by_lock: dict[int, list[Wait]] = {}
    for wait in seen.waits:
        if wait.gone and wait.deadline is None and wait.kind in ("lock", "rlock"):
            by_lock.setdefault(wait.address, []).append(wait)
    return [Lost(tuple(waits)) for waits in by_lock.values()]


def deadlocks(seen: Waiting) -> list[tuple[Wait, ...]]:
    """Waits that no thread ends: circles without timeouts, and those for RLocks whose owners are gone."""
    return [cycle for cycle in seen.cycles if is_deadlock(cycle)] + [one.waits for one in lost(seen) if one.deadlock]


def name_of(ident: int, tid: int | None = None) -> str:
    """The name of the Thread with this ident; for a thread without one "LWP" and the tid, or what is known."""
    name = _name_in(threading._active, ident)  # type: ignore[attr-defined]
    if name is not None:
        return name
    if tid is not None:
        return f"LWP {tid}"
    return f"ident {ident}" if ident in native.current_frames() else "a thread that has ended"


def _name_in(threads: Mapping[int, Any], ident: int) -> str | None:
    with suppress(Exception):  # there is no Thread, or it is of a derived class
        return str(threads[ident].name)
    return None


def _described(thing: Any) -> str:
    if isinstance(thing, core.LWP):
        thing = threading._active.get(thing.ident, thing)  # type: ignore[attr-defined]
    if isinstance(thing, tuple):
        shown = ", ".join(_described(one) for one in thing[:_SHOWN])
        return shown if len(thing) <= _SHOWN else f"{shown}, and {len(thing) - _SHOWN} more"
    if isinstance(thing, _IMPORT_LOCK):
        return f"of module {thing.name!r}"
    try:
        if kind_of_type(type(thing)) == "future" and not isinstance(thing, core.FutureBase):
            # Its repr() takes its lock, which the program may hold.
            return f"<Future at {id(thing):#x} state={vars(thing)['_state'].lower()}>"
        return printable(repr(thing))
    except Exception:  # of a derived class
        return object.__repr__(thing)


def _taken(thing: Any, frame: FrameType | None) -> str:
    try:
        return taken_at(thing, frame)
    except Exception:  # it reads the program's own things
        return ""


def kind_of_type(kind: type) -> str:
    """Wait.kind of what has that type."""
    if own := next((name for cls, name in _KINDS if issubclass(kind, cls)), None):
        return own
    if any(cls.__module__ == _FUTURES for cls in kind.__mro__):
        return "future"
    if kind.__module__ == "_thread":  # CPython's own locks
        return kind.__name__.lower()
    if kind.__module__ == "_queue":  # SimpleQueue, also of a module that was imported anew
        return "queue"
    return "call" if any("__call__" in vars(cls) for cls in kind.__mro__) else "condition"  # threading's own


def _waited_for(thing: Any, ident: int, holder: int, frame: FrameType | None) -> tuple[Any, int]:
    """The object and its holder, as the program has them.

    A thread waits for a Future of concurrent.futures by the Future's condition.  threading's own Condition.wait() and
    the lock of a module that is imported, both in Python, sleep in a lock that the thread itself has taken before: no
    deadlock.
    """
    if frame is None:
        return thing, holder
    # Compared by name, because for a derived class the function's globals are a copy of threading's names.
    where = frame.f_globals.get("__name__"), frame.f_code.co_qualname
    if where in ((_FUTURES, "Future.result"), (_FUTURES, "Future.exception")) and not holder:
        return frame.f_locals.get("self", thing), 0
    if holder != ident:
        return thing, holder
    if where == ("threading", "Condition.wait"):
        return frame.f_locals.get("self", thing), 0
    own = frame.f_locals.get("self")
    if where[1] == "_ModuleLock.acquire" and isinstance(own, _IMPORT_LOCK):
        return own, own.owner or 0
    return thing, holder


def _cycles(waits: Iterable[Wait]) -> Iterator[tuple[Wait, ...]]:
    by_ident = {wait.ident: wait for wait in waits}
    for ring in rings({wait.ident: wait.holder for wait in waits}):
        yield tuple(by_ident[ident] for ident in ring)


def waiting() -> Waiting:
    """What threads wait for: all threads that sleep now in one of the runtime's primitives, or in a join.

    It leaves out threads that sleep otherwise in the kernel (time.sleep, input and output), in a stock primitive, or
    for the GIL.  Once a Condition has notified a thread, that thread waits for the Condition's lock.  All this was true
    at one moment, with the GIL held; repr() is called after that.  It is empty once the interpreter is being finalized.
    """
    return Waiting((), ()) if sys.is_finalizing() else _known_of(native.waits())


@dataclass(frozen=True)
class Look:
    """All threads with Python code at one moment, by ident."""

    waiting: Waiting
    calls: dict[int, Calls]
    tids: dict[int, int]
    threads: dict[int, Any]  #: Threads

    def name_of(self, ident: int) -> str:
        """Also if the thread has ended since, and another one has its ident."""
        return _name_in(self.threads, ident) or f"LWP {self.tids[ident]}"


def look() -> Look:
    """What waiting() returns, and where each thread was at that moment."""
    if sys.is_finalizing():
        return Look(Waiting((), ()), {}, {}, {})
    waits, calls, tids, threads = native.look(threading._active)  # type: ignore[attr-defined]
    return Look(_known_of(waits), calls, tids, threads)


class _Lines:
    """What the lines at which threads wait call primitives."""

    def __init__(self) -> None:
        self._called = Called()
        self._known: dict[object, str] = {}

    def name(self, frame: FrameType | None, thing: Any) -> str:
        """Of a primitive or a future; "" of another thing.  The line of the frame's thread stands in its stack."""
        if not isinstance(thing, _PRIMITIVES) and kind_of_type(type(thing)) != "future":
            return ""
        program = passed_on(frame)
        line = (id(thing), program and program.f_code, program and program.f_lasti)
        if line not in self._known:
            self._known[line] = self._called.by(thing, lambda: awaited_as(thing, frame))
        return self._known[line]

    def tell_apart(self, waits: list[Wait], things: dict[int, Any]) -> list[Wait]:
        """The waits, with different names for different things."""
        apart = self._called.apart(
            Named(wait.address, type(things[wait.address]), wait.called, made_by(things[wait.address]))
            for wait in waits
            if wait.called
        )
        return [
            replace(wait, called=apart[wait.address, wait.called], shared_name=wait.called)
            if (wait.address, wait.called) in apart
            else wait
            for wait in waits
        ]


_Ended = tuple[str | None, bool, int]  # what native.waits() tells of a holder that has ended


def _gone(ended: _Ended | None) -> str:
    if ended is None:
        return ""
    name, of_parent, _ = ended
    return "belongs to the parent process" if of_parent and name is None else "has ended"


def _known_of(found: list[tuple[int, int, Any, int, float, float | None, _Ended | None, int]]) -> Waiting:
    tids = {ident: tid for ident, tid, *_ in found}
    frames = others_frames() if found else {}
    ends = {ident: end for ident, _, thing, *_ in found if (end := members.end_awaited(ident, thing))[0]}
    found = [
        (ident, tid, *_waited_for(thing, ident, ends.get(ident, ("", holder))[1], frames.get(ident)), *rest)
        for ident, tid, thing, holder, *rest in found
    ]
    lines = _Lines()
    waits = [
        Wait(
            ident=ident,
            tid=tid,
            name=name_of(ident, tid),
            kind="group" if ident in ends else kind_of_type(type(thing)),
            what=ends[ident][0] if ident in ends else _described(thing),
            address=id(thing),
            holder=holder or None,
            holder_name=name_of(holder, tids.get(holder)) if holder else ended and ended[0],
            since=since,
            deadline=deadline,
            taken=line_of(ended[2]) if ended else _taken(thing, frames.get(holder)),
            called="" if ident in ends else lines.name(frames.get(ident), thing),
            group=(member := members.described(ident))[0],
            cancelled=member[1],
            gone=_gone(ended),
        )
        for ident, tid, thing, holder, since, deadline, ended, _ in found
    ]
    waits = lines.tell_apart(waits, {id(thing): thing for _, _, thing, *_ in found})
    waits.sort(key=lambda wait: wait.since)
    return Waiting(tuple(waits), tuple(_cycles(waits)))
