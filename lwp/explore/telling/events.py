"""What a story is made of: what threads did, to what, who held that and who waited; and the lines of source for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ...reading.files import is_program, name_of_file
from ...reading.names import Origin, made_at
from ...reading.source import Place
from ..run.plans import TIMEOUT, Kind
from .accesses import Access, Raised

#: Kinds of events that are no steps: the exception with which a run has failed, an exception that was caught, a use
#: of data.
RAISE, CAUGHT, DATA = -1, -2, -3


@dataclass(eq=False)
class Thing:
    """An object that threads synchronise by."""

    number: int
    kind: str  #: as Lock, Condition
    name: str = ""
    origin: Origin | None = None
    lock: Thing | None = None  #: a Condition's
    tries: int = 0  #: to find its name

    @property
    def made(self) -> str:
        """file:line, "" if it is not known."""
        if self.origin is None or not is_program(self.origin.file):
            return ""
        line = made_at(self.origin)
        return f"{name_of_file(self.origin.file)}:{line}" if line else ""

    @property
    def is_lock(self) -> bool:
        return self.kind in ("Lock", "RLock")

    @property
    def is_semaphore(self) -> bool:
        return self.kind.endswith("Semaphore")


class Note(NamedTuple):
    """What a thread was about to do at a point."""

    kind: int
    place: Place | None
    thing: Thing | None
    name: str  #: START: of the thread
    permits: int  #: RELEASE: how often an RLock is held; TRY: how many permits a semaphore has
    time: float
    state: int = 0  #: of its variables, if that is asked for
    stack: tuple[str, ...] = ()  #: the program's functions, innermost first
    tasks: tuple[int, ...] = ()  #: TURN: of which the task awaits the end; while the run goes on, their id()
    inside: tuple[tuple[Thing, Place], ...] = ()  #: TURN: the primitives that the task is inside of, and since where


@dataclass(eq=False)
class Event:
    """A step, or a thread's arrival at a step where it could not go on; and what is known of it."""

    at: int
    thread: int
    kind: int
    place: Place | None = None
    flags: int = 0
    thing: Thing | None = None
    target: int | None = None  #: START and JOIN: the thread
    instead_of: int | None = None  #: a deviation: the thread whose turn it would have been
    pending: Event | None = None  #: a deviation: what that thread was about to do
    after: int = -1  #: the thread of the step before
    keeping: tuple[Thing, ...] = ()  #: a deviation: what that thread holds
    came: int = -1  #: the step before which the thread came here, if it could not go on at once
    waits: bool = False  #: it is not a step: the thread can't go on here
    holder: Holding | None = None  #: waits: the holding of the thing
    sleeps: bool = False  #: WAIT: it did not return at once
    waiting: int = 0  #: SIGNAL: how many threads waited
    done: bool = True  #: TRY, ACQUIRE: whether it had success
    inner: bool = False  #: RELEASE of an RLock that stays held
    is_early: bool = False  #: its timeout fired before it was due
    time: float = 0.0  #: the clock at the thread's next point
    state: int = 0  #: as the note's
    jumped: float = 0.0  #: seconds by which it moved the clock
    stack: tuple[str, ...] = ()  #: the program's functions, innermost first
    raised: Raised | None = None  #: CAUGHT, RAISE
    access: Access | None = None  #: DATA
    of_loop: bool = False  #: it is of a task, or of the thread of a loop
    tasks: tuple[int, ...] = ()  #: TURN: of which it awaits the end

    @property
    def is_turn(self) -> bool:
        """Whether a loop calls a handle, a task's first one included."""
        return self.kind == Kind.TURN or (self.kind == Kind.BEGIN and self.of_loop)

    @property
    def is_inner(self) -> bool:
        """Whether a loop calls what is a library's, a task included."""
        return self.is_turn and (self.place is None or not self.place.of_program)

    @property
    def is_timeout(self) -> bool:
        return bool(self.flags & TIMEOUT)


@dataclass(eq=False)
class Holding:
    thing: Thing
    thread: int
    since: Event
    until: Event | None = None


@dataclass(eq=False)
class Wait:
    """What a thread was waiting for when the run ended."""

    thread: int
    event: Event
    holder: Holding | None = None
    permits: list[Holding] = field(default_factory=list)
    signal: Event | None = None  #: the last signal, if it came before the wait
    blocked_by: int | None = None  #: a task, in the middle of which the loop is

    @property
    def on(self) -> int | None:
        """The thread that it waits for."""
        if self.blocked_by is not None:
            return self.blocked_by
        if self.holder is not None:
            return self.holder.thread
        return self.event.tasks[0] if self.event.tasks else self.event.target


# ---- told by lines of the source -------------------------------------------------------------------------------------


@dataclass(eq=False)
class Line:
    """Events of one thread, one after the other, at one line of the source."""

    events: list[Event]
    resumed: bool = False  #: the thread was in the middle of it
    stopped: bool = False  #: it is left in the middle of it

    @property
    def thread(self) -> int:
        return self.events[0].thread

    @property
    def place(self) -> Place | None:
        return self.events[0].place

    @property
    def is_minor(self) -> bool:
        """Whether it synchronises nothing, or is a library's."""
        is_library = self.place is not None and not self.place.of_program
        return is_library or all(event.kind == Kind.CODE for event in self.events)

    @property
    def steps(self) -> int:
        return sum(not event.waits and event.kind >= 0 for event in self.events)


def lines_of(events: list[Event]) -> list[Line]:
    """Events as lines of the source: a new one where another thread goes on, or the same at another line."""
    found: list[Line] = []
    last: dict[int, Line] = {}
    for event in _without_begins(events):
        now = found[-1] if found else None
        before = last.get(event.thread)
        if now is not None and now is before and event.instead_of is None and _continues(now, event):
            now.events.append(event)
            continue
        line = Line([event])
        if before is not None and before is not now and _is_further(before.events[-1], event):
            line.resumed = before.stopped = True
        found.append(line)
        last[event.thread] = line
    return found


def _without_begins(events: list[Event]) -> Iterator[Event]:
    """Leaves out that a thread begins, unless it does not go on after that, and what a loop does for itself."""
    begun: Event | None = None
    for event in events:
        if event.is_inner and event.instead_of is None:
            continue
        if begun is not None:
            if event.thread != begun.thread:
                yield begun
            elif begun.instead_of is not None:
                event.instead_of, event.after = begun.instead_of, begun.after
                event.pending, event.keeping = begun.pending, begun.keeping
        begun = event if event.kind == Kind.BEGIN else None
        if begun is None:
            yield event
    if begun is not None:
        yield begun


def _continues(line: Line, event: Event) -> bool:
    before = line.events[-1]
    if event.kind == Kind.END:
        return not before.waits
    return not before.waits and before.kind != Kind.BEGIN and _is_same_line(before, event)


def _is_same_line(one: Event, other: Event) -> bool:
    a, b = one.place, other.place
    return a is not None and b is not None and (a.file, a.line) == (b.file, b.line)


def _is_further(one: Event, other: Event) -> bool:
    if one.place is None or other.place is None or other.kind in (Kind.END, Kind.WAKE):
        return False
    return _is_same_line(one, other) and (other.kind == RAISE or other.place.offset > one.place.offset)
