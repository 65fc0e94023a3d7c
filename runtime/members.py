"""Which thread is in which group, and what has cancelled what, for reports to read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from . import native
from .printable import printable


class Turns(NamedTuple):
    """What a group with a limit has to do."""

    key: int  #: id() of the group
    group: str  #: such as "group at x.py:9"
    queued: tuple[object, ...]  #: the tasks that wait for a turn
    #: By the other tasks' id(), the idents of their threads; 0: it begins or ends just now, or a turn isn't taken.
    running: dict[int, int]


class Member(Protocol):
    """A thread that is in groups."""

    def describe(self) -> tuple[str, str]:
        """Its innermost group, and why the thread is cancelled; each "" if there is none."""
        ...

    def path(self) -> tuple[str, ...]:
        """The groups that it is in, the outermost first."""
        ...

    def end_awaited(self, thing: object) -> tuple[str, int]:
        """If it waits for that thing at a block's end: the group and its tasks, and the ident of a task's thread; "" if
        not."""
        ...

    def turns(self) -> Iterable[Turns]:
        """Of the groups with a limit that it is in."""
        ...


class Cancellation(NamedTuple):
    """A request to cancel."""

    whom: str  #: what is cancelled, such as "group at x.py:9"
    why: str  #: such as "ValueError in 'Thread-4 (work)'", "cancel() by 'MainThread'", "its deadline"


class Counts(NamedTuple):
    """Since the process began."""

    groups: int  #: whose block has begun
    tasks: int  #: spawned
    cancelled: int  #: of these
    calls: int  #: calls of executors that were cancelled while they ran


#: What native.groups_count() counts. It is in C, because without a GIL two threads may read the same number and add 1
#: to it.
GROUP: Final = 0
TASK: Final = 1
CANCELLED: Final = 2
CALL: Final = 3


#: By ident, of the threads that are in a group, or work in an executor.
members: dict[int, Member] = {}
#: The latest requests, the last one at the end.
latest: deque[Cancellation] = deque(maxlen=10)

os.register_at_fork(after_in_child=members.clear)  # the lone thread of a child is in no group


def note(whom: str, why: str) -> None:
    """Something is cancelled."""
    latest.append(Cancellation(printable(whom), printable(why)))


def counts() -> Counts:
    """All of them."""
    return Counts(*native.groups_counts())


def described(ident: int) -> tuple[str, str]:
    """The group of the thread with this ident, and why it is cancelled; each "" if there is none."""
    member = members.get(ident)
    if member is None:
        return "", ""
    group, why = member.describe()
    return printable(group), printable(why)


def path(ident: int) -> tuple[str, ...]:
    """Member.path() of the thread with this ident."""
    member = members.get(ident)
    return () if member is None else tuple(map(printable, member.path()))


def end_awaited(ident: int, thing: object) -> tuple[str, int]:
    """Member.end_awaited() of the thread with this ident."""
    member = members.get(ident)
    if member is None:
        return "", 0
    what, task = member.end_awaited(thing)
    return printable(what), task


def by(what: str, how: str = "by") -> str:
    """Text for a call that cancels and the calling thread, or for what was raised in it."""
    try:
        return f"{what} {how} {str(native.current_thread().name)!r}"
    except Exception:  # of a derived class
        return what
