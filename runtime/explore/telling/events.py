"""What a story is made of: what threads did, the things that they synchronised by, who held and who waited for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ...observe.source import Origin, Place, is_program, made_at, name_of_file
from ..run.plans import TIMEOUT

__all__ = ["RAISE", "Event", "Holding", "Note", "Thing", "Wait"]

RAISE = -1  #: the kind of the event with which a run has failed


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


@dataclass(eq=False)
class Event:
    """A step, or that a thread came to one and could not go on; and what is known of it."""

    at: int
    thread: int
    kind: int
    place: Place | None = None
    flags: int = 0
    thing: Thing | None = None
    target: int | None = None  #: START and JOIN: the thread
    instead_of: int | None = None  #: a deviation: whose turn it would have been
    pending: Event | None = None  #: and what that thread was about to do
    after: int = -1  #: the thread of the step before
    keeping: tuple[Thing, ...] = ()  #: and what it holds
    came: int = -1  #: the step before which the thread came there, if it could not go on at once
    waits: bool = False  #: it is no step: here the thread can't go on
    holder: Holding | None = None  #: waits: who holds the thing
    sleeps: bool = False  #: WAIT: it did not return at once
    waiting: int = 0  #: SIGNAL: how many threads waited
    done: bool = True  #: TRY, ACQUIRE: whether it had success
    inner: bool = False  #: RELEASE of an RLock that stays held
    is_early: bool = False  #: its timeout, before it was due
    time: float = 0.0  #: the clock at the thread's next point
    jumped: float = 0.0  #: seconds by which it moved the clock

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
    signal: Event | None = None  #: the last one, if it came before the wait

    @property
    def on(self) -> int | None:
        """The thread that it waits for."""
        return self.holder.thread if self.holder is not None else self.event.target
